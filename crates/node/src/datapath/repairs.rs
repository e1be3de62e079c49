//! What others changed of what was in order: since when, and the account of what was put back.

use crate::effect::Report;
use crate::socket::Repair;
use kernel::Key;
use model::Instant;
use std::collections::BTreeMap;

/// How many kinds of repair are remembered.
const REMEMBERED: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Repairs {
    /// Objects that were in order until somebody touched them, and when.
    tampered: BTreeMap<Key, Instant>,
    lately: Vec<Repair>,
    total: u64,
}

impl Repairs {
    /// Somebody touched what was in order.
    pub fn tampered(&mut self, now: Instant, key: &Key) {
        self.tampered.entry(key.clone()).or_insert(now);
    }

    /// Nobody needs to put `key` back: it is as wanted, or something else is wanted of it.
    pub fn forget(&mut self, key: &Key) {
        self.tampered.remove(key);
    }

    /// `key` was written. If that put it back, says so.
    pub fn written(&mut self, now: Instant, key: &Key) -> Option<Report> {
        let took = now - self.tampered.remove(key)?;
        let object = key.to_string();
        let known = self.lately.iter().position(|repair| repair.object == object);
        let count = 1 + known.map_or(0, |at| self.lately.remove(at).count);
        if self.lately.len() == REMEMBERED {
            self.lately.remove(0);
        }
        self.lately.push(Repair { object: object.clone(), count, took_micros: took.micros() });
        self.total += 1;
        Some(Report::warn(format!(
            "restored {object}, {took} after somebody else changed or removed it (time {count})"
        )))
    }

    /// What was put back lately, newest last.
    pub fn lately(&self) -> &[Repair] {
        &self.lately
    }

    /// How many objects were put back since the start.
    pub fn total(&self) -> u64 {
        self.total
    }
}
