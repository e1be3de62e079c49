//! Whole speakers against each other, in virtual time.

mod net;

use bgp::config::{NexthopMode, Origination};
use bgp::filter::{Action, Filter, MatchOperator, Matcher, Operation, Rule};
use bgp::wire::{Community, Ctx, Error, Family, HoldTime, Message, Notification, RouteRefresh};
use bgp::{ConnId, Input};
use model::{Asn, Duration};
use net::*;

fn two(asns: [u32; 2]) -> Net {
    let mut net = Net::new(1, &mesh(&asns));
    net.run(secs(5));
    net
}

#[test]
fn two_speakers_of_one_as_exchange_their_routes() {
    let mut net = two([64512, 64512]);
    assert_eq!((net.state(0, 1), net.state(1, 0)), ("Established", "Established"));
    assert_eq!(net.nexthop(1, "10.0.0.0/26"), Some(addr(0)));
    assert_eq!(net.nexthop(0, "10.1.0.64/26"), Some(addr(1)));
    let path = &net.best(1)[&cidr("10.0.0.0/26")][0];
    assert!(path.attrs.as_path.is_empty());
    assert_eq!(path.attrs.local_pref, Some(100));
    net.assert_agreement();
}

#[test]
fn a_route_that_leaves_the_as_gets_its_number_and_loses_local_pref() {
    let net = two([64512, 64513]);
    let path = &net.best(1)[&cidr("10.0.0.0/26")][0];
    assert_eq!(path.attrs.as_path.to_string(), "64512");
    assert_eq!(path.attrs.local_pref, None);
}

#[test]
fn as_numbers_of_four_octets_are_told_whole() {
    let net = two([4_200_000_000, 4_200_000_001]);
    assert_eq!(net.best(1)[&cidr("10.0.0.0/26")][0].attrs.as_path.to_string(), "4200000000");
}

#[test]
fn an_internal_route_is_not_told_to_another_internal_peer() {
    let mut configs = mesh(&[64512, 64512, 64512]);
    // 0 and 2 know only 1.
    configs[0].peers.remove(&id(2));
    configs[2].peers.remove(&id(0));
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    assert_eq!(net.nexthop(2, "10.1.0.0/26"), Some(addr(1)));
    assert_eq!(net.nexthop(2, "10.0.0.0/26"), None);
    net.assert_agreement();
}

#[test]
fn a_reflector_tells_its_clients_what_it_hears_from_others() {
    let mut configs = mesh(&[64512, 64512, 64512]);
    configs[0].peers.remove(&id(2));
    configs[2].peers.remove(&id(0));
    configs[1].cluster_id = Some([1, 1, 1, 1].into());
    configs[1].peers.get_mut(&id(2)).unwrap().rr_client = true;
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    assert_eq!(net.nexthop(2, "10.0.0.0/26"), Some(addr(0)), "from a non-client to a client, next hop kept");
    assert_eq!(net.nexthop(0, "10.2.0.0/26"), Some(addr(2)), "from a client to a non-client");
    let path = &net.best(2)[&cidr("10.0.0.0/26")][0];
    assert_eq!(path.attrs.originator_id.unwrap().to_string(), "10.0.0.1");
    assert_eq!(path.attrs.cluster_list, [std::net::Ipv4Addr::new(1, 1, 1, 1)]);
    net.assert_agreement();
    // A client that becomes none is told nothing that internal peers said.
    configs[1].peers.get_mut(&id(2)).unwrap().rr_client = false;
    net.configure(1, configs[1].clone());
    net.assert_agreement();
    assert_eq!((net.nexthop(2, "10.0.0.0/26"), net.nexthop(0, "10.2.0.0/26")), (None, None));
    assert_eq!(net.state(1, 2), "Established");
}

#[test]
fn two_reflectors_of_one_cluster_do_not_loop() {
    let mut configs = mesh(&[64512; 4]);
    for client in [2, 3] {
        configs[client].peers.retain(|peer, _| *peer == id(0) || *peer == id(1));
        for reflector in [0, 1] {
            configs[reflector].cluster_id = Some([9, 9, 9, 9].into());
            configs[reflector].peers.get_mut(&id(client)).unwrap().rr_client = true;
        }
    }
    let mut net = Net::new(3, &configs);
    net.run(secs(5));
    assert_eq!(net.nexthop(3, "10.2.0.0/26"), Some(addr(2)));
    net.assert_agreement();
    net.cut(0, 2);
    net.cut(0, 3);
    net.run(secs(200));
    assert_eq!(net.nexthop(3, "10.2.0.0/26"), Some(addr(2)));
    net.assert_agreement();
}

