//! What a node tells its peers.

use super::*;

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
