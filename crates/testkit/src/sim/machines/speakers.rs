//! The speakers of all nodes, and the router's between the subnets.
//!
//! ```text
//!   Node ── Effect::Bgp ──► Speaker ◄── pieces of bytes, late, cut anywhere ──► Speaker of another node, or the router
//!        ◄── Input::Best ──    │
//!                              └─ law 10, over all that is sent and every session that ends
//! ```

use super::carry::Happening;
use super::lines::Lines;
use super::{Broken, Machines, router_of};
use crate::sim::clock::OwnClock;
use bgp::wire::NextHop;
use bgp::{ConnId, Input, Output, PeerId, PeerStatus, Speaker};
use model::{Asn, Cidr, Duration, Instant};
use node::{Input as Told, SpeakerConfig};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The autonomous system of all.
pub(super) const AS: Asn = Asn(64512);
pub(super) const BGP: u16 = 179;
/// For so long a session is not sure: of two connections at once one end may take up the one, and the other end the other
/// (RFC 4271 §6.8).
const COLLISION: Duration = Duration::from_secs(1);
/// The largest message (RFC 4271 §4).
const LARGEST: usize = 4096;
/// How much a connection is given to write at once.
const ROOM: usize = 64 * 1024;

/// Whose speaker it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Node(usize),
    Router,
}

/// What happens to a speaker. What is of an earlier process is not heard.
#[derive(Debug)]
pub(super) enum Talk {
    Wake {
        who: Who,
        process: u64,
    },
    /// A dialled connection is there, or cannot be had.
    Dialled {
        who: Who,
        process: u64,
        conn: ConnId,
        to: IpAddr,
    },
    /// Somebody has dialled.
    Accepted {
        who: Who,
        process: u64,
        conn: ConnId,
        local: SocketAddr,
        remote: SocketAddr,
    },
    /// Something can be read at an end of a line.
    Read {
        line: u64,
        end: usize,
    },
    /// An end of a line can be written to again.
    Room {
        line: u64,
        end: usize,
    },
    /// The last words of an end that is closed have had their time.
    Farewell {
        line: u64,
        end: usize,
    },
}

/// All of this.
#[derive(Default)]
pub(super) struct Speakers {
    voices: BTreeMap<Who, Voice>,
    pub lines: Lines,
    processes: u64,
    /// UPDATEs that were sent.
    pub updates: u64,
    /// Established sessions that ended.
    pub lost: u64,
}

/// A speaker's process.
struct Voice {
    speaker: Speaker,
    process: u64,
    config: Option<bgp::Config>,
    /// By its machine's clock.
    wakes_at: Option<Instant>,
    accepted: u64,
    established: BTreeMap<PeerId, Instant>,
}

impl Machines {
    /// The node wants its speaker to do this.
    pub(super) fn instruct(&mut self, node: usize, config: Option<Box<SpeakerConfig>>) -> Result<(), Broken> {
        let who = Who::Node(node);
        let before = self.speakers.voices.get(&who).and_then(|voice| voice.config.clone());
        let config = match (config, before) {
            (Some(config), _) => config.bgp,
            // Without anything to do, every session ends in order.
            (None, Some(before)) => {
                bgp::Config { peers: BTreeMap::new(), originate: BTreeMap::new(), ..before }
            }
            (None, None) => return Ok(()),
        };
        self.configure(who, config)?;
        self.instruct_router()
    }

    pub(super) fn configure(&mut self, who: Who, config: bgp::Config) -> Result<(), Broken> {
        let speakers = &mut self.speakers;
        if !speakers.voices.contains_key(&who) {
            speakers.processes += 1;
            let process = speakers.processes;
            let voice = Voice {
                speaker: Speaker::new(process),
                process,
                config: None,
                wakes_at: None,
                accepted: 0,
                established: BTreeMap::new(),
            };
            speakers.voices.insert(who, voice);
        }
        let voice = speakers.voices.get_mut(&who).expect("just made");
        if voice.config.as_ref() == Some(&config) {
            return Ok(());
        }
        voice.config = Some(config.clone());
        self.speak(who, Input::Configure(config))
    }

    /// The agent's process ends, and its sockets with it.
    pub(super) fn hang_up(&mut self, node: usize) {
        let who = Who::Node(node);
        self.speakers.voices.remove(&who);
        for line in self.speakers.lines.of(who) {
            self.drop_line(line, who);
        }
    }

