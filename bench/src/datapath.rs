//! One byte there and back by TCP between pods of two nodes, both ends on one processor: through IP in IP as this kernel does it,
//! against the same between the nodes themselves, and against the kernel's VXLAN.

use crate::table::{Bound, Row, median};
use anyhow::{Context, ensure};
use lab_tests::{Lab, PODS};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::netns;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(700);

pub fn run() -> anyhow::Result<Vec<Row>> {
    let lab = Lab::up(&["--mode", "ipip"]);
    let driver = lab.agent("master1")["ipip"].as_str().unwrap_or_default().to_owned();
    ensure!(driver == "stand-in", "the stand-in is measured, this kernel has `{driver}`");
    let [(node1, pod1, _), (node2, pod2, _), _] = PODS;
    let (here, there) = (lab.place(node1, pod1), lab.place(node2, pod2));
    let pods = || ping_pong(&here.netns, here.addr, &there.netns);
    let nodes = || ping_pong(&lab.netns(node1), IpAddr::from([192, 168, 50, 161]), &lab.netns(node2));
    // Turn by turn, so that whatever the machine does besides meets all alike.
    let (mut ipip, mut raw, mut vxlan) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        raw.push(nodes()?);
        ipip.push(pods()?);
        lab.patch_pool(r#"{"ipipMode":"Never","vxlanMode":"Always"}"#);
        lab.await_device("vxlan.calico");
        vxlan.push(pods()?);
        lab.patch_pool(r#"{"ipipMode":"Always","vxlanMode":"Never"}"#);
        lab.await_device("tunl0");
    }
    let ours = median(ipip);
    let row = |peer, figures, bound| Row {
        what: "1 byte between pods by the stand-in".into(),
        unit: "µs",
        ours,
        peer: Some((peer, median(figures))),
        bound: Bound::AtMost(bound),
    };
    Ok(vec![row("between the nodes, raw", raw, 1.45), row("the kernel's VXLAN", vxlan, 1.0)])
}

/// The middle time there and back, in microseconds.
fn ping_pong(server: &Path, addr: IpAddr, client: &Path) -> anyhow::Result<f64> {
    let listener = netns::inside(server, || TcpListener::bind((addr, 0)))?;
    let to = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        pin()?;
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut byte = [0];
        while stream.read(&mut byte)? == 1 {
            stream.write_all(&byte)?;
        }
        Ok(())
    });
    let times = netns::inside(client, || -> std::io::Result<Vec<f64>> {
        pin()?;
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
        stream.set_nodelay(true)?;
        let (start, mut times, mut byte) = (Instant::now(), Vec::new(), [1]);
        while start.elapsed() < ROUND {
            let sent = Instant::now();
            stream.write_all(&byte)?;
            stream.read_exact(&mut byte)?;
            times.push(sent.elapsed().as_secs_f64() * 1e6);
        }
        Ok(times)
    })
    .context("no way between the two ends")?;
    echo.join().expect("it does not panic")?;
    Ok(median(times))
}

fn pin() -> std::io::Result<()> {
    let mut first = CpuSet::new();
    first.set(0);
    Ok(sched_setaffinity(None, &first)?)
}
