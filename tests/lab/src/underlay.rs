//! A bad underlay: between one node and its subnet every frame goes through a process that loses some, sends some twice, and
//! holds each back for a time of its own, so that they overtake each other.
//!
//! ```text
//!  node ── port0 ─ bridge `bad` ─ wire1 ══UDP══ relay ══UDP══ wire0 ─ bridge lan0 ── all others
//! ```
//!
//! The frames travel as VXLAN, whose datagrams any process can hold back: few kernels have `netem`.

use crate::Lab;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use testkit::netns::{self, Netns};
use testkit::sim::Rng;

/// Where the wires end, and where the relay listens. Between them is a subnet that nothing else uses.
const FABRIC: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const RELAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Of `wire0` and of `wire1`.
const PORTS: [u16; 2] = [7000, 7001];

/// How bad it is, in each direction.
#[derive(Clone, Debug)]
pub struct Badness {
    /// Of a thousand frames, how many are lost.
    pub lost: u64,
    /// Of a thousand frames, how many come twice.
    pub twice: u64,
    /// For how long one is held back, in milliseconds.
    pub delay: RangeInclusive<u64>,
}

/// What was done to the frames of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub carried: u32,
    pub lost: u32,
    pub twice: u32,
    /// Sent before one that came earlier.
    pub overtook: u32,
}

/// The underlay is bad, until this is dropped.
pub struct Underlay<'a> {
    lab: &'a Lab,
    _relay: Netns,
    stop: Arc<AtomicBool>,
    directions: Vec<JoinHandle<Done>>,
}

impl Lab {
    /// Puts the relay between the first node and its subnet.
    ///
    /// # Panics
    /// If the kernel does not have it.
    pub fn worsen(&self, badness: &Badness) -> Underlay<'_> {
        let relay = Netns::new();
        let wire = |n: usize, bridge: &str| {
            format!(
                "ip link add wire{n} mtu 1500 type vxlan id 1 local {FABRIC} remote {RELAY} dstport {port} nolearning && \
                 ethtool -K wire{n} tx off gso off gro off >/dev/null && ip link set wire{n} master {bridge} up && ",
                port = PORTS[n]
            )
        };
        // What is held back must be whole frames, with their checksums: no hardware follows to complete them.
        self.in_fabric(&format!(
            "ip link add relay0 mtu 1600 type veth peer name relay1 mtu 1600 netns {netns} && ip link set relay0 up && \
             ip address add {FABRIC}/30 dev relay0 && ip link add bad type bridge && ip link set bad up && {}{}\
             ip link set port0 master bad",
            wire(0, "lan0"),
            wire(1, "bad"),
            netns = relay.path().display(),
        ));
        relay.run(&format!("ip address add {RELAY}/30 dev relay1 && ip link set relay1 up"));
        let stop = Arc::new(AtomicBool::new(false));
        let sockets =
            relay.inside(|| PORTS.map(|port| UdpSocket::bind((RELAY, port)).expect("nothing else is there")));
        let directions = [(0, 1), (1, 0)].map(|(from, to)| {
            let ends = [from, to].map(|n: usize| sockets[n].try_clone().expect("a descriptor"));
            let (badness, stop) = (badness.clone(), stop.clone());
            std::thread::spawn(move || carry(ends, PORTS[to], &badness, from as u64, &stop))
        });
        Underlay { lab: self, _relay: relay, stop, directions: directions.into() }
    }

    fn in_fabric(&self, line: &str) {
        let done = netns::command(&self.netns("fabric"), "sh").args(["-c", line]).status();
        assert!(done.is_ok_and(|status| status.success()), "{line}");
    }
}

impl Underlay<'_> {
    /// Takes the relay out; what was done to the frames towards the node, and from it.
    ///
    /// # Panics
    /// If it had died.
    pub fn heal(mut self) -> Vec<Done> {
        self.stop.store(true, Ordering::Relaxed);
        let directions = std::mem::take(&mut self.directions);
        directions.into_iter().map(|thread| thread.join().expect("it carries frames")).collect()
    }
}

impl Drop for Underlay<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let lines = "ip link set port0 master lan0; ip link del wire0; ip link del wire1; ip link del bad; ip link del relay0";
        let _ = netns::command(&self.lab.netns("fabric"), "sh").args(["-c", lines]).status();
    }
}

/// Carries what comes by the first socket to `port` by the second.
fn carry([from, to]: [UdpSocket; 2], port: u16, badness: &Badness, seed: u64, stop: &AtomicBool) -> Done {
    let (mut rng, mut done, mut frame) = (Rng::stream(seed, "underlay"), Done::default(), vec![0; 2048]);
    // By the time at which each is due, and its place among all.
    let mut held: BTreeMap<(Instant, u32), Vec<u8>> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        while let Some(first) = held.first_entry().filter(|first| first.key().0 <= Instant::now()) {
            let ((_, place), frame) = first.remove_entry();
            done.overtook += u32::from(held.keys().any(|(_, other)| *other < place));
            let _ = to.send_to(&frame, (FABRIC, port));
        }
        let next = held
            .keys()
            .next()
            .map_or(Duration::from_millis(20), |(due, _)| due.saturating_duration_since(Instant::now()));
        from.set_read_timeout(Some(next.clamp(Duration::from_micros(100), Duration::from_millis(20))))
            .expect("a socket's option");
        // Nothing came in time, or a wire was not there yet.
        let Ok(len) = from.recv(&mut frame) else { continue };
        if rng.per_mille(badness.lost) {
            done.lost += 1;
            continue;
        }
        let copies = 1 + u32::from(rng.per_mille(badness.twice));
        done.twice += copies - 1;
        for _ in 0..copies {
            done.carried += 1;
            let delay = rng.between(*badness.delay.start(), *badness.delay.end());
            held.insert((Instant::now() + Duration::from_millis(delay), done.carried), frame[..len].to_vec());
        }
    }
    done
}
