//! Neighbours, and forwarding entries of the VXLAN device.

use crate::node::*;
use kernel::{Key, LinkValue, NeighValue, Step, Value};
use model::{IfName, Mtu};

#[test]
fn a_neighbour_is_made_changed_read_back_and_removed() {
    let node = Node::new();
    for addr in ["192.168.50.162", "fd00::2"] {
        let first = neigh("ens192", addr, "02:00:00:00:00:01");
        let second = neigh("ens192", addr, "02:00:00:00:00:02");
        node.create(&first);
        assert_eq!(node.found(&first.0), Some(first.1.clone()));
        node.replace(&first, &second);
        let shown = node.host.sh(&format!("ip neigh show {addr} dev ens192"));
        assert_eq!(shown.trim_end(), format!("{addr} lladdr 02:00:00:00:00:02 PERMANENT"));
        node.remove(&second);
        assert_eq!(node.found(&second.0), None);
        node.remove(&second);
    }
}

#[test]
fn what_the_kernel_learnt_itself_gives_way() {
    let node = Node::new();
    node.host.sh("ip neigh add 192.168.50.162 lladdr 02:00:00:00:00:07 nud reachable dev ens192");
    let wanted = neigh("ens192", "192.168.50.162", "02:00:00:00:00:01");
    let learnt = Value::Neigh(NeighValue { mac: mac("02:00:00:00:00:07"), permanent: false });
    assert_eq!(node.found(&wanted.0), Some(learnt));
    node.create(&wanted);
    assert_eq!(node.found(&wanted.0), Some(wanted.1));
}

/// Else a tunnel whose MTU changes reaches nobody until they are made again.
#[test]
fn neighbours_outlive_a_change_of_their_devices_mtu() {
    let node = Node::new();
    let tunnel = LinkValue { up: true, ..vxlan(4096) };
    let (before, after) = (tunnel.clone(), LinkValue { mtu: Some(Mtu(1400)), ..tunnel });
    let [before, after] = [before, after].map(|value| link(HOST, "vxlan.calico", value));
    node.create(&before);
    node.done(Step::Up(HOST, IfName::fixed("vxlan.calico")));
    let peer = neigh("vxlan.calico", "6.2.180.0", "66:00:00:00:00:01");
    node.create(&peer);
    node.replace(&before, &after);
    assert!(node.host.sh("ip link show vxlan.calico").contains("mtu 1400"));
    assert_eq!(node.found(&peer.0), Some(peer.1));
}

#[test]
fn a_forwarding_entry_is_made_changed_read_back_and_removed() {
    let node = Node::new();
    node.tunnel();
    let first = fdb("66:00:00:00:00:01", "192.168.50.162");
    let second = fdb("66:00:00:00:00:01", "192.168.50.163");
    node.create(&first);
    assert_eq!(node.found(&first.0), Some(first.1.clone()));
    node.replace(&first, &second);
    let shown = node.host.sh("bridge fdb show dev vxlan.calico");
    assert_eq!(shown.trim_end(), "66:00:00:00:00:01 dst 192.168.50.163 self permanent");
    node.remove(&second);
    assert_eq!(node.host.sh("bridge fdb show dev vxlan.calico"), "");
    node.remove(&second);
}

#[test]
fn entries_of_other_devices_and_proxies_are_not_taken_for_ours() {
    let node = Node::new();
    node.host.sh("ip link add br0 type bridge; ip link set far master br0");
    node.host.sh("bridge fdb add 02:00:00:00:00:05 dev far master static");
    node.host.sh("ip neigh add proxy 10.9.9.9 dev ens192");
    let entries = node.dump(HOST);
    assert!(!entries.keys().any(|key| matches!(key, Key::Fdb(_))), "{entries:?}");
    assert!(!entries.keys().any(|key| key.to_string().contains("10.9.9.9")), "{entries:?}");
}
