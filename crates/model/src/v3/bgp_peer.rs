//! BGPPeer: whom nodes speak BGP with beside the mesh.

use super::bgp_configuration::BgpPassword;
use super::written::{Written, spec_mut, unless_empty};
use super::{normalise_asn, normalise_duration};
use crate::field_error::FieldError;
use crate::meta::Resource;
use crate::selector::Selector;
use crate::{Asn, Duration};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Whom nodes speak BGP with.
pub type BgpPeer = Resource<BgpPeerSpec>;

/// Fields of a BGPPeer. Our side is `node` or `node_selector`, or every node; the other side is `peer_ip`, `peer_selector`
/// or the pods of `local_workload_selector`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BgpPeerSpec {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub node_selector: Option<Selector>,
    #[serde(rename = "peerIP", skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub peer_ip: Option<PeerIp>,
    /// The peer's AS number; absent for nodes, which say their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_number: Option<Asn>,
    /// Our AS number in this session, if it is not the node's.
    #[serde(rename = "localASNumber", skip_serializing_if = "Option::is_none")]
    pub local_as_number: Option<Asn>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub peer_selector: Option<Selector>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub local_workload_selector: Option<Selector>,
    /// The old form of `next_hop_mode: Keep`, for peers of another AS.
    #[serde(skip_serializing_if = "is_false")]
    pub keep_original_next_hop: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop_mode: Option<NextHopMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<BgpPassword>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub source_address: Option<SourceAddress>,
    /// For how long the peer keeps our routes while we restart; absent: 120 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_restart_time: Option<Duration>,
    /// Time between keepalives; absent: a third of the hold time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_time: Option<Duration>,
    /// How often our own AS may stand in the path of a route that the peer sends.
    #[serde(rename = "numAllowedLocalASNumbers", skip_serializing_if = "Option::is_none")]
    pub num_allowed_local_as_numbers: Option<u32>,
    /// Hops to the peer, at most, 1 for a neighbour: what crossed more is dropped (RFC 5082). 0: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_security: Option<u8>,
    /// The gateway to a peer that is not on a subnet of ours.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub reachable_by: Option<IpAddr>,
    /// Names of BGPFilters, asked in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// Whether nodes that `peer_selector` names have the session too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverse_peering: Option<ReversePeering>,
    /// Fields of newer versions, kept through a read and a write.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// The next hop of routes that are sent to the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NextHopMode {
    /// Ours towards another AS, the route's own inside ours.
    #[default]
    Auto,
    /// Ours.
    #[serde(rename = "Self")]
    Own,
    /// The route's own.
    Keep,
}

/// The address that our end of a session has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceAddress {
    /// The node's own.
    #[default]
    UseNodeIP,
    /// Whatever the routing table says.
    None,
}

/// Whether a session between nodes is made from both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReversePeering {
    #[default]
    Auto,
    Manual,
}

/// An address and, if it is not the usual one, a TCP port: `192.0.2.1`, `192.0.2.1:180`, `fd00::1`, `[fd00::1]:180`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerIp {
    pub addr: IpAddr,
    pub port: Option<u16>,
}

/// The text is no address with or without a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address, with or without a port: write 192.0.2.1, 192.0.2.1:180 or [fd00::1]:180")]
pub struct PeerIpError(String);

impl FromStr for PeerIp {
    type Err = PeerIpError;
    fn from_str(text: &str) -> Result<PeerIp, PeerIpError> {
        if let Ok(addr) = text.parse() {
            return Ok(PeerIp { addr, port: None });
        }
        // A scope (`%eth0`) says nothing on another node.
        match text.parse::<SocketAddr>() {
            Ok(peer) if peer.port() != 0 && !text.contains('%') => {
                Ok(PeerIp { addr: peer.ip(), port: Some(peer.port()) })
            }
            _ => Err(PeerIpError(text.to_owned())),
        }
    }
}

impl fmt::Display for PeerIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None => self.addr.fmt(f),
            Some(port) => SocketAddr::new(self.addr, port).fmt(f),
        }
    }
}

