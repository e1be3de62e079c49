//! The packet sampler: says how many packets a pair of places lost, and for how long nothing came through, while something
//! else happens to the network between them.
//!
//! ```text
//!   place a                                          place b
//!   sender ──1 kHz UDP, numbered──────────────────► receiver
//!   receiver ◄──────────────────1 kHz UDP, numbered── sender
//!   stream ──1 kHz, numbered, one TCP connection──► reader
//!   dialler ──a new TCP connection every 20 ms────► acceptor, which answers a byte
//! ```
//!
//! A sender keeps to a schedule and records by how much it was late, so that a starved sender is told from a lossy network.
//! A run that sent fewer than 99 % of the planned samples proves nothing, and fails. After a starvation everything that is
//! due is sent at once: the receivers hold that much. On a machine that is emulated, all times are longer by its slowness.
//! Ports are the kernel's choice, and each direction's own, so that a place can be an end of many samplers, and a NAT on the
//! way sees two flows that have nothing to do with each other.

use crate::{netns, slowness};
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use std::fmt;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_millis(1);
const DIAL_PERIOD: Duration = Duration::from_millis(20);
const DIAL_DEADLINE: Duration = Duration::from_secs(8);
/// A connection that takes longer lost packets, or the machine stood still: then the senders were late, too.
const DIAL_LIMIT: Duration = Duration::from_secs(2);
/// How long after the last sample an answer counts as late, and not as lost.
const GRACE: Duration = Duration::from_millis(500);
/// Receive buffer: a small packet takes less than a kilobyte of it, so that these are ten seconds.
const BUFFER: usize = 8 << 20;
/// Samples that a sender may owe at the end, however short the run was.
const OWED: u64 = 5;

/// One end of what is sampled.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file on which its namespace is mounted.
    pub netns: PathBuf,
    pub addr: IpAddr,
}

/// A sampler that runs.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    forth: Way,
    back: Way,
    stream: JoinHandle<Stream>,
    reader: JoinHandle<u64>,
    dialler: JoinHandle<Dialled>,
    acceptor: JoinHandle<()>,
}

/// Both ends of one direction.
struct Way {
    sender: JoinHandle<Sent>,
    receiver: JoinHandle<Arrived>,
}

/// What a run saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// From `a` to `b`, and back.
    pub forth: Direction,
    pub back: Direction,
    pub stream: Stream,
    /// Records of the stream that arrived.
    pub stream_read: u64,
    pub dialled: Dialled,
}

/// One direction of numbered UDP packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Direction {
    pub planned: u64,
    pub sent: u64,
    pub lost: u64,
    pub duplicated: u64,
    /// The longest time between two arrivals, from the beginning to the first and from the last to the end as well.
    pub longest_gap: Duration,
    /// The most that the sender was behind its schedule.
    pub slip: Duration,
    /// Sends that the sender's own kernel refused.
    pub refused: u64,
}

/// The long TCP connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    pub planned: u64,
    pub written: u64,
    /// The longest time that a write took.
    pub longest_write: Duration,
    pub error: Option<String>,
}

/// The short TCP connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialled {
    pub planned: u64,
    pub good: u64,
    pub failed: u64,
    pub longest: Duration,
}

struct Arrived {
    start: Instant,
    packets: Vec<(u64, Instant)>,
    end: Instant,
}

#[derive(Default)]
struct Sent {
    planned: u64,
    sent: u64,
    refused: u64,
    slip: Duration,
}

impl Sampler {
    /// Starts sampling between two places.
    ///
    /// # Panics
    /// If a place has not its address, or its ports are taken.
    pub fn start(a: &Place, b: &Place) -> Sampler {
        let stop = Arc::new(AtomicBool::new(false));
        let way = |from: &Place, to: &Place| {
            let (from, to) = (bind(from), bind(to));
            let target = to.local_addr().expect("it is bound");
            let (stop_sender, stop_receiver) = (stop.clone(), stop.clone());
            Way {
                receiver: std::thread::spawn(move || receive(&to, &stop_receiver)),
                sender: std::thread::spawn(move || send(&from, target, &stop_sender)),
            }
        };
        let listen = || {
            let listener = netns::inside(&b.netns, || TcpListener::bind((b.addr, 0)));
            let listener = listener.expect("the place has its address");
            listener.set_nonblocking(true).expect("a socket's option");
            let target = listener.local_addr().expect("it is bound");
            (listener, target)
        };
        let ((stream_listener, stream_target), (dial_listener, dial_target)) = (listen(), listen());
        let (stream_netns, dial_netns, own) = (netns::open(&a.netns), netns::open(&a.netns), a.addr);
        let stops: [Arc<AtomicBool>; 4] = std::array::from_fn(|_| stop.clone());
        let [stop_reader, stop_stream, stop_acceptor, stop_dialler] = stops;
        Sampler {
            forth: way(a, b),
            back: way(b, a),
            reader: std::thread::spawn(move || read_stream(&stream_listener, &stop_reader)),
            stream: std::thread::spawn(move || {
                stream_netns.enter().expect("tests run as root");
                write_stream(own, stream_target, &stop_stream)
            }),
            acceptor: std::thread::spawn(move || accept(&dial_listener, &stop_acceptor)),
            dialler: std::thread::spawn(move || {
                dial_netns.enter().expect("tests run as root");
                dial(own, dial_target, &stop_dialler)
            }),
            stop,
        }
    }

