//! What goes wrong in a run, as a list that is there before the run begins: drawn by a seed, or written by hand.
//!
//! A fault names its node and the how-manieth thing of that node it befalls, and a delay depends on its time alone: so what
//! is left of a list means the same when others are taken off it.

use super::Rng;
use model::store::{Kind, Request};
use model::{Duration, Instant};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It is carried out and answered.
    Answered,
    /// It never arrives; the caller hears nothing.
    RequestLost,
    /// It is carried out; the caller hears nothing.
    AnswerLost,
    /// The caller hears nothing, and only after that it is carried out.
    Late,
    /// The server is overloaded: nothing is done.
    Failed,
}

/// The sort of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Create,
    Update,
    Delete,
    Annotate,
}

impl Verb {
    /// The sort of a request, and the kind of its object.
    pub fn of(request: &Request) -> (Verb, Kind) {
        match request {
            Request::Get(key) => (Verb::Get, key.kind),
            Request::Create(object) => (Verb::Create, object.kind()),
            Request::Update(object) | Request::Status(object) => (Verb::Update, object.kind()),
            Request::Delete { key, .. } => (Verb::Delete, key.kind),
            Request::Annotate { key, .. } | Request::Condition { key, .. } => (Verb::Annotate, key.kind),
        }
    }
}

/// Where in an effect its node crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// Nothing of it is done.
    Before,
    /// It was carried out, its outcome is not known.
    After,
    /// After so many messages of a plan. Of a request: it is on its way, and arrives. What else there is has no middle: after it.
    Within(usize),
}

/// What an effect is, as far as it may break off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// To the API server.
    Request,
    /// To the kernel: so many messages.
    Plan(usize),
    /// It is done at once, or not.
    Whole,
}

impl Sort {
    /// All that can befall it.
    pub fn all(self) -> Vec<What> {
        let within = match self {
            Sort::Request => 1..2,
            Sort::Plan(messages) => 1..messages,
            Sort::Whole => 0..0,
        };
        let moments = [Moment::Before].into_iter().chain(within.map(Moment::Within)).chain([Moment::After]);
        let crashes = moments.map(What::Crash);
        let fates = [Fate::RequestLost, Fate::AnswerLost, Fate::Late, Fate::Failed].map(What::Request);
        crashes.chain(fates.into_iter().filter(|_| self == Sort::Request)).collect()
    }
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub node: usize,
    /// Counted from one, over all lives of the node.
    pub nth: u64,
    pub what: What,
}

/// What it befalls, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A request to the API server.
    Request(Fate),
    /// An effect that the node wants carried out: the node crashes with it.
    Crash(Moment),
    /// A watch that would tell of a change: it breaks instead, and lists anew.
    BreakWatch,
    /// A list: it is so many revisions old.
    OldList(u64),
    /// A piece of a BGP session's bytes: the connection is reset instead.
    Reset,
    /// A piece of a BGP session's bytes: from it on the network swallows all of the connection, and tells neither end.
    Swallow,
    /// A piece of a BGP session's bytes: from it on the other end reads nothing of the connection, for so many microseconds.
    Stall(u64),
    /// What the kernel tells of changes: there is no room for it, and that is told instead.
    Overrun,
    /// A message to the kernel: it is busy, and refuses it (EBUSY).
    Refuse,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Count {
    Request,
    Effect,
    Telling,
    List,
    Piece,
    Notice,
    Message,
}

impl What {
    fn counted(self) -> Count {
        match self {
            What::Request(_) => Count::Request,
            What::Crash(_) => Count::Effect,
            What::BreakWatch => Count::Telling,
            What::OldList(_) => Count::List,
            What::Reset | What::Swallow | What::Stall(_) => Count::Piece,
            What::Overrun => Count::Notice,
            What::Refuse => Count::Message,
        }
    }
}

