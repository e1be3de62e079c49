//! The allocator of one node, as a value that is driven: watches go in by `observe`, requests by `request`, the API's
//! replies by `handle`; calls of the API come out by `poll`, results by `poll_done`.
//!
//! It keeps what is wanted and what the API said, and no other progress: after every input `decide` looks at both and
//! makes the calls that can be made now. At most one call for each object is in flight. An object whose write failed or
//! whose answer was lost is `unsure`: it is read before anything is decided from it. An address is reported only out of
//! an answer of the API, never out of a watch.

mod answer;
mod backoff;
mod decide;
mod work;

use crate::affinity::{affinity_key, block_key};
use crate::{Assigned, CallId, Error, RequestId, Snapshot, Wall, Want};
use backoff::Backoff;
use model::store::{Event, Key, Kind, Reply, Request};
use model::v3::{BlockAffinity, IpamHandle};
use model::{Cidr, Instant, names};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Gives and takes the addresses of one node. Drive it so: one mutation, then drain `poll` and `poll_done`.
#[derive(Clone, Debug)]
pub struct Allocator {
    snapshot: Snapshot,
    /// By object name, for the handles that are worked on and those of this life: `None` does not exist.
    handles: BTreeMap<String, Option<IpamHandle>>,
    /// In order of arrival.
    goals: Vec<Goal>,
    /// The block that is being claimed or given up.
    work: Option<Work>,
    in_flight: BTreeMap<Key, Call>,
    unsure: BTreeSet<Key>,
    /// Blocks that do not exist by the API's own word. A watch that says so may speak of an earlier one of the same name,
    /// which another node has taken over meanwhile.
    absent: BTreeSet<Cidr>,
    backoff: Backoff,
    calls: VecDeque<(CallId, Request)>,
    done: VecDeque<(RequestId, Result<Vec<Assigned>, Error>)>,
    last_call: u64,
    now: Instant,
    /// Of the latest request, and when that was.
    wall: Option<(Wall, Instant)>,
    dirty: bool,
}

/// A request that is not finished.
#[derive(Clone, Debug)]
struct Goal {
    /// `None`: nobody waits, but what was begun must be undone.
    id: Option<RequestId>,
    want: Want,
    handle: String,
    /// The handle's.
    key: Key,
    /// The block from which its address is to come.
    chosen: Option<Cidr>,
    /// A given address that seems taken is believed to be so after a read.
    read: bool,
    /// Its handle was written for it: no deletion of an earlier life can reach it any more.
    recorded: bool,
    /// The blocks that were written since it began, and since a write of its own to them.
    fenced: BTreeSet<Cidr>,
    over: bool,
}

/// The block that is being claimed or given up.
#[derive(Clone, Debug)]
struct Work {
    cidr: Cidr,
    kind: WorkKind,
    /// The block was written since the affinity was marked.
    written: bool,
    /// The block was read since the affinity was marked.
    read: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum WorkKind {
    Claim,
    Release,
    /// Of another node's block, in its stead.
    TakeOver(Theirs),
}

/// The other node's claim.
#[derive(Clone, Debug, PartialEq)]
enum Theirs {
    Unread,
    Read(Option<Box<BlockAffinity>>),
}

/// A call in flight.
#[derive(Clone, Debug)]
struct Call {
    id: CallId,
    reads: bool,
    /// What a watch said last of the object while the call was under way: which of the two is older cannot be told.
    heard: Option<Heard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Put,
    Gone,
}

impl Allocator {
    /// The allocator of the node named `node`. It writes nothing before pools, blocks, affinities, the IPAM configuration,
    /// reservations and its own Node have been listed to it.
    pub fn new(node: &str) -> Allocator {
        Allocator {
            snapshot: Snapshot::new(node),
            handles: BTreeMap::new(),
            goals: Vec::new(),
            work: None,
            in_flight: BTreeMap::new(),
            unsure: BTreeSet::new(),
            absent: BTreeSet::new(),
            backoff: Backoff::new(node),
            calls: VecDeque::new(),
            done: VecDeque::new(),
            last_call: 0,
            now: Instant::ZERO,
            wall: None,
            dirty: false,
        }
    }

    /// A watch spoke. Kinds that do not matter here are ignored, so everything may be passed on.
    pub fn observe(&mut self, event: &Event) {
        self.snapshot.apply(event);
        match event {
            Event::Put(object) => self.overtake(&object.key(), Heard::Put),
            Event::Gone(key) => self.overtake(key, Heard::Gone),
            Event::Listed(kind, objects) => {
                let of_kind = self.in_flight.iter_mut().filter(|(key, _)| key.kind == *kind);
                of_kind.for_each(|(_, call)| call.heard = Some(Heard::Gone));
                objects.iter().for_each(|object| self.overtake(&object.key(), Heard::Put));
            }
            Event::Failed { .. } => {}
        }
        self.dirty = true;
    }

    /// Somebody wants something. `wall` is the wall clock's time as RFC 3339: it becomes a block's claim time. Requests for
    /// one handle take turns, in the order in which they come.
    pub fn request(&mut self, now: Instant, wall: &str, id: RequestId, want: Want) {
        assert!(self.goals.iter().all(|goal| goal.id != Some(id)), "a request is made once: {id:?}");
        self.wall = Some((Wall::parse(wall), now));
        let handle = want.handle(&self.snapshot.node);
        let key = Key::cluster(Kind::IpamHandle, names::handle(&handle));
        let (chosen, fenced, recorded) = (None, BTreeSet::new(), false);
        self.goals.push(Goal {
            id: Some(id),
            want,
            handle,
            key,
            chosen,
            read: false,
            recorded,
            fenced,
            over: false,
        });
        self.wake(now);
    }

