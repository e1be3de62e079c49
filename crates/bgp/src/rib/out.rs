//! Adj-RIB-Out of one peer and family: what it was told, and what it has yet to be told.
//!
//! ```text
//!   best path of a destination changes ──requeue──► pending: route ─► destinations ──pop──► UPDATE
//!                                                   withdrawals first, then routes, End-of-RIB last
//! ```
//!
//! What is pending is destinations, grouped by the route that is best for them now; the UPDATE is made when the socket
//! has room. So a slow peer costs one entry a destination, not one a change, and is never told what no longer holds.
//! Invariant: a destination is in `queued` exactly if it is in one group of `pending`, that of its best route.

use super::{Bits, Change, DstId, Runs};
use std::collections::BTreeMap;

/// The serial number of the best route of a destination; zero where there is none.
pub type Serial = u64;

/// One peer's Adj-RIB-Out in one family.
#[derive(Debug, Default)]
pub struct AdjRibOut {
    /// Announced and not withdrawn.
    sent: Bits,
    queued: Bits,
    pending: BTreeMap<Serial, Runs>,
    end_of_rib: bool,
}

/// What to tell next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Destinations whose best route is the one with this number.
    Group(Serial, Vec<DstId>),
    /// Everything was told once.
    EndOfRib,
}

impl AdjRibOut {
    /// The best route of `changes` is now `new`; `concerns` says whether the peer may be told that.
    pub fn requeue(&mut self, changes: impl IntoIterator<Item = Change>, new: Serial, concerns: bool) {
        let new = if concerns { new } else { 0 };
        // Looked up once for all of them, unless something else has to be done.
        let mut group = None;
        for Change { id, old, .. } in changes {
            if self.queued.has(id) {
                self.keep(new, &mut group);
                self.unqueue(id, old);
            }
            if new != 0 || self.sent.has(id) {
                self.queued.insert(id);
                group.get_or_insert_with(|| self.pending.remove(&new).unwrap_or_default()).insert(id);
            }
        }
        self.keep(new, &mut group);
    }

    /// Puts a group back that was taken out to be added to.
    fn keep(&mut self, serial: Serial, group: &mut Option<Runs>) {
        if let Some(group) = group.take() {
            self.pending.insert(serial, group);
        }
    }

    fn unqueue(&mut self, id: DstId, old: Serial) {
        self.queued.remove(id);
        // A route that did not concern the peer was queued as a withdrawal.
        for serial in [old, 0] {
            if let Some(group) = self.pending.get_mut(&serial)
                && group.remove(id)
            {
                if group.is_empty() {
                    self.pending.remove(&serial);
                }
                return;
            }
        }
        panic!("{id:?} is queued and in no group");
    }

    /// Says End-of-RIB after all that is pending now.
    pub fn queue_end_of_rib(&mut self) {
        self.end_of_rib = true;
    }

    /// Whether there is something to tell.
    pub fn is_pending(&self) -> bool {
        self.end_of_rib || !self.pending.is_empty()
    }

    /// How many destinations wait.
    pub fn pending(&self) -> usize {
        self.pending.values().map(Runs::count).sum()
    }

    /// Takes up to `limit` destinations of the first group: withdrawals, or else one route's.
    pub fn pop(&mut self, limit: usize) -> Option<Next> {
        let Some(mut entry) = self.pending.first_entry() else {
            return std::mem::take(&mut self.end_of_rib).then_some(Next::EndOfRib);
        };
        let serial = *entry.key();
        let group = entry.get_mut();
        let ids = group.take(limit);
        if group.is_empty() {
            entry.remove();
        }
        for id in &ids {
            self.queued.remove(*id);
        }
        Some(Next::Group(serial, ids))
    }

    /// It was announced.
    pub fn told(&mut self, id: DstId) {
        self.sent.insert(id);
    }

    /// It must not be announced: whether it has to be withdrawn.
    pub fn retract(&mut self, id: DstId) -> bool {
        self.sent.remove(id)
    }

    /// Whether it is announced.
    pub fn has(&self, id: DstId) -> bool {
        self.sent.has(id)
    }

    /// What is announced.
    pub fn sent(&self) -> impl Iterator<Item = DstId> + '_ {
        self.sent.iter()
    }

    /// How many destinations are announced.
    pub fn count(&self) -> usize {
        self.sent.count()
    }
}
