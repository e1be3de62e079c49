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

use super::{Bits, DstId};
use std::collections::{BTreeMap, BTreeSet};

/// The serial number of the best route of a destination; zero where there is none.
pub type Serial = u64;

/// One peer's Adj-RIB-Out in one family.
#[derive(Debug, Default)]
pub struct AdjRibOut {
    /// Announced and not withdrawn.
    sent: Bits,
    queued: Bits,
    pending: BTreeMap<Serial, BTreeSet<DstId>>,
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
    /// The best route of `id` was `old` and is now `new`; `concerns` says whether the peer may be told `new`.
    pub fn requeue(&mut self, id: DstId, old: Serial, new: Serial, concerns: bool) {
        if self.queued.has(id) {
            self.unqueue(id, old);
        }
        let new = if concerns { new } else { 0 };
        if new != 0 || self.sent.has(id) {
            self.queued.insert(id);
            self.pending.entry(new).or_default().insert(id);
        }
    }

    fn unqueue(&mut self, id: DstId, old: Serial) {
        self.queued.remove(id);
        // A route that did not concern the peer was queued as a withdrawal.
        for serial in [old, 0] {
            if let Some(group) = self.pending.get_mut(&serial)
                && group.remove(&id)
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
        self.pending.values().map(BTreeSet::len).sum()
    }

    /// Takes up to `limit` destinations of the first group: withdrawals, or else one route's.
    pub fn pop(&mut self, limit: usize) -> Option<Next> {
        let Some(mut entry) = self.pending.first_entry() else {
            return std::mem::take(&mut self.end_of_rib).then_some(Next::EndOfRib);
        };
        let serial = *entry.key();
        let group = entry.get_mut();
        let ids: Vec<DstId> = std::iter::from_fn(|| group.pop_first()).take(limit).collect();
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
