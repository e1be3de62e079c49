//! What the speaker says of itself, for `calicoctl node status`, CalicoNodeStatus and `status`.

use crate::socket::NodeStatus;
use model::v3::{
    CalicoNodeStatusSpec, CalicoNodeStatusStatus, NodeAgentStatus, NodeBgpStatus, NodePeerStatus, NodeRoute,
    NodeRouteStatus, NodeStatusClass, RouteSource, SpeakerState, SpeakerStatus,
};
use model::{Asn, Cidr};
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
    /// When it began, and when it was last given something else to do: seconds since 1970.
    #[serde(default)]
    pub times: SpeakerTimes,
    /// What is wrong with the resources that sessions are made from, in words.
    #[serde(default)]
    pub complaints: Vec<String>,
}

/// Times of a speaker, in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeakerTimes {
    pub started: u64,
    pub configured: u64,
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
    /// What the table has no room for; `None`: the speaker was not given the session yet, or another node was asked.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<SessionDetail>,
}

/// What a session is, besides what its row in the table says. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionDetail {
    /// As the log calls it: `Mesh_192_168_50_162`.
    pub name: String,
    /// The peer's autonomous system, as configured.
    #[serde(rename = "peerASNumber")]
    pub peer_asn: Asn,
    /// The peer's identifier, once established.
    #[serde(rename = "peerRouterID", default, skip_serializing_if = "Option::is_none")]
    pub peer_router_id: Option<Ipv4Addr>,
    /// Our end, while there is a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_address: Option<IpAddr>,
    /// Agreed on, once established; 0: the session never ends for silence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_time_seconds: Option<u16>,
    /// Agreed on, once established: `IPv4 unicast`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// Paths that the peer gave.
    pub received: usize,
    /// Destinations that it was told, and those that it is yet to be told of.
    pub advertised: usize,
    pub pending: usize,
    /// The next try, while it waits for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<u64>,
    /// What it gave before it went away counts until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_until: Option<u64>,
    /// Why the last session, or the last try, ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What it says that cannot be: some, if there is much.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedRoute>,
}

/// A path that a peer gave and that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedRoute {
    pub destination: String,
    pub next_hop: IpAddr,
    pub why: String,
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

/// The answer to a CalicoNodeStatus: the classes that it asks for, `now` in microseconds since 1970.
pub fn answer(spec: &CalicoNodeStatusSpec, status: &NodeStatus, now: i64) -> CalicoNodeStatusStatus {
    let asks = |class| spec.classes.contains(&class);
    let mut answer = CalicoNodeStatusStatus::default();
    if asks(NodeStatusClass::Agent) {
        answer.agent = agent(status);
    }
    if let Some(bgp) = status.bgp.as_ref().filter(|_| asks(NodeStatusClass::Bgp)) {
        answer.bgp = bgp.into();
    }
    if asks(NodeStatusClass::Routes) {
        answer.routes = routes(status);
    }
    let now = jiff::Timestamp::from_second(now.div_euclid(1_000_000)).ok();
    answer.last_updated = now.map(|now| now.to_string());
    answer
}

fn agent(status: &NodeStatus) -> NodeAgentStatus {
    let speaker = |sessions: fn(&BgpStatus) -> &Option<Vec<SessionStatus>>| {
        let bgp = status.bgp.as_ref().filter(|bgp| sessions(bgp).is_some());
        bgp.map_or_else(SpeakerStatus::default, |bgp| SpeakerStatus {
            router_id: bgp.router_id.to_string(),
            state: SpeakerState::Ready,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            last_boot_time: rfc3339(bgp.times.started),
            last_reconfiguration_time: rfc3339(bgp.times.configured),
        })
    };
    NodeAgentStatus { v4: speaker(|bgp| &bgp.v4), v6: speaker(|bgp| &bgp.v6) }
}