    /// Ends several runs at the same time.
    pub fn stop_all(samplers: Vec<Sampler>) -> Vec<Report> {
        for sampler in &samplers {
            sampler.stop.store(true, Ordering::Relaxed);
        }
        samplers.into_iter().map(Sampler::stop).collect()
    }

    /// Ends the run, after what is under way had its time to arrive.
    pub fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let report = Report {
            forth: self.forth.join(),
            back: self.back.join(),
            stream: self.stream.join().expect("no panic"),
            stream_read: self.reader.join().expect("no panic"),
            dialled: self.dialler.join().expect("no panic"),
        };
        self.acceptor.join().expect("no panic");
        report
    }
}

impl Way {
    fn join(self) -> Direction {
        let sent = self.sender.join().expect("no panic");
        let arrived = self.receiver.join().expect("no panic");
        let mut numbers: Vec<u64> = arrived.packets.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        Direction {
            planned: sent.planned,
            sent: sent.sent,
            lost: sent.sent - numbers.len() as u64,
            duplicated: (arrived.packets.len() - numbers.len()) as u64,
            longest_gap: arrived.longest_gap(),
            slip: sent.slip,
            refused: sent.refused,
        }
    }
}

impl Arrived {
    fn longest_gap(&self) -> Duration {
        let arrivals = self.packets.iter().map(|(_, at)| *at);
        let times: Vec<Instant> = [self.start].into_iter().chain(arrivals).chain([self.end]).collect();
        let gaps = times.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0]));
        gaps.max().unwrap_or_default()
    }
}

impl Report {
    /// Packets lost and refused, both ways.
    pub fn lost(&self) -> u64 {
        [&self.forth, &self.back].map(|way| way.lost + way.refused).iter().sum()
    }

    /// Nothing was lost, refused or reset, and all four senders kept to their schedules, so that the run can say so.
    ///
    /// # Panics
    /// Otherwise, with the whole report.
    pub fn assert_nothing_lost(&self) {
        self.assert_dense();
        assert_eq!(self.lost(), 0, "packets were lost\n{self}");
        assert_eq!(self.stream.error, None, "the stream broke\n{self}");
        assert_eq!(self.stream.written, self.stream_read, "the stream lost data\n{self}");
        assert_eq!(self.dialled.failed, 0, "connections failed\n{self}");
        let limit = DIAL_LIMIT * slowness() + self.forth.slip.max(self.back.slip);
        assert!(self.dialled.longest < limit, "a connection took long\n{self}");
        assert!(is_dense(self.stream.written, self.stream.planned), "the stream wrote too little\n{self}");
        assert!(is_dense(self.dialled.good, self.dialled.planned), "too few connections were tried\n{self}");
    }

    /// Each way was cut once at most, no longer than this, and lost nothing at any other time; the stream outlived it, whole.
    ///
    /// # Panics
    /// Otherwise, with the whole report.
    pub fn assert_one_outage(&self, limit: Duration) {
        self.assert_dense();
        for way in [&self.forth, &self.back] {
            assert!(way.longest_gap <= limit + way.slip, "it was cut for longer than {limit:?}\n{self}");
            let in_the_gap = way.longest_gap.as_millis() / (PERIOD * slowness()).as_millis();
            let lost = u128::from(way.lost + way.refused);
            assert!(lost <= in_the_gap + u128::from(OWED), "it was cut more than once\n{self}");
        }
        assert_eq!(self.stream.error, None, "the stream broke\n{self}");
        assert_eq!(self.stream.written, self.stream_read, "the stream lost data\n{self}");
    }

    /// At least 99 % of the planned packets were sent, the stream carried something, and a connection came about. What waits
    /// for an answer falls behind when packets are lost: more can be said only of a run that lost none.
    ///
    /// # Panics
    /// Otherwise: the machine was too busy, or the places too far apart, for the run to prove anything.
    pub fn assert_dense(&self) {
        for way in [&self.forth, &self.back] {
            assert!(is_dense(way.sent + way.refused, way.planned), "too few samples were sent\n{self}");
        }
        assert!(self.stream_read > 0, "the stream carried nothing\n{self}");
        assert!(self.dialled.good > 0, "no connection came about\n{self}");
    }
}

