//! A node on which Calico ran until now: the routes that its BIRD left.

use crate::rig::Rig;
use kernel::route::{PROTO_BIRD, PROTO_CALICO, TABLE_MAIN};
use kernel::{Key, Netns, RouteKey, RouteKind, RouteScope, RouteValue, Value};
use model::IfName;
use model::store::{Event, Kind, Object, Request as Ask};
use model::v3::{EncapMode, IpamBlock};
use node::{Input, Notice};
use serde_json::json;

/// Of `n2`, on our subnet; of `n3`, behind a router; and ours.
const NEAR: &str = "10.0.0.32/28";
const FAR: &str = "10.0.0.64/28";
const OWN: &str = "10.0.0.48/28";

/// A node that has not started yet, of a direct pool, with blocks.
fn rig() -> Rig {
    let mut rig = Rig::new(EncapMode::Never);
    rig.create_node("n3", "192.168.9.3/24");
    for (cidr, node) in [(NEAR, "n2"), (FAR, "n3"), (OWN, "n1")] {
        let spec = json!({"cidr": cidr, "affinity": format!("host:{node}"), "allocations": [null],
            "unallocated": [0], "attributes": [], "sequenceNumber": 1, "deleted": false, "strictAffinity": false});
        let name = cidr.replace(['.', '/'], "-");
        let block = json!({"metadata": {"name": name}, "spec": spec});
        let block: IpamBlock = serde_json::from_value(block).unwrap();
        rig.api.apply(&Ask::Create(Object::from(block))).unwrap();
    }
    rig.settle();
    rig.kernel.retain(|key, _| !matches!(key, Key::Route(_)));
    rig
}

/// A route of BIRD's; without a gateway, a blackhole.
fn birds(dst: &str, via: Option<&str>, priority: u32) -> (Key, Value) {
    let key = RouteKey { netns: Netns::Host, table: TABLE_MAIN, dst: dst.parse().unwrap(), priority };
    let route = RouteValue {
        kind: if via.is_some() { RouteKind::Unicast } else { RouteKind::Blackhole },
        gateway: via.map(|via| via.parse().unwrap()),
        device: via.map(|_| IfName::fixed("ens192")),
        scope: RouteScope::Universe,
        onlink: false,
        protocol: PROTO_BIRD,
        source: None,
        mtu: None,
        also: Vec::new(),
    };
    (Key::Route(key), Value::Route(route))
}

/// Routes to `dst`: metric, protocol and gateway of each.
fn routes(rig: &Rig, dst: &str) -> Vec<(u32, u8, Option<String>)> {
    let dst = dst.parse().unwrap();
    let all = rig.kernel.iter().filter_map(|(key, value)| match (key, value) {
        (Key::Route(key), Value::Route(route)) if key.dst == dst => {
            Some((key.priority, route.protocol, route.gateway.map(|gateway| gateway.to_string())))
        }
        _ => None,
    });
    all.collect()
}

fn ours(via: Option<&str>) -> Vec<(u32, u8, Option<String>)> {
    vec![(0, PROTO_CALICO, via.map(str::to_owned))]
}

#[test]
fn birds_routes_give_way_to_ours_and_none_goes_before_ours_is_there() {
    for priority in [0, 1024] {
        let mut rig = rig();
        rig.kernel.extend([birds(NEAR, Some("192.168.0.2"), priority), birds(OWN, None, priority)]);
        rig.restart();
        assert_eq!(routes(&rig, NEAR), ours(Some("192.168.0.2")));
        assert_eq!(routes(&rig, OWN), ours(None));
        assert_eq!(rig.node.status().problems, Vec::<String>::new());
        let at = |step: &str| rig.steps.iter().position(|done| done == step);
        for dst in [NEAR, OWN] {
            if priority == 0 {
                assert!(at(&format!("~ route {dst}")).is_some(), "{:?}", rig.steps);
            } else {
                let (made, gone) = (at(&format!("+ route {dst}")), at(&format!("- route {dst} metric 1024")));
                assert!(made.is_some() && made < gone, "{:?}", rig.steps);
            }
        }
    }
}

#[test]
fn across_a_router_birds_gateway_counts_until_the_speaker_has_selected() {
    for priority in [0, 1024] {
        let mut rig = rig();
        rig.kernel.extend([birds(FAR, Some("192.168.0.254"), priority)]);
        rig.restart();
        assert_eq!(routes(&rig, FAR), ours(Some("192.168.0.254")), "nobody else knows the way yet");
        rig.node.handle(rig.now, Input::Settled);
        rig.settle();
        assert_eq!(routes(&rig, FAR), []);
    }
}

#[test]
fn peers_are_told_that_forwarding_went_on_where_bird_forwarded() {
    for (left, kept) in [(vec![birds(NEAR, Some("192.168.0.2"), 0)], true), (vec![], false)] {
        let mut rig = rig();
        rig.kernel.extend(left);
        rig.restart();
        for kind in [Kind::BgpConfiguration, Kind::BgpPeer, Kind::BgpFilter] {
            rig.node.handle(rig.now, Input::Api(Event::Listed(kind, Vec::new())));
        }
        rig.settle();
        let told = rig.node.speaks().expect("the node speaks BGP");
        assert_eq!(told.bgp.restarting, kept);
    }
}

#[test]
fn what_leads_outside_the_pools_or_comes_later_is_somebody_elses() {
    let mut rig = rig();
    rig.kernel.extend([birds("198.51.100.0/24", Some("192.168.0.254"), 0)]);
    rig.restart();
    assert_eq!(routes(&rig, "198.51.100.0/24").len(), 1, "an administrator may run BIRD too");

    let (key, value) = birds(NEAR, Some("192.168.0.254"), 0);
    rig.kernel.insert(key.clone(), value.clone());
    rig.node.handle(rig.now, Input::Noticed(vec![Notice::Put(key, value)]));
    rig.settle();
    assert_eq!(routes(&rig, NEAR), [(0, PROTO_BIRD, Some("192.168.0.254".to_owned()))]);
    let problems = rig.node.status().problems;
    assert!(problems.iter().any(|why| why.contains("is somebody else's")), "{problems:?}");
}
