//! Node: what Kubernetes says of a machine, and what Calico keeps in its annotations.

use crate::{IfAddr, Metadata, Resource, v3};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

/// The annotations in which Calico's Node lives.
pub mod annotation {
    pub const IPV4_ADDRESS: &str = "projectcalico.org/IPv4Address";
    pub const IPV6_ADDRESS: &str = "projectcalico.org/IPv6Address";
    pub const IPV4_IPIP_TUNNEL_ADDR: &str = "projectcalico.org/IPv4IPIPTunnelAddr";
    pub const IPV4_VXLAN_TUNNEL_ADDR: &str = "projectcalico.org/IPv4VXLANTunnelAddr";
    pub const IPV6_VXLAN_TUNNEL_ADDR: &str = "projectcalico.org/IPv6VXLANTunnelAddr";
    pub const VXLAN_TUNNEL_MAC_ADDR: &str = "projectcalico.org/VXLANTunnelMACAddr";
    pub const VXLAN_TUNNEL_MAC_ADDR_V6: &str = "projectcalico.org/VXLANTunnelMACAddrV6";
    pub const AS_NUMBER: &str = "projectcalico.org/ASNumber";
    pub const ROUTE_REFLECTOR_CLUSTER_ID: &str = "projectcalico.org/RouteReflectorClusterID";
    pub const IPV4_WIREGUARD_INTERFACE_ADDR: &str = "projectcalico.org/IPv4WireguardInterfaceAddr";
    pub const IPV6_WIREGUARD_INTERFACE_ADDR: &str = "projectcalico.org/IPv6WireguardInterfaceAddr";
    pub const WIREGUARD_PUBLIC_KEY: &str = "projectcalico.org/WireguardPublicKey";
    pub const WIREGUARD_PUBLIC_KEY_V6: &str = "projectcalico.org/WireguardPublicKeyV6";
    /// JSON: how far the node is with the modes of pools (`derive::mode`). Calico's nodes have none.
    pub const ENCAPSULATION: &str = "tortie/encapsulation";
    /// JSON: `[{"name": "eth0", "addresses": ["10.0.0.1"]}]`.
    pub const INTERFACES: &str = "projectcalico.org/Interfaces";
    /// JSON: the labels and annotations that only Calico's Node has.
    pub const LABELS: &str = "projectcalico.org/labels";
    pub const ANNOTATIONS: &str = "projectcalico.org/annotations";
    /// On Calico's Node alone, as JSON: the labels that are Kubernetes' own.
    pub const KUBE_LABELS: &str = "projectcalico.org/kube-labels";
}

/// A Kubernetes Node, as far as we use it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    pub metadata: Metadata,
    pub spec: NodeSpec,
    pub status: NodeStatus,
}

/// Fields of a Kubernetes Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    #[serde(rename = "podCIDRs", skip_serializing_if = "Vec::is_empty")]
    pub pod_cidrs: Vec<String>,
}

/// Status of a Kubernetes Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NodeAddressStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// An address of a Kubernetes Node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddressStatus {
    pub address: String,
    #[serde(rename = "type")]
    pub address_type: String,
}

/// A condition of a Kubernetes object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub condition_type: String,
    pub status: String,
    pub reason: String,
    pub message: String,
}

/// Calico's view of a Node. A value in an annotation that does not parse counts as absent.
impl From<&Node> for v3::Node {
    fn from(node: &Node) -> v3::Node {
        let read = Annotations(&node.metadata.annotations);
        let bgp = v3::NodeBgpSpec {
            as_number: read.parse(annotation::AS_NUMBER),
            ipv4_address: read.parse(annotation::IPV4_ADDRESS).filter(|a: &IfAddr| a.addr().is_ipv4()),
            ipv6_address: read.parse(annotation::IPV6_ADDRESS).filter(|a: &IfAddr| a.addr().is_ipv6()),
            ipv4_ipip_tunnel_addr: read.ipv4(annotation::IPV4_IPIP_TUNNEL_ADDR),
            route_reflector_cluster_id: read
                .ipv4(annotation::ROUTE_REFLECTOR_CLUSTER_ID)
                .map(|id| id.to_string()),
        };
        let wireguard = v3::NodeWireguardSpec {
            interface_ipv4_address: read.ipv4(annotation::IPV4_WIREGUARD_INTERFACE_ADDR),
            interface_ipv6_address: read.ipv6(annotation::IPV6_WIREGUARD_INTERFACE_ADDR),
        };
        let spec = v3::NodeSpec {
            addresses: addresses(&bgp, &node.status.addresses),
            bgp: (bgp != v3::NodeBgpSpec::default()).then_some(bgp),
            ipv4_vxlan_tunnel_addr: read.ipv4(annotation::IPV4_VXLAN_TUNNEL_ADDR),
            vxlan_tunnel_mac_addr: read.parse(annotation::VXLAN_TUNNEL_MAC_ADDR),
            ipv6_vxlan_tunnel_addr: read.ipv6(annotation::IPV6_VXLAN_TUNNEL_ADDR),
            vxlan_tunnel_mac_addr_v6: read.parse(annotation::VXLAN_TUNNEL_MAC_ADDR_V6),
            orch_refs: vec![v3::OrchRef {
                node_name: Some(node.metadata.name.clone()),
                orchestrator: "k8s".to_owned(),
            }],
            wireguard: (wireguard != v3::NodeWireguardSpec::default()).then_some(wireguard),
            interfaces: read.json(annotation::INTERFACES).unwrap_or_default(),
        };
        let status = v3::NodeStatus {
            wireguard_public_key: read.text(annotation::WIREGUARD_PUBLIC_KEY).unwrap_or_default().to_owned(),
            wireguard_public_key_v6: read
                .text(annotation::WIREGUARD_PUBLIC_KEY_V6)
                .unwrap_or_default()
                .to_owned(),
            pod_cidrs: node.spec.pod_cidrs.clone(),
        };
        v3::Node { resource: Resource { metadata: calico_metadata(&node.metadata), spec }, status }
    }
}

