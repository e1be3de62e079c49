//! What every Kubernetes object carries.

use serde::{Deserialize, Serialize};
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
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl Metadata {
    /// Metadata of a new cluster-wide object.
    pub fn named(name: impl Into<String>) -> Metadata {
        Metadata { name: name.into(), ..Metadata::default() }
    }
}

/// A Calico resource: metadata and a spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resource<S> {
    #[serde(default)]
    pub metadata: Metadata,
    pub spec: S,
}
