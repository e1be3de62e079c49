//! The event loop: what happens to which node, and the laws after it.

use super::api::Revision;
use super::clock::OwnClock;
use super::faults::Fate;
use super::kubelet::{Kubelets, Sandbox, State, pod_key};
use super::laws::{self, Broken};
use super::lease::{Claim, Lease};
use super::mind::Mind;
use super::trace::Trace;
use super::wire::outcome;
use super::{FakeApi, Faults, Queue, Rng};
use ipam::{Allocator, Assigned, CallId, RequestId, Tunnel, Want};
use model::store::{Key, Kind, Object, Reply, Request};
use model::{Duration, Instant, Metadata, k8s};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Events after which a run that does not come to rest is stopped.
const MOST_EVENTS: u64 = 200_000;

/// A cluster and its faults.
pub struct Sim {
    pub(super) api: FakeApi,
    pub(super) faults: Faults,
    pub(super) queue: Queue<Happening>,
    pub(super) kubelets: Kubelets,
    pub(super) seed: Option<u64>,
    pub(super) trace: Trace,
    pub(super) nodes: Vec<Node>,
    pub(super) tunnels: bool,
    pub(super) clock: Clock,
    /// `None`: there is one collector, which always works.
    pub(super) lease: Option<Lease>,
    /// How often a collector has looked.
    pub(super) looks: u64,
    events: u64,
    /// Requests that were sent: what a crash sweep counts.
    pub(super) effects: u64,
    /// Handles whose creation arrived when its caller had given up, or was no more.
    pub(super) strays: BTreeSet<String>,
    /// What the administrator wrote before the first start: no list is older.
    pub(super) configured: Revision,
    /// A request was answered since the laws were looked at.
    pub(super) answered: bool,
}

/// The clocks on the nodes' walls: how many of their seconds go by in one, and by how many each is ahead of the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub speed: u64,
    pub skew: u64,
}

/// A machine: a node with its allocator, or where the collector runs.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) collects: bool,
    /// It never starts again.
    pub(super) is_lost: bool,
    /// Counts starts: what was meant for an earlier life is not heard.
    pub(super) life: u64,
    /// `None`: crashed.
    pub(super) mind: Option<Mind>,
    pub(super) told: BTreeMap<Kind, Revision>,
    pub(super) asked: BTreeMap<RequestId, Purpose>,
    pub(super) requests: u64,
    /// What the Node's annotation says: it outlives the agent.
    pub(super) tunnel: Option<Assigned>,
    /// By its own clock.
    pub(super) wakes_at: Option<Instant>,
    pub(super) clock: OwnClock,
    /// It gets nothing done: what would have happened to it meanwhile.
    pub(super) held: Option<Vec<Happening>>,
    pub(super) claim: Claim,
}

#[derive(Clone, Debug)]
pub(super) enum Purpose {
    Add(String),
    Del(String),
    Tunnel,
}

/// What happens at a point in time.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    Arrive {
        node: usize,
        life: u64,
        call: CallId,
        request: Box<Request>,
        fate: Fate,
    },
    Answer {
        node: usize,
        life: u64,
        call: CallId,
        reply: Box<Reply>,
    },
    Tell {
        node: usize,
        life: u64,
        kind: Kind,
    },
    List {
        node: usize,
        life: u64,
        kind: Kind,
    },
    Wake {
        node: usize,
        life: u64,
    },
    Start {
        node: usize,
    },
    /// A collector asks for the Lease.
    Turn {
        node: usize,
        life: u64,
    },
    /// Whether it holds the Lease.
    Turned {
        node: usize,
        life: u64,
        holds: bool,
    },
    /// It gets nothing done, or goes on.
    Pause {
        node: usize,
    },
    Resume {
        node: usize,
    },
    AddPod(String),
    DelPod(String),
    /// The runtime's patience with an ADD ends.
    CancelAdd(String),
    /// The machine is gone for good.
    LoseNode {
        node: usize,
    },
    /// Somebody deletes the object of a machine that is gone.
    DeleteNode {
        node: usize,
    },
    /// Kubernetes gives up a pod whose machine is gone.
    DeletePod(String),
    /// The machine is installed anew: what its runtime knew is forgotten.
    WipeNode {
        node: usize,
    },
}

impl Sim {
    /// A cluster of `n` nodes, `n1`, `n2` and so on, that are about to start.
    pub fn cluster(n: usize) -> Sim {
        let mut sim = Sim {
            api: FakeApi::default(),
            faults: Faults::none(),
            queue: Queue::new(Rng::stream(0, "ties")),
            kubelets: Kubelets::default(),
            seed: None,
            trace: Trace::default(),
            nodes: Vec::new(),
            tunnels: false,
            clock: Clock { speed: 1, skew: 0 },
            lease: None,
            looks: 0,
            events: 0,
            effects: 0,
            strays: BTreeSet::new(),
            configured: Revision(0),
            answered: false,
        };
        for index in 0..n {
            let name = format!("n{}", index + 1);
            let metadata = Metadata::named(&name);
            sim.put(k8s::Node { metadata, ..k8s::Node::default() }.into());
            sim.nodes.push(Node::new(name, false));
            sim.queue.push(Duration::from_millis(1), Happening::Start { node: index });
        }
        sim
    }

