//! A peer that means no good, beside one that has a session: it costs memory that stays, time that others wait for, or
//! neither. Measured from outside, one test at a time. `TORTIE_AT_LENGTH` gives as much as the catalogue of threats says.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "what a peer costs is measured")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;
mod octets;

use bgp::wire::{Capability, Ctx, Family, HoldTime, Message, Open, RouterId};
use bgp::{Config, ConnId, Input, Output, Speaker};
use model::{Asn, Duration, Instant};
use net::{addr, config, id, peer};
use octets::damage::{Draw, corpus};
use octets::framed;
use std::sync::{Mutex, MutexGuard, PoisonError};

const MIB: usize = 1 << 20;
/// Longer than anybody is held off, or has stale routes.
const CALM: Duration = Duration::from_secs(24 * 3600);
/// The catalogue's bound on a message of the largest size, where the compiler optimises.
const LARGE: std::time::Duration =
    std::time::Duration::from_millis(if cfg!(debug_assertions) { 20 } else { 1 });

/// Memory and time are the process's: whoever measures is alone.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn length(day: usize, night: usize) -> usize {
    if std::env::var_os("TORTIE_AT_LENGTH").is_some() { night } else { day }
}

/// The most memory that this process ever had, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// A speaker with a session with peer 1; peer 2 is the one that means no good.
struct Besieged {
    speaker: Speaker,
    now: Instant,
    since: Instant,
    conns: u64,
    /// Connections that the speaker did not close.
    open: std::collections::BTreeSet<ConnId>,
    /// The longest that it was busy at one time.
    busy: std::time::Duration,
}

impl Besieged {
    fn new() -> Besieged {
        let mut all: Config = config(0, 65000);
        for n in [1, 2] {
            let passive = bgp::PeerConfig { passive: true, ..peer(n, 65000 + u32::try_from(n).unwrap()) };
            all.peers.insert(id(n), passive);
        }
        let now = Instant::from_micros(1_000_000);
        let mut besieged = Besieged {
            speaker: Speaker::new(1),
            now,
            since: now,
            conns: 0,
            open: Default::default(),
            busy: Default::default(),
        };
        besieged.give(Input::Configure(all));
        // Without keepalives it is there for as long as nobody ends it.
        let conn = besieged.dial(1);
        besieged.give(Input::Bytes { conn, bytes: &open(1, 0) });
        besieged.assert_undisturbed();
        besieged
    }

    fn give(&mut self, input: Input<'_>) {
        let begun = std::time::Instant::now();
        self.speaker.handle(self.now, input);
        let mut taken = Vec::new();
        while let Some(output) = self.speaker.poll() {
            if let Output::Close { conn } = output {
                self.speaker.poll_transmit(conn, 65536, &mut taken);
                self.open.remove(&conn);
            }
        }
        let open: Vec<ConnId> = self.open.iter().copied().collect();
        for conn in open.iter().rev().take(3) {
            self.speaker.poll_transmit(*conn, 65536, &mut taken);
        }
        self.busy = self.busy.max(begun.elapsed());
    }

    /// A connection of peer `n`.
    fn dial(&mut self, n: u8) -> ConnId {
        self.conns += 1;
        let conn = ConnId::Accepted(self.conns);
        self.open.insert(conn);
        let (local, remote) = ((addr(0), 179).into(), (addr(n.into()), 40000).into());
        self.give(Input::Accepted { conn, local, remote });
        conn
    }

    /// Peer 2 is let in again.
    fn calm(&mut self) {
        self.now = self.now + CALM;
        self.give(Input::Timeout);
    }

    fn state(&self, n: usize) -> &'static str {
        self.speaker.status().iter().find(|peer| peer.id == id(n)).unwrap().state
    }

    fn assert_undisturbed(&self) {
        let status = self.speaker.status();
        let honest = status.iter().find(|peer| peer.id == id(1)).unwrap();
        assert_eq!((honest.state, honest.since), ("Established", self.since));
    }
}

