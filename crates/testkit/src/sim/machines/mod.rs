//! Whole nodes: the production `node::Node` of each, with what it decides carried out on fakes that misbehave.
//!
//! ```text
//!   administrator ─ pools, modes, joins ─► FakeApi ── delayed watches ──► Node × N ── Effect::Kernel ─► FakeKernel × N ─┐
//!   kubelets ── ADD, DEL ──────────────────┼──────────────────────────────► │  ▲  notices, outcomes ◄──────┘            │ walk
//!   Faults ── crashes, lost answers, cuts ─┘          ▲───── requests ──────┘                                          ▼
//!                             after every event that changed a kernel:  Laws over every pair of pods that it may concern
//! ```
//!
//! A plan is carried out message by message, and the laws are asked between two of them: what is wrong for the length of a
//! batch is wrong. Nodes have clocks of their own, which may differ, and may be paused (`pause`). Kernel facts reach a node in
//! the order in which they came about, as the agent's core keeps it.

mod admin;
mod asks;
mod carry;
mod kernel;
mod kubelet;
mod laws;
mod lines;
mod packet;
mod pause;
mod readdress;
mod router;
mod schedule;
pub mod seeded;
mod speakers;
mod sweep;
mod tunnels;
mod walk;
mod watch;

pub use self::kernel::FakeKernel;
pub use admin::{Admin, Mode};
pub use laws::Running;
pub use schedule::{Entry, Schedule};
pub use walk::{End, FOR_THE_NODE, Underlay, route};

use super::api::Revision;
use super::clock::OwnClock;
use super::faults::Sort;
use super::trace::Trace;
use super::{Broken, FakeApi, Faults, Moment, Queue, Rng};
use ::kernel::{Outcome, Refused, Step};
use carry::Happening;
use derive::{Attachment, AttachmentId, IpipDriver};
use kubelet::{Call, Pod};
use laws::Laws;
use model::store::{Kind, Object, Request};
use model::{Cidr, Duration, IfAddr, Instant, Metadata, k8s};
use node::{CniId, Config, EffectId, Input, Node};
use speakers::{Speakers, Who};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

/// Events after which a run that does not come to rest is stopped.
const MOST_EVENTS: u64 = 300_000;
/// The wall clock at the beginning: 2026-11-25.
const EPOCH_MICROS: i64 = 1_795_600_000_000_000;

/// A cluster of machines and its faults.
pub struct Machines {
    pub(super) api: FakeApi,
    pub faults: Faults,
    queue: Queue<Happening>,
    seed: Option<u64>,
    pub trace: Trace,
    machines: Vec<Machine>,
    pods: BTreeMap<String, Pod>,
    calls: BTreeMap<(usize, CniId), Call>,
    laws: Laws,
    /// Nodes between which no packet passes.
    cut: BTreeSet<(usize, usize)>,
    /// What the router knows besides the subnets.
    routed: BTreeMap<Cidr, Ipv4Addr>,
    /// Without the API server every request is lost and no watch speaks.
    api_is_up: bool,
    /// Nodes that do not reach the API server.
    isolated: BTreeSet<usize>,
    /// Something went wrong in this run, so that a refusal of the kernel may be honest.
    disturbed: bool,
    /// The nodes speak BGP.
    bgp: bool,
    speakers: Speakers,
    events: u64,
    /// Effects so far: what a sweep counts.
    effects: Vec<Sort>,
    numbers: u32,
}

/// A node: its kernel and disk, and the agent while it runs.
struct Machine {
    name: String,
    kernel: FakeKernel,
    files: BTreeMap<AttachmentId, Attachment>,
    /// `None`: it is down.
    agent: Option<Node>,
    /// Counts starts: what was meant for an earlier life is not heard.
    life: u64,
    boot: u64,
    /// By so many seconds the clock on its wall is ahead of the others'. Who runs already has read it.
    ahead: i64,
    ipip: Option<IpipDriver>,
    told: BTreeMap<Kind, Revision>,
    /// Kinds that this life of the agent has been told whole.
    listed: BTreeSet<Kind>,
    /// The latest time at which a kernel fact is on its way to the agent: the next one comes after it.
    ear: Instant,
    /// The first is being carried out, and one may wait behind it.
    plans: VecDeque<Plan>,
    /// By its own clock.
    wakes_at: Option<Instant>,
    clock: OwnClock,
    /// It gets nothing done: what would have happened to it meanwhile.
    held: Option<Vec<Happening>>,
    /// Its Node is deleted for good.
    is_gone: bool,
}

