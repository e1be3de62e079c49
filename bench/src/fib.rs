//! 10 000 blocks of 1 000 nodes from the datastore into the kernel's routes: the whole agent against the netlink writer alone,
//! which is given the same routes. Also what such a cluster costs the agent in memory.

use crate::table::{Bound, Row, median};
use anyhow::{Context, ensure};
use kernel::route::{PROTO_CALICO, RouteKey, RouteKind, RouteScope, RouteValue, TABLE_MAIN};
use kernel::{Key, Netns as Place, Step, Value};
use lab_tests::{Lab, within};
use model::{Cidr, IfName};
use netlink::Writer;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use testkit::leaks::resident_kib;
use testkit::netns::{self, Netns};

const NODES: u32 = 1_000;
const BLOCKS: u32 = 10_000;
/// One takes some 35 ms, which a busy machine spoils.
const ROUNDS: usize = 9;

const NO_MESH: &str = "
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeToNodeMeshEnabled: false}
";

fn node(n: u32) -> Ipv4Addr {
    (u32::from(Ipv4Addr::new(10, 0, 0, 2)) + n).into()
}

fn block(n: u32) -> Cidr {
    let addr: Ipv4Addr = (u32::from(Ipv4Addr::new(10, 128, 0, 0)) + 4 * n).into();
    Cidr::containing(addr.into(), 30).expect("30 bits")
}

/// One node that runs, a thousand that are in the API only.
fn topology() -> String {
    let mut text = String::from(
        "mode: direct\npool: {name: large, cidr: 10.128.0.0/9, blockSize: 30}\nnodes:\n- {name: here, address: 10.0.255.1/16}\n",
    );
    for n in 0..NODES {
        let blocks: Vec<String> =
            (0..BLOCKS / NODES).map(|m| block(n * BLOCKS / NODES + m).to_string()).collect();
        let _ = writeln!(
            text,
            "- {{name: far-{n}, address: {}/16, absent: true, blocks: [{}]}}",
            node(n),
            blocks.join(", ")
        );
    }
    text
}

pub fn run() -> anyhow::Result<Vec<Row>> {
    let file = std::env::temp_dir().join(format!("tortie-bench-{}.yaml", std::process::id()));
    std::fs::write(&file, topology())?;
    let lab = Lab::up(&["--file", &file.display().to_string()]);
    std::fs::remove_file(&file)?;
    let here = lab.netns("here");
    wait_for(&here, BLOCKS);
    // A mesh of a thousand nodes is nothing that anybody runs.
    let no_mesh = lab.root().join("no-mesh.yaml");
    std::fs::write(&no_mesh, NO_MESH)?;
    lab.exec("here", &format!("calicoctl apply -f {}", no_mesh.display()));

    // It has just begun, and reads all that the agent is about to read.
    lab.verb(&["kill", "controller"]);
    let steps = steps();
    let mut rates = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rates.0.push(rate_of_agent(&lab, &here)?);
        rates.1.push(rate_of_writer(&steps)?);
    }
    let resident = resident_kib(lab.pid("node-here")) as f64 / 1024.0;

    Ok(vec![
        Row {
            what: "10 000 blocks into the FIB".into(),
            unit: "1/s",
            ours: median(rates.0),
            peer: Some(("batched netlink alone", median(rates.1))),
            bound: Bound::AtLeast(0.9),
        },
        Row {
            what: "agent, 1 000 nodes and 10 000 blocks".into(),
            unit: "MiB",
            ours: resident,
            peer: None,
            bound: Bound::AtMost(40.0),
        },
    ])
}

/// Routes a second that the agent writes when it starts and finds none.
fn rate_of_agent(lab: &Lab, here: &Path) -> anyhow::Result<f64> {
    lab.verb(&["kill", "node-here"]);
    lab.exec("here", "ip route flush proto 80");
    let monitor = Monitor::start(here);
    lab.verb(&["start", "node-here"]);
    wait_for(here, BLOCKS);
    Ok(f64::from(BLOCKS) / monitor.span()?.as_secs_f64())
}

/// Routes a second that the writer alone writes.
fn rate_of_writer(steps: &[Step]) -> anyhow::Result<f64> {
    let alone = Netns::new();
    alone.run(
        "ip link add ens192 type bridge; ip address add 10.0.255.1/16 dev ens192; ip link set ens192 up",
    );
    let monitor = Monitor::start(alone.path());
    let outcomes = alone.inside(|| anyhow::Ok(Writer::open()?.apply(steps)))?;
    ensure!(outcomes.len() == steps.len(), "the writer answers for every route");
    wait_for(alone.path(), BLOCKS);
    Ok(f64::from(BLOCKS) / monitor.span()?.as_secs_f64())
}

fn steps() -> Vec<Step> {
    let route = |n: u32| {
        let key = RouteKey { netns: Place::Host, table: TABLE_MAIN, dst: block(n), priority: 0 };
        let value = RouteValue {
            kind: RouteKind::Unicast,
            gateway: Some(IpAddr::V4(node(n * NODES / BLOCKS))),
            also: Vec::new(),
            device: Some(IfName::fixed("ens192")),
            scope: RouteScope::Universe,
            onlink: true,
            protocol: PROTO_CALICO,
            source: None,
            mtu: None,
        };
        Step::Create(Key::Route(key), Value::Route(value))
    };
    (0..BLOCKS).map(route).collect()
}

/// How many prefixes the kernel's main routing table holds. It may be one with the local table, and is listed twice then.
pub fn prefixes() -> u32 {
    let stat = std::fs::read_to_string("/proc/thread-self/net/fib_triestat").unwrap_or_default();
    let (_, main) = stat.split_once("Main:").unwrap_or_default();
    let count = main.lines().find_map(|line| line.trim().strip_prefix("Prefixes:"));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

fn wait_for(netns: &Path, count: u32) {
    netns::inside(netns, || {
        within(Duration::from_secs(60), "all routes are in the kernel", || prefixes() >= count);
    });
}

/// Watches the kernel's routes grow: when the first came, and when the last.
struct Monitor {
    watch: JoinHandle<Option<Duration>>,
    stop: Arc<AtomicBool>,
}

impl Monitor {
    fn start(netns: &Path) -> Monitor {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, path) = (stop.clone(), netns.to_owned());
        let watch = std::thread::spawn(move || netns::inside(&path, || growth(&stopped)));
        Monitor { watch, stop }
    }

    fn span(self) -> anyhow::Result<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.watch.join().expect("no panic").context("no route came")
    }
}

/// From the last look before the first route to the look that saw the last.
fn growth(stop: &AtomicBool) -> Option<Duration> {
    let (mut begin, mut end) = (None, None);
    let (mut seen, mut looked) = (prefixes(), Instant::now());
    while !stop.load(Ordering::Relaxed) {
        // A look walks all routes: more of them take a processor from the agent, which has two threads, and not from the writer.
        std::thread::sleep(Duration::from_millis(2));
        let now = prefixes();
        if now > seen {
            begin.get_or_insert(looked);
            end = Some(Instant::now());
        }
        (seen, looked) = (now, Instant::now());
    }
    Some(end? - begin?)
}
