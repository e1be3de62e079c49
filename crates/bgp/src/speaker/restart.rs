//! Sessions that come and go, and graceful restart in both roles (RFC 4724, RFC 8538).
//!
//! ```text
//!   helper:    session breaks ─► paths stale, kept ─► session again ─► End-of-RIB: what is still stale goes
//!                                     └──────── restart time over ────────────────────┘
//!   restarter: started ─► paths are collected, none selected ─► End-of-RIB of every peer, or time over ─► selection
//! ```

use super::{FAMILIES, Output, Speaker};
use crate::rib::{AdjRibOut, Change, DstId, Source};
use crate::session::{Ending, Negotiated};
use crate::wire::{Error, Family};
use model::{Duration, Instant};

/// How long stale paths are kept once the peer is back, if it never says End-of-RIB (RFC 4724 §4.2).
const STALE: Duration = Duration::from_secs(360);

impl Speaker {
    pub(super) fn session_up(&mut self, source: Source) {
        let (now, deferred) = (self.now, self.rib.deferred);
        let Some(peer) = self.peer_mut(source) else { return };
        let Some(terms) = peer.main.terms().cloned() else { return };
        peer.terms = Some(Box::new(terms.clone()));
        peer.since = now;
        peer.refused = 0;
        peer.last_error = None;
        peer.told_why = false;
        peer.local.preserved = true;
        let graceful = terms.graceful.clone();
        // One that restarts too waits for us: RFC 4724 §4.1 excepts it.
        let waits = graceful.as_ref().is_some_and(|theirs| !theirs.restarting);
        peer.awaited = if graceful.is_some() && (waits || !deferred) {
            terms.families.clone()
        } else {
            Default::default()
        };
        peer.stale_until = peer.stale_until.map(|_| now + STALE);
        let id = peer.id.clone();
        self.rib.facts[source.at()].router_id = terms.router_id.0;
        for family in FAMILIES {
            let kept = graceful.as_ref().is_some_and(|g| g.families.contains(&(family, true)));
            if !kept || !terms.families.contains(&family) {
                self.drop_stale(source, Some(family));
            }
        }
        for family in terms.families {
            let mut out = AdjRibOut::default();
            if !deferred {
                out.queue_end_of_rib();
            }
            if let Some(peer) = self.peer_mut(source) {
                peer.outs.insert(family, out);
            }
            self.resend(source, family);
        }
        self.outputs.push_back(Output::Peer { peer: id, state: "Established", why: None });
    }

    pub(super) fn session_down(&mut self, source: Source, ending: &Ending) {
        let now = self.now;
        let Some(peer) = self.peer_mut(source) else { return };
        let Some(terms) = peer.terms.take() else { return };
        peer.outs.clear();
        peer.awaited.clear();
        let graceful = terms.graceful.as_ref().filter(|_| is_bridged(ending, &terms));
        let time = graceful.map(|g| Duration::from_secs(g.time.into()));
        let kept: Vec<Family> =
            graceful.into_iter().flat_map(|g| g.families.iter().map(|(family, _)| *family)).collect();
        peer.stale_until = time.filter(|time| *time > Duration::ZERO).map(|time| now + time);
        let keep = peer.stale_until.is_some();
        for family in FAMILIES {
            self.leave(source, family, keep && kept.contains(&family));
        }
    }

    /// The paths of a peer become stale, if they are to be kept, or go. One that is stale already goes: the peer did not
    /// manage to say it again before it broke down once more (RFC 4724 §4.2).
    pub(super) fn leave(&mut self, source: Source, family: Family, keep: bool) {
        let mut changes = Vec::new();
        for id in self.rib.table(family).ids() {
            if !self.has_path(family, id, source) {
                continue;
            }
            if keep && self.rib.table_mut(family).mark_stale(id, source) == Some(false) {
                if !self.rib.deferred {
                    self.rib.report(family, id);
                }
            } else {
                changes.extend(self.remove(source, family, id));
            }
        }
        self.propagate(family, &changes);
    }

    /// Drops what is stale of a peer, of one family or of both.
    pub(super) fn drop_stale(&mut self, source: Source, only: Option<Family>) {
        let Some(peer) = self.peer_mut(source) else { return };
        if peer.stale_until.is_none() {
            return;
        }
        if only.is_none() {
            peer.stale_until = None;
        }
        for family in FAMILIES.into_iter().filter(|family| only.is_none_or(|only| only == *family)) {
            let mut changes = Vec::new();
            for id in self.rib.table(family).ids() {
                if self.rib.table(family).from(id, source).is_some_and(|path| path.stale) {
                    changes.extend(self.remove(source, family, id));
                }
            }
            self.propagate(family, &changes);
        }
    }

    fn has_path(&self, family: Family, id: DstId, source: Source) -> bool {
        self.rib.table(family).from(id, source).is_some()
    }

    /// Takes one path of a source out.
    pub(super) fn remove(&mut self, source: Source, family: Family, id: DstId) -> Option<Change> {
        let change = self.rib.remove(family, id, source)?;
        if let Some(peer) = self.peer_mut(source) {
            peer.paths -= 1;
        }
        Some(change)
    }

    pub(super) fn end_of_rib(&mut self, source: Source, family: Family) {
        self.drop_stale(source, Some(family));
        let Some(peer) = self.peer_mut(source) else { return };
        peer.awaited.remove(&family);
        if peer.awaited.is_empty() {
            peer.stale_until = None;
        }
    }

    /// Begins to collect paths without selecting any.
    pub(super) fn defer(&mut self, until: Instant) {
        self.rib.deferred = true;
        self.deferred = Some(until);
    }

    /// Ends the deferral when every peer has said all, or its time is over (RFC 4724 §4.1).
    pub(super) fn run_deferral(&mut self) {
        let Some(until) = self.deferred else { return };
        let said_all = |peer: &super::Peer| peer.main.is_established() && peer.awaited.is_empty();
        let done = |peer| said_all(peer) || self.is_held_off(&peer.id);
        if until > self.now && !self.peers.iter().flatten().all(done) {
            return;
        }
        self.deferred = None;
        self.rib.deferred = false;
        for peer in self.peers.iter_mut().flatten() {
            peer.local.restarting = false;
        }
        for family in FAMILIES {
            self.decide_all(family);
        }
        for peer in self.peers.iter_mut().flatten() {
            peer.outs.values_mut().for_each(AdjRibOut::queue_end_of_rib);
        }
        self.settled = true;
    }
}

/// Whether the peer is expected back with its forwarding state kept (RFC 4724 §4.2; with RFC 8538 also after a
/// NOTIFICATION that is no hard reset).
fn is_bridged(ending: &Ending, terms: &Negotiated) -> bool {
    let notification = terms.graceful.as_ref().is_some_and(|theirs| theirs.notification);
    match ending {
        Ending::Lost | Ending::Refused => true,
        // Whether it was a hard reset is unknown.
        Ending::Garbled => false,
        Ending::Sent(why) | Ending::Received(why) => notification && why.error != Error::HardReset,
    }
}
