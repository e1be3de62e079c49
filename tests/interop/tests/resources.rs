//! Calico's BGP resources, field by field: what each says is seen by speakers of others. The way is the agent's own, from
//! resources to sessions; several fields share a session.

use interop_tests::{Cluster, Daemon, Host, Kind, Ours, Peering, Segment, Setup, throughout, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

/// 10.9.0.1 as node n1 with block 10.1.0.0/26.
fn cluster(here: &Host) -> Cluster {
    Cluster::new().node("n1", here, json!({}), json!({"rack": "a"}), "10.1.0.0/26")
}

fn configured(cluster: Cluster, spec: Value) -> Cluster {
    cluster.with("BGPConfiguration", "default", spec)
}

/// Without a mesh.
fn bare(here: &Host) -> Cluster {
    configured(cluster(here), json!({"nodeToNodeMeshEnabled": false}))
}

fn router(name: &str, cluster: Cluster, host: &Host, asn: u32, more: Value) -> Cluster {
    let mut spec = json!({"peerIP": host.v4.to_string(), "asNumber": asn});
    spec.as_object_mut().expect("a spec").extend(more.as_object().expect("fields").clone());
    cluster.with("BGPPeer", name, spec)
}

fn start<'a>(kind: Kind, host: &'a Host, asn: u32, peering: Peering, prefixes: &[&str]) -> Daemon<'a> {
    Daemon::start(kind, host, Setup::new(asn, [peering]).announcing(prefixes))
}

fn texts(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|&text| text.to_owned()).collect()
}

/// What a BIRD knows of our end of its session.
fn session_as_bird_sees_it(bird: &Daemon<'_>) -> String {
    bird.ask("show protocols all p0")
}

