//! A full mesh: every speaker a process of its own, all on one host, with ten blocks each. BIRD with the timers that Calico
//! gives it. Measured are the time from the first start until the last has all routes, and then memory and rest: some five
//! minutes for all of it.

use super::load::processor_seconds;
use crate::table::{Bound, Row, median};
use ::bgp::PeerConfig;
use agent::speaker;
use anyhow::ensure;
use interop_tests::ours::{originating, with};
use interop_tests::{Host, Segment, job, peer};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::leaks::resident_kib;
use testkit::process::Guard;
use tokio::sync::mpsc;

const SIZES: [u32; 3] = [10, 50, LARGEST];
/// Only here is there enough to see of what they do at rest.
const LARGEST: u32 = 100;
const BLOCKS: u32 = 10;
/// How long the last may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the next that is not full is asked.
const LOOK: Duration = Duration::from_millis(20);
/// After this nothing of the beginning is going on any more.
const CALM: Duration = Duration::from_secs(3);
/// How long the processors are watched: longer than the time between two keepalives of either.
const REST: Duration = Duration::from_secs(85);

/// What one mesh showed.
struct Figures {
    converged: f64,
    /// Of the middle one.
    resident_mib: f64,
    /// Of all together, in per cent of one processor.
    rest_percent: f64,
}

pub fn run() -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for size in SIZES {
        eprintln!("bench: bgp-mesh: {size} speakers, ours");
        let ours = measure(size, start_ours, |directory, node| Ok(full(directory, node).exists()))?;
        eprintln!("bench: bgp-mesh: {size} speakers, BIRD's");
        let birds = measure(size, start_bird, |directory, node| {
            let Ok(answer) = ask(&directory.join(format!("{node}.socket"))) else { return Ok(false) };
            Ok(destinations(&answer).is_some_and(|count| count >= size * BLOCKS))
        })?;
        let row = |what: &str, unit, ours, bird, bound| Row {
            what: format!("BGP, mesh of {size}, {what}"),
            unit,
            ours,
            peer: Some(("BIRD 2, Calico's timers", bird)),
            bound: Bound::AtMost(bound),
        };
        let memory = (birds.resident_mib + 2.0) / birds.resident_mib;
        rows.push(row("all have all", "s", ours.converged, birds.converged, 1.0));
        rows.push(row("one resident", "MiB", ours.resident_mib, birds.resident_mib, memory));
        if size == LARGEST {
            rows.push(row("all at rest", "% CPU", ours.rest_percent, birds.rest_percent, 1.0));
        }
    }
    Ok(rows)
}

fn addr(node: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 8, 0, 1)) + node)
}

/// The prefixes of a node.
fn blocks(node: u32) -> impl Iterator<Item = String> {
    let first = u32::from(Ipv4Addr::new(10, 100, 0, 0)) + node * BLOCKS * 64;
    (0..BLOCKS).map(move |block| format!("{}/26", Ipv4Addr::from(first + block * 64)))
}

/// The file that says that a speaker of ours has all routes.
fn full(directory: &Path, node: u32) -> std::path::PathBuf {
    directory.join(format!("{node}.full"))
}

type Start = fn(&Host, &Path, u32, u32) -> anyhow::Result<Guard>;

fn measure(
    size: u32,
    start: Start,
    is_full: impl Fn(&Path, u32) -> anyhow::Result<bool>,
) -> anyhow::Result<Figures> {
    let directory = tempfile::tempdir()?;
    let segment = Segment::new();
    // On one host: between hosts the kernel's table of neighbours, which all namespaces share, would be full.
    let host = segment.host(1);
    for node in 0..size {
        host.netns.run(&format!("ip addr add {}/32 dev lo", addr(node)));
    }
    host.netns.run("ip link set lo up");
    let since = Instant::now();
    let mut speakers = Vec::new();
    for node in 0..size {
        speakers.push(start(&host, directory.path(), size, node)?);
    }
    for node in 0..size {
        while !is_full(directory.path(), node)? {
            ensure!(since.elapsed() < PATIENCE, "{} has not all routes after {PATIENCE:?}", addr(node));
            std::thread::sleep(LOOK);
        }
    }
    let converged = since.elapsed().as_secs_f64();
    std::thread::sleep(CALM);
    let pids = || speakers.iter().map(Guard::pid);
    let resident_mib = median(pids().map(|pid| resident_kib(pid) as f64 / 1024.0).collect());
    let rest = if size == LARGEST { REST } else { Duration::from_secs(1) };
    let before = processor_seconds(pids())?;
    std::thread::sleep(rest);
    let rest_percent = (processor_seconds(pids())? - before) / rest.as_secs_f64() * 100.0;
    Ok(Figures { converged, resident_mib, rest_percent })
}

