//! Our speaker: the agent's thread, in the namespace of a host.

use crate::{Host, Over, until};
use agent::speaker::{Best, Job, Voice, start};
use bgp::config::Config;
use bgp::wire::RouterId;
use bgp::{Origination, Paths, PeerConfig, PeerId, PeerStatus, RankedPath};
use model::{Asn, Cidr, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// A running speaker and what it said of destinations so far.
#[derive(Debug)]
pub struct Ours {
    voice: Voice,
    best: mpsc::Receiver<Best>,
    paths: BTreeMap<Cidr, Paths>,
    /// How often a destination was lost.
    losses: usize,
    runtime: Runtime,
}

/// What a speaker should do that talks to nobody.
pub fn job(asn: u32, router_id: Ipv4Addr) -> Job {
    let bgp = Config {
        asn: Asn(asn),
        router_id: RouterId(router_id),
        cluster_id: None,
        listen_port: 179,
        graceful_restart: Some(120),
        restarting: false,
        peers: BTreeMap::new(),
        originate: BTreeMap::new(),
        all_paths: false,
        connected: BTreeMap::from([(
            "10.9.0.0/24".parse().expect("a network"),
            "e0".parse().expect("a name"),
        )]),
        addresses: BTreeSet::from([router_id.into()]),
        nexthop_v4: Some(router_id),
        nexthop_v6: None,
    };
    Job { bgp, listen: Vec::new(), keys: BTreeMap::new() }
}

/// A neighbour that is tried often.
pub fn peer(addr: impl Into<IpAddr>, asn: u32) -> PeerConfig {
    let connect_retry = model::Duration::from_secs(1);
    PeerConfig { connect_retry, ..PeerConfig::new(addr.into(), Asn(asn)) }
}

/// Neighbours over both families.
pub fn peers<'a>(hosts: impl IntoIterator<Item = &'a Host>, asn: u32) -> Vec<PeerConfig> {
    hosts.into_iter().flat_map(|host| Over::BOTH.map(|over| peer(host.end(over), asn))).collect()
}

/// Puts neighbours into a job.
pub fn with_each(job: Job, peers: impl IntoIterator<Item = PeerConfig>) -> Job {
    peers.into_iter().fold(job, with)
}

/// Puts a neighbour into a job, under its address as its name.
pub fn with(mut job: Job, peer: PeerConfig) -> Job {
    job.bgp.peers.insert(PeerId::new(&peer.addr.to_string()), peer);
    job
}

/// Originates prefixes.
///
/// # Panics
/// If one is none.
pub fn originating(mut job: Job, prefixes: &[impl AsRef<str>]) -> Job {
    for prefix in prefixes {
        job.bgp.originate.insert(prefix.as_ref().parse().expect("a prefix"), Origination::default());
    }
    job
}

impl Ours {
    /// Starts it.
    ///
    /// # Panics
    /// If the thread cannot start.
    pub fn start(host: &Host, job: Job) -> Ours {
        let (told, best) = mpsc::channel(16);
        let voice = host.netns.inside(|| start(7, told)).expect("a thread");
        voice.jobs.send_replace(Some(job));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Ours { voice, best, paths: BTreeMap::new(), losses: 0, runtime }
    }

    /// Gives it something else to do.
    pub fn configure(&self, job: Job) {
        self.voice.jobs.send_replace(Some(job));
    }

    /// Ends every session in order and leaves the thread without anything to do.
    pub fn rest(&self) {
        self.voice.jobs.send_replace(None);
    }

    /// Ends it without a word to its peers, as a kill does.
    pub fn kill(self) {
        let Ours { voice, mut best, .. } = self;
        drop(voice);
        until("our thread ends", || match best.try_recv() {
            Err(mpsc::error::TryRecvError::Disconnected) => Some(()),
            _ => None,
        });
    }

    /// The session with a peer.
    ///
    /// # Panics
    /// If there is none.
    pub fn session(&self, addr: impl Into<IpAddr>) -> PeerStatus {
        let addr = addr.into();
        let sessions = self.sessions();
        let found = sessions.iter().find(|session| session.addr == addr);
        found.unwrap_or_else(|| panic!("no session with {addr}: {sessions:?}")).clone()
    }

    /// All of them.
    pub fn sessions(&self) -> Vec<PeerStatus> {
        self.runtime.block_on(self.voice.sessions())
    }

    /// Since when each session is as it is.
    pub fn since(&self) -> Vec<(IpAddr, Instant)> {
        self.sessions().into_iter().map(|session| (session.addr, session.since)).collect()
    }

    /// Waits until a session is established.
    pub fn established(&self, addr: impl Into<IpAddr>) -> PeerStatus {
        let addr = addr.into();
        let mut last = None;
        until("an established session", || {
            let session = self.sessions().into_iter().find(|session| session.addr == addr)?;
            if last.as_ref() != session.last_error.as_ref() {
                last.clone_from(&session.last_error);
                eprintln!("{addr} is {}: {last:?}", session.state);
            }
            (session.state == "Established").then_some(session)
        })
    }

    /// Waits until a session has ended with words that contain `why`.
    pub fn ended(&self, addr: impl Into<IpAddr>, why: &str) -> PeerStatus {
        let addr = addr.into();
        let mut last = None;
        until(why, || {
            let session = self.session(addr);
            if last.as_ref() != Some(&session.last_error) {
                eprintln!("{addr} is {}: {:?}", session.state, session.last_error);
                last = Some(session.last_error.clone());
            }
            session.last_error.as_ref().is_some_and(|text| text.contains(why)).then_some(session)
        })
    }

    /// The best paths as they were told so far.
    pub fn paths(&mut self) -> &BTreeMap<Cidr, Paths> {
        while let Ok(best) = self.best.try_recv() {
            for (dst, paths) in best.paths {
                if paths.is_empty() {
                    self.losses += usize::from(self.paths.remove(&dst).is_some());
                } else {
                    self.paths.insert(dst, paths);
                }
            }
        }
        &self.paths
    }

    /// How often a destination that had a path was left without one.
    pub fn losses(&mut self) -> usize {
        self.paths();
        self.losses
    }

    /// The best path to a prefix now.
    ///
    /// # Panics
    /// If it is none.
    pub fn path(&mut self, prefix: &str) -> Option<RankedPath> {
        let dst: Cidr = prefix.parse().expect("a prefix");
        self.paths().get(&dst).map(|paths| paths[0].clone())
    }

    /// Waits for the path to a prefix that a peer gave.
    pub fn learns(&mut self, prefix: &str) -> RankedPath {
        until(prefix, || self.path(prefix).filter(|path| path.peer.is_some()))
    }

    /// Waits until a prefix has no path.
    pub fn forgets(&mut self, prefix: &str) {
        until(&format!("no {prefix}"), || self.path(prefix).is_none().then_some(()));
    }
}
