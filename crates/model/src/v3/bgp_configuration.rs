//! BGPConfiguration: how the cluster speaks BGP (`default`), and what one node does otherwise (`node.<name>`).

use super::written::{Written, default, spec_mut, unless_empty};
use super::{LOG_LEVELS, normalise_asn, normalise_duration};
use crate::cidr::IfAddr;
use crate::community::{Community, CommunityError};
use crate::field_error::FieldError;
use crate::meta::Resource;
use crate::{Asn, Cidr, Duration};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How the cluster speaks BGP.
pub type BgpConfiguration = Resource<BgpConfigurationSpec>;

/// The AS number of nodes that nobody gave another.
pub const DEFAULT_ASN: Asn = Asn(64512);

/// Fields of a BGPConfiguration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BgpConfigurationSpec {
    /// The AS number of nodes without one of their own; absent: 64512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_number: Option<Asn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_mode: Option<BindMode>,
    /// Names for communities, to be used in `prefix_advertisements`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<NamedCommunity>,
    /// Interfaces whose addresses are not taken for routes of the node, `*` standing for anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignored_interfaces: Vec<String>,
    /// Metric of a route that is not preferred over others; absent: 1024.
    #[serde(rename = "ipv4NormalRoutePriority", skip_serializing_if = "Option::is_none")]
    pub ipv4_normal_route_priority: Option<u32>,
    #[serde(rename = "ipv6NormalRoutePriority", skip_serializing_if = "Option::is_none")]
    pub ipv6_normal_route_priority: Option<u32>,
    /// TCP port; absent: 179.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_port: Option<u16>,
    /// The address that every node has towards pods that speak BGP with it.
    #[serde(
        rename = "localWorkloadPeeringIPV4",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "unless_empty"
    )]
    pub local_workload_peering_ipv4: Option<Ipv4Addr>,
    #[serde(
        rename = "localWorkloadPeeringIPV6",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "unless_empty"
    )]
    pub local_workload_peering_ipv6: Option<Ipv6Addr>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub log_severity_screen: String,
    /// For how long peers of the mesh keep routes of a node that restarts; absent: 120 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_mesh_max_restart_time: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_mesh_password: Option<BgpPassword>,
    /// Whether every node speaks with every other; absent: it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_to_node_mesh_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefix_advertisements: Vec<PrefixAdvertisement>,
    /// Which routes between nodes BGP programs: `Enabled`, `Disabled`, `EnabledIPIPOnly` or `EnabledNoEncapOnly`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program_cluster_routes: Option<String>,
    #[serde(rename = "serviceClusterIPs", skip_serializing_if = "Vec::is_empty")]
    pub service_cluster_ips: Vec<ServiceCidr>,
    #[serde(rename = "serviceExternalIPs", skip_serializing_if = "Vec::is_empty")]
    pub service_external_ips: Vec<ServiceCidr>,
    #[serde(rename = "serviceLoadBalancerIPs", skip_serializing_if = "Vec::is_empty")]
    pub service_load_balancer_ips: Vec<ServiceCidr>,
    /// Whether load-balancer ranges are advertised whole: `Enabled`, or per address: `Disabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_load_balancer_aggregation: Option<String>,
    /// Fields of newer versions, kept through a read and a write.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Which addresses the speaker listens on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindMode {
    /// All of them.
    #[default]
    None,
    /// The node's own.
    NodeIP,
}

/// A name for a community.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamedCommunity {
    pub name: String,
    /// As written: a community, or what validation did not see.
    pub value: String,
}

/// Communities that routes inside a prefix are advertised with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrefixAdvertisement {
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub cidr: Option<Cidr>,
    /// Names from `communities`, or communities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<String>,
}

/// A range of service addresses; without one it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceCidr {
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub cidr: Option<Cidr>,
}

/// Where the password of a session stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BgpPassword {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// A key of a Secret in the agent's own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct SecretKeyRef {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub key: String,
    /// Whether the session may begin without the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// Gives a configuration its defaults.
pub(super) fn set_defaults(object: &mut Value) {
    let Some(spec) = spec_mut(object) else { return };
    default(spec, "logSeverityScreen", "Info");
    default(spec, "serviceLoadBalancerAggregation", "Enabled");
    normalise_asn(spec.get_mut("asNumber"));
    normalise_duration(spec.get_mut("nodeMeshMaxRestartTime"));
}

