//! Addresses of interfaces.

use crate::node::*;
use kernel::addr::AddrScope;
use kernel::{AddrValue, Step, Value};

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