/// An OPEN of peer `n` and a KEEPALIVE.
fn open(n: u8, hold: u16) -> Vec<u8> {
    let asn = Asn(65000 + u32::from(n));
    let capabilities = vec![
        Capability::Multiprotocol(Family::IPV4),
        Capability::Multiprotocol(Family::IPV6),
        Capability::FourOctetAs(asn),
        Capability::ExtendedMessage,
    ];
    let router_id = RouterId([9, 9, 9, n].into());
    let open = Open { asn, hold_time: HoldTime::new(hold).unwrap(), router_id, capabilities };
    let mut octets = Vec::new();
    for message in [Message::Open(open), Message::Keepalive] {
        message.encode(&Ctx::default(), &mut octets).unwrap();
    }
    octets
}

#[test]
fn s23_sessions_of_damaged_messages_leave_nothing_behind() {
    let _alone = alone();
    let mut besieged = Besieged::new();
    let (seeds, mut draw, hello) = (corpus(), Draw(23), open(2, 0));
    let (quota, mut given, mut sessions) = (length(128, 1024) * MIB, 0, 0u32);
    let mut warm = None;
    while given < quota {
        besieged.calm();
        let conn = besieged.dial(2);
        besieged.give(Input::Bytes { conn, bytes: &hello });
        sessions += u32::from(besieged.state(2) == "Established");
        let mut octets = Vec::new();
        while octets.len() < 20_000 {
            let (kind, mut body) = seeds[draw.below(seeds.len())].clone();
            let (_, other) = &seeds[draw.below(seeds.len())];
            // One in some is whole, so that a session lasts.
            for _ in 0..draw.below(4) {
                draw.damage(&mut body, other);
            }
            octets.extend(framed(kind, &body));
        }
        let mut rest = &octets[..];
        while !rest.is_empty() && besieged.open.contains(&conn) {
            let (piece, after) = rest.split_at(rest.len().min(1 + draw.below(3000)));
            besieged.give(Input::Bytes { conn, bytes: piece });
            rest = after;
        }
        given += octets.len();
        if besieged.open.remove(&conn) {
            besieged.give(Input::Closed { conn, why: "it goes".to_owned() });
        }
        if warm.is_none() && given > quota / 8 {
            warm = Some(peak());
        }
    }
    besieged.assert_undisturbed();
    let grown = peak() - warm.unwrap();
    println!("{sessions} sessions, {given} octets, then {grown} bytes more than after an eighth of them");
    assert!(sessions > 100, "{sessions} sessions prove nothing");
    assert!(grown < MIB, "{grown} bytes more after {given} octets");
}

#[test]
fn s24_ten_thousand_connections_that_say_an_octet_at_a_time_hold_nobody_up() {
    let _alone = alone();
    let mut besieged = Besieged::new();
    let hello = open(2, 90);
    let before = peak();
    // All at once: each says its first octet, then each its second.
    let conns: Vec<ConnId> = (0..10_000).map(|_| besieged.dial(2)).collect();
    let kept = besieged.open.len();
    for octet in &hello {
        for conn in &conns {
            if besieged.open.contains(conn) {
                besieged.give(Input::Bytes { conn: *conn, bytes: &[*octet] });
            }
        }
    }
    besieged.assert_undisturbed();
    let (grown, busy) = (peak() - before, besieged.busy);
    println!(
        "{kept} connections were kept, {} are, {grown} bytes, busy for {busy:?} at most",
        besieged.open.len()
    );
    assert!(busy < std::time::Duration::from_secs(1), "others waited {busy:?}");
    assert!(besieged.open.len() <= 2, "one session a peer, not {}", besieged.open.len() - 1);
    assert!(grown < 32 * MIB, "{grown} bytes for {} connections", conns.len());
}

