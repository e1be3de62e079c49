//! The size of the program as it is shipped (`./dev dist`), and how fast it starts as a CNI plugin.

use crate::table::{Bound, Row, median};
use anyhow::Context;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

const RUNS: usize = 200;

pub fn run() -> anyhow::Result<Vec<Row>> {
    let program = std::env::var_os("TORTIE_SHIPPED").map_or_else(lab_tests::program, PathBuf::from);
    let size = std::fs::metadata(&program)?.len();
    let mut version = Command::new(&program);
    version.env("CNI_COMMAND", "VERSION");
    let mut nothing = Command::new("/bin/true");
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(milliseconds(&mut version)?);
        peers.push(milliseconds(&mut nothing)?);
    }
    Ok(vec![
        Row {
            what: "size of the program".into(),
            unit: "MiB",
            ours: size as f64 / f64::from(1 << 20),
            peer: None,
            bound: Bound::AtMost(15.0),
        },
        Row {
            what: "CNI VERSION".into(),
            unit: "ms",
            ours: median(ours),
            peer: Some(("/bin/true", median(peers))),
            bound: Bound::AtMost(1.2),
        },
    ])
}

fn milliseconds(command: &mut Command) -> anyhow::Result<f64> {
    let start = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    anyhow::ensure!(status.context("cannot run")?.success(), "{command:?} fails");
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}
