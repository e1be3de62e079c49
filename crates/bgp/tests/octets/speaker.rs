//! The law of the speaker: three peers do and say anything; what it says to each is well-formed, it waits for something that
//! comes, and when all are gone nothing of theirs is left.
//!
//! ```text
//!   external, active ┐
//!   client, passive  ├─ octets of the input ─► Speaker ─► octets: read back without a fault
//!   external, active ┘
//! ```

use super::session::good_open;
use super::{BOTH, Choices, framed};
use bgp::config::{Config, NexthopMode, Origination, PeerConfig, PeerId};
use bgp::filter::{Action, AnyCommunity, Filter, MatchOperator, Matcher, Operation, Rule};
use bgp::wire::*;
use bgp::{ConnId, Input, Output, Speaker};
use model::{Asn, Cidr, Duration, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The other ends: address and AS.
const PEERS: [(Ipv4Addr, u32); 3] = [
    (Ipv4Addr::new(10, 9, 0, 2), 65001),
    (Ipv4Addr::new(10, 9, 0, 3), 64512),
    (Ipv4Addr::new(10, 9, 0, 4), 65002),
];
const OURS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// So long after the last connection broke no stale path is kept any more.
const AGES: Duration = Duration::from_secs(10_000);
/// So many calls it may want at one time.
const AT_ONCE: usize = 8;
/// Longer inputs say nothing that shorter ones do not.
const LONGEST: usize = 8192;

/// The octets say what happens.
pub fn holds(input: &[u8]) {
    let mut choices = Choices(&input[..input.len().min(LONGEST)]);
    let mut world = World::new(choices.octet());
    while !choices.is_empty() {
        world.happen(&mut choices);
    }
    world.end();
}

struct World {
    now: Instant,
    speaker: Speaker,
    config: Config,
    dialling: BTreeSet<ConnId>,
    lines: BTreeMap<ConnId, Line>,
    accepted: u64,
}

/// The far end of a connection.
struct Line {
    peer: usize,
    /// What came and was not read yet.
    octets: Vec<u8>,
    /// OPENs that came; after the first, messages are read as both sides agreed.
    opens: usize,
}

fn id(peer: usize) -> PeerId {
    PeerId::new(&format!("peer_{peer}"))
}

fn config(flags: u8) -> Config {
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let peer = |(nth, (addr, asn)): (usize, (Ipv4Addr, u32))| {
        let mut peer = PeerConfig::new(addr.into(), Asn(asn));
        peer.passive = nth == 1;
        peer.rr_client = nth == 1;
        peer.families = BOTH.into();
        (id(nth), peer)
    };
    let mut config = Config {
        asn: Asn(64512),
        router_id: RouterId(OURS),
        cluster_id: flag(0).then_some(OURS),
        listen_port: 179,
        graceful_restart: flag(1).then_some(120),
        restarting: flag(2),
        peers: PEERS.into_iter().enumerate().map(peer).collect(),
        originate: BTreeMap::new(),
        all_paths: flag(3),
        connected: BTreeMap::new(),
        addresses: BTreeSet::from([OURS.into()]),
        nexthop_v4: Some(OURS),
        nexthop_v6: flag(4).then(|| "fd09::1".parse().expect("an address")),
    };
    for dst in ["10.1.0.0/26", "fd10::/122"] {
        config.originate.insert(dst.parse().expect("a prefix"), Origination::default());
    }
    config
}

fn filter(which: u8) -> Filter {
    let some: Cidr = "192.0.2.0/24".parse().expect("a prefix");
    let matcher = Matcher { cidr: Some((MatchOperator::In, some)), ..Matcher::default() };
    let rule = |action, operations| Filter {
        rules: vec![Rule { matcher: matcher.clone(), action, operations }],
        default: Action::Accept,
    };
    match which % 4 {
        0 => Filter::accept(),
        1 => Filter::reject(),
        2 => rule(Action::Reject, Vec::new()),
        _ => rule(
            Action::Accept,
            vec![
                Operation::AddCommunity(AnyCommunity::Standard(Community(7))),
                Operation::PrependAsPath(vec![Asn(4_200_000_000); 3]),
                Operation::SetPriority(9),
            ],
        ),
    }
}

impl World {
    fn new(flags: u8) -> World {
        let config = config(flags);
        let mut world = World {
            now: Instant::from_micros(1),
            speaker: Speaker::new(flags.into()),
            config: config.clone(),
            dialling: BTreeSet::new(),
            lines: BTreeMap::new(),
            accepted: 0,
        };
        world.give(Input::Configure(config));
        world
    }

    fn happen(&mut self, choices: &mut Choices<'_>) {
        let at = choices.octet();
        let conns: Vec<ConnId> =
            self.lines.keys().filter(|conn| !self.dialling.contains(conn)).copied().collect();
        let conn = conns.get(usize::from(at) % conns.len().max(1)).copied();
        match (choices.below(12), conn) {
            (0, _) => self.accept(usize::from(at) % PEERS.len()),
            (1, _) => {
                if let Some(conn) = self.dialling.pop_first() {
                    self.give(Input::Connected { conn, local: ours(), remote: theirs(0) });
                }
            }
            (2, _) => {
                if let Some(conn) = self.dialling.pop_first() {
                    self.lines.remove(&conn);
                    self.give(Input::DialFailed { conn, why: "refused".to_owned() });
                }
            }
            (3, Some(conn)) => self.close(conn),
            (4, _) => self.wait(choices.span()),
            (5, _) => self.configure(usize::from(at) % PEERS.len(), choices.octet()),
            (6, Some(conn)) => {
                let octets = choices.part();
                self.give(Input::Bytes { conn, bytes: octets });
            }
            (7, Some(conn)) => {
                let asn = PEERS[self.lines[&conn].peer].1;
                self.give(Input::Bytes { conn, bytes: &good_open(Asn(asn)) });
                self.give(Input::Bytes { conn, bytes: &framed(4, &[]) });
            }
            (8, Some(conn)) => {
                let kind = choices.octet();
                self.give(Input::Bytes { conn, bytes: &framed(kind, choices.part()) });
            }
            (9, Some(conn)) => self.route(conn, choices),
            (_, Some(conn)) => self.read(conn, choices.octet()),
            (_, None) => {}
        }
    }

    /// A good UPDATE: announces or withdraws, with any attributes behind the mandatory ones.
    fn route(&mut self, conn: ConnId, choices: &mut Choices<'_>) {
        let (addr, asn) = PEERS[self.lines[&conn].peer];
        let dst = [24, 192, 0, choices.below(4)];
        let mut body = vec![0, 0];
        if choices.flag() {
            body = [&[0, 4][..], &dst, &[0, 0]].concat();
        } else {
            let path = [&[0x40, 2, 6, 2, 1][..], &asn.to_be_bytes()].concat();
            let next = [&[0x40, 3, 4][..], &addr.octets()].concat();
            let attributes = [&[0x40, 1, 1, 0][..], &path, &next, choices.part()].concat();
            body.extend(u16::try_from(attributes.len()).expect("short").to_be_bytes());
            body.extend(attributes);
            body.extend(dst);
        }
        self.give(Input::Bytes { conn, bytes: &framed(2, &body) });
    }

    fn accept(&mut self, peer: usize) {
        self.accepted += 1;
        let conn = ConnId::Accepted(self.accepted);
        self.lines.insert(conn, Line { peer, octets: Vec::new(), opens: 0 });
        self.give(Input::Accepted { conn, local: ours(), remote: theirs(peer) });
    }

    fn close(&mut self, conn: ConnId) {
        self.lines.remove(&conn);
        if self.dialling.remove(&conn) {
            self.give(Input::DialFailed { conn, why: "closed".to_owned() });
        } else {
            self.give(Input::Closed { conn, why: "closed".to_owned() });
        }
    }

    fn configure(&mut self, peer: usize, flags: u8) {
        let flag = |bit: u8| flags >> bit & 1 == 1;
        if flag(7) {
            self.config.peers.remove(&id(peer));
        } else {
            let usual = || config(0).peers.remove(&id(peer)).expect("one of them");
            let changed = self.config.peers.entry(id(peer)).or_insert_with(usual);
            changed.import = filter(flags);
            changed.export = filter(flags >> 2);
            changed.nexthop = if flag(4) { NexthopMode::Keep } else { NexthopMode::Auto };
            changed.prefix_limit = flag(5).then_some(2);
        }
        self.config.all_paths = flag(6);
        self.give(Input::Configure(self.config.clone()));
    }

    fn give(&mut self, input: Input<'_>) {
        self.speaker.handle(self.now, input);
        while let Some(output) = self.speaker.poll() {
            match output {
                Output::Dial { peer, conn } => {
                    let peer = (0..PEERS.len()).find(|nth| id(*nth) == peer).expect("one of them");
                    assert!(self.dialling.insert(conn), "{conn:?} is dialled once");
                    self.lines.insert(conn, Line { peer, octets: Vec::new(), opens: 0 });
                }
                Output::Close { conn } => {
                    self.read(conn, u8::MAX);
                    self.dialling.remove(&conn);
                    assert!(self.lines.remove(&conn).is_some(), "{conn:?} is closed once");
                }
                Output::Best { .. }
                | Output::Settled
                | Output::Peer { .. }
                | Output::Rejected { .. }
                | Output::Misbehaved { .. } => {}
            }
        }
    }

    /// The far end takes some of what is there, and can read it.
    fn read(&mut self, conn: ConnId, room: u8) {
        let Some(line) = self.lines.get_mut(&conn) else { return };
        self.speaker.poll_transmit(conn, usize::from(room) * 64, &mut line.octets);
        let mut rest = &line.octets[..];
        while let Some(len) = frame(rest, MAX_EXTENDED).expect("a good header") {
            let message;
            (message, rest) = rest.split_at(len);
            let early = [Ctx::default()];
            let agreed = [true, false].map(|four_octet_as| Ctx {
                ebgp: PEERS[line.peer].1 != 64512,
                four_octet_as,
                extended_message: true,
                families: BOTH.into(),
            });
            let ctxs = if line.opens == 0 { &early[..] } else { &agreed[..] };
            let good = |ctx: &Ctx| decode(message, ctx).ok().filter(|read| read.misbehaved.is_empty());
            let read = ctxs.iter().find_map(good);
            let read = read.unwrap_or_else(|| panic!("{conn:?} is told {message:02x?}"));
            line.opens += usize::from(matches!(read.message, Message::Open(_)));
        }
        line.octets = rest.to_vec();
    }

    /// Time passes, and the speaker is called when it wants to be.
    fn wait(&mut self, span: Duration) {
        let until = self.now + span;
        let mut calls = 0;
        while let Some(at) = self.speaker.poll_timeout().filter(|at| *at <= until) {
            calls = if at > self.now { 0 } else { calls + 1 };
            assert!(calls < AT_ONCE, "it wants to be called again and again at {at}");
            self.now = self.now.max(at);
            self.give(Input::Timeout);
            // Whom it dials is not there.
            for conn in std::mem::take(&mut self.dialling) {
                self.lines.remove(&conn);
                self.give(Input::DialFailed { conn, why: "refused".to_owned() });
            }
        }
        self.now = until;
    }

    /// Every connection breaks, and a long time passes.
    fn end(mut self) {
        for peer in (0..PEERS.len()).map(id) {
            let _ = (self.speaker.adj_rib_in(&peer), self.speaker.adj_rib_out(&peer));
        }
        while let Some(conn) = self.lines.keys().next().copied() {
            self.close(conn);
        }
        // Nobody is dialled meanwhile: each of them only waits.
        self.config.peers.values_mut().for_each(|peer| peer.passive = true);
        self.give(Input::Configure(self.config.clone()));
        while let Some(conn) = self.lines.keys().next().copied() {
            self.close(conn);
        }
        self.wait(AGES);
        let left: BTreeSet<Cidr> = self.speaker.loc_rib().iter().map(|(dst, ..)| *dst).collect();
        assert_eq!(left, self.config.originate.keys().copied().collect(), "what is left when all are gone");
        assert!(self.speaker.status().iter().all(|peer| peer.received == 0), "paths of nobody are counted");
    }
}

fn ours() -> SocketAddr {
    SocketAddr::new(OURS.into(), 179)
}

fn theirs(peer: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::from(PEERS[peer].0), 40_000)
}
