//! The latest changes in memory, from which watches are served, and the signals that wake them.
//!
//! Watches pull. One that falls behind what is kept here reads from the file; none makes the writer wait.

use super::{Change, Changes, Revision};
use crate::kinds::{self, Kind};
use std::collections::VecDeque;
use std::sync::{Arc, RwLock};
use tokio::sync::watch;

/// Bytes of objects that are kept.
const BYTES: usize = 4 << 20;
/// Changes that one look gives at most.
const CHANGES: usize = 500;

/// The latest changes of all kinds.
pub struct Recent {
    kept: RwLock<Kept>,
    /// By kind: the revision of its latest change.
    signals: Vec<watch::Sender<Revision>>,
}

struct Kept {
    /// In order of revision, without gaps up to the latest.
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
    /// By kind: every change of the kind after this revision is here. A kind that is quiet stays here for ever, however
    /// much the others change.
    after: Vec<Revision>,
    latest: Revision,
}

impl Recent {
    /// Nothing yet, at `revision`.
    pub fn new(revision: Revision) -> Recent {
        let kinds = kinds::all();
        let after = vec![revision; kinds.len()];
        let kept = Kept { changes: VecDeque::new(), bytes: 0, after, latest: revision };
        Recent {
            kept: RwLock::new(kept),
            signals: kinds.iter().map(|_| watch::Sender::new(revision)).collect(),
        }
    }

    /// Adds changes that are durable now, in order.
    pub fn publish(&self, changes: Vec<Change>) {
        let mut touched = Vec::new();
        {
            let mut kept = self.kept.write().expect("no holder panics");
            for change in changes {
                assert_eq!(change.version.revision, kept.latest + 1, "history has no gaps");
                kept.latest = change.version.revision;
                kept.bytes += weight(&change);
                touched.push((change.kind.id, kept.latest));
                kept.changes.push_back(Arc::new(change));
            }
            while kept.bytes > BYTES
                && let Some(old) = kept.changes.pop_front()
            {
                kept.bytes -= weight(&old);
                kept.after[old.kind.id] = old.version.revision;
            }
        }
        for (kind, revision) in touched {
            self.signals[kind].send_replace(revision);
        }
    }

    /// What happened to objects of `kind` after `after`; `None` if that is too long ago to be here.
    pub fn since(&self, kind: &Kind, after: Revision) -> Option<Changes> {
        let kept = self.kept.read().expect("no holder panics");
        if after < kept.after[kind.id] {
            return None;
        }
        let first = kept.changes.partition_point(|change| change.version.revision <= after);
        let mut found = kept.changes.range(first..).filter(|change| change.kind.id == kind.id);
        let changes: Vec<_> = found.by_ref().take(CHANGES).cloned().collect();
        let through = match changes.last() {
            Some(last) if found.next().is_some() => last.version.revision,
            _ => kept.latest.max(after),
        };
        Some(Changes::Some { changes, through })
    }

    /// Changes its value with every change of an object of `kind`.
    pub fn signal(&self, kind: &Kind) -> watch::Receiver<Revision> {
        self.signals[kind.id].subscribe()
    }
}

fn weight(change: &Change) -> usize {
    change.version.body.len() + change.previous.as_ref().map_or(0, |body| body.len()) + 200
}