/// Whether so many samples of those that were planned prove anything.
fn is_dense(done: u64, planned: u64) -> bool {
    done > 0 && done + (planned / 100).max(OWED) >= planned
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, way) in [("a→b", &self.forth), ("b→a", &self.back)] {
            writeln!(
                f,
                "{name}: {} of {} planned sent, {} lost, {} refused, {} doubled, longest gap {:?}, sender late by up to {:?}",
                way.sent, way.planned, way.lost, way.refused, way.duplicated, way.longest_gap, way.slip
            )?;
        }
        let stream = &self.stream;
        writeln!(
            f,
            "stream: {} of {} planned records written, {} read, longest write {:?}, {}",
            stream.written,
            stream.planned,
            self.stream_read,
            stream.longest_write,
            stream.error.as_deref().unwrap_or("whole")
        )?;
        let dialled = &self.dialled;
        write!(
            f,
            "connections: {} of {} planned good, {} failed, longest {:?}",
            dialled.good, dialled.planned, dialled.failed, dialled.longest
        )
    }
}

/// Ticks at `start + n × period` until told to stop; `f` gets the number and by how much the tick is late.
fn on_schedule(period: Duration, stop: &AtomicBool, mut f: impl FnMut(u64, Duration)) -> u64 {
    let start = Instant::now();
    let mut number = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        let due = start + period * number;
        let now = Instant::now();
        match due.checked_duration_since(now) {
            Some(early) if !early.is_zero() => std::thread::sleep(early),
            _ => {
                f(number.into(), now - due);
                number += 1;
            }
        }
    }
    u64::try_from(start.elapsed().as_micros() / period.as_micros()).expect("no run lasts for centuries")
}

fn bind(place: &Place) -> UdpSocket {
    let socket = netns::inside(&place.netns, || UdpSocket::bind((place.addr, 0)));
    let socket = socket.expect("the place has its address");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket's option");
    set_socket_recv_buffer_size_force(&socket, BUFFER).expect("tests run as root");
    socket
}

fn send(socket: &UdpSocket, target: SocketAddr, stop: &AtomicBool) -> Sent {
    let mut sent = Sent::default();
    let planned = on_schedule(PERIOD * slowness(), stop, |number, late| {
        sent.slip = sent.slip.max(late);
        match socket.send_to(&number.to_be_bytes(), target) {
            Ok(_) => sent.sent += 1,
            Err(_) => sent.refused += 1,
        }
    });
    Sent { planned, ..sent }
}

fn receive(socket: &UdpSocket, stop: &AtomicBool) -> Arrived {
    let (start, mut packets) = (Instant::now(), Vec::new());
    let mut buffer = [0; 8];
    let mut end = None;
    loop {
        // Anything else is a timeout, or an earlier packet of ours that came back as an ICMP error.
        if let Ok((8, _)) = socket.recv_from(&mut buffer) {
            packets.push((u64::from_be_bytes(buffer), Instant::now()));
        }
        if stop.load(Ordering::Relaxed) {
            let end = *end.get_or_insert_with(Instant::now);
            if end.elapsed() > GRACE * slowness() {
                return Arrived { start, packets, end };
            }
        }
    }
}

/// A connection from this address of the thread's namespace, which may have others.
fn connect(own: IpAddr, target: SocketAddr, deadline: Duration) -> std::io::Result<TcpStream> {
    let family = if own.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Linux takes it for the deadline of connect(2) too (socket(7)).
    set_socket_timeout(&socket, Timeout::Send, Some(deadline))?;
    net::bind(&socket, &SocketAddr::new(own, 0))?;
    net::connect(&socket, &target)?;
    Ok(TcpStream::from(socket))
}

fn write_stream(own: IpAddr, target: SocketAddr, stop: &AtomicBool) -> Stream {
    let mut stream = Stream::default();
    let mut connection = match connect(own, target, Duration::from_secs(5) * slowness()) {
        Ok(connection) => connection,
        Err(e) => return Stream { error: Some(format!("cannot connect: {e}")), ..stream },
    };
    let _ = connection.set_nodelay(true);
    let _ = connection.set_write_timeout(Some(Duration::from_secs(10)));
    stream.planned = on_schedule(PERIOD * slowness(), stop, |number, _| {
        if stream.error.is_some() {
            return;
        }
        let before = Instant::now();
        match connection.write_all(&number.to_be_bytes()) {
            Ok(()) => stream.written += 1,
            Err(e) => stream.error = Some(e.to_string()),
        }
        stream.longest_write = stream.longest_write.max(before.elapsed());
    });
    stream
}

