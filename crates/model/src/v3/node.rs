//! Node: Calico's view of a Kubernetes Node. Never stored: made from the Node and its annotations (`crate::k8s::node`).

use super::written::Written;
use crate::field_error::FieldError;
use crate::meta::Resource;
use crate::{Asn, IfAddr, Mac};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

/// Calico's Node. `status` stands beside `spec` in its documents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Node {
    #[serde(flatten)]
    pub resource: Resource<NodeSpec>,
    #[serde(default)]
    pub status: NodeStatus,
}

/// Fields of a Node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bgp: Option<NodeBgpSpec>,
    #[serde(rename = "ipv4VXLANTunnelAddr", skip_serializing_if = "Option::is_none")]
    pub ipv4_vxlan_tunnel_addr: Option<IpAddr>,
    #[serde(rename = "vxlanTunnelMACAddr", skip_serializing_if = "Option::is_none")]
    pub vxlan_tunnel_mac_addr: Option<Mac>,
    #[serde(rename = "ipv6VXLANTunnelAddr", skip_serializing_if = "Option::is_none")]
    pub ipv6_vxlan_tunnel_addr: Option<IpAddr>,
    #[serde(rename = "vxlanTunnelMACAddrV6", skip_serializing_if = "Option::is_none")]
    pub vxlan_tunnel_mac_addr_v6: Option<Mac>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orch_refs: Vec<OrchRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wireguard: Option<NodeWireguardSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NodeAddress>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<NodeInterface>,
}

/// How a node speaks BGP, and the address by which the others reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeBgpSpec {
    #[serde(rename = "asNumber", skip_serializing_if = "Option::is_none")]
    pub as_number: Option<Asn>,
    #[serde(rename = "ipv4Address", skip_serializing_if = "Option::is_none")]
    pub ipv4_address: Option<IfAddr>,
    #[serde(rename = "ipv6Address", skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<IfAddr>,
    #[serde(rename = "ipv4IPIPTunnelAddr", skip_serializing_if = "Option::is_none")]
    pub ipv4_ipip_tunnel_addr: Option<IpAddr>,
    #[serde(rename = "routeReflectorClusterID", skip_serializing_if = "Option::is_none")]
    pub route_reflector_cluster_id: Option<String>,
}

/// Addresses of a node's WireGuard devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeWireguardSpec {
    #[serde(rename = "interfaceIPv4Address", skip_serializing_if = "Option::is_none")]
    pub interface_ipv4_address: Option<IpAddr>,
    #[serde(rename = "interfaceIPv6Address", skip_serializing_if = "Option::is_none")]
    pub interface_ipv6_address: Option<IpAddr>,
}

/// A network interface of a node and its addresses, without prefix lengths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeInterface {
    pub name: String,
    pub addresses: Vec<String>,
}

/// The orchestrator's name of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrchRef {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub orchestrator: String,
}

/// An address of a node and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    #[serde(default)]
    pub address: String,
    /// `CalicoNodeIP`, `InternalIP` or `ExternalIP`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub address_type: Option<String>,
}

/// Status of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub wireguard_public_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub wireguard_public_key_v6: String,
    #[serde(rename = "podCIDRs", skip_serializing_if = "Vec::is_empty")]
    pub pod_cidrs: Vec<String>,
}

/// Drops empty texts, which say that there is none, and writes IPv4 addresses in IPv6 form as what they are.
pub(super) fn set_defaults(object: &mut Value) {
    for part in ["/spec", "/spec/bgp", "/spec/wireguard", "/status"] {
        let Some(Value::Object(fields)) = object.pointer_mut(part) else { continue };
        fields.retain(|_, value| value != "");
        for (_, value) in fields.iter_mut().filter(|(field, _)| field.to_lowercase().contains("ipv4")) {
            if let Some(Ok(addr)) = value.as_str().map(str::parse::<IpAddr>) {
                *value = addr.to_canonical().to_string().into();
            }
        }
    }
}

/// What is wrong with a Node.
pub(super) fn errors(object: &Value) -> Vec<FieldError> {
    let spec = Written::spec(object);
    let (bgp, wireguard) = (spec.inside("bgp"), spec.inside("wireguard"));
    let mut errors = Vec::new();
    let mut tagged = |object: Written, field: &str, name: &str, tag: &str, is_valid: fn(&str) -> bool| {
        let value = object.text(field);
        if !value.is_empty() && !is_valid(value) {
            errors.push(FieldError::tag(name, value, tag));
        }
    };
    tagged(bgp, "ipv4Address", "IPv4Address", "cidrv4", |t| {
        interface_address(t).is_some_and(|a| a.is_ipv4())
    });
    tagged(bgp, "ipv6Address", "IPv6Address", "cidrv6", |t| {
        interface_address(t).is_some_and(|a| a.is_ipv6())
    });
    tagged(bgp, "ipv4IPIPTunnelAddr", "IPv4IPIPTunnelAddr", "ipv4", is_ipv4);
    tagged(bgp, "routeReflectorClusterID", "RouteReflectorClusterID", "ipv4", is_ipv4);
    tagged(spec, "ipv4VXLANTunnelAddr", "IPv4VXLANTunnelAddr", "ipv4", is_ipv4);
    tagged(spec, "vxlanTunnelMACAddr", "VXLANTunnelMACAddr", "mac", is_mac);
    tagged(spec, "ipv6VXLANTunnelAddr", "IPv6VXLANTunnelAddr", "ipv6", is_ipv6);
    tagged(spec, "vxlanTunnelMACAddrV6", "VXLANTunnelMACAddrV6", "mac", is_mac);
    tagged(wireguard, "interfaceIPv4Address", "InterfaceIPv4Address", "ipv4", is_ipv4);
    tagged(wireguard, "interfaceIPv6Address", "InterfaceIPv6Address", "ipv6", is_ipv6);
    for (field, name) in
        [("wireguardPublicKey", "WireguardPublicKey"), ("wireguardPublicKeyV6", "WireguardPublicKeyV6")]
    {
        tagged(Written::status(object), field, name, "wireguardPublicKey", is_wireguard_key);
    }
    if spec.has("bgp") && bgp.is_blank() {
        errors.push(FieldError::new("BGP", "&{<nil>    }", "Spec.BGP should not be empty"));
    }
    errors
}

fn interface_address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(IfAddr::addr)
}

fn is_ipv4(text: &str) -> bool {
    text.parse().is_ok_and(|addr: IpAddr| addr.to_canonical().is_ipv4())
}

fn is_ipv6(text: &str) -> bool {
    text.parse().is_ok_and(|addr: IpAddr| addr.to_canonical().is_ipv6())
}

fn is_mac(text: &str) -> bool {
    text.parse::<Mac>().is_ok()
}

/// 32 bytes in base64.
fn is_wireguard_key(text: &str) -> bool {
    data_encoding::BASE64.decode(text.as_bytes()).is_ok_and(|key| key.len() == 32)
}
