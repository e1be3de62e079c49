//! Many steps at once: order, size, refusals in the middle.

use crate::node::*;
use kernel::nft::TableKey;
use kernel::{Key, LinkKind, Step, Value, VethPeer, rules_key};
use model::IfName;

fn create((key, value): (Key, Value)) -> Step {
    Step::Create(key, value)
}

#[test]
fn a_refusal_in_the_middle_stops_nothing_and_is_said_of_its_own_step() {
    let node = Node::new();
    node.host.sh("ip route add 10.1.70.0/24 via 192.168.50.9 dev ens192");
    let steps: Vec<Step> = (0..200_u8)
        .map(|n| {
            // The node's own address is no gateway.
            let gateway = if n == 130 { "192.168.50.161" } else { "192.168.50.162" };
            create(route(&format!("10.1.{n}.0/24"), via(gateway, "ens192")))
        })
        .collect();
    let said = node.apply(&steps);
    assert_eq!(said.len(), 200);
    let refused: Vec<&String> = said.iter().filter(|line| !line.ends_with(": ok")).collect();
    assert_eq!(
        refused,
        [
            "route 10.1.70.0/24: File exists (errno 17)",
            "route 10.1.130.0/24: Nexthop has invalid gateway (errno 22)"
        ]
    );
    assert_eq!(node.host.sh("ip route show proto 80").lines().count(), 198);
}

#[test]
fn of_tables_that_change_together_a_refused_one_keeps_none_back() {
    let node = Node::new();
    node.host.sh("nft add table inet calico");
    let table = |key| create((Key::Nft(key), Value::Nft(Box::default())));
    let said = node.apply(&[table(TableKey::inet()), table(TableKey::arp())]);
    assert_eq!(
        said,
        [
            "nftables inet calico: table inet calico: the table itself: File exists (errno 17)",
            "nftables arp calico: ok"
        ]
    );
    assert_eq!(node.host.sh("nft list tables"), "table inet calico\ntable arp calico\n");
}

#[test]
fn nothing_leads_to_a_pod_if_the_rules_before_it_are_refused() {
    let node = Node::new();
    node.host.sh("nft add table inet calico");
    let pair = LinkKind::Veth { peer: Some(VethPeer { key: link_key(POD, "eth0"), mac: None, mtu: None }) };
    let said = node.apply(&[
        create(link(HOST, "calia", plain(pair))),
        create((rules_key(), Value::Nft(Box::default()))),
        Step::Up(HOST, IfName::fixed("calia")),
        create(route("6.2.137.67/32", direct("calia"))),
        create(route("6.2.180.0/26", via("192.168.50.162", "ens192"))),
    ]);
    assert_eq!(
        said,
        [
            "link calia: ok",
            "nftables inet calico: table inet calico: the table itself: File exists (errno 17)",
            "route 6.2.137.67/32: it needs nftables inet calico, which was refused (errno 125)",
            "route 6.2.180.0/26: ok",
        ]
    );
    assert_eq!(node.host.sh("ip route show proto 80").lines().count(), 1);
}

