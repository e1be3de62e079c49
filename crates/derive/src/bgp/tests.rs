//! The rules of Calico's confd, each as a row: what a node's own BIRD would have for the same objects.

use super::*;
use crate::World;
use model::v3::FilterAction;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Four nodes in two racks, seen by `node`: n1 and n2 in rack a, n3 and n4 in rack b. n4 has IPv6 too, as n1 has.
fn world(node: &str) -> World {
    let bgp_node = |rack: &str, v4: &str, v6: Option<&str>| BgpNode {
        labels: [("rack".to_owned(), rack.to_owned())].into(),
        v4: Some(v4.parse().expect("an address")),
        v6: v6.map(|addr| addr.parse().expect("an address")),
        ..BgpNode::default()
    };
    let nodes = [
        ("n1", bgp_node("a", "10.0.0.1/24", Some("fd00::1/64"))),
        ("n2", bgp_node("a", "10.0.0.2/24", None)),
        ("n3", bgp_node("b", "10.0.0.3/24", None)),
        ("n4", bgp_node("b", "10.0.0.10/24", Some("fd00::4/64"))),
    ];
    let nodes = nodes.map(|(name, node)| (name.to_owned(), node)).into();
    World { node: node.into(), bgp: BgpWorld { nodes, ..BgpWorld::default() }, ..World::default() }
}

fn configured(mut world: World, name: &str, spec: Value) -> World {
    world.bgp.configurations.insert(name.into(), serde_json::from_value(spec).expect("a configuration"));
    world
}

fn peered(mut world: World, name: &str, spec: Value) -> World {
    world.bgp.peers.insert(name.into(), serde_json::from_value(spec).expect("a peer"));
    world
}

fn reflector(mut world: World, node: &str, cluster: &str) -> World {
    world.bgp.nodes.get_mut(node).expect("a node").cluster_id = cluster.parse().ok();
    world
}

/// Each session as `address:port sort remote-AS` and what is not usual about it.
fn sessions(world: &World) -> Vec<String> {
    let plan = plan(world).expect("a plan");
    let line = |(key, peer): (&PeerKey, &PeerPlan)| {
        let mut words =
            vec![format!("{}:{}", key.addr, key.port), format!("{:?} {}", peer.sort, peer.remote_asn)];
        words.extend((peer.local_asn != plan.asn).then(|| format!("as {}", peer.local_asn)));
        words.extend(peer.passive.then(|| "passive".to_owned()));
        words.extend(peer.reflect_in.map(|id| format!("client of {id}")));
        words.join(" ")
    };
    plan.peers.iter().map(line).collect()
}

fn complaints(world: &World) -> Vec<String> {
    plan(world).expect("a plan").complaints.iter().map(ToString::to_string).collect()
}

fn only(world: &World) -> PeerPlan {
    let plan = plan(world).expect("a plan");
    assert_eq!(plan.peers.len(), 1);
    plan.peers.into_values().next().expect("a peer")
}

/// Without a mesh.
fn bare(node: &str) -> World {
    configured(world(node), "default", json!({"nodeToNodeMeshEnabled": false}))
}

#[test]
fn the_mesh_is_every_other_node_in_each_family_that_both_have() {
    assert_eq!(
        sessions(&world("n1")),
        [
            "10.0.0.2:179 Mesh 64512 passive",
            "10.0.0.3:179 Mesh 64512 passive",
            "10.0.0.10:179 Mesh 64512 passive",
            "fd00::4:179 Mesh 64512 passive",
        ]
    );
    // The greater text calls: 10.0.0.10 is less than 10.0.0.2.
    let of_n2 = ["10.0.0.1:179 Mesh 64512", "10.0.0.3:179 Mesh 64512 passive", "10.0.0.10:179 Mesh 64512"];
    assert_eq!(sessions(&world("n2")), of_n2);
    assert_eq!(sessions(&bare("n1")), Vec::<String>::new());
}

#[test]
fn of_two_nodes_of_the_mesh_exactly_one_calls() {
    for node in ["n1", "n2", "n3", "n4"] {
        let plan = plan(&world(node)).expect("a plan");
        for (key, peer) in &plan.peers {
            let other = super::plan(&world(peer.node.as_deref().expect("a node"))).expect("a plan");
            let back = PeerKey { addr: peer.source.expect("a source"), port: 179 };
            assert_ne!(other.peers[&back].passive, peer.passive, "{node} and {}", key.addr);
        }
    }
}

