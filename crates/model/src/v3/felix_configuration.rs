//! FelixConfiguration: settings of the node agent, cluster-wide (`default`) or of one node (`node.<name>`).

use crate::meta::Resource;
use crate::{Mtu, Vni};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Settings of the node agent.
pub type FelixConfiguration = Resource<FelixConfigurationSpec>;

/// The settings that the agent reads; all others are kept as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FelixConfigurationSpec {
    #[serde(rename = "vxlanVNI", skip_serializing_if = "Option::is_none")]
    pub vxlan_vni: Option<Vni>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vxlan_port: Option<u16>,
    /// MTU of `vxlan.calico`; 0 or absent: the uplink's less 50.
    #[serde(rename = "vxlanMTU", skip_serializing_if = "Option::is_none")]
    pub vxlan_mtu: Option<Mtu>,
    /// Packets of pods that leave the pools: to any address, or `IPPoolsAndHostIPs` spared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nat_outgoing_exclusions: Option<String>,
    #[serde(rename = "allowVXLANPacketsFromWorkloads", skip_serializing_if = "Option::is_none")]
    pub allow_vxlan_packets_from_workloads: Option<bool>,
    #[serde(rename = "allowIPIPPacketsFromWorkloads", skip_serializing_if = "Option::is_none")]
    pub allow_ipip_packets_from_workloads: Option<bool>,
    /// How long between full re-reads of the kernel, as a Go duration (`90s`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_refresh_interval: Option<String>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}
