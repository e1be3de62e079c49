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

/// Orders changes: first what is added or replaced, each after what it needs, then removals the other way round. A
/// conflict gives no step.
pub fn plan(changes: Vec<Change>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut removals = Vec::new();
    for change in changes {
        if let Change::Add(Key::Link(key), Value::Link(link))
        | Change::Replace { key: Key::Link(key), to: Value::Link(link), .. } = &change
            && link.up
        {
            steps.push(Step::Up(key.netns, key.name.clone()));
        }
        match change {
            Change::Add(key, value) => steps.push(Step::Create(key, value)),
            Change::Replace { key, from, to } => steps.push(Step::Replace { key, from, to }),
            Change::Remove(key, value) => removals.push(Step::Remove(key, value)),
            Change::Conflict { .. } => {}
        }
    }
    steps.sort_by_key(need);
    removals.sort_by_key(|step| std::cmp::Reverse(need(step)));
    steps.append(&mut removals);
    steps
}

/// What must be there before: an object needs only objects of smaller numbers.
fn need(step: &Step) -> u8 {
    let (key, value) = match step {
        // After settings and addresses; rules stand before any packet can come in by a new interface.
        Step::Up(..) => return 4,
        Step::Create(key, value) | Step::Replace { key, to: value, .. } | Step::Remove(key, value) => {
            (key, value)
        }
    };
    match (key, value) {
        (Key::Link(_), _) => 0,
        (Key::Sysctl(_), _) => 1,
        (Key::Addr(_), _) => 2,
        (Key::Nft(_), _) => 3,
        (Key::Fdb(_), _) => 5,
        (Key::Neigh(_), _) => 6,
        (Key::Route(_), Value::Route(route)) if route.gateway.is_none() => 7,
        // The gateway must be reachable by a route of the step before.
        (Key::Route(_), _) => 8,
    }
}
