//! The collector: gives back what nobody uses any more, cluster-wide.
//!
//! ```text
//!   watches ──observe──►┌───────────┐──poll──► consistent reads, then compare-and-swap writes ──► API
//!   time    ──wake─────►│ Collector │◄─handle── replies
//!                       └───────────┘
//! ```
//!
//! Every so often it looks for problems with [`check`], the function behind `ipam check`, in what the watches have said.
//! Two observations that are independent of each other stand before each change: the watches, which must have told of the
//! same problem all through [`Patience`]; and then consistent reads of the very objects on which it rests. What a write
//! takes away it takes by compare-and-swap from the state that was read.
//!
//! Addresses go first, in one write for all of a block; then their handles; then the claims of nodes that are gone. One job
//! is in progress at a time, and one that fails is begun anew after the next look: nothing is remembered that the API does
//! not say.

mod held;
mod job;
mod view;

use crate::check::{Problem, check};
use crate::{CallId, Wall};
pub use held::{Held, Why};
use job::{Aim, Job};
use model::store::{Event, Reply, Request};
use model::{Cidr, Duration, Instant};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use view::View;
pub use view::{Place, Tally, WATCHED};

/// The Lease of whoever collects, and its annotation: JSON with the counts `released` and `removed`, lists of texts `latest`
/// and `held`, and how many more are held back (`more`). `ipam check` shows it.
pub const LEASE: &str = "tortie-controller";
pub const ANNOTATION: &str = "tortie/collector";

/// Of what was taken away, so much is remembered.
const LATEST: usize = 10;
/// After a job that failed.
const RETRY: Duration = Duration::from_secs(1);

/// How long the watches must have told of a problem before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// What a pod or an ADD may have left. Longer than an ADD may last: until then an address may yet be assigned.
    pub leak: Duration,
    /// What a node has left whose Node object is gone.
    pub node: Duration,
}

impl Default for Patience {
    /// Calico's quarter of an hour, and a minute for nodes.
    fn default() -> Patience {
        Patience { leak: Duration::from_secs(900), node: Duration::from_secs(60) }
    }
}

/// What the last look found, and what was done about it so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// All that is wrong now, whether or not the collector may mend it.
    pub problems: Vec<Problem>,
    /// What it will take away if it stays as it is.
    pub candidates: usize,
    /// Addresses that it has released.
    pub released: u64,
    /// Handles, claims and blocks that it has removed.
    pub removed: u64,
    /// How much is in use, by pool and node.
    pub tallies: BTreeMap<Place, Tally>,
    /// What it took away last, the newest at the end.
    pub latest: VecDeque<(Instant, String)>,
    /// What stays for now, and why.
    pub held: Vec<Held>,
}

/// Something that is to go if it stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Suspicion {
    Address(Problem),
    /// One of the same name with another uid is another one.
    Handle {
        id: String,
        uid: String,
    },
    /// A claim of a node that is gone, or a block that is its without a claim.
    Gone {
        block: Cidr,
        node: String,
    },
    /// An empty block of a node that has others.
    Spare {
        block: Cidr,
        node: String,
    },
    Abandoned(Cidr),
}

/// Collects. Drive it so: one mutation, then drain `poll`; call `wake` at `poll_timeout`.
#[derive(Debug)]
pub struct Collector {
    view: View,
    patience: Patience,
    since: BTreeMap<Suspicion, Instant>,
    job: Option<Job>,
    jobs: VecDeque<Aim>,
    in_flight: Option<CallId>,
    last_call: u64,
    now: Instant,
    looks_at: Instant,
    account: Account,
}

impl Collector {
    /// One that knows nothing yet. It writes nothing before all that it judges by has been listed.
    pub fn new(patience: Patience) -> Collector {
        Collector {
            view: View::default(),
            patience,
            since: BTreeMap::new(),
            job: None,
            jobs: VecDeque::new(),
            in_flight: None,
            last_call: 0,
            now: Instant::ZERO,
            looks_at: Instant::ZERO,
            account: Account::default(),
        }
    }

    /// A watch spoke. Kinds that do not matter here are ignored.
    pub fn observe(&mut self, event: &Event) {
        self.view.apply(event);
    }

