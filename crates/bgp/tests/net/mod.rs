//! Speakers joined by links of octets, in virtual time: real sessions without sockets.
//!
//! A link delays, cuts octets at random places, and can be broken, or half broken: then what one side sends is lost and
//! nobody is told. A `Net` never sleeps, and two runs from one seed are equal.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use bgp::config::{Config, Origination, PeerConfig, PeerId};
use bgp::wire::RouterId;
use bgp::{ConnId, Input, Output, Paths, Speaker};
use model::{Asn, Cidr, Duration, Instant};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// One end of a connection: whose, and the number that this side gives it.
type End = (usize, ConnId);

struct Node {
    speaker: Speaker,
    addr: IpAddr,
    best: BTreeMap<Cidr, Paths>,
    log: Vec<String>,
    settled: bool,
    reads: bool,
    gone: BTreeMap<Cidr, usize>,
    /// Reported since the process began.
    fresh: BTreeSet<Cidr>,
}

pub struct Net {
    pub now: Instant,
    nodes: Vec<Node>,
    other: BTreeMap<End, End>,
    flying: VecDeque<(Instant, End, Vec<u8>)>,
    accepted: u64,
    random: u64,
    delay: Duration,
    /// How many octets a link carries at once; a random number, if none.
    piece: Option<usize>,
    blocked: BTreeSet<(usize, usize)>,
    mute: BTreeSet<(usize, usize)>,
    taps: BTreeMap<(usize, usize), Vec<u8>>,
    pub octets: usize,
}

pub fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn addr(node: usize) -> IpAddr {
    Ipv4Addr::new(192, 168, 50, u8::try_from(node + 1).unwrap()).into()
}

pub fn id(node: usize) -> PeerId {
    PeerId::new(&format!("peer_{node:03}"))
}

/// A speaker without peers.
pub fn config(node: usize, asn: u32) -> Config {
    Config {
        asn: Asn(asn),
        router_id: RouterId(Ipv4Addr::new(10, 0, 0, u8::try_from(node + 1).unwrap())),
        cluster_id: None,
        listen_port: 179,
        graceful_restart: Some(120),
        restarting: false,
        peers: BTreeMap::new(),
        originate: BTreeMap::new(),
        all_paths: false,
        connected: BTreeMap::new(),
        addresses: BTreeSet::from([addr(node)]),
        nexthop_v4: None,
        nexthop_v6: None,
    }
}

pub fn peer(node: usize, asn: u32) -> PeerConfig {
    PeerConfig::new(addr(node), Asn(asn))
}

/// Every one of `asns` talks to every other and originates 10.N.0.0/26 and 10.N.0.64/26.
pub fn mesh(asns: &[u32]) -> Vec<Config> {
    let speaker = |(node, asn): (usize, &u32)| {
        let mut config = config(node, *asn);
        for (other, asn) in asns.iter().enumerate().filter(|(other, _)| *other != node) {
            config.peers.insert(id(other), peer(other, *asn));
        }
        for block in ["0/26", "64/26"] {
            config.originate.insert(cidr(&format!("10.{node}.0.{block}")), Origination::default());
        }
        config
    };
    asns.iter().enumerate().map(speaker).collect()
}

impl Net {
    pub fn new(seed: u64, configs: &[Config]) -> Net {
        let mut net = Net {
            now: Instant::from_micros(1),
            nodes: Vec::new(),
            other: BTreeMap::new(),
            flying: VecDeque::new(),
            accepted: 0,
            random: seed,
            delay: Duration::from_millis(1),
            piece: None,
            blocked: BTreeSet::new(),
            mute: BTreeSet::new(),
            taps: BTreeMap::new(),
            octets: 0,
        };
        for (node, config) in configs.iter().enumerate() {
            let speaker = Speaker::new(seed.wrapping_add(node as u64));
            let gone = BTreeMap::new();
            let (best, log) = (BTreeMap::new(), Vec::new());
            net.nodes.push(Node {
                speaker,
                addr: addr(node),
                best,
                log,
                settled: false,
                reads: true,
                gone,
                fresh: BTreeSet::new(),
            });
            net.configure(node, config.clone());
        }
        net
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    pub fn speaker(&self, node: usize) -> &Speaker {
        &self.nodes[node].speaker
    }

    pub fn log(&self, node: usize) -> &[String] {
        &self.nodes[node].log
    }

    pub fn settled(&self, node: usize) -> bool {
        self.nodes[node].settled
    }

    /// The best paths as the shell was told.
    pub fn best(&self, node: usize) -> &BTreeMap<Cidr, Paths> {
        &self.nodes[node].best
    }

    /// How often a destination lost its last path.
    pub fn losses(&self, node: usize) -> usize {
        self.nodes[node].gone.values().sum()
    }

    pub fn nexthop(&self, node: usize, dst: &str) -> Option<IpAddr> {
        self.best(node).get(&cidr(dst)).map(|paths| paths[0].nexthop.addr())
    }

    pub fn state(&self, node: usize, of: usize) -> &'static str {
        self.speaker(node).status().iter().find(|status| status.id == id(of)).unwrap().state
    }

