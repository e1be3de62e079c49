//! Pods that are BGP peers of their node (`localWorkloadSelector`).

use super::*;

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
        let said = crate::Learnt { next_hop: addr(next_hop), peer, sort, node: None, pod, rank: 0, named };
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
    // What a speaker gave before it restarted stays behind its pod until it has selected anew.
    let hops = ["10.65.0.2", "10.0.0.254"].map(|hop| hop.parse().expect("an address"));
    world.hops.insert("10.123.0.0/26".parse().expect("a CIDR"), hops.to_vec());
    for (selected, expected) in [(false, 1), (true, 0)] {
        world.selected = selected;
        assert_eq!(world.behind_pods().count(), expected);
    }
    // Also while nobody asks for such peers any more.
    world.bgp.peers.clear();
    world.selected = false;
    assert!(world.device_to(hops[0]).is_some_and(|device| device.as_str().starts_with("cali")));
}
