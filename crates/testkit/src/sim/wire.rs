//! Between the nodes and the API server: requests and answers with their fates, watches and lists with their delays.

use super::api::Revision;
use super::faults::{Fate, Moment};
use super::simulation::Happening;
use super::{Broken, Sim, Verb};
use ipam::CallId;
use model::Duration;
use model::store::{self, Event, Kind, Object, Reply, Request};

/// After this long without an answer, a caller gives up.
const API_TIMEOUT: Duration = Duration::from_millis(300);
/// When a late request arrives, in microseconds: after its caller gave up.
const LATE: (u64, u64) = (301_000, 600_000);

impl Sim {
    /// A request reaches the API server, whether or not its sender still lives.
    pub(super) fn arrive(&mut self, node: usize, life: u64, call: CallId, request: &Request, fate: Fate) {
        let reply = match fate {
            Fate::Failed => Err(store::Error::Unknown("500 Internal Server Error".to_owned())),
            _ => self.api.apply(request),
        };
        if let (Request::Create(Object::IpamHandle(handle)), Ok(_)) = (request, &reply)
            && (fate == Fate::Late || self.alive(node, life).is_none())
        {
            self.strays.insert(handle.spec.handle_id.clone());
        }
        self.say(format!("api {} {}: {}", self.nodes[node].name, words(call, request), outcome(&reply)));
        if reply.is_ok() && Verb::of(request).0 != Verb::Get {
            self.announce(Verb::of(request).1);
        }
        let span = self.span(self.faults.pace.latency);
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
    pub(super) fn announce(&mut self, kind: Kind) {
        for node in 0..self.nodes.len() {
            let life = self.nodes[node].life;
            let span = self.span(self.faults.pace.watch);
            self.queue.push(span, Happening::Tell { node, life, kind });
        }
    }

    pub(super) fn list(&mut self, node: usize, life: u64, kind: Kind) -> Result<(), Broken> {
        let stale = self.faults.age_of_list(node);
        let newest = self.api.revision();
        let at = Revision(newest.0.saturating_sub(stale as usize)).max(self.configured);
        let event = self.api.list(kind, at);
        let Some(mind) = self.alive(node, life) else { return Ok(()) };
        mind.observe(&event);
        self.nodes[node].told.insert(kind, at);
        self.say(format!("{} lists {kind:?} of revision {} of {}", self.nodes[node].name, at.0, newest.0));
        for _ in at.0..newest.0 {
            let span = self.span(self.faults.pace.watch);
            self.queue.push(span, Happening::Tell { node, life, kind });
        }
        self.drain(node)
    }

    pub(super) fn tell(&mut self, node: usize, life: u64, kind: Kind) -> Result<(), Broken> {
        if self.alive(node, life).is_none() {
            return Ok(());
        }
        let Some(told) = self.nodes[node].told.get(&kind).copied() else { return Ok(()) };
        if self.faults.breaks_watch(node) {
            self.nodes[node].told.remove(&kind);
            let span = self.span(self.faults.pace.watch);
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

    pub(super) fn carry_out(&mut self, node: usize, call: CallId, request: Request) {
        self.effects += 1;
        let life = self.nodes[node].life;
        let moment = self.faults.moment(node, self.effects);
        let fate = self.faults.fate(node, self.effects, &request);
        if moment == Some(Moment::Before) {
            return self.crash(node);
        }
        let mut span = self.span(self.faults.pace.latency);
        match fate {
            Fate::RequestLost => {
                self.say(format!("api {} {}: lost on the way", self.nodes[node].name, words(call, &request)));
                return self.time_out(node, life, call, API_TIMEOUT);
            }
            Fate::Late => {
                self.time_out(node, life, call, API_TIMEOUT);
                span = self.span(LATE);
            }
            _ => {}
        }
        if moment == Some(Moment::After) {
            self.arrive(node, life, call, &request, fate);
            return self.crash(node);
        }
        if moment.is_some() {
            self.crash(node);
        }
        self.queue.push(span, Happening::Arrive { node, life, call, request: Box::new(request), fate });
    }
}

fn words(call: CallId, request: &Request) -> String {
    let (verb, kind) = Verb::of(request);
    format!("{}: {verb:?} {kind:?} {}", call.0, name_of(request))
}

/// The name of the object that a request is about.
pub(super) fn name_of(request: &Request) -> &str {
    match request {
        Request::Get(key)
        | Request::Delete { key, .. }
        | Request::Annotate { key, .. }
        | Request::Condition { key, .. } => &key.name,
        Request::Create(object) | Request::Update(object) | Request::Status(object) => {
            &object.metadata().name
        }
    }
}

/// An answer in a word.
pub(super) fn outcome(reply: &Reply) -> String {
    match reply {
        Ok(Some(object)) => format!("revision {}", object.metadata().resource_version),
        Ok(None) => "gone".to_owned(),
        Err(error) => error.to_string(),
    }
}
