//! In which order to make changes, so that nothing needs what is not there yet and nothing is missed while it is replaced.

use crate::{Change, Key, LinkKey, Netns, Value};
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

impl Step {
    /// The object that it is about.
    pub fn key(&self) -> Key {
        match self {
            Step::Up(netns, name) => Key::Link(LinkKey { netns: *netns, name: name.clone() }),
            Step::Create(key, _) | Step::Replace { key, .. } | Step::Remove(key, _) => key.clone(),
        }
    }

    /// What the object is before it.
    pub fn from(&self) -> Option<&Value> {
        match self {
            Step::Replace { from, .. } | Step::Remove(_, from) => Some(from),
            Step::Create(..) | Step::Up(..) => None,
        }
    }

    /// What the object is after it.
    pub fn to(&self) -> Option<&Value> {
        match self {
            Step::Create(_, to) | Step::Replace { to, .. } => Some(to),
            Step::Remove(..) | Step::Up(..) => None,
        }
    }

    /// The namespace in which it is carried out.
    pub fn netns(&self) -> Netns {
        match self {
            Step::Up(netns, _) => *netns,
            Step::Create(key, _) | Step::Replace { key, .. } | Step::Remove(key, _) => key.netns(),
        }
    }
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

impl ApplyError {
    /// `ECANCELED`: the step was left out, since one that it builds on was refused.
    pub const NOT_TRIED: i32 = 125;

