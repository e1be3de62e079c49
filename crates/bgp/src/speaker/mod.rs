//! The speaker: a value that is driven. What the world did goes in, what the world should do comes out.
//!
//! ```text
//!   Configure ─┐                                                                   ┌─ Dial, Close
//!   Accepted   │            ┌── peer: session, rival ──┐    ┌─ RIB: Adj-RIB-In ─┐  │
//!   Connected  ├─ handle ──►│  bytes ► messages ►      │───►│ decision, Loc-RIB │──┼─ poll ► Best, Peer, Rejected
//!   Bytes      │            └──────────────────────────┘    └─── Adj-RIB-Out ───┘  │
//!   Closed     │                                                     └─────────────┴─ poll_transmit ► bytes
//!   Timeout ───┘
//! ```
//!
//! The order of driving: one `handle`; then `poll` until `None`; then `poll_transmit` for each connection whose socket
//! has room; then wait no longer than `poll_timeout`. UPDATEs are made when there is room, from what holds then.
//! After `Output::Close` the connection's last bytes are taken by one `poll_transmit`; it is not heard of again.

mod configure;
mod ingest;
mod line;
mod peer;
mod policy;
mod quarantine;
mod restart;
mod status;
mod transmit;

pub use policy::Reason;
pub use quarantine::quarantine_time;
pub use status::{Heard, PeerStatus};

use crate::config::{Config, PeerId};
use crate::decision;
use crate::rib::{Bits, Change, DstId, Facts, Kind, Path, Routes, Said, Serial, Source, Table};
use crate::session::ConnId;
use crate::wire::{Attributes, Family, Misbehaved, NextHop};
use line::Line;
use model::{Asn, Cidr, Instant};
use peer::Peer;
use quarantine::Quarantine;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// What the world did.
#[derive(Debug)]
pub enum Input<'a> {
    /// This is the configuration from now on.
    Configure(Config),
    /// A peer dialled us. The shell numbers what it accepts.
    Accepted {
        /// `ConnId::Accepted`, with a number that was not used before.
        conn: ConnId,
        /// Our end.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
    },
    /// What `Output::Dial` asked for is connected.
    Connected {
        /// As in `Output::Dial`.
        conn: ConnId,
        /// Our end.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
    },
    /// What `Output::Dial` asked for cannot be had.
    DialFailed {
        /// As in `Output::Dial`.
        conn: ConnId,
        /// For people.
        why: String,
    },
    /// The peer sent these.
    Bytes {
        /// From where.
        conn: ConnId,
        /// In order, cut anywhere.
        bytes: &'a [u8],
    },
    /// A connection is gone.
    Closed {
        /// Which.
        conn: ConnId,
        /// For people.
        why: String,
    },
    /// The time of `poll_timeout` has come.
    Timeout,
}

/// What the world should do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open a connection to a peer, as its configuration says.
    Dial {
        /// To whom.
        peer: PeerId,
        /// Its number from now on.
        conn: ConnId,
    },
    /// Take what `poll_transmit` still has for it, then close it. It is not heard of again.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// The best paths to a destination are these, with `Config::all_paths` and those less good; none means that it
    /// is gone. May repeat itself.
    Best {
        /// Where to.
        dst: Cidr,
        /// The best first, by rank.
        paths: Paths,
    },
    /// The first selection is done: a destination without `Best` by now has no path. Once.
    Settled,
    /// A session came up or ended; for the log.
    Peer {
        /// Whose.
        peer: PeerId,
        /// As RFC 4271 calls it.
        state: &'static str,
        /// Why, if it ended.
        why: Option<String>,
    },
    /// What a peer said of a destination is not believed. Reasons that are usual (filters, loops) are not reported.
    Rejected {
        /// Who said it.
        peer: PeerId,
        /// Of what.
        dst: Cidr,
        /// Why it is not believed.
        why: Reason,
    },
    /// A peer sent something malformed that was mended (RFC 7606); for the log.
    Misbehaved {
        /// Who.
        peer: PeerId,
        /// What.
        what: Misbehaved,
    },
}

/// Paths to a destination, which many share.
pub type Paths = Arc<[RankedPath]>;