/// The kernel takes no far end of another address family: the route stays where packets arrive.
#[test]
fn a_route_does_not_move_to_a_neighbour_that_was_refused_and_its_old_one_stays() {
    let node = Node::new();
    node.create(&link(HOST, "vxlan.calico", vxlan(4096)));
    node.done(Step::Up(HOST, IfName::fixed("vxlan.calico")));
    let (old_entry, entry) =
        (fdb("66:00:00:00:00:01", "192.168.50.162"), fdb("66:00:00:00:00:02", "fd00::162"));
    let old_neighbour = neigh("vxlan.calico", "6.2.180.0", "66:00:00:00:00:01");
    let neighbour = neigh("vxlan.calico", "6.2.180.1", "66:00:00:00:00:02");
    let (block, to) = ("6.2.180.0/26", |gateway| via(gateway, "vxlan.calico"));
    for object in [&old_entry, &old_neighbour, &route(block, to("6.2.180.0"))] {
        node.create(object);
    }
    let (key, from) = route(block, to("6.2.180.0"));
    let (_, moved) = route(block, to("6.2.180.1"));
    let steps = [
        create(entry),
        create(neighbour),
        Step::Replace { key, from, to: moved },
        create(route("6.2.190.0/26", via("192.168.50.163", "ens192"))),
        Step::Remove(old_neighbour.0, old_neighbour.1),
        Step::Remove(old_entry.0, old_entry.1),
    ];
    assert_eq!(
        node.apply(&steps),
        [
            "fdb 66:00:00:00:00:01 dev vxlan.calico: neighbour 6.2.180.0 dev vxlan.calico still needs it (errno 125)",
            "fdb 66:00:00:00:00:02 dev vxlan.calico: Address family not supported by protocol (errno 97)",
            "neighbour 6.2.180.0 dev vxlan.calico: route 6.2.180.0/26 still needs it (errno 125)",
            "neighbour 6.2.180.1 dev vxlan.calico: it needs fdb 66:00:00:00:00:02 dev vxlan.calico, which was refused \
             (errno 125)",
            "route 6.2.180.0/26: it needs neighbour 6.2.180.1 dev vxlan.calico, which was refused (errno 125)",
            "route 6.2.190.0/26: ok",
        ]
    );
    assert_eq!(
        node.host.sh("ip route show 6.2.180.0/26"),
        "6.2.180.0/26 via 6.2.180.0 dev vxlan.calico proto 80 onlink \n"
    );
}

#[test]
fn every_message_of_a_batch_can_be_refused() {
    let node = Node::new();
    let steps: Vec<Step> =
        (0..=255_u8).map(|n| create(route(&format!("10.1.{n}.0/24"), blackhole()))).collect();
    assert!(node.apply(&steps).iter().all(|line| line.ends_with(": ok")));
    let again = node.apply(&steps);
    assert!(again.iter().all(|line| line.ends_with(": File exists (errno 17)")), "{again:?}");
    assert_eq!(again.len(), 256);
}

#[test]
fn steps_of_several_namespaces_keep_their_order() {
    let node = Node::new();
    let peer = VethPeer { key: link_key(POD, "eth0"), mac: None, mtu: None };
    let addr = |netns, device: &str, text: &str| {
        let (Key::Addr(mut key), value) = addr(device, text) else { unreachable!("an address") };
        key.netns = netns;
        create((Key::Addr(key), value))
    };
    let steps = [
        create(link(HOST, "calia", plain(LinkKind::Veth { peer: Some(peer) }))),
        addr(POD, "eth0", "6.2.137.67/32"),
        addr(HOST, "calia", "10.0.0.1/32"),
        Step::Up(POD, IfName::fixed("eth0")),
        Step::Up(HOST, IfName::fixed("calia")),
        create(route("6.2.137.67/32", direct("calia"))),
    ];
    let said = node.apply(&steps);
    assert!(said.iter().all(|line| line.ends_with(": ok")), "{said:?}");
    assert!(node.host.sh("ip route show").contains("6.2.137.67 dev calia proto 80 scope link"));
    assert!(node.pod.sh("ip -br addr show eth0").contains("UP"));
}

#[test]
fn an_interface_that_is_made_anew_in_the_same_run_is_found_by_its_new_number() {
    let node = Node::new();
    let device = |vni| link(HOST, "vxlan.calico", vxlan(vni));
    let (key, before) = device(1);
    node.create(&(key.clone(), before.clone()));
    let steps = [
        create(fdb("66:00:00:00:00:01", "192.168.50.162")),
        Step::Replace { key, from: before, to: device(2).1 },
        create(fdb("66:00:00:00:00:02", "192.168.50.163")),
    ];
    let said = node.apply(&steps);
    assert!(said.iter().all(|line| line.ends_with(": ok")), "{said:?}");
    let shown = node.host.sh("bridge fdb show dev vxlan.calico");
    assert_eq!(shown.trim_end(), "66:00:00:00:00:02 dst 192.168.50.163 self permanent");
}
