//! BlockAffinity: a node's claim to a block.

use crate::Cidr;
use crate::meta::Resource;
use serde::{Deserialize, Serialize};

/// A node's claim to a block.
pub type BlockAffinity = Resource<BlockAffinitySpec>;

/// Fields of a BlockAffinity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockAffinitySpec {
    pub state: AffinityState,
    pub node: String,
    /// `host` or `virtual`; absent means `host`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub affinity_type: Option<String>,
    pub cidr: Cidr,
    #[serde(default)]
    pub deleted: bool,
}

/// How far a claim is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AffinityState {
    #[default]
    #[serde(alias = "")]
    Confirmed,
    Pending,
    PendingDeletion,
}