#[test]
fn the_mesh_has_the_clusters_settings_and_each_nodes_port_and_as() {
    let spec = json!({"asNumber": 65001, "listenPort": 1179, "nodeMeshMaxRestartTime": "5m0s",
        "nodeMeshPassword": {"secretKeyRef": {"name": "bgp", "key": "mesh"}}, "bindMode": "NodeIP"});
    let world = configured(world("n3"), "default", spec);
    let mut world = configured(world, "node.n2", json!({"listenPort": 2179, "asNumber": 1}));
    world.bgp.nodes.get_mut("n1").expect("n1").asn = Some(Asn(65010));
    let plan = plan(&world).expect("a plan");
    assert_eq!((plan.asn, plan.listen_port), (Asn(65001), 1179));
    assert_eq!(plan.listen_addrs, ["10.0.0.3".parse::<IpAddr>().expect("an address")]);
    assert_eq!(
        sessions(&world),
        ["10.0.0.1:1179 Mesh 65010", "10.0.0.2:2179 Mesh 65001", "10.0.0.10:1179 Mesh 65001"]
    );
    for peer in plan.peers.values() {
        assert_eq!(peer.restart_time, Duration::from_secs(300));
        assert_eq!(peer.password.as_ref().map(|secret| secret.key.as_str()), Some("mesh"));
        assert_eq!(peer.source, plan.listen_addrs.first().copied());
    }
}

#[test]
fn a_node_with_a_reserved_as_is_left_out_of_the_mesh_and_said() {
    let mut world = world("n3");
    world.bgp.nodes.get_mut("n1").expect("n1").asn = Some(Asn(23456));
    assert_eq!(sessions(&world), ["10.0.0.2:179 Mesh 64512", "10.0.0.10:179 Mesh 64512"]);
    assert_eq!(
        complaints(&world),
        ["Node n1: AS number 23456 is reserved (RFC 6793, RFC 7607): set another"]
    );
}

#[test]
fn reflectors_stand_outside_the_mesh() {
    let world = |node| reflector(world(node), "n2", "224.0.0.1");
    assert_eq!(sessions(&world("n2")), Vec::<String>::new());
    let of_n3 = ["10.0.0.1:179 Mesh 64512", "10.0.0.10:179 Mesh 64512"];
    assert_eq!(sessions(&world("n3")), of_n3);
}

#[test]
fn every_node_speaks_with_its_reflector_and_the_reflector_with_every_node() {
    let world = |node| {
        let world = reflector(bare(node), "n2", "224.0.0.1");
        let mut world = peered(world, "rr", json!({"nodeSelector": "all()", "peerSelector": "has(rr)"}));
        world.bgp.nodes.get_mut("n2").expect("n2").labels.insert("rr".into(), String::new());
        world
    };
    assert_eq!(sessions(&world("n1")), ["10.0.0.2:179 Node 64512"]);
    assert_eq!(
        sessions(&world("n2")),
        [
            "10.0.0.1:179 Node 64512 client of 224.0.0.1",
            "10.0.0.3:179 Node 64512 client of 224.0.0.1",
            "10.0.0.10:179 Node 64512 client of 224.0.0.1",
        ]
    );
    let manual = |node| {
        let mut world = world(node);
        world.bgp.peers.get_mut("rr").expect("rr").reverse_peering = Some(model::v3::ReversePeering::Manual);
        world
    };
    assert_eq!(sessions(&manual("n1")), ["10.0.0.2:179 Node 64512"]);
    assert_eq!(sessions(&manual("n2")), Vec::<String>::new());
}

#[test]
fn reflectors_of_one_cluster_are_no_clients_of_each_other() {
    let peer = json!({"nodeSelector": "rack == 'a'", "peerSelector": "rack == 'a'"});
    let world = |other: &str| {
        let world = reflector(reflector(bare("n1"), "n1", "224.0.0.1"), "n2", other);
        sessions(&peered(world, "rr", peer.clone()))
    };
    assert_eq!(world("224.0.0.1"), ["10.0.0.2:179 Node 64512"]);
    assert_eq!(world("224.0.0.2"), ["10.0.0.2:179 Node 64512 client of 224.0.0.1"]);
}

