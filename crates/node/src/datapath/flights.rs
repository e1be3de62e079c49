//! The plans that the writer has, in the order in which it works on them: one, or one and what may follow it.

use crate::effect::EffectId;
use kernel::{Key, Step, Value};
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

    /// What is being written that others may build on: all but routes, which come last in the order of keys.
    pub fn ground(&self) -> impl Iterator<Item = &Key> {
        let is_route = |key: &&Key| matches!(key, Key::Route(_));
        self.0.iter().flat_map(move |flight| flight.keys.keys().take_while(move |key| !is_route(key)))
    }

    /// The writer is given a plan of these steps.
    pub fn begin(&mut self, id: EffectId, steps: &[Step]) {
        let objects = steps.iter().filter(|step| !matches!(step, Step::Up(..)));
        let keys = objects.map(|step| (step.key(), step.to().cloned())).collect();
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
