//! What steps build on: nothing is led through what is not there, and nothing goes that is still led through.

use super::Datapath;
use kernel::{Key, Refused, Step, Value, needs, rules_key};
use model::Instant;
use std::collections::BTreeSet;

impl Datapath {
    /// Leaves out what builds on something that is being written, was refused, or has somebody else's in its place. Of what a
    /// plan tries again, the writer knows better.
    pub(super) fn founded(&mut self, now: Instant, mut steps: Vec<Step>) -> Vec<Step> {
        let mut refused = Refused::default();
        for key in self.flights.ground() {
            refused.add(key, None);
        }
        let wrong = || self.refusals.iter().map(|(key, _)| key).chain(self.conflicts.keys());
        if wrong().next().is_some() {
            let tried: BTreeSet<Key> = steps.iter().map(Step::key).collect();
            for key in wrong().filter(|key| !tried.contains(key)) {
                refused.add(key, self.found.get(key));
            }
        }
        if refused.is_empty() {
            return steps;
        }
        let rules = self.found.get(&rules_key());
        steps.retain(|step| {
            let is_known = match (rules, step.to()) {
                (Some(Value::Nft(rules)), Some(to)) => needs::is_known(rules, &step.key(), to),
                _ => false,
            };
            let Some(error) = refused.forbids(step).filter(|_| !is_known) else { return true };
            refused.add_step(step);
            let key = step.key();
            self.suspects.insert(key.clone());
            // What is being written will be told of.
            if self.flights.is_empty() {
                self.refusals.record(now, key, error);
            }
            false
        });
        steps
    }

    /// These were written: what was left out for want of them need not wait longer.
    pub(super) fn retry_on_ground(&mut self, now: Instant, written: &BTreeSet<Key>) {
        let wanted = &self.wanted;
        self.refusals.hurry(now, |key| {
            let needed = wanted.get(key).map(|value| needs::needs(key, value));
            needed.is_some_and(|needed| needed.iter().any(|need| written.contains(need)))
        });
    }
}
