//! With whom a node speaks, and on which terms.

use super::*;
use proptest::prelude::*;

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

#[test]
fn a_router_id_is_given_as_calico_node_takes_it() {
    let id = |text: &str| text.parse::<RouterId>();
    assert_eq!(id(""), Ok(RouterId::Address));
    assert_eq!(id("hash"), Ok(RouterId::Hash));
    assert_eq!(id("10.0.0.1"), Ok(RouterId::Fixed(Ipv4Addr::new(10, 0, 0, 1))));
    for wrong in ["0.0.0.0", "fd00::1", "Hash", "10.0.0.1/32"] {
        let text = format!("`{wrong}` is neither `hash` nor an ID such as 10.0.0.1");
        assert_eq!(id(wrong), Err(text));
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
