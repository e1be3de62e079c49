//! Pods' namespaces that go while they are in use.

use crate::node::*;
use kernel::{Key, LinkKind, LinkValue, PodNs, Step, VethPeer};
use model::{IfName, Mac};
use netlink::{Event, Monitor, Writer};
use std::time::{Duration, Instant};

/// Both ends of a pair, from the node's `cali1` to the pod's `eth0`.
fn pair() -> Vec<Step> {
    let peer = VethPeer { key: link_key(POD, "eth0"), mac: None, mtu: None };
    let host = LinkValue { mac: Some(Mac::WORKLOAD_HOST), ..plain(LinkKind::Veth { peer: Some(peer) }) };
    let (end, ends) = link(POD, "eth0", plain(LinkKind::Veth { peer: None }));
    let (key, value) = link(HOST, "cali1", host);
    vec![Step::Create(key, value), Step::Create(end, ends), Step::Up(POD, IfName::fixed("eth0"))]
}

fn make_pair(writer: &mut Writer) {
    for outcome in writer.apply(&pair()) {
        assert_eq!(outcome.result, Ok(()), "{}", outcome.key);
    }
}

#[test]
fn a_namespace_whose_path_is_gone_is_reached_until_it_is_closed() {
    let Node { host, pod } = Node::new();
    host.run(|| {
        let mut writer = Writer::open().unwrap();
        writer.open_pod(PodNs(1), pod.open()).unwrap();
        drop(pod);
        make_pair(&mut writer);
        let found = writer.dump(POD, &[]).unwrap().unwrap();
        assert!(found.contains_key(&Key::Link(link_key(POD, "eth0"))));
        writer.close_pod(PodNs(1));
        assert!(writer.dump(POD, &[]).is_none());
        for outcome in writer.apply(&pair()) {
            let error = outcome.result.expect_err("nothing is there");
            let text = match outcome.key.netns() {
                HOST => "netns 1: the namespace is not open",
                _ => "the pod's interface could not be made",
            };
            assert_eq!(error.text, text, "{}", outcome.key);
        }
    });
}

#[test]
fn the_nodes_end_goes_with_a_pods_namespace_and_is_told_of() {
    let Node { host, pod } = Node::new();
    host.run(|| {
        let mut writer = Writer::open().unwrap();
        writer.open_pod(PodNs(1), pod.open()).unwrap();
        make_pair(&mut writer);
        let mut monitor = Monitor::open(1 << 20).unwrap();
        drop(pod);
        writer.close_pod(PodNs(1));
        // The kernel takes namespaces away when it finds the time.
        let (key, value) = link(HOST, "cali1", plain(LinkKind::Veth { peer: None }));
        let (gone, deadline) = (Event::Gone(key.clone()), Instant::now() + Duration::from_secs(20));
        while !monitor.read().unwrap().contains(&gone) {
            assert!(Instant::now() < deadline, "the pair outlives its namespace");
            std::thread::sleep(Duration::from_millis(10));
        }
        let outcomes = writer.apply(&[Step::Remove(key, value)]);
        assert_eq!(outcomes[0].result, Ok(()), "its absence is success");
    });
}
