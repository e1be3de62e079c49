//! Routes of every form that we write.

use crate::node::*;
use kernel::{Key, RouteValue, Step, Value, Way};
use model::{IfName, Mtu};

fn way(gateway: &str, device: &str) -> Way {
    Way { gateway: gateway.parse().unwrap(), device: IfName::fixed(device) }
}

/// By two neighbours at once.
fn spread() -> RouteValue {
    RouteValue { also: vec![way("192.168.50.163", "ens192")], ..via("192.168.50.162", "ens192") }
}

/// Where, what, and how iproute2 shows it.
fn forms() -> Vec<((Key, Value), &'static str)> {
    let metric = {
        let (Key::Route(mut key), value) = route("10.4.0.0/16", blackhole()) else { unreachable!("a route") };
        key.priority = 1_048_576;
        (Key::Route(key), value)
    };
    vec![
        (
            route("6.2.180.0/26", RouteValue { mtu: Some(Mtu(1450)), ..via("6.2.180.1", "vxlan.calico") }),
            "6.2.180.0/26 via 6.2.180.1 dev vxlan.calico proto 80 onlink mtu 1450",
        ),
        (
            route("6.2.136.0/26", via("192.168.50.162", "ens192")),
            "6.2.136.0/26 via 192.168.50.162 dev ens192 proto 80 onlink",
        ),
        (route("6.2.137.64/26", blackhole()), "blackhole 6.2.137.64/26 proto 80"),
        (route("6.2.137.67/32", direct("ens192")), "6.2.137.67 dev ens192 proto 80 scope link"),
        (
            route("10.3.0.0/16", RouteValue { source: Some([192, 168, 50, 161].into()), ..direct("ens192") }),
            "10.3.0.0/16 dev ens192 proto 80 scope link src 192.168.50.161",
        ),
        (
            route("0.0.0.0/0", via("192.168.50.1", "ens192")),
            "default via 192.168.50.1 dev ens192 proto 80 onlink",
        ),
        (
            route("10.8.0.0/16", spread()),
            "10.8.0.0/16 proto 80 nexthop via 192.168.50.162 dev ens192 weight 1 onlink \
             nexthop via 192.168.50.163 dev ens192 weight 1 onlink",
        ),
        (
            route(
                "fd00:12::/64",
                RouteValue { also: vec![way("fd00::3", "ens192")], ..via("fd00::2", "ens192") },
            ),
            "fd00:12::/64 proto 80 metric 1024 nexthop via fd00::2 dev ens192 weight 1 onlink \
             nexthop via fd00::3 dev ens192 weight 1 onlink pref medium",
        ),
        (metric, "blackhole 10.4.0.0/16 proto 80 metric 1048576"),
        (
            route("fd00:10::/64", RouteValue { mtu: Some(Mtu(1430)), ..via("fd00::2", "ens192") }),
            "fd00:10::/64 via fd00::2 dev ens192 proto 80 metric 1024 onlink mtu 1430 pref medium",
        ),
        (
            route("fd00:11::/64", blackhole()),
            "blackhole fd00:11::/64 dev lo proto 80 metric 1024 pref medium",
        ),
    ]
}

#[test]
fn every_form_is_made_shown_read_back_and_removed() {
    let node = Node::new();
    node.tunnel();
    node.host.sh("ip addr add fd00::1/64 dev ens192 nodad");
    for (wanted, shown) in forms() {
        node.create(&wanted);
        // Every route on one line, with a backslash where a line would end.
        let lines = node.host.sh("ip -o -4 route show proto 80; ip -o -6 route show proto 80");
        let words = |line: &str| {
            let mut words: Vec<String> =
                line.replace('\\', " ").split_whitespace().map(str::to_owned).collect();
            words.sort();
            words
        };
        // iproute2 leaves out the protocol that it was asked for.
        let wanted_words = words(&shown.replace("proto 80 ", "").replace(" proto 80", ""));
        assert!(lines.lines().any(|line| words(line) == wanted_words), "{shown}: {lines}");
        assert_eq!(node.found(&wanted.0), Some(wanted.1.clone()), "{shown}");
        node.remove(&wanted);
        assert_eq!(node.found(&wanted.0), None, "{shown}");
        node.remove(&wanted);
    }
}

