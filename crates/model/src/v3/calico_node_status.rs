//! CalicoNodeStatus: a question to a node's agent (`spec`), and its answer, renewed from time to time (`status`).

use crate::meta::Metadata;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Label of a question that a command asks and takes away again within a minute; its value names the command.
pub const QUESTION: &str = "tortie/question";

/// A question to a node and its answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CalicoNodeStatus {
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub spec: CalicoNodeStatusSpec,
    #[serde(default)]
    pub status: CalicoNodeStatusStatus,
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CalicoNodeStatusSpec {
    /// Of which node.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<NodeStatusClass>,
    /// Seconds between answers, at most 86400; 0: the answer is not renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_period_seconds: Option<u32>,
}

/// A part of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NodeStatusClass {
    Agent,
    #[serde(rename = "BGP")]
    Bgp,
    Routes,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CalicoNodeStatusStatus {
    pub agent: NodeAgentStatus,
    pub bgp: NodeBgpStatus,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<String>,
    pub routes: NodeRouteStatus,
}

/// The speakers of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeAgentStatus {
    #[serde(rename = "birdV4")]
    pub v4: SpeakerStatus,
    #[serde(rename = "birdV6")]
    pub v6: SpeakerStatus,
}

/// A speaker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SpeakerStatus {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_boot_time: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_reconfiguration_time: String,
    #[serde(rename = "routerID", skip_serializing_if = "String::is_empty")]
    pub router_id: String,
    pub state: SpeakerState,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
}

/// Whether a speaker works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpeakerState {
    Ready,
    #[default]
    NotReady,
}

/// The sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeBgpStatus {
    pub number_established_v4: u32,
    pub number_established_v6: u32,
    pub number_not_established_v4: u32,
    pub number_not_established_v6: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peers_v4: Vec<NodePeerStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peers_v6: Vec<NodePeerStatus>,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePeerStatus {
    #[serde(rename = "peerIP")]
    pub peer_ip: IpAddr,
    /// When it came into its state.
    #[serde(default)]
    pub since: String,
    /// `Idle`, `Connect`, `Active`, `OpenSent`, `OpenConfirm`, `Established` or `Close`.
    pub state: String,
    /// `NodeMesh`, `NodePeer` or `GlobalPeer`.
    #[serde(rename = "type")]
    pub peer_type: String,
}

/// The routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeRouteStatus {
    #[serde(rename = "routesV4", skip_serializing_if = "Vec::is_empty")]
    pub v4: Vec<NodeRoute>,
    #[serde(rename = "routesV6", skip_serializing_if = "Vec::is_empty")]
    pub v6: Vec<NodeRoute>,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeRoute {
    pub destination: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interface: String,
    pub learned_from: RouteSource,
    /// `FIB`: in the kernel; `RIB`: known to the speaker only.
    #[serde(rename = "type")]
    pub route_type: String,
}

/// Whom a route came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteSource {
    #[serde(rename = "peerIP", skip_serializing_if = "Option::is_none")]
    pub peer_ip: Option<IpAddr>,
    /// `Kernel`, `Static`, `Direct`, `NodeMesh` or `BGPPeer`.
    pub source_type: String,
}