/// Differs from Calico: every route comes from the datastore, which its words call `Kernel`, also where BGP chose the
/// gateway.
fn routes(status: &NodeStatus) -> NodeRouteStatus {
    let mut routes = NodeRouteStatus::default();
    for path in &status.paths {
        let (Some(gateway), Ok(dst)) = (path.gateway, path.block.parse::<Cidr>()) else { continue };
        let list = if dst.is_ipv4() { &mut routes.v4 } else { &mut routes.v6 };
        list.push(NodeRoute {
            destination: path.block.clone(),
            gateway: gateway.to_string(),
            interface: path.interface.clone().unwrap_or_default(),
            learned_from: RouteSource { peer_ip: None, source_type: "Kernel".to_owned() },
            route_type: "FIB".to_owned(),
        });
    }
    routes
}

fn rfc3339(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}

impl SessionStatus {
    fn answer(&self) -> NodePeerStatus {
        let first = self.info.split(' ').next().unwrap_or_default();
        let state = STATES.iter().find(|state| **state == first).unwrap_or(&"Idle");
        let peer_type = match self.sort {
            PeerSort::Global => "GlobalPeer",
            PeerSort::Mesh => "NodeMesh",
            PeerSort::Node => "NodePeer",
        };
        NodePeerStatus {
            peer_ip: self.address,
            since: rfc3339(self.since),
            state: (*state).to_owned(),
            peer_type: peer_type.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::PathStatus;
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
            detail: None,
        };
        let v4 = vec![
            session("10.0.0.2", SessionState::Up, "Established"),
            session("10.0.0.3", SessionState::Start, "Active Socket: Connection refused"),
        ];
        let asn = Asn(64512);
        let router_id = Ipv4Addr::new(10, 0, 0, 1);
        let status = BgpStatus {
            asn,
            router_id,
            v4: Some(v4),
            v6: None,
            times: SpeakerTimes::default(),
            complaints: Vec::new(),
        };
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

    #[test]
    fn only_the_classes_that_are_asked_for_are_answered() {
        let bgp = BgpStatus {
            asn: Asn(64512),
            router_id: Ipv4Addr::new(10, 0, 0, 1),
            v4: Some(Vec::new()),
            v6: None,
            times: SpeakerTimes { started: 1_795_401_000, configured: 1_795_401_060 },
            complaints: Vec::new(),
        };
        let way = |block: &str, gateway: Option<IpAddr>| PathStatus {
            block: block.into(),
            gateway,
            ..PathStatus::default()
        };
        let paths =
            vec![way("10.1.0.0/26", Some(Ipv4Addr::new(10, 0, 0, 2).into())), way("10.1.0.64/26", None)];
        let status = NodeStatus { bgp: Some(bgp), paths, ..NodeStatus::default() };
        let ask = |classes| {
            let spec = CalicoNodeStatusSpec { classes, ..CalicoNodeStatusSpec::default() };
            answer(&spec, &status, 1_795_401_000_999_999)
        };
        let agent = ask(vec![NodeStatusClass::Agent]);
        assert_eq!(
            (agent.agent.v4.state, agent.agent.v6.state),
            (SpeakerState::Ready, SpeakerState::NotReady)
        );
        assert_eq!(agent.agent.v4.last_boot_time, "2026-11-23T02:30:00Z");
        assert_eq!(agent.agent.v4.last_reconfiguration_time, "2026-11-23T02:31:00Z");
        assert_eq!(agent.last_updated.as_deref(), Some("2026-11-23T02:30:00Z"));
        assert_eq!(agent.routes, NodeRouteStatus::default());
        let routes = ask(vec![NodeStatusClass::Routes]);
        assert_eq!(routes.agent, NodeAgentStatus::default());
        assert_eq!(
            serde_json::to_value(&routes.routes).expect("JSON"),
            json!({"routesV4": [{"destination": "10.1.0.0/26", "gateway": "10.0.0.2",
                "learnedFrom": {"sourceType": "Kernel"}, "type": "FIB"}]})
        );
    }
}
