//! `projectcalico.org/v3` resources: exact field names, defaults, validation. One file a kind, in the order type,
//! defaults, validation, tests.

mod block_affinity;
mod cluster_information;
mod felix_configuration;
mod ip_pool;
mod ip_reservation;
mod ipam_block;
mod ipam_configuration;
mod ipam_handle;
mod node;
mod workload_endpoint;

pub use block_affinity::{AffinityState, BlockAffinity, BlockAffinitySpec};
pub use cluster_information::{ClusterInformation, ClusterInformationSpec};
pub use felix_configuration::{FelixConfiguration, FelixConfigurationSpec};
pub use ip_pool::{AllowedUse, AssignmentMode, EncapMode, IpPool, IpPoolSpec};
pub use ip_reservation::{IpReservation, IpReservationSpec};
pub use ipam_block::{AllocationAttribute, IpamBlock, IpamBlockSpec};
pub use ipam_configuration::{IpamConfiguration, IpamConfigurationSpec};
pub use ipam_handle::{IpamHandle, IpamHandleSpec};
pub use node::{
    Node, NodeAddress, NodeBgpSpec, NodeInterface, NodeSpec, NodeStatus, NodeWireguardSpec, OrchRef,
};
pub use workload_endpoint::{EndpointPort, IpNat, WorkloadEndpoint, WorkloadEndpointSpec};
