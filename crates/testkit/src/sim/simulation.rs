//! The event loop: nodes, their API, their kubelets, and the words in which cases are written.

use super::faults::{Fate, Moment};
use super::kubelet::{Kubelets, Pod, Sandbox, State, TRIES};
use super::laws::{self, Broken};
use super::trace::Trace;
use super::{FakeApi, Faults, Queue, Rng, Verb, api::Revision};
use ipam::check::Problem;
use ipam::{Allocator, Assigned, CallId, RequestId, Tunnel, Want};
use model::store::{self, Event, Kind, Object, Reply, Request};
use model::v3::{
    AllowedUse, AssignmentMode, EncapMode, IpPool, IpPoolSpec, IpamConfiguration, IpamConfigurationSpec,
};
use model::{Cidr, Duration, Instant, Metadata, k8s};
use std::collections::BTreeMap;
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
/// After this long without an answer, a caller gives up.
const API_TIMEOUT: Duration = Duration::from_millis(300);
/// When a late request arrives, in microseconds: after its caller gave up.
const LATE: (u64, u64) = (301_000, 600_000);
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
    nodes: Vec<Node>,
    tunnels: bool,
    events: u64,
    /// Requests that were sent: what a crash sweep counts.
    effects: u64,
    /// A request was answered since the laws were looked at.
    answered: bool,
}

struct Node {
    name: String,
    /// Counts starts: what was meant for an earlier life is not heard.
    life: u64,
    /// `None`: crashed.
    allocator: Option<Allocator>,
    told: BTreeMap<Kind, Revision>,
    asked: BTreeMap<RequestId, Purpose>,
    requests: u64,
    in_flight: u64,
    /// What the Node's annotation says: it outlives the agent.
    tunnel: Option<Assigned>,
    wakes_at: Option<Instant>,
}

#[derive(Clone, Debug)]
enum Purpose {
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
            events: 0,
            effects: 0,
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

    /// Adds a pool, named after its number, with blocks of this prefix length.
    pub fn pool(mut self, cidr: &str, block_size: u8) -> Sim {
        let count = self.api.objects().filter(|o| o.kind() == Kind::IpPool).count();
        let spec = IpPoolSpec {
            cidr: cidr.parse().expect("a CIDR"),
            vxlan_mode: EncapMode::Always,
            ipip_mode: EncapMode::Never,
            nat_outgoing: true,
            disabled: false,
            disable_bgp_export: false,
            block_size,
            node_selector: "all()".to_owned(),
            namespace_selector: String::new(),
            allowed_uses: vec![AllowedUse::Workload, AllowedUse::Tunnel],
            assignment_mode: AssignmentMode::Automatic,
            rest: Default::default(),
        };
        let pool = IpPool { metadata: Metadata::named(format!("pool-{}", count + 1)), spec };
        self.put(pool.into());
        self
    }

    /// Sets the IPAM configuration.
    pub fn configuration(mut self, spec: IpamConfigurationSpec) -> Sim {
        self.put(IpamConfiguration { metadata: Metadata::named("default"), spec }.into());
        self
    }

    /// Every node wants an address for its VXLAN device.
    pub fn tunnels(mut self) -> Sim {
        self.tunnels = true;
        self
    }