/// A path to a destination, and how good it is.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedPath {
    /// Zero for the best and those that are as good, else that of the best paths if those of the ranks before were not there.
    pub rank: u16,
    /// Where to send packets. Unspecified for a destination of ours without a next hop.
    pub nexthop: NextHop,
    /// Who gave it; `None` if we originate it.
    pub peer: Option<PeerId>,
    /// What is said of it.
    pub attrs: Arc<Attributes>,
    /// Whether it is kept while its peer restarts.
    pub stale: bool,
}

/// A BGP speaker.
#[derive(Debug)]
pub struct Speaker {
    now: Instant,
    random: Random,
    config: Option<Arc<Config>>,
    /// By `Source`; the first place is ours and stays empty.
    peers: Vec<Option<Peer>>,
    lines: BTreeMap<ConnId, Line>,
    dialled: u64,
    /// Peers that are held off. Whoever is released stays in it: there are few.
    quarantines: BTreeMap<PeerId, Quarantine>,
    rib: Rib,
    outputs: VecDeque<Output>,
    /// Until when routes are collected without a selection, after a restart.
    deferred: Option<Instant>,
    /// What was reported last, by the number of the only best route and whether it is stale: the next destination
    /// nearly always has the same.
    reported: Option<((Serial, bool), Paths)>,
    /// `Output::Settled` is to follow the last `Output::Best`.
    settled: bool,
}

/// Both tables, and what is to be done because they changed.
#[derive(Debug)]
struct Rib {
    v4: Table,
    v6: Table,
    routes: Routes,
    facts: Vec<Facts>,
    all_paths: bool,
    deferred: bool,
    /// Destinations whose `Output::Best` has yet to be polled.
    unreported: VecDeque<(Family, DstId)>,
    reported_v4: Bits,
    reported_v6: Bits,
}

/// Random numbers from a seed (splitmix64).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 750 to 1000.
    fn jitter(&mut self) -> u64 {
        750 + self.next() % 251
    }
}

impl Rib {
    fn new(secret: u64) -> Rib {
        let ourselves = Facts {
            kind: Kind::Local,
            asn: Asn(0),
            router_id: Ipv4Addr::UNSPECIFIED,
            addr: Ipv4Addr::UNSPECIFIED.into(),
        };
        Rib {
            v4: Table::new(Family::IPV4, secret),
            v6: Table::new(Family::IPV6, secret),
            routes: Routes::new(secret),
            facts: vec![ourselves],
            all_paths: false,
            deferred: false,
            unreported: VecDeque::new(),
            reported_v4: Bits::default(),
            reported_v6: Bits::default(),
        }
    }

    fn table(&self, family: Family) -> &Table {
        if family == Family::IPV4 { &self.v4 } else { &self.v6 }
    }

    fn table_mut(&mut self, family: Family) -> &mut Table {
        if family == Family::IPV4 { &mut self.v4 } else { &mut self.v6 }
    }

    /// A source says this of a destination; how that changed its best route.
    fn insert(&mut self, dst: Cidr, said: &Said, rejected: bool) -> Change {
        let route = self.routes.intern(said.clone());
        self.insert_route(dst, Path { route, rejected, stale: false, best: false })
    }

    fn insert_route(&mut self, dst: Cidr, path: Path) -> Change {
        let family = Family::of(dst);
        let (id, done) = self.table_mut(family).insert(dst, path);
        if let Some(route) = done.replaced {
            self.routes.release(route);
        }
        self.decide(family, id, done.old)
    }

    /// A source says nothing of a destination any more.
    fn remove(&mut self, family: Family, id: DstId, source: Source) -> Option<Change> {
        let done = self.table_mut(family).remove(id, source)?;
        if let Some(route) = done.replaced {
            self.routes.release(route);
        }
        Some(self.decide(family, id, done.old))
    }

    fn decide(&mut self, family: Family, id: DstId, old: u64) -> Change {
        if self.deferred {
            return Change { id, old, new: old };
        }
        let facts = std::mem::take(&mut self.facts);
        let change = self.table_mut(family).decide(id, &facts, old);
        self.facts = facts;
        self.report(family, id);
        change
    }

    fn report(&mut self, family: Family, id: DstId) {
        let waiting = if family == Family::IPV4 { &mut self.reported_v4 } else { &mut self.reported_v6 };
        if waiting.insert(id) {
            self.unreported.push_back((family, id));
        }
    }

