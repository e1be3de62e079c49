//! Requests of the nodes to the API server, with their fates.

use super::carry::Happening;
use super::{EffectId, Machines};
use crate::sim::faults::{Fate, Sort};
use crate::sim::{Moment, Verb, wire};
use model::Duration;
use model::store::{self, Reply, Request};
use node::Input;

/// After this long without an answer, a caller gives up.
const API_TIMEOUT: Duration = Duration::from_millis(300);
/// When a late request arrives, in microseconds: after its caller gave up.
const LATE: (u64, u64) = (301_000, 600_000);

impl Machines {
    /// A request is on its way to the API server.
    pub(super) fn ask(&mut self, node: usize, id: EffectId, request: Request) {
        let life = self.machines[node].life;
        let moment = self.moment(node, Sort::Request);
        let fate = self.faults.fate(node, self.effects(), &request);
        let fate = if self.reaches_api(node) { fate } else { Fate::RequestLost };
        if moment == Some(Moment::Before) {
            return self.crash(node);
        }
        if moment == Some(Moment::After) {
            self.arrive(node, life, id, &request, fate);
            return self.crash(node);
        }
        if moment.is_some() {
            self.crash(node);
        }
        let mut span = self.span(self.faults.pace.latency);
        match fate {
            Fate::RequestLost => return self.time_out(node, life, id),
            Fate::Late => {
                self.time_out(node, life, id);
                span = self.span(LATE);
            }
            _ => {}
        }
        self.queue.push(span, Happening::Arrive { node, life, id, request: Box::new(request), fate });
    }

    fn time_out(&mut self, node: usize, life: u64, id: EffectId) {
        let reply = Err(store::Error::Unknown("timed out".to_owned()));
        let input = Box::new(Input::Answered { id, reply });
        self.queue.push(API_TIMEOUT, Happening::Hear { node, life, input });
    }

    /// A request reaches the API server, whether or not its sender still lives.
    pub(super) fn arrive(&mut self, node: usize, life: u64, id: EffectId, request: &Request, fate: Fate) {
        let reply: Reply = match fate {
            Fate::Failed => Err(store::Error::Unknown("500 Internal Server Error".to_owned())),
            Fate::RequestLost => Err(store::Error::Unknown("timed out".to_owned())),
            _ => self.api.apply(request),
        };
        let (verb, kind) = Verb::of(request);
        let name = wire::name_of(request);
        self.say(format!("api n{} {}: {verb:?} {kind:?} {name}: {}", node + 1, id.0, wire::outcome(&reply)));
        if reply.is_ok() && verb != Verb::Get {
            self.announce(kind);
        }
        let span = self.span(self.faults.pace.latency);
        match fate {
            Fate::Answered | Fate::Failed => {
                let input = Box::new(Input::Answered { id, reply });
                self.queue.push(span, Happening::Hear { node, life, input });
            }
            Fate::AnswerLost => self.time_out(node, life, id),
            Fate::RequestLost | Fate::Late => {}
        }
    }
}
