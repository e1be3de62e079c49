//! What an agent needs in a small cluster in which nothing happens: three nodes, ten pods on the one that is looked at. Its
//! resident memory, and how often it wakes.

use crate::table::{Bound, Row};
use anyhow::Context;
use lab_tests::Lab;
use std::collections::BTreeMap;
use std::time::Duration;
use testkit::leaks::resident_kib;

/// How long it is left alone, and watched.
const QUIET: Duration = Duration::from_secs(30);

pub fn run() -> anyhow::Result<Vec<Row>> {
    let lab = Lab::up(&[]);
    for n in 0..9 {
        lab.verb(&["pod", "add", &format!("pod-{n}"), "--node", "master1"]);
    }
    std::thread::sleep(Duration::from_secs(2));
    let pid = lab.pid("node-master1");
    let resident = resident_kib(pid) as f64 / 1024.0;
    // What a start leaves to do is done by then.
    std::thread::sleep(QUIET);
    let before = wakes(pid)?;
    std::thread::sleep(QUIET);
    let woke =
        wakes(pid)?.into_iter().map(|(thread, wakes)| wakes - before.get(&thread).copied().unwrap_or(0));
    let per_second = woke.max().unwrap_or(0) as f64 / QUIET.as_secs_f64();
    let row = |what: &str, unit, ours, bound| Row { what: what.into(), unit, ours, peer: None, bound };
    Ok(vec![
        row("agent, 3 nodes and 10 pods", "MiB", resident, Bound::AtMost(15.0)),
        row("its busiest thread, idle, wakes", "/s", per_second, Bound::AtMost(1.0)),
    ])
}

/// How often each thread of a process waited until it was woken (proc(5), `voluntary_ctxt_switches`).
fn wakes(pid: u32) -> anyhow::Result<BTreeMap<std::ffi::OsString, u64>> {
    let mut wakes = BTreeMap::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).context("the agent runs")? {
        let thread = thread?;
        let status = std::fs::read_to_string(thread.path().join("status"))?;
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let count = count.context("Linux counts switches")?.trim().parse()?;
        wakes.insert(thread.file_name(), count);
    }
    Ok(wakes)
}