#[test]
fn bgpconfiguration_as_the_mesh_and_a_router_see_it() {
    let segment = Segment::new();
    let [here, member, outside] = [1, 2, 3].map(|number| segment.host(number));
    let spec = |mesh: bool, more: Value| {
        let mut spec = json!({
            "asNumber": 64600, "nodeToNodeMeshEnabled": mesh, "ipv4NormalRoutePriority": 500,
            "ipv6NormalRoutePriority": 600,
            "communities": [{"name": "blue", "value": "64600:7"}],
            "prefixAdvertisements": [{"cidr": "10.1.0.0/16", "communities": ["blue", "64600:1:2"]}],
            "serviceClusterIPs": [{"cidr": "10.96.0.0/16"}],
        });
        let fields = spec.as_object_mut().expect("a spec");
        if mesh {
            fields.insert("nodeMeshPassword".into(), json!({"secretKeyRef": {"name": "bgp", "key": "mesh"}}));
            fields.insert("nodeMeshMaxRestartTime".into(), "33s".into());
        }
        fields.extend(more.as_object().expect("fields").clone());
        spec
    };
    let all = cluster(&here)
        .with("IPPool", "six", json!({"cidr": "fd01::/48"}))
        .block("n1", "fd01::/122")
        .node("n2", &member, json!({}), json!({}), "10.1.0.64/26")
        .secret("bgp", "mesh", "our own");
    let all = router("tor", all, &outside, 65001, json!({}));
    let mut ours = Ours::start(&here, configured(all.clone(), spec(true, json!({}))).job("n1"));
    let in_mesh = Peering::both(&here, 64600).map(|peering| Peering { password: Some("our own"), ..peering });
    let setup = Setup::new(64600, in_mesh).announcing(&["10.1.0.64/26"]);
    let bird = Daemon::start(Kind::Bird, &member, setup);
    let frr = start(Kind::Frr, &outside, 65001, Peering::new(here.v4, 64600), &[]);

    // asNumber, nodeToNodeMeshEnabled, nodeMeshPassword, communities, prefixAdvertisements, ipv4NormalRoutePriority,
    // ipv6NormalRoutePriority.
    let block = bird.learns("10.1.0.0/26");
    assert_eq!(block.communities, texts(&["64600:7"]));
    assert_eq!(block.large, texts(&["64600:1:2"]));
    assert_eq!(block.local_pref, Some(i32::MAX as u32 - 500));
    assert_eq!(bird.learns("fd01::/122").local_pref, Some(i32::MAX as u32 - 600));
    assert_eq!(frr.learns("10.1.0.0/26").communities, texts(&["64600:7"]));
    assert_eq!(frr.learns("10.1.0.64/26").as_path, "64600", "the mesh's blocks are told outside");
    // nodeMeshMaxRestartTime.
    let session = session_as_bird_sees_it(&bird);
    assert!(session.contains("Restart time: 33"), "{session}");
    // serviceClusterIPs.
    assert_eq!(bird.learns("10.96.0.0/16").communities, texts(&[]));
    frr.learns("10.96.0.0/16");
    ours.learns("10.1.0.64/26");

    // What one node does otherwise, and the mesh's end.
    let since = ours.session(outside.v4).since;
    let own = json!({"prefixAdvertisements": [{"cidr": "10.1.0.0/24", "communities": ["64600:9"]}]});
    let changed = configured(all.clone(), spec(false, json!({}))).with("BGPConfiguration", "node.n1", own);
    ours.configure(changed.job("n1"));
    until("the node's own community", || {
        frr.sees("10.1.0.0/26").filter(|seen| seen.communities == texts(&["64600:9"]))
    });
    until("the end of the mesh's session", || (!bird.is_established(here.v4.into())).then_some(()));
    assert_eq!(ours.session(outside.v4).since, since, "the router's session goes on");

    // listenPort, bindMode.
    let listening = || here.netns.run("ss -Hltn");
    assert!(listening().contains("0.0.0.0:179"), "{}", listening());
    let bound = spec(false, json!({"listenPort": 1790, "bindMode": "NodeIP"}));
    ours.configure(configured(all.clone(), bound).job("n1"));
    until("the other socket", || (!listening().contains(":179 ")).then_some(()));
    let sockets = listening();
    let places: BTreeSet<&str> = sockets.lines().filter_map(|line| line.split_whitespace().nth(3)).collect();
    assert_eq!(places, BTreeSet::from(["10.9.0.1:1790", "[fd09::1]:1790"]), "{sockets}");
    // A node's own listenPort: who calls it there, and cannot be called, gets a session.
    let own = json!({"listenPort": 1791});
    let all = configured(all, spec(false, json!({}))).with("BGPConfiguration", "node.n1", own);
    let caller = segment.host(4);
    let all = router("caller", all, &caller, 65004, json!({}));
    ours.configure(all.job("n1"));
    let calling = Peering { port: Some(1792), calls: Some(1791), ..Peering::new(here.v4, 64600) };
    start(Kind::Bird, &caller, 65004, calling, &[]).learns("10.1.0.0/26");
}

