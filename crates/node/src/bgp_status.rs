//! What the speaker says of itself, for `calicoctl node status`, CalicoNodeStatus and `status`.

use model::Asn;
use model::v3::{NodeBgpStatus, NodePeerStatus};
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

/// States of a session by RFC 4271, and `Close`, as CalicoNodeStatus knows them.
const STATES: [&str; 7] = ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established", "Close"];

/// The answer to a CalicoNodeStatus of class `BGP`.
impl From<&BgpStatus> for NodeBgpStatus {
    fn from(status: &BgpStatus) -> NodeBgpStatus {
        let peers = |sessions: &Option<Vec<SessionStatus>>| -> Vec<NodePeerStatus> {
            sessions.iter().flatten().map(SessionStatus::answer).collect()
        };
        let (peers_v4, peers_v6) = (peers(&status.v4), peers(&status.v6));
        let count = |peers: &[NodePeerStatus], up: bool| {
            let those = peers.iter().filter(|peer| (peer.state == "Established") == up);
            u32::try_from(those.count()).unwrap_or(u32::MAX)
        };
        NodeBgpStatus {
            number_established_v4: count(&peers_v4, true),
            number_established_v6: count(&peers_v6, true),
            number_not_established_v4: count(&peers_v4, false),
            number_not_established_v6: count(&peers_v6, false),
            peers_v4,
            peers_v6,
        }
    }
}

impl SessionStatus {
    fn answer(&self) -> NodePeerStatus {
        let first = self.info.split(' ').next().unwrap_or_default();
        let state = STATES.iter().find(|state| **state == first).unwrap_or(&"Idle");
        let since = i64::try_from(self.since).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
        let peer_type = match self.sort {
            PeerSort::Global => "GlobalPeer",
            PeerSort::Mesh => "NodeMesh",
            PeerSort::Node => "NodePeer",
        };
        NodePeerStatus {
            peer_ip: self.address,
            since: since.map(|time| time.to_string()).unwrap_or_default(),
            state: (*state).to_owned(),
            peer_type: peer_type.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_nodes_own_account_counts_its_sessions_and_names_their_states() {
        let session = |address: &str, state: SessionState, info: &str| SessionStatus {
            address: address.parse().expect("an address"),
            port: None,
            sort: PeerSort::Mesh,
            state,
            since: 1_795_401_000,
            info: info.into(),
        };
        let v4 = vec![
            session("10.0.0.2", SessionState::Up, "Established"),
            session("10.0.0.3", SessionState::Start, "Active Socket: Connection refused"),
        ];
        let asn = Asn(64512);
        let router_id = Ipv4Addr::new(10, 0, 0, 1);
        let status = BgpStatus { asn, router_id, v4: Some(v4), v6: None, complaints: Vec::new() };
        let peer = |ip: &str, state: &str| json!({"peerIP": ip, "since": "2026-11-23T02:30:00Z", "state": state, "type": "NodeMesh"});
        assert_eq!(
            serde_json::to_value(NodeBgpStatus::from(&status)).expect("JSON"),
            json!({
                "numberEstablishedV4": 1, "numberEstablishedV6": 0,
                "numberNotEstablishedV4": 1, "numberNotEstablishedV6": 0,
                "peersV4": [peer("10.0.0.2", "Established"), peer("10.0.0.3", "Active")],
            })
        );
    }
}