/// How long things take, in microseconds, from and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// One way to the API server.
    pub latency: (u64, u64),
    /// From a write to a watcher's hearing of it.
    pub watch: (u64, u64),
    /// From a crash to the next start.
    pub downtime: (u64, u64),
}

impl Pace {
    /// Every way takes a millisecond.
    pub const EVEN: Pace =
        Pace { latency: (1_000, 1_000), watch: (1_000, 1_000), downtime: (100_000, 100_000) };
}

/// Longer than any hold timer, in microseconds.
const FOR_EVER: u64 = 3_600_000_000;

/// How often each sort of fault is drawn, per thousand of what it befalls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    pub request_lost: u64,
    pub answer_lost: u64,
    pub late: u64,
    pub failed: u64,
    pub crash: u64,
    /// No more crashes than this, of all nodes.
    pub most_crashes: usize,
    pub broken_watch: u64,
    /// Lists are up to so many revisions old.
    pub oldest_list: u64,
    pub reset: u64,
    pub swallow: u64,
    pub overrun: u64,
    pub refuse: u64,
    pub stall: u64,
}

impl Rates {
    /// For so many things of each sort faults are drawn; a node that does more does the rest undisturbed.
    const HORIZON: u64 = 1_000;

    /// The faults of a run.
    pub fn draw(self, rng: &mut Rng, nodes: usize) -> Vec<Fault> {
        let mut faults = Vec::new();
        let fates = [
            (self.request_lost, Fate::RequestLost),
            (self.answer_lost, Fate::AnswerLost),
            (self.late, Fate::Late),
            (self.failed, Fate::Failed),
        ];
        for node in 0..nodes {
            for nth in 1..=Rates::HORIZON {
                let mut add = |what| faults.push(Fault { node, nth, what });
                if let Some((_, fate)) = fates.iter().find(|(rate, _)| rng.per_mille(*rate)) {
                    add(What::Request(*fate));
                }
                if rng.per_mille(self.crash) {
                    add(What::Crash(match rng.below(3) {
                        0 => Moment::Before,
                        1 => Moment::After,
                        _ => Moment::Within(rng.below(12) as usize),
                    }));
                }
                if rng.per_mille(self.broken_watch) {
                    add(What::BreakWatch);
                }
                if self.oldest_list > 0 {
                    add(What::OldList(rng.below(self.oldest_list + 1)));
                }
                if rng.per_mille(self.reset) {
                    add(What::Reset);
                }
                // Who has none of a class draws nothing for it.
                if self.swallow > 0 && rng.per_mille(self.swallow) {
                    add(What::Swallow);
                }
                if self.overrun > 0 && rng.per_mille(self.overrun) {
                    add(What::Overrun);
                }
                if self.refuse > 0 && rng.per_mille(self.refuse) {
                    add(What::Refuse);
                }
                if self.stall > 0 && rng.per_mille(self.stall) {
                    let is_for_ever = rng.per_mille(500);
                    add(What::Stall(if is_for_ever { FOR_EVER } else { rng.between(1_000, 3_000_000) }));
                }
            }
        }
        faults.sort_by_key(|fault| fault.nth);
        let mut crashes = 0;
        faults.retain(|fault| {
            let is_crash = matches!(fault.what, What::Crash(_));
            crashes += usize::from(is_crash);
            !is_crash || crashes <= self.most_crashes
        });
        faults
    }
}

/// The faults of a run, and how far it is with them.
#[derive(Clone, Debug)]
pub struct Faults {
    pub pace: Pace,
    /// Draws delays.
    seed: u64,
    /// The time for which a delay was drawn last, and how many were.
    drawn: (Instant, u64),
    scheduled: BTreeMap<(usize, Count, u64), What>,
    counted: BTreeMap<(usize, Count), u64>,
    on_demand: Vec<(usize, Verb, Kind, Fate)>,
    /// What a sweep does: at which effect of all nodes, counted from one.
    pub at: Option<(u64, What)>,
}