    /// A step that was left out, and why.
    pub fn not_tried(why: &str) -> ApplyError {
        ApplyError { errno: ApplyError::NOT_TRIED, text: why.to_owned() }
    }
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
        Step::Up(..) => return 6,
        Step::Create(key, value) | Step::Replace { key, to: value, .. } | Step::Remove(key, value) => {
            (key, value)
        }
    };
    match (key, value) {
        // A pod's interface comes into being with the node's end of the pair.
        (Key::Link(link), _) => u8::from(link.netns != Netns::Host),
        (Key::Sysctl(_), _) => 2,
        (Key::Addr(_) | Key::Clsact(_), _) => 3,
        // Nothing comes in by a new tunnel, or out of it, that is not judged; nor do rules refuse what is not judged yet, of a
        // tunnel that stands already.
        (Key::Filter(_), _) => 4,
        (Key::Nft(_), _) => 5,
        (Key::Fdb(_), _) => 7,
        (Key::Neigh(_), _) => 8,
        (Key::Route(_), Value::Route(route)) if route.gateway.is_none() => 9,
        // The gateway must be reachable by a route of the step before.
        (Key::Route(_), _) => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::any::{device_of, objects};
    use crate::{LinkKind, Objects, diff, ours};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Steps from `actual` to `desired`, whatever order the changes come in.
    fn steps(desired: &Objects, actual: &Objects) -> impl Strategy<Value = Vec<Step>> + use<> {
        Just(diff(desired, actual, &BTreeSet::new(), ours)).prop_shuffle().prop_map(plan)
    }

    fn any_steps() -> impl Strategy<Value = Vec<Step>> {
        (objects(), objects()).prop_flat_map(|(desired, actual)| steps(&desired, &actual))
    }

    fn place_of(steps: &[Step], test: impl Fn(&Step) -> bool) -> Option<usize> {
        steps.iter().position(test)
    }

    /// The object that a step makes or changes.
    fn made(step: &Step) -> Option<(&Key, &Value)> {
        match step {
            Step::Create(key, value) | Step::Replace { key, to: value, .. } => Some((key, value)),
            _ => None,
        }
    }

    fn is_made(key: LinkKey) -> impl Fn(&Step) -> bool {
        let key = Key::Link(key);
        move |step| made(step).is_some_and(|(made, _)| *made == key)
    }

    proptest! {
        #[test]
        fn no_step_needs_an_interface_that_a_later_step_makes(steps in any_steps()) {
            for (place, step) in steps.iter().enumerate() {
                let Some((key, value)) = made(step) else { continue };
                // Parents of interfaces are not ours: they are found, not made.
                let needed = device_of(key, value).filter(|_| !matches!(key, Key::Link(_)));
                let later = needed.and_then(|link| place_of(&steps[place..], is_made(link)));
                prop_assert_eq!(later, None, "{} at {} of {:?}", key, place, &steps);
            }
        }

        #[test]
        fn a_pods_interface_is_configured_after_the_pair_is_made(steps in any_steps()) {
            let pair = place_of(&steps, |step| {
                matches!(made(step), Some((Key::Link(_), Value::Link(link))) if matches!(link.kind, LinkKind::Veth { peer: Some(_) }))
            });
            let end = place_of(&steps, |step| {
                matches!(made(step), Some((Key::Link(key), _)) if key.netns != Netns::Host)
            });
            if let (Some(pair), Some(end)) = (pair, end) {
                prop_assert!(pair < end, "{:?}", steps);
            }
        }

        #[test]
        fn a_gateway_is_reachable_before_a_route_goes_by_it(steps in any_steps()) {
            let first_via = place_of(&steps, |step| {
                matches!(made(step), Some((_, Value::Route(route))) if route.gateway.is_some())
            });
            let last_connected = steps.iter().rposition(|step| {
                matches!(made(step), Some((_, Value::Route(route))) if route.gateway.is_none())
            });
            if let (Some(via), Some(connected)) = (first_via, last_connected) {
                prop_assert!(connected < via, "{:?}", steps);
            }
        }

        #[test]
        fn an_interface_goes_up_after_settings_addresses_and_rules_and_before_what_needs_it_up(
            steps in any_steps(),
        ) {
            for (up, step) in steps.iter().enumerate() {
                let Step::Up(netns, name) = step else { continue };
                let link = LinkKey { netns: *netns, name: name.clone() };
                for (place, (key, value)) in steps.iter().enumerate().filter_map(|(n, s)| Some((n, made(s)?))) {
                    let on = device_of(key, value).as_ref() == Some(&link) || *key == Key::Link(link.clone());
                    match key {
                        Key::Link(_) | Key::Sysctl(_) | Key::Addr(_) if on => prop_assert!(place < up, "{key}"),
                        Key::Nft(_) | Key::Filter(_) => prop_assert!(place < up, "{key}"),
                        Key::Fdb(_) | Key::Neigh(_) | Key::Route(_) if on => prop_assert!(up < place, "{key}"),
                        _ => {}
                    }
                }
            }
        }

        #[test]
        fn every_interface_that_is_to_be_up_is_set_up_once(steps in any_steps()) {
            let mut wanted: Vec<Key> = steps
                .iter()
                .filter_map(made)
                .filter(|(_, value)| matches!(value, Value::Link(link) if link.up))
                .map(|(key, _)| key.clone())
                .collect();
            let mut set: Vec<Key> = steps
                .iter()
                .filter_map(|step| match step {
                    Step::Up(netns, name) => Some(Key::Link(LinkKey { netns: *netns, name: name.clone() })),
                    _ => None,
                })
                .collect();
            wanted.sort();
            set.sort();
            prop_assert_eq!(wanted, set);
        }

        #[test]
        fn removals_come_last_and_what_is_needed_goes_after_what_needs_it(steps in any_steps()) {
            prop_assert!(steps.is_sorted_by_key(|step| matches!(step, Step::Remove(..))));
            let removed: Vec<(&Key, &Value)> = steps
                .iter()
                .filter_map(|step| match step {
                    Step::Remove(key, value) => Some((key, value)),
                    _ => None,
                })
                .collect();
            for (place, (key, value)) in removed.iter().enumerate() {
                let needed = device_of(key, value).filter(|_| !matches!(key, Key::Link(_))).map(Key::Link);
                let before = removed[..place].iter().any(|(gone, _)| Some(*gone) == needed.as_ref());
                prop_assert!(!before, "{} goes after its interface", key);
            }
        }

        #[test]
        fn every_change_but_a_conflict_has_its_step(desired in objects(), actual in objects()) {
            let changes = diff(&desired, &actual, &BTreeSet::new(), ours);
            let steps = plan(changes.clone());
            let count = steps.iter().filter(|step| !matches!(step, Step::Up(..))).count();
            let conflicts = changes.iter().filter(|change| matches!(change, Change::Conflict { .. })).count();
            prop_assert_eq!(count + conflicts, changes.len());
        }
    }
}
