//! BGPFilter: every condition and every operation, each by a prefix that only it decides, over IPv4 and IPv6; and which
//! interfaces' subnets are told at all.

use interop_tests::{Cluster, Daemon, Host, Kind, Ours, Over, Peering, Segment, Setup, throughout, until};
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

/// A network that others announce.
fn net(over: Over, number: u8) -> String {
    match over {
        Over::V4 => format!("10.20.{number}.0/24"),
        Over::V6 => format!("fd20:{number}::/64"),
    }
}

/// A part of network 2, and lengths that it has and the whole has not.
fn part(over: Over) -> (&'static str, Value) {
    match over {
        Over::V4 => ("10.20.2.0/26", json!({"min": 26, "max": 27})),
        Over::V6 => ("fd20:2::/122", json!({"min": 122, "max": 123})),
    }
}

/// A pool, and the node's own block of it.
fn pool(over: Over) -> (&'static str, &'static str) {
    match over {
        Over::V4 => ("10.1.0.0/16", "10.1.0.0/26"),
        Over::V6 => ("fd01::/48", "fd01::/122"),
    }
}

/// An address of the node's own, elsewhere.
fn own(over: Over, number: u8) -> String {
    match over {
        Over::V4 => format!("192.0.2.{number}/32"),
        Over::V6 => format!("fd92::{number}/128"),
    }
}

fn export(over: Over) -> Value {
    let none = json!([]);
    let ((_, lengths), (pool, _)) = (part(over), pool(over));
    json!([
        rule("Reject", json!({"peerType": "iBGP"}), none.clone()),
        rule("Reject", json!({"cidr": net(over, 1), "matchOperator": "Equal"}), none.clone()),
        rule(
            "Accept",
            json!({"cidr": net(over, 2), "matchOperator": "In", "prefixLength": lengths}),
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
            json!({"source": "RemotePeers", "interface": "e0", "cidr": net(over, 3), "matchOperator": "NotEqual"}),
            add("64512:4")
        ),
        rule("Reject", json!({"cidr": pool, "matchOperator": "NotIn"}), none),
    ])
}

fn import(over: Over) -> Value {
    json!([
        rule("Reject", json!({"cidr": net(over, 5), "matchOperator": "Equal"}), json!([])),
        rule(
            "Accept",
            json!({"communities": {"values": ["64512:1:2"]}}),
            json!([{"setPriority": {"value": 7}}])
        ),
        rule(
            "Accept",
            json!({"cidr": net(over, 6), "matchOperator": "Equal"}),
            json!([{"prependASPath": {"prefix": [65010]}}, {"addCommunity": {"value": "64512:6"}}])
        ),
    ])
}

fn inside(over: Over) -> Value {
    let priority = json!([{"setPriority": {"value": 100}}]);
    json!([rule(
        "Accept",
        json!({"cidr": pool(over).0, "matchOperator": "In", "peerType": "iBGP"}),
        priority
    )])
}

fn with_peer(cluster: Cluster, name: &str, host: &Host, asn: u32, filter: &str) -> Cluster {
    Over::BOTH.into_iter().fold(cluster, |cluster, over| {
        let spec = json!({"peerIP": host.end(over).to_string(), "asNumber": asn, "filters": [filter]});
        cluster.with("BGPPeer", &format!("{name}-{over:?}"), spec)
    })
}

