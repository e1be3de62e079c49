//! The core: owns `node::Node`, gives it what happened, carries out what it decides.
//!
//! ```text
//!   watches ──┐                                       ┌──► api      requests in flight
//!   server  ──┤  inbox (bounded)   ┌──────────┐ Effect├──► writer   thread: kernel
//!   api     ──┼───────────────────►│   Node   ├───────┼──► files    thread: attachments, queued DELs
//!   writer  ──┤                    └────▲─────┘       ├──► clients  replies
//!   files   ──┤   monitor ──notices─────┘             ├──► speaker  thread: sessions with BGP peers
//!   speaker ──┘                                       └──► log
//! ```
//!
//! All that waits is handled before anything is decided. The order of kernel facts is kept: whatever the kernel told
//! before a plan's outcome is handled before it, and what it tells while the node's namespace is being read is handled after
//! the read, which may be older.

use crate::api::Api;
use crate::clock::Clock;
use crate::inbox::{Call, Message};
use crate::queued::Queued;
use crate::speaker::{Best, Voice};
use crate::{clock, files, writer};
use kernel::{Key, Netns, PodNs};
use netlink::{Event, Monitor, MonitorError};
use node::cni::{self, Reply};
use node::socket::NodeStatus;
use node::{CniId, Effect, Input, Level, Node, NotOpened, Notice, OWN_NETNS, Report, SpeakerConfig};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc as thread;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot, watch};

/// How many messages are handled before something is decided.
const BATCH: usize = 256;
/// How many reads of notifications wait for the kernel to be read.
const HELD: usize = 4096;
/// How often the queue of DELs is looked at while nobody calls.
const QUEUE_INTERVAL: Duration = Duration::from_secs(10);
/// How often it is looked who sends in another's name.
const IMPOSTORS_INTERVAL: Duration = Duration::from_secs(5);

/// Who hears a reply.
#[derive(Debug)]
enum Client {
    Socket(oneshot::Sender<Reply>),
    /// The DEL was queued by the plugin; the name of its file.
    Queue(String),
}

/// The core and the ways out of it.
pub(crate) struct Core {
    node: Node,
    clock: Clock,
    inbox: mpsc::Receiver<Message>,
    monitor: Monitor,
    /// The same socket as the monitor's, as the runtime watches it.
    monitor_ready: AsyncFd<OwnedFd>,
    writer: thread::Sender<writer::Job>,
    files: thread::Sender<files::Job>,
    api: Api,
    queue: Queued,
    speech: Speech,
    clients: BTreeMap<CniId, Client>,
    next_netns: u32,
    /// Namespaces that the writer is given with its next job: none of its plans can need them sooner.
    handed_over: Vec<writer::Job>,
    /// Reads of the node's namespace that are under way, and what the kernel told meanwhile.
    dumping: usize,
    held: Vec<Input>,
    trimmed: bool,
    /// The writer is looking who sends in another's name.
    looking: bool,
    addresses: watch::Sender<()>,
}

/// What the core is made of.
pub(crate) struct Parts {
    pub node: Node,
    pub clock: Clock,
    pub inbox: mpsc::Receiver<Message>,
    pub monitor: Monitor,
    pub writer: thread::Sender<writer::Job>,
    pub files: thread::Sender<files::Job>,
    pub api: Api,
    pub queue: Queued,
    pub speech: Speech,
    /// To be woken when an address of the node's namespace came or went.
    pub addresses: watch::Sender<()>,
}

/// The way to the speaker and back.
pub(crate) struct Speech {
    /// What it should do, on its way past the passwords.
    pub wanted: watch::Sender<Option<Box<SpeakerConfig>>>,
    pub voice: Voice,
    pub best: mpsc::Receiver<Best>,
}

