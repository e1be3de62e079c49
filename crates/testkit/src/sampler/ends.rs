//! The ends of what a sampler sends: UDP both ways, one long connection, and many short ones.

use super::report::{Dialled, Stream};
use super::{PERIOD, Place};
use crate::{netns, slowness};
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const DIAL_PERIOD: Duration = Duration::from_millis(20);
const DIAL_DEADLINE: Duration = Duration::from_secs(5);
/// How long after the last sample an answer counts as late, and not as lost.
const GRACE: Duration = Duration::from_millis(500);
/// Receive buffer: a small packet takes less than a kilobyte of it, so that these are ten seconds.
const BUFFER: usize = 8 << 20;

pub(super) struct Arrived {
    pub start: Instant,
    pub packets: Vec<(u64, Instant)>,
    pub end: Instant,
}

#[derive(Default)]
pub(super) struct Sent {
    pub planned: u64,
    pub sent: u64,
    pub refused: u64,
    pub slip: Duration,
}

impl Arrived {
    pub fn longest_gap(&self) -> Duration {
        let arrivals = self.packets.iter().map(|(_, at)| *at);
        let times: Vec<Instant> = [self.start].into_iter().chain(arrivals).chain([self.end]).collect();
        let gaps = times.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0]));
        gaps.max().unwrap_or_default()
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

pub(super) fn bind(place: &Place) -> UdpSocket {
    let socket = netns::inside(&place.netns, || UdpSocket::bind((place.addr, 0)));
    let socket = socket.expect("the place has its address");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket's option");
    set_socket_recv_buffer_size_force(&socket, BUFFER).expect("tests run as root");
    socket
}

pub(super) fn send(socket: &UdpSocket, target: SocketAddr, stop: &AtomicBool) -> Sent {
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

pub(super) fn receive(socket: &UdpSocket, stop: &AtomicBool) -> Arrived {
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

pub(super) fn write_stream(own: IpAddr, target: SocketAddr, stop: &AtomicBool) -> Stream {
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
pub(super) fn read_stream(listener: &TcpListener, stop: &AtomicBool) -> u64 {
    let Some(mut connection) = next_connection(listener, stop) else { return 0 };
    let _ = connection.set_read_timeout(Some(GRACE * 20 * slowness()));
    let mut expected = 0;
    let mut record = [0; 8];
    while connection.read_exact(&mut record).is_ok() && u64::from_be_bytes(record) == expected {
        expected += 1;
    }
    expected
}

pub(super) fn dial(own: IpAddr, target: SocketAddr, stop: &AtomicBool) -> Dialled {
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

pub(super) fn accept(listener: &TcpListener, stop: &AtomicBool) {
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
