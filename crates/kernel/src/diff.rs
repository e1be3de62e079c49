//! How what is wanted differs from what is.

use crate::{Key, Objects, Value, stays};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// One difference.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Wanted, absent.
    Add(Key, Value),
    /// Wanted, present and different.
    Replace { key: Key, from: Value, to: Value },
    /// Ours, present and not wanted, unless it [`stays`].
    Remove(Key, Value),
    /// Wanted, but somebody else's object stands under the key: reported, never taken.
    Conflict { key: Key, found: Value },
}

impl Change {
    /// The object's key.
    pub fn key(&self) -> &Key {
        match self {
            Change::Add(key, _) | Change::Remove(key, _) => key,
            Change::Replace { key, .. } | Change::Conflict { key, .. } => key,
        }
    }

    /// What the object is to be; nothing if it goes, or stays as it is found.
    pub fn to(&self) -> Option<&Value> {
        match self {
            Change::Add(_, to) | Change::Replace { to, .. } => Some(to),
            Change::Remove(..) | Change::Conflict { .. } => None,
        }
    }
}

/// Every difference between `desired` and `actual`, in the order of the keys, except for keys in `pending`, whose outcome
/// is not known yet. `ours` tells from an object alone whether we may change or remove it.
///
/// Laws: `diff(x, x)` is empty; carrying the changes out and diffing again gives conflicts only; no object that is not
/// ours is ever replaced or removed.
pub fn diff(
    desired: &Objects,
    actual: &Objects,
    pending: &BTreeSet<Key>,
    ours: impl Fn(&Key, &Value) -> bool,
) -> Vec<Change> {
    let keys = side_by_side(desired, actual).filter(|(key, ..)| !pending.contains(*key));
    keys.filter_map(|(key, want, have)| change(key, want, have, &ours)).collect()
}

/// Every key of either, in order, with what each of them holds. To look keys up one by one costs many times that.
pub fn side_by_side<'a>(
    one: &'a Objects,
    two: &'a Objects,
) -> impl Iterator<Item = (&'a Key, Option<&'a Value>, Option<&'a Value>)> {
    let (mut left, mut right) = (one.iter().peekable(), two.iter().peekable());
    std::iter::from_fn(move || {
        let side = match (left.peek(), right.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((one, _)), Some((two, _))) => one.cmp(two),
        };
        let first = if side.is_le() { left.next() } else { None };
        let second = if side.is_ge() { right.next() } else { None };
        let (key, _) = first.or(second).expect("one side is there");
        Some((key, first.map(|(_, value)| value), second.map(|(_, value)| value)))
    })
}

/// The difference of one key: the rule that `diff` walks over all of them.
pub fn change(
    key: &Key,
    want: Option<&Value>,
    have: Option<&Value>,
    ours: impl Fn(&Key, &Value) -> bool,
) -> Option<Change> {
    match (want, have) {
        (Some(to), None) => Some(Change::Add(key.clone(), to.clone())),
        (None, Some(found)) if ours(key, found) && !stays(found) => {
            Some(Change::Remove(key.clone(), found.clone()))
        }
        (Some(to), Some(from)) if !to.satisfied_by(from) => Some(if ours(key, from) {
            Change::Replace { key: key.clone(), from: from.clone(), to: to.clone() }
        } else {
            Change::Conflict { key: key.clone(), found: from.clone() }
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::any::objects;
    use crate::ours;
    use proptest::prelude::*;

    fn carried_out(changes: &[Change], actual: &Objects) -> Objects {
        let mut actual = actual.clone();
        for change in changes {
            let before = match change {
                Change::Add(key, value) => actual.insert(key.clone(), value.clone()),
                Change::Replace { key, to, .. } => actual.insert(key.clone(), to.clone()),
                Change::Remove(key, _) => actual.remove(key),
                Change::Conflict { .. } => continue,
            };
            assert_eq!(before.is_some(), !matches!(change, Change::Add(..)), "{change:?}");
        }
        actual
    }

    proptest! {
        #[test]
        fn nothing_differs_from_itself(x in objects()) {
            prop_assert_eq!(diff(&x, &x, &BTreeSet::new(), ours), []);
        }

        #[test]
        fn once_carried_out_only_conflicts_are_left(desired in objects(), actual in objects()) {
            let changes = diff(&desired, &actual, &BTreeSet::new(), ours);
            let conflicts: Vec<Change> =
                changes.iter().filter(|change| matches!(change, Change::Conflict { .. })).cloned().collect();
            let after = carried_out(&changes, &actual);
            prop_assert_eq!(diff(&desired, &after, &BTreeSet::new(), ours), conflicts);
        }

        #[test]
        fn what_is_not_ours_is_never_touched(desired in objects(), actual in objects()) {
            let after = carried_out(&diff(&desired, &actual, &BTreeSet::new(), ours), &actual);
            for (key, value) in actual.iter().filter(|(key, value)| !ours(key, value)) {
                prop_assert_eq!(after.get(key), Some(value), "{}", key);
            }
        }

        #[test]
        fn what_is_wanted_and_not_in_the_way_of_others_is_there_after(desired in objects(), actual in objects()) {
            let after = carried_out(&diff(&desired, &actual, &BTreeSet::new(), ours), &actual);
            for (key, want) in &desired {
                let foreign = actual.get(key).is_some_and(|found| !ours(key, found));
                prop_assert!(foreign || want.satisfied_by(&after[key]), "{}", key);
            }
            for (key, value) in after.iter().filter(|(key, _)| !desired.contains_key(key)) {
                prop_assert!(!ours(key, value) || stays(value), "{} is left behind", key);
            }
        }

        #[test]
        fn pending_keys_are_left_out_and_the_others_are_not(
            desired in objects(),
            actual in objects(),
            chosen in any::<u64>(),
        ) {
            let all = diff(&desired, &actual, &BTreeSet::new(), ours);
            let pending: BTreeSet<Key> = all
                .iter()
                .enumerate()
                .filter(|(n, _)| chosen >> (n % 64) & 1 == 1)
                .map(|(_, change)| change.key().clone())
                .collect();
            let rest: Vec<Change> = all.into_iter().filter(|change| !pending.contains(change.key())).collect();
            prop_assert_eq!(diff(&desired, &actual, &pending, ours), rest);
        }

        #[test]
        fn changes_come_in_the_order_of_their_keys_one_for_each(desired in objects(), actual in objects()) {
            let changes = diff(&desired, &actual, &BTreeSet::new(), ours);
            prop_assert!(changes.is_sorted_by(|a, b| a.key() < b.key()));
        }
    }
}
