//! A set of destinations as runs of numbers. What one UPDATE announces is numbered one after the other, so a set is
//! nearly always one run, whatever its size; it is never more than one run a member.

use super::DstId;
use std::collections::BTreeMap;

/// A set of small numbers that come in runs. Invariant: runs neither overlap nor touch.
#[derive(Debug, Default, Clone)]
pub struct Runs {
    /// The first number of each run, and the one behind its last.
    runs: BTreeMap<DstId, DstId>,
    count: usize,
}

impl Runs {
    /// Whether the set has no member.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many members.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Puts `id` in, which must not be there.
    pub fn insert(&mut self, id: DstId) {
        self.count += 1;
        let next = id.next();
        let behind = self.runs.remove(&next).unwrap_or(next);
        if let Some((_, end)) = self.runs.range_mut(..=id).next_back() {
            assert!(*end <= id, "{id:?} is in the set");
            if *end == id {
                *end = behind;
                return;
            }
        }
        self.runs.insert(id, behind);
    }

    /// Takes `id` out; whether it was there.
    pub fn remove(&mut self, id: DstId) -> bool {
        let found = self.runs.range_mut(..=id).next_back().filter(|(_, end)| **end > id);
        let Some((start, end)) = found else { return false };
        let (start, behind) = (*start, std::mem::replace(end, id));
        if start == id {
            self.runs.remove(&id);
        }
        if behind > id.next() {
            self.runs.insert(id.next(), behind);
        }
        self.count -= 1;
        true
    }

    /// Takes out the first members, `limit` at most.
    pub fn take(&mut self, limit: usize) -> Vec<DstId> {
        let mut taken = Vec::with_capacity(limit.min(self.count));
        while taken.len() < limit
            && let Some((start, end)) = self.runs.pop_first()
        {
            let until = end.at().min(start.at().saturating_add(limit - taken.len()));
            taken.extend((start.at()..until).map(DstId::nth));
            if until < end.at() {
                self.runs.insert(DstId::nth(until), end);
            }
        }
        self.count -= taken.len();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn spans(runs: &Runs) -> Vec<(usize, usize)> {
        runs.runs.iter().map(|(start, end)| (start.at(), end.at())).collect()
    }

    #[test]
    fn what_is_numbered_one_after_the_other_is_one_run() {
        let mut runs = Runs::default();
        for at in [5, 4, 7, 6, 8] {
            runs.insert(DstId::nth(at));
        }
        assert_eq!(spans(&runs), [(4, 9)]);
        assert!(runs.remove(DstId::nth(6)) && !runs.remove(DstId::nth(6)));
        assert_eq!(spans(&runs), [(4, 6), (7, 9)]);
        assert_eq!(runs.take(3).iter().map(|id| id.at()).collect::<Vec<_>>(), [4, 5, 7]);
        assert_eq!(spans(&runs), [(8, 9)]);
    }

    proptest! {
        #[test]
        fn runs_hold_what_a_set_holds(acts in proptest::collection::vec((0u8..8, 0usize..40), 0..200)) {
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            for (act, at) in acts {
                let id = DstId::nth(at);
                match act {
                    0 => {
                        let first: Vec<DstId> = set.iter().copied().take(at).collect();
                        set.retain(|id| !first.contains(id));
                        prop_assert_eq!(runs.take(at), first);
                    }
                    1..4 => prop_assert_eq!(runs.remove(id), set.remove(&id)),
                    _ if set.insert(id) => runs.insert(id),
                    _ => {}
                }
                prop_assert_eq!((runs.count(), runs.is_empty()), (set.len(), set.is_empty()));
            }
            prop_assert_eq!(runs.take(usize::MAX), set.into_iter().collect::<Vec<_>>());
        }
    }
}
