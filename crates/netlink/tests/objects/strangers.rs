//! What others have is read without harm, and is neither ours nor taken for ours.

use crate::node::*;
use kernel::{Change, Key, Objects, diff, ours};
use netlink::{Event, Monitor};
use std::collections::BTreeSet;

fn changes(node: &Node) -> Vec<Change> {
    diff(&Objects::new(), &node.dump(HOST), &BTreeSet::new(), ours)
}

#[test]
fn routes_of_other_kinds_and_tables_are_left_alone() {
    let node = Node::new();
    node.host.sh("ip -6 addr add fd00::1/64 dev ens192 nodad && ip -6 route add fd01::/64 via fd00::2 && \
         ip -6 route add default via fe80::1 dev ens192 metric 7 && ip -6 route add unreachable fd02::/64 && \
         ip -6 route add fd03::/64 nexthop via fd00::2 nexthop via fd00::3 && \
         ip route add 10.1.0.0/16 via 192.168.50.2 table 100 && \
         ip route add 10.2.0.0/16 nexthop via 192.168.50.2 nexthop via 192.168.50.3 && \
         ip route add 10.3.0.0/16 via inet6 fe80::1 dev ens192 && ip route add throw 10.4.0.0/16");
    let objects = node.dump(HOST);
    let shown = |prefix: &str| -> Vec<String> {
        let lines = objects.iter().map(|(key, value)| format!("{key} {value}"));
        lines.filter(|line| line.starts_with(prefix)).collect()
    };
    assert_eq!(shown("route fd01::/64"), ["route fd01::/64 via fd00::2 dev ens192 proto 3"]);
    assert_eq!(shown("route ::/0"), ["route ::/0 metric 7 via fe80::1 dev ens192 proto 3"]);
    assert_eq!(shown("route fd03::/64").len(), 1);
    assert_eq!(shown("route 10.1."), [""; 0], "another table's");
    let several = "route 10.2.0.0/16 via 192.168.50.2 dev ens192 proto 3 nexthop via 192.168.50.3 dev ens192";
    assert_eq!(shown("route 10.2."), [several]);
    assert_eq!(shown("route 10.4."), ["route 10.4.0.0/16 type 9 proto 3"]);
    assert_eq!(changes(&node), []);
}

#[test]
fn a_device_of_another_kind_is_not_ours_by_its_name() {
    let node = Node::new();
    node.host.sh("ip link add cali9 type bridge && ip link add vxlan.calico type bridge");
    assert_eq!(changes(&node), []);
}

#[test]
fn what_goes_of_a_route_for_one_type_of_service_is_not_told_as_ours() {
    let node = Node::new();
    let ours = route("6.2.180.0/26", via("192.168.50.162", "ens192"));
    node.create(&ours);
    node.host.sh("ip route add 6.2.180.0/26 tos 0x10 via 192.168.50.9");
    assert_eq!(node.found(&ours.0), Some(ours.1));
    node.host.run(|| {
        let mut monitor = Monitor::open(1 << 20).unwrap();
        node.host.sh("ip route del 6.2.180.0/26 tos 0x10");
        let events = monitor.read().unwrap();
        assert!(!events.iter().any(|event| matches!(event, Event::Gone(Key::Route(_)))), "{events:?}");
    });
}

#[test]
fn a_neighbour_that_somebody_makes_lose_its_mac_is_gone() {
    let node = Node::new();
    let ours = neigh("ens192", "192.168.50.9", "66:00:00:00:00:02");
    node.create(&ours);
    node.host.run(|| {
        let mut monitor = Monitor::open(1 << 20).unwrap();
        node.host.sh("ip neigh change 192.168.50.9 dev ens192 nud failed");
        let events = monitor.read().unwrap();
        assert!(events.contains(&Event::Gone(ours.0.clone())), "{events:?}");
    });
}
