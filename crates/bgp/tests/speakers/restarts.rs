//! Sessions that break, and speakers that restart (RFC 4724, RFC 8538).

use super::two;
use crate::net::*;
use bgp::config::Origination;
use bgp::wire::{
    Capability, Ctx, Error, Family, GracefulRestart, HoldTime, Message, Notification, Open, RouterId,
};
use bgp::{ConnId, Input};
use model::Asn;
use std::net::SocketAddr;

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
fn two_that_restart_at_once_do_not_wait_for_each_other() {
    let mut configs = mesh(&[64512; 2]);
    configs.iter_mut().for_each(|config| config.restarting = true);
    let mut net = Net::new(1, &configs);
    net.run(secs(10));
    assert!(net.settled(0) && net.settled(1), "each has heard that the other restarts, too");
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

/// 0 calls 1 again, with these capabilities beside that of its AS number, and says nothing more.
fn return_with(net: &mut Net, capabilities: &[Capability]) {
    let conn = ConnId::Accepted(900);
    let [local, remote] = [1, 0].map(|node| SocketAddr::new(addr(node), 179));
    net.give(1, Input::Accepted { conn, local, remote });
    let open = Open {
        asn: Asn(64512),
        hold_time: HoldTime::new(240).expect("neither 1 nor 2"),
        router_id: RouterId([10, 0, 0, 1].into()),
        capabilities: [&[Capability::FourOctetAs(Asn(64512))], capabilities].concat(),
    };
    for message in [Message::Open(open), Message::Keepalive] {
        let mut octets = Vec::new();
        message.encode(&Ctx::default(), &mut octets).expect("it fits");
        net.inject(1, conn, &octets);
    }
}

#[test]
fn what_a_returning_peer_did_not_preserve_is_lost_before_its_end_of_rib() {
    const FOUR: Family = Family::IPV4;
    const SIX: Family = Family::IPV6;
    type Promise = Option<&'static [(Family, bool)]>;
    let mut configs = mesh(&[64512, 64512]);
    for (at, other) in [(0, 1), (1, 0)] {
        configs[at].peers.get_mut(&id(other)).unwrap().families = [FOUR, SIX].into();
    }
    let dsts = [cidr("10.0.0.0/26"), cidr("2001:db8:1::/64")];
    configs[0].nexthop_v6 = Some("2001:db8::1".parse().unwrap());
    configs[0].originate = dsts.map(|dst| (dst, Origination::default())).into();
    // The families that it speaks, what it says of their forwarding, and whether its routes of each stay.
    let rows: [(&[Family], Promise, [bool; 2]); 8] = [
        (&[FOUR, SIX], Some(&[(FOUR, true), (SIX, true)]), [true, true]),
        (&[FOUR, SIX], Some(&[(FOUR, false), (SIX, true)]), [false, true]),
        (&[FOUR, SIX], Some(&[(FOUR, true), (SIX, false)]), [true, false]),
        (&[FOUR, SIX], Some(&[(SIX, true)]), [false, true]),
        (&[FOUR, SIX], Some(&[(FOUR, true)]), [true, false]),
        (&[FOUR, SIX], Some(&[]), [false, false]),
        (&[FOUR, SIX], None, [false, false]),
        (&[SIX], Some(&[(FOUR, true), (SIX, true)]), [false, true]),
    ];
    for (families, promise, stay) in rows {
        let what = format!("{families:?}, {promise:?}");
        let mut net = Net::new(1, &configs);
        net.run(secs(5));
        net.cut(0, 1);
        let stale = |net: &Net| dsts.map(|dst| net.best(1).get(&dst).is_some_and(|paths| paths[0].stale));
        assert_eq!(stale(&net), [true, true], "{what}: it has yet to return");
        let graceful = promise.map(|families| {
            let families = families.to_vec();
            Capability::GracefulRestart(GracefulRestart {
                restarting: true,
                notification: true,
                time: 120,
                families,
            })
        });
        let spoken = families.iter().copied().map(Capability::Multiprotocol);
        return_with(&mut net, &spoken.chain(graceful).collect::<Vec<_>>());
        assert_eq!(net.state(1, 0), "Established", "{what}");
        // No End-of-RIB came, and no time has passed.
        assert_eq!(stale(&net), stay, "{what}");
        assert_eq!(net.losses(1), stay.iter().filter(|stays| !**stays).count(), "{what}");
    }
}