#[test]
fn a_peer_belongs_to_every_node_to_one_or_to_some() {
    let tor = |more: Value| {
        let mut spec = json!({"peerIP": "10.0.0.254", "asNumber": 65100});
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        ["n1", "n3"].map(|node| sessions(&peered(bare(node), "tor", spec.clone())).join(", "))
    };
    let (global, node) = ("10.0.0.254:179 Global 65100", "10.0.0.254:179 Node 65100");
    assert_eq!(tor(json!({})), [global, global]);
    assert_eq!(tor(json!({"node": "n3"})), ["", node]);
    assert_eq!(tor(json!({"nodeSelector": "rack == 'a'"})), [node, ""]);
    assert_eq!(
        tor(json!({"localASNumber": 65200})),
        [format!("{global} as 65200"), format!("{global} as 65200")]
    );
    assert_eq!(
        tor(json!({"peerIP": "10.0.0.254:1790"})),
        ["10.0.0.254:1790 Global 65100", "10.0.0.254:1790 Global 65100"]
    );
}

#[test]
fn a_peer_that_is_a_node_has_its_port_and_speaks_back() {
    let world = |node| {
        let world = configured(bare(node), "node.n1", json!({"listenPort": 1790}));
        peered(world, "one", json!({"peerIP": "10.0.0.1"}))
    };
    assert_eq!(sessions(&world("n2")), ["10.0.0.1:1790 Global 64512"]);
    assert_eq!(
        sessions(&world("n1")),
        ["10.0.0.2:179 Node 64512", "10.0.0.3:179 Node 64512", "10.0.0.10:179 Node 64512"]
    );
    let other_as = |node| peered(bare(node), "one", json!({"peerIP": "10.0.0.1", "asNumber": 65001}));
    assert_eq!(sessions(&other_as("n1")), Vec::<String>::new(), "that is not our AS");
}

#[test]
fn a_global_peer_that_is_a_greater_node_calls() {
    let world = |node, ip: &str| peered(bare(node), "p", json!({"peerIP": ip, "reversePeering": "Manual"}));
    assert_eq!(sessions(&world("n2", "10.0.0.3")), ["10.0.0.3:179 Global 64512 passive"]);
    assert_eq!(sessions(&world("n3", "10.0.0.2")), ["10.0.0.2:179 Global 64512"]);
    let node = json!({"peerIP": "10.0.0.3", "node": "n2", "reversePeering": "Manual"});
    assert_eq!(sessions(&peered(bare("n2"), "p", node)), ["10.0.0.3:179 Node 64512"]);
}

#[test]
fn the_reverse_of_a_session_exchanges_the_as_numbers() {
    let spec = json!({"node": "n1", "peerSelector": "rack == 'b'", "localASNumber": 65200});
    assert_eq!(
        sessions(&peered(bare("n1"), "p", spec.clone())),
        [
            "10.0.0.3:179 Node 64512 as 65200",
            "10.0.0.10:179 Node 64512 as 65200",
            "fd00::4:179 Node 64512 as 65200",
        ]
    );
    assert_eq!(sessions(&peered(bare("n3"), "p", spec)), ["10.0.0.1:179 Node 65200"]);
}

#[test]
fn every_field_of_a_peer_reaches_its_session() {
    let spec = json!({"peerIP": "10.9.9.9", "asNumber": 65100, "ttlSecurity": 2, "sourceAddress": "None",
        "reachableBy": "10.0.0.254", "maxRestartTime": "1m30s", "keepaliveTime": "10s",
        "numAllowedLocalASNumbers": 2, "nextHopMode": "Self",
        "password": {"secretKeyRef": {"name": "s", "key": "k"}}});
    let world = peered(bare("n1"), "p", spec);
    let peer = only(&world);
    assert_eq!((peer.ttl_security, peer.source), (Some(2), None));
    let gateway = gateways(&world).map(|(_, gateway)| gateway.to_string()).collect::<Vec<_>>();
    assert_eq!(gateway, ["10.0.0.254"]);
    assert_eq!(
        (peer.restart_time, peer.keepalive_time),
        (Duration::from_secs(90), Some(Duration::from_secs(10)))
    );
    assert_eq!((peer.allowed_local_asns, peer.next_hop), (2, NextHopMode::Own));
    assert_eq!(peer.password, Some(SecretKeyRef { name: "s".into(), key: "k".into(), optional: None }));
    let plain = only(&peered(bare("n1"), "p", json!({"peerIP": "10.9.9.9", "asNumber": 65100})));
    assert_eq!(plain.source, "10.0.0.1".parse().ok());
    assert_eq!((plain.restart_time, plain.next_hop), (Duration::from_secs(120), NextHopMode::Auto));
}

