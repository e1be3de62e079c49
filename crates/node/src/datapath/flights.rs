//! The plans that the writer has, in the order in which it works on them: one, or one and what may follow it.

use crate::effect::EffectId;
use kernel::{Change, Key, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Debug, Default)]
pub(super) struct Flights(VecDeque<Flight>);

/// A plan on its way.
#[derive(Debug)]
pub(super) struct Flight {
    id: EffectId,
    /// What each key will be if the kernel agrees.
    keys: BTreeMap<Key, Option<Value>>,
    /// Keys that the kernel told of meanwhile: its word is newer than the outcome.
    noticed: BTreeSet<Key>,
}

impl Flights {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the writer has a plan that changes `key`.
    pub fn hold(&self, key: &Key) -> bool {
        self.0.iter().any(|flight| flight.keys.contains_key(key))
    }

    /// The kernel told of `key`.
    pub fn notice(&mut self, key: &Key) {
        for flight in self.0.iter_mut().filter(|flight| flight.keys.contains_key(key)) {
            flight.noticed.insert(key.clone());
        }
    }

    /// The writer is given a plan of these changes.
    pub fn begin(&mut self, id: EffectId, changes: &[Change]) {
        let keys = changes.iter().map(|change| (change.key().clone(), change.to().cloned())).collect();
        self.0.push_back(Flight { id, keys, noticed: BTreeSet::new() });
    }

    /// The writer is done with plan `id`.
    pub fn end(&mut self, id: EffectId) -> Flight {
        self.0.pop_front_if(|flight| flight.id == id).expect("the first plan is written first")
    }
}

impl Flight {
    /// What `key` is if the kernel agreed; to be asked once.
    pub fn take(&mut self, key: &Key) -> Option<Value> {
        self.keys.remove(key).unwrap_or_default()
    }

    /// Whether the kernel told of `key` meanwhile.
    pub fn was_noticed(&self, key: &Key) -> bool {
        self.noticed.contains(key)
    }
}
