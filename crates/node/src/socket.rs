//! What travels on the agent's socket: one JSON value a line, a call from the client, an answer from the agent. A CNI call
//! carries the pod's namespace as a file descriptor (`SCM_RIGHTS`) with its first byte.

use crate::bgp_status::BgpStatus;
use crate::cni;
pub use derive::{Encap, IpipDriver};
use model::k8s::Condition;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// A client's question.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Call {
    Cni(Box<cni::Request>),
    /// The agent's own account of itself.
    Status,
}

/// The agent's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    Cni(cni::Reply),
    Status(Box<NodeStatus>),
    /// The call could not be understood.
    Refused(String),
}

/// What the agent says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    pub node: String,
    /// The data path was programmed at least once.
    pub ready: bool,
    /// Kinds whose watch has not listed yet.
    pub waiting_for: Vec<String>,
    pub uplink: Option<String>,
    /// Who carries IP in IP here; `None`: nobody can.
    pub ipip: Option<IpipDriver>,
    /// By what tunnel packets are let in now, besides plain ones.
    pub accepts: BTreeSet<Encap>,
    /// One line for each remote block: CIDR, node, how (`ipip via …`, `vxlan via …`, `direct via …`, `unreachable: why`).
    pub paths: Vec<PathStatus>,
    pub endpoints: usize,
    /// What is wrong with the node as a whole: conditions of its Node that are `True`.
    pub conditions: Vec<Condition>,
    /// The same in words, and objects of the kernel that are wanted and not there, or in the way.
    pub problems: Vec<String>,
    /// Who sent IP in IP in another's name in the last minutes, the most busy first.
    pub impostors: Vec<ImpostorStatus>,
    /// What was repaired lately, newest last, with counts.
    pub repairs: Vec<Repair>,
    /// How many objects were put back since the agent started.
    pub repairs_total: u64,
    pub mtu: u32,
    /// The BGP speaker, if one runs.
    pub bgp: Option<BgpStatus>,
}

/// How a block is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStatus {
    pub block: String,
    pub node: String,
    pub path: String,
    /// Of the route; none leads to what is unreachable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// Who sent IP in IP packets with senders that are not his. They were dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImpostorStatus {
    /// The source of the outer packets, and whose address that is.
    pub sender: Ipv4Addr,
    pub sender_node: Option<String>,
    /// The node that may send so; none: no node may, to this one.
    pub holder: Option<Ipv4Addr>,
    pub holder_node: Option<String>,
    pub packets: u64,
}

impl fmt::Display for ImpostorStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ImpostorStatus { sender, packets, .. } = self;
        match &self.sender_node {
            Some(node) => write!(f, "TunnelSpoofed: node {node} ({sender})")?,
            None => write!(f, "TunnelSpoofed: {sender}, which is no node,")?,
        }
        let packets =
            if *packets == 1 { "1 IPIP packet".to_owned() } else { format!("{packets} IPIP packets") };
        write!(f, " sent {packets} from addresses ")?;
        match (&self.holder_node, self.holder) {
            (Some(node), Some(addr)) => write!(f, "of node {node} ({addr})")?,
            (None, Some(addr)) => write!(f, "of {addr}, which is no node any more")?,
            (_, None) => f.write_str("that no other node holds")?,
        }
        f.write_str("; all were dropped")
    }
}

/// Something that was put back after somebody else removed or changed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repair {
    pub object: String,
    pub count: u64,
    /// Microseconds from the notice to the kernel's acknowledgement, of the latest.
    pub took_micros: u64,
}
