//! BlockAffinity: a node's claim to a block.

use crate::meta::{Metadata, Resource};
use crate::{Cidr, names};
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

impl BlockAffinity {
    /// A node's claim under Calico's name, with the labels by which a node's claims are listed.
    pub fn of_host(node: &str, cidr: Cidr, state: AffinityState) -> BlockAffinity {
        let mut metadata = Metadata::named(names::affinity(node, cidr));
        metadata.labels = [
            ("projectcalico.org/affinity-type", "host".to_owned()),
            ("projectcalico.org/hostname-hash", names::hostname_hash(node)),
            ("projectcalico.org/ip-version", if cidr.is_ipv4() { "4" } else { "6" }.to_owned()),
        ]
        .map(|(label, value)| (label.to_owned(), value))
        .into();
        let affinity_type = Some("host".to_owned());
        let spec = BlockAffinitySpec { state, node: node.to_owned(), affinity_type, cidr, deleted: false };
        BlockAffinity { metadata, spec }
    }
}
