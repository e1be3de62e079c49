//! Addresses of interfaces.

use crate::node::*;
use kernel::addr::AddrScope;
use kernel::{AddrValue, Step, Value};
use netlink::addresses::{self, Address, State};
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

#[test]
fn an_address_is_made_read_back_and_removed() {
    let node = Node::new();
    for (text, shown) in
        [("6.2.137.65/32", "inet 6.2.137.65/32 scope global"), ("fd00::1/64", "inet6 fd00::1/64")]
    {
        let wanted = addr("ens192", text);
        node.create(&wanted);
        assert!(node.host.sh("ip addr show dev ens192").contains(shown), "{text}");
        assert_eq!(node.found(&wanted.0), Some(wanted.1.clone()));
        node.remove(&wanted);
        assert_eq!(node.found(&wanted.0), None);
        node.remove(&wanted);
    }
}

#[test]
fn an_address_of_another_scope_is_made_anew() {
    let node = Node::new();
    let (key, global) = addr("ens192", "6.2.137.65/32");
    let local = Value::Addr(AddrValue { scope: AddrScope::Link });
    node.create(&(key.clone(), global.clone()));
    node.replace(&(key.clone(), global), &(key, local));
    assert!(node.host.sh("ip addr show dev ens192").contains("inet 6.2.137.65/32 scope link ens192"));
}

#[test]
fn an_address_that_is_there_is_refused_in_the_kernels_words() {
    let node = Node::new();
    let (key, value) = addr("ens192", "192.168.50.161/24");
    let said = node.apply(&[Step::Create(key, value)]);
    assert!(said[0].starts_with("address 192.168.50.161/24 dev ens192: "), "{said:?}");
    assert!(said[0].ends_with("(errno 17)"), "{said:?}");
}

/// The addresses of an interface, once they are as they should be.
fn once(node: &Node, device: &str, is_so: impl Fn(&[Address]) -> bool) -> Vec<Address> {
    let start = Instant::now();
    loop {
        let mut found = node.host.run(|| addresses::all().unwrap());
        found.retain(|found| found.device.as_str() == device);
        if is_so(&found) {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{found:?}");
    }
}

#[test]
fn each_address_is_told_with_its_interface_and_whether_it_stays() {
    let node = Node::new();
    node.host.sh("ip addr add 192.168.50.162/24 dev ens192; \
         ip addr add fd00::1/64 dev ens192 nodad; \
         ip addr add fd00::2/64 dev ens192 nodad preferred_lft 0; \
         ip addr add fd00::3/64 dev far nodad; ip addr add fd00::3/64 dev ens192; \
         ip link add lower type veth peer name idle; \
         ip addr add fd00:1::1/64 dev idle nodad; ip link set lower up; ip addr add fd00:1::2/64 dev lower");
    let state = |found: &[Address], addr: &str| {
        let addr: IpAddr = addr.parse().unwrap();
        found.iter().find(|found| found.addr.addr() == addr).map(|found| found.state)
    };
    let uplink = once(&node, "ens192", |found| state(found, "fd00::3") == Some(State::Duplicate));
    for (addr, expected) in [
        ("192.168.50.161", State::Preferred),
        ("192.168.50.162", State::Preferred),
        ("fd00::1", State::Preferred),
        ("fd00::2", State::Deprecated),
    ] {
        assert_eq!(state(&uplink, addr), Some(expected), "{addr}");
    }
    let shown = node.host.sh("ip -o link show dev ens192");
    for Address { index: found, is_up, addr, .. } in &uplink {
        assert!(*is_up && shown.starts_with(&format!("{found}: ens192")), "{addr}: {found} in {shown}");
    }
    // Nobody can be asked whether it is theirs while there is no carrier.
    let [lower] = &once(&node, "lower", |_| true)[..] else { panic!("it has one address") };
    assert_eq!((lower.addr.to_string().as_str(), lower.state), ("fd00:1::2/64", State::Tentative));
    let idle = once(&node, "idle", |_| true);
    assert!(idle.len() == 1 && !idle[0].is_up, "{idle:?}");
}

#[test]
fn a_temporary_address_is_told_as_such_and_not_taken_as_a_source_that_should_stay() {
    let node = Node::new();
    node.host.sh("echo 2 > /proc/sys/net/ipv6/conf/ens192/use_tempaddr; \
         ip addr add fd00::1/64 dev ens192 nodad mngtmpaddr");
    let is_temporary = |found: &Address| found.state == State::Temporary;
    let found = once(&node, "ens192", |found| found.iter().any(is_temporary));
    let temporary = found.iter().find(|found| is_temporary(found)).unwrap().addr.addr();
    let source = |prepare: fn(&UdpSocket)| {
        node.host.run(|| {
            let socket = UdpSocket::bind("[::]:0").unwrap();
            prepare(&socket);
            socket.connect("[fd00::99]:80").unwrap();
            socket.local_addr().unwrap().ip()
        })
    };
    assert_eq!(source(|_| {}), temporary);
    let lasting = source(|socket| addresses::prefer_public(socket.as_fd()).unwrap());
    assert_eq!(lasting, "fd00::1".parse::<IpAddr>().unwrap());
}