impl Serialize for PeerIp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerIp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<PeerIp, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Writes numbers and durations in the one form that is stored, and leaves out an AS number that says nothing.
pub(super) fn set_defaults(object: &mut Value) {
    let Some(spec) = spec_mut(object) else { return };
    for field in ["asNumber", "localASNumber"] {
        normalise_asn(spec.get_mut(field));
    }
    spec.retain(|field, value| field != "asNumber" || *value != 0);
    for field in ["maxRestartTime", "keepaliveTime"] {
        normalise_duration(spec.get_mut(field));
    }
}

/// What is wrong with a peer: its values, then their combinations.
pub(super) fn errors(object: &Value) -> Vec<FieldError> {
    let spec = Written::spec(object);
    let mut errors = Vec::new();
    let mut tag = |field: &str, name: &str, tag: &str, is_valid: fn(&str) -> bool| {
        let value = spec.text(field);
        if !value.is_empty() && !is_valid(value) {
            errors.push(FieldError::tag(name, value, tag));
        }
    };
    let is_selector = |text: &str| text.parse::<Selector>().is_ok();
    let is_addr = |text: &str| text.parse::<IpAddr>().is_ok();
    tag("nodeSelector", "NodeSelector", "selector", is_selector);
    tag("peerIP", "PeerIP", "IP:port", |text| text.parse::<PeerIp>().is_ok());
    tag("peerSelector", "PeerSelector", "selector", is_selector);
    tag("sourceAddress", "SourceAddress", "sourceAddress", |text| matches!(text, "UseNodeIP" | "None"));
    tag("reachableBy", "ReachableBy", "reachableBy", is_addr);
    tag("localWorkloadSelector", "LocalWorkloadSelector", "selector", is_selector);
    errors.extend(combination_errors(spec));
    errors
}

fn combination_errors(spec: Written) -> Vec<FieldError> {
    let text = |field| spec.text(field);
    let set = |field| !spec.text(field).is_empty();
    let asn = spec.get("asNumber").as_u64().unwrap_or_default();
    let mut errors = Vec::new();
    let mut refuse = |wrong: bool, name: &str, value: &dyn fmt::Display, reason: &str| {
        if wrong {
            errors.push(FieldError::new(name, value, reason));
        }
    };
    let node = "Node field must be empty when NodeSelector is specified";
    refuse(set("node") && set("nodeSelector"), "Node", &text("node"), node);
    let peer = "PeerIP field must be empty when PeerSelector is specified";
    refuse(set("peerIP") && set("peerSelector"), "PeerIP", &text("peerIP"), peer);
    let number = "ASNumber field must be empty when PeerSelector is specified";
    refuse(asn != 0 && set("peerSelector"), "ASNumber", &asn, number);
    let local = set("localWorkloadSelector");
    let number = "ASNumber field must NOT be empty when LocalWorkloadSelector is specified";
    refuse(local && asn == 0, "ASNumber", &asn, number);
    let peer = "PeerIP field must be empty when LocalWorkloadSelector is specified";
    refuse(local && set("peerIP"), "PeerIP", &text("peerIP"), peer);
    // Calico shows the address here, which is empty.
    let peer = "PeerSelector field must be empty when LocalWorkloadSelector is specified";
    refuse(local && set("peerSelector"), "PeerSelector", &text("peerIP"), peer);
    if let Some(reason) = reachable_by_error(text("reachableBy"), text("peerIP")) {
        refuse(true, "ReachableBy", &text("reachableBy"), reason);
    }
    errors
}

fn reachable_by_error(gateway: &str, peer: &str) -> Option<&'static str> {
    if gateway.is_empty() {
        return None;
    }
    let Ok(gateway) = gateway.parse::<IpAddr>() else { return Some("ReachableBy is invalid address") };
    if peer.is_empty() {
        return Some("ReachableBy is used together with PeerIP only");
    }
    let peer = peer.parse::<PeerIp>().ok()?;
    (peer.addr.is_ipv4() != gateway.is_ipv4()).then_some("ReachableBy and PeerIP have different IP versions")
}

