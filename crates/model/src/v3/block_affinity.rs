//! BlockAffinity: a node's claim to a block.

use crate::Cidr;
use crate::meta::Resource;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

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
    /// Given up: who sees it finishes the deletion. `crd.projectcalico.org/v1` has it as a text, `"true"` or `"false"`.
    #[serde(default, deserialize_with = "flag_or_text")]
    pub deleted: bool,
}

fn flag_or_text<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Flag(bool),
        Text(String),
    }
    match Written::deserialize(d)? {
        Written::Flag(flag) => Ok(flag),
        Written::Text(text) if text.is_empty() => Ok(false),
        Written::Text(text) => text.parse().map_err(D::Error::custom),
    }
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