/// Bodies of UPDATEs as large as messages can be.
fn largest() -> Vec<(&'static str, Vec<u8>)> {
    const ROOM: usize = 65_535 - 19 - 4;
    // ORIGIN, AS_PATH 65002, NEXT_HOP.
    let usual = [&[0x40, 1, 1, 0][..], &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xea], &[0x40, 3, 4, 10, 9, 0, 2]];
    let body = |attributes: &[u8], dsts: &[u8]| {
        let len = u16::try_from(attributes.len()).unwrap().to_be_bytes();
        [&[0, 0][..], &len, attributes, dsts].concat()
    };
    let long = |flags: u8, code: u8, value: &[u8]| {
        let len = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[flags | 0x10, code][..], &len, value].concat()
    };
    let segment: Vec<u8> = [2, 255].into_iter().chain([0, 0, 0xfd, 0xea].repeat(255)).collect();
    let path = long(0x40, 2, &segment.repeat(ROOM / 1022 - 1));
    let with = |more: Vec<u8>, dsts: &[u8]| body(&[&usual.concat()[..], &more].concat(), dsts);
    let counted = |each: usize| {
        let value = (0..(ROOM - 100) / each).flat_map(|n| {
            let mut value = (n as u64).to_be_bytes().to_vec();
            value.resize(8.max(each), 7);
            value[8.max(each) - each..].to_vec()
        });
        value.collect::<Vec<u8>>()
    };
    let dsts: Vec<u8> =
        (0..(ROOM - 100) / 5).flat_map(|n| [32, 10, (n >> 16) as u8, (n >> 8) as u8, n as u8]).collect();
    vec![
        ("an AS path of 16,000", body(&[usual[0], &path, usual[2]].concat(), &[24, 10, 1, 2])),
        ("16,000 communities", with(long(0xc0, 8, &counted(4)), &[24, 10, 1, 2])),
        ("8,000 extended communities", with(long(0xc0, 16, &counted(8)), &[24, 10, 1, 2])),
        ("5,000 large communities", with(long(0xc0, 32, &counted(12)), &[24, 10, 1, 2])),
        ("16,000 clusters", with(long(0x80, 10, &counted(4)), &[24, 10, 1, 2])),
        ("20,000 attributes of no octets", with([0xc0, 0x63, 0].repeat((ROOM - 100) / 3), &[24, 10, 1, 2])),
        ("one attribute that nobody knows", with(long(0xc0, 0x63, &vec![7; ROOM - 100]), &[24, 10, 1, 2])),
        ("13,000 destinations", with(Vec::new(), &dsts)),
        (
            "13,000 withdrawals",
            [&u16::try_from(dsts.len()).unwrap().to_be_bytes()[..], &dsts, &[0, 0]].concat(),
        ),
    ]
}

#[test]
fn s25_the_largest_messages_take_no_longer_than_a_millisecond_and_no_memory_that_stays() {
    let _alone = alone();
    // A stack that nothing recursive fits.
    let small = std::thread::Builder::new().stack_size(256 * 1024);
    small.spawn(besieged_by_the_largest).unwrap().join().unwrap();
}

fn besieged_by_the_largest() {
    let mut besieged = Besieged::new();
    let (hello, messages) = (open(2, 0), largest());
    let mut warm = 0;
    let mut quickest = vec![std::time::Duration::MAX; messages.len()];
    for round in 0..length(20, 200) {
        for ((what, body), quickest) in messages.iter().zip(&mut quickest) {
            besieged.calm();
            let conn = besieged.dial(2);
            besieged.give(Input::Bytes { conn, bytes: &hello });
            assert_eq!(besieged.state(2), "Established");
            let octets = framed(2, body);
            let begun = std::time::Instant::now();
            besieged.give(Input::Bytes { conn, bytes: &octets });
            *quickest = begun.elapsed().min(*quickest);
            assert_eq!(besieged.state(2), "Established", "{what} is no reason to reset (RFC 7606)");
            besieged.open.remove(&conn);
            besieged.give(Input::Closed { conn, why: "it goes".to_owned() });
        }
        if round == 4 {
            warm = peak();
        }
    }
    besieged.assert_undisturbed();
    let grown = peak() - warm;
    for ((what, _), quickest) in messages.iter().zip(&quickest) {
        println!("{what}: {quickest:?}");
        // That is not one message's work, but that of as many routes.
        let bound = if what.starts_with("13,000") { LARGE * 20 } else { LARGE };
        assert!(*quickest < bound, "{what}: {quickest:?}, more than {bound:?}");
    }
    assert!(grown < 2 * MIB, "{grown} bytes more");
}
