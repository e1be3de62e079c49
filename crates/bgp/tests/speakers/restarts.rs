//! Sessions that break, and speakers that restart (RFC 4724, RFC 8538).

use super::two;
use crate::net::*;
use bgp::wire::{Ctx, Error, Message, Notification};

#[test]
fn a_helper_keeps_the_routes_of_a_peer_that_restarts() {
    let configs = mesh(&[64512; 3]);
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    let mut again = configs[0].clone();
    again.restarting = true;
    again.originate.remove(&cidr("10.0.0.64/26"));
    net.cut(0, 1);
    net.cut(0, 2);
    net.restart(0, again);
    net.run(secs(10));
    assert!(net.best(1)[&cidr("10.0.0.0/26")][0].stale);
    assert!(!net.settled(0), "nothing is selected before the peers have said all");
    net.mend(0, 1);
    net.mend(0, 2);
    net.run(secs(10));
    assert!(net.settled(0));
    assert!(!net.best(1)[&cidr("10.0.0.0/26")][0].stale);
    assert_eq!(net.nexthop(1, "10.0.0.64/26"), None, "what it does not say again goes at its End-of-RIB");
    assert_eq!((net.losses(0), net.losses(1), net.losses(2)), (0, 1, 1));
    net.assert_agreement();
}

#[test]
fn a_peer_that_does_not_come_back_loses_its_routes_when_its_restart_time_is_over() {
    let mut net = Net::new(1, &mesh(&[64512, 64512]));
    net.run(secs(5));
    net.cut(0, 1);
    net.run(secs(119));
    assert_eq!(net.losses(1), 0);
    net.run(secs(2));
    assert_eq!(net.losses(1), 2);
}

#[test]
fn a_restarted_speaker_selects_when_its_time_is_over_even_if_a_peer_never_comes() {
    let mut configs = mesh(&[64512; 3]);
    configs[0].restarting = true;
    let mut net = Net::new(1, &configs);
    net.cut(0, 2);
    net.run(secs(100));
    assert_eq!(net.nexthop(0, "10.1.0.0/26"), None);
    assert_eq!(net.nexthop(1, "10.0.0.0/26"), None);
    net.run(secs(21));
    assert_eq!(net.nexthop(0, "10.1.0.0/26"), Some(addr(1)));
    assert_eq!(net.nexthop(1, "10.0.0.0/26"), Some(addr(0)));
    net.assert_agreement();
}

#[test]
fn f54_a_second_break_before_end_of_rib_drops_what_was_stale() {
    let configs = mesh(&[64512; 3]);
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    // 0 restarts, waits for 2, which is away, and breaks down again before it has said anything.
    net.cut(0, 2);
    net.restart(0, bgp::Config { restarting: true, ..configs[0].clone() });
    net.run(secs(10));
    assert_eq!(net.state(1, 0), "Established");
    assert!(net.best(1)[&cidr("10.0.0.0/26")][0].stale);
    assert_eq!(net.losses(1), 0);
    net.break_connections(0, 1);
    assert_eq!(net.losses(1), 2);
    net.mend(0, 2);
    net.run(secs(130));
    assert_eq!(net.nexthop(1, "10.0.0.0/26"), Some(addr(0)));
    net.assert_agreement();
}

#[test]
fn a_broken_session_that_comes_back_loses_nothing() {
    let mut net = two([64512, 64512]);
    net.break_connections(0, 1);
    assert!(net.best(1)[&cidr("10.0.0.0/26")][0].stale);
    net.run(secs(20));
    assert_eq!((net.losses(0), net.losses(1)), (0, 0));
    net.assert_agreement();
}

#[test]
fn a_peer_that_restarts_without_its_old_connection_breaking_is_believed() {
    let configs = mesh(&[64512, 64512]);
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    net.forget(0);
    net.restart(0, bgp::Config { restarting: true, ..configs[0].clone() });
    net.run(secs(5));
    assert_eq!((net.state(0, 1), net.state(1, 0)), ("Established", "Established"));
    assert_eq!(net.losses(1), 0);
    net.assert_agreement();
}

#[test]
fn without_graceful_restart_a_broken_session_takes_its_routes_along() {
    let mut configs = mesh(&[64512, 64512]);
    configs[0].graceful_restart = None;
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    net.break_connections(0, 1);
    assert_eq!(net.losses(1), 2);
    net.run(secs(5));
    assert_eq!(net.nexthop(1, "10.0.0.0/26"), Some(addr(0)));
}

#[test]
fn a_notification_is_bridged_unless_it_is_a_hard_reset() {
    let reset = Notification::from(Error::AdministrativeReset);
    for (notification, lost) in [(reset.clone(), 0), (reset.hard_reset(), 2)] {
        let mut net = two([64512, 64512]);
        let mut octets = Vec::new();
        Message::Notification(notification).encode(&Ctx::default(), &mut octets).unwrap();
        net.inject(0, net.conn(0), &octets);
        assert_eq!(net.losses(0), lost);
        net.run(secs(5));
        assert_eq!(net.losses(0), lost);
        net.assert_agreement();
    }
}