    /// The paths of a destination that are told to the world.
    fn reported(&self, family: Family, id: DstId) -> impl Iterator<Item = &Path> {
        let paths = self.table(family).paths(id).iter();
        paths.filter(|path| path.best || self.all_paths && !path.rejected)
    }

    /// The same by rank, the best first.
    fn ranked(&self, family: Family, id: DstId) -> Vec<(u16, &Path)> {
        if !self.all_paths {
            return self.reported(family, id).map(|path| (0, path)).collect();
        }
        let paths = self.table(family).paths(id);
        decision::ranked(paths, &self.facts).into_iter().map(|(rank, at)| (rank, &paths[at])).collect()
    }

    fn next_report(&mut self) -> Option<(Family, DstId)> {
        let (family, id) = self.unreported.pop_front()?;
        let waiting = if family == Family::IPV4 { &mut self.reported_v4 } else { &mut self.reported_v6 };
        waiting.remove(id);
        Some((family, id))
    }
}

/// Both families.
const FAMILIES: [Family; 2] = [Family::IPV4, Family::IPV6];

impl Speaker {
    /// A speaker that does nothing before it is configured. Equal seeds and inputs give equal outputs.
    pub fn new(seed: u64) -> Speaker {
        let mut random = Random(seed);
        let rib = Rib::new(random.next());
        Speaker {
            now: Instant::ZERO,
            random,
            config: None,
            peers: vec![None],
            lines: BTreeMap::new(),
            dialled: 0,
            quarantines: BTreeMap::new(),
            rib,
            outputs: VecDeque::new(),
            deferred: None,
            reported: None,
            settled: false,
        }
    }

    /// Takes in what the world did. What follows from it is in `poll`, `poll_transmit` and `poll_timeout`.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.now = self.now.max(now);
        match input {
            Input::Configure(config) => self.configure(config),
            Input::Accepted { conn, local, remote } => self.accepted(conn, local, remote),
            Input::Connected { conn, local, remote } => self.connected(conn, local, remote),
            Input::DialFailed { conn, why } | Input::Closed { conn, why } => self.closed(conn, &why),
            Input::Bytes { conn, bytes } => self.bytes(conn, bytes),
            Input::Timeout => {}
        }
        self.run_timers();
        self.sweep();
    }

    /// What the world should do, until `None`.
    pub fn poll(&mut self) -> Option<Output> {
        self.poll_urgent().or_else(|| self.poll_best())
    }

    /// As `poll`, but for best paths: what must not wait until somebody has taken them all.
    pub fn poll_urgent(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next `Output::Best`, and after the first of them `Output::Settled`. A destination that changes again before it
    /// is polled costs nothing more.
    pub fn poll_best(&mut self) -> Option<Output> {
        let Some((family, id)) = self.rib.next_report() else {
            return std::mem::take(&mut self.settled).then_some(Output::Settled);
        };
        Some(Output::Best { dst: self.rib.table(family).dst(id), paths: self.best_paths(family, id) })
    }

    fn best_paths(&mut self, family: Family, id: DstId) -> Paths {
        let mut reported = self.rib.reported(family, id);
        let first = reported.next().map_or((0, false), |path| (path.route.serial, path.stale));
        let only = reported.next().is_none().then_some(first);
        if let Some((known, paths)) = &self.reported
            && Some(*known) == only
        {
            return paths.clone();
        }
        let ranked = |(rank, path): (u16, &Path)| {
            let said = &path.route.said;
            let peer = self.peers[said.source.at()].as_ref().map(|peer| peer.id.clone());
            RankedPath { rank, nexthop: said.nexthop, peer, attrs: said.attrs.clone(), stale: path.stale }
        };
        let paths: Paths = self.rib.ranked(family, id).into_iter().map(ranked).collect();
        self.reported = only.map(|only| (only, paths.clone()));
        paths
    }

    /// Forgets destinations that nobody names any more.
    fn sweep(&mut self) {
        for family in FAMILIES {
            let quiet = self.rib.unreported.is_empty()
                && self
                    .peers
                    .iter()
                    .flatten()
                    .filter_map(|p| p.outs.get(&family))
                    .all(|out| !out.is_pending());
            if quiet && self.rib.table(family).has_emptied() {
                self.rib.table_mut(family).sweep();
            }
        }
    }
}