    pub fn configure(&mut self, node: usize, config: Config) {
        self.give(node, Input::Configure(config));
    }

    /// Whether a node's shell takes octets out of its sockets.
    pub fn reads(&mut self, node: usize, reads: bool) {
        self.nodes[node].reads = reads;
    }

    /// Whether new connections between two nodes fail, and both ends of old ones are told.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.blocked.extend([(a, b), (b, a)]);
        self.break_connections(a, b);
    }

    pub fn mend(&mut self, a: usize, b: usize) {
        for pair in [(a, b), (b, a)] {
            self.blocked.remove(&pair);
            self.mute.remove(&pair);
        }
    }

    /// Every piece that a link carries is one octet.
    pub fn one_by_one(&mut self) {
        self.piece = Some(1);
    }

    /// The far ends of a node's connections are not told of what becomes of it.
    pub fn forget(&mut self, node: usize) {
        let ends: Vec<End> = self.other.keys().filter(|end| end.0 == node).copied().collect();
        for end in ends {
            let far = self.other.remove(&end).unwrap();
            self.other.remove(&far);
        }
    }

    /// What `a` sends to `b` is lost from now on, and nobody is told.
    pub fn mute(&mut self, a: usize, b: usize) {
        self.mute.insert((a, b));
    }

    /// What `a` sends to `b` from now on can be read in `tapped`.
    pub fn tap(&mut self, a: usize, b: usize) {
        self.taps.insert((a, b), Vec::new());
    }

    /// What `a` has sent to `b` since `tap`, or since this was asked last.
    pub fn tapped(&mut self, a: usize, b: usize) -> Vec<u8> {
        std::mem::take(self.taps.get_mut(&(a, b)).unwrap())
    }

    /// Every connection between two nodes breaks; new ones succeed.
    pub fn break_connections(&mut self, a: usize, b: usize) {
        let ends: Vec<End> =
            self.other.iter().filter(|(x, y)| (x.0, y.0) == (a, b)).map(|(x, _)| *x).collect();
        for end in ends {
            let far = self.other.remove(&end).unwrap();
            self.other.remove(&far);
            self.give(end.0, Input::Closed { conn: end.1, why: "reset".to_owned() });
            self.give(far.0, Input::Closed { conn: far.1, why: "reset".to_owned() });
        }
    }

    /// The process dies and starts again with this configuration; the shell's routes stay.
    pub fn restart(&mut self, node: usize, config: Config) {
        let ends: Vec<End> = self.other.keys().filter(|end| end.0 == node).copied().collect();
        self.flying.retain(|(_, to, _)| to.0 != node);
        let fresh = self.random(1 << 30);
        self.nodes[node].speaker = Speaker::new(fresh);
        self.nodes[node].settled = false;
        self.nodes[node].fresh.clear();
        for end in ends {
            let far = self.other.remove(&end).unwrap();
            self.other.remove(&far);
            self.give(far.0, Input::Closed { conn: far.1, why: "reset".to_owned() });
        }
        self.configure(node, config);
    }

    /// A connection of a node.
    pub fn conn(&self, node: usize) -> ConnId {
        self.other.keys().find(|end| end.0 == node).unwrap().1
    }

    /// A node's connection with another.
    pub fn conn_with(&self, node: usize, far: usize) -> ConnId {
        self.other.iter().find(|(end, other)| (end.0, other.0) == (node, far)).unwrap().0.1
    }

    /// Octets that a node's peer is made to send.
    pub fn inject(&mut self, node: usize, conn: ConnId, bytes: &[u8]) {
        self.give(node, Input::Bytes { conn, bytes });
    }

    pub fn give(&mut self, node: usize, input: Input<'_>) {
        self.nodes[node].speaker.handle(self.now, input);
        self.drain(node);
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].speaker.poll() {
            match output {
                Output::Dial { peer, conn } => self.dial(node, &peer, conn),
                Output::Close { conn } => self.close((node, conn)),
                Output::Best { dst, paths } if paths.is_empty() => {
                    if self.nodes[node].best.remove(&dst).is_some() {
                        *self.nodes[node].gone.entry(dst).or_default() += 1;
                    }
                }
                Output::Best { dst, paths } => {
                    self.nodes[node].fresh.insert(dst);
                    self.nodes[node].best.insert(dst, paths);
                }
                Output::Settled => {
                    let node = &mut self.nodes[node];
                    node.settled = true;
                    node.best.retain(|dst, _| node.fresh.contains(dst));
                }
                other => {
                    let line = format!("{} {other:?}", self.now);
                    self.nodes[node].log.push(line);
                }
            }
        }
        let ends: Vec<End> = self.other.keys().filter(|end| end.0 == node).copied().collect();
        for end in ends {
            // The far socket's buffer is full as long as nobody reads it.
            if self.nodes[self.other[&end].0].reads {
                self.transmit(end);
            }
        }
    }

    fn transmit(&mut self, end: End) {
        let mut octets = Vec::new();
        loop {
            let before = octets.len();
            self.nodes[end.0].speaker.poll_transmit(end.1, 4096, &mut octets);
            if octets.len() == before {
                break;
            }
        }
        let Some(far) = self.other.get(&end).copied() else { return };
        self.octets += octets.len();
        if let Some(tap) = self.taps.get_mut(&(end.0, far.0)) {
            tap.extend(&octets);
        }
        if octets.is_empty() || self.mute.contains(&(end.0, far.0)) {
            return;
        }
        let mut rest = &octets[..];
        while !rest.is_empty() {
            let any = 1 + usize::try_from(self.random(rest.len() as u64)).unwrap();
            let len = self.piece.unwrap_or(any).min(rest.len());
            self.flying.push_back((self.now + self.delay, far, rest[..len].to_vec()));
            rest = &rest[len..];
        }
    }

    fn dial(&mut self, node: usize, peer: &PeerId, conn: ConnId) {
        let far = (0..self.nodes.len()).find(|other| id(*other) == *peer);
        let Some(far) = far.filter(|far| !self.blocked.contains(&(node, *far))) else {
            return self.give(node, Input::DialFailed { conn, why: "refused".to_owned() });
        };
        self.accepted += 1;
        let theirs = ConnId::Accepted(self.accepted);
        let at = |node: usize| SocketAddr::new(self.nodes[node].addr, 179);
        let (ours, their) = (at(node), at(far));
        self.other.insert((node, conn), (far, theirs));
        self.other.insert((far, theirs), (node, conn));
        self.give(node, Input::Connected { conn, local: ours, remote: their });
        self.give(far, Input::Accepted { conn: theirs, local: their, remote: ours });
    }

    fn close(&mut self, end: End) {
        self.transmit(end);
        if let Some(far) = self.other.remove(&end) {
            self.other.remove(&far);
            // An empty piece stands for the end of the stream.
            self.flying.push_back((self.now + self.delay, far, Vec::new()));
        }
    }

    /// Runs until `span` has passed.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        let mut steps = 0;
        while self.step(end) {
            steps += 1;
            assert!(steps < 200_000, "it does not fall silent: {}", self.now);
        }
        self.now = end;
    }

    /// Runs until everything that flies has landed and no speaker has anything to say before its next timer.
    pub fn settle(&mut self) {
        let patience = self.now + secs(60);
        while !self.flying.is_empty() {
            assert!(self.now < patience, "it does not fall silent");
            self.step(self.now + secs(1));
        }
    }

    fn step(&mut self, end: Instant) -> bool {
        let timeout = |node: &Node| node.speaker.poll_timeout();
        let timer = self.nodes.iter().filter_map(timeout).min();
        let landing = self.flying.front().map(|(at, ..)| *at);
        let Some(next) = timer.into_iter().chain(landing).min().filter(|at| *at <= end) else { return false };
        self.now = self.now.max(next);
        if landing.is_some_and(|at| at <= self.now) {
            let (_, to, octets) = self.flying.pop_front().unwrap();
            if octets.is_empty() {
                self.give(to.0, Input::Closed { conn: to.1, why: "closed by the peer".to_owned() });
            } else {
                self.give(to.0, Input::Bytes { conn: to.1, bytes: &octets });
            }
            return true;
        }
        for node in 0..self.nodes.len() {
            if timeout(&self.nodes[node]).is_some_and(|at| at <= self.now) {
                self.give(node, Input::Timeout);
            }
        }
        true
    }

    /// What one end told is what the other holds, and silence follows.
    pub fn assert_agreement(&mut self) {
        self.settle();
        for a in 0..self.nodes.len() {
            for b in 0..self.nodes.len() {
                let status = self.speaker(a).status();
                if a == b || !status.iter().any(|s| s.id == id(b) && s.state == "Established") {
                    continue;
                }
                let told = self.speaker(a).adj_rib_out(&id(b));
                let held = self.speaker(b).adj_rib_in(&id(a));
                let told: Vec<_> = told.iter().map(|h| (h.dst, h.nexthop, h.attrs.clone())).collect();
                let held: Vec<_> = held.iter().map(|h| (h.dst, h.nexthop, h.attrs.clone())).collect();
                assert_eq!(told, held, "told by {a} and held by {b}");
            }
        }
        for node in 0..self.nodes.len() {
            let status = self.speaker(node).status();
            assert!(status.iter().all(|s| s.pending == 0), "node {node} has something left to say");
            let best: Vec<Cidr> = self.best(node).keys().copied().collect();
            let rib: Vec<Cidr> = self.speaker(node).loc_rib().iter().map(|(dst, ..)| *dst).collect();
            assert_eq!(best, rib, "what the shell of node {node} was told is its Loc-RIB");
        }
    }
}