/// What is wrong with a configuration: its values, then their combinations.
pub(super) fn errors(object: &Value) -> Vec<FieldError> {
    let spec = Written::spec(object);
    let mut errors = Vec::new();
    let mut tag = |name: &str, value: &str, tag: &str, is_valid: bool| {
        if !value.is_empty() && !is_valid {
            errors.push(FieldError::tag(name, value, tag));
        }
    };
    let level = spec.text("logSeverityScreen");
    tag("LogSeverityScreen", level, "logLevel", LOG_LEVELS.contains(&level));
    for (field, name) in [
        ("ipv4NormalRoutePriority", "IPv4NormalRoutePriority"),
        ("ipv6NormalRoutePriority", "IPv6NormalRoutePriority"),
    ] {
        match object["spec"][field].as_i64() {
            Some(n) if n < 1 => tag(name, &n.to_string(), "gte", false),
            Some(n) if n > 2_147_483_646 => tag(name, &n.to_string(), "lte", false),
            _ => {}
        }
    }
    for field in ["serviceLoadBalancerIPs", "serviceExternalIPs", "serviceClusterIPs"] {
        for block in spec.objects(field) {
            let cidr = block.text("cidr");
            tag("CIDR", cidr, "net", is_net(cidr));
        }
    }
    let v4 = spec.text("localWorkloadPeeringIPV4");
    tag("LocalWorkloadPeeringIPV4", v4, "ipv4", v4.parse::<Ipv4Addr>().is_ok());
    let v6 = spec.text("localWorkloadPeeringIPV6");
    tag("LocalWorkloadPeeringIPV6", v6, "ipv6", v6.parse::<Ipv6Addr>().is_ok());
    for advertisement in spec.objects("prefixAdvertisements") {
        let cidr = advertisement.text("cidr");
        match cidr {
            "" => errors.push(FieldError::tag("CIDR", "", "required")),
            cidr if !is_net(cidr) => errors.push(FieldError::tag("CIDR", cidr, "net")),
            _ => {}
        }
        if !advertisement.is_list("communities") {
            errors.push(FieldError::tag("Communities", "[]", "required"));
        }
    }
    errors.extend(mesh_errors(spec));
    errors.extend(community_errors(spec));
    errors
}

fn mesh_errors(spec: Written) -> Vec<FieldError> {
    let on = spec.get("nodeToNodeMeshEnabled").as_bool() != Some(false);
    let only_with_mesh = |field: &str, name: &str| {
        let reason = format!("spec.{name} cannot be set if spec.NodeToNodeMesh is disabled");
        (!on && !spec.get(field).is_null()).then(|| FieldError::bare(format!("Spec.{name}"), reason))
    };
    let password = only_with_mesh("nodeMeshPassword", "NodeMeshPassword");
    password.into_iter().chain(only_with_mesh("nodeMeshMaxRestartTime", "NodeMeshMaxRestartTime")).collect()
}

fn community_errors(spec: Written) -> Vec<FieldError> {
    const DEFINED: &str = "Spec.Communities[].Value";
    const USED: &str = "Spec.PrefixAdvertisement[].Communities[]";
    let defined: Vec<(&str, &str)> =
        spec.objects("communities").map(|c| (c.text("name"), c.text("value"))).collect();
    let mut errors = Vec::new();
    if !defined.is_empty() && spec.objects("prefixAdvertisements").next().is_none() {
        let pairs: Vec<String> = defined.iter().map(|(name, value)| format!("{{{name} {value}}}")).collect();
        let reason = "communities are defined but not used in Spec.PrefixAdvertisement[].";
        errors.push(FieldError::new("Spec.Communities[]", super::written::go_list(&pairs), reason));
    }
    for (_, value) in &defined {
        if let Err(error) = value.parse::<Community>() {
            errors.push(community_error(DEFINED, value, error, "invalid community value or format used."));
        }
    }
    for advertisement in spec.objects("prefixAdvertisements") {
        let cidr = advertisement.text("cidr");
        if !cidr.is_empty() && cidr.parse::<IfAddr>().is_err() {
            errors.push(FieldError::new("Spec.PrefixAdvertisement[].CIDR", cidr, "invalid CIDR value."));
        }
        for community in advertisement.texts("communities") {
            if let (Err(error), false) =
                (community.parse::<Community>(), defined.iter().any(|(name, _)| *name == community))
            {
                let malformed = "community used is invalid or not defined.";
                errors.push(community_error(USED, community, error, malformed));
            }
        }
    }
    errors
}

