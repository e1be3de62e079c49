//! Between pods of two nodes through IP in IP as this kernel does it, against the same between the nodes themselves, and against the
//! kernel's VXLAN: one byte there and back by TCP, both ends on one processor; a stream; small datagrams, on whatever processors.

use crate::table::{Bound, Row, median};
use anyhow::{Context, ensure};
use lab_tests::{Lab, PODS};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::netns;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(700);

/// One way between two namespaces.
struct Way<'a> {
    server: &'a Path,
    addr: IpAddr,
    client: &'a Path,
}

/// What was measured on one way, round by round.
#[derive(Default)]
struct Figures {
    /// A byte there and back, in µs.
    there_and_back: Vec<f64>,
    /// A stream, in Gbit/s.
    stream: Vec<f64>,
    /// Small datagrams that arrive, in thousands a second.
    datagrams: Vec<f64>,
}

impl Figures {
    fn take(&mut self, way: &Way<'_>) -> anyhow::Result<()> {
        self.there_and_back.push(ping_pong(way.server, way.addr, way.client)?);
        self.stream.push(stream(way)?);
        self.datagrams.push(datagrams(way)?);
        Ok(())
    }
}

pub fn run() -> anyhow::Result<Vec<Row>> {
    let lab = Lab::up(&["--mode", "ipip"]);
    let driver = lab.agent("master1")["ipip"].as_str().unwrap_or_default().to_owned();
    ensure!(driver == "stand-in", "the stand-in is measured, this kernel has `{driver}`");
    let [(node1, pod1, _), (node2, pod2, _), _] = PODS;
    let (here, there) = (lab.place(node1, pod1), lab.place(node2, pod2));
    let (host1, host2) = (lab.netns(node1), lab.netns(node2));
    let pods = Way { server: &here.netns, addr: here.addr, client: &there.netns };
    let nodes = Way { server: &host1, addr: IpAddr::from([192, 168, 50, 161]), client: &host2 };
    // Turn by turn, so that whatever the machine does besides meets all alike.
    let (mut ipip, mut raw, mut vxlan) = (Figures::default(), Figures::default(), Figures::default());
    for _ in 0..ROUNDS {
        raw.take(&nodes)?;
        ipip.take(&pods)?;
        lab.patch_pool(r#"{"ipipMode":"Never","vxlanMode":"Always"}"#);
        lab.await_device("vxlan.calico");
        vxlan.take(&pods)?;
        lab.patch_pool(r#"{"ipipMode":"Always","vxlanMode":"Never"}"#);
        lab.await_device("tunl0");
    }
    let row = |what: &str, unit, ours: &[f64], peer: (&'static str, &[f64]), bound| Row {
        what: what.into(),
        unit,
        ours: median(ours.to_vec()),
        peer: Some((peer.0, median(peer.1.to_vec()))),
        bound,
    };
    let mut rows = Vec::new();
    for (name, peer, bound) in [("between the nodes, raw", &raw, 1.45), ("the kernel's VXLAN", &vxlan, 1.0)] {
        let bound = Bound::AtMost(bound);
        let (there, stream, datagrams) = (&peer.there_and_back, &peer.stream, &peer.datagrams);
        rows.push(row(
            "1 byte between pods by the stand-in",
            "µs",
            &ipip.there_and_back,
            (name, there),
            bound,
        ));
        rows.push(row("a TCP stream", "Gbit/s", &ipip.stream, (name, stream), Bound::Recorded));
        rows.push(row("UDP of 18 bytes", "1000/s", &ipip.datagrams, (name, datagrams), Bound::Recorded));
    }
    Ok(rows)
}

/// What one TCP connection carries, in Gbit/s.
fn stream(way: &Way<'_>) -> anyhow::Result<f64> {
    let listener = netns::inside(way.server, || TcpListener::bind((way.addr, 0)))?;
    let to = listener.local_addr()?;
    let sink = std::thread::spawn(move || -> std::io::Result<f64> {
        let (mut stream, _) = listener.accept()?;
        let (mut buffer, mut bytes, start) = (vec![0; 1 << 17], 0_usize, Instant::now());
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(bytes as f64 * 8e-9 / start.elapsed().as_secs_f64()),
                read => bytes += read,
            }
        }
    });
    netns::inside(way.client, || -> std::io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
        let (start, text) = (Instant::now(), vec![0; 1 << 17]);
        while start.elapsed() < ROUND {
            stream.write_all(&text)?;
        }
        Ok(())
    })
    .context("no way between the two ends")?;
    Ok(sink.join().expect("it does not panic")?)
}

/// How many datagrams of one sender arrive, in thousands a second.
fn datagrams(way: &Way<'_>) -> anyhow::Result<f64> {
    let server = netns::inside(way.server, || UdpSocket::bind((way.addr, 0)))?;
    server.set_read_timeout(Some(Duration::from_millis(200)))?;
    let to = server.local_addr()?;
    let sink = std::thread::spawn(move || -> u64 {
        let (mut count, mut buffer) = (0, [0; 64]);
        while server.recv(&mut buffer).is_ok() {
            count += 1;
        }
        count
    });
    let start = Instant::now();
    netns::inside(way.client, || -> std::io::Result<()> {
        let any: IpAddr = Ipv4Addr::UNSPECIFIED.into();
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(to)?;
        while start.elapsed() < ROUND {
            for _ in 0..64 {
                socket.send(&[0; 18])?;
            }
        }
        Ok(())
    })
    .context("no way between the two ends")?;
    let took = start.elapsed().as_secs_f64();
    Ok(sink.join().expect("it does not panic") as f64 / took / 1e3)
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
