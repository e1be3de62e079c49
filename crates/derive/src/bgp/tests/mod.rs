//! The rules of Calico's confd, each as a row: what a node's own BIRD would have for the same objects.

mod sessions;
mod told;
mod workloads;

use super::*;
use crate::World;
use model::v3::FilterAction;
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