    pub(super) fn talk(&mut self, talk: Talk) -> Result<(), Broken> {
        match talk {
            Talk::Wake { who, process } => match self.process(who) == Some(process) {
                true => {
                    self.voice(who).wakes_at = None;
                    self.speak(who, Input::Timeout)
                }
                false => Ok(()),
            },
            Talk::Dialled { who, process, conn, to } => match self.process(who) == Some(process) {
                true => self.dialled(who, conn, to),
                false => Ok(()),
            },
            Talk::Accepted { who, process, conn, local, remote } => {
                match self.process(who) == Some(process) {
                    true => self.speak(who, Input::Accepted { conn, local, remote }),
                    false => Ok(()),
                }
            }
            Talk::Read { line, end } => self.read_line(line, end),
            Talk::Room { line, end } => self.write_line(line, end),
            Talk::Farewell { line, end } => {
                self.give_up(line, end);
                Ok(())
            }
        }
    }

    fn process(&self, who: Who) -> Option<u64> {
        self.speakers.voices.get(&who).map(|voice| voice.process)
    }

    fn voice(&mut self, who: Who) -> &mut Voice {
        self.speakers.voices.get_mut(&who).expect("its process was just seen")
    }

    /// Something happened to a speaker, if it still runs; and all that it wants is carried out.
    pub(super) fn speak(&mut self, who: Who, input: Input<'_>) -> Result<(), Broken> {
        let now = self.clock_of(who).at(self.queue.now());
        let stale = if who == Who::Router { self.stale_at_router() } else { BTreeMap::new() };
        let Some(voice) = self.speakers.voices.get_mut(&who) else { return Ok(()) };
        voice.speaker.handle(now, input);
        let (mut best, mut settled) = (Vec::new(), false);
        while let Some(output) = self.speakers.voices.get_mut(&who).and_then(|voice| voice.speaker.poll()) {
            match output {
                Output::Best { dst, paths } => best.push((dst, paths)),
                Output::Settled => settled = true,
                other => self.speaker_wants(who, other)?,
            }
        }
        self.lose_at_router(stale);
        if !best.is_empty() {
            match who {
                Who::Node(node) => self.say_to(node, Told::Best(best)),
                Who::Router => self.route(best),
            }
        }
        if let Who::Node(node) = who
            && settled
        {
            self.say_to(node, Told::Settled);
        }
        self.attend(who)
    }

    /// What a speaker has to send is sent, as far as there is room, and it is called again in time.
    pub(super) fn attend(&mut self, who: Who) -> Result<(), Broken> {
        self.transmit(who)?;
        let (now, clock) = (self.queue.now(), self.clock_of(who));
        let voice = self.voice(who);
        if let Some(due) =
            voice.speaker.poll_timeout().filter(|due| voice.wakes_at.is_none_or(|at| *due < at))
        {
            voice.wakes_at = Some(due);
            let process = voice.process;
            self.queue.push(clock.until(now, due), Happening::Talk(Talk::Wake { who, process }));
        }
        Ok(())
    }

    fn speaker_wants(&mut self, who: Who, output: Output) -> Result<(), Broken> {
        match output {
            Output::Dial { peer, conn } => {
                let voice = self.voice(who);
                let config = voice.config.as_ref().expect("only who was configured dials");
                let (to, process) = (config.peers[&peer].addr, voice.process);
                let span = self.span(super::lines::WIRE);
                self.queue.push(span, Happening::Talk(Talk::Dialled { who, process, conn, to }));
            }
            Output::Close { conn } => {
                self.transmit(who)?;
                if let Some(line) = self.speakers.lines.find(who, conn) {
                    // There may have been no room for its last words.
                    let mut last = Vec::new();
                    self.voice(who).speaker.poll_transmit(conn, ROOM, &mut last);
                    self.send(line, who, last);
                    self.end_line(line, who);
                }
            }
            Output::Peer { peer, state, why } => {
                self.say(format!(
                    "{who:?}: session {peer} is {state}{}",
                    why.as_ref().map_or(String::new(), |why| format!(": {why}"))
                ));
                let (now, is_up) = (self.queue.now(), state == "Established");
                let voice = self.voice(who);
                let before = voice.established.remove(&peer);
                if is_up {
                    voice.established.insert(peer.clone(), now);
                }
                let is_lost = before.is_some() && !is_up;
                let is_peer = voice.config.as_ref().is_some_and(|config| config.peers.contains_key(&peer));
                let timer = why.as_ref().is_some_and(|why| why.to_lowercase().contains("hold timer expired"));
                let far = voice.config.as_ref().and_then(|config| Some(config.peers.get(&peer)?.addr));
                let was_stable = before.is_some_and(|since| now.since(since) > COLLISION);
                if was_stable && !is_up && is_peer && !self.disturbed {
                    let why = why.unwrap_or_default();
                    let what = format!("{who:?} loses its session {peer} without a fault: {why}");
                    return Err(self.broken("law 10", what));
                }
                self.speakers.lost += u64::from(is_lost);
                let far = far.and_then(|addr| self.who_has(addr));
                if let Some(far) = far.filter(|_| timer && !is_up) {
                    self.timer_ended(who, far)?;
                }
            }
            Output::Misbehaved { peer, what } => {
                return Err(
                    self.broken("law 10", format!("{who:?}: {peer} sent something malformed: {what}"))
                );
            }
            Output::Rejected { .. } | Output::Settled | Output::Best { .. } => {}
        }
        Ok(())
    }