impl Core {
    pub fn new(parts: Parts) -> std::io::Result<Core> {
        let descriptor = parts.monitor.as_fd().try_clone_to_owned()?;
        #[expect(
            deprecated,
            reason = "unsound for types whose descriptor can change; an OwnedFd keeps its own"
        )]
        let monitor_ready = AsyncFd::new(descriptor)?;
        Ok(Core {
            node: parts.node,
            clock: parts.clock,
            inbox: parts.inbox,
            monitor: parts.monitor,
            monitor_ready,
            writer: parts.writer,
            files: parts.files,
            api: parts.api,
            queue: parts.queue,
            speech: parts.speech,
            clients: BTreeMap::new(),
            next_netns: 0,
            handed_over: Vec::new(),
            dumping: 0,
            held: Vec::new(),
            trimmed: false,
            looking: false,
            addresses: parts.addresses,
        })
    }

    /// Runs until the kernel's notifications cannot be read any more.
    pub async fn run(mut self, started: Input) -> Result<(), MonitorError> {
        self.handle(started);
        let mut queue_tick = tokio::time::interval(QUEUE_INTERVAL);
        queue_tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut impostors_tick = tokio::time::interval(IMPOSTORS_INTERVAL);
        impostors_tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.carry_out().await;
            let timeout = self.node.poll_timeout().map(|(at, _)| self.clock.wake_at(at));
            tokio::select! {
                message = self.inbox.recv() => {
                    let first = message.expect("the core's own parts hold senders");
                    self.take(first)?;
                    for _ in 1..BATCH {
                        let Ok(message) = self.inbox.try_recv() else { break };
                        self.take(message)?;
                    }
                }
                ready = self.monitor_ready.readable() => {
                    ready.map_err(MonitorError::Read)?.clear_ready();
                    self.listen()?;
                }
                Some(best) = self.speech.best.recv() => {
                    self.handle(Input::Best(best.paths));
                    if best.settled {
                        self.handle(Input::Settled);
                    }
                }
                () = clock::sleep_until(timeout) => self.handle(Input::Timeout),
                _ = queue_tick.tick() => {
                    let queued = self.queue.take();
                    self.carry_out_queued(queued);
                }
                _ = impostors_tick.tick() => self.look_for_impostors(),
            }
        }
    }

    fn look_for_impostors(&mut self) {
        if let (Some(filter), false) = (self.node.accepting_filter(), self.looking) {
            self.looking = true;
            self.write(writer::Job::Impostors(filter));
        }
    }

    fn take(&mut self, message: Message) -> Result<(), MonitorError> {
        match message {
            Message::Input(input @ Input::Wrote { .. }) => {
                self.listen()?;
                self.handle(input);
            }
            Message::Input(input @ Input::Dumped { netns: Netns::Host, .. }) => {
                self.handle(input);
                self.dumping -= 1;
                if self.dumping == 0 {
                    for held in std::mem::take(&mut self.held) {
                        self.handle(held);
                    }
                }
            }
            Message::Input(input) => {
                if let Input::CniGone(id) = &input {
                    self.clients.remove(id);
                }
                self.handle(input);
            }
            Message::Impostors(found) => {
                self.looking = false;
                match found {
                    Ok(found) => self.handle(Input::Impostors(found)),
                    // The filter may have gone meanwhile; its return is the datapath's business.
                    Err(error) => tracing::debug!("cannot read who sends in another's name: {error}"),
                }
            }
            Message::Call(call) => self.call(call),
            Message::Status(reply) => self.status(reply),
            Message::Forgotten(name) => self.queue.forgotten(&name),
        }
        Ok(())
    }

    /// Answers how things are; the sessions are the speaker's to tell.
    fn status(&self, reply: oneshot::Sender<NodeStatus>) {
        let (mut status, told) = (self.node.status(), self.node.speaks().cloned());
        let (refused, told_at) = (self.node.refused_paths(), self.node.told_at());
        let (sessions, epoch) = (
            self.speech.voice.sessions(),
            Clock::wall_micros().saturating_sub_unsigned(self.clock.now().micros()),
        );
        tokio::spawn(async move {
            if let Some(told) = told {
                let mut bgp = node::speaker::status(&told, told_at, &sessions.await, epoch);
                bgp.complaints.extend(refused);
                status.bgp = Some(bgp);
            }
            // Whoever asked may be gone.
            let _ = reply.send(status);
        });
    }

    fn handle(&mut self, input: Input) {
        self.node.handle(self.clock.now(), input);
    }

    /// Takes what the kernel has told.
    fn listen(&mut self) -> Result<(), MonitorError> {
        let input = match self.monitor.read() {
            Ok(events) if events.is_empty() => return Ok(()),
            Ok(events) => {
                if events.iter().any(is_of_an_address) {
                    self.addresses.send_replace(());
                }
                Input::Noticed(events.into_iter().map(notice).collect())
            }
            Err(MonitorError::Overrun) => {
                self.addresses.send_replace(());
                Input::Overrun
            }
            Err(error) => return Err(error),
        };
        if self.dumping == 0 {
            self.handle(input);
            return Ok(());
        }
        self.held.push(input);
        if self.held.len() > HELD {
            // The kernel cannot be read for long: once it can, all of it is read again.
            self.held = vec![Input::Overrun];
        }
        Ok(())
    }

    /// A DEL that was queued before comes first: the call may be for the same container.
    fn call(&mut self, call: Call) {
        let queued = self.queue.take_new();
        self.carry_out_queued(queued);
        let netns = call.netns.map(|netns| {
            self.next_netns = (self.next_netns + 1) % OWN_NETNS;
            let id = PodNs(self.next_netns);
            self.handed_over.push(writer::Job::Open(id, netns));
            id
        });
        self.clients.insert(call.id, Client::Socket(call.reply));
        self.handle(Input::Cni { id: call.id, request: call.request, netns });
    }

    fn carry_out_queued(&mut self, queued: Vec<(CniId, String, cni::Request)>) {
        for (id, name, request) in queued {
            tracing::info!("carrying out a DEL that waited: container {}", request.container_id);
            self.clients.insert(id, Client::Queue(name));
            self.handle(Input::Cni { id, request, netns: None });
        }
    }

    /// Carries out what the node decides. What tasks of this thread take further, a request of the API or an answer, is on
    /// its way before anything else is decided: somebody waits for it.
    async fn carry_out(&mut self) {
        while let Some(effect) = self.node.poll() {
            let is_waited_for = matches!(effect, Effect::Api { .. } | Effect::Cni { .. });
            self.start(effect);
            if is_waited_for {
                tokio::task::yield_now().await;
            }
        }
        if !self.trimmed && self.node.is_ready() {
            self.trimmed = true;
            netlink::memory::give_back();
        }
    }

    fn start(&mut self, effect: Effect) {
        match effect {
            Effect::Api { id, request } => self.api.ask(id, request),
            Effect::Kernel { id, steps } => self.write(writer::Job::Apply { id, steps }),
            Effect::Dump { id, netns, sysctls } => {
                self.dumping += usize::from(netns == Netns::Host);
                self.write(writer::Job::Dump { id, netns, sysctls });
            }
            Effect::Sockets { id, addrs } => self.write(writer::Job::Sockets { id, addrs }),
            Effect::File { id, op } => self.file(files::Job::Change { id, op }),
            Effect::OpenNetns { netns, path, inode } => self.open_netns(netns, &path, inode),
            Effect::Watch(kind) => self.api.watch(kind),
            Effect::Bgp(config) => _ = self.speech.wanted.send_replace(config),
            Effect::CloseNetns(netns) => self.write(writer::Job::Close(netns)),
            Effect::Cni { id, reply } => self.reply(id, reply),
            Effect::Report(report) => say(&report),
        }
    }

    fn write(&mut self, job: writer::Job) {
        for opened in std::mem::take(&mut self.handed_over) {
            self.writer.send(opened).expect("the writer runs as long as the core");
        }
        self.writer.send(job).expect("the writer runs as long as the core");
    }

    fn file(&self, job: files::Job) {
        self.files.send(job).expect("the files' thread runs as long as the core");
    }

    fn open_netns(&mut self, id: PodNs, path: &str, inode: (u64, u64)) {
        let result = match netlink::Netns::open(Path::new(path)) {
            Ok(netns) if netns.inode() == inode => {
                self.write(writer::Job::Open(id, netns));
                Ok(())
            }
            Ok(_) => Err(NotOpened::Gone(format!("{path} is another namespace now"))),
            Err(netlink::NetnsError::Open { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Err(NotOpened::Gone(format!("{path} does not exist")))
            }
            Err(error @ netlink::NetnsError::NotANetns { .. }) => Err(NotOpened::Gone(error.to_string())),
            Err(error) => Err(NotOpened::Failed(error.to_string())),
        };
        self.handle(Input::Opened { netns: id, result });
    }

    fn reply(&mut self, id: CniId, reply: Reply) {
        match self.clients.remove(&id) {
            // A client that went away is told of by its connection.
            Some(Client::Socket(client)) => drop(client.send(reply)),
            Some(Client::Queue(name)) => match reply {
                Reply::Failed(failure) => {
                    tracing::warn!("the queued DEL {name} fails and is tried again: {}", failure.msg);
                    self.queue.forgotten(&name);
                }
                Reply::Done | Reply::Added(_) => self.file(files::Job::Forget { name }),
            },
            None => {}
        }
    }
}

fn is_of_an_address(event: &Event) -> bool {
    let (Event::Put(key, _) | Event::Gone(key)) = event;
    matches!(key, Key::Addr(_))
}

fn notice(event: Event) -> Notice {
    match event {
        Event::Put(key, value) => Notice::Put(key, value),
        Event::Gone(key) => Notice::Gone(key),
    }
}

fn say(report: &Report) {
    match report.level {
        Level::Info => tracing::info!("{report}"),
        Level::Warn => tracing::warn!("{report}"),
        Level::Error => tracing::error!("{report}"),
    }
}
