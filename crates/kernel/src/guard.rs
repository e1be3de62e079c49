//! What must not be without rules: nothing leads to a pod that they do not know.

use crate::nft::{Element, Range, Table, TableKey};
use crate::{ApplyError, Key, Netns, Value, is_workload};
use model::IfName;

/// The key of the rules that judge what pods send, `inet calico`.
pub fn rules_key() -> Key {
    Key::Nft(TableKey::inet())
}

/// The outcome of a step that was left out for want of rules.
pub fn unguarded() -> ApplyError {
    ApplyError::not_tried("the rules that guard the pod were refused")
}

/// Whether it leads to a pod: a route that must not be written if the rules that should know that pod were refused.
pub fn needs_rules(key: &Key, value: &Value) -> bool {
    pod_of(key, value).is_some()
}

/// Whether rules that were found know the pod that an object leads to: they let it send as what is sent there.
pub fn is_known(rules: &Table, key: &Key, value: &Value) -> bool {
    let (Key::Route(route), Some(pod)) = (key, pod_of(key, value)) else { return false };
    let source = Element::new([Range::from(pod.clone()), Range::from(route.dst)]);
    rules.sets.values().any(|set| set.elements.contains(&source))
}

/// The node's end of the pair of the pod that a route leads to.
fn pod_of<'a>(key: &Key, value: &'a Value) -> Option<&'a IfName> {
    match (key, value) {
        (Key::Route(key), Value::Route(route)) if key.netns == Netns::Host => {
            route.device.as_ref().filter(|device| is_workload(device))
        }
        _ => None,
    }
}
