//! Half a million routes through the speaker, against BIRD: one raw peer gives them, another waits for the last. Neither
//! has a kernel to fill.

use super::ASNS;
use super::load::{processor_seconds, receive, routes};
use crate::table::{Bound, Row, median};
use ::bgp::PeerConfig;
use agent::speaker;
use interop_tests::ours::with;
use interop_tests::raw::{Open, Raw};
use interop_tests::{Host, Segment, job, peer};
use std::io::Write;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use testkit::leaks::resident_kib;
use testkit::process::Guard;
use tokio::sync::mpsc;

const ROUTES: u32 = 500_000;
const RUNS: usize = 3;
/// How long the processor is watched afterwards.
const IDLE: Duration = Duration::from_secs(3);

/// One run's figures.
struct Figures {
    seconds: f64,
    resident_mib: f64,
    idle_percent: f64,
}

pub fn run() -> anyhow::Result<Vec<Row>> {
    let (mut ours, mut birds) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(measure(start_ours)?);
        birds.push(measure(start_bird)?);
    }
    let of = |runs: &[Figures], figure: fn(&Figures) -> f64| median(runs.iter().map(figure).collect());
    let row = |what: &str, unit, figure: fn(&Figures) -> f64, bound| Row {
        what: what.to_owned(),
        unit,
        ours: of(&ours, figure),
        peer: Some(("BIRD 2", of(&birds, figure))),
        bound,
    };
    Ok(vec![
        row("BGP, 500 000 routes from peer to peer", "s", |run| run.seconds, Bound::AtMost(0.8)),
        row("BGP, 500 000 routes, resident", "MiB", |run| run.resident_mib, Bound::AtMost(1.0)),
        Row {
            what: "BGP, 500 000 routes, idle".into(),
            unit: "% CPU",
            ours: of(&ours, |run| run.idle_percent),
            peer: None,
            bound: Bound::AtMost(0.5),
        },
    ])
}

/// Is the speaker with two peers that call, for the process that is measured; never returns while it runs.
pub fn speak(addr: Ipv4Addr) -> anyhow::Result<()> {
    let [giver, receiver, ..] = peers(addr);
    let passive = |addr, asn: u16| PeerConfig { passive: true, ..peer(addr, asn.into()) };
    let (told, mut best) = mpsc::channel(16);
    let voice = speaker::start(1, told)?;
    let job = with(with(job(64512, addr), passive(giver, ASNS[0])), passive(receiver, ASNS[1]));
    voice.jobs.send_replace(Some(job));
    while best.blocking_recv().is_some() {}
    Ok(())
}

/// The hosts beside the speaker's.
fn peers(addr: Ipv4Addr) -> [Ipv4Addr; 2] {
    [1, 2].map(|step| Ipv4Addr::from(u32::from(addr) + step))
}

fn start_ours(here: &Host, _: &std::path::Path) -> anyhow::Result<Guard> {
    let program = std::env::current_exe()?;
    Ok(here.netns.spawn(&format!("{} --speaker {}", program.display(), here.v4)))
}

fn start_bird(here: &Host, directory: &std::path::Path) -> anyhow::Result<Guard> {
    let mut text = format!("router id {};\nprotocol device {{}}\n", here.v4);
    for (addr, asn) in peers(here.v4).into_iter().zip(ASNS) {
        text += &format!(
            "protocol bgp {{ local {} as 64512; neighbor {addr} as {asn}; passive; ipv4 {{ import all; export all; }}; }}\n",
            here.v4
        );
    }
    let dir = directory.display();
    std::fs::write(directory.join("conf"), text)?;
    Ok(here.netns.spawn(&format!("bird -f -c {dir}/conf -s {dir}/socket -P {dir}/pid")))
}

fn measure(start: fn(&Host, &std::path::Path) -> anyhow::Result<Guard>) -> anyhow::Result<Figures> {
    let directory = tempfile::tempdir()?;
    let segment = Segment::new();
    let [here, giver, receiver] = [1, 2, 3].map(|number| segment.host(number));
    let process = start(&here, directory.path())?;
    let to = Raw::establish(&receiver, here.v4, Open::new(ASNS[1], receiver.v4));
    let mut from = Raw::establish(&giver, here.v4, Open::new(ASNS[0], giver.v4));
    let routes = routes(ROUTES, giver.v4);
    let since = Instant::now();
    let sender = std::thread::spawn(move || from.stream.write_all(&routes).map(|()| from));
    receive(to.stream.try_clone()?, ROUTES)?;
    let seconds = since.elapsed().as_secs_f64();
    let _from = sender.join().expect("the sender does not panic")?;
    let resident_mib = resident_kib(process.pid()) as f64 / 1024.0;
    let before = processor_seconds([process.pid()])?;
    std::thread::sleep(IDLE);
    let idle_percent = (processor_seconds([process.pid()])? - before) / IDLE.as_secs_f64() * 100.0;
    Ok(Figures { seconds, resident_mib, idle_percent })
}