    /// Adds a machine on which the collector runs. Of several, the one that holds the Lease works.
    pub fn collector(mut self) -> Sim {
        let (name, claim) = match self.collects() {
            false => ("collector".to_owned(), Claim::always()),
            true => ("collector-2".to_owned(), Claim::default()),
        };
        if self.collects() {
            self.lease = Some(Lease::default());
            self.nodes.iter_mut().for_each(|node| node.claim = Claim::default());
        }
        self.nodes.push(Node { claim, ..Node::new(name, true) });
        let node = self.nodes.len() - 1;
        self.queue.push(Duration::from_millis(1), Happening::Start { node });
        self
    }

    /// Requests sent to the API server so far.
    pub fn effects(&self) -> u64 {
        self.effects
    }

    /// A hash of all that happened.
    pub fn hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.nodes.iter().filter(|node| !node.collects).count()
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Creates an object as an administrator does.
    pub(super) fn put(&mut self, object: Object) {
        self.api.apply(&Request::Create(object.clone())).expect("a new object is created");
        self.announce(object.kind());
        self.configured = self.api.revision();
    }

    /// The next event, and the laws after it.
    pub(super) fn step(&mut self) -> Result<(), Broken> {
        let Some(happening) = self.queue.pop() else { return Ok(()) };
        self.events += 1;
        if self.events > MOST_EVENTS {
            return Err(self.broken("liveness", format!("no rest after {MOST_EVENTS} events")));
        }
        let before = self.api.revision();
        self.happen(happening)?;
        // The laws speak of the API's objects and of answers: they hold on as long as neither changes.
        if self.api.revision() == before && !std::mem::take(&mut self.answered) {
            return Ok(());
        }
        laws::hold(self.api.objects(), &self.in_use()).map_err(|(law, what)| self.broken(law, what))
    }

    pub(super) fn broken(&self, law: &'static str, what: String) -> Broken {
        let (at, event, trace) = (self.queue.now(), self.events, self.trace.last());
        Broken { law, what, at, event, trace, seed: self.seed }
    }

    pub(super) fn in_use(&self) -> Vec<(IpAddr, String)> {
        let pods = self.kubelets.running().map(|(addr, handle)| (addr, handle.to_owned()));
        let tunnels =
            self.nodes.iter().filter_map(|node| Some((node.tunnel?.addr, Tunnel::Vxlan.handle(&node.name))));
        pods.chain(tunnels).collect()
    }

    pub(super) fn crash(&mut self, index: usize) {
        self.say(format!("{} crashes", self.nodes[index].name));
        let node = &mut self.nodes[index];
        (node.mind, node.wakes_at, node.held) = (None, None, None);
        if self.lease.is_some() {
            node.claim = Claim::default();
        }
        node.life += 1;
        node.told.clear();
        node.asked.clear();
        // The plugin's connection breaks: the runtime deletes the sandbox and makes another.
        for sandbox in self.kubelets.sandboxes.values_mut() {
            if sandbox.node == index && sandbox.state == State::Adding {
                sandbox.state = State::Deleting;
            }
        }
        let downtime = self.span(self.faults.pace.downtime);
        self.queue.push(downtime, Happening::Start { node: index });
    }