    /// Time has passed; `wall` is the wall clock's time as RFC 3339.
    pub fn wake(&mut self, now: Instant, wall: &str) {
        self.now = now;
        self.view.advance(Wall::parse(wall));
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.look();
        }
    }

    /// The API answered the call. A job that somebody else was faster than, or whose answer was lost, ends: what is still so
    /// is found again.
    pub fn handle(&mut self, now: Instant, call: CallId, reply: Reply) {
        self.now = now;
        if self.in_flight != Some(call) {
            // Of before it stood down.
            return;
        }
        self.in_flight = None;
        let job = self.job.as_mut().expect("a call is of a job");
        if job.heard(reply).is_err() {
            self.end_job();
            self.looks_at = self.looks_at.min(now + RETRY);
        }
    }

    /// The next call to make: one at a time.
    pub fn poll(&mut self) -> Option<(CallId, Request)> {
        while self.in_flight.is_none() {
            if self.job.is_none() {
                self.job = Some(Job::new(self.jobs.pop_front()?));
            }
            let job = self.job.as_mut().expect("there is one now");
            match job.next(&self.view) {
                Some(request) => {
                    self.last_call += 1;
                    self.in_flight = Some(CallId(self.last_call));
                    return Some((CallId(self.last_call), request));
                }
                None => self.end_job(),
            }
        }
        None
    }

    /// Somebody else collects from now on. Whoever begins again has seen nothing yet.
    pub fn stand_down(&mut self) {
        self.job = None;
        self.jobs.clear();
        self.since.clear();
        self.in_flight = None;
    }

    /// When to call `wake`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.view.is_whole() && self.job.is_none() && self.jobs.is_empty()).then_some(self.looks_at)
    }

    /// What it has found and done.
    pub fn account(&self) -> &Account {
        &self.account
    }

    fn end_job(&mut self) {
        let Some(job) = self.job.take() else { return };
        self.account.released += job.released;
        self.account.removed += job.removed;
        if job.released + job.removed > 0 {
            self.account.latest.push_back((self.now, job.to_string()));
            let surplus = self.account.latest.len().saturating_sub(LATEST);
            self.account.latest.drain(..surplus);
        }
    }

    fn look(&mut self) {
        let shorter = self.patience.leak.min(self.patience.node);
        self.looks_at = self.now + Duration::from_micros(shorter.micros() / 2);
        self.account.problems = check(&self.view.objects());
        let found = self.suspicions();
        self.since.retain(|suspicion, _| found.contains(suspicion));
        for suspicion in found {
            self.since.entry(suspicion).or_insert(self.now);
        }
        self.account.candidates = self.since.len();
        self.account.tallies = self.view.tallies();
        let due = self
            .since
            .iter()
            .filter(|(suspicion, since)| self.now >= **since + self.patience_with(suspicion));
        let due: BTreeSet<&Suspicion> = due.map(|(suspicion, _)| suspicion).collect();
        self.jobs = self.aims(&due).into();
        self.account.held = self.held(&due);
    }

    /// What is wrong in a way that the collector may mend. The rest is for people, or for the node whose claim it is.
    fn suspicions(&self) -> BTreeSet<Suspicion> {
        let mendable = self.account.problems.iter().filter_map(|problem| self.suspicion(problem));
        let spare = self.view.spare_blocks();
        mendable.chain(spare.map(|(block, node)| Suspicion::Spare { block, node })).collect()
    }

    /// What may go to mend a problem.
    fn suspicion(&self, problem: &Problem) -> Option<Suspicion> {
        match problem {
            Problem::NotInUse { .. } => Some(Suspicion::Address(problem.clone())),
            Problem::EmptyHandle { handle } => {
                let uid = self.view.handle(handle)?.metadata.uid.clone();
                Some(Suspicion::Handle { id: handle.clone(), uid })
            }
            Problem::NoNode { block, node } => Some(Suspicion::Gone { block: *block, node: node.clone() }),
            Problem::BlockWithoutAffinity { block, node } if !self.view.has_node(node) => {
                Some(Suspicion::Gone { block: *block, node: node.clone() })
            }
            Problem::Abandoned { block } => Some(Suspicion::Abandoned(*block)),
            _ => None,
        }
    }

    fn patience_with(&self, suspicion: &Suspicion) -> Duration {
        let of_gone_node = match suspicion {
            Suspicion::Address(Problem::NotInUse { addr, .. }) => {
                self.view.node_of(*addr).is_some_and(|node| !self.view.has_node(node))
            }
            Suspicion::Gone { .. } => true,
            _ => false,
        };
        if of_gone_node { self.patience.node } else { self.patience.leak }
    }

    /// What is to be done: addresses first, so that the claims of their nodes can follow at the next look.
    fn aims(&self, due: &BTreeSet<&Suspicion>) -> Vec<Aim> {
        let mut leaks: BTreeMap<Cidr, Vec<_>> = BTreeMap::new();
        let mut rest = Vec::new();
        for suspicion in due {
            match suspicion {
                Suspicion::Address(Problem::NotInUse { addr, owner }) => {
                    // All addresses of a handle go, or none: an owner that uses one of them is there.
                    if let Some((block, leak)) = self.view.leak(*addr)
                        && self.is_leaked_whole(owner, due)
                    {
                        leaks.entry(block).or_default().push(leak);
                    }
                }
                Suspicion::Address(_) => {}
                Suspicion::Handle { id, uid } => {
                    rest.push(Aim::Handle { id: id.clone(), uid: uid.clone() });
                }
                Suspicion::Gone { block, node } if self.view.holds_in(node, *block) => {}
                Suspicion::Gone { block, node } => {
                    rest.push(Aim::Claim { block: *block, node: node.clone(), is_gone: true });
                }
                Suspicion::Spare { block, node } => {
                    rest.push(Aim::Claim { block: *block, node: node.clone(), is_gone: false });
                }
                Suspicion::Abandoned(block) => rest.push(Aim::Block(*block)),
            }
        }
        let addresses = leaks.into_iter().map(|(block, leaks)| Aim::Addresses { block, leaks });
        addresses.chain(rest).collect()
    }

    /// Whether all addresses of a handle are due.
    fn is_leaked_whole(&self, owner: &str, due: &BTreeSet<&Suspicion>) -> bool {
        let leaked = |addr| {
            let owner = self.view.owner_of(addr);
            owner.is_some_and(|owner| due.contains(&Suspicion::Address(Problem::NotInUse { addr, owner })))
        };
        self.view.addresses_of(owner).all(leaked)
    }
}
