//! An agent that ends in order, as when its container is replaced, takes no leave of its peers: they keep its routes until it
//! is back (RFC 4724), since the kernel goes on forwarding. The agent is that of a lab's node, beside which the others stand.

use interop_tests::{Daemon, Host, Peering, Setup, one_of_each, until};
use lab_tests::Lab;
use lab_tests::bgp::apply;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

/// The node's address, and its block.
const NODE: (&str, IpAddr) = ("master1", IpAddr::V4(Ipv4Addr::new(192, 168, 50, 161)));
const BLOCK: &str = "6.2.137.64/26";

fn all_keep_the_route(daemons: &[Daemon<'_>]) {
    for daemon in daemons {
        assert!(daemon.sees(BLOCK).is_some(), "{:?} keeps the route", daemon.kind);
    }
}

#[test]
fn they_keep_our_routes_while_an_agent_ends_in_order_and_is_started_again() {
    let lab = Lab::up(&["--mode", "direct"]);
    let (node, addr) = NODE;
    let hosts = [30, 31, 32].map(|number| {
        let v4 = Ipv4Addr::new(192, 168, 50, number);
        let spec = format!("{{peerIP: {v4}, asNumber: 65001, node: {node}}}");
        apply(&lab, "BGPPeer", &format!("router-{number}"), &spec);
        Host { netns: lab.stranger(&format!("{v4}/24")), v4, v6: Ipv6Addr::UNSPECIFIED }
    });
    let daemons = one_of_each(&hosts, |_| Setup::new(65001, [Peering::new(addr, 64512)]));
    for daemon in &daemons {
        daemon.learns(BLOCK);
    }

    let pid = lab.pid("node-master1");
    let asked = Command::new("kill").args(["-TERM", &pid.to_string()]).status();
    assert!(asked.is_ok_and(|status| status.success()));
    let is_there = || std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
    until("the agent has ended", || is_there().map_or(true, |line| line.is_empty()).then_some(()));
    for daemon in &daemons {
        until("they notice", || (!daemon.is_established(addr)).then_some(()));
    }
    all_keep_the_route(&daemons);

    lab.verb(&["start", "node-master1"]);
    until("every session again", || {
        all_keep_the_route(&daemons);
        daemons.iter().all(|daemon| daemon.is_established(addr)).then_some(())
    });
    all_keep_the_route(&daemons);
}
