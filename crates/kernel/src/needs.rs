//! What an object leads through without the kernel's looking: a route whose neighbour is missing loses packets as quietly as one
//! that leads to a pod whom no rules know. What was refused therefore holds up what builds on it, and keeps what it used.

use crate::nft::{Element, Range, Table, TableKey};
use crate::{
    ApplyError, Direction, FdbKey, FilterKey, Key, NeighKey, Netns, RouteKey, RouteValue, Step, Value,
    is_workload,
};
use model::IfName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The key of the rules that judge what pods send, `inet calico`.
pub fn rules_key() -> Key {
    Key::Nft(TableKey::inet())
}

/// What must be there before an object may come, and for as long as it is there. Only what the kernel itself does not ask for:
///
/// * the rules, by a route to a pod;
/// * the neighbour and the filter that sends, by a route through a gateway;
/// * the forwarding entry, by a neighbour.
pub fn needs(key: &Key, value: &Value) -> Vec<Key> {
    match (key, value) {
        (Key::Route(key), Value::Route(route)) if pod_of(key, route).is_some() => vec![rules_key()],
        (Key::Route(key), Value::Route(route)) => ways(route).flat_map(|way| on_the_way(key, way)).collect(),
        (Key::Neigh(key), Value::Neigh(neigh)) => {
            let (netns, device) = (key.netns, key.device.clone());
            vec![Key::Fdb(FdbKey { netns, device, mac: neigh.mac })]
        }
        _ => Vec::new(),
    }
}

/// Whether rules that were found know the pod that an object leads to: they let it send as what is sent there.
pub fn is_known(rules: &Table, key: &Key, value: &Value) -> bool {
    let (Key::Route(key), Value::Route(route)) = (key, value) else { return false };
    let Some(pod) = pod_of(key, route) else { return false };
    let source = Element::new([Range::from(pod.clone()), Range::from(key.dst)]);
    rules.sets.values().any(|set| set.elements.contains(&source))
}

/// The node's end of the pair of the pod that a route leads to.
fn pod_of<'a>(key: &RouteKey, route: &'a RouteValue) -> Option<&'a IfName> {
    route.device.as_ref().filter(|device| key.netns == Netns::Host && is_workload(device))
}

/// Gateway and interface of each way that a route takes.
fn ways(route: &RouteValue) -> impl Iterator<Item = (IpAddr, &IfName)> {
    let first = route.gateway.zip(route.device.as_ref());
    first.into_iter().chain(route.also.iter().map(|way| (way.gateway, &way.device)))
}

fn on_the_way(key: &RouteKey, (addr, device): (IpAddr, &IfName)) -> [Key; 2] {
    let netns = key.netns;
    let sender = FilterKey { netns, device: device.clone(), direction: Direction::Egress };
    [Key::Neigh(NeighKey { netns, device: device.clone(), addr }), Key::Filter(sender)]
}

/// What was refused so far, and what follows for the steps that come after.
#[derive(Debug, Default)]
pub struct Refused {
    keys: BTreeSet<Key>,
    /// What stands in the kernel in their stead needs these; by whom.
    used: BTreeMap<Key, Key>,
}

impl Refused {
    /// Nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// `key` is not as it should be; `found` is what it is instead.
    pub fn add(&mut self, key: &Key, found: Option<&Value>) {
        self.keys.insert(key.clone());
        let used = found.map(|found| needs(key, found)).unwrap_or_default();
        self.used.extend(used.into_iter().map(|used| (used, key.clone())));
    }

    /// A step was refused, or left out.
    pub fn add_step(&mut self, step: &Step) {
        self.add(&step.key(), step.from());
    }

    /// Why a step must be left out, if it must.
    pub fn forbids(&self, step: &Step) -> Option<ApplyError> {
        if self.is_empty() {
            return None;
        }
        match step {
            Step::Create(key, to) | Step::Replace { key, to, .. } => {
                let missing = needs(key, to).into_iter().find(|need| self.keys.contains(need))?;
                Some(ApplyError::not_tried(&format!("it needs {missing}, which was refused")))
            }
            Step::Remove(key, _) => {
                let user = self.used.get(key)?;
                Some(ApplyError::not_tried(&format!("{user} still needs it")))
            }
            Step::Up(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::any::objects;
    use crate::{diff, ours, plan};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_is_refused_nothing_leads_through_it_and_nothing_loses_what_it_led_through(
            (desired, actual) in (objects(), objects()),
            refuse in any::<u64>(),
        ) {
            let mut kernel = actual.clone();
            let (mut refused, mut left) = (Refused::default(), Vec::new());
            for (n, step) in plan(diff(&desired, &actual, &BTreeSet::new(), ours)).into_iter().enumerate() {
                if refuse >> (n % 64) & 1 == 1 || refused.forbids(&step).is_some() {
                    refused.add_step(&step);
                    left.push(step);
                    continue;
                }
                match step {
                    Step::Create(key, to) | Step::Replace { key, to, .. } => {
                        for need in needs(&key, &to) {
                            prop_assert!(!left.iter().any(|step| step.key() == need), "{} without {}", key, need);
                        }
                        kernel.insert(key, to);
                    }
                    Step::Remove(key, _) => drop(kernel.remove(&key)),
                    Step::Up(..) => {}
                }
            }
            for step in left {
                let Some(found) = step.from() else { continue };
                for need in needs(&step.key(), found).into_iter().filter(|need| actual.contains_key(need)) {
                    prop_assert!(kernel.contains_key(&need), "{} lost {}", step.key(), need);
                }
            }
        }
    }
}