/// A plan that is being carried out.
struct Plan {
    id: EffectId,
    steps: Vec<Step>,
    done: usize,
    outcomes: Vec<Outcome>,
    /// As the writer does: what was refused holds up what builds on it.
    refused: Refused,
    /// The agent crashes after so many messages.
    crash_after: Option<usize>,
}

/// The router's address in a subnet.
fn router_of(subnet: Cidr) -> IpAddr {
    subnet.nth(254).expect("subnets are /24 here")
}

impl Machines {
    /// `near` nodes in one subnet and `far` ones behind a router, with these drivers of IPIP in turn.
    pub fn cluster(near: usize, far: usize, drivers: &[IpipDriver]) -> Machines {
        let mut cluster = Machines {
            api: FakeApi::default(),
            faults: Faults::none(),
            queue: Queue::new(Rng::stream(0, "ties")),
            seed: None,
            trace: Trace::default(),
            machines: Vec::new(),
            pods: BTreeMap::new(),
            calls: BTreeMap::new(),
            laws: Laws::default(),
            cut: BTreeSet::new(),
            routed: BTreeMap::new(),
            api_is_up: true,
            isolated: BTreeSet::new(),
            disturbed: false,
            bgp: false,
            speakers: Speakers::default(),
            events: 0,
            effects: Vec::new(),
            numbers: 0,
        };
        cluster.create(k8s::Namespace { metadata: Metadata::named("default") }.into());
        for n in 0..near + far {
            cluster.add_machine(usize::from(n >= near), Some(drivers[n % drivers.len()]));
        }
        cluster
    }

    /// Nobody carries IP in IP on a node, from its start on.
    #[must_use]
    pub fn without_ipip(mut self, node: usize) -> Machines {
        let machine = &mut self.machines[node];
        machine.ipip = None;
        machine.kernel =
            FakeKernel::boot(machine.kernel.addr(), router_of(machine.kernel.addr().subnet()), false);
        self
    }

    /// A node of a subnet that is about to start.
    fn add_machine(&mut self, subnet: usize, ipip: Option<IpipDriver>) {
        let name = format!("n{}", self.machines.len() + 1);
        self.add_machine_named(name, subnet, ipip);
    }

    /// The same with a name that an earlier machine may have had.
    fn add_machine_named(&mut self, name: String, subnet: usize, ipip: Option<IpipDriver>) {
        let index = self.machines.len();
        let addr = Ipv4Addr::new(192, 168, 10 + subnet as u8, 1 + index as u8);
        let addr = IfAddr::new(addr.into(), 24).expect("24 fits IPv4");
        let has_ipip = ipip == Some(IpipDriver::Kernel);
        let labels = [("subnet".to_owned(), router::subnet_label(addr.subnet()))].into();
        let metadata = Metadata { labels, ..Metadata::named(&name) };
        self.create(k8s::Node { metadata, ..k8s::Node::default() }.into());
        let paused = (0..index).filter(|other| self.machines[*other].held.is_some());
        for other in paused.collect::<Vec<_>>() {
            self.speakers.lines.mar(Who::Node(index), Who::Node(other));
        }
        self.machines.push(Machine {
            name,
            kernel: FakeKernel::boot(addr, router_of(addr.subnet()), has_ipip),
            files: BTreeMap::new(),
            agent: None,
            life: 0,
            boot: 1,
            ahead: 0,
            ipip,
            told: BTreeMap::new(),
            listed: BTreeSet::new(),
            ear: Instant::ZERO,
            plans: VecDeque::new(),
            wakes_at: None,
            clock: OwnClock::default(),
            held: None,
            is_gone: false,
        });
        self.queue.push(Duration::from_millis(1), Happening::Start { node: index });
    }

    /// Creates an object as an administrator does.
    fn create(&mut self, object: Object) {
        let kind = object.kind();
        self.api.apply(&Request::Create(object)).expect("a new object is created");
        self.announce(kind);
    }