#[test]
fn every_form_of_ipv4_replaces_every_other_in_place() {
    let node = Node::new();
    node.tunnel();
    let values: Vec<RouteValue> = vec![
        RouteValue { mtu: Some(Mtu(1450)), ..via("6.2.180.1", "vxlan.calico") },
        via("192.168.50.162", "ens192"),
        via("192.168.50.163", "ens192"),
        blackhole(),
        direct("ens192"),
        spread(),
    ];
    let mut before = route("6.2.180.0/26", values[0].clone());
    node.create(&before);
    for after in values.iter().chain(values.iter().rev()).chain([&values[3], &values[0], &values[2]]) {
        let after = route("6.2.180.0/26", after.clone());
        node.replace(&before, &after);
        assert_eq!(node.found(&after.0), Some(after.1.clone()));
        assert_eq!(node.host.sh("ip -o -4 route show root 6.2.180.0/26").lines().count(), 1);
        before = after;
    }
}

#[test]
fn a_removal_takes_no_route_of_somebody_else() {
    let node = Node::new();
    let ours = route("10.5.0.0/16", via("192.168.50.162", "ens192"));
    // What was ours is gone; others stand under the same destination.
    node.host.sh("ip route add 10.5.0.0/16 via 192.168.50.9 dev ens192 metric 100");
    node.host.sh("ip route add 10.5.0.0/16 via 192.168.50.162 dev ens192 metric 200");
    node.host.sh("ip route add 10.5.0.0/16 via 192.168.50.163 dev ens192 metric 300 proto 80");
    let before = node.host.sh("ip route show");
    node.remove(&ours);
    assert_eq!(node.host.sh("ip route show"), before);
}

#[test]
fn a_route_that_is_there_is_not_taken_over() {
    let node = Node::new();
    node.host.sh("ip route add 10.6.0.0/16 via 192.168.50.9 dev ens192");
    let before = node.host.sh("ip route show");
    let (key, value) = route("10.6.0.0/16", blackhole());
    assert_eq!(node.apply(&[Step::Create(key, value)]), ["route 10.6.0.0/16: File exists (errno 17)"]);
    assert_eq!(node.host.sh("ip route show"), before);
}

#[test]
fn refusals_are_in_the_kernels_words() {
    let node = Node::new();
    let unreachable = RouteValue { onlink: false, ..via("203.0.113.9", "ens192") };
    let own = via("192.168.50.161", "ens192");
    let nowhere = via("192.168.50.162", "ens9");
    let steps =
        [("10.7.1.0/24", unreachable), ("10.7.2.0/24", own), ("10.7.3.0/24", nowhere)].map(|(dst, value)| {
            let (key, value) = route(dst, value);
            Step::Create(key, value)
        });
    assert_eq!(
        node.apply(&steps),
        [
            "route 10.7.1.0/24: Nexthop has invalid gateway (errno 101)",
            "route 10.7.2.0/24: Nexthop has invalid gateway (errno 22)",
            "route 10.7.3.0/24: there is no interface ens9 (errno 19)",
        ]
    );
}

#[test]
fn of_several_routes_under_one_key_the_one_that_counts_is_read() {
    let node = Node::new();
    node.host.sh("ip route add 10.8.0.0/16 via 192.168.50.9 dev ens192");
    node.host.sh("ip route append 10.8.0.0/16 via 192.168.50.10 dev ens192");
    node.host.sh("ip route add 10.8.0.0/16 tos 8 via 192.168.50.11 dev ens192");
    let (key, _) = route("10.8.0.0/16", blackhole());
    let Some(Value::Route(found)) = node.found(&key) else { panic!("a route") };
    assert_eq!(found.gateway, Some([192, 168, 50, 9].into()));
    assert_eq!(found.device, Some(IfName::fixed("ens192")));
}

#[test]
fn a_table_of_any_number_can_be_written() {
    let node = Node::new();
    for table in [100, 1000] {
        let (Key::Route(mut key), value) = route("10.9.0.0/16", via("192.168.50.162", "ens192")) else {
            unreachable!("a route")
        };
        key.table = table;
        let wanted = (Key::Route(key), value);
        node.create(&wanted);
        let shown = node.host.sh(&format!("ip route show table {table}"));
        assert_eq!(shown.trim_end(), "10.9.0.0/16 via 192.168.50.162 dev ens192 proto 80 onlink");
        node.remove(&wanted);
        assert_eq!(node.host.sh(&format!("ip route show table {table}")), "");
    }
}
