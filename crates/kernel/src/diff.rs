//! How what is wanted differs from what is.

use crate::{Key, Objects, Value};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// One difference.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Wanted, absent.
    Add(Key, Value),
    /// Wanted, present and different.
    Replace { key: Key, from: Value, to: Value },
    /// Ours, present and not wanted.
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
    let mut changes = Vec::new();
    let mut wanted = desired.iter().peekable();
    let mut found = actual.iter().peekable();
    loop {
        let side = match (wanted.peek(), found.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let want = if side.is_le() { wanted.next() } else { None };
        let have = if side.is_ge() { found.next() } else { None };
        let key = want.or(have).expect("one side is there").0;
        let Some(change) = change(key, want.map(|w| w.1), have.map(|h| h.1), &ours) else { continue };
        if !pending.contains(key) {
            changes.push(change);
        }
    }
    changes
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
        (None, Some(found)) if ours(key, found) => Some(Change::Remove(key.clone(), found.clone())),
        (Some(to), Some(from)) if !to.satisfied_by(from) => Some(if ours(key, from) {
            Change::Replace { key: key.clone(), from: from.clone(), to: to.clone() }
        } else {
            Change::Conflict { key: key.clone(), found: from.clone() }
        }),
        _ => None,
    }
}