#[test]
fn a_route_with_our_as_in_its_path_is_taken_only_as_often_as_allowed() {
    let mut configs = mesh(&[64512, 64513, 64512]);
    configs[0].peers.remove(&id(2));
    configs[2].peers.remove(&id(0));
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    assert_eq!(net.nexthop(2, "10.0.0.0/26"), None);
    configs[2].peers.get_mut(&id(1)).unwrap().num_allowed_local_as = 1;
    net.configure(2, configs[2].clone());
    assert_eq!(net.nexthop(2, "10.0.0.0/26"), Some(addr(1)));
    net.assert_agreement();
    assert_eq!(net.losses(2), 0, "judged again, without a new session");
}

#[test]
fn an_external_route_keeps_a_next_hop_on_the_shared_link() {
    let mut configs = mesh(&[64512, 64513, 64514]);
    configs[0].peers.remove(&id(2));
    configs[2].peers.remove(&id(0));
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    assert_eq!(net.nexthop(2, "10.0.0.0/26"), Some(addr(1)), "no link is known to be shared");
    configs[1].connected.insert(cidr("192.168.50.0/24"), "eth0".parse().unwrap());
    net.configure(1, configs[1].clone());
    net.settle();
    assert_eq!(net.nexthop(2, "10.0.0.0/26"), Some(addr(0)), "RFC 4271 §5.1.3, third party");
    configs[1].peers.get_mut(&id(2)).unwrap().nexthop = NexthopMode::SelfAlways;
    net.configure(1, configs[1].clone());
    net.settle();
    assert_eq!(net.nexthop(2, "10.0.0.0/26"), Some(addr(1)));
    net.assert_agreement();
}

#[test]
fn communities_that_forbid_it_keep_a_route_in_the_as() {
    for (community, internal, external) in [
        (Community::NO_EXPORT, true, false),
        (Community::NO_EXPORT_SUBCONFED, true, false),
        (Community::NO_ADVERTISE, false, false),
        (Community::new(64512, 1), true, true),
    ] {
        // 0 is external to 1; 1 and 2 are of one AS; 3 is another external peer of 1.
        let mut configs = mesh(&[64512, 64513, 64513, 64514]);
        for (at, keep) in [(0, vec![1]), (1, vec![0, 2, 3]), (2, vec![1]), (3, vec![1])] {
            configs[at].peers.retain(|peer, _| keep.iter().any(|k| id(*k) == *peer));
        }
        configs[0].originate.get_mut(&cidr("10.0.0.0/26")).unwrap().communities.insert(community);
        let mut net = Net::new(1, &configs);
        net.run(secs(5));
        assert!(net.nexthop(1, "10.0.0.0/26").is_some(), "its originator tells it: {community}");
        assert_eq!(net.nexthop(2, "10.0.0.0/26").is_some(), internal, "{community}");
        assert_eq!(net.nexthop(3, "10.0.0.0/26").is_some(), external, "{community}");
        net.assert_agreement();
    }
}

#[test]
fn a_filter_that_changes_is_applied_without_a_new_session() {
    let mut configs = mesh(&[64512, 64513]);
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    let since = net.speaker(0).status()[0].since;
    let block = Matcher { cidr: Some((MatchOperator::In, cidr("10.0.0.0/26"))), ..Matcher::default() };
    let mark = vec![Operation::PrependAsPath(vec![Asn(7)])];
    let rules = vec![
        Rule { matcher: block.clone(), action: Action::Accept, operations: mark },
        Rule { matcher: Matcher::default(), action: Action::Reject, operations: Vec::new() },
    ];
    configs[0].peers.get_mut(&id(1)).unwrap().export = Filter { rules, default: Action::Accept };
    net.configure(0, configs[0].clone());
    net.assert_agreement();
    assert_eq!(net.nexthop(1, "10.0.0.64/26"), None);
    assert_eq!(net.best(1)[&cidr("10.0.0.0/26")][0].attrs.as_path.to_string(), "64512 7");

    let priority = vec![Operation::SetPriority(1024)];
    let rules = vec![Rule { matcher: block, action: Action::Accept, operations: priority }];
    configs[1].peers.get_mut(&id(0)).unwrap().import = Filter { rules, default: Action::Reject };
    net.configure(1, configs[1].clone());
    assert_eq!(net.best(1)[&cidr("10.0.0.0/26")][0].attrs.local_pref, Some(2_147_482_623));
    configs[1].peers.get_mut(&id(0)).unwrap().import = Filter::reject();
    net.configure(1, configs[1].clone());
    assert_eq!(net.nexthop(1, "10.0.0.0/26"), None);
    configs[1].peers.get_mut(&id(0)).unwrap().import = Filter::accept();
    net.configure(1, configs[1].clone());
    assert_eq!(net.best(1)[&cidr("10.0.0.0/26")][0].attrs.local_pref, None);
    net.assert_agreement();
    assert_eq!(net.speaker(0).status()[0].since, since);
}

