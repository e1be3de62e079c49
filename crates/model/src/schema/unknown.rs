//! Fields that a kind does not have.

use super::{Field, Place, Type, find};
use serde_json::Value;

const TOP: &[&str] = &["apiVersion", "kind", "metadata", "spec", "status"];
const METADATA: &[&str] = &[
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The paths of fields of `value` that are not among `fields`, under the path of the value itself.
pub fn unknown_in(value: &Value, fields: &[Field], path: &str) -> Vec<String> {
    let mut unknown = Vec::new();
    walk(value, fields, Place::Start(path), &mut unknown);
    unknown
}

/// The paths of the fields of `object` that its kind does not have (`spec.nosuchfield`, `spec.ingress[0].typo`), in the
/// order of the object. Empty for a kind that is not in the table.
pub fn unknown_fields(kind: &str, object: &Value) -> Vec<String> {
    let Some(kind) = find(kind) else { return Vec::new() };
    let mut unknown = Vec::new();
    let names = |value: &Value, known: &[&str], prefix: &str, unknown: &mut Vec<String>| {
        let keys = value.as_object().into_iter().flatten().map(|(key, _)| key);
        unknown.extend(keys.filter(|k| !known.contains(&k.as_str())).map(|k| format!("{prefix}{k}")));
    };
    names(object, TOP, "", &mut unknown);
    names(&object["metadata"], METADATA, "metadata.", &mut unknown);
    walk(&object["spec"], kind.spec, Place::Start("spec"), &mut unknown);
    unknown
}

/// Gives the fields of `object` that its kind has the kind's own spelling: Calico reads them in any case (`Spec`).
pub fn spell(kind: &str, object: &mut Value) {
    let Some(kind) = find(kind) else { return };
    spell_names(object, TOP.iter().copied());
    spell_names(&mut object["metadata"], METADATA.iter().copied());
    spell_fields(&mut object["spec"], kind.spec);
}

fn spell_names(object: &mut Value, known: impl Iterator<Item = &'static str>) {
    let Some(object) = object.as_object_mut() else { return };
    for name in known.filter(|name| !name.is_empty()) {
        let other = object.keys().find(|key| *key != name && key.eq_ignore_ascii_case(name)).cloned();
        if let Some(value) = other.and_then(|other| object.remove(&other)) {
            object.insert(name.to_owned(), value);
        }
    }
}

fn spell_fields(value: &mut Value, fields: &[Field]) {
    spell_names(value, fields.iter().map(|(name, _)| *name));
    for (name, kind) in fields {
        let Some(value) = value.get_mut(*name) else { continue };
        match kind {
            Type::Object(fields) => spell_fields(value, fields),
            Type::List(Type::Object(fields)) => {
                value.as_array_mut().into_iter().flatten().for_each(|item| spell_fields(item, fields));
            }
            _ => {}
        }
    }
}

fn walk(value: &Value, fields: &[Field], place: Place<'_>, unknown: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let place = Place::Field(&place, key);
        match fields.iter().find(|(name, _)| name == key) {
            Some((_, Type::Object(fields))) => walk(value, fields, place, unknown),
            Some((_, Type::List(Type::Object(fields)))) => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    walk(item, fields, Place::Item(&place, i), unknown);
                }
            }
            Some(_) => {}
            None => unknown.push(place.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_unknown_field_is_found_at_any_depth() {
        let policy = json!({
            "kind": "NetworkPolicy", "metadatta": {}, "metadata": {"name": "a", "lables": {}},
            "spec": {"order": 1, "ingress": [{"action": "Allow"}, {"source": {"netz": []}}], "typo": {}},
        });
        let unknown = unknown_fields("NetworkPolicy", &policy);
        assert_eq!(unknown, ["metadatta", "metadata.lables", "spec.ingress[1].source.netz", "spec.typo"]);
    }

    #[test]
    fn fields_are_known_in_any_case() {
        let mut pool = json!({"Metadata": {"NAME": "a"}, "Spec": {"CIDR": "10.0.0.0/8", "typo": 1}});
        spell("IPPool", &mut pool);
        assert_eq!(pool, json!({"metadata": {"name": "a"}, "spec": {"cidr": "10.0.0.0/8", "typo": 1}}));
    }

    #[test]
    fn keys_of_the_users_own_are_never_unknown() {
        let handle = json!({"spec": {"handleID": "h", "block": {"10.0.0.0/26": 1}}});
        assert!(unknown_fields("IPAMHandle", &handle).is_empty());
    }
}
