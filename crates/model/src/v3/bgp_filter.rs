//! BGPFilter: which routes a peer may send us, which we send it, and what is changed on the way.

use super::written::unless_empty;
use crate::meta::Resource;
use crate::{Asn, Cidr, Community};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Rules about the routes of a peer.
pub type BgpFilter = Resource<BgpFilterSpec>;

/// The rules of a BGPFilter. The first that matches decides; a route that none matches is left to what comes after.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BgpFilterSpec {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub export_v4: Vec<BgpFilterRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub import_v4: Vec<BgpFilterRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub export_v6: Vec<BgpFilterRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub import_v6: Vec<BgpFilterRule>,
    /// Fields of newer versions, kept through a read and a write.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A rule: all of its conditions must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpFilterRule {
    pub action: FilterAction,
    /// The beginning of the AS path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub as_path_prefix: Vec<Asn>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub cidr: Option<Cidr>,
    /// How `cidr` is compared; set if and only if it is.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub match_operator: Option<MatchOperator>,
    /// Lengths that a prefix inside `cidr` may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_length: Option<PrefixLength>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub communities: Option<CommunityMatch>,
    /// The interface of the route's next hop, `*` standing for anything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interface: String,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub peer_type: Option<PeerType>,
    /// The metric of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub source: Option<FilterSource>,
    /// What is done to a route that is accepted, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<FilterOperation>,
}

/// What becomes of a route that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterAction {
    Accept,
    Reject,
}

/// How a route's prefix is compared with a rule's CIDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MatchOperator {
    Equal,
    NotEqual,
    /// Inside it, itself included.
    In,
    NotIn,
}

/// A range of prefix lengths; an end that is absent is the CIDR's length or that of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrefixLength {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u8>,
}

/// Communities that a route must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommunityMatch {
    pub values: Vec<Community>,
}

/// Whether a peer is of another AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerType {
    #[serde(rename = "eBGP")]
    External,
    #[serde(rename = "iBGP")]
    Internal,
}

/// Where a route came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterSource {
    /// Peers of ours, not this node.
    RemotePeers,
}

/// A change to a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterOperation {
    #[serde(rename = "addCommunity")]
    AddCommunity { value: Community },
    /// Puts these in front of the AS path, the first of them first.
    #[serde(rename = "prependASPath")]
    PrependAsPath { prefix: Vec<Asn> },
    /// Sets the route's metric, 1 to 2147483646: the smaller is preferred.
    #[serde(rename = "setPriority")]
    SetPriority { value: u32 },
}
