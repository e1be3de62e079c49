//! Sets of fields, as `FieldsV1` writes them: a tree whose branches are `f:name`, `k:{"key":"value"}` (an element of a
//! list by its keys) and `v:"value"` (an element of a set). A branch that is a member and has branches holds a `.`.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// The place itself is in the set.
    member: bool,
    branches: BTreeMap<String, Fields>,
}

impl Fields {
    /// Reads `fieldsV1`; what is no such set is empty.
    pub fn read(value: &Value) -> Fields {
        let Value::Object(map) = value else { return Fields::default() };
        let branches: BTreeMap<_, _> = map
            .iter()
            .filter(|(name, _)| name.as_str() != ".")
            .map(|(name, inner)| {
                let mut inner_fields = Fields::read(inner);
                inner_fields.member |= inner.as_object().is_some_and(Map::is_empty);
                (name.clone(), inner_fields)
            })
            .collect();
        Fields { member: map.contains_key("."), branches }
    }

    /// As `fieldsV1` has it.
    pub fn to_json(&self) -> Value {
        let mut map: Map<String, Value> =
            self.branches.iter().map(|(name, inner)| (name.clone(), inner.to_json())).collect();
        if self.member && !map.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        Value::Object(map)
    }

    pub fn is_empty(&self) -> bool {
        !self.member && self.branches.values().all(Fields::is_empty)
    }

    pub fn is_member(&self) -> bool {
        self.member
    }

    pub fn branches(&self) -> impl Iterator<Item = (&str, &Fields)> {
        self.branches.iter().map(|(name, inner)| (name.as_str(), inner))
    }

    /// What is below a branch.
    pub fn branch(&self, name: &str) -> Option<&Fields> {
        self.branches.get(name)
    }

    /// Makes a place a member.
    pub fn insert(&mut self, path: &[String]) {
        match path.split_first() {
            None => self.member = true,
            Some((first, rest)) => self.branches.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// Takes a place and all below it out.
    pub fn remove(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [last] => drop(self.branches.remove(*last)),
            [first, rest @ ..] => {
                if let Some(inner) = self.branches.get_mut(*first) {
                    inner.remove(rest);
                    if inner.is_empty() {
                        self.branches.remove(*first);
                    }
                }
            }
        }
    }

    /// Members of either.
    pub fn plus(mut self, other: &Fields) -> Fields {
        self.member |= other.member;
        for (name, inner) in &other.branches {
            let own = self.branches.remove(name).unwrap_or_default();
            self.branches.insert(name.clone(), own.plus(inner));
        }
        self
    }

    /// Members that are none of the other's.
    pub fn minus(&self, other: &Fields) -> Fields {
        let branches = self.branches.iter().map(|(name, inner)| {
            let left = other.branches.get(name).map_or_else(|| inner.clone(), |other| inner.minus(other));
            (name.clone(), left)
        });
        Fields {
            member: self.member && !other.member,
            branches: branches.filter(|(_, inner)| !inner.is_empty()).collect(),
        }
    }

    /// Members of both.
    pub fn shared(&self, other: &Fields) -> Fields {
        let branches = self
            .branches
            .iter()
            .filter_map(|(name, inner)| Some((name.clone(), inner.shared(other.branches.get(name)?))));
        Fields {
            member: self.member && other.member,
            branches: branches.filter(|(_, inner)| !inner.is_empty()).collect(),
        }
    }

    /// Each member's path as Kubernetes prints it: `.spec.containers[name="c"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, path: &str, paths: &mut Vec<String>) {
        if self.member {
            paths.push(path.to_owned());
        }
        for (name, inner) in &self.branches {
            inner.collect(&format!("{path}{}", spelled(name)), paths);
        }
    }
}

/// A branch in a printed path.
fn spelled(branch: &str) -> String {
    match branch.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("v", value)) => format!("[={value}]"),
        Some(("k", keys)) => {
            let keys: BTreeMap<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        _ => format!("[{branch}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_set_is_read_as_it_is_written() {
        for set in [
            json!({}),
            json!({"f:data": {"f:a": {}}}),
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}}}),
            json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"x\"": {}}}}),
        ] {
            assert_eq!(Fields::read(&set).to_json(), set);
        }
    }

    #[test]
    fn sets_add_subtract_and_intersect() {
        let a = Fields::read(&json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}}));
        let b = Fields::read(&json!({"f:a": {"f:b": {}}, "f:d": {}}));
        assert_eq!(a.clone().plus(&b).to_json(), json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}, "f:d": {}}));
        assert_eq!(a.minus(&b).to_json(), json!({"f:a": {}, "f:c": {}}));
        assert_eq!(a.shared(&b).to_json(), json!({"f:a": {"f:b": {}}}));
        assert!(a.minus(&a).is_empty());
    }

    #[test]
    fn paths_are_printed_as_kubectl_shows_them() {
        let set = json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {"f:name": {}}}},
            "f:metadata": {"f:finalizers": {"v:\"x\"": {}}}});
        assert_eq!(
            Fields::read(&set).paths(),
            [".metadata.finalizers[=\"x\"]", ".spec.ports[port=80,protocol=\"TCP\"].name"]
        );
    }
}
