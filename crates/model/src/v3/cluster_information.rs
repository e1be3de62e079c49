//! ClusterInformation: the singleton `default` that names the cluster and can stop address assignment.

use crate::meta::Resource;
use serde::{Deserialize, Serialize};

/// What the cluster is.
pub type ClusterInformation = Resource<ClusterInformationSpec>;

/// Fields of a ClusterInformation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInformationSpec {
    #[serde(rename = "clusterGUID", skip_serializing_if = "String::is_empty")]
    pub cluster_guid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub calico_version: String,
    /// While false, no address is assigned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datastore_ready: Option<bool>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
}