    fn dialled(&mut self, who: Who, conn: ConnId, to: IpAddr) -> Result<(), Broken> {
        let here = self.addr_towards(who, to);
        let far = self.who_has(to);
        let answers = far.filter(|far| self.speakers.voices.contains_key(far) && !self.is_cut_off(who, *far));
        let Some(far) = answers else {
            return self.speak(who, Input::DialFailed { conn, why: "connection refused".to_owned() });
        };
        let voice = self.voice(far);
        voice.accepted += 1;
        let voice_process = voice.process;
        let accepted = ConnId::Accepted(voice.accepted);
        self.speakers.lines.open([(who, here, conn), (far, to, accepted)]);
        let (local, remote) = (SocketAddr::new(here, 40_000), SocketAddr::new(to, BGP));
        // The kernel accepts, also for a process that gets nothing done.
        let process = voice_process;
        let told = Talk::Accepted { who: far, process, conn: accepted, local: remote, remote: local };
        self.happen(Happening::Talk(told))?;
        self.speak(who, Input::Connected { conn, local, remote })
    }

    fn who_has(&self, addr: IpAddr) -> Option<Who> {
        let mut machines = self.machines.iter();
        match machines.position(|machine| !machine.is_gone && machine.kernel.addr().addr() == addr) {
            Some(node) => Some(Who::Node(node)),
            None => self.subnets().map(router_of).contains(&addr).then_some(Who::Router),
        }
    }

    fn clock_of(&self, who: Who) -> OwnClock {
        match who {
            Who::Node(node) => self.machines[node].clock,
            Who::Router => OwnClock::default(),
        }
    }

    /// A session ended by its hold timer: something must have kept its ends from hearing each other, and what they have told
    /// each other is to be told anew.
    fn timer_ended(&mut self, who: Who, far: Who) -> Result<(), Broken> {
        if !self.speakers.lines.is_marred(who, far) {
            let what = format!("the hold timer of {who:?} with {far:?} ends, though nothing is between them");
            return Err(self.broken("law 10", what));
        }
        Ok(())
    }

    /// The address from which `who` speaks to another.
    fn addr_towards(&self, who: Who, to: IpAddr) -> IpAddr {
        match who {
            Who::Node(node) => self.machines[node].kernel.addr().addr(),
            Who::Router => {
                let subnet = self.subnets().into_iter().find(|subnet| subnet.contains(to));
                router_of(subnet.expect("nodes are in these subnets"))
            }
        }
    }

    pub(super) fn is_cut_off(&self, one: Who, other: Who) -> bool {
        match (one, other) {
            (Who::Node(a), Who::Node(b)) => self.cut.contains(&(a, b)) || self.cut.contains(&(b, a)),
            _ => false,
        }
    }