#[test]
fn what_is_originated_changes_without_a_new_session() {
    let mut configs = mesh(&[64512, 64512]);
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    configs[0].originate.remove(&cidr("10.0.0.0/26"));
    let via = Origination { nexthop: Some(addr(7)), local_pref: Some(300), ..Origination::default() };
    configs[0].originate.insert(cidr("10.9.0.0/26"), via);
    net.configure(0, configs[0].clone());
    net.assert_agreement();
    assert_eq!(net.nexthop(1, "10.0.0.0/26"), None);
    assert_eq!(net.nexthop(1, "10.9.0.0/26"), Some(addr(7)));
    assert_eq!(net.best(1)[&cidr("10.9.0.0/26")][0].attrs.local_pref, Some(300));
}

#[test]
fn only_the_session_whose_terms_changed_is_reset() {
    let mut configs = mesh(&[64512; 3]);
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    let since = |net: &Net, peer| net.speaker(0).status().iter().find(|s| s.id == id(peer)).unwrap().since;
    let before = [since(&net, 1), since(&net, 2)];
    configs[0].peers.get_mut(&id(1)).unwrap().password_key = Some("mesh/2".to_owned());
    net.configure(0, configs[0].clone());
    net.run(secs(20));
    assert!(since(&net, 1) > before[0] && since(&net, 2) == before[1]);
    assert!(net.log(1).iter().any(|line| line.contains("other configuration change")), "{:?}", net.log(1));
    assert_eq!(net.state(0, 1), "Established");
    net.assert_agreement();
    configs[0].peers.remove(&id(1));
    net.configure(0, configs[0].clone());
    net.run(secs(1));
    assert_eq!(net.nexthop(0, "10.1.0.0/26"), None);
    assert_ne!(net.state(1, 0), "Established");
}

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
fn a_route_refresh_brings_all_routes_again() {
    let mut net = two([64512, 64512]);
    let octets = net.octets;
    let mut request = Vec::new();
    let refresh = Message::RouteRefresh(RouteRefresh::request(Family::IPV4));
    refresh.encode(&Ctx::default(), &mut request).unwrap();
    let conn = net.conn(0);
    net.inject(0, conn, &request);
    assert_eq!(net.speaker(0).status()[0].pending, 0, "said at once");
    assert!(net.octets > octets + 40, "an UPDATE with both routes");
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
fn a_mesh_of_thirty_converges_and_falls_silent() {
    let mut net = Net::new(7, &mesh(&[64512; 30]));
    net.run(secs(5));
    for node in 0..30 {
        assert_eq!(net.best(node).len(), 60, "node {node}");
    }
    net.assert_agreement();
    let octets = net.octets;
    net.run(Duration::from_millis(900));
    assert_eq!(net.octets, octets, "silence");
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
fn equal_paths_are_all_reported_where_multipath_is_wanted() {
    let mut configs = mesh(&[64512, 64513, 64513]);
    configs[0].multipath = true;
    for node in [1, 2] {
        configs[node].originate.insert(cidr("10.50.0.0/16"), Origination::default());
    }
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    let nexthops = |net: &Net| {
        net.best(0)[&cidr("10.50.0.0/16")].iter().map(|path| path.nexthop.addr()).collect::<Vec<_>>()
    };
    assert_eq!(nexthops(&net), [addr(1), addr(2)]);
    configs[0].multipath = false;
    net.configure(0, configs[0].clone());
    assert_eq!(nexthops(&net), [addr(1)]);
    net.assert_agreement();
}

#[test]
fn the_better_path_takes_over_and_the_next_one_when_it_goes() {
    let mut configs = mesh(&[64512; 3]);
    for (node, pref) in [(1, 100), (2, 200)] {
        let origination = Origination { local_pref: Some(pref), ..Origination::default() };
        configs[node].originate.insert(cidr("10.50.0.0/16"), origination);
    }
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    assert_eq!(net.nexthop(0, "10.50.0.0/16"), Some(addr(2)));
    configs[2].originate.remove(&cidr("10.50.0.0/16"));
    net.configure(2, configs[2].clone());
    net.settle();
    assert_eq!(net.nexthop(0, "10.50.0.0/16"), Some(addr(1)));
    assert_eq!(net.losses(0), 0);
    net.assert_agreement();
}