    /// How many effects nodes wanted so far.
    pub fn effects(&self) -> u64 {
        self.effects.len() as u64
    }

    /// What the `nth` effect is, counted from one.
    pub fn effect(&self, nth: u64) -> Sort {
        self.effects[nth as usize - 1]
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// A hash of all that happened.
    pub fn hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Lets a span of time pass.
    pub fn run_for(&mut self, span: Duration) -> Result<(), Broken> {
        let end = self.queue.now() + span;
        while self.queue.next_at().is_some_and(|at| at <= end) {
            self.step()?;
        }
        self.queue.advance(end);
        Ok(())
    }

    /// The next event, and the laws after it.
    fn step(&mut self) -> Result<(), Broken> {
        let Some(happening) = self.queue.pop() else { return Ok(()) };
        self.events += 1;
        if self.events > MOST_EVENTS {
            return Err(self.broken("law 11", format!("no rest after {MOST_EVENTS} events")));
        }
        self.happen(happening)?;
        self.hold()
    }

    fn broken(&self, law: &'static str, what: String) -> Broken {
        let (at, event, trace) = (self.queue.now(), self.events, self.trace.last());
        Broken { law, what, at, event, trace, seed: self.seed }
    }

    /// How long something takes that begins now.
    fn span(&mut self, range: (u64, u64)) -> Duration {
        self.faults.span(self.queue.now(), range)
    }

    fn say(&mut self, line: String) {
        self.trace.push(self.queue.now(), line);
    }

    /// The kernels as they are, and what lies between them.
    pub fn underlay(&self) -> Underlay<'_> {
        Underlay {
            kernels: self.machines.iter().map(|machine| &machine.kernel).collect(),
            cut: &self.cut,
            routed: &self.routed,
        }
    }

    /// The agent of a node, in the life that something was meant for.
    fn alive(&mut self, node: usize, life: u64) -> Option<&mut Node> {
        let machine = &mut self.machines[node];
        if machine.life == life { machine.agent.as_mut() } else { None }
    }

    fn start(&mut self, node: usize) {
        let bgp = self.bgp;
        let machine = &mut self.machines[node];
        if machine.is_gone || machine.agent.is_some() {
            return;
        }
        machine.life += 1;
        machine.ear = self.queue.now();
        let mut agent = Node::new(Config {
            node: machine.name.clone(),
            address: Some(machine.kernel.addr()),
            address6: None,
            bgp,
            router_id: derive::bgp::RouterId::Address,
            ipip: machine.ipip,
            epoch_micros: EPOCH_MICROS + machine.ahead * 1_000_000,
        });
        let now = machine.clock.at(self.queue.now());
        let attachments = machine.files.values().cloned().collect();
        let boot_id = format!("boot-{}", machine.boot);
        agent.handle(now, Input::Started { attachments, boot_id });
        machine.agent = Some(agent);
        let life = machine.life;
        self.say(format!("n{} starts", node + 1));
        for kind in node::WATCHED {
            let span = self.span(self.faults.pace.watch);
            self.queue.push(span, Happening::List { node, life, kind });
        }
        self.kubelet_hears_of_start(node);
    }

    /// The agent ends; its kernel and disk stay.
    fn crash(&mut self, node: usize) {
        self.disturbed = true;
        self.say(format!("n{} crashes", node + 1));
        let machine = &mut self.machines[node];
        (machine.agent, machine.wakes_at, machine.held) = (None, None, None);
        machine.plans.clear();
        machine.life += 1;
        machine.told.clear();
        machine.listed.clear();
        machine.kernel.close_all();
        self.hang_up(node);
        self.kubelet_hears_of_crash(node);
        let downtime = self.span(self.faults.pace.downtime);
        self.queue.push(downtime, Happening::Start { node });
    }

    /// Where in the effect that comes now its node crashes, if it does.
    fn moment(&mut self, node: usize, sort: Sort) -> Option<Moment> {
        self.effects.push(sort);
        self.faults.moment(node, self.effects())
    }
}

/// An assertion of the production code is a broken law too: it shall tell how it came about.
impl Drop for Machines {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.broken("an assertion", "see the panic above".to_owned()));
        }
    }
}