#[test]
fn the_old_way_to_keep_a_next_hop_is_for_another_as_only() {
    for (asn, mode) in [(65100, NextHopMode::Keep), (64512, NextHopMode::Auto)] {
        let spec = json!({"peerIP": "10.9.9.9", "asNumber": asn, "keepOriginalNextHop": true});
        assert_eq!(only(&peered(bare("n1"), "p", spec)).next_hop, mode, "{asn}");
    }
}

#[test]
fn filters_are_asked_in_their_order_and_those_for_the_other_sort_of_session_not_at_all() {
    let mut world = bare("n1");
    let filters = [
        (
            "a",
            json!({"importV4": [{"action": "Reject", "peerType": "iBGP"}], "exportV4": [{"action": "Accept"}]}),
        ),
        (
            "b",
            json!({"importV4": [{"action": "Accept", "peerType": "eBGP"}], "exportV4": [{"action": "Reject"}],
            "importV6": [{"action": "Reject"}]}),
        ),
    ];
    for (name, spec) in filters {
        world.bgp.filters.insert(name.into(), serde_json::from_value(spec).expect("a filter"));
    }
    let spec = json!({"peerIP": "10.9.9.9", "asNumber": 65100, "filters": ["b", "gone", "a"]});
    let world = peered(world, "p", spec);
    let actions = |rules: &[BgpFilterRule]| rules.iter().map(|rule| rule.action).collect::<Vec<_>>();
    let peer = only(&world);
    assert_eq!(actions(&peer.import), [FilterAction::Accept]);
    assert_eq!(actions(&peer.export), [FilterAction::Reject, FilterAction::Accept]);
    assert_eq!(
        complaints(&world),
        [
            "BGPPeer p: BGPFilter gone does not exist and filters nothing",
            "BGPPeer p: rule a exportV4[0] contradicts rule b exportV4[0] of its BGPFilters, which comes first and decides: \
             remove one",
        ]
    );
}

#[test]
fn of_two_resources_for_one_peer_the_nodes_own_wins_and_the_other_is_said() {
    let global = peered(bare("n1"), "g", json!({"peerIP": "10.0.0.254", "asNumber": 65100}));
    let same = peered(global.clone(), "n", json!({"peerIP": "10.0.0.254", "asNumber": 65100, "node": "n1"}));
    assert_eq!(sessions(&same), ["10.0.0.254:179 Global 65100"]);
    assert_eq!(complaints(&same), Vec::<String>::new());
    let other = peered(global, "n", json!({"peerIP": "10.0.0.254", "asNumber": 65200, "node": "n1"}));
    assert_eq!(sessions(&other), ["10.0.0.254:179 Node 65200"]);
    assert_eq!(
        complaints(&other),
        ["BGPPeer g: BGPPeer n asks for another session with 10.0.0.254 and wins: remove one"]
    );
}

#[test]
fn a_peer_that_cannot_be_costs_itself_only() {
    let world = peered(bare("n1"), "good", json!({"peerIP": "10.0.0.254", "asNumber": 65100}));
    for (spec, complaint) in [
        (json!({"peerIP": "10.9.9.9"}), "BGPPeer bad: 10.9.9.9 is no node's address: set spec.asNumber"),
        (
            json!({"peerIP": "10.9.9.9", "asNumber": 23456}),
            "BGPPeer bad: AS number 23456 is reserved (RFC 6793, RFC 7607): set another",
        ),
        (
            json!({"peerIP": "10.9.9.9", "asNumber": 65100, "localASNumber": 0}),
            "BGPPeer bad: AS number 0 is reserved (RFC 6793, RFC 7607): set another",
        ),
    ] {
        let world = peered(world.clone(), "bad", spec);
        assert_eq!(complaints(&world), [complaint]);
        assert_eq!(sessions(&world), ["10.0.0.254:179 Global 65100"]);
    }
    let own = peered(world, "own", json!({"peerIP": "10.0.0.1", "node": "n1", "asNumber": 64512}));
    assert_eq!(sessions(&own), ["10.0.0.254:179 Global 65100"], "nobody speaks with himself");
}