fn start_ours(host: &Host, directory: &Path, size: u32, node: u32) -> anyhow::Result<Guard> {
    let program = std::env::current_exe()?;
    let program = program.display();
    let full = full(directory, node);
    Ok(host.netns.spawn(&format!(
        "{program} --speaker {} --mesh {size} --full {}",
        addr(node),
        full.display()
    )))
}

/// Is one speaker of a mesh of `size`; makes the file `full` when it has all routes. Never returns while it runs.
pub fn speak(own: Ipv4Addr, size: u32, full: &Path) -> anyhow::Result<()> {
    let node = u32::from(own) - u32::from(addr(0));
    let own_blocks: Vec<String> = blocks(node).collect();
    let own_blocks: Vec<&str> = own_blocks.iter().map(String::as_str).collect();
    let mut job = originating(job(64512, own), &own_blocks);
    job.listen = vec![IpAddr::from(own)];
    for other in (0..size).filter(|other| *other != node).map(addr) {
        // Of each two, one calls, as in Calico's mesh.
        let far = PeerConfig {
            local_addr: Some(own.into()),
            passive: own > other,
            ..PeerConfig::new(other.into(), peer(other, 64512).remote_asn)
        };
        job = with(job, far);
    }
    let (told, mut best) = mpsc::channel(16);
    let voice = speaker::start(node.into(), told)?;
    voice.jobs.send_replace(Some(job));
    let mut known = BTreeSet::new();
    while let Some(best) = best.blocking_recv() {
        for (dst, paths) in best.paths {
            if paths.is_empty() {
                known.remove(&dst)
            } else {
                known.insert(dst)
            };
        }
        if known.len() >= (size * BLOCKS) as usize {
            std::fs::write(full, "")?;
        }
    }
    Ok(())
}

fn start_bird(host: &Host, directory: &Path, size: u32, node: u32) -> anyhow::Result<Guard> {
    let own = addr(node);
    let mut text = format!("router id {own};\nprotocol device {{}}\nprotocol static {{ ipv4;");
    for block in blocks(node) {
        let _ = write!(text, " route {block} blackhole;");
    }
    let _ = writeln!(
        text,
        "}}\ntemplate bgp mesh {{ local {own} as 64512; strict bind on; multihop; connect delay time 2; \
         connect retry time 5; error wait time 5, 30; graceful restart; \
         ipv4 {{ import all; export where source = RTS_STATIC; next hop self; gateway recursive; add paths on; }}; }}"
    );
    for other in (0..size).filter(|other| *other != node) {
        let passive = if own > addr(other) { "passive on;" } else { "" };
        let _ = writeln!(
            text,
            "protocol bgp m{other} from mesh {{ neighbor {} as 64512; {passive} }}",
            addr(other)
        );
    }
    let dir = directory.display();
    std::fs::write(directory.join(format!("{node}.conf")), text)?;
    Ok(host.netns.spawn(&format!("bird -f -c {dir}/{node}.conf -s {dir}/{node}.socket -P {dir}/{node}.pid")))
}

/// What BIRD says of its routes.
fn ask(socket: &Path) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"show route count\n")?;
    let (mut answer, mut part) = (String::new(), [0; 4096]);
    // Its last line begins with a code and a space.
    while !answer.lines().any(|line| line.starts_with("0014 ")) {
        let length = stream.read(&mut part)?;
        ensure!(length > 0, "BIRD hung up: {answer}");
        answer += &String::from_utf8_lossy(&part[..length]);
    }
    Ok(answer)
}

/// `… of 100 routes for 100 networks in table master4`
fn destinations(answer: &str) -> Option<u32> {
    let (_, rest) = answer.split_once("for ")?;
    rest.split_whitespace().next()?.parse().ok()
}
