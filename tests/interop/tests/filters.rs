//! BGPFilter: every condition and every operation, each by a prefix that only it decides.

use interop_tests::{Cluster, Daemon, Kind, Ours, Peering, Segment, Setup, throughout, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const MOST: u32 = i32::MAX as u32;

fn rule(action: &str, conditions: Value, operations: Value) -> Value {
    let mut rule = json!({"action": action, "operations": operations});
    rule.as_object_mut().expect("a rule").extend(conditions.as_object().expect("conditions").clone());
    rule
}

fn add(community: &str) -> Value {
    json!([{"addCommunity": {"value": community}}])
}

#[test]
fn every_condition_and_operation_of_a_bgpfilter_is_seen_by_its_peer() {
    let segment = Segment::new();
    let [here, frr_host, bird_host, gobgp_host, far_host] =
        [1, 2, 3, 4, 5].map(|number| segment.host(number));
    let none = json!([]);
    let export = json!([
        rule("Reject", json!({"peerType": "iBGP"}), none.clone()),
        rule("Reject", json!({"cidr": "10.20.1.0/24", "matchOperator": "Equal"}), none.clone()),
        rule(
            "Accept",
            json!({"cidr": "10.20.2.0/24", "matchOperator": "In", "prefixLength": {"min": 26, "max": 27}}),
            add("64512:2")
        ),
        rule("Accept", json!({"priority": MOST - 250}), add("64512:8")),
        rule(
            "Accept",
            json!({"communities": {"values": ["64512:7"]}, "peerType": "eBGP"}),
            json!([{"prependASPath": {"prefix": [64512, 64513]}}])
        ),
        rule("Accept", json!({"asPathPrefix": [65001, 64999]}), add("64512:9:9")),
        rule("Accept", json!({"interface": "lo*"}), add("64512:10")),
        rule(
            "Accept",
            json!({"source": "RemotePeers", "interface": "e0", "cidr": "10.20.3.0/24",
            "matchOperator": "NotEqual"}),
            add("64512:4")
        ),
        rule("Reject", json!({"cidr": "10.1.0.0/16", "matchOperator": "NotIn"}), none.clone()),
    ]);
    let import = json!([
        rule("Reject", json!({"cidr": "10.20.5.0/24", "matchOperator": "Equal"}), none.clone()),
        rule(
            "Accept",
            json!({"communities": {"values": ["64512:1:2"]}}),
            json!([{"setPriority": {"value": 7}}])
        ),
        rule(
            "Accept",
            json!({"cidr": "10.20.6.0/24", "matchOperator": "Equal"}),
            json!([{"prependASPath": {"prefix": [65010]}}, {"addCommunity": {"value": "64512:6"}}])
        ),
    ]);
    let peer = |host: &interop_tests::Host, asn: u32, filter: &str| json!({"peerIP": host.v4.to_string(), "asNumber": asn, "filters": [filter]});
    let inside = json!([rule(
        "Accept",
        json!({"cidr": "10.1.0.0/16", "matchOperator": "In", "peerType": "iBGP"}),
        json!([{"setPriority": {"value": 100}}])
    )]);
    let cluster = Cluster::new()
        .node("n1", &here, json!({}), json!({}), "10.1.0.0/26")
        .connected("192.0.2.7/32", "lo")
        .connected("192.0.2.8/32", "dummy0")
        .with("BGPConfiguration", "default", json!({"nodeToNodeMeshEnabled": false}))
        .with("BGPFilter", "out", json!({"exportV4": export}))
        .with("BGPFilter", "in", json!({"importV4": import}))
        .with("BGPFilter", "inside", json!({"exportV4": inside}))
        .with("BGPPeer", "frr", peer(&frr_host, 65001, "in"))
        .with("BGPPeer", "bird", peer(&bird_host, 64512, "inside"))
        .with("BGPPeer", "gobgp", peer(&gobgp_host, 65004, "out"));
    let mut ours = Ours::start(&here, cluster.job("n1"));
    let to_us = || Peering::new(here.v4, 64512);
    let announced = ["1.0/24", "2.0/24", "2.0/26", "3.0/24", "4.0/24", "5.0/24", "6.0/24"];
    let announced = announced.map(|tail| format!("10.20.{tail}"));
    let announced: Vec<&str> = announced.iter().map(String::as_str).collect();
    let peerings = [to_us(), Peering::new(far_host.v4, 64999)];
    let setup = Setup { decorated: Some("10.20.7.0/24".into()), ..Setup::new(65001, peerings) };
    let _frr = Daemon::start(Kind::Frr, &frr_host, setup.announcing(&announced));
    let far = Setup::new(64999, [Peering::new(frr_host.v4, 65001)]);
    let _far = Daemon::start(Kind::Bird, &far_host, far.announcing(&["10.20.9.0/24"]));
    let setup = Setup { decorated: Some("10.20.8.0/24".into()), ..Setup::new(64512, [to_us()]) };
    let bird = Daemon::start(Kind::Bird, &bird_host, setup);
    let gobgp = Daemon::start(Kind::Gobgp, &gobgp_host, Setup::new(65004, [to_us()]));

    // Import.
    let preferred = until("10.20.7.0/24 with its priority", || {
        ours.path("10.20.7.0/24").filter(|path| path.peer.is_some())
    });
    assert_eq!(preferred.attrs.local_pref, Some(MOST - 7));
    let prepended = ours.learns("10.20.6.0/24");
    assert_eq!(prepended.attrs.as_path.to_string(), "65010 65001");
    assert!(prepended.attrs.communities.contains(&bgp::wire::Community::new(64512, 6)));
    ours.learns("10.20.9.0/24");
    ours.learns("10.20.8.0/24");

    // Export, by what distinguishes each.
    let communities = |prefix: &str| -> BTreeSet<String> {
        let seen = gobgp.learns(prefix);
        seen.communities.union(&seen.large).cloned().collect()
    };
    assert!(communities("10.20.2.0/26").contains("64512:2"), "In, with a length");
    assert!(communities("10.20.2.0/24").contains("64512:4"), "its length is none of those");
    assert_eq!(
        gobgp.learns("10.20.7.0/24").as_path,
        "64512 64512 64513 65001",
        "a community, and a prepended path"
    );
    assert!(communities("10.20.9.0/24").contains("64512:9:9"), "the beginning of its path");
    assert!(communities("10.20.8.0/24").contains("64512:8"), "its priority");
    assert!(communities("192.0.2.7/32").contains("64512:10"), "its interface");
    assert!(communities("10.20.4.0/24").contains("64512:4"), "from a peer, and not equal");
    assert_eq!(communities("10.1.0.0/26"), BTreeSet::new(), "no rule decides: our own is told as it is");
    // Inside our AS the priority is the preference.
    assert_eq!(bird.learns("10.1.0.0/26").local_pref, Some(MOST - 100));

    throughout(Duration::from_millis(300), "what is refused stays away", || {
        let refused = ["10.20.1.0/24", "10.20.3.0/24", "192.0.2.8/32", "10.20.5.0/24"];
        refused.iter().all(|prefix| gobgp.sees(prefix).is_none()) && ours.path("10.20.5.0/24").is_none()
    });
}

#[test]
fn rules_of_ipv6_are_for_sessions_over_ipv6() {
    let segment = Segment::new();
    let [here, there] = [1, 2].map(|number| segment.host(number));
    let lan = json!([rule("Accept", json!({"cidr": "fd09::/64", "matchOperator": "Equal"}), add("64512:6"))]);
    let refuse = json!([rule("Reject", json!({"cidr": "fd20:1::/64", "matchOperator": "In"}), json!([]))]);
    let cluster = Cluster::new()
        .node("n1", &here, json!({}), json!({}), "10.1.0.0/26")
        .with("BGPConfiguration", "default", json!({"nodeToNodeMeshEnabled": false}))
        .with("BGPFilter", "six", json!({"exportV6": lan, "importV6": refuse}))
        .with(
            "BGPPeer",
            "frr",
            json!({"peerIP": there.v6.to_string(), "asNumber": 65001, "filters": ["six"]}),
        );
    let mut ours = Ours::start(&here, cluster.job("n1"));
    let setup = Setup::new(65001, [Peering::new(here.v6, 64512)]).announcing(&["fd20:1::/64", "fd20:2::/64"]);
    let frr = Daemon::start(Kind::Frr, &there, setup);
    ours.learns("fd20:2::/64");
    assert!(ours.path("fd20:1::/64").is_none());
    assert!(frr.learns("fd09::/64").communities.contains("64512:6"));
}