/// n1 with two pods, of which `router` has the label `role`.
fn with_pods(world: World, spec: Value) -> World {
    let mut world = peered(World { node: "n1".into(), ..world }, "pods", spec);
    world.bgp.speaks = true;
    for (name, addr, role) in [("router", "10.65.0.2", "router"), ("other", "10.65.0.3", "other")] {
        let attachment = crate::example::attachment(name, addr);
        world.bgp.pods.insert(("default".into(), name.into()), [("role".to_owned(), role.to_owned())].into());
        let endpoint = crate::Endpoint { netns: None, scope: crate::Scope::Whole, attachment };
        world.endpoints.insert(endpoint.attachment.id.clone(), endpoint);
    }
    world
}

fn for_routers() -> Value {
    json!({"localWorkloadSelector": "role == 'router'", "asNumber": 65401})
}

fn peering_at(addr: &str) -> World {
    let spec =
        json!({"nodeToNodeMeshEnabled": false, "localWorkloadPeeringIPV4": addr, "bindMode": "NodeIP"});
    configured(world("n1"), "default", spec)
}

#[test]
fn a_node_speaks_with_its_own_pods_that_a_selector_matches_from_the_address_that_is_theirs_to_know() {
    let world = with_pods(peering_at("169.254.0.179"), for_routers());
    let own: IpAddr = "169.254.0.179".parse().expect("an address");
    assert_eq!(sessions(&world), ["10.65.0.2:179 Global 65401"]);
    assert_eq!((only(&world).source, only(&world).is_pod), (Some(own), true));
    assert_eq!(plan(&world).expect("a plan").listen_addrs.last(), Some(&own));
    let device = model::names::host_interface("default", "router");
    let objects: Vec<String> =
        crate::section(&world, crate::Section::Peerings).iter().map(|(k, v)| format!("{k} {v}")).collect();
    assert_eq!(objects, [format!("address {own}/32 dev {device} scope host")]);

    let elsewhere =
        json!({"localWorkloadSelector": "all()", "asNumber": 65401, "nodeSelector": "rack == 'b'"});
    let world = with_pods(peering_at("169.254.0.179"), elsewhere);
    assert_eq!(sessions(&world), Vec::<String>::new());
    assert_eq!(crate::section(&world, crate::Section::Peerings).len(), 0);
}

#[test]
fn an_address_towards_pods_that_is_missing_or_anothers_is_said_and_made_nowhere() {
    let missing = "BGPPeer pods: pod 10.65.0.2 has no address to call its node by: set \
                   localWorkloadPeeringIPV4 in BGPConfiguration default";
    let world = with_pods(bare("n1"), for_routers());
    assert_eq!((sessions(&world), complaints(&world)), (Vec::new(), vec![missing.to_owned()]));
    for (addr, why) in [
        ("10.0.0.2", "lies in 10.0.0.0/24, the subnet of node n1"),
        ("127.0.0.1", "is no address of an interface"),
        ("10.65.0.9", "lies in 10.65.0.0/16, IPPool pool"),
    ] {
        let mut world = with_pods(peering_at(addr), for_routers());
        let pool = json!({"cidr": "10.65.0.0/16"});
        world.pools.insert("pool".into(), serde_json::from_value(pool).expect("a pool"));
        let wrong = format!(
            "BGPConfiguration default: localWorkloadPeeringIPV4 {addr} {why}: set one that nobody has, such as \
             169.254.0.179 or fd00:179::1"
        );
        assert_eq!((sessions(&world), complaints(&world)), (Vec::new(), vec![missing.to_owned(), wrong]));
        assert_eq!(crate::section(&world, crate::Section::Peerings).len(), 0);
    }
}

