//! `node status`: whether a node's agent runs, and with whom it speaks BGP, as a table of each family.

use crate::agent::{self, Error};
use crate::cli::NodeStatusArgs;
use crate::failure::Failure;
use crate::inquiry::{self, Account};
use crate::output::boxed::Boxed;
use crate::output::{json, yaml};
use crate::session::Session;
use model::k8s::Condition;
use model::v3::{NodePeerStatus, SpeakerState, SpeakerStatus};
use node::bgp_status::{PeerSort, SessionState, SessionStatus};
use node::socket::NodeStatus;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is older is told by its date.
const RECENT: u64 = 20 * 60 * 60;

/// Prints what runs.
pub async fn run(session: &mut Session<'_>, args: &NodeStatusArgs) -> Result<(), Failure> {
    let text = match &args.node {
        Some(node) => through_the_api(session, node, &args.output).await?,
        None => match agent::status(&session.global.agent_socket) {
            Ok(status) => render(&status, &args.output, now())?,
            Err(Error::Away(_)) => return Err(Failure::new("Calico process is not running.")),
            Err(e @ Error::Silent { .. }) => return Err(Failure::new(e.to_string())),
            // The API answers everybody who may ask it.
            Err(e @ Error::Barred(_)) => {
                let answer = through_the_api(session, &this_node(), &args.output).await;
                answer.map_err(|failure| Failure::new(format!("{e}, and through the API: {failure}")))?
            }
        },
    };
    session.print(&text)
}

async fn through_the_api(session: &Session<'_>, node: &str, format: &str) -> Result<String, Failure> {
    let account = inquiry::ask(&session.store().await?, node).await?;
    render_account(&account, format, now())
}

/// This node's name as its agent finds it: the one that is given, the one that it keeps for others, or the host's.
fn this_node() -> String {
    let given = std::env::var("NODENAME").ok();
    let kept = || std::fs::read_to_string("/var/lib/calico/nodename").ok();
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.to_lowercase()).ok();
    let name = given.filter(|name| !name.is_empty()).or_else(kept).or_else(host);
    name.unwrap_or_default().trim().to_owned()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What a node said of itself through the API, in a format.
fn render_account(account: &Account, format: &str, now: u64) -> Result<String, Failure> {
    let answer = &account.answer;
    let conditions = node::troubles(&account.node);
    let value = || {
        let mut value = serde_json::to_value(answer).expect("its keys are texts");
        value["ipip"] = json!(node::announcement(&account.node).and_then(|said| said.able.ipip));
        value["conditions"] = json!(conditions);
        value
    };
    match format {
        "table" => {
            let sessions = |speaker: &SpeakerStatus, peers: &[NodePeerStatus]| {
                let is_ready = speaker.state == SpeakerState::Ready;
                is_ready.then(|| peers.iter().map(told).collect::<Vec<_>>())
            };
            let v4 = sessions(&answer.agent.v4, &answer.bgp.peers_v4);
            let v6 = sessions(&answer.agent.v6, &answer.bgp.peers_v6);
            let speaks = v4.is_some() || v6.is_some();
            let shown = if speaks { families(v4.as_deref(), v6.as_deref(), now) } else { NO_BGP.to_owned() };
            Ok(RUNS.to_owned() + &shown + &complaints(&conditions, &[]))
        }
        "json" => Ok(json::render(&value()) + "\n"),
        "yaml" => Ok(yaml::render(&value())),
        other => Err(unknown_format(other)),
    }
}

/// A session as the answer tells it: without its port, what is in its way, and detail.
fn told(peer: &NodePeerStatus) -> SessionStatus {
    let since = peer.since.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second);
    SessionStatus {
        address: peer.peer_ip,
        port: None,
        sort: match peer.peer_type.as_str() {
            "NodeMesh" => PeerSort::Mesh,
            "GlobalPeer" => PeerSort::Global,
            _ => PeerSort::Node,
        },
        state: if peer.state == "Established" { SessionState::Up } else { SessionState::Start },
        since: since.ok().and_then(|since| u64::try_from(since).ok()).unwrap_or(u64::MAX),
        info: peer.state.clone(),
        detail: None,
    }
}

