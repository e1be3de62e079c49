//! Policies and their tiers: the defaults that every one has. Their rules are not acted on, but kept and shown as Calico stores them.

use super::written::{Written, default, spec_mut};
use serde_json::{Value, json};

/// The label that names a policy's tier.
const TIER_LABEL: &str = "projectcalico.org/tier";

/// Gives a policy its tier, the label that says it, and the directions that its rules are about.
pub(super) fn set_defaults(object: &mut Value) {
    let directions = directions(Written::spec(object));
    let Some(spec) = spec_mut(object) else { return };
    default(spec, "tier", "default");
    default(spec, "types", directions);
    let tier = spec["tier"].clone();
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    if let Some(labels) = metadata.entry("labels").or_insert_with(|| json!({})).as_object_mut() {
        labels.insert(TIER_LABEL.to_owned(), tier);
    }
}

/// Gives a tier its place and what becomes of packets that none of its policies decides about.
pub(super) fn set_tier_defaults(object: &mut Value) {
    let Some(spec) = spec_mut(object) else { return };
    spec.entry("order").or_insert_with(|| 1_000_000.into());
    default(spec, "defaultAction", "Deny");
}

/// Gives a staged policy what is to be done with it.
pub(super) fn set_staged_action(object: &mut Value) {
    if let Some(spec) = spec_mut(object) {
        default(spec, "stagedAction", "Set");
    }
}

/// Rules for what leaves alone make a policy for what leaves; everything else is one for what arrives.
fn directions(spec: Written) -> Value {
    let some = |field| spec.objects(field).next().is_some();
    match (some("ingress"), some("egress")) {
        (false, true) => json!(["Egress"]),
        (true, true) => json!(["Ingress", "Egress"]),
        (_, false) => json!(["Ingress"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policys_directions_follow_from_its_rules() {
        let types = |spec: Value| {
            let mut policy = json!({"metadata": {"name": "p"}, "spec": spec});
            set_defaults(&mut policy);
            assert_eq!(policy["metadata"]["labels"], json!({"projectcalico.org/tier": "default"}));
            policy["spec"]["types"].take()
        };
        assert_eq!(types(json!({})), json!(["Ingress"]));
        assert_eq!(types(json!({"egress": [{"action": "Allow"}]})), json!(["Egress"]));
        assert_eq!(types(json!({"ingress": [{}], "egress": [{}]})), json!(["Ingress", "Egress"]));
        assert_eq!(types(json!({"egress": [{}], "types": ["Ingress"]})), json!(["Ingress"]));
    }
}