#[test]
fn a_pod_leads_to_what_is_behind_it_and_to_nothing_else() {
    let mut world = with_pods(peering_at("169.254.0.179"), for_routers());
    let node = crate::Peer {
        addr: "10.0.1.9/24".parse().expect("an address"),
        vxlan_tunnel: None,
        ipip_tunnel: None,
        vtep_mac: model::names::vtep_mac("n9"),
        announcement: None,
    };
    world.peers.insert("n9".into(), node);
    let device = model::names::host_interface("default", "router");
    let behind = format!("10.123.0.0/26 via 10.65.0.2 dev {device} onlink proto 80");
    for (dst, next_hop, named, expected) in [
        ("10.123.0.0/26", "10.65.0.2", false, Ok(behind)),
        ("10.123.0.0/26", "10.65.0.3", false, Err("it is pod 10.65.0.2, and leads to itself alone")),
        ("10.123.0.0/26", "10.0.0.254", true, Err("it is pod 10.65.0.2, and leads to itself alone")),
        ("10.0.1.0/24", "10.65.0.2", false, Err("node n9 is there, and no rule of a BGPFilter")),
        ("0.0.0.0/0", "10.65.0.2", false, Err("accepts a default route")),
    ] {
        let mut world = world.clone();
        let addr = |text: &str| text.parse::<IpAddr>().expect("an address");
        let pod = Some(addr("10.65.0.2"));
        let (peer, sort) = ("Global_10_65_0_2".to_owned(), PeerSort::Global);
        let said = crate::Learnt { next_hop: addr(next_hop), peer, sort, node: None, pod, named };
        world.learnt.insert(dst.parse().expect("a CIDR"), [said].into());
        let routes = crate::section(&world, crate::Section::Learnt);
        let routes: Vec<String> =
            routes.iter().map(|(k, v)| format!("{k} {v}").replacen("route ", "", 1)).collect();
        let said = crate::refused(&world).next().unwrap_or_default();
        match expected {
            Ok(route) => assert_eq!((routes, said), (vec![route], String::new())),
            Err(why) => assert!(routes.is_empty() && said.contains(why), "{dst}: {routes:?} {said}"),
        }
        assert_eq!(
            world.behind_pods().count(),
            usize::from(next_hop == "10.65.0.2" && dst == "10.123.0.0/26")
        );
    }
}

#[test]
fn a_node_that_cannot_speak_says_why() {
    let mut world = world("n1");
    world.bgp.nodes.get_mut("n1").expect("n1").asn = Some(Asn(0));
    assert!(plan(&world).expect_err("no plan").to_string().starts_with("AS number 0 of node n1 is reserved"));
    world.bgp.nodes.insert("n1".into(), BgpNode { v6: "fd00::1/64".parse().ok(), ..BgpNode::default() });
    assert_eq!(plan(&world), Err(NoBgp::NoRouterId { node: "n1".into() }));
    world.bgp.router_id = RouterId::Hash;
    assert_eq!(plan(&world).expect("a plan").router_id, Ipv4Addr::new(103, 107, 139, 184));
    world.bgp.router_id = RouterId::Fixed(Ipv4Addr::new(1, 2, 3, 4));
    assert_eq!(plan(&world).expect("a plan").router_id, Ipv4Addr::new(1, 2, 3, 4));
    world.bgp.nodes.remove("n1");
    assert_eq!(plan(&world), Err(NoBgp::NoAddress { node: "n1".into() }));
}

fn originated(world: &World) -> Vec<String> {
    plan(world).expect("a plan").originate.keys().map(ToString::to_string).collect()
}

/// Two pools, one of them withheld, with blocks of ours and of others, and an address that we have from another's block.
fn with_pools(node: &str) -> World {
    let mut world = bare(node);
    for (name, cidr, withheld) in [("a", "10.1.0.0/16", false), ("b", "10.2.0.0/16", true)] {
        let pool = serde_json::from_value(json!({"cidr": cidr, "disableBGPExport": withheld}));
        world.pools.insert(name.into(), pool.expect("a pool"));
    }
    for (cidr, owner) in
        [("10.1.0.0/26", "n1"), ("10.1.0.64/26", "n2"), ("10.2.0.0/26", "n1"), ("10.3.0.0/26", "n1")]
    {
        world.blocks.insert(cidr.parse().expect("a CIDR"), owner.into());
    }
    world.borrowed.insert("10.1.0.70".parse().expect("an address"), "n1".into());
    world
}

