//! One node against a fake API and kernel: what it promises of an attachment, of a restart and of repairs.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod add;
mod del;
mod faults;
mod hostile;
mod own;
mod repair;
mod restart;
mod rig;
mod takeover;

use model::v3::EncapMode;
use node::cni::{Command, Reply};
use rig::Rig;

fn direct() -> Rig {
    let mut rig = Rig::new(EncapMode::Never);
    rig.create_pod("a");
    rig
}

fn add(rig: &mut Rig, container: &str, pod: &str) -> std::net::IpAddr {
    match rig.cni(Command::Add, container, pod) {
        Some(Reply::Added(added)) => added.addresses[0],
        other => panic!("ADD of {container}: {other:?}; {:#?}", rig.reports),
    }
}

fn failure(reply: Option<Reply>) -> (u32, String) {
    match reply {
        Some(Reply::Failed(failure)) => (failure.code, failure.msg),
        other => panic!("a failure, not {other:?}"),
    }
}