    /// Everything that a speaker has to send.
    fn transmit(&mut self, who: Who) -> Result<(), Broken> {
        for (line, conn) in self.speakers.lines.ends_with_room(who) {
            let mut bytes = Vec::new();
            let voice = self.voice(who);
            voice.speaker.poll_transmit(conn, ROOM, &mut bytes);
            if bytes.is_empty() {
                continue;
            }
            if bytes.len() > ROOM + LARGEST {
                let what =
                    format!("{who:?} gives a connection {} octets, it has room for {ROOM}", bytes.len());
                return Err(self.broken("law 10", what));
            }
            let updates = self.speakers.lines.updates(line, who, &bytes);
            self.speakers.updates += updates;
            if updates > 0 && !self.is_established(who, line) {
                return Err(self.broken("law 10", format!("{who:?} sends an UPDATE outside of Established")));
            }
            self.send(line, who, bytes);
        }
        Ok(())
    }

    fn is_established(&self, who: Who, line: u64) -> bool {
        let far = self.speakers.lines.far_addr(line, who);
        let sessions = self.sessions_of(who);
        sessions.iter().any(|session| Some(session.addr) == far && session.state == "Established")
    }

    /// Whether every session of a speaker is up, and has been for so long.
    pub(super) fn is_heard_of(&self, who: Who, for_long: Duration) -> bool {
        let now = self.queue.now();
        let Some(voice) = self.speakers.voices.get(&who) else { return false };
        let up_since = |session: &PeerStatus| voice.established.get(&session.id);
        let sessions = voice.speaker.status();
        !sessions.is_empty()
            && sessions
                .iter()
                .all(|session| up_since(session).is_some_and(|since| now.since(*since) >= for_long))
    }

    pub(super) fn sessions_of(&self, who: Who) -> Vec<PeerStatus> {
        self.speakers.voices.get(&who).map(|voice| voice.speaker.status()).unwrap_or_default()
    }

    /// At rest: every session is up, and what one end has told is what the other has heard.
    pub(super) fn sessions_agree(&self) -> Result<(), Broken> {
        if !self.bgp {
            return Ok(());
        }
        let alive = (0..self.machines.len()).filter(|node| !self.machines[*node].is_gone);
        let all: Vec<Who> = alive.map(Who::Node).chain([Who::Router]).collect();
        for one in &all {
            for other in all.iter().filter(|other| *other != one) {
                let Some([told, heard]) = self.told_and_heard(*one, *other) else {
                    return Err(
                        self.broken("law 10", format!("at rest {one:?} has no session with {other:?}"))
                    );
                };
                if told != heard {
                    let what = format!("{one:?} has told {other:?} {told:?}, who has heard {heard:?}");
                    return Err(self.broken("law 10", what));
                }
            }
        }
        Ok(())
    }

    /// What one has told the other of, and what that has heard, if they have a session.
    fn told_and_heard(&self, one: Who, other: Who) -> Option<[BTreeMap<Cidr, NextHop>; 2]> {
        let ((here, told), (there, heard)) = (self.session(one, other)?, self.session(other, one)?);
        let told = here.speaker.adj_rib_out(&told).into_iter().map(|path| (path.dst, path.nexthop));
        let heard = there.speaker.adj_rib_in(&heard).into_iter().map(|path| (path.dst, path.nexthop));
        Some([told.collect(), heard.collect()])
    }

    /// Whether a node has heard of all that another one has told, and that is of all its pods.
    pub fn hears_all(&self, one: usize, other: usize) -> bool {
        let Some([told, heard]) = self.told_and_heard(Who::Node(one), Who::Node(other)) else { return false };
        let is_heard_of = |addr: Ipv4Addr| heard.keys().any(|dst| dst.contains(addr.into()));
        told == heard && self.running().iter().all(|pod| pod.node != one || is_heard_of(pod.addr))
    }

    /// How many established sessions have ended, at each end.
    pub fn sessions_lost(&self) -> u64 {
        self.speakers.lost
    }

    /// The speaker of `one`, and its established session with `other`.
    fn session(&self, one: Who, other: Who) -> Option<(&Voice, PeerId)> {
        let voice = self.speakers.voices.get(&one)?;
        let here = match one {
            Who::Node(node) => self.machines[node].kernel.addr().addr(),
            Who::Router => router_of(self.subnets()[0]),
        };
        let addr = match other {
            Who::Node(node) => self.machines[node].kernel.addr().addr(),
            Who::Router => self.addr_towards(Who::Router, here),
        };
        let sessions = voice.speaker.status();
        let session =
            sessions.into_iter().find(|session| session.addr == addr && session.state == "Established");
        Some((voice, session?.id))
    }
}