#[test]
fn a_node_tells_its_own_blocks_and_borrowed_addresses_of_pools_that_may_be_told() {
    // What is withheld is known to the speaker all the same: a peer's filter may let it pass.
    assert_eq!(originated(&with_pools("n1")), ["10.1.0.0/26", "10.1.0.70/32", "10.2.0.0/26"]);
    assert_eq!(originated(&with_pools("n2")), ["10.1.0.64/26"]);
    let export = plan(&with_pools("n1")).expect("a plan").export;
    assert_eq!(export.withheld.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.2.0.0/16"]);
}

#[test]
fn only_what_is_inside_a_pool_is_passed_on_and_a_reflector_passes_services_on_too() {
    let services = json!({"nodeToNodeMeshEnabled": false, "serviceExternalIPs": [{"cidr": "192.0.2.0/24"}],
        "serviceClusterIPs": [{"cidr": "10.96.0.0/12"}]});
    let world = configured(with_pools("n1"), "default", services);
    let told = |world: &World| -> Vec<String> {
        let export = plan(world).expect("a plan").export;
        export.told.iter().map(ToString::to_string).collect()
    };
    assert_eq!(told(&world), ["10.1.0.0/16"]);
    assert_eq!(told(&reflector(world, "n1", "224.0.0.1")), ["10.1.0.0/16", "192.0.2.0/24"]);
}

/// Services of each sort in namespace `d`, with endpoints on n1 and n2; `here` of `local` and `cluster`.
fn with_services(mut world: World) -> World {
    let node = world.node.clone();
    let mut put = |object: model::store::Object| world.bgp.put(&node, &object);
    for (name, spec, ip) in [
        (
            "local",
            json!({"clusterIP": "10.96.0.1", "externalTrafficPolicy": "Local",
            "externalIPs": ["192.0.2.1", "203.0.113.9"]}),
            "198.51.100.1",
        ),
        ("cluster", json!({"clusterIP": "10.96.0.2", "externalTrafficPolicy": "Cluster"}), "198.51.100.2"),
        ("idle", json!({"clusterIP": "10.96.0.3", "externalTrafficPolicy": "Local"}), "198.51.100.3"),
        (
            "alone",
            json!({"clusterIP": "10.96.0.4", "externalTrafficPolicy": "Cluster",
            "externalIPs": ["192.0.3.4"]}),
            "",
        ),
        ("headless", json!({"clusterIP": "None"}), ""),
    ] {
        let object = json!({"metadata": {"name": name, "namespace": "d"}, "spec": spec,
            "status": {"loadBalancer": {"ingress": [{"ip": ip}]}}});
        put(serde_json::from_value::<model::k8s::Service>(object).expect("a service").into());
    }
    for (service, on, ready) in [("local", "n1", true), ("cluster", "n2", true), ("idle", "n1", false)] {
        let object = json!({"metadata": {"name": format!("{service}-x"), "namespace": "d",
            "labels": {"kubernetes.io/service-name": service}},
            "endpoints": [{"nodeName": on, "conditions": {"ready": ready}}]});
        put(serde_json::from_value::<model::k8s::EndpointSlice>(object).expect("a slice").into());
    }
    world
}

#[test]
fn services_are_told_by_range_and_singly_where_their_endpoints_decide() {
    let ranges = |more: Value| {
        let mut spec = json!({"nodeToNodeMeshEnabled": false, "serviceClusterIPs": [{"cidr": "10.96.0.0/12"}],
            "serviceExternalIPs": [{"cidr": "192.0.2.0/24"}, {"cidr": "192.0.3.4/32"}],
            "serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}]});
        spec.as_object_mut().expect("a spec").extend(more.as_object().expect("fields").clone());
        spec
    };
    let of = |node, more: Value| originated(&with_services(configured(world(node), "default", ranges(more))));
    let whole =
        ["10.96.0.0/12", "10.96.0.1/32", "10.96.0.4/32", "192.0.2.0/24", "192.0.2.1/32", "192.0.3.4/32"];
    let balanced = ["198.51.100.0/24", "198.51.100.1/32"];
    assert_eq!(of("n1", json!({})), [&whole[..], &balanced[..]].concat());
    // Nobody answers there for `local`.
    assert_eq!(
        of("n3", json!({})),
        ["10.96.0.0/12", "10.96.0.4/32", "192.0.2.0/24", "192.0.3.4/32", "198.51.100.0/24"]
    );
    assert_eq!(
        of("n3", json!({"serviceLoadBalancerAggregation": "Disabled"})),
        ["10.96.0.0/12", "10.96.0.2/32", "10.96.0.4/32", "192.0.2.0/24", "192.0.3.4/32", "198.51.100.2/32"]
    );
    let none = json!({"serviceClusterIPs": [], "serviceExternalIPs": [], "serviceLoadBalancerIPs": []});
    assert_eq!(of("n1", none), Vec::<String>::new());
    let mut excluded = with_services(configured(world("n1"), "default", ranges(json!({}))));
    let label = ("node.kubernetes.io/exclude-from-external-load-balancers".into(), "true".into());
    excluded.bgp.nodes.get_mut("n1").expect("a node").labels.extend([label]);
    assert_eq!(originated(&excluded), Vec::<String>::new());
}

#[test]
fn subnets_are_originated_but_for_those_of_pods_and_of_interfaces_that_are_ignored() {
    let mut world = configured(world("n1"), "default", json!({"ignoredInterfaces": ["docker*"]}));
    let on = [
        ("10.0.0.0/24", "eth0"),
        ("172.17.0.0/16", "docker0"),
        ("192.0.2.7/32", "lo"),
        ("10.1.0.1/32", "cali1"),
    ];
    world.connected =
        on.map(|(cidr, on)| (cidr.parse().expect("a CIDR"), on.parse().expect("a name"))).into();
    assert_eq!(originated(&world), ["10.0.0.0/24", "192.0.2.7/32"]);
    let own = &plan(&world).expect("a plan").originate[&"192.0.2.7/32".parse().expect("a CIDR")];
    assert_eq!(own.interface.as_ref().map(ToString::to_string).as_deref(), Some("lo"));
}

#[test]
fn what_is_inside_an_advertised_prefix_gets_its_communities() {
    let spec = json!({"communities": [{"name": "blue", "value": "64512:7"}],
        "prefixAdvertisements": [{"cidr": "10.1.0.0/24", "communities": ["blue", "1:2:3"]},
            {"cidr": "10.0.0.0/8", "communities": ["64512:8"]}]});
    let communities = |world: &World| -> Vec<String> {
        let plan = plan(world).expect("a plan");
        plan.originate[&"10.1.0.0/26".parse().expect("a CIDR")]
            .communities
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let world = configured(with_pools("n1"), "default", spec);
    assert_eq!(communities(&world), ["64512:7", "64512:8", "1:2:3"]);
    let own = json!({"prefixAdvertisements": [{"cidr": "10.1.0.0/16", "communities": ["64512:9"]}]});
    assert_eq!(communities(&configured(world, "node.n1", own)), ["64512:9"]);
}

#[test]
fn the_usual_metric_is_carried_as_a_preference() {
    let export = plan(&world("n1")).expect("a plan").export;
    assert_eq!((export.priority_v4, local_pref(export.priority_v4)), (1024, 2_147_482_623));
}

/// A BGPPeer between nodes, whose AS numbers are the nodes' own.
fn any_peer() -> impl Strategy<Value = Value> {
    let own = prop_oneof![
        Just(json!({})),
        Just(json!({"node": "n1"})),
        Just(json!({"nodeSelector": "rack == 'a'"})),
        Just(json!({"nodeSelector": "has(rr)"})),
    ];
    let far = prop_oneof![
        Just(json!({"peerSelector": "rack == 'b'"})),
        Just(json!({"peerSelector": "has(rr)"})),
        Just(json!({"peerSelector": "all()"})),
        Just(json!({"peerIP": "10.0.0.2"})),
        Just(json!({"peerIP": "fd00::4"})),
    ];
    (own, far).prop_map(|(mut own, far)| {
        own.as_object_mut().expect("an object").extend(far.as_object().expect("an object").clone());
        own
    })
}

proptest! {
    /// Without `reversePeering: Manual`, no node waits for another that does not know of it, and one of the two calls.
    #[test]
    fn nodes_agree_on_their_sessions(
        peers in proptest::collection::vec(any_peer(), 0..4),
        mesh in any::<bool>(),
        reflector_node in proptest::option::of("n[1-4]"),
        asns in proptest::collection::vec(proptest::option::of(65001..65004_u32), 4),
    ) {
        let plan_of = |name: &str| {
            let mut world = configured(world(name), "default", json!({"nodeToNodeMeshEnabled": mesh}));
            for (node, asn) in world.bgp.nodes.values_mut().zip(&asns) {
                node.asn = asn.map(Asn);
            }
            if let Some(node) = &reflector_node {
                world = reflector(world, node, "224.0.0.1");
                world.bgp.nodes.get_mut(node).expect("a node").labels.insert("rr".into(), String::new());
            }
            for (i, spec) in peers.iter().enumerate() {
                world = peered(world, &format!("p{i}"), spec.clone());
            }
            plan(&world).expect("a plan")
        };
        for name in ["n1", "n2", "n3", "n4"] {
            for (key, peer) in plan_of(name).peers {
                let far = peer.node.expect("all are nodes");
                let back = plan_of(&far).peers.remove(&PeerKey { addr: peer.source.expect("a source"), port: key.port });
                prop_assert!(back.is_some(), "{} has {}, which does not have it", name, far);
                let back = back.expect("asked above");
                prop_assert_eq!((back.local_asn, back.remote_asn), (peer.remote_asn, peer.local_asn));
                prop_assert!(!(back.passive && peer.passive), "{} and {} both wait", name, far);
            }
        }
    }
}
