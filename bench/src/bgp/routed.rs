//! A hundred thousand routes of a neighbour into the kernel, and on to another neighbour meanwhile: the whole agent of a lab's
//! node against BIRD with its kernel protocol.

use super::ASNS;
use super::load::{receive, routes};
use crate::fib::prefixes;
use crate::table::{Bound, Row, median};
use interop_tests::raw::{Open, Raw};
use interop_tests::{Segment, within};
use lab_tests::Lab;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::netns;

const ROUTES: u32 = 100_000;
const RUNS: usize = 3;
/// How long the kernel may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// To count what the kernel holds takes it some milliseconds: rather seldom.
const LOOK: Duration = Duration::from_millis(20);

/// The addresses of the node, of who gives and of who receives.
const ADDRS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 0, 255, 1), Ipv4Addr::new(10, 0, 255, 2), Ipv4Addr::new(10, 0, 255, 3)];
const NAMES: [&str; 3] = ["here", "giver", "receiver"];

/// One run: seconds until all is in the kernel, and until the receiver has all.
struct Figures {
    kernel: f64,
    receiver: f64,
}

pub fn run() -> anyhow::Result<Vec<Row>> {
    let lab = lab()?;
    let (mut ours, mut birds) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(through_lab(&lab)?);
        birds.push(through_bird()?);
    }
    let of = |runs: &[Figures], figure: fn(&Figures) -> f64| median(runs.iter().map(figure).collect());
    let row = |what: &str, figure: fn(&Figures) -> f64| Row {
        what: what.to_owned(),
        unit: "s",
        ours: of(&ours, figure),
        peer: Some(("BIRD 2", of(&birds, figure))),
        bound: Bound::AtMost(0.7),
    };
    Ok(vec![
        row("BGP, 100 000 routes into the FIB", |run| run.kernel),
        row("BGP, the same on to another peer", |run| run.receiver),
    ])
}

/// Three nodes, of which one runs an agent; the others' places are the neighbours'.
fn lab() -> anyhow::Result<Lab> {
    let nodes: String = (NAMES.iter().zip(ADDRS))
        .map(|(name, addr)| format!("- {{name: {name}, address: {addr}/16}}\n"))
        .collect();
    let pool = "pool: {name: large, cidr: 10.128.0.0/9, blockSize: 26}";
    let directory = tempfile::tempdir()?;
    let topology = directory.path().join("topology.yaml");
    std::fs::write(&topology, format!("mode: direct\n{pool}\nnodes:\n{nodes}"))?;
    let lab = Lab::up(&["--file", &topology.display().to_string()]);
    for name in &NAMES[1..] {
        lab.verb(&["kill", &format!("node-{name}")]);
    }
    let [giver, receiver] = [ADDRS[1], ADDRS[2]];
    let resources = format!(
        "{api}kind: BGPConfiguration\nmetadata: {{name: default}}\nspec: {{nodeToNodeMeshEnabled: false}}\n---\n\
         {api}kind: BGPFilter\nmetadata: {{name: all}}\nspec: {{exportV4: [{{action: Accept}}]}}\n---\n\
         {api}kind: BGPPeer\nmetadata: {{name: giver}}\nspec: {{peerIP: {giver}, asNumber: {}}}\n---\n\
         {api}kind: BGPPeer\nmetadata: {{name: receiver}}\n\
         spec: {{peerIP: {receiver}, asNumber: {}, filters: [all]}}\n",
        ASNS[0],
        ASNS[1],
        api = "apiVersion: projectcalico.org/v3\n",
    );
    let file = lab.root().join("neighbours.yaml");
    std::fs::write(&file, resources)?;
    lab.exec("here", &format!("calicoctl apply -f {}", file.display()));
    Ok(lab)
}

fn through_lab(lab: &Lab) -> anyhow::Result<Figures> {
    let [here, giver, receiver] = NAMES.map(|name| lab.netns(name));
    let meet =
        |netns: &Path, asn: u16, addr| netns::inside(netns, || Raw::meet(ADDRS[0], Open::new(asn, addr)));
    let to = meet(&receiver, ASNS[1], ADDRS[2]);
    let from = meet(&giver, ASNS[0], ADDRS[1]);
    let before = netns::inside(&here, prefixes);
    let figures = measure(&here, from, to, ADDRS[1])?;
    // Without the giver nothing of it stays.
    netns::inside(&here, || {
        within(PATIENCE, "the routes go", || (prefixes() <= before).then_some(()));
    });
    Ok(figures)
}

fn through_bird() -> anyhow::Result<Figures> {
    let directory = tempfile::tempdir()?;
    let segment = Segment::new();
    let [here, giver, receiver] = [1, 2, 3].map(|number| segment.host(number));
    let mut text = format!(
        "router id {};\nprotocol device {{}}\nprotocol kernel {{ ipv4 {{ import none; export all; }}; }}\n",
        here.v4
    );
    for (host, asn) in [&giver, &receiver].into_iter().zip(ASNS) {
        text += &format!(
            "protocol bgp {{ local {} as 64512; neighbor {} as {asn}; passive; ipv4 {{ import all; export all; }}; }}\n",
            here.v4, host.v4
        );
    }
    let dir = directory.path().display();
    std::fs::write(directory.path().join("conf"), text)?;
    let _bird = here.netns.spawn(&format!("bird -f -c {dir}/conf -s {dir}/socket -P {dir}/pid"));
    let to = Raw::establish(&receiver, here.v4, Open::new(ASNS[1], receiver.v4));
    let from = Raw::establish(&giver, here.v4, Open::new(ASNS[0], giver.v4));
    measure(here.netns.path(), from, to, giver.v4)
}

fn measure(here: &Path, mut from: Raw, to: Raw, nexthop: Ipv4Addr) -> anyhow::Result<Figures> {
    let routes = routes(ROUTES, nexthop);
    let wanted = netns::inside(here, prefixes) + ROUTES;
    let since = Instant::now();
    let sender = std::thread::spawn(move || from.stream.write_all(&routes).map(|()| from));
    std::thread::scope(|scope| {
        let kernel = scope.spawn(|| {
            netns::inside(here, || {
                while prefixes() < wanted {
                    assert!(since.elapsed() < PATIENCE, "the routes are in the kernel");
                    std::thread::sleep(LOOK);
                }
            });
            since.elapsed().as_secs_f64()
        });
        receive(to.stream.try_clone()?, ROUTES)?;
        let receiver = since.elapsed().as_secs_f64();
        let kernel = kernel.join().expect("all routes come in time");
        let _from = sender.join().expect("the sender does not panic")?;
        Ok(Figures { kernel, receiver })
    })
}
