//! IPAMBlock: the authority over a block's addresses, changed as one by compare-and-swap.

use crate::Cidr;
use crate::meta::Resource;
use crate::names;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A block of addresses and who has them.
pub type IpamBlock = Resource<IpamBlockSpec>;

/// Fields of an IPAMBlock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpamBlockSpec {
    pub cidr: Cidr,
    /// `host:<node>` or `virtual:<name>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity_claim_time: Option<String>,
    /// Legacy, always false.
    #[serde(default)]
    pub strict_affinity: bool,
    /// One entry an address: an index into `attributes`.
    pub allocations: Vec<Option<u32>>,
    /// Free ordinals, taken from the head, given back at the tail.
    pub unallocated: Vec<u32>,
    pub attributes: Vec<AllocationAttribute>,
    /// Grows with every update.
    #[serde(default)]
    pub sequence_number: u64,
    /// Ordinal (as text) to the block's sequence number at its allocation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sequence_number_for_allocation: BTreeMap<String, u64>,
    #[serde(default)]
    pub deleted: bool,
}

impl IpamBlock {
    /// Whether it has the name that every block of its range has: two of one range would contradict each other.
    pub fn is_named_for_its_range(&self) -> bool {
        names::block_cidr(&self.metadata.name) == Some(self.spec.cidr)
    }
}

/// Who has an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationAttribute {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handle_id: Option<String>,
    /// Attributes of the active owner (`pod`, `namespace`, `node`, `timestamp`, `type`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secondary: BTreeMap<String, String>,
    #[serde(default, rename = "alternateOwnerAttrs", skip_serializing_if = "BTreeMap::is_empty")]
    pub alternate_owner_attrs: BTreeMap<String, String>,
    #[serde(default, rename = "releasedAt", skip_serializing_if = "Option::is_none")]
    pub released_at: Option<String>,
}
