//! `projectcalico.org/v3` resources: exact field names, defaults, validation. One file a kind, in the order type,
//! defaults, validation, tests; the rules for pools, BGP filters and Felix, which are many, have their
//! own.

mod bgp_configuration;
mod bgp_filter;
mod bgp_filter_rules;
mod bgp_peer;
mod block_affinity;
mod calico_node_status;
mod cluster_information;
mod felix_configuration;
mod felix_configuration_rules;
mod ip_pool;
mod ip_pool_rules;
mod ip_reservation;
mod ipam_block;
mod ipam_configuration;
mod ipam_handle;
mod kube_controllers_configuration;
mod network_set;
mod node;
mod policy;
mod workload_endpoint;
mod written;

pub use bgp_configuration::{
    BgpConfiguration, BgpConfigurationSpec, BgpPassword, BindMode, DEFAULT_ASN, NamedCommunity,
    PrefixAdvertisement, SecretKeyRef, ServiceCidr,
};
pub use bgp_filter::{
    BgpFilter, BgpFilterRule, BgpFilterSpec, CommunityMatch, FilterAction, FilterOperation, FilterSource,
    MatchOperator, PeerType, PrefixLength,
};
pub use bgp_peer::{
    BgpPeer, BgpPeerSpec, NextHopMode, PeerIp, PeerIpError, ReversePeering, SourceAddress, missing_filters,
};
pub use block_affinity::{AffinityState, BlockAffinity, BlockAffinitySpec};
pub use calico_node_status::{
    CalicoNodeStatus, CalicoNodeStatusSpec, CalicoNodeStatusStatus, NodeAgentStatus, NodeBgpStatus,
    NodePeerStatus, NodeRoute, NodeRouteStatus, NodeStatusClass, QUESTION, RouteSource, SpeakerState,
    SpeakerStatus,
};
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
use crate::{Asn, Duration};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Gives an object of a kind its defaults, at least an empty spec.
pub(crate) fn set_defaults(kind: &str, object: &mut Value) {
    written::spec_mut(object);
    match kind {
        "BGPConfiguration" => bgp_configuration::set_defaults(object),
        "BGPFilter" => bgp_filter_rules::set_defaults(object),
        "BGPPeer" => bgp_peer::set_defaults(object),
        "FelixConfiguration" => felix_configuration_rules::set_defaults(object),
        "IPPool" => ip_pool_rules::set_defaults(object),
        "IPAMConfiguration" => ipam_configuration::set_defaults(object),
        "Node" => node::set_defaults(object),
        "KubeControllersConfiguration" => kube_controllers_configuration::set_defaults(object),
        "GlobalNetworkPolicy" | "NetworkPolicy" => policy::set_defaults(object),
        "StagedGlobalNetworkPolicy" | "StagedNetworkPolicy" => {
            policy::set_staged_action(object);
            policy::set_defaults(object);
        }
        "StagedKubernetesNetworkPolicy" => policy::set_staged_action(object),
        "Tier" => policy::set_tier_defaults(object),
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
        "BGPConfiguration" => bgp_configuration::errors(object),
        "BGPFilter" => bgp_filter_rules::errors(object),
        "BGPPeer" => bgp_peer::errors(object),
        "IPPool" => ip_pool_rules::field_errors(object),
        "IPReservation" => ip_reservation::errors(object),
        "IPAMConfiguration" => ipam_configuration::errors(object),
        "FelixConfiguration" => felix_configuration_rules::errors(object),
        "GlobalNetworkSet" | "NetworkSet" => network_set::errors(object),
        "Node" => node::errors(object),
        "BlockAffinity" => unreadable::<BlockAffinity>(object),
        "IPAMBlock" => unreadable::<IpamBlock>(object),
        "IPAMHandle" => unreadable::<IpamHandle>(object),
        _ => Vec::new(),
    }
}

/// What the CRD's schema says to a whole object, after the limits of single fields.
pub(crate) fn schema_errors(kind: &str, object: &Value) -> Vec<FieldError> {
    match kind {
        "BGPConfiguration" => bgp_configuration::schema_errors(object),
        "BGPFilter" => bgp_filter_rules::schema_errors(object),
        "BGPPeer" => bgp_peer::schema_errors(object),
        "FelixConfiguration" => felix_configuration_rules::schema_errors(object),
        _ => Vec::new(),
    }
}

/// What is wrong with an object that is right in all else.
pub(crate) fn last_errors(kind: &str, object: &Value) -> Vec<FieldError> {
    let errors = match kind {
        "BGPConfiguration" => bgp_configuration::last_errors(object),
        _ => Vec::new(),
    };
    match kind {
        _ if !errors.is_empty() => errors,
        "BGPConfiguration" => unreadable::<BgpConfiguration>(object),
        "BGPFilter" => unreadable::<BgpFilter>(object),
        "BGPPeer" => unreadable::<BgpPeer>(object),
        "CalicoNodeStatus" => unreadable::<CalicoNodeStatus>(object),
        "Node" => unreadable::<Node>(object),
        _ => errors,
    }
}

/// Words for how much is logged.
const LOG_LEVELS: [&str; 6] = ["Trace", "Debug", "Info", "Warning", "Error", "Fatal"];

/// An AS number as a number, as Calico stores it. What is none stays, to be refused.
fn normalise_asn(value: Option<&mut Value>) {
    if let Some(value) = value
        && let Some(Ok(asn)) = value.as_str().map(str::parse::<Asn>)
    {
        *value = asn.0.into();
    }
}

/// A duration as Go writes it: `90s` is stored as `1m30s`.
fn normalise_duration(value: Option<&mut Value>) {
    if let Some(value) = value
        && let Some(Ok(duration)) = value.as_str().map(Duration::parse_go)
    {
        *value = duration.to_go().into();
    }
}

fn unreadable<T: DeserializeOwned>(object: &Value) -> Vec<FieldError> {
    let error = T::deserialize(object).err();
    error.map(|error| FieldError::bare("spec", error.to_string())).into_iter().collect()
}
