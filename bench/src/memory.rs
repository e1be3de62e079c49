//! Resident memory of an agent in a small cluster: three nodes, ten pods on the one that is looked at.

use crate::table::{Bound, Row};
use lab_tests::Lab;
use std::time::Duration;
use testkit::leaks::resident_kib;

pub fn run() -> anyhow::Result<Vec<Row>> {
    let lab = Lab::up(&[]);
    for n in 0..9 {
        lab.verb(&["pod", "add", &format!("pod-{n}"), "--node", "master1"]);
    }
    std::thread::sleep(Duration::from_secs(2));
    let resident = resident_kib(lab.pid("node-master1")) as f64 / 1024.0;
    Ok(vec![Row {
        what: "agent, 3 nodes and 10 pods".into(),
        unit: "MiB",
        ours: resident,
        peer: None,
        bound: Bound::AtMost(15.0),
    }])
}
