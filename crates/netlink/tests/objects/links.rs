//! Interfaces: made, changed, made anew, removed.

use crate::node::*;
use kernel::{Key, LinkKind, LinkValue, Step, Value, VethPeer};
use model::{IfName, Mac, Mtu};

const HOST_END: &str = "cali7f94ce7c295";

fn veth() -> LinkValue {
    let peer =
        VethPeer { key: link_key(POD, "eth0"), mac: Some(mac("02:01:02:03:04:05")), mtu: Some(Mtu(1410)) };
    LinkValue {
        mac: Some(Mac::WORKLOAD_HOST),
        mtu: Some(Mtu(1410)),
        alias: Some("cni k8s-pod-network abc eth0".into()),
        ..plain(LinkKind::Veth { peer: Some(peer) })
    }
}

#[test]
fn a_pair_is_made_with_both_ends_as_wanted() {
    let node = Node::new();
    let pair = link(HOST, HOST_END, veth());
    node.create(&pair);
    let host = node.host.sh(&format!("ip link show {HOST_END}"));
    for words in ["mtu 1410", "state DOWN", "ee:ee:ee:ee:ee:ee", "alias cni k8s-pod-network abc eth0"] {
        assert!(host.contains(words), "{words}: {host}");
    }
    let pod = node.pod.sh("ip link show eth0");
    assert!(pod.contains("mtu 1410") && pod.contains("02:01:02:03:04:05"), "{pod}");
    let found = node.found(&pair.0).unwrap();
    assert!(pair.1.satisfied_by(&found), "{found}");
    assert!(node.dump(POD).contains_key(&Key::Link(link_key(POD, "eth0"))));
}

#[test]
fn both_ends_come_up() {
    let node = Node::new();
    node.create(&link(HOST, HOST_END, veth()));
    node.done(Step::Up(HOST, IfName::fixed(HOST_END)));
    node.done(Step::Up(POD, IfName::fixed("eth0")));
    assert!(node.host.sh(&format!("ip link show {HOST_END}")).contains("LOWER_UP"));
    let Some(Value::Link(found)) = node.found(&Key::Link(link_key(POD, "eth0"))) else { panic!("no eth0") };
    assert!(found.up);
}

#[test]
fn a_changed_mtu_mac_and_alias_are_set_without_making_the_interface_anew() {
    let node = Node::new();
    let pair = link(HOST, HOST_END, veth());
    node.create(&pair);
    node.done(Step::Up(HOST, IfName::fixed(HOST_END)));
    let number = || node.host.sh(&format!("ip -o link show {HOST_END} | cut -d: -f1"));
    let before = number();
    let other = LinkValue {
        mac: Some(mac("02:00:00:00:00:09")),
        mtu: Some(Mtu(1300)),
        alias: Some("another".into()),
        ..veth()
    };
    let changed = link(HOST, HOST_END, other);
    node.replace(&pair, &changed);
    assert_eq!(number(), before);
    let found = node.found(&pair.0).unwrap();
    assert!(changed.1.satisfied_by(&found), "{found}");
}

#[test]
fn a_vxlan_device_is_made_as_wanted_and_read_back() {
    let node = Node::new();
    let tunnel = link(HOST, "vxlan.calico", vxlan(4096));
    node.create(&tunnel);
    let shown = node.host.sh("ip -d link show vxlan.calico");
    let wanted = [
        "vxlan id 4096 local 192.168.50.161 dev ens192",
        "dstport 4789",
        "nolearning",
        "mtu 1450",
        "66:f9:37:c3:7e:94",
    ];
    for words in wanted {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert_eq!(node.found(&tunnel.0), Some(tunnel.1));
}

#[test]
fn a_device_of_another_vni_is_made_anew_under_its_name() {
    let node = Node::new();
    let (before, after) = (link(HOST, "vxlan.calico", vxlan(1)), link(HOST, "vxlan.calico", vxlan(4096)));
    node.create(&before);
    node.replace(&before, &after);
    assert!(node.host.sh("ip -d link show vxlan.calico").contains("vxlan id 4096"));
}

#[test]
fn a_device_of_our_name_with_learning_is_ours_and_made_anew() {
    let node = Node::new();
    node.host.sh("ip link add vxlan.calico type vxlan id 4096 local 192.168.50.161 dev ens192 dstport 4789");
    let wanted = link(HOST, "vxlan.calico", vxlan(4096));
    let found = node.found(&wanted.0).unwrap();
    assert!(!wanted.1.satisfied_by(&found) && kernel::ours(&wanted.0, &found), "{found}");
    node.replace(&(wanted.0.clone(), found), &wanted);
    assert!(node.host.sh("ip -d link show vxlan.calico").contains("nolearning"));
}

#[test]
fn a_name_that_is_taken_is_refused_in_the_kernels_words() {
    let node = Node::new();
    node.host.sh(&format!("ip link add {HOST_END} type bridge"));
    let (key, value) = link(HOST, HOST_END, veth());
    // The alias is not written to what stands there.
    assert_eq!(node.apply(&[Step::Create(key, value)]), [format!("link {HOST_END}: File exists (errno 17)")]);
    assert!(node.host.sh(&format!("ip -d link show {HOST_END}")).contains("bridge"));
}

#[test]
fn removing_an_interface_takes_its_peer_and_its_absence_is_success() {
    let node = Node::new();
    let pair = link(HOST, HOST_END, veth());
    node.create(&pair);
    node.remove(&pair);
    assert_eq!(node.pod.sh("ip -br link").lines().count(), 1, "lo alone");
    node.remove(&pair);
}

#[test]
fn many_pairs_are_removed_together_and_nobody_elses() {
    let node = Node::new();
    node.host.sh("ip link add califoreign type veth peer name foreign-peer");
    let pairs: Vec<(Key, Value)> = (0..3)
        .map(|n| {
            let mut value = veth();
            let LinkKind::Veth { peer: Some(peer) } = &mut value.kind else { unreachable!("a pair") };
            peer.key.name = IfName::fixed(["eth0", "eth1", "eth2"][n]);
            link(HOST, &format!("cali7f94ce7c29{n}"), value)
        })
        .collect();
    pairs.iter().for_each(|pair| node.create(pair));
    let absent = link(HOST, "cali-absent", veth());
    let removals = pairs.iter().chain([&absent]).map(|(key, value)| Step::Remove(key.clone(), value.clone()));
    let outcomes = node.apply(&removals.collect::<Vec<_>>());
    assert!(outcomes.len() == 4 && outcomes.iter().all(|said| said.ends_with(": ok")), "{outcomes:?}");
    let left = node.host.sh("ip -br link");
    assert!(pairs.iter().all(|(key, _)| node.found(key).is_none()), "{left}");
    assert!(left.contains("califoreign"), "{left}");
    assert_eq!(node.pod.sh("ip -br link").lines().count(), 1, "lo alone");
}

#[test]
fn a_namespace_that_is_not_open_is_said() {
    let node = Node::new();
    let mut value = veth();
    let LinkKind::Veth { peer: Some(peer) } = &mut value.kind else { unreachable!("a pair") };
    peer.key.netns = kernel::Netns::Pod(kernel::PodNs(9));
    let (key, value) = link(HOST, HOST_END, value);
    let said = node.apply(&[Step::Create(key, value)]);
    assert_eq!(said, [format!("link {HOST_END}: netns 9: the namespace is not open (errno 2)")]);
}
