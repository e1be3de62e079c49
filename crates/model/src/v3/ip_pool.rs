//! IPPool: a CIDR that pods get addresses from, and how its packets travel between nodes.

use crate::Cidr;
use crate::meta::Resource;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A pool of pod addresses.
pub type IpPool = Resource<IpPoolSpec>;

/// Fields of an IPPool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpPoolSpec {
    pub cidr: Cidr,
    #[serde(default)]
    pub vxlan_mode: EncapMode,
    #[serde(default)]
    pub ipip_mode: EncapMode,
    #[serde(default, skip_serializing_if = "is_false")]
    pub nat_outgoing: bool,
    /// No new allocation; existing routes remain.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disabled: bool,
    #[serde(default, rename = "disableBGPExport", skip_serializing_if = "is_false")]
    pub disable_bgp_export: bool,
    /// Prefix length of a node's block; 0 means the family's default (26 or 122).
    #[serde(default)]
    pub block_size: u8,
    #[serde(default)]
    pub node_selector: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace_selector: String,
    #[serde(default)]
    pub allowed_uses: Vec<AllowedUse>,
    #[serde(default)]
    pub assignment_mode: AssignmentMode,
    /// Fields of newer versions, kept through a read and a write.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// When to encapsulate between nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EncapMode {
    #[default]
    Never,
    /// Only to nodes of another subnet.
    CrossSubnet,
    Always,
}

/// What addresses of a pool may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AllowedUse {
    Workload,
    Tunnel,
    LoadBalancer,
}

/// Whether a pool is chosen without being asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AssignmentMode {
    #[default]
    Automatic,
    Manual,
}

impl IpPoolSpec {
    /// Its `ipipMode` as far as it can be had: IP in IP carries IPv4 only.
    pub fn ipip(&self) -> EncapMode {
        if self.cidr.is_ipv4() { self.ipip_mode } else { EncapMode::Never }
    }

    /// The spec with the defaults in place of what is empty: what every reader must reckon with, since pools that were
    /// written around the API server may lack them.
    pub fn defaulted(mut self) -> IpPoolSpec {
        if self.block_size == 0 {
            self.block_size = default_block_size(self.cidr);
        }
        if self.node_selector.is_empty() {
            self.node_selector = "all()".to_owned();
        }
        if self.allowed_uses.is_empty() {
            self.allowed_uses = vec![AllowedUse::Workload, AllowedUse::Tunnel];
        }
        self
    }
}

/// 64 addresses: /26 or /122.
pub(super) fn default_block_size(cidr: Cidr) -> u8 {
    if cidr.is_ipv4() { 26 } else { 122 }
}

fn is_false(b: &bool) -> bool {
    !*b
}
