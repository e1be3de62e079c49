//! The BGP speaker's shell: sockets around `bgp::Speaker`, on a thread of its own, so that no derivation delays a keepalive.
//!
//! ```text
//!   core ── configuration, latest only ──► passwords ──► ┌───────────┐ ◄──accepted── listeners
//!   core ◄── best paths, newest of each destination ──── │  Speaker  │ ◄──bytes, room── a task for each connection ──► peer
//!   core ── how are the sessions? ─────────────────────► └───────────┘ ──UPDATEs when there is room──►
//! ```

mod complaints;
mod connection;
mod listen;
mod passwords;
mod slot;

use crate::clock::Clock;
use bgp::{ConnId, Input, Output, Paths, PeerId, PeerStatus, Speaker};
use complaints::Complaints;
use connection::{Event, Line};
use failpoint::failpoint;
use listen::Listeners;
use model::Cidr;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub(crate) use passwords::unlock;
pub(crate) use slot::{HeldOff, Slot, forget};

/// How many events of connections may wait.
const EVENTS: usize = 256;
/// How much a connection is given to write at once.
const ROOM: usize = 64 * 1024;
/// How many destinations the core is told of at once; the speaker keeps the rest, which is cheaper.
const BATCH: usize = 4096;
/// How often sockets that could not be opened are tried again.
const LISTEN_RETRY: std::time::Duration = std::time::Duration::from_secs(5);

/// What the core hears.
#[derive(Debug, Default)]
pub struct Best {
    /// New best paths of destinations; none: there is no path any more.
    pub paths: Vec<(Cidr, Paths)>,
    /// With these the first selection is done.
    pub settled: bool,
}

impl Best {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.settled
    }
}

/// What the thread should do.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub bgp: bgp::Config,
    /// The addresses to listen on; none: all.
    pub listen: Vec<IpAddr>,
    /// The MD5 keys of sessions that have one.
    pub keys: BTreeMap<PeerId, Vec<u8>>,
}

/// The way to the thread.
#[derive(Debug)]
pub struct Voice {
    pub jobs: watch::Sender<Option<Job>>,
    status: mpsc::Sender<oneshot::Sender<Vec<PeerStatus>>>,
}

impl Voice {
    /// How the sessions are, once the thread says so; none if it is gone.
    pub fn sessions(&self) -> impl Future<Output = Vec<PeerStatus>> + use<> {
        let ask = self.status.clone();
        async move {
            let (reply, sessions) = oneshot::channel();
            if ask.send(reply).await.is_err() {
                return Vec::new();
            }
            sessions.await.unwrap_or_default()
        }
    }
}

/// Starts the thread, in the network namespace of the calling one. It ends when the `Voice` is dropped. `seed` is what
/// spreads its retries.
pub fn start(seed: u64, best: mpsc::Sender<Best>) -> std::io::Result<Voice> {
    start_at(Clock::start(), seed, best, (Slot::default(), Vec::new()))
}

/// As [`start`], with what the last process left of whom it read.
pub(crate) fn start_at(
    clock: Clock,
    seed: u64,
    best: mpsc::Sender<Best>,
    (slot, held): (Slot, Vec<HeldOff>),
) -> std::io::Result<Voice> {
    let (jobs, wanted) = watch::channel(None);
    let (status, questions) = mpsc::channel(8);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("speaker".into()).spawn(move || {
        let (events, happened) = mpsc::channel(EVENTS);
        let mut speaker = Speaker::new(seed);
        for HeldOff { peer, until, why } in held {
            speaker.quarantine(peer, until, why);
        }
        let shell = Shell {
            clock,
            speaker,
            slot,
            lines: BTreeMap::new(),
            dialling: BTreeMap::new(),
            events,
            accepted: 0,
            job: None,
            listeners: Listeners::default(),
            pending: Best::default(),
            complaints: Complaints::default(),
        };
        runtime.block_on(shell.run(wanted, questions, happened, best));
    })?;
    Ok(Voice { jobs, status })
}

struct Shell {
    clock: Clock,
    speaker: Speaker,
    slot: Slot,
    lines: BTreeMap<ConnId, Line>,
    dialling: BTreeMap<ConnId, JoinHandle<()>>,
    events: mpsc::Sender<Event>,
    accepted: u64,
    job: Option<Job>,
    listeners: Listeners,
    /// Best paths that the core has not taken yet.
    pending: Best,
    complaints: Complaints,
}