    /// The API server's faults.
    pub fn api(&mut self) -> ApiWords<'_> {
        ApiWords { sim: self }
    }

    /// A pod, by name.
    pub fn pod(&mut self, name: &str) -> PodWords<'_> {
        PodWords { sim: self, name: name.to_owned(), node: 0, given: None }
    }

    /// A node, by name.
    pub fn node(&mut self, name: &str) -> NodeWords<'_> {
        let index = self.nodes.iter().position(|node| node.name == name).expect("a node of the cluster");
        NodeWords { sim: self, index }
    }

    /// The node that makes the `n`th request crashes with it.
    pub fn crash_at(&mut self, n: u64, moment: Moment) {
        self.faults.crash_at = Some((n, moment));
    }

    /// Lets time pass. A broken law is a panic that tells the story.
    pub fn run_for(&mut self, span: Duration) -> &mut Sim {
        let end = self.queue.now() + span;
        while self.queue.next_at().is_some_and(|at| at <= end) {
            self.step().unwrap_or_else(|broken| panic!("{broken}"));
        }
        self
    }

    /// Ends all faults and lets the cluster come to rest; then nothing is pending and nothing has leaked.
    pub fn settle(&mut self) -> &mut Sim {
        self.come_to_rest().unwrap_or_else(|broken| panic!("{broken}"));
        self
    }

    /// The address is `pod`'s.
    pub fn expect_owner(&mut self, addr: &str, pod: &str) -> &mut Sim {
        let addr: IpAddr = addr.parse().expect("an address");
        let found = self
            .kubelets
            .running()
            .find(|(a, _)| *a == addr)
            .map(|(_, h)| self.kubelets.sandboxes[h].pod.as_str());
        assert_eq!(found, Some(pod), "the owner of {addr}; {:#?}", self.trace.last());
        self
    }

    /// The pod has no address, and the reason contains `why`.
    pub fn expect_failed(&mut self, pod: &str, why: &str) -> &mut Sim {
        assert_eq!(self.kubelets.sandbox_of(pod), None, "{pod} runs");
        let error = self.kubelets.pods[pod].error.clone().unwrap_or_default();
        assert!(error.contains(why), "{pod}: {error}");
        self
    }

    /// No address and no handle is left but those of running pods and tunnels.
    pub fn expect_clean(&mut self) -> &mut Sim {
        let problems = laws::problems(self.api.objects(), &self.in_use());
        assert_eq!(problems, Vec::new(), "{:#?}", self.trace.last());
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
        self.seed.is_some() && matches!(problem, Problem::EmptyHandle { .. })
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

    fn broken(&self, law: &'static str, what: String) -> Broken {
        let (at, event, trace) = (self.queue.now(), self.events, self.trace.last());
        Broken { law, what, at, event, trace, seed: self.seed }
    }

    fn in_use(&self) -> Vec<(IpAddr, String)> {
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

    fn crash(&mut self, index: usize) {
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

    fn alive(&mut self, node: usize, life: u64) -> Option<&mut Allocator> {
        let node = &mut self.nodes[node];
        if node.life == life { node.allocator.as_mut() } else { None }
    }

    /// A request reaches the API server, whether or not its sender still lives.
    fn arrive(&mut self, node: usize, life: u64, call: CallId, request: &Request, fate: Fate) {
        let reply = match fate {
            Fate::Failed => Err(store::Error::Unknown("500 Internal Server Error".to_owned())),
            _ => self.api.apply(request),
        };
        self.say(format!("api {} {}: {}", self.nodes[node].name, words(call, request), outcome(&reply)));
        if reply.is_ok() && Verb::of(request).0 != Verb::Get {
            self.announce(Verb::of(request).1);
        }
        let span = self.faults.span(self.faults.latency);
        match fate {
            Fate::Answered | Fate::Failed => {
                self.queue.push(span, Happening::Answer { node, life, call, reply: Box::new(reply) });
            }
            Fate::AnswerLost => self.time_out(node, life, call, API_TIMEOUT),
            Fate::RequestLost | Fate::Late => {}
        }
    }

    fn time_out(&mut self, node: usize, life: u64, call: CallId, span: Duration) {
        let reply = Box::new(Err(store::Error::Unknown("timed out".to_owned())));
        self.queue.push(span, Happening::Answer { node, life, call, reply });
    }

    /// Lets every watcher of a kind hear of a change, each in its own time.
    fn announce(&mut self, kind: Kind) {
        for node in 0..self.nodes.len() {
            let life = self.nodes[node].life;
            let span = self.faults.span(self.faults.watch_delay);
            self.queue.push(span, Happening::Tell { node, life, kind });
        }
    }

    fn list(&mut self, node: usize, life: u64, kind: Kind) -> Result<(), Broken> {
        let stale = if self.faults.stale > 0 { self.faults.rng.below(self.faults.stale + 1) } else { 0 };
        let newest = self.api.revision();
        let at = Revision(newest.0.saturating_sub(stale as usize));
        let event = self.api.list(kind, at);
        let Some(allocator) = self.alive(node, life) else { return Ok(()) };
        allocator.observe(&event);
        self.nodes[node].told.insert(kind, at);
        self.say(format!("{} lists {kind:?} of revision {} of {}", self.nodes[node].name, at.0, newest.0));
        for _ in at.0..newest.0 {
            let span = self.faults.span(self.faults.watch_delay);
            self.queue.push(span, Happening::Tell { node, life, kind });
        }
        self.drain(node)
    }

    fn tell(&mut self, node: usize, life: u64, kind: Kind) -> Result<(), Broken> {
        if self.alive(node, life).is_none() {
            return Ok(());
        }
        let Some(told) = self.nodes[node].told.get(&kind).copied() else { return Ok(()) };
        if self.faults.broken_watch > 0 && self.faults.rng.per_mille(self.faults.broken_watch) {
            self.nodes[node].told.remove(&kind);
            let span = self.faults.span(self.faults.watch_delay);
            self.queue.push(span, Happening::List { node, life, kind });
            let event = Event::Failed { kind, error: "connection reset by peer".to_owned() };
            self.alive(node, life).expect("it lives").observe(&event);
            return self.drain(node);
        }
        let Some((revision, event)) = self.api.next(kind, told) else { return Ok(()) };
        self.alive(node, life).expect("it lives").observe(&event);
        self.nodes[node].told.insert(kind, revision);
        self.drain(node)
    }

    /// Carries out all that a node wants to be done now, and takes in what it is done with.
    fn drain(&mut self, index: usize) -> Result<(), Broken> {
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

    fn carry_out(&mut self, node: usize, call: CallId, request: Request) {
        self.effects += 1;
        let life = self.nodes[node].life;
        let moment = self.faults.crash_at.filter(|(at, _)| *at == self.effects).map(|(_, moment)| moment);
        let fate = self.faults.fate(&request);
        if moment == Some(Moment::Before) {
            return self.crash(node);
        }
        self.nodes[node].in_flight += 1;
        let mut span = self.faults.span(self.faults.latency);
        match fate {
            Fate::RequestLost => {
                self.say(format!("api {} {}: lost on the way", self.nodes[node].name, words(call, &request)));
                return self.time_out(node, life, call, API_TIMEOUT);
            }
            Fate::Late => {
                self.time_out(node, life, call, API_TIMEOUT);
                span = self.faults.span(LATE);
            }
            _ => {}
        }
        if moment == Some(Moment::After) {
            self.arrive(node, life, call, &request, fate);
            return self.crash(node);
        }
        self.queue.push(span, Happening::Arrive { node, life, call, request: Box::new(request), fate });
    }

    fn ask(&mut self, index: usize, purpose: Purpose, want: Want) {
        let now = self.queue.now();
        let seconds = now.micros() / 1_000_000;
        let wall =
            format!("2026-11-23T{:02}:{:02}:{:02}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let node = &mut self.nodes[index];
        let Some(allocator) = &mut node.allocator else { return };
        node.requests += 1;
        let id = RequestId(node.requests);
        node.asked.insert(id, purpose.clone());
        allocator.request(now, &wall, id, want);
        self.say(format!("{} is asked: {purpose:?}", self.nodes[index].name));
    }

    fn finished(
        &mut self,
        index: usize,
        id: RequestId,
        result: Result<Vec<Assigned>, ipam::Error>,
    ) -> Result<(), Broken> {
        let purpose = self.nodes[index].asked.remove(&id).expect("a request is answered once");
        self.answered = true;
        self.say(format!("{} is done with {purpose:?}: {result:?}", self.nodes[index].name));
        match (purpose, result) {
            (Purpose::Add(handle), Ok(assigned)) => {
                let Assigned { addr, block } = assigned[0];
                let sandbox = self.kubelets.sandboxes.get_mut(&handle).expect("an ADD is of a sandbox");
                sandbox.state = State::Running { addr, block };
            }
            (Purpose::Add(handle), Err(error)) => self.add_failed(index, &handle, error.to_string()),
            (Purpose::Del(handle), Ok(_)) => _ = self.kubelets.sandboxes.remove(&handle),
            (Purpose::Del(handle), Err(_)) => {
                self.ask(index, Purpose::Del(handle.clone()), Want::Release { handle });
            }
            (Purpose::Tunnel, Ok(assigned)) => {
                let before = self.nodes[index].tunnel.replace(assigned[0]);
                if before.is_some_and(|before| before != assigned[0]) {
                    return Err(
                        self.broken("law 2", format!("a tunnel moved from {before:?} to {assigned:?}"))
                    );
                }
            }
            (Purpose::Tunnel, Err(_)) => {}
        }
        Ok(())
    }

    fn add_failed(&mut self, index: usize, handle: &str, error: String) {
        let sandbox = self.kubelets.sandboxes.get_mut(handle).expect("an ADD is of a sandbox");
        sandbox.state = State::Deleting;
        let name = sandbox.pod.clone();
        let pod = self.kubelets.pods.get_mut(&name).expect("a sandbox is of a pod");
        pod.error = Some(error);
        self.queue.push(Duration::from_millis(200), Happening::AddPod(name));
        self.ask(index, Purpose::Del(handle.to_owned()), Want::Release { handle: handle.to_owned() });
    }

    /// Makes a sandbox for a pod that is wanted and has none.
    fn add_pod(&mut self, name: &str) {
        let pod = self.kubelets.pods.get_mut(name).expect("a pod is known before it is added");
        let alive = self.nodes[pod.node].allocator.is_some();
        if !pod.wanted || pod.tries >= TRIES || !alive || self.kubelets.sandbox_of(name).is_some() {
            return;
        }
        let pod = self.kubelets.pods.get_mut(name).expect("it was there");
        pod.tries += 1;
        let (node, handle) = (pod.node, format!("net.{name}-{}", pod.tries));
        let attributes = [("pod", name), ("namespace", "default"), ("node", &self.nodes[node].name)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let want = match pod.given {
            Some(addr) => Want::Given { handle: handle.clone(), attributes, addr },
            None => Want::Auto { handle: handle.clone(), attributes, pools: Vec::new() },
        };
        let sandbox = Sandbox { pod: name.to_owned(), node, state: State::Adding };
        self.kubelets.sandboxes.insert(handle.clone(), sandbox);
        self.ask(node, Purpose::Add(handle), want);
    }

    /// The pod is not wanted any more.
    fn del_pod(&mut self, name: &str) {
        let pod = self.kubelets.pods.get_mut(name).expect("a pod is known before it is deleted");
        pod.wanted = false;
        let node = pod.node;
        let Some(handle) = self.kubelets.sandbox_of(name).map(str::to_owned) else { return };
        let sandbox = self.kubelets.sandboxes.get_mut(&handle).expect("it was there");
        if sandbox.state == State::Adding {
            // Runtimes wait for the ADD; one that never ends is cancelled.
            self.queue.push(Duration::from_millis(500), Happening::CancelAdd(name.to_owned()));
            self.queue.push(Duration::from_millis(600), Happening::DelPod(name.to_owned()));
            return;
        }
        sandbox.state = State::Deleting;
        self.ask(node, Purpose::Del(handle.clone()), Want::Release { handle });
    }

    fn cancel_add(&mut self, name: &str) -> Result<(), Broken> {
        let Some(handle) = self.kubelets.sandbox_of(name).map(str::to_owned) else { return Ok(()) };
        let sandbox = self.kubelets.sandboxes.get_mut(&handle).expect("it was there");
        let index = sandbox.node;
        let now = self.queue.now();
        let node = &mut self.nodes[index];
        let asked =
            node.asked.iter().find(|(_, p)| matches!(p, Purpose::Add(h) if *h == handle)).map(|(id, _)| *id);
        let (Some(id), Some(allocator)) = (asked, &mut node.allocator) else { return Ok(()) };
        allocator.cancel(now, id);
        node.asked.remove(&id);
        self.say(format!("{} is no longer asked: add {handle}", self.nodes[index].name));
        self.add_failed(index, &handle, "cancelled".to_owned());
        self.drain(index)
    }

    fn say(&mut self, line: String) {
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

fn words(call: CallId, request: &Request) -> String {
    let (verb, kind) = Verb::of(request);
    let name = match request {
        Request::Get(key) | Request::Delete { key, .. } | Request::Annotate { key, .. } => &key.name,
        Request::Create(object) | Request::Update(object) => &object.metadata().name,
    };
    format!("{}: {verb:?} {kind:?} {name}", call.0)
}

fn outcome(reply: &Reply) -> String {
    match reply {
        Ok(Some(object)) => format!("revision {}", object.metadata().resource_version),
        Ok(None) => "gone".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// What can be said of the API server.
pub struct ApiWords<'a> {
    sim: &'a mut Sim,
}

impl ApiWords<'_> {
    /// The `nth` such request from now on is carried out, and its answer lost.
    pub fn lose_answer_of(self, nth: usize, verb: Verb, kind: Kind) {
        self.sim.faults.demand(nth, verb, kind, Fate::AnswerLost);
    }

    /// The `nth` such request from now on has this fate.
    pub fn fate_of(self, nth: usize, verb: Verb, kind: Kind, fate: Fate) {
        self.sim.faults.demand(nth, verb, kind, fate);
    }
}

/// What can be said of a pod.
pub struct PodWords<'a> {
    sim: &'a mut Sim,
    name: String,
    node: usize,
    given: Option<IpAddr>,
}

impl PodWords<'_> {
    /// Its node.
    pub fn on(mut self, node: &str) -> Self {
        self.node = self.sim.nodes.iter().position(|n| n.name == node).expect("a node of the cluster");
        self
    }

    /// The address that it asks for.
    pub fn at(mut self, addr: &str) -> Self {
        self.given = Some(addr.parse().expect("an address"));
        self
    }

    /// Its kubelet adds it, as soon as the node runs.
    pub fn add(self) {
        let pod = Pod { node: self.node, given: self.given, wanted: true, tries: 0, error: None };
        self.sim.kubelets.pods.insert(self.name.clone(), pod);
        self.sim.queue.push(Duration::from_millis(10), Happening::AddPod(self.name));
    }

    /// Its kubelet deletes it.
    pub fn del(self) {
        self.sim.queue.push(Duration::from_millis(10), Happening::DelPod(self.name));
    }
}

/// What can be said of a node.
pub struct NodeWords<'a> {
    sim: &'a mut Sim,
    index: usize,
}

impl NodeWords<'_> {
    /// Its agent dies now and starts again after a while.
    pub fn crash(self) {
        self.sim.crash(self.index);
    }

    /// Its blocks.
    pub fn blocks(self) -> Vec<Cidr> {
        let name = self.sim.nodes[self.index].name.clone();
        let blocks = self.sim.api.objects().filter_map(|object| match object {
            Object::IpamBlock(b) if ipam::block::owner(&b.spec) == Some(&name) => Some(b.spec.cidr),
            _ => None,
        });
        blocks.collect()
    }
}