#[test]
fn services_as_a_router_sees_them() {
    let segment = Segment::new();
    let [here, outside] = [1, 2].map(|number| segment.host(number));
    let ranges = json!({"nodeToNodeMeshEnabled": false, "serviceClusterIPs": [{"cidr": "10.96.0.0/16"}],
        "serviceExternalIPs": [{"cidr": "192.0.2.0/24"}, {"cidr": "192.0.3.3/32"}],
        "serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}]});
    let local = |on: &str, cluster: Cluster| {
        let spec = json!({"clusterIP": "10.96.0.1", "externalIPs": ["192.0.2.1", "203.0.113.1"],
            "externalTrafficPolicy": "Local"});
        cluster.service("local", spec, json!([{"ip": "198.51.100.1"}]), on)
    };
    let whole = |cluster: Cluster| {
        let spec = json!({"clusterIP": "10.96.0.2", "externalTrafficPolicy": "Cluster"});
        cluster.service("whole", spec, json!([{"ip": "198.51.100.2"}]), "n2")
    };
    let all = router("tor", configured(cluster(&here), ranges.clone()), &outside, 65001, json!({}));
    let all = whole(all);
    let mut ours = Ours::start(&here, local("n1", all.clone()).job("n1"));
    let gobgp = start(Kind::Gobgp, &outside, 65001, Peering::new(here.v4, 64512), &["192.0.2.9/32"]);
    for range in ["10.96.0.0/16", "192.0.2.0/24", "198.51.100.0/24"] {
        gobgp.learns(range);
    }
    for address in ["10.96.0.1/32", "192.0.2.1/32", "198.51.100.1/32"] {
        assert_eq!(gobgp.learns(address).nexthop, here.v4.to_string(), "{address}");
    }
    ours.learns("192.0.2.9/32");
    for address in ["203.0.113.1/32", "10.96.0.2/32", "198.51.100.2/32", "192.0.3.3/32"] {
        assert_eq!(gobgp.sees(address), None, "{address} is in no range, or told by its range");
    }
    // The endpoint moves to another node.
    ours.configure(local("n2", all.clone()).job("n1"));
    gobgp.forgets("10.96.0.1/32");
    gobgp.forgets("198.51.100.1/32");
    assert!(gobgp.sees("10.96.0.0/16").is_some());
    // serviceLoadBalancerAggregation.
    let mut singly = ranges;
    singly["serviceLoadBalancerAggregation"] = "Disabled".into();
    ours.configure(configured(all.clone(), singly).job("n1"));
    gobgp.forgets("198.51.100.0/24");
    gobgp.learns("198.51.100.2/32");
    // A node that takes no traffic from outside.
    let label = json!({"node.kubernetes.io/exclude-from-external-load-balancers": "true"});
    ours.configure(all.node("n1", &here, json!({}), label, "10.1.0.0/26").job("n1"));
    gobgp.forgets("10.96.0.0/16");
    gobgp.forgets("192.0.2.0/24");
    assert!(gobgp.sees("10.1.0.0/26").is_some());
}

#[test]
fn bgppeer_as_the_peer_sees_it() {
    let segment = Segment::new();
    let [here, two, three, four] = [1, 2, 3, 4].map(|number| segment.host(number));
    let all = bare(&here).secret("bgp", "two", "between us");
    // localASNumber, password, ttlSecurity, maxRestartTime, and a port.
    let all = router(
        "two",
        all,
        &two,
        65001,
        json!({
        "peerIP": format!("{}:1790", two.v4), "localASNumber": 65100, "ttlSecurity": 1, "maxRestartTime": "44s",
        "password": {"secretKeyRef": {"name": "bgp", "key": "two"}}}),
    );
    // numAllowedLocalASNumbers: the third knows a route whose path has our own AS.
    let third = |allowed: u32, cluster: Cluster| {
        router(
            "three",
            cluster,
            &three,
            65003,
            json!({"numAllowedLocalASNumbers": allowed, "keepaliveTime": "1s"}),
        )
    };
    let mut ours = Ours::start(&here, third(0, all.clone()).job("n1"));
    let guarded = Peering {
        password: Some("between us"),
        gtsm: true,
        passive: true,
        port: Some(1790),
        ..Peering::new(here.v4, 65100)
    };
    let bird = start(Kind::Bird, &two, 65001, guarded, &["10.2.0.0/24"]);
    let _origin = start(Kind::Bird, &four, 64512, Peering::new(three.v4, 65003), &["10.4.0.0/24"]);
    let peerings = [Peering::new(here.v4, 64512), Peering::new(four.v4, 64512)];
    let frr = Daemon::start(Kind::Frr, &three, Setup::new(65003, peerings).announcing(&["10.3.0.0/24"]));

    assert_eq!(bird.learns("10.1.0.0/26").as_path, "65100");
    ours.learns("10.2.0.0/24");
    let session = session_as_bird_sees_it(&bird);
    assert!(session.contains("Restart time: 44"), "{session}");
    ours.learns("10.3.0.0/24");
    frr.learns("10.4.0.0/24");
    throughout(Duration::from_millis(500), "our own AS is in its path", || {
        ours.path("10.4.0.0/24").is_none()
    });
    ours.configure(third(1, all.clone()).job("n1"));
    assert_eq!(ours.learns("10.4.0.0/24").attrs.as_path.to_string(), "65003 64512");
    // keepaliveTime: a second, where a third of the hold time is thirty.
    let heard = || -> u64 {
        let neighbor: Value =
            serde_json::from_str(&frr.ask(&format!("show bgp neighbors {} json", here.v4))).expect("JSON");
        neighbor[here.v4.to_string()]["messageStats"]["keepalivesRecv"].as_u64().expect("a number")
    };
    let before = heard();
    until("two more keepalives", || (heard() >= before + 2).then_some(()));
}

#[test]
fn the_next_hop_of_what_a_node_passes_on_is_what_its_peer_asks_for() {
    let segment = Segment::new();
    let [here, origin, inside, outside] = [1, 2, 3, 4].map(|number| segment.host(number));
    let pass = json!({"exportV4": [{"action": "Accept", "cidr": "10.20.0.0/16", "matchOperator": "In"}]});
    let all = router("origin", bare(&here).with("BGPFilter", "pass", pass), &origin, 65002, json!({}));
    let with = |within: Value, without: Value| {
        let all = router("inside", all.clone(), &inside, 64512, within);
        router("outside", all, &outside, 65004, without).job("n1")
    };
    let filters = |more: Value| {
        let mut fields = json!({"filters": ["pass"]});
        fields.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
        fields
    };
    let ours = Ours::start(
        &here,
        with(filters(json!({"nextHopMode": "Self"})), filters(json!({"nextHopMode": "Self"}))),
    );
    let _origin = start(Kind::Gobgp, &origin, 65002, Peering::new(here.v4, 64512), &["10.20.1.0/24"]);
    let bird = start(Kind::Bird, &inside, 64512, Peering::new(here.v4, 64512), &[]);
    let frr = start(Kind::Frr, &outside, 65004, Peering::new(here.v4, 64512), &[]);
    let next_hops = |near: Ipv4Addr, far: Ipv4Addr| {
        for (daemon, wanted) in [(&bird, near), (&frr, far)] {
            until(&format!("{:?}: {wanted}", daemon.kind), || {
                daemon.sees("10.20.1.0/24").filter(|seen| seen.nexthop == wanted.to_string())
            });
        }
    };
    next_hops(here.v4, here.v4);
    ours.configure(with(
        filters(json!({"nextHopMode": "Keep"})),
        filters(json!({"keepOriginalNextHop": true})),
    ));
    next_hops(origin.v4, origin.v4);
    ours.configure(with(filters(json!({"nextHopMode": "Self"})), filters(json!({"nextHopMode": "Self"}))));
    next_hops(here.v4, here.v4);
    // Towards our own AS a next hop stays, if nobody asks for more; `keepOriginalNextHop` is for others only.
    ours.configure(with(filters(json!({})), filters(json!({"nextHopMode": "Keep"}))));
    next_hops(origin.v4, origin.v4);
}

#[test]
fn a_peer_behind_a_gateway_is_reached_from_the_address_that_leads_there() {
    let segment = Segment::new();
    let [here, gateway] = [1, 2].map(|number| segment.host(number));
    // The node's address and the peer's are on no common subnet.
    here.netns.run("ip addr add 10.8.0.1/32 dev lo");
    gateway.netns.run("ip addr add 10.7.0.9/32 dev lo && ip route add 10.8.0.1/32 via 10.9.0.1");
    let node = json!({"IPv4Address": "10.8.0.1/32"});
    let all = Cluster::new().node("n1", &here, node, json!({}), "10.1.0.0/26");
    let all = configured(all.connected("10.9.0.0/24", "e0"), json!({"nodeToNodeMeshEnabled": false}));
    let with = |source: &str| {
        let spec = json!({"peerIP": "10.7.0.9", "asNumber": 65002, "reachableBy": gateway.v4.to_string(),
            "sourceAddress": source});
        all.clone().with("BGPPeer", "far", spec)
    };
    // The agent's writer would put the route in.
    let (_, route) = derive::derive(&with("None").world("n1"))
        .into_iter()
        .find(|(key, _)| key.to_string() == "route 10.7.0.9/32")
        .expect("a route to the peer");
    here.netns.run(&format!("ip route add 10.7.0.9/32 {route}"));
    let ours = Ours::start(&here, with("UseNodeIP").job("n1"));
    let from = |addr: Ipv4Addr| Peering { multihop: true, ..Peering::new(addr, 64512) };
    let setup =
        Setup { source: Some(Ipv4Addr::new(10, 7, 0, 9)), ..Setup::new(65002, [from([10, 8, 0, 1].into())]) };
    let mut bird = Daemon::start(Kind::Bird, &gateway, setup);
    bird.learns("10.1.0.0/26");
    ours.configure(with("None").job("n1"));
    bird.set(|setup| setup.peers = vec![from(here.v4)]);
    bird.forgets("10.1.0.0/26");
    bird.learns("10.1.0.0/26");
}

#[test]
fn a_session_is_made_from_its_other_end_unless_that_is_forbidden() {
    let segment = Segment::new();
    let [here, other] = [1, 2].map(|number| segment.host(number));
    let all =
        bare(&here).node("n2", &other, json!({"ASNumber": "64700"}), json!({"rack": "b"}), "10.1.0.64/26");
    let with = |reverse: &str| {
        let spec =
            json!({"nodeSelector": "rack == 'b'", "peerSelector": "rack == 'a'", "reversePeering": reverse});
        all.clone().with("BGPPeer", "racks", spec)
    };
    let mut ours = Ours::start(&here, with("Auto").job("n1"));
    let bird = start(Kind::Bird, &other, 64700, Peering::new(here.v4, 64512), &["10.1.0.64/26"]);
    bird.learns("10.1.0.0/26");
    assert_eq!(ours.learns("10.1.0.64/26").attrs.as_path.to_string(), "64700", "the Node's own AS number");
    ours.configure(with("Manual").job("n1"));
    bird.forgets("10.1.0.0/26");
    assert_eq!(ours.sessions(), []);
}

#[test]
fn a_node_with_a_cluster_id_reflects_and_a_withheld_pool_is_told_to_nobody() {
    let segment = Segment::new();
    let [here, two, three] = [1, 2, 3].map(|number| segment.host(number));
    let reflector = json!({"RouteReflectorClusterID": "244.0.0.1"});
    let spec =
        json!({"nodeToNodeMeshEnabled": false, "serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}]});
    let all = |withheld: bool| {
        let all = Cluster::new()
            .with("IPPool", "other", json!({"cidr": "10.5.0.0/16", "disableBGPExport": withheld}))
            .node("n1", &here, reflector.clone(), json!({"role": "reflector"}), "10.5.0.0/26")
            .node("n2", &two, json!({}), json!({}), "10.1.0.64/26")
            .node("n3", &three, json!({}), json!({}), "10.1.0.128/26");
        let peers = json!({"nodeSelector": "!has(role)", "peerSelector": "role == 'reflector'"});
        configured(all, spec.clone()).with("BGPPeer", "reflectors", peers)
    };
    let ours = Ours::start(&here, all(false).job("n1"));
    let announced = ["10.1.0.64/26", "198.51.100.7/32", "203.0.113.0/24", "10.5.0.64/26"];
    let _bird = start(Kind::Bird, &two, 64512, Peering::new(here.v4, 64512), &announced);
    let frr = start(Kind::Frr, &three, 64512, Peering::new(here.v4, 64512), &[]);
    let seen = frr.learns("10.1.0.64/26");
    assert_eq!(seen.nexthop, two.v4.to_string());
    frr.learns("198.51.100.7/32");
    frr.learns("10.5.0.64/26");
    frr.learns("10.5.0.0/26");
    let detail = frr.ask("show bgp ipv4 unicast 10.1.0.64/26");
    assert!(
        detail.contains("Cluster list: 244.0.0.1") && detail.contains("Originator: 10.9.0.2"),
        "{detail}"
    );
    assert_eq!(frr.sees("203.0.113.0/24"), None, "what is in no pool is not passed on");
    ours.configure(all(true).job("n1"));
    frr.forgets("10.5.0.64/26");
    frr.forgets("10.5.0.0/26");
    assert!(frr.sees("10.1.0.64/26").is_some());
}
