//! ADD and DEL against `ptp` with `host-local` of the package containernetworking-plugins: one after the other, and ten at a
//! time. Both are called in the same way, on fresh namespaces, inside a node's namespace.

use crate::table::{Bound, Row, median};
use anyhow::{Context, ensure};
use lab_tests::Lab;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use testkit::netns::Netns;

const PODS: usize = 50;
const AT_ONCE: usize = 10;
const PEER: &str = "ptp + host-local";

/// A plugin, its configuration and where it runs.
struct Plugin {
    program: PathBuf,
    path: PathBuf,
    config: Value,
    node: PathBuf,
}

/// What a plugin took.
struct Took {
    add: f64,
    del: f64,
    adds_per_second: f64,
}

pub fn run() -> anyhow::Result<Vec<Row>> {
    let lab = Lab::up(&["--nodes", "1"]);
    let list: Value =
        serde_json::from_slice(&std::fs::read(lab.node_file("master1", "net.d/10-calico.conflist"))?)?;
    let mut config = list["plugins"][0].clone();
    config["name"] = list["name"].clone();
    config["cniVersion"] = json!("1.0.0");
    let bin = lab.root().join("bin");
    let ours =
        measure(&Plugin { program: bin.join("calico"), path: bin, config, node: lab.netns("master1") })?;

    let host = Netns::new();
    host.run("sysctl -qw net.ipv4.ip_forward=1");
    let leases = lab.root().join("host-local");
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "peer",
        "type": "ptp",
        "ipMasq": false,
        "ipam": {"type": "host-local", "dataDir": leases, "ranges": [[{"subnet": "10.71.0.0/16"}]]},
    });
    let path = PathBuf::from("/usr/lib/cni");
    let peer = measure(&Plugin { program: path.join("ptp"), path, config, node: host.path().to_owned() })?;

    let row = |what: &str, unit, ours, peer, bound| Row { what: what.to_owned(), unit, ours, peer, bound };
    Ok(vec![
        row("CNI ADD, one after the other", "ms", ours.add, Some((PEER, peer.add)), Bound::AtMost(0.5)),
        row("CNI DEL, one after the other", "ms", ours.del, Some((PEER, peer.del)), Bound::AtMost(0.3)),
        row("CNI ADD, ten at a time", "1/s", ours.adds_per_second, None, Bound::AtLeast(300.0)),
        row(
            "as above, against the peer",
            "1/s",
            ours.adds_per_second,
            Some((PEER, peer.adds_per_second)),
            Bound::AtLeast(1.0),
        ),
    ])
}

fn measure(plugin: &Plugin) -> anyhow::Result<Took> {
    let pods: Vec<Netns> = (0..PODS).map(|_| Netns::new()).collect();
    let (mut adds, mut dels) = (Vec::new(), Vec::new());
    for (n, pod) in pods.iter().enumerate() {
        adds.push(plugin.call("ADD", &format!("one-{n}"), pod.path())?);
    }
    for (n, pod) in pods.iter().enumerate() {
        dels.push(plugin.call("DEL", &format!("one-{n}"), pod.path())?);
    }
    let start = Instant::now();
    at_once(&pods, |n, pod| plugin.call("ADD", &format!("ten-{n}"), pod.path()))?;
    let adds_per_second = PODS as f64 / start.elapsed().as_secs_f64();
    at_once(&pods, |n, pod| plugin.call("DEL", &format!("ten-{n}"), pod.path()))?;
    Ok(Took { add: median(adds), del: median(dels), adds_per_second })
}

/// Does something for every pod, on ten threads that take the next as soon as they are free.
fn at_once(pods: &[Netns], f: impl Fn(usize, &Netns) -> anyhow::Result<f64> + Sync) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || {
            while let n = next.fetch_add(1, Ordering::Relaxed)
                && let Some(pod) = pods.get(n)
            {
                f(n, pod)?;
            }
            anyhow::Ok(())
        };
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })
}

impl Plugin {
    /// Calls it; how many milliseconds that took.
    fn call(&self, verb: &str, container: &str, netns: &Path) -> anyhow::Result<f64> {
        let mut command = Command::new(&self.program);
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", container)
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let node = netlink::netns::Netns::open_any(&self.node)?;
        let start = Instant::now();
        let mut child = node.start(&mut command)?.spawn().context("cannot run the plugin")?;
        child.stdin.take().context("piped")?.write_all(self.config.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        let took = start.elapsed().as_secs_f64() * 1000.0;
        ensure!(output.status.success(), "{verb} fails: {}", String::from_utf8_lossy(&output.stdout));
        Ok(took)
    }
}