/// What the agent of this node says in a format, `now` being seconds since 1970. The table is
/// calicoctl's; the others have what it has no room for.
fn render(status: &NodeStatus, format: &str, now: u64) -> Result<String, Failure> {
    let value = || {
        json!({
            "running": true,
            "ipip": status.ipip,
            "conditions": status.conditions,
            "impostors": status.impostors,
            "bgp": status.bgp,
            "routes": status.paths,
        })
    };
    match format {
        "table" => Ok(tables(status, now)),
        "json" => Ok(json::render(&value()) + "\n"),
        "yaml" => Ok(yaml::render(&value())),
        other => Err(unknown_format(other)),
    }
}

fn unknown_format(format: &str) -> Failure {
    Failure::new(format!("unrecognized output format '{format}': use table, json or yaml"))
}

const RUNS: &str = "Calico process is running.\n\n";
const NO_BGP: &str = "None of the BGP backend processes (BIRD or GoBGP) are running.\n\n";

/// Each family that the node speaks, with its peers.
fn families(v4: Option<&[SessionStatus]>, v6: Option<&[SessionStatus]>, now: u64) -> String {
    let mut text = String::new();
    for (family, sessions) in [("IPv4", v4), ("IPv6", v6)] {
        if let Some(sessions) = sessions {
            text += &format!("{family} BGP status\n");
            text += &table(family, sessions, now);
            text.push('\n');
        }
    }
    text
}

/// What the agent of this node and its speaker say.
fn tables(status: &NodeStatus, now: u64) -> String {
    let (sessions, of_bgp) = match &status.bgp {
        Some(bgp) => (families(bgp.v4.as_deref(), bgp.v6.as_deref(), now), &bgp.complaints[..]),
        None => (NO_BGP.to_owned(), &[][..]),
    };
    let impostors = status.impostors.iter().map(ToString::to_string);
    let rest: Vec<String> = impostors.chain(of_bgp.iter().cloned()).collect();
    RUNS.to_owned() + &sessions + &complaints(&status.conditions, &rest)
}

/// What is wrong, a line each; nothing where nothing is.
fn complaints(conditions: &[Condition], rest: &[String]) -> String {
    let all = conditions.iter().map(|condition| &condition.message).chain(rest);
    let lines: String = all.map(|complaint| format!("INFO: {complaint}\n")).collect();
    if lines.is_empty() { lines } else { lines + "\n" }
}

fn table(family: &str, sessions: &[SessionStatus], now: u64) -> String {
    if sessions.is_empty() {
        return format!("No {family} peers found.\n");
    }
    let mut sessions: Vec<&SessionStatus> = sessions.iter().collect();
    sessions.sort_by_key(|session| (session.sort, session.address, session.port));
    let mut table = Boxed::new(&["peer address", "peer type", "state", "since", "info"]);
    for session in sessions {
        table.row(vec![
            address(session),
            sort(session.sort).to_owned(),
            state(session.state).to_owned(),
            since(session.since, now),
            session.info.clone(),
        ]);
    }
    table.render()
}

/// Differs from Calico: a port that is not 179 stands beside the address as everywhere else, not as `_port_1790`.
fn address(session: &SessionStatus) -> String {
    match session.port {
        None => session.address.to_string(),
        Some(port) => std::net::SocketAddr::new(session.address, port).to_string(),
    }
}

fn sort(sort: PeerSort) -> &'static str {
    match sort {
        PeerSort::Mesh => "node-to-node mesh",
        PeerSort::Global => "global",
        PeerSort::Node => "node specific",
    }
}

fn state(state: SessionState) -> &'static str {
    match state {
        SessionState::Up => "up",
        SessionState::Start => "start",
        SessionState::Down => "down",
    }
}

