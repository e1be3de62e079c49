//! IPAMConfiguration: the singleton `default` that governs how blocks are claimed.

use crate::meta::Resource;
use serde::{Deserialize, Serialize};

/// How blocks are claimed and borrowed.
pub type IpamConfiguration = Resource<IpamConfigurationSpec>;

/// Fields of an IPAMConfiguration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpamConfigurationSpec {
    /// A node takes addresses of its own blocks only.
    #[serde(default)]
    pub strict_affinity: bool,
    #[serde(default = "yes")]
    pub auto_allocate_blocks: bool,
    /// 0: no limit of its own (20 applies).
    #[serde(default)]
    pub max_blocks_per_host: u32,
    #[serde(default, rename = "kubeVirtVMAddressPersistence", skip_serializing_if = "Option::is_none")]
    pub kubevirt_vm_address_persistence: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_cooldown_seconds: Option<u32>,
}

fn yes() -> bool {
    true
}

impl Default for IpamConfigurationSpec {
    fn default() -> IpamConfigurationSpec {
        IpamConfigurationSpec {
            strict_affinity: false,
            auto_allocate_blocks: true,
            max_blocks_per_host: 0,
            kubevirt_vm_address_persistence: None,
            ip_cooldown_seconds: None,
        }
    }
}