impl v3::Node {
    /// The annotations of the Kubernetes Node that say what this Node says, as a merge patch: `None` removes one.
    ///
    /// `self` must come from that Kubernetes Node, changed or not: what it lacks is removed.
    pub fn annotations(&self) -> BTreeMap<String, Option<String>> {
        let (spec, status) = (&self.resource.spec, &self.status);
        let none = (v3::NodeBgpSpec::default(), v3::NodeWireguardSpec::default());
        let bgp = spec.bgp.as_ref().unwrap_or(&none.0);
        let wireguard = spec.wireguard.as_ref().unwrap_or(&none.1);
        let key = |key: &String| (!key.is_empty()).then(|| key.clone());
        let interfaces = (!spec.interfaces.is_empty()).then(|| json_text(&spec.interfaces));
        let (labels, annotations) = own_metadata(&self.resource.metadata);
        [
            (annotation::IPV4_ADDRESS, text(bgp.ipv4_address)),
            (annotation::IPV6_ADDRESS, text(bgp.ipv6_address)),
            (annotation::IPV4_IPIP_TUNNEL_ADDR, text(bgp.ipv4_ipip_tunnel_addr)),
            (annotation::AS_NUMBER, text(bgp.as_number)),
            (annotation::ROUTE_REFLECTOR_CLUSTER_ID, bgp.route_reflector_cluster_id.clone()),
            (annotation::IPV4_VXLAN_TUNNEL_ADDR, text(spec.ipv4_vxlan_tunnel_addr)),
            (annotation::VXLAN_TUNNEL_MAC_ADDR, text(spec.vxlan_tunnel_mac_addr)),
            (annotation::IPV6_VXLAN_TUNNEL_ADDR, text(spec.ipv6_vxlan_tunnel_addr)),
            (annotation::VXLAN_TUNNEL_MAC_ADDR_V6, text(spec.vxlan_tunnel_mac_addr_v6)),
            (annotation::IPV4_WIREGUARD_INTERFACE_ADDR, text(wireguard.interface_ipv4_address)),
            (annotation::IPV6_WIREGUARD_INTERFACE_ADDR, text(wireguard.interface_ipv6_address)),
            (annotation::WIREGUARD_PUBLIC_KEY, key(&status.wireguard_public_key)),
            (annotation::WIREGUARD_PUBLIC_KEY_V6, key(&status.wireguard_public_key_v6)),
            (annotation::INTERFACES, interfaces),
            (annotation::LABELS, labels),
            (annotation::ANNOTATIONS, annotations),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

/// The address that Calico found first, then what Kubernetes says.
fn addresses(bgp: &v3::NodeBgpSpec, kubernetes: &[NodeAddressStatus]) -> Vec<v3::NodeAddress> {
    let own = [bgp.ipv4_address, bgp.ipv6_address].into_iter().flatten();
    let own = own.map(|address| (address.to_string(), "CalicoNodeIP"));
    let given = kubernetes.iter().map(|a| (a.address.clone(), a.address_type.as_str()));
    let given = given.filter(|(_, kind)| matches!(*kind, "InternalIP" | "ExternalIP"));
    own.chain(given)
        .map(|(address, kind)| v3::NodeAddress { address, address_type: Some(kind.to_owned()) })
        .collect()
}

/// Calico's labels and annotations stand as JSON in two annotations; labels of Kubernetes win, and are noted in an
/// annotation of their own, so that a write can tell them apart.
fn calico_metadata(metadata: &Metadata) -> Metadata {
    let read = Annotations(&metadata.annotations);
    let mut labels: BTreeMap<String, String> = read.json(annotation::LABELS).unwrap_or_default();
    labels.extend(metadata.labels.clone());
    let mut annotations: BTreeMap<String, String> = read.json(annotation::ANNOTATIONS).unwrap_or_default();
    annotations.insert(annotation::KUBE_LABELS.to_owned(), json_text(&metadata.labels));
    Metadata {
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        creation_timestamp: metadata.creation_timestamp.clone(),
        labels,
        annotations,
        ..Metadata::default()
    }
}

/// The inverse of `calico_metadata`: the labels and annotations that are not Kubernetes' own, as JSON if there are any.
fn own_metadata(metadata: &Metadata) -> (Option<String>, Option<String>) {
    let kubernetes: BTreeMap<String, String> =
        Annotations(&metadata.annotations).json(annotation::KUBE_LABELS).unwrap_or_default();
    let own = |map: &BTreeMap<String, String>, but: &dyn Fn(&str) -> bool| {
        let own: BTreeMap<_, _> = map.iter().filter(|(key, _)| !but(key)).collect();
        (!own.is_empty()).then(|| json_text(&own))
    };
    (
        own(&metadata.labels, &|key| kubernetes.contains_key(key)),
        own(&metadata.annotations, &|key| key == annotation::KUBE_LABELS),
    )
}

/// Annotations, read by type.
struct Annotations<'a>(&'a BTreeMap<String, String>);

impl Annotations<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|text| !text.is_empty())
    }

    fn parse<T: FromStr>(&self, key: &str) -> Option<T> {
        self.text(key)?.parse().ok()
    }

    fn ipv4(&self, key: &str) -> Option<IpAddr> {
        self.parse(key).filter(IpAddr::is_ipv4)
    }

    fn ipv6(&self, key: &str) -> Option<IpAddr> {
        self.parse(key).filter(IpAddr::is_ipv6)
    }

    fn json<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.text(key)?).ok()
    }
}

fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|v| v.to_string())
}

fn json_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("maps of text and lists of plain structs have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(annotations: &[(&str, &str)]) -> Node {
        let annotations = annotations.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Node { metadata: Metadata { annotations, ..Metadata::named("node1") }, ..Node::default() }
    }

    #[test]
    fn values_that_do_not_parse_count_as_absent() {
        let node = v3::Node::from(&node(&[
            (annotation::IPV4_ADDRESS, "fd00::1/64"),
            (annotation::IPV6_ADDRESS, "10.0.0.1/24"),
            (annotation::AS_NUMBER, "65536.0"),
            (annotation::IPV4_VXLAN_TUNNEL_ADDR, "10.0.0.1/32"),
            (annotation::VXLAN_TUNNEL_MAC_ADDR, "66:cf:23:df:22"),
            (annotation::INTERFACES, "eth0"),
        ]));
        let spec = node.resource.spec;
        assert_eq!(spec, v3::NodeSpec { orch_refs: spec.orch_refs.clone(), ..v3::NodeSpec::default() });
    }

    #[test]
    fn what_was_read_is_written_back() {
        let pairs = [
            (annotation::IPV4_ADDRESS, "10.0.0.1/24"),
            (annotation::AS_NUMBER, "64513"),
            (annotation::ROUTE_REFLECTOR_CLUSTER_ID, "244.0.0.1"),
            (annotation::IPV4_VXLAN_TUNNEL_ADDR, "10.244.0.1"),
            (annotation::VXLAN_TUNNEL_MAC_ADDR, "66:cf:23:df:22:07"),
            (annotation::WIREGUARD_PUBLIC_KEY, "jlkVyQYooZYzI2wFfNhSZez5eWh44yfq1wKVjLvSXgY="),
            (annotation::INTERFACES, r#"[{"name":"eth0","addresses":["10.0.0.1"]}]"#),
            (annotation::LABELS, r#"{"own":"1"}"#),
        ];
        let mut kubernetes = node(&pairs);
        kubernetes.metadata.labels.insert("rack".to_owned(), "r1".to_owned());
        let written = v3::Node::from(&kubernetes).annotations();
        let set = written.iter().filter_map(|(k, v)| Some((k.as_str(), v.as_deref()?)));
        assert_eq!(set.collect::<BTreeMap<_, _>>(), BTreeMap::from(pairs));
        assert_eq!(written[annotation::IPV6_ADDRESS], None);
    }

    #[test]
    fn a_label_of_kubernetes_wins_over_one_of_calico() {
        let mut kubernetes = node(&[(annotation::LABELS, r#"{"rack":"mine","own":"1"}"#)]);
        kubernetes.metadata.labels.insert("rack".to_owned(), "r1".to_owned());
        let node = v3::Node::from(&kubernetes);
        assert_eq!(node.resource.metadata.labels["rack"], "r1");
        assert_eq!(node.resource.metadata.labels["own"], "1");
        assert_eq!(node.annotations()[annotation::LABELS].as_deref(), Some(r#"{"own":"1"}"#));
    }
}