    /// Nobody waits for the request any more. What it got or gets is released; nothing is reported of it.
    pub fn cancel(&mut self, now: Instant, id: RequestId) {
        if let Some(at) = self.goals.iter().position(|goal| goal.id == Some(id)) {
            let mut goal = self.goals.remove(at);
            let had_its_turn = self.goals[..at].iter().all(|earlier| earlier.handle != goal.handle);
            self.undo(&mut goal);
            if had_its_turn && !goal.over {
                self.goals.insert(at, goal);
            }
        }
        self.wake(now);
    }

    /// The time of `poll_timeout` has come.
    pub fn wake(&mut self, now: Instant) {
        self.now = now;
        self.dirty = true;
    }

    /// The API answered a call.
    pub fn handle(&mut self, now: Instant, call: CallId, reply: Reply) {
        self.wake(now);
        self.answer(call, reply);
    }

    /// The next call to make. Several may be in flight.
    pub fn poll(&mut self) -> Option<(CallId, Request)> {
        self.settle();
        self.calls.pop_front()
    }

    /// The next request that is finished: what it has now (nothing after a release), or why not.
    pub fn poll_done(&mut self) -> Option<(RequestId, Result<Vec<Assigned>, Error>)> {
        self.settle();
        self.done.pop_front()
    }

    /// When to call `wake`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.backoff.next_after(self.now)
    }

    /// What is known of the cluster's addresses.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What is not finished yet and what it waits for, in words: one line for each request, claim and clean-up.
    pub fn pending(&self) -> Vec<String> {
        let goals = self.goals.iter().map(|goal| self.describe(goal));
        let work = self.work.iter().map(|work| {
            let verb = match work.kind {
                WorkKind::Claim => "claim",
                WorkKind::Release => "give up",
                WorkKind::TakeOver(_) => "take over",
            };
            format!(
                "{verb} {}: waits for {}",
                work.cidr,
                self.waits_for(&affinity_key(&self.snapshot.node, work.cidr))
            )
        });
        goals.chain(work).collect()
    }

    /// What an unfinished request waits for, in words.
    pub fn waiting_for(&self, id: RequestId) -> Option<String> {
        self.goals.iter().find(|goal| goal.id == Some(id)).map(|goal| self.describe(goal))
    }

    fn describe(&self, goal: &Goal) -> String {
        let (verb, key) = match (&goal.want, goal.chosen) {
            (Want::Release { .. }, _) => ("release", goal.key.clone()),
            (_, Some(block)) => ("assign to", block_key(block)),
            (_, None) => match &self.work {
                Some(work) => ("assign to", affinity_key(&self.snapshot.node, work.cidr)),
                None => ("assign to", goal.key.clone()),
            },
        };
        format!("{verb} {}: waits for {}", goal.handle, self.waits_for(&key))
    }

    fn waits_for(&self, key: &Key) -> String {
        let missing: Vec<String> = self.snapshot.missing().map(|kind| format!("{kind:?}")).collect();
        match missing.as_slice() {
            [] if self.backoff.holds(key, self.now) => {
                format!("the next try to reach {:?} {}", key.kind, key.name)
            }
            [] => format!("an answer about {:?} {}", key.kind, key.name),
            _ => format!("the first list of {}", missing.join(", ")),
        }
    }

    /// What was begun for a goal is to be undone, and nobody waits for it.
    fn undo(&mut self, goal: &mut Goal) {
        let key = &goal.key;
        let begun = self.handles.contains_key(&key.name) || self.busy(key) || self.unsure.contains(key);
        goal.id = None;
        goal.over = !begun && !matches!(goal.want, Want::Release { .. });
        goal.chosen = None;
        goal.want = Want::Release { handle: goal.handle.clone() };
    }

    fn fail(&mut self, goal: &mut Goal, error: Error) {
        self.done.extend(goal.id.map(|id| (id, Err(error))));
        match goal.want {
            Want::Release { .. } => goal.over = goal.id.is_some(),
            _ => self.undo(goal),
        }
        self.dirty = true;
    }

    fn succeed(&mut self, goal: &mut Goal, assigned: Vec<Assigned>) {
        self.done.extend(goal.id.map(|id| (id, Ok(assigned))));
        goal.over = true;
    }

    fn overtake(&mut self, key: &Key, heard: Heard) {
        if let Some(call) = self.in_flight.get_mut(key) {
            call.heard = Some(heard);
        }
    }

    /// The wall clock's time, as the latest request said it.
    fn wall_now(&self) -> Option<Wall> {
        self.wall.as_ref().map(|(wall, at)| wall.plus(self.now.since(*at)))
    }

    fn busy(&self, key: &Key) -> bool {
        self.in_flight.contains_key(key)
    }

    /// Makes a call, unless one for the same object is in flight or it is too early for another.
    fn call(&mut self, request: Request) {
        let (key, reads) = match &request {
            Request::Get(key) => (key.clone(), true),
            Request::Create(object) | Request::Update(object) | Request::Status(object) => {
                (object.key(), false)
            }
            Request::Delete { key, .. } | Request::Annotate { key, .. } | Request::Condition { key, .. } => {
                (key.clone(), false)
            }
        };
        if self.busy(&key) || self.backoff.holds(&key, self.now) {
            return;
        }
        assert!(
            reads || !self.unsure.contains(&key),
            "nothing is written from what is not known: {request:?}"
        );
        self.last_call += 1;
        let id = CallId(self.last_call);
        self.in_flight.insert(key, Call { id, reads, heard: None });
        self.calls.push_back((id, request));
    }
}
