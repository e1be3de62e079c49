//! How sessions begin and end.

use super::two;
use crate::net::*;
use bgp::config::Origination;
use bgp::wire::HoldTime;
use bgp::{ConnId, Input, Speaker};
use model::{Asn, Instant};
use std::collections::BTreeSet;

#[test]
fn connections_that_collide_leave_one_session() {
    for seed in 0..50 {
        let mut net = Net::new(seed, &mesh(&[64512, 64512]));
        net.run(secs(3));
        assert_eq!((net.state(0, 1), net.state(1, 0)), ("Established", "Established"), "seed {seed}");
        net.assert_agreement();
        // Both dial again at the same time.
        net.break_connections(0, 1);
        net.run(secs(3));
        assert_eq!((net.state(0, 1), net.state(1, 0)), ("Established", "Established"), "seed {seed}");
        net.assert_agreement();
    }
}

#[test]
fn a_passive_peer_waits_and_two_passive_ones_wait_for_ever() {
    let mut configs = mesh(&[64512, 64512]);
    configs[1].peers.get_mut(&id(0)).unwrap().passive = true;
    let mut net = Net::new(1, &configs);
    net.run(secs(3));
    assert_eq!(net.state(1, 0), "Established");
    configs[0].peers.get_mut(&id(1)).unwrap().passive = true;
    let mut net = Net::new(1, &configs);
    net.run(secs(300));
    assert_eq!((net.state(0, 1), net.state(1, 0)), ("Active", "Active"));
}

#[test]
fn f53_a_call_that_nobody_answers_is_said_to_be_filtered() {
    let mut speaker = Speaker::new(1);
    speaker.handle(Instant::ZERO, Input::Configure(mesh(&[64512, 64512]).remove(0)));
    // Whoever drops a call tells nothing of it.
    for _ in 0..3 {
        let at = speaker.poll_timeout().expect("it calls again");
        speaker.handle(at, Input::Timeout);
    }
    let said = speaker.status()[0].last_error.clone();
    assert!(said.as_ref().is_some_and(|said| said.contains("filtered")), "{said:?}");
}

#[test]
fn each_timer_is_jittered_anew_between_three_quarters_of_it_and_all_of_it() {
    let mut speaker = Speaker::new(1);
    speaker.handle(Instant::ZERO, Input::Configure(mesh(&[64512, 64512]).remove(0)));
    // Nobody answers: each call is given up when the connect retry time of five seconds is over, and the next begins.
    let mut began = Instant::ZERO;
    let waits = std::iter::repeat_with(|| {
        let at = speaker.poll_timeout().expect("it calls again");
        speaker.handle(at, Input::Timeout);
        at.since(std::mem::replace(&mut began, at)).micros() / 5_000
    });
    let per_mille: BTreeSet<u64> = waits.take(10_000).collect();
    assert_eq!(per_mille, (750..=1000).collect(), "each of these, and no other");
}

#[test]
fn f55_an_open_that_does_not_fit_is_refused_and_the_peer_waits_longer_each_time() {
    let mut configs = mesh(&[64512, 64513]);
    configs[1].peers.get_mut(&id(0)).unwrap().remote_asn = Asn(64599);
    let mut net = Net::new(1, &configs);
    net.run(secs(600));
    assert!(net.log(1).iter().all(|line| line.contains("bad peer AS")), "{:?}", net.log(1));
    let attempts = net.log(1).len();
    assert!((4..15).contains(&attempts), "{attempts} attempts in ten minutes");
    assert!(net.speaker(1).status()[0].last_error.as_ref().unwrap().contains("bad peer AS"));
    configs[1].peers.get_mut(&id(0)).unwrap().remote_asn = Asn(64512);
    net.configure(1, configs[1].clone());
    net.run(secs(130));
    assert_eq!(net.state(1, 0), "Established");
}

#[test]
fn our_own_identifier_in_an_internal_peers_open_is_refused() {
    let mut configs = mesh(&[64512, 64512]);
    configs[1].router_id = configs[0].router_id;
    let mut net = Net::new(1, &configs);
    net.run(secs(20));
    assert_ne!(net.state(0, 1), "Established");
    assert!(net.log(0).iter().any(|line| line.contains("bad BGP identifier")), "{:?}", net.log(0));
    // RFC 6286 §2.1: identifiers are unique within an AS only.
    configs = mesh(&[64512, 64513]);
    configs[1].router_id = configs[0].router_id;
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    assert_eq!(net.state(0, 1), "Established");
}

#[test]
fn a_silent_peer_is_noticed_by_the_hold_timer() {
    let mut configs = mesh(&[64512, 64512]);
    for (at, other) in [(0, 1), (1, 0)] {
        configs[at].graceful_restart = None;
        configs[at].peers.get_mut(&id(other)).unwrap().hold_time = HoldTime::new(9).unwrap();
    }
    let mut net = Net::new(1, &configs);
    net.run(secs(60));
    assert_eq!(net.state(0, 1), "Established");
    net.mute(1, 0);
    net.run(secs(10));
    assert_ne!(net.state(0, 1), "Established");
    assert!(net.log(0).last().unwrap().contains("hold timer expired"), "{:?}", net.log(0));
    assert_eq!(net.nexthop(0, "10.1.0.0/26"), None);
    net.mend(0, 1);
    net.run(secs(30));
    assert_eq!(net.state(0, 1), "Established");
    net.assert_agreement();
}