/// The time of day (UTC), or the date if it was long ago.
fn since(then: u64, now: u64) -> String {
    let time = i64::try_from(then).ok().and_then(|then| jiff::Timestamp::from_second(then).ok());
    let format = if now.saturating_sub(then) < RECENT { "%H:%M:%S" } else { "%Y-%m-%d" };
    time.map_or_else(|| "-".to_owned(), |time| time.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;
    use model::Asn;
    use model::k8s;
    use node::bgp_status::{BgpStatus, SessionDetail};
    use node::socket::{IpipDriver, PathStatus};
    use std::net::Ipv4Addr;

    /// 2026-11-23 02:30:00.
    const NOW: u64 = 1_795_401_000;

    fn session(address: &str, sort: PeerSort, state: SessionState, ago: u64, info: &str) -> SessionStatus {
        SessionStatus {
            address: address.parse().expect("an address"),
            port: None,
            sort,
            state,
            since: NOW - ago,
            info: info.into(),
            detail: None,
        }
    }

    fn status(v4: Option<Vec<SessionStatus>>, v6: Option<Vec<SessionStatus>>) -> BgpStatus {
        let times = node::bgp_status::SpeakerTimes::default();
        BgpStatus {
            asn: Asn(64512),
            router_id: Ipv4Addr::new(10, 0, 2, 15),
            v4,
            v6,
            times,
            complaints: Vec::new(),
        }
    }

    fn speaking(bgp: BgpStatus) -> NodeStatus {
        NodeStatus { bgp: Some(bgp), ..NodeStatus::default() }
    }

    #[test]
    fn the_articles_mesh_is_shown_to_the_letter() {
        let up = |address| SessionStatus {
            since: NOW - NOW % 86_400 + 7_621,
            ..session(address, PeerSort::Mesh, SessionState::Up, 0, "Established")
        };
        let sessions = vec![up("192.168.50.162"), up("192.168.50.163")];
        assert_snapshot!(tables(&speaking(status(Some(sessions), None)), NOW), @"
        Calico process is running.

        IPv4 BGP status
        +----------------+-------------------+-------+----------+-------------+
        |  PEER ADDRESS  |     PEER TYPE     | STATE |  SINCE   |    INFO     |
        +----------------+-------------------+-------+----------+-------------+
        | 192.168.50.162 | node-to-node mesh | up    | 02:07:01 | Established |
        | 192.168.50.163 | node-to-node mesh | up    | 02:07:01 | Established |
        +----------------+-------------------+-------+----------+-------------+
        ");
    }

    #[test]
    fn every_sort_state_and_family_has_its_words() {
        let v4 = vec![
            session("10.0.0.2", PeerSort::Mesh, SessionState::Up, 5, "Established"),
            session("10.0.0.254", PeerSort::Global, SessionState::Down, 200_000, "Idle Error: Bad peer AS"),
            SessionStatus {
                port: Some(1790),
                ..session("192.0.2.1", PeerSort::Node, SessionState::Start, 60, "OpenSent")
            },
        ];
        let mut status = status(Some(v4), Some(Vec::new()));
        status.complaints = vec!["BGPPeer p: BGPFilter f does not exist and filters nothing".into()];
        assert_snapshot!(tables(&speaking(status.clone()), NOW), @"
        Calico process is running.

        IPv4 BGP status
        +----------------+-------------------+-------+------------+-------------------------+
        |  PEER ADDRESS  |     PEER TYPE     | STATE |   SINCE    |          INFO           |
        +----------------+-------------------+-------+------------+-------------------------+
        | 10.0.0.254     | global            | down  | 2026-11-20 | Idle Error: Bad peer AS |
        | 10.0.0.2       | node-to-node mesh | up    | 02:29:55   | Established             |
        | 192.0.2.1:1790 | node specific     | start | 02:29:00   | OpenSent                |
        +----------------+-------------------+-------+------------+-------------------------+

        IPv6 BGP status
        No IPv6 peers found.

        INFO: BGPPeer p: BGPFilter f does not exist and filters nothing
        ");
        let v6 = vec![session("fd00::4", PeerSort::Mesh, SessionState::Start, 5, "Connect")];
        status = BgpStatus { v4: None, v6: Some(v6), complaints: Vec::new(), ..status };
        assert_snapshot!(tables(&speaking(status.clone()), NOW), @"
        Calico process is running.

        IPv6 BGP status
        +--------------+-------------------+-------+----------+---------+
        | PEER ADDRESS |     PEER TYPE     | STATE |  SINCE   |  INFO   |
        +--------------+-------------------+-------+----------+---------+
        | fd00::4      | node-to-node mesh | start | 02:29:55 | Connect |
        +--------------+-------------------+-------+----------+---------+
        ");
    }

    #[test]
    fn another_nodes_answer_is_shown_in_the_same_way() {
        let answer = serde_json::from_value(serde_json::json!({
            "agent": {"birdV4": {"state": "Ready"}, "birdV6": {"state": "NotReady"}},
            "bgp": {"numberEstablishedV4": 1, "numberNotEstablishedV4": 1,
                "peersV4": [
                    {"peerIP": "10.0.2.4", "since": "2026-11-23T02:21:59Z", "state": "Established", "type": "NodeMesh"},
                    {"peerIP": "10.0.2.5", "since": "2026-11-23T02:21:57Z", "state": "Active", "type": "GlobalPeer"}]},
        }))
        .expect("an answer");
        let account = Account { answer, ..Account::default() };
        assert_snapshot!(render_account(&account, "table", NOW).map_err(|failure| failure.text).expect("a table"), @"
        Calico process is running.

        IPv4 BGP status
        +--------------+-------------------+-------+----------+-------------+
        | PEER ADDRESS |     PEER TYPE     | STATE |  SINCE   |    INFO     |
        +--------------+-------------------+-------+----------+-------------+
        | 10.0.2.5     | global            | start | 02:21:57 | Active      |
        | 10.0.2.4     | node-to-node mesh | up    | 02:21:59 | Established |
        +--------------+-------------------+-------+----------+-------------+
        ");
        let silent = Account::default();
        assert_eq!(
            render_account(&silent, "table", NOW).map_err(|failure| failure.text),
            Ok(RUNS.to_owned() + NO_BGP)
        );
    }

    #[test]
    fn programs_read_it_as_json_or_yaml() {
        let detail = SessionDetail {
            name: "Mesh_10_0_2_4".into(),
            peer_asn: Asn(64512),
            peer_router_id: Some(Ipv4Addr::new(10, 0, 2, 4)),
            local_address: Some([10, 0, 2, 15].into()),
            hold_time_seconds: Some(90),
            families: vec!["IPv4 unicast".into()],
            received: 3,
            advertised: 1,
            pending: 0,
            retry_at: None,
            stale_until: None,
            last_error: None,
            refused: Vec::new(),
        };
        let up = session("10.0.2.4", PeerSort::Mesh, SessionState::Up, 481, "Established");
        let sessions = vec![SessionStatus { detail: Some(detail), ..up }];
        let path = PathStatus {
            block: "10.1.0.0/26".into(),
            node: "n2".into(),
            path: "ipip via 10.0.2.4".into(),
            gateway: Some([10, 0, 2, 4].into()),
            interface: Some("tunl0".into()),
        };
        let status = NodeStatus {
            bgp: Some(status(Some(sessions), None)),
            paths: vec![path],
            ..NodeStatus::default()
        };
        let said = |format| render(&status, format, NOW).map_err(|failure| failure.text);
        let json: serde_json::Value = serde_json::from_str(&said("json").expect("JSON")).expect("JSON");
        assert_eq!(json["bgp"]["v4"][0]["type"], "NodeMesh");
        assert_eq!(json["bgp"]["v4"][0]["since"], NOW - 481);
        assert_eq!(json["bgp"]["v4"][0]["peerRouterID"], "10.0.2.4");
        assert_eq!(json["bgp"]["v4"][0]["received"], 3);
        assert_eq!(
            json["routes"],
            json!([{"block": "10.1.0.0/26", "node": "n2", "path": "ipip via 10.0.2.4", "gateway": "10.0.2.4",
                "interface": "tunl0"}])
        );
        let read: BgpStatus =
            serde_json::from_value(json["bgp"].clone()).expect("it is read as it was written");
        assert_eq!(Some(read), status.bgp);
        assert!(said("yaml").expect("YAML").contains("routerID: 10.0.2.15\n"));
        assert_eq!(said("xml"), Err("unrecognized output format 'xml': use table, json or yaml".to_owned()));
        assert_eq!(
            tables(&NodeStatus::default(), NOW),
            "Calico process is running.\n\nNone of the BGP backend processes (BIRD or GoBGP) are running.\n\n"
        );
    }

    #[test]
    fn a_condition_is_a_line_here_and_from_afar_and_the_driver_is_for_programs() {
        let node: k8s::Node = serde_json::from_value(json!({
            "metadata": {"name": "n2", "annotations": {
                "tortie/encapsulation": r#"{"able":{"ipip":"stand-in"}}"#}},
            "status": {"conditions": [
                {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "it runs"},
                {"type": "PoolModeUnavailable", "status": "True", "reason": "IPIPIsIPv4", "message": "pool p is odd"}]},
        }))
        .expect("a Node");
        let conditions = node::troubles(&node);
        let here = NodeStatus { conditions, ipip: Some(IpipDriver::StandIn), ..NodeStatus::default() };
        let account = Account { node, ..Account::default() };
        let said = |format: &str| {
            [render(&here, format, NOW), render_account(&account, format, NOW)]
                .map(|said| said.unwrap_or_else(|failure| failure.text))
        };
        for text in said("table") {
            assert_eq!(text, format!("{RUNS}{NO_BGP}INFO: pool p is odd\n\n"));
        }
        for text in said("json") {
            let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(json["ipip"], "stand-in", "{text}");
            assert_eq!(json["conditions"][0]["reason"], "IPIPIsIPv4", "{text}");
            assert_eq!(json["conditions"].as_array().map(Vec::len), Some(1), "{text}");
        }
    }

    #[test]
    fn s17_who_sends_in_anothers_name_is_a_line_with_both_names() {
        let impostor = json!([{"sender": "10.0.2.15", "senderNode": "n2", "holder": "10.0.2.16", "holderNode": "n3",
            "packets": 7}]);
        let impostors = serde_json::from_value(impostor.clone()).expect("an impostor");
        let status = NodeStatus { impostors, ..NodeStatus::default() };
        let said = |format: &str| render(&status, format, NOW).unwrap_or_else(|failure| failure.text);
        let line = "TunnelSpoofed: node n2 (10.0.2.15) sent 7 IPIP packets from addresses of node n3 (10.0.2.16); all were \
                    dropped";
        assert_eq!(said("table"), format!("{RUNS}{NO_BGP}INFO: {line}\n\n"));
        let json: serde_json::Value = serde_json::from_str(&said("json")).expect("JSON");
        assert_eq!(json["impostors"], impostor);
    }

    #[test]
    fn what_is_older_than_twenty_hours_has_a_date() {
        for (then, text) in [
            (NOW, "02:30:00"),
            (NOW - RECENT + 1, "06:30:01"),
            (NOW - RECENT, "2026-11-22"),
            (1_735_689_599, "2024-12-31"),
            (0, "1970-01-01"),
            (u64::MAX, "-"),
        ] {
            assert_eq!(since(then, NOW), text);
        }
    }
}
