//! The event loop: what happens to which node, and the laws after it.

use super::api::Revision;
use super::faults::Fate;
use super::kubelet::{Kubelets, Sandbox, State};
use super::laws::{self, Broken};
use super::trace::Trace;
use super::wire::outcome;
use super::{FakeApi, Faults, Queue, Rng};
use ipam::check::Problem;
use ipam::{Allocator, Assigned, CallId, RequestId, Tunnel, Want};
use model::store::{Kind, Object, Reply, Request};
use model::{Duration, Instant, Metadata, k8s};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What a node watches.
const WATCHED: [Kind; 6] = [
    Kind::Node,
    Kind::IpPool,
    Kind::IpamBlock,
    Kind::BlockAffinity,
    Kind::IpamConfiguration,
    Kind::IpReservation,
];
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

pub(super) struct Node {
    pub(super) name: String,
    /// Counts starts: what was meant for an earlier life is not heard.
    pub(super) life: u64,
    /// `None`: crashed.
    pub(super) allocator: Option<Allocator>,
    pub(super) told: BTreeMap<Kind, Revision>,
    pub(super) asked: BTreeMap<RequestId, Purpose>,
    pub(super) requests: u64,
    pub(super) in_flight: u64,
    /// What the Node's annotation says: it outlives the agent.
    pub(super) tunnel: Option<Assigned>,
    wakes_at: Option<Instant>,
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
    AddPod(String),
    DelPod(String),
    /// The runtime's patience with an ADD ends.
    CancelAdd(String),
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
            sim.nodes.push(Node {
                name,
                life: 0,
                allocator: None,
                told: BTreeMap::new(),
                asked: BTreeMap::new(),
                requests: 0,
                in_flight: 0,
                tunnel: None,
                wakes_at: None,
            });
            sim.queue.push(Duration::from_millis(1), Happening::Start { node: index });
        }
        sim
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
        self.nodes.len()
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

    /// Ends all faults and lets the cluster come to rest.
    pub(super) fn come_to_rest(&mut self) -> Result<(), Broken> {
        self.faults.heal();
        while !self.queue.is_empty() {
            self.step()?;
        }
        let pending: Vec<String> = self.nodes.iter().filter_map(Node::pending).collect();
        if !pending.is_empty() {
            return Err(self.broken("liveness", pending.join("; ")));
        }
        let mut problems = laws::problems(self.api.objects(), &self.in_use());
        problems.retain(|problem| !self.excused(problem));
        match problems.as_slice() {
            [] => Ok(()),
            _ => {
                let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
                Err(self.broken("cleanness", texts.join("; ")))
            }
        }
    }

    /// A creation that arrives after its caller has given up and looked leaves an empty handle: no compare-and-swap can
    /// exclude that, a collector sees it, and it holds no address.
    fn excused(&self, problem: &Problem) -> bool {
        matches!(problem, Problem::EmptyHandle { handle } if self.strays.contains(handle))
    }

    /// The next event, and the laws after it.
    pub(super) fn step(&mut self) -> Result<(), Broken> {
        let Some(happening) = self.queue.pop() else { return Ok(()) };
        self.events += 1;
        if self.events > MOST_EVENTS {
            return Err(self.broken("liveness", format!("no rest after {MOST_EVENTS} events")));
        }
        let before = self.api.revision();
        self.crash_by_chance();
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

    fn crash_by_chance(&mut self) {
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            let rate = if node.in_flight > 0 { self.faults.crash * 10 } else { self.faults.crash };
            let lives = node.allocator.is_some() && self.faults.most_crashes > 0;
            if rate > 0 && lives && self.faults.rng.per_mille(rate) {
                self.faults.most_crashes -= 1;
                self.crash(index);
            }
        }
    }

    pub(super) fn crash(&mut self, index: usize) {
        self.say(format!("{} crashes", self.nodes[index].name));
        let node = &mut self.nodes[index];
        (node.allocator, node.in_flight, node.wakes_at) = (None, 0, None);
        node.life += 1;
        node.told.clear();
        node.asked.clear();
        // The plugin's connection breaks: the runtime deletes the sandbox and makes another.
        for sandbox in self.kubelets.sandboxes.values_mut() {
            if sandbox.node == index && sandbox.state == State::Adding {
                sandbox.state = State::Deleting;
            }
        }
        let downtime = self.faults.span(self.faults.downtime);
        self.queue.push(downtime, Happening::Start { node: index });
    }

    fn start(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.life += 1;
        node.allocator = Some(Allocator::new(&node.name));
        let life = node.life;
        self.say(format!("{} starts", self.nodes[index].name));
        for kind in WATCHED {
            let span = self.faults.span(self.faults.watch_delay);
            self.queue.push(span, Happening::List { node: index, life, kind });
        }
        if self.tunnels {
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
        match happening {
            Happening::Start { node } => self.start(node),
            Happening::Arrive { node, life, call, request, fate } => {
                self.arrive(node, life, call, &request, fate)
            }
            Happening::Answer { node, life, call, reply } => {
                let now = self.queue.now();
                let words = outcome(&reply);
                if let Some(allocator) = self.alive(node, life) {
                    allocator.handle(now, call, *reply);
                    self.nodes[node].in_flight -= 1;
                    self.say(format!("{} hears {}: {words}", self.nodes[node].name, call.0));
                    return self.drain(node);
                }
            }
            Happening::List { node, life, kind } => return self.list(node, life, kind),
            Happening::Tell { node, life, kind } => return self.tell(node, life, kind),
            Happening::Wake { node, life } => {
                let now = self.queue.now();
                if let Some(allocator) = self.alive(node, life) {
                    allocator.wake(now);
                    self.nodes[node].wakes_at = None;
                    return self.drain(node);
                }
            }
            Happening::AddPod(pod) => {
                self.add_pod(&pod);
                return self.drain(self.kubelets.pods[&pod].node);
            }
            Happening::DelPod(pod) => {
                self.del_pod(&pod);
                return self.drain(self.kubelets.pods[&pod].node);
            }
            Happening::CancelAdd(pod) => return self.cancel_add(&pod),
        }
        Ok(())
    }

    pub(super) fn alive(&mut self, node: usize, life: u64) -> Option<&mut Allocator> {
        let node = &mut self.nodes[node];
        if node.life == life { node.allocator.as_mut() } else { None }
    }

    /// Carries out all that a node wants to be done now, and takes in what it is done with.
    pub(super) fn drain(&mut self, index: usize) -> Result<(), Broken> {
        loop {
            let Some(allocator) = &mut self.nodes[index].allocator else { return Ok(()) };
            if let Some((id, result)) = allocator.poll_done() {
                self.finished(index, id, result)?;
            } else if let Some((call, request)) = allocator.poll() {
                self.carry_out(index, call, request);
            } else {
                break;
            }
        }
        let now = self.queue.now();
        let node = &mut self.nodes[index];
        let due = node.allocator.as_ref().and_then(Allocator::poll_timeout);
        if let Some(due) = due.filter(|due| node.wakes_at.is_none_or(|at| *due < at)) {
            node.wakes_at = Some(due);
            let life = node.life;
            self.queue.push(due.since(now), Happening::Wake { node: index, life });
        }
        Ok(())
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
    fn pending(&self) -> Option<String> {
        match &self.allocator {
            None => Some(format!("{} does not start", self.name)),
            Some(allocator) => {
                let pending = allocator.pending();
                (!pending.is_empty()).then(|| format!("{}: {}", self.name, pending.join(", ")))
            }
        }
    }
}
