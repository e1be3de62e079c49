//! An object as Calico's own programs would write it: empty fields left out, spans of time in one form.
//!
//! Calico's programs read an object into Go's types and write it from there. Whoever compares what is stored, or writes an
//! object back that Calico wrote, needs the same form.

use super::{Field, Kind, Type, find};
use crate::Duration;
use serde_json::{Value, json};

/// Fields of a kind, and of the field that they are inside of, that are written also when they are empty; an empty one says something there, or Calico writes it always.
fn keeps(kind: &str, inside: &str, field: &str, wanted: Type) -> bool {
    match kind {
        // Calico tells whether these were given, but for texts.
        "FelixConfiguration" => !matches!(wanted, Type::Str),
        "IPAMConfiguration" | "KubeControllersConfiguration" => true,
        // Without communities an advertisement would be refused when it is read back.
        "BGPConfiguration" if inside == "prefixAdvertisements" => field == "communities",
        "BGPConfiguration" => ["nodeToNodeMeshEnabled", "asNumber", "key", "optional"].contains(&field),
        "BGPFilter" => ["action", "min", "max", "priority", "value"].contains(&field),
        "BGPPeer" => ["numAllowedLocalASNumbers", "ttlSecurity", "key", "optional"].contains(&field),
        "ClusterInformation" => field == "datastoreReady",
        _ => ["action", "order", "code", "type", "address"].contains(&field),
    }
}

/// A field that is written even if nobody gave it: its kind, the path of its object, its name and its value.
type Always = (&'static str, &'static str, &'static str, fn() -> Value);

const ALWAYS: &[Always] = &[
    ("BGPConfiguration", "nodeMeshPassword.secretKeyRef", "key", || json!("")),
    ("BGPPeer", "password.secretKeyRef", "key", || json!("")),
    ("FelixConfiguration", "failsafeInboundHostPorts[]", "port", || json!(0)),
    ("FelixConfiguration", "failsafeOutboundHostPorts[]", "port", || json!(0)),
    ("StagedKubernetesNetworkPolicy", "", "podSelector", || json!({})),
];

/// Kinds that Calico's programs write for each other, in lists of which a null means something.
const INNER: &[&str] = &["BlockAffinity", "IPAMBlock", "IPAMHandle"];

/// Gives `object`, which is valid, the form in which Calico writes its kind.
pub fn encode(kind: &str, object: &mut Value) {
    let Some(row) = find(kind).filter(|row| !INNER.contains(&row.kind)) else { return };
    fields(row, &mut object["spec"], row.spec, "spec");
    for (_, path, field, value) in ALWAYS.iter().filter(|(of, ..)| *of == kind) {
        fill(&mut object["spec"], path, field, *value);
    }
}

fn fields(kind: &Kind, object: &mut Value, known: &[Field], inside: &str) {
    let Some(object) = object.as_object_mut() else { return };
    for (name, wanted) in known {
        let Some(value) = object.get_mut(*name) else { continue };
        form(kind, value, *wanted, name);
        if is_empty(value) && !keeps(kind.kind, inside, name, *wanted) {
            object.remove(*name);
        }
    }
}

fn form(kind: &Kind, value: &mut Value, wanted: Type, name: &str) {
    match wanted {
        Type::Object(known) => fields(kind, value, known, name),
        Type::List(item) => value.as_array_mut().into_iter().flatten().for_each(|value| match item {
            Type::Str if value.is_null() => *value = "".into(),
            item => form(kind, value, *item, name),
        }),
        Type::Duration => {
            if let Some(Ok(span)) = value.as_str().map(Duration::parse_go) {
                *value = span.to_go().into();
            }
        }
        Type::Bool | Type::Int | Type::Number | Type::Str | Type::IntOrStr | Type::Map => {}
    }
}

/// Objects with fields of their own are written also when they are empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(_) => false,
    }
}

fn fill(value: &mut Value, path: &str, field: &str, default: fn() -> Value) {
    if let Some(rest) = path.strip_prefix("[]") {
        return value
            .as_array_mut()
            .into_iter()
            .flatten()
            .for_each(|item| fill(item, rest.trim_start_matches('.'), field, default));
    }
    if path.is_empty() {
        if let Some(object) = value.as_object_mut() {
            object.entry(field).or_insert_with(default);
        }
        return;
    }
    let end = path.find(['.', '[']).unwrap_or(path.len());
    if let Some(inner) = value.get_mut(&path[..end]) {
        fill(inner, path[end..].trim_start_matches('.'), field, default);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(kind: &str, spec: Value) -> Value {
        let mut object = json!({"spec": spec});
        encode(kind, &mut object);
        object["spec"].take()
    }

    #[test]
    fn empty_fields_are_left_out_where_they_say_nothing() {
        assert_eq!(
            encoded("IPPool", json!({"cidr": "10.0.0.0/8", "disabled": false, "namespaceSelector": ""})),
            json!({"cidr": "10.0.0.0/8"})
        );
        assert_eq!(encoded("IPReservation", json!({"reservedCIDRs": []})), json!({}));
        assert_eq!(
            encoded("IPReservation", json!({"reservedCIDRs": [null]})),
            json!({"reservedCIDRs": [""]})
        );
        let felix = json!({"bpfEnabled": false, "logPrefix": "", "netlinkTimeout": "90s"});
        assert_eq!(
            encoded("FelixConfiguration", felix),
            json!({"bpfEnabled": false, "netlinkTimeout": "1m30s"})
        );
        let mesh = json!({"nodeToNodeMeshEnabled": false, "communities": []});
        assert_eq!(encoded("BGPConfiguration", mesh), json!({"nodeToNodeMeshEnabled": false}));
    }

    #[test]
    fn what_calico_always_writes_is_there() {
        assert_eq!(
            encoded("FelixConfiguration", json!({"failsafeInboundHostPorts": [{}]})),
            json!({"failsafeInboundHostPorts": [{"port": 0}]})
        );
        assert_eq!(encoded("StagedKubernetesNetworkPolicy", json!({})), json!({"podSelector": {}}));
    }

    #[test]
    fn a_block_keeps_its_nulls() {
        let block = json!({"allocations": [null, 0], "deleted": false});
        assert_eq!(encoded("IPAMBlock", block.clone()), block);
    }
}