#[test]
fn every_condition_and_operation_of_a_bgpfilter_is_seen_by_its_peer() {
    let segment = Segment::new();
    let [here, frr_host, bird_host, gobgp_host, far_host] =
        [1, 2, 3, 4, 5].map(|number| segment.host(number));
    let [four, six] = Over::BOTH;
    let ignored = json!({"nodeToNodeMeshEnabled": false, "ignoredInterfaces": ["lo9"]});
    let base = Cluster::new()
        .node("n1", &here, json!({}), json!({}), pool(four).1)
        .with("IPPool", "six", json!({"cidr": pool(six).0}))
        .block("n1", pool(six).1)
        .with("BGPConfiguration", "default", ignored)
        .with("BGPFilter", "out", json!({"exportV4": export(four), "exportV6": export(six)}))
        .with("BGPFilter", "in", json!({"importV4": import(four), "importV6": import(six)}))
        .with("BGPFilter", "inside", json!({"exportV4": inside(four), "exportV6": inside(six)}));
    let on = [(7, "lo"), (8, "dummy0"), (9, "lo9")];
    let addresses =
        Over::BOTH.into_iter().flat_map(|over| on.map(|(n, interface)| (own(over, n), interface)));
    let cluster = addresses.fold(base, |cluster, (addr, interface)| cluster.connected(&addr, interface));
    let cluster = with_peer(cluster, "frr", &frr_host, 65001, "in");
    let cluster = with_peer(cluster, "bird", &bird_host, 64512, "inside");
    let cluster = with_peer(cluster, "gobgp", &gobgp_host, 65004, "out");
    let mut ours = Ours::start(&here, cluster.job("n1"));
    let to_us = || Peering::both(&here, 64512).to_vec();
    let nets = |numbers: &[u8]| -> Vec<String> {
        Over::BOTH.iter().flat_map(|over| numbers.iter().map(|number| net(*over, *number))).collect()
    };
    let peerings = [to_us(), Peering::both(&far_host, 64999).to_vec()].concat();
    let setup = Setup::new(65001, peerings).decorating(&nets(&[7])).announcing(&nets(&[1, 2, 3, 4, 5, 6]));
    let _frr = Daemon::start(Kind::Frr, &frr_host, setup.announcing(&Over::BOTH.map(|over| part(over).0)));
    let far = Setup::new(64999, Peering::both(&frr_host, 65001));
    let _far = Daemon::start(Kind::Bird, &far_host, far.announcing(&nets(&[9])));
    let bird = Daemon::start(Kind::Bird, &bird_host, Setup::new(64512, to_us()).decorating(&nets(&[8])));
    let gobgp = Daemon::start(Kind::Gobgp, &gobgp_host, Setup::new(65004, to_us()));

    for over in Over::BOTH {
        let net = |number: u8| net(over, number);
        // Import.
        let preferred =
            until("network 7 with its priority", || ours.path(&net(7)).filter(|path| path.peer.is_some()));
        assert_eq!(preferred.attrs.local_pref, Some(MOST - 7));
        let prepended = ours.learns(&net(6));
        assert_eq!(prepended.attrs.as_path.to_string(), "65010 65001");
        assert!(prepended.attrs.communities.contains(&bgp::wire::Community::new(64512, 6)));
        ours.learns(&net(9));
        ours.learns(&net(8));

        // Export, by what distinguishes each.
        let communities = |prefix: &str| -> BTreeSet<String> {
            let seen = gobgp.learns(prefix);
            seen.communities.union(&seen.large).cloned().collect()
        };
        assert!(communities(part(over).0).contains("64512:2"), "In, with a length");
        assert!(communities(&net(2)).contains("64512:4"), "its length is none of those");
        let told = gobgp.learns(&net(7));
        assert_eq!(told.as_path, "64512 64512 64513 65001", "a community, and a prepended path");
        assert!(communities(&net(9)).contains("64512:9:9"), "the beginning of its path");
        assert!(communities(&net(8)).contains("64512:8"), "its priority");
        assert!(communities(&own(over, 7)).contains("64512:10"), "its interface");
        assert!(communities(&net(4)).contains("64512:4"), "from a peer, and not equal");
        let block = pool(over).1;
        assert_eq!(communities(block), BTreeSet::new(), "no rule decides: our own is told as it is");
        // Inside our AS the priority is the preference.
        assert_eq!(bird.learns(block).local_pref, Some(MOST - 100));

        throughout(Duration::from_millis(300), "what is refused or ignored stays away", || {
            let away = [net(1), net(3), net(5), own(over, 8), own(over, 9)];
            away.iter().all(|prefix| gobgp.sees(prefix).is_none()) && ours.path(&net(5)).is_none()
        });
    }
}
