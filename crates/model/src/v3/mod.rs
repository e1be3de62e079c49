//! `projectcalico.org/v3` resources: exact field names, defaults, validation. One file a kind, in the order type,
//! defaults, validation, tests; the rules for pools, which are many, have their own.

mod block_affinity;
mod cluster_information;
mod felix_configuration;
mod ip_pool;
mod ip_pool_rules;
mod ip_reservation;
mod ipam_block;
mod ipam_configuration;
mod ipam_handle;
mod node;
mod workload_endpoint;
mod written;

pub use block_affinity::{AffinityState, BlockAffinity, BlockAffinitySpec};
pub use cluster_information::{ClusterInformation, ClusterInformationSpec};
pub use felix_configuration::{FelixConfiguration, FelixConfigurationSpec};
pub use ip_pool::{AllowedUse, AssignmentMode, EncapMode, IpPool, IpPoolSpec};
pub use ip_pool_rules::overlap;
pub use ip_reservation::{IpReservation, IpReservationSpec};
pub use ipam_block::{AllocationAttribute, IpamBlock, IpamBlockSpec};
pub use ipam_configuration::{IpamConfiguration, IpamConfigurationSpec};
pub use ipam_handle::{IpamHandle, IpamHandleSpec};
pub use node::{
    Node, NodeAddress, NodeBgpSpec, NodeInterface, NodeSpec, NodeStatus, NodeWireguardSpec, OrchRef,
};
pub use workload_endpoint::{EndpointPort, IpNat, WorkloadEndpoint, WorkloadEndpointSpec};

use crate::field_error::FieldError;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Gives an object of a kind its defaults, at least an empty spec.
pub(crate) fn set_defaults(kind: &str, object: &mut Value) {
    written::spec_mut(object);
    match kind {
        "IPPool" => ip_pool_rules::set_defaults(object),
        "IPAMConfiguration" => ipam_configuration::set_defaults(object),
        "Node" => node::set_defaults(object),
        _ => {}
    }
}

/// What is wrong with an object before anything else is looked at.
pub(crate) fn first_errors(kind: &str, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    match kind {
        "IPPool" => ip_pool_rules::address_errors(object, old),
        _ => Vec::new(),
    }
}

/// What is wrong with the spec of an object. Of a kind that has only its types to obey, whether it can be read.
pub(crate) fn errors(kind: &str, object: &Value) -> Vec<FieldError> {
    match kind {
        "IPPool" => ip_pool_rules::field_errors(object),
        "IPReservation" => ip_reservation::errors(object),
        "IPAMConfiguration" => ipam_configuration::errors(object),
        "FelixConfiguration" => felix_configuration::errors(object),
        "Node" => node::errors(object),
        "BlockAffinity" => unreadable::<BlockAffinity>(object),
        "IPAMBlock" => unreadable::<IpamBlock>(object),
        "IPAMHandle" => unreadable::<IpamHandle>(object),
        _ => Vec::new(),
    }
}

fn unreadable<T: DeserializeOwned>(object: &Value) -> Vec<FieldError> {
    let error = T::deserialize(object).err();
    error.map(|error| FieldError::bare("spec", error.to_string())).into_iter().collect()
}
