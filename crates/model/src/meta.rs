//! What every Kubernetes object carries.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// `metadata` of an object. Fields that we do not use survive in `rest`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The compare-and-swap token: opaque, empty for an object that was never stored.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// Counts changes of `spec`.
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: i64,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Without `managedFields`: they are large, and an update without them leaves them as they are.
    #[serde(flatten, deserialize_with = "but_managed_fields")]
    pub rest: Map<String, Value>,
}

fn but_managed_fields<'de, D: Deserializer<'de>>(d: D) -> Result<Map<String, Value>, D::Error> {
    let mut rest = Map::deserialize(d)?;
    rest.remove("managedFields");
    Ok(rest)
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl Metadata {
    /// Metadata of a new cluster-wide object.
    pub fn named(name: impl Into<String>) -> Metadata {
        Metadata { name: name.into(), ..Metadata::default() }
    }

    /// Whether this may replace `old`, of the same object. Versions of one object are compared as integers (Kubernetes'
    /// KEP-5504); where they are none, the latest that was heard wins.
    pub fn may_follow(&self, old: &Metadata) -> bool {
        match (self.resource_version.parse::<u128>(), old.resource_version.parse::<u128>()) {
            (Ok(new), Ok(old)) => new >= old,
            _ => true,
        }
    }
}

/// A Calico resource: metadata and a spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resource<S> {
    #[serde(default)]
    pub metadata: Metadata,
    pub spec: S,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_that_we_do_not_use_survive_but_for_the_managed_ones() {
        let mut json = json!({
            "name": "a", "finalizers": ["projectcalico.org/ippool-finalizer"], "managedFields": [{"manager": "kubectl"}],
        });
        let metadata: Metadata = serde_json::from_value(json.clone()).expect("metadata");
        json.as_object_mut().expect("an object").remove("managedFields");
        assert_eq!(serde_json::to_value(metadata).expect("JSON"), json);
    }
}
