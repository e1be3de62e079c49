//! What goes wrong: by chance, at rates that the seed draws, and on demand.

use super::Rng;
use model::Duration;
use model::store::{Kind, Request};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The request was not sent.
    Before,
    /// The request was carried out, its outcome is not known.
    After,
    /// After so many messages of a plan.
    Within(usize),
}

/// The faults of a run. Rates are per thousand; all zero is a good day.
#[derive(Clone, Debug)]
pub struct Faults {
    pub rng: Rng,
    pub request_lost: u64,
    pub answer_lost: u64,
    pub late: u64,
    pub failed: u64,
    /// Of an event, that a node crashes with it; ten times as much while a request of the node is in flight.
    pub crash: u64,
    /// No more crashes by chance than this.
    pub most_crashes: u64,
    /// Of a watch event, that the watch breaks and lists anew.
    pub broken_watch: u64,
    /// Lists may be as old as this many revisions.
    pub stale: u64,
    /// One way to the API server, in microseconds, from and to.
    pub latency: (u64, u64),
    /// From a write to a watcher's hearing of it.
    pub watch_delay: (u64, u64),
    /// From a crash to the next start.
    pub downtime: (u64, u64),
    pub(super) on_demand: Vec<(usize, Verb, Kind, Fate)>,
    /// The crash of a sweep: at which effect, counted from one.
    pub crash_at: Option<(u64, Moment)>,
}

impl Faults {
    /// No faults; every way takes a millisecond.
    pub fn none() -> Faults {
        Faults {
            rng: Rng::stream(0, "faults"),
            request_lost: 0,
            answer_lost: 0,
            late: 0,
            failed: 0,
            crash: 0,
            most_crashes: 0,
            broken_watch: 0,
            stale: 0,
            latency: (1_000, 1_000),
            watch_delay: (1_000, 1_000),
            downtime: (100_000, 100_000),
            on_demand: Vec::new(),
            crash_at: None,
        }
    }

    /// From now on nothing goes wrong by chance; what was demanded still does.
    pub fn heal(&mut self) {
        *self = Faults {
            rng: self.rng.clone(),
            on_demand: std::mem::take(&mut self.on_demand),
            crash_at: self.crash_at,
            ..Faults::none()
        };
    }

    /// The `nth` request of the sort from now on shall have this fate.
    pub fn demand(&mut self, nth: usize, verb: Verb, kind: Kind, fate: Fate) {
        self.on_demand.push((nth, verb, kind, fate));
    }

    /// What becomes of a request.
    pub fn fate(&mut self, request: &Request) -> Fate {
        let (verb, kind) = Verb::of(request);
        let same = |(_, v, k, _): &&mut (usize, Verb, Kind, Fate)| *v == verb && *k == kind;
        for wish in self.on_demand.iter_mut().filter(same) {
            wish.0 -= 1;
        }
        if let Some(at) = self.on_demand.iter().position(|wish| wish.0 == 0) {
            return self.on_demand.remove(at).3;
        }
        let rates = [
            (self.request_lost, Fate::RequestLost),
            (self.answer_lost, Fate::AnswerLost),
            (self.late, Fate::Late),
            (self.failed, Fate::Failed),
        ];
        let drawn = rates.into_iter().find(|(rate, _)| *rate > 0 && self.rng.per_mille(*rate));
        drawn.map_or(Fate::Answered, |(_, fate)| fate)
    }

    /// A span from a range of microseconds.
    pub fn span(&mut self, (low, high): (u64, u64)) -> Duration {
        Duration::from_micros(if low == high { low } else { self.rng.between(low, high) })
    }
}
