//! What an answer of the API teaches.

use super::{Allocator, Heard, WorkKind};
use crate::affinity::{affinity_key, block_key};
use crate::{CallId, Error, Want, block};
use model::names;
use model::store::{self, Key, Kind, Object, Reply};
use std::mem;

impl Allocator {
    pub(super) fn answer(&mut self, id: CallId, reply: Reply) {
        let found = self.in_flight.iter().find(|(_, call)| call.id == id);
        let key = found.map(|(key, _)| key.clone()).expect("the API answers a call that was made, once");
        let call = self.in_flight.remove(&key).expect("it was just found");
        match reply {
            Ok(Some(object)) => {
                self.unsure.remove(&key);
                if !call.reads {
                    self.backoff.succeeded(&key);
                }
                self.learn(&key, object, call.reads);
                if call.heard == Some(Heard::Gone) {
                    self.unsure.insert(key);
                }
            }
            Ok(None) | Err(store::Error::NotFound) if call.heard == Some(Heard::Put) => {
                self.unsure.insert(key);
            }
            Ok(None) => {
                self.backoff.succeeded(&key);
                self.forget(&key);
            }
            Err(store::Error::NotFound) => {
                if !call.reads {
                    self.backoff.conflicted(&key, self.now);
                }
                self.forget(&key);
            }
            Err(store::Error::Conflict | store::Error::AlreadyExists) => {
                self.unsure.insert(key.clone());
                self.backoff.conflicted(&key, self.now);
            }
            // The write may have happened, or may not: read before deciding again.
            Err(store::Error::Unknown(_)) => {
                self.unsure.insert(key.clone());
                self.backoff.failed(&key, self.now);
            }
            Err(refused @ store::Error::Refused(_)) => {
                self.backoff.refused(&key, self.now);
                self.refused(&key, refused);
            }
        }
    }

    fn learn(&mut self, key: &Key, object: Object, reads: bool) {
        self.snapshot.learn(&object);
        match object {
            Object::BlockAffinity(affinity) => self.learn_theirs(key, Some(&affinity)),
            Object::IpamHandle(handle) => {
                if reads {
                    // It is older than this decision: what it says of its blocks may be true by now or no more.
                    let named = handle.spec.block.keys().filter_map(|cidr| cidr.parse().ok());
                    self.unsure.extend(named.map(block_key));
                }
                if !reads && let Some(goal) = self.goals.iter_mut().find(|goal| goal.key == *key) {
                    goal.recorded = true;
                }
                self.handles.insert(key.name.clone(), Some(handle));
            }
            Object::IpamBlock(b) => {
                self.absent.remove(&b.spec.cidr);
                self.block_answered(key, !reads);
                if !reads {
                    let fenced = self.goals.iter_mut().map(|goal| &mut goal.fenced);
                    fenced.for_each(|fenced| _ = fenced.insert(b.spec.cidr));
                }
                self.finish_held(&b.spec);
            }
            _ => {}
        }
    }

    fn forget(&mut self, key: &Key) {
        self.unsure.remove(key);
        self.snapshot.forget(key);
        match key.kind {
            Kind::IpamHandle => _ = self.handles.insert(key.name.clone(), None),
            Kind::IpamBlock => {
                self.absent.extend(names::block_cidr(&key.name));
                self.block_answered(key, false);
            }
            Kind::BlockAffinity => self.learn_theirs(key, None),
            _ => {}
        }
    }

    fn block_answered(&mut self, key: &Key, written: bool) {
        if let Some(work) = &mut self.work
            && block_key(work.cidr) == *key
        {
            work.read = true;
            work.written |= written;
        }
    }

    /// A refusal ends the requests that need the object, with the server's reason.
    fn refused(&mut self, key: &Key, reason: store::Error) {
        let error = Error::Write { object: format!("{:?} {}", key.kind, key.name), source: reason };
        let work = self.work.as_ref();
        let stops_work = work.is_some_and(|work| {
            *key == block_key(work.cidr) || *key == affinity_key(&self.owner_of_work(), work.cidr)
        });
        let stops_claim = stops_work && work.is_some_and(|work| work.kind != WorkKind::Release);
        let mut goals = mem::take(&mut self.goals);
        for goal in &mut goals {
            let releases = matches!(goal.want, Want::Release { .. });
            let holds = |cidr| {
                let b = self.snapshot.blocks.get(&cidr);
                b.is_some_and(|b| block::held(&b.spec, &goal.handle).next().is_some())
            };
            let needs_block = match key.kind {
                Kind::IpamBlock => names::block_cidr(&key.name)
                    .is_some_and(|cidr| goal.chosen == Some(cidr) || (releases && holds(cidr))),
                _ => false,
            };
            let waits_for_claim = stops_claim && !releases && goal.chosen.is_none();
            if *key == goal.key || needs_block || waits_for_claim {
                self.fail(goal, error.clone());
            }
        }
        goals.retain(|goal| !goal.over);
        self.goals = goals;
        if stops_work {
            self.work = None;
        }
    }
}