    fn start(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.is_lost || node.mind.is_some() {
            return;
        }
        node.life += 1;
        let mind = if node.collects { Mind::collector() } else { Mind::allocator(&node.name) };
        let watched = mind.watches();
        node.mind = Some(mind);
        let life = node.life;
        if node.collects && self.lease.is_some() {
            self.queue.push(Duration::from_millis(1), Happening::Turn { node: index, life });
        }
        self.say(format!("{} starts", self.nodes[index].name));
        for &kind in watched {
            let span = self.span(self.faults.pace.watch);
            self.queue.push(span, Happening::List { node: index, life, kind });
        }
        if self.tunnels && !self.nodes[index].collects {
            self.ask(index, Purpose::Tunnel, Want::Tunnel(Tunnel::Vxlan));
        }
        let deleting = |s: &Sandbox| s.node == index && s.state == State::Deleting;
        let sandboxes = self.kubelets.sandboxes.iter();
        let deleting: Vec<String> = sandboxes.filter(|(_, s)| deleting(s)).map(|(h, _)| h.clone()).collect();
        for handle in deleting {
            self.ask(index, Purpose::Del(handle.clone()), Want::Release { handle });
        }
        let pods: Vec<String> = self
            .kubelets
            .pods
            .iter()
            .filter(|(_, pod)| pod.node == index)
            .map(|(name, _)| name.clone())
            .collect();
        for pod in pods {
            self.add_pod(&pod);
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Broken> {
        let Some(happening) = self.unless_paused(happening) else { return Ok(()) };
        match happening {
            Happening::Start { node } => self.start(node),
            Happening::Arrive { node, life, call, request, fate } => {
                self.arrive(node, life, call, &request, fate)
            }
            Happening::Answer { node, life, call, reply } => {
                let now = self.own_time(node);
                let words = outcome(&reply);
                if let Some(mind) = self.alive(node, life) {
                    mind.handle(now, call, *reply);
                    self.say(format!("{} hears {}: {words}", self.nodes[node].name, call.0));
                    return self.drain(node);
                }
            }
            Happening::List { node, life, kind } => return self.list(node, life, kind),
            Happening::Tell { node, life, kind } => return self.tell(node, life, kind),
            Happening::Wake { node, life } => {
                let (now, wall) = (self.own_time(node), self.wall(node));
                let works = self.nodes[node].works();
                if let Some(mind) = self.alive(node, life) {
                    if works {
                        mind.wake(now, &wall);
                    }
                    self.nodes[node].wakes_at = None;
                    self.looks += u64::from(works && self.nodes[node].collects);
                    return self.drain(node);
                }
            }
            Happening::Turn { node, life } => self.turn(node, life),
            Happening::Turned { node, life, holds } => return self.turned(node, life, holds),
            Happening::Pause { node } => self.pause(node),
            Happening::Resume { node } => self.resume(node),
            Happening::AddPod(pod) => {
                self.add_pod(&pod);
                return self.drain(self.kubelets.pods[&pod].node);
            }
            Happening::DelPod(pod) => {
                self.del_pod(&pod);
                return self.drain(self.kubelets.pods[&pod].node);
            }
            Happening::CancelAdd(pod) => return self.cancel_add(&pod),
            Happening::LoseNode { node } => self.lose_node(node),
            Happening::DeleteNode { node } => {
                let key = Key::cluster(Kind::Node, self.nodes[node].name.clone());
                self.delete(key);
            }
            Happening::DeletePod(pod) => self.delete(pod_key(&pod)),
            Happening::WipeNode { node } => self.wipe_node(node),
        }
        Ok(())
    }

    pub(super) fn alive(&mut self, node: usize, life: u64) -> Option<&mut Mind> {
        let node = &mut self.nodes[node];
        if node.life == life { node.mind.as_mut() } else { None }
    }

    /// Carries out all that a node wants to be done now, and takes in what it is done with.
    pub(super) fn drain(&mut self, index: usize) -> Result<(), Broken> {
        loop {
            let works = self.nodes[index].works();
            let Some(mind) = &mut self.nodes[index].mind else { return Ok(()) };
            if !works {
                mind.stand_down();
                return Ok(());
            }
            if let Some((id, result)) = mind.as_allocator().and_then(Allocator::poll_done) {
                self.finished(index, id, result)?;
            } else if let Some((call, request)) = mind.poll() {
                self.carry_out(index, call, request);
            } else {
                break;
            }
        }
        let now = self.queue.now();
        let node = &mut self.nodes[index];
        let due = node.mind.as_ref().and_then(Mind::poll_timeout);
        if let Some(due) = due.filter(|due| node.wakes_at.is_none_or(|at| *due < at)) {
            node.wakes_at = Some(due);
            let life = node.life;
            self.queue.push(node.clock.until(now, due), Happening::Wake { node: index, life });
        }
        Ok(())
    }

    /// How long something takes that begins now.
    pub(super) fn span(&mut self, range: (u64, u64)) -> Duration {
        self.faults.span(self.queue.now(), range)
    }

    /// What a machine's own clock says.
    pub(super) fn own_time(&self, node: usize) -> Instant {
        self.nodes[node].clock.at(self.queue.now())
    }

    pub(super) fn say(&mut self, line: String) {
        self.trace.push(self.queue.now(), line);
    }
}

/// An assertion of the production code is a broken law too: it shall tell how it came about.
impl Drop for Sim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.broken("an assertion", "see the panic above".to_owned()));
        }
    }
}

impl Node {
    fn new(name: String, collects: bool) -> Node {
        Node {
            name,
            collects,
            is_lost: false,
            life: 0,
            mind: None,
            told: BTreeMap::new(),
            asked: BTreeMap::new(),
            requests: 0,
            tunnel: None,
            wakes_at: None,
            clock: OwnClock::default(),
            held: None,
            claim: Claim::default(),
        }
    }

    /// A collector works as long as it believes to hold the Lease.
    fn works(&self) -> bool {
        !self.collects || self.claim.leads
    }
}