impl Faults {
    /// No faults.
    pub fn none() -> Faults {
        Faults::scheduled(0, Pace::EVEN, &[])
    }

    /// These faults.
    pub fn scheduled(seed: u64, pace: Pace, faults: &[Fault]) -> Faults {
        let key = |fault: &Fault| (fault.node, fault.what.counted(), fault.nth);
        Faults {
            pace,
            seed,
            drawn: (Instant::ZERO, 0),
            scheduled: faults.iter().map(|fault| (key(fault), fault.what)).collect(),
            counted: BTreeMap::new(),
            on_demand: Vec::new(),
            at: None,
        }
    }

    /// From now on nothing goes wrong any more but what was demanded.
    pub fn heal(&mut self) {
        self.pace = Pace::EVEN;
        self.scheduled.clear();
    }

    /// The `nth` request of the sort from now on shall have this fate.
    pub fn demand(&mut self, nth: usize, verb: Verb, kind: Kind, fate: Fate) {
        self.on_demand.push((nth, verb, kind, fate));
    }

    /// Counts one more thing of a node; what befalls it.
    fn befalls(&mut self, node: usize, sort: Count) -> Option<What> {
        let nth = self.counted.entry((node, sort)).or_default();
        *nth += 1;
        self.scheduled.remove(&(node, sort, *nth))
    }

    /// What becomes of a request, the so-manieth effect of all.
    pub fn fate(&mut self, node: usize, effect: u64, request: &Request) -> Fate {
        let scheduled = self.befalls(node, Count::Request);
        let (verb, kind) = Verb::of(request);
        let same = |(_, v, k, _): &&mut (usize, Verb, Kind, Fate)| *v == verb && *k == kind;
        for wish in self.on_demand.iter_mut().filter(same) {
            wish.0 -= 1;
        }
        if let Some(at) = self.on_demand.iter().position(|wish| wish.0 == 0) {
            return self.on_demand.remove(at).3;
        }
        match (self.at, scheduled) {
            (Some((at, What::Request(fate))), _) if at == effect => fate,
            (_, Some(What::Request(fate))) => fate,
            _ => Fate::Answered,
        }
    }

    /// Where in this effect of a node, the so-manieth of all, the node crashes, if it does.
    pub fn moment(&mut self, node: usize, effect: u64) -> Option<Moment> {
        let scheduled = self.befalls(node, Count::Effect);
        match (self.at, scheduled) {
            (Some((at, What::Crash(moment))), _) if at == effect => Some(moment),
            (_, Some(What::Crash(moment))) => Some(moment),
            _ => None,
        }
    }

    /// Whether the watch breaks that would tell a node of a change.
    pub fn breaks_watch(&mut self, node: usize) -> bool {
        self.befalls(node, Count::Telling).is_some()
    }

    /// How many revisions old a list of a node is.
    pub fn age_of_list(&mut self, node: usize) -> u64 {
        match self.befalls(node, Count::List) {
            Some(What::OldList(age)) => age,
            _ => 0,
        }
    }

    /// What becomes of a node's connection with the piece that comes now.
    pub fn strikes(&mut self, node: usize) -> Option<What> {
        self.befalls(node, Count::Piece)
    }

    /// Whether there is no room for what a node's kernel tells now.
    pub fn overruns(&mut self, node: usize) -> bool {
        self.befalls(node, Count::Notice).is_some()
    }

    /// Whether a node's kernel refuses the message that it gets now.
    pub fn refuses(&mut self, node: usize) -> bool {
        self.befalls(node, Count::Message).is_some()
    }

    /// A span from a range of microseconds.
    pub fn span(&mut self, now: Instant, (low, high): (u64, u64)) -> Duration {
        if low == high {
            return Duration::from_micros(low);
        }
        self.drawn = if self.drawn.0 == now { (now, self.drawn.1 + 1) } else { (now, 0) };
        Duration::from_micros(Rng::at(self.seed, now.micros(), self.drawn.1).between(low, high))
    }
}
