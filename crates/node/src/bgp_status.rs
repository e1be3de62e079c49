//! What the speaker says of itself, for `calicoctl node status`, CalicoNodeStatus and `status`.

use model::Asn;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

pub use derive::bgp::PeerSort;

/// The speaker of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpStatus {
    pub asn: Asn,
    #[serde(rename = "routerID")]
    pub router_id: Ipv4Addr,
    /// Sessions over IPv4; `None`: the node has no IPv4 address to speak from.
    pub v4: Option<Vec<SessionStatus>>,
    /// Sessions over IPv6; `None`: the node has no IPv6 address to speak from.
    pub v6: Option<Vec<SessionStatus>>,
    /// What is wrong with the resources that sessions are made from, in words.
    #[serde(default)]
    pub complaints: Vec<String>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    pub address: IpAddr,
    /// The TCP port, if it is not 179.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(rename = "type")]
    pub sort: PeerSort,
    pub state: SessionState,
    /// When it came into this state: seconds since 1970.
    pub since: u64,
    /// The state of the session as RFC 4271 calls it and what is in its way: `Established`, `Active Socket: Connection
    /// refused`, `Idle Error: Bad peer AS`.
    pub info: String,
}

/// Whether a session carries routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SessionState {
    Up,
    /// It is trying.
    Start,
    /// It does not try: it was shut, or waits after an error.
    Down,
}
