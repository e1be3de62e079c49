//! In which order to make changes, so that nothing needs what is not there yet and nothing is missed while it is replaced.

use crate::{Change, Key, Netns, Value};
use model::IfName;

/// One thing for the writer to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make an object that must not exist. Interfaces are made down.
    Create(Key, Value),
    /// Make an object that we hold be otherwise, without a moment of absence where the kernel can.
    Replace { key: Key, from: Value, to: Value },
    /// Set an interface up, after its settings and addresses.
    Up(Netns, IfName),
    /// Take an object of ours away. Its absence is success.
    Remove(Key, Value),
}

/// What became of a key's steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub key: Key,
    pub result: Result<(), ApplyError>,
}

/// The kernel's refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} (errno {errno})")]
pub struct ApplyError {
    pub errno: i32,
    /// The kernel's own sentence (extended ACK) if it gave one, else the name of the error.
    pub text: String,
}

/// Orders changes: first what is added or replaced, in the order of the keys (interfaces, settings, addresses, rules,
/// interfaces up, forwarding entries, neighbours, routes), then removals in the reverse order. A conflict gives no step.
pub fn plan(changes: Vec<Change>) -> Vec<Step> {
    let mut first = Vec::new();
    let mut ups = Vec::new();
    let mut then = Vec::new();
    let mut removals = Vec::new();
    for change in changes {
        let wants_up = match &change {
            Change::Add(Key::Link(k), Value::Link(v)) if v.up => Some((k.netns, k.name.clone())),
            Change::Replace { key: Key::Link(k), to: Value::Link(v), .. } if v.up => {
                Some((k.netns, k.name.clone()))
            }
            _ => None,
        };
        ups.extend(wants_up.map(|(netns, name)| Step::Up(netns, name)));
        // Rules stand before any packet can come in by a new interface.
        let before_up = matches!(change.key(), Key::Link(_) | Key::Sysctl(_) | Key::Addr(_) | Key::Nft(_));
        let step = match change {
            Change::Add(key, value) => Step::Create(key, value),
            Change::Replace { key, from, to } => Step::Replace { key, from, to },
            Change::Remove(key, value) => {
                removals.push(Step::Remove(key, value));
                continue;
            }
            Change::Conflict { .. } => continue,
        };
        if before_up { first.push(step) } else { then.push(step) }
    }
    removals.reverse();
    first.into_iter().chain(ups).chain(then).chain(removals).collect()
}
