//! FelixConfiguration: settings of the node agent, cluster-wide (`default`) or of one node (`node.<name>`).

use super::written::unless_empty;
use crate::meta::Resource;
use crate::{Duration, IfName, Mtu, PortRange, Vni};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::net::Ipv4Addr;

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
    /// The source of such packets; absent: an address of the interface by which they leave.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub nat_outgoing_address: Option<Ipv4Addr>,
    /// The source ports of such packets of TCP and UDP; absent or 0: any.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub nat_port_range: Option<PortRange>,
    /// The interface by which packets leave whose source is changed, a last `+` standing for anything; absent: any.
    #[serde(
        rename = "iptablesNATOutgoingInterfaceFilter",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "unless_empty"
    )]
    pub nat_outgoing_interface_filter: Option<IfName>,
    /// How long between full re-reads of the kernel; 0: it is not read again; absent: 90 s.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub route_refresh_interval: Option<Duration>,
    /// Which nodes it is for, unless its name says that.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_selector: String,
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

    #[test]
    fn settings_of_source_nat_are_read_and_written_as_they_came() {
        let json = json!({"natOutgoingAddress": "192.0.2.7", "natPortRange": "1024:2048",
            "iptablesNATOutgoingInterfaceFilter": "eth+", "routeRefreshInterval": "1m30s"});
        let spec: FelixConfigurationSpec = serde_json::from_value(json.clone()).expect("a spec");
        assert_eq!(spec.nat_port_range, Some(PortRange { first: 1024, last: 2048 }));
        assert_eq!(serde_json::to_value(&spec).expect("it has a form"), json);
        for (field, bad) in
            [("natPortRange", "2:1"), ("natOutgoingAddress", "fd00::1"), ("natPortRange", "http")]
        {
            let spec = serde_json::from_value::<FelixConfigurationSpec>(json!({field: bad}));
            assert!(spec.is_err(), "{field} {bad}");
        }
    }
}