/// Records that came, in order and without a gap; stops counting at the first that is not the next.
fn read_stream(listener: &TcpListener, stop: &AtomicBool) -> u64 {
    let Some(mut connection) = next_connection(listener, stop) else { return 0 };
    let _ = connection.set_read_timeout(Some(GRACE * 20 * slowness()));
    let mut expected = 0;
    let mut record = [0; 8];
    while connection.read_exact(&mut record).is_ok() && u64::from_be_bytes(record) == expected {
        expected += 1;
    }
    expected
}

fn dial(own: IpAddr, target: SocketAddr, stop: &AtomicBool) -> Dialled {
    let (mut dialled, deadline) = (Dialled::default(), DIAL_DEADLINE * slowness());
    dialled.planned = on_schedule(DIAL_PERIOD * slowness(), stop, |_, _| {
        let before = Instant::now();
        let answered = connect(own, target, deadline).and_then(|mut connection| {
            connection.set_read_timeout(Some(deadline))?;
            connection.read_exact(&mut [0])
        });
        match answered {
            Ok(()) => dialled.good += 1,
            Err(_) => dialled.failed += 1,
        }
        dialled.longest = dialled.longest.max(before.elapsed());
    });
    dialled
}

fn accept(listener: &TcpListener, stop: &AtomicBool) {
    let mut until = None;
    loop {
        while let Some(mut connection) = next_connection(listener, stop) {
            let _ = connection.write_all(&[1]);
        }
        if Instant::now() > *until.get_or_insert_with(|| Instant::now() + GRACE * slowness()) {
            return;
        }
        std::thread::sleep(PERIOD);
    }
}

fn next_connection(listener: &TcpListener, stop: &AtomicBool) -> Option<TcpStream> {
    loop {
        match listener.accept() {
            Ok((connection, _)) => {
                connection.set_nonblocking(false).ok()?;
                return Some(connection);
            }
            Err(_) if stop.load(Ordering::Relaxed) => return None,
            Err(_) => std::thread::sleep(PERIOD),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::Netns;

    fn pair() -> (Netns, Netns, Place, Place) {
        let (a, b) = (Netns::new(), Netns::new());
        a.run(&format!("ip link add v type veth peer name v netns {}", b.path().display()));
        a.run("ip address add 10.0.0.1/24 dev v; ip link set v up");
        b.run("ip address add 10.0.0.2/24 dev v; ip link set v up");
        let place = |netns: &Netns, last| Place { netns: netns.path().into(), addr: [10, 0, 0, last].into() };
        let (here, there) = (place(&a, 1), place(&b, 2));
        (a, b, here, there)
    }

    #[test]
    fn a_whole_wire_loses_nothing() {
        let (_a, _b, here, there) = pair();
        let sampler = Sampler::start(&here, &there);
        std::thread::sleep(Duration::from_millis(500));
        sampler.stop().assert_nothing_lost();
    }

    #[test]
    fn a_place_can_be_an_end_of_many_samplers() {
        let (_a, _b, here, there) = pair();
        let samplers = [Sampler::start(&here, &there), Sampler::start(&there, &here)];
        std::thread::sleep(Duration::from_millis(300));
        for sampler in samplers {
            sampler.stop().assert_nothing_lost();
        }
    }

    #[test]
    fn a_run_in_which_no_connection_comes_about_proves_nothing() {
        let (a, _b, here, there) = pair();
        a.run("nft 'add table t; add chain t c { type filter hook output priority 0; }; add rule t c tcp flags syn drop'");
        let sampler = Sampler::start(&here, &there);
        std::thread::sleep(Duration::from_millis(300));
        let report = sampler.stop();
        assert_eq!(report.lost(), 0, "{report}");
        assert!(std::panic::catch_unwind(|| report.assert_dense()).is_err(), "{report}");
    }

    #[test]
    fn what_a_starved_receiver_did_not_read_is_kept() {
        let (_a, _b, here, there) = pair();
        let (from, to) = (bind(&here), bind(&there));
        for number in 0..5000_u64 {
            from.send_to(&number.to_be_bytes(), to.local_addr().unwrap()).unwrap();
        }
        assert_eq!(receive(&to, &AtomicBool::new(true)).packets.len(), 5000);
    }

    #[test]
    fn a_cut_is_seen_with_its_length() {
        let (a, _b, here, there) = pair();
        let sampler = Sampler::start(&here, &there);
        std::thread::sleep(Duration::from_millis(200));
        a.run("nft 'add table t; add chain t c { type filter hook output priority 0; policy drop; }'");
        std::thread::sleep(Duration::from_millis(100));
        a.run("nft delete table t");
        std::thread::sleep(Duration::from_millis(200));
        let report = sampler.stop();
        report.assert_one_outage(Duration::from_millis(500));
        assert!((50..1000).contains(&report.lost()), "{report}");
        assert!(report.forth.longest_gap >= Duration::from_millis(90), "{report}");
        assert_eq!(report.back.lost, 0, "{report}");
    }
}