impl Shell {
    async fn run(
        mut self,
        mut jobs: watch::Receiver<Option<Job>>,
        mut questions: mpsc::Receiver<oneshot::Sender<Vec<PeerStatus>>>,
        mut happened: mpsc::Receiver<Event>,
        best: mpsc::Sender<Best>,
    ) {
        let mut listen_again = tokio::time::interval(LISTEN_RETRY);
        loop {
            self.transmit();
            self.gather();
            let timeout = self.speaker.poll_timeout().map(|at| self.clock.wake_at(at));
            tokio::select! {
                changed = jobs.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let job = jobs.borrow_and_update().clone();
                    self.configure(job);
                }
                Some(reply) = questions.recv() => drop(reply.send(self.speaker.status())),
                Some(event) = happened.recv() => {
                    self.happened(event);
                    for _ in 1..EVENTS {
                        let Ok(event) = happened.try_recv() else { break };
                        self.happened(event);
                    }
                }
                room = best.reserve(), if !self.pending.is_empty() => match room {
                    Ok(room) => {
                        room.send(std::mem::take(&mut self.pending));
                        failpoint!("best paths: told");
                    }
                    Err(_) => return,
                },
                (stream, remote) = self.listeners.accept() => self.accept(stream, remote),
                _ = listen_again.tick() => self.listen(),
                () = crate::clock::sleep_until(timeout) => self.handle(Input::Timeout),
            }
        }
    }

    /// One mutation, then everything that follows from it.
    fn handle(&mut self, input: Input<'_>) {
        self.speaker.handle(self.clock.now(), input);
        while let Some(output) = self.speaker.poll_urgent() {
            self.carry_out(output);
        }
    }

    /// What a peer sent, which may be more than a speaker survives.
    fn read(&mut self, conn: ConnId, bytes: &[u8]) {
        if let Some(peer) = self.speaker.peer_of(conn) {
            self.slot.enter(peer, bytes);
        }
        failpoint!("BGP: octets are read", bytes);
        self.handle(Input::Bytes { conn, bytes });
        self.slot.leave();
    }

    /// Takes best paths from the speaker, as many as the core is told of at once.
    fn gather(&mut self) {
        while self.pending.paths.len() < BATCH
            && let Some(output) = self.speaker.poll_best()
        {
            self.carry_out(output);
        }
    }

    fn configure(&mut self, job: Option<Job>) {
        let before = self.job.take();
        let bgp = match (&job, &before) {
            (Some(job), _) => Some(job.bgp.clone()),
            // Without anything to do, every session ends in order.
            (None, Some(before)) => {
                Some(bgp::Config { peers: BTreeMap::new(), originate: BTreeMap::new(), ..before.bgp.clone() })
            }
            (None, None) => None,
        };
        self.job = job;
        self.listen();
        if let Some(bgp) = bgp {
            self.handle(Input::Configure(bgp));
        }
    }

    fn listen(&mut self) {
        self.listeners.follow(self.job.as_ref());
    }

    fn accept(&mut self, stream: TcpStream, remote: SocketAddr) {
        let job = self.job.as_ref();
        let peer = job.and_then(|job| job.bgp.peers.values().find(|peer| peer.addr == remote.ip()));
        if let Some(hops) = peer.and_then(|peer| peer.ttl_security)
            && let Err(error) = connection::guard(&stream, remote.ip(), hops)
        {
            tracing::warn!("BGP: cannot guard the connection of {remote}: {error}");
            return;
        }
        let Ok(local) = stream.local_addr() else { return };
        self.accepted += 1;
        let conn = ConnId::Accepted(self.accepted);
        self.lines.insert(conn, Line::start(conn, stream, self.events.clone()));
        self.handle(Input::Accepted { conn, local, remote });
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Bytes(conn, bytes) if self.lines.contains_key(&conn) => {
                self.read(conn, &bytes);
            }
            Event::Room(conn) => {
                if let Some(line) = self.lines.get_mut(&conn) {
                    line.has_room = true;
                }
            }
            Event::Closed(conn, why) if self.lines.remove(&conn).is_some() => {
                self.handle(Input::Closed { conn, why });
            }
            Event::Dialled(conn, result) if self.dialling.remove(&conn).is_some() => match result {
                Ok((stream, local, remote)) => {
                    self.lines.insert(conn, Line::start(conn, stream, self.events.clone()));
                    self.handle(Input::Connected { conn, local, remote });
                }
                Err(why) => self.handle(Input::DialFailed { conn, why }),
            },
            // Of a connection that was given up.
            Event::Bytes(..) | Event::Closed(..) | Event::Dialled(..) => {}
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Dial { peer, conn } => {
                let job = self.job.as_ref();
                let config = job.and_then(|job| job.bgp.peers.get(&peer)).cloned();
                let key = job.and_then(|job| job.keys.get(&peer)).cloned();
                let (config, events) =
                    (config.expect("the speaker dials whom it was told of"), self.events.clone());
                let task = tokio::spawn(async move {
                    let result = connection::dial(&config, key.as_deref()).await;
                    // Without a shell there is nobody to tell.
                    let _ = events.send(Event::Dialled(conn, result)).await;
                });
                self.dialling.insert(conn, task);
            }
            Output::Close { conn } => self.close(conn),
            Output::Best { dst, paths } => self.pending.paths.push((dst, paths)),
            Output::Settled => {
                tracing::info!("BGP: routes are selected");
                self.pending.settled = true;
            }
            Output::Peer { peer, state, why: None } => tracing::info!("BGP: {peer} is {state}"),
            Output::Peer { peer, state, why: Some(why) } => tracing::warn!("BGP: {peer} is {state}: {why}"),
            Output::Rejected { peer, dst, why } => {
                self.complain(&peer, &format!("is not believed of {dst}: {why}"));
            }
            Output::Misbehaved { peer, what } => {
                self.complain(&peer, &format!("sent something malformed: {what}"));
            }
        }
    }

    fn complain(&mut self, peer: &PeerId, what: &str) {
        match self.complaints.of(peer, self.clock.now()) {
            complaints::Line::Written => tracing::warn!("BGP: {peer} {what}"),
            complaints::Line::After(left_out) => {
                tracing::warn!("BGP: {peer} {what}; {left_out} lines about it before this one were left out");
            }
            complaints::Line::LeftOut => {}
        }
    }

    fn close(&mut self, conn: ConnId) {
        if let Some(task) = self.dialling.remove(&conn) {
            task.abort();
        }
        let mut last = Vec::new();
        self.speaker.poll_transmit(conn, ROOM, &mut last);
        if let Some(line) = self.lines.remove(&conn) {
            line.finish(last);
        }
    }

    /// Gives every connection that has room something to write.
    fn transmit(&mut self) {
        for (conn, line) in self.lines.iter_mut().filter(|(_, line)| line.has_room) {
            let mut bytes = Vec::new();
            self.speaker.poll_transmit(*conn, ROOM, &mut bytes);
            if !bytes.is_empty() {
                line.write(bytes);
            }
        }
    }
}