/// What the CRD's own rules say to fields that do not go together.
pub(super) fn schema_errors(object: &Value) -> Vec<FieldError> {
    let spec = Written::spec(object);
    let set = |field| !spec.text(field).is_empty();
    let asn = spec.get("asNumber").as_u64().unwrap_or_default();
    let local = set("localWorkloadSelector");
    let reversal = spec.get("reversePeering");
    let is_reversal = reversal.as_str().is_none_or(|word| matches!(word, "Auto" | "Manual"));
    let mut errors = Vec::new();
    if !is_reversal {
        errors.push(FieldError::bare("spec.reversePeering", "supported values: \"Auto\", \"Manual\""));
        let reason = "\"spec.reversePeering\" must validate all the schemas (allOf). None validated";
        errors.push(FieldError::bare("BGPPeer", reason));
    }
    let rules = [
        (set("node") && set("nodeSelector"), "node and nodeSelector cannot both be set"),
        (set("peerIP") && set("peerSelector"), "peerIP and peerSelector cannot both be set"),
        (asn != 0 && set("peerSelector"), "asNumber must be empty when peerSelector is set"),
        (local && set("peerIP"), "peerIP must be empty when localWorkloadSelector is set"),
        (local && set("peerSelector"), "peerSelector must be empty when localWorkloadSelector is set"),
        (local && asn == 0, "asNumber is required when localWorkloadSelector is set"),
        (set("reachableBy") && !set("peerIP"), "reachableBy requires peerIP"),
        (
            spec.flag("keepOriginalNextHop") && set("nextHopMode"),
            "keepOriginalNextHop and nextHopMode cannot both be set",
        ),
    ];
    errors.extend(rules.iter().filter(|(wrong, _)| *wrong).map(|(_, why)| FieldError::bare("spec", *why)));
    errors
}

/// The error about filters that a peer names and nobody has.
pub fn missing_filters(names: &[String]) -> FieldError {
    let names = super::written::go_list(names);
    FieldError::new("BGPPeer.Spec.Filters", names, "BGPFilter(s) not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_an_address_with_or_without_a_port() {
        for text in ["192.0.2.1", "192.0.2.1:180", "fd00::1", "[fd00::1]:180"] {
            assert_eq!(text.parse::<PeerIp>().map(|peer| peer.to_string()), Ok(text.to_owned()));
        }
        for text in
            ["", "[fd00::1]", "[fd00::1]:0", "192.0.2.1:65536", "fe80::1%eth0", "[fe80::1%2]:179", "a:179"]
        {
            assert!(text.parse::<PeerIp>().is_err(), "{text}");
        }
    }

    #[test]
    fn fields_that_contradict_each_other_are_named() {
        let said = |spec: Value| {
            let object = serde_json::json!({ "spec": spec });
            let errors = errors(&object).into_iter().chain(schema_errors(&object));
            errors.map(|error| error.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            said(serde_json::json!({"peerSelector": "all()", "asNumber": 64512})),
            [
                "ASNumber = '64512' (ASNumber field must be empty when PeerSelector is specified)",
                "spec (asNumber must be empty when peerSelector is set)",
            ]
        );
        assert_eq!(
            said(serde_json::json!({"reachableBy": "10.0.0.1", "peerSelector": "all()"})),
            [
                "ReachableBy = '10.0.0.1' (ReachableBy is used together with PeerIP only)",
                "spec (reachableBy requires peerIP)",
            ]
        );
        assert_eq!(
            said(serde_json::json!({"reachableBy": "10.0.0.1", "peerIP": "fd00::1"})),
            ["ReachableBy = '10.0.0.1' (ReachableBy and PeerIP have different IP versions)"]
        );
        assert_eq!(
            said(
                serde_json::json!({"peerIP": "10.0.0.1", "keepOriginalNextHop": true, "nextHopMode": "Self"})
            ),
            ["spec (keepOriginalNextHop and nextHopMode cannot both be set)"]
        );
    }
}