fn community_error(field: &str, value: &str, error: CommunityError, malformed: &str) -> FieldError {
    let reason = match error {
        CommunityError::Malformed(_) => malformed.to_owned(),
        CommunityError::TooLarge { bits, .. } => {
            format!("invalid community value, expected {bits} bit value")
        }
    };
    FieldError::new(field, value, reason)
}

/// What the CRD's own rules say to fields that do not go together.
pub(super) fn schema_errors(object: &Value) -> Vec<FieldError> {
    let spec = Written::spec(object);
    let off = spec.get("nodeToNodeMeshEnabled").as_bool() == Some(false);
    let fields = ["nodeMeshPassword", "nodeMeshMaxRestartTime"].into_iter();
    let set = fields.filter(|field| off && !spec.get(field).is_null());
    set.map(|field| {
        FieldError::bare("spec", format!("{field} cannot be set when nodeToNodeMeshEnabled is false"))
    })
    .collect()
}

/// What only the cluster's configuration may say. Looked at when all else is right.
pub(super) fn last_errors(object: &Value) -> Vec<FieldError> {
    const DEFAULT_ONLY: &[(&str, &str)] = &[
        ("nodeToNodeMeshEnabled", "NodeToNodeMeshEnabled"),
        ("asNumber", "ASNumber"),
        ("nodeMeshPassword", "NodeMeshPassword"),
        ("nodeMeshMaxRestartTime", "NodeMeshMaxRestartTime"),
    ];
    let spec = Written::spec(object);
    if object["metadata"]["name"] == "default" {
        return Vec::new();
    }
    let set = DEFAULT_ONLY.iter().filter(|(field, _)| !spec.get(field).is_null());
    set.map(|(field, name)| {
        let reason = format!("Cannot set {field} on a non default BGP Configuration.");
        FieldError::bare(format!("BGPConfiguration.Spec.{name}"), reason)
    })
    .collect()
}

/// A network without host bits, or a single address.
fn is_net(text: &str) -> bool {
    text.parse::<Cidr>().is_ok() || text.parse::<IpAddr>().is_ok()
}

impl BgpConfigurationSpec {
    /// The communities that routes inside an advertisement's prefix get: names resolved, and what is neither a name nor a
    /// community left out.
    pub fn communities_of(&self, advertisement: &PrefixAdvertisement) -> Vec<Community> {
        let value = |written: &String| {
            let named = self.communities.iter().find(|named| named.name == *written);
            named.map_or(written, |named| &named.value).parse().ok()
        };
        advertisement.communities.iter().filter_map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_clusters_configuration_has_a_mesh_and_an_as_number() {
        let said = |name: &str, spec: Value| {
            let object = json!({"metadata": {"name": name}, "spec": spec});
            last_errors(&object).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let spec = json!({"asNumber": 64512, "nodeMeshPassword": {}, "listenPort": 1790});
        assert_eq!(said("default", spec.clone()), Vec::<String>::new());
        assert_eq!(
            said("node.n1", spec),
            [
                "BGPConfiguration.Spec.ASNumber (Cannot set asNumber on a non default BGP Configuration.)",
                "BGPConfiguration.Spec.NodeMeshPassword (Cannot set nodeMeshPassword on a non default BGP Configuration.)",
            ]
        );
    }

    #[test]
    fn a_community_is_meant_by_its_name_or_by_itself() {
        let spec: BgpConfigurationSpec = serde_json::from_value(json!({
            "communities": [{"name": "blue", "value": "64512:7"}],
            "prefixAdvertisements": [{"cidr": "10.0.0.0/8", "communities": ["blue", "1:2:3", "green"]}],
        }))
        .expect("a spec");
        let communities = spec.communities_of(&spec.prefix_advertisements[0]);
        assert_eq!(communities, [Community::Standard(64512, 7), Community::Large(1, 2, 3)]);
    }
}
