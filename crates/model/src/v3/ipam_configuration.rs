//! IPAMConfiguration: the singleton `default` that governs how blocks are claimed.

use super::written::{Written, default, spec_mut};
use crate::field_error::FieldError;
use crate::meta::Resource;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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

/// Gives an object its defaults.
pub(super) fn set_defaults(object: &mut Value) {
    let Some(spec) = spec_mut(object) else { return };
    default(spec, "strictAffinity", json!(false));
    default(spec, "autoAllocateBlocks", json!(true));
    default(spec, "maxBlocksPerHost", json!(0));
}

/// What is wrong with an object that has its defaults.
pub(super) fn errors(object: &Value) -> Vec<FieldError> {
    let spec = Written::spec(object);
    let mut errors = Vec::new();
    let strict = spec.flag("strictAffinity");
    if !strict && !spec.flag("autoAllocateBlocks") {
        let reason = "strictAffinity and autoAllocateBlocks cannot both be false: no node could get a block";
        errors.push(FieldError::bare("spec", reason));
    }
    if !strict && spec.int("maxBlocksPerHost") > 0 {
        let reason =
            "maxBlocksPerHost needs strictAffinity: a node at its limit would borrow from the others";
        errors.push(FieldError::bare("spec", reason));
    }
    errors
}
