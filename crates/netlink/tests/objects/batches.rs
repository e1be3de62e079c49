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
            "route 6.2.137.67/32: the rules that guard the pod were refused (errno 125)",
            "route 6.2.180.0/26: ok",
        ]
    );
    assert_eq!(node.host.sh("ip route show proto 80").lines().count(), 1);
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
