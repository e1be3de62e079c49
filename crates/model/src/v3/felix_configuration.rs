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
    /// MTU of `tunl0`; 0 or absent: the uplink's less 20.
    #[serde(rename = "ipipMTU", skip_serializing_if = "Option::is_none")]
    pub ipip_mtu: Option<Mtu>,
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

impl FelixConfigurationSpec {
    /// The settings of one node: its own over those of the cluster, field by field.
    pub fn overlaid_by(&self, own: &FelixConfigurationSpec) -> FelixConfigurationSpec {
        let json = |spec| serde_json::to_value(spec).expect("a spec has a JSON form");
        let (mut merged, own) = (json(self), json(own));
        for (field, value) in own.as_object().into_iter().flatten() {
            merged[field] = value.clone();
        }
        serde_json::from_value(merged).expect("every field came from a spec")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_nodes_own_settings_go_over_the_clusters() {
        let spec = |json| serde_json::from_value::<FelixConfigurationSpec>(json).expect("a spec");
        let cluster = spec(json!({"vxlanPort": 4789, "vxlanMTU": 1400, "logSeverityScreen": "Info"}));
        let own = spec(json!({"vxlanMTU": 1380, "logSeverityScreen": "Debug"}));
        let merged = json!({"vxlanPort": 4789, "vxlanMTU": 1380, "logSeverityScreen": "Debug"});
        assert_eq!(cluster.overlaid_by(&own), spec(merged));
    }
}
