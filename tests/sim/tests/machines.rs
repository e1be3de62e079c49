//! Whole nodes on fake kernels: single stories, then every pair of modes.

use derive::IpipDriver::{Kernel, StandIn};
use model::Duration;
use testkit::sim::Machines;
use testkit::sim::machines::{Admin, Mode};

/// Two nodes of a subnet and one behind a router, with a pod each.
fn three(mode: Mode) -> Machines {
    let mut cluster = Machines::cluster(2, 1, &[Kernel, StandIn]).pool("pool", "10.0.0.0/24", 29, mode);
    for node in 0..3 {
        cluster.admin(Duration::from_millis(20), Admin::AddPod(node as u32, node));
    }
    cluster
}

#[test]
fn a_healthy_cluster_delivers_in_every_mode() {
    for mode in Mode::ALL {
        let mut cluster = three(mode);
        if let Err(broken) = cluster.come_to_rest() {
            panic!("{mode:?}: {broken}");
        }
    }
}

/// Every ordered pair of modes.
fn changes() -> impl Iterator<Item = (Mode, Mode)> {
    let pairs = Mode::ALL.into_iter().flat_map(|from| Mode::ALL.map(|to| (from, to)));
    pairs.filter(|(from, to)| from != to)
}

#[test]
fn no_change_of_mode_loses_a_packet() {
    for with_bgp in [false, true] {
        for (from, to) in changes() {
            let mut cluster = if with_bgp { three(from).bgp() } else { three(from) };
            cluster.admin(Duration::from_secs(3), Admin::SetMode(to));
            if let Err(broken) = cluster.come_to_rest() {
                panic!("{from:?} to {to:?}, BGP {with_bgp}: {broken}");
            }
        }
    }
}