#[test]
fn a_hold_time_of_zero_needs_no_keepalives() {
    let mut configs = mesh(&[64512, 64512]);
    configs[0].peers.get_mut(&id(1)).unwrap().hold_time = HoldTime::new(0).unwrap();
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    let octets = net.octets;
    net.run(secs(3600));
    assert_eq!(net.octets, octets);
    assert_eq!(net.state(0, 1), "Established");
}

#[test]
fn a_peer_that_never_reads_costs_one_entry_a_destination_and_is_dropped_in_the_end() {
    let mut configs = mesh(&[64512, 64512]);
    configs[0].peers.get_mut(&id(1)).unwrap().hold_time = HoldTime::new(0).unwrap();
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    net.reads(1, false);
    for round in 0..100 {
        configs[0].originate.get_mut(&cidr("10.0.0.0/26")).unwrap().local_pref = Some(round);
        net.configure(0, configs[0].clone());
    }
    assert_eq!(net.speaker(0).status()[0].pending, 1);
    net.run(secs(470));
    assert_eq!(net.state(0, 1), "Established");
    net.run(secs(20));
    assert!(net.log(0).last().unwrap().contains("send hold timer expired"), "{:?}", net.log(0));
    net.reads(1, true);
    net.run(secs(120));
    assert_eq!(net.best(1)[&cidr("10.0.0.0/26")][0].attrs.local_pref, Some(99));
    net.assert_agreement();
}

#[test]
fn s29_one_prefix_too_many_ends_the_session() {
    let mut configs = mesh(&[64512, 64513]);
    configs[1].peers.get_mut(&id(0)).unwrap().prefix_limit = Some(1);
    let mut net = Net::new(1, &configs);
    net.run(secs(4));
    assert_ne!(net.state(1, 0), "Established");
    assert!(net.log(0).iter().any(|line| line.contains("maximum number of prefixes")), "{:?}", net.log(0));
}

#[test]
fn a_notification_that_cannot_be_read_is_not_answered() {
    // Without a subcode, and shorter than a header.
    for length in [[0, 20], [0, 18]] {
        let mut net = two([64512, 64512]);
        let octets = net.octets;
        let header = [&[0xff; 16], &length[..], &[3]].concat();
        net.inject(0, net.conn(0), &[&header[..], &[6]].concat());
        assert_eq!(net.octets, octets, "nothing is sent");
        let log = net.log(0).last().unwrap();
        assert!(log.contains("received: a NOTIFICATION that cannot be read"), "{log}");
        assert_eq!(net.losses(0), 2, "it may have been a hard reset");
        net.run(secs(5));
        assert_eq!(net.state(0, 1), "Established", "the peer may return at once");
        net.assert_agreement();
    }
}

#[test]
fn a_stranger_is_not_answered() {
    let mut net = two([64512, 64512]);
    let conn = ConnId::Accepted(999);
    let remote = "10.66.66.66:4711".parse().unwrap();
    let local = "192.168.50.1:179".parse().unwrap();
    net.give(0, Input::Accepted { conn, local, remote });
    net.give(0, Input::Bytes { conn, bytes: &[0xff; 100] });
    assert_eq!(net.state(0, 1), "Established");
}

#[test]
fn s24_octets_one_by_one_make_the_same_session() {
    let mut net = Net::new(1, &mesh(&[64512, 64512]));
    net.one_by_one();
    net.run(secs(30));
    assert_eq!(net.nexthop(1, "10.0.0.0/26"), Some(addr(0)));
    net.assert_agreement();
}

#[test]
fn s24_a_peer_that_floods_delays_nobodys_keepalives() {
    let mut configs = mesh(&[64512, 64513, 64514]);
    for peer in configs.iter_mut().flat_map(|config| config.peers.values_mut()) {
        peer.hold_time = HoldTime::new(3).unwrap();
    }
    let mut net = Net::new(1, &configs);
    net.run(secs(4));
    // 2000 prefixes come and go every second for longer than the hold time.
    for round in 0..12u32 {
        configs[0].originate.retain(|dst, _| dst.len() == 26);
        for n in (0..2000u32).filter(|_| round % 2 == 0) {
            let dst = std::net::Ipv4Addr::from(0x0b00_0000 + n * 256);
            configs[0]
                .originate
                .insert(model::Cidr::containing(dst.into(), 24).unwrap(), Origination::default());
        }
        net.configure(0, configs[0].clone());
        net.run(secs(1));
    }
    net.run(secs(1));
    for (a, b) in [(0, 1), (0, 2), (1, 2), (2, 1)] {
        let status = net.speaker(a).status();
        let session = status.iter().find(|s| s.id == id(b)).unwrap();
        assert!(session.since < model::Instant::from_micros(5_000_000), "{a} and {b} never lost each other");
    }
    net.assert_agreement();
    assert_eq!(net.best(1).len(), 6);
}
