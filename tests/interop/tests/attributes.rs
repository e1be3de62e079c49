//! What is said of routes arrives as it was meant, filters change it on the way, and a farewell is heard: by every other
//! speaker at once, over IPv4 and IPv6.

use agent::speaker::Job;
use bgp::config::NexthopMode;
use bgp::filter::{Action, AnyCommunity, Filter, MatchOperator, Matcher, Operation, PeerType, Rule};
use bgp::wire::{Community, LargeCommunity};
use bgp::{Origination, PeerConfig};
use interop_tests::ours::{originating, with_each};
use interop_tests::{
    Daemon, Host, Kind, Ours, Over, Peering, Seen, Segment, Setup, job, one_of_each, peers, sessions,
    throughout, until,
};
use model::Asn;
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn our_communities_and_preference_arrive() {
    for asn in [64512, 65001] {
        let segment = Segment::new();
        let (here, hosts) = (segment.host(1), [2, 3, 4].map(|number| segment.host(number)));
        let mut job = with_each(job(64512, here.v4), peers(&hosts, asn));
        let origination = Origination {
            communities: BTreeSet::from([Community::new(64512, 7), Community::new(64512, 8)]),
            large: BTreeSet::from([LargeCommunity { global: 64512, local1: 1, local2: 2 }]),
            local_pref: Some(250),
            ..Origination::default()
        };
        for block in here.blocks() {
            job.bgp.originate.insert(block.parse().expect("a prefix"), origination.clone());
        }
        let _ours = Ours::start(&here, job);
        let daemons = one_of_each(&hosts, |_| Setup::new(asn, Peering::both(&here, 64512)));
        let set = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect::<BTreeSet<_>>();
        for (daemon, over) in sessions(&daemons) {
            let (kind, seen) = (daemon.kind, daemon.learns(&here.block(over)));
            assert_eq!(seen.communities, set(&["64512:7", "64512:8"]), "{kind:?}");
            assert_eq!(seen.large, set(&["64512:1:2"]), "{kind:?}");
            // Whatever an external peer is told, it is not our preference (RFC 4271 §5.1.5).
            assert_eq!(seen.local_pref == Some(250), asn == 64512, "{kind:?}");
        }
    }
}

#[test]
fn their_communities_metric_and_preference_arrive() {
    for asn in [64512, 65001] {
        let segment = Segment::new();
        let (here, hosts) = (segment.host(1), [2, 3, 4].map(|number| segment.host(number)));
        let mut ours = Ours::start(&here, with_each(job(64512, here.v4), peers(&hosts, asn)));
        let daemons = one_of_each(&hosts, |host| {
            Setup::new(asn, Peering::both(&here, 64512)).decorating(&host.blocks())
        });
        for (daemon, over) in sessions(&daemons) {
            let (kind, attrs) = (daemon.kind, ours.learns(&daemon.host.block(over)).attrs);
            assert_eq!(attrs.communities, BTreeSet::from([Community::new(64512, 7)]), "{kind:?}");
            let large = LargeCommunity { global: 64512, local1: 1, local2: 2 };
            assert_eq!(attrs.large_communities, BTreeSet::from([large]), "{kind:?}");
            assert_eq!(attrs.med, Some(50), "{kind:?}");
            assert_eq!(attrs.local_pref, (asn == 64512).then_some(250), "{kind:?}");
        }
    }
}

/// A filter that lets part of a network pass to external peers, changed, and nothing else.
fn pass(network: &str, prefix_length: std::ops::RangeInclusive<u8>) -> Filter {
    let matcher = Matcher {
        cidr: Some((MatchOperator::In, network.parse().expect("a network"))),
        prefix_length: Some(prefix_length),
        peer_type: Some(PeerType::External),
        ..Matcher::default()
    };
    let operations = vec![
        Operation::AddCommunity(AnyCommunity::Standard(Community::new(64512, 9))),
        Operation::PrependAsPath(vec![Asn(64512), Asn(64512)]),
    ];
    Filter { rules: vec![Rule { matcher, action: Action::Accept, operations }], default: Action::Reject }
}

/// What passes, and what does not: because it is too long, because it is elsewhere.
fn prefixes(over: Over) -> (Filter, [&'static str; 3]) {
    match over {
        Over::V4 => (pass("10.11.0.0/16", 24..=26), ["10.11.0.0/26", "10.11.0.64/32", "10.17.0.0/26"]),
        Over::V6 => (pass("fd11::/16", 48..=122), ["fd11::/122", "fd11::40/128", "fd17::/122"]),
    }
}

fn over(peer: &PeerConfig) -> Over {
    if peer.addr.is_ipv4() { Over::V4 } else { Over::V6 }
}

#[test]
fn an_export_filter_selects_and_changes_what_they_see() {
    let segment = Segment::new();
    let (here, hosts) = (segment.host(1), [2, 3, 4].map(|number| segment.host(number)));
    let all = Over::BOTH.map(|over| prefixes(over).1).concat();
    let job = originating(job(64512, here.v4), &all);
    let ours = Ours::start(&here, with_each(job.clone(), peers(&hosts, 65001)));
    let daemons = one_of_each(&hosts, |_| Setup::new(65001, Peering::both(&here, 64512)));
    for daemon in &daemons {
        all.iter().for_each(|prefix| _ = daemon.learns(prefix));
    }
    let since = ours.since();

    let filtered = peers(&hosts, 65001);
    let filtered = filtered.into_iter().map(|peer| PeerConfig { export: prefixes(over(&peer)).0, ..peer });
    ours.configure(with_each(job, filtered));
    for (daemon, over) in sessions(&daemons) {
        let (kind, (_, [passes, too_long, elsewhere])) = (daemon.kind, prefixes(over));
        daemon.forgets(too_long);
        daemon.forgets(elsewhere);
        let changed = until(&format!("{kind:?}: the changed path"), || {
            daemon.sees(passes).filter(|seen| seen.communities.contains("64512:9"))
        });
        assert_eq!(changed.as_path, "64512 64512 64512", "{kind:?}");
    }
    assert_eq!(ours.since(), since, "filters end no session");
}

#[test]
fn an_import_filter_takes_effect_on_what_was_heard_before() {
    for kind in Kind::ALL {
        let segment = Segment::new();
        let (here, there) = (segment.host(1), segment.host(2));
        let neighbours = || peers([&there], 65001).into_iter();
        let mut ours = Ours::start(&here, with_each(job(64512, here.v4), neighbours()));
        let all = Over::BOTH.map(|over| prefixes(over).1).concat();
        let setup = Setup::new(65001, Peering::both(&here, 64512)).announcing(&all);
        let _daemon = Daemon::start(kind, &there, setup);
        all.iter().for_each(|prefix| _ = ours.learns(prefix));
        let filtered = neighbours().map(|peer| PeerConfig { import: prefixes(over(&peer)).0, ..peer });
        ours.configure(with_each(job(64512, here.v4), filtered));
        for (_, [passes, too_long, elsewhere]) in Over::BOTH.map(prefixes) {
            ours.forgets(too_long);
            ours.forgets(elsewhere);
            let path = until("the changed path", || {
                ours.path(passes).filter(|path| path.attrs.communities.contains(&Community::new(64512, 9)))
            });
            assert_eq!(path.attrs.as_path.to_string(), "64512 64512 65001", "{kind:?}");
        }
        ours.configure(with_each(job(64512, here.v4), neighbours()));
        all.iter().for_each(|prefix| _ = ours.learns(prefix));
    }
}

#[test]
fn the_next_hop_is_what_the_mode_says() {
    let segment = Segment::new();
    let (here, origin) = (segment.host(1), segment.host(5));
    let hosts = [2, 3, 4].map(|number| segment.host(number));
    let neighbours = |nexthop: NexthopMode| -> Job {
        let inside = peers(&hosts, 64512).into_iter().map(|peer| PeerConfig { nexthop, ..peer });
        with_each(with_each(job(64512, here.v4), inside), peers([&origin], 65001))
    };
    let ours = Ours::start(&here, neighbours(NexthopMode::SelfAlways));
    let setup = Setup::new(65001, Peering::both(&here, 64512)).announcing(&origin.blocks());
    let _origin = Daemon::start(Kind::Bird, &origin, setup);
    let daemons = one_of_each(&hosts, |_| Setup::new(64512, Peering::both(&here, 64512)));
    let each: [(NexthopMode, &Host); 2] = [(NexthopMode::SelfAlways, &here), (NexthopMode::Keep, &origin)];
    for (mode, nexthop) in each {
        ours.configure(neighbours(mode));
        for (daemon, over) in sessions(&daemons) {
            let wanted = nexthop.end(over).to_string();
            let is_wanted = |seen: &Seen| seen.nexthop == wanted;
            until(&format!("{:?}: {mode:?}", daemon.kind), || {
                daemon.sees(&origin.block(over)).filter(is_wanted)
            });
        }
    }
}

#[test]
fn their_reason_for_a_shutdown_is_shown() {
    let segment = Segment::new();
    let (here, hosts) = (segment.host(1), [2, 3, 4].map(|number| segment.host(number)));
    let mut ours = Ours::start(&here, with_each(job(64512, here.v4), peers(&hosts, 65001)));
    let daemons =
        one_of_each(&hosts, |host| Setup::new(65001, Peering::both(&here, 64512)).announcing(&host.blocks()));
    hosts.iter().flat_map(Host::blocks).for_each(|block| _ = ours.learns(&block));
    for (daemon, over) in sessions(&daemons) {
        daemon.shut_down(here.end(over), "new cables until noon");
        ours.ended(daemon.host.end(over), "new cables until noon");
        ours.forgets(&daemon.host.block(over));
    }
    // GoBGP comes back by itself; the others stay away, and we do not insist.
    throughout(Duration::from_secs(2), "no session", || {
        let stay_away = sessions(&daemons).filter(|(daemon, _)| daemon.kind != Kind::Gobgp);
        let ends: Vec<_> = stay_away.map(|(daemon, over)| daemon.host.end(over)).collect();
        ours.sessions().iter().all(|session| !ends.contains(&session.addr) || session.state != "Established")
    });
}

#[test]
fn our_farewell_is_heard_and_no_route_stays() {
    let segment = Segment::new();
    let (here, hosts) = (segment.host(1), [2, 3, 4].map(|number| segment.host(number)));
    let job = originating(job(64512, here.v4), &here.blocks());
    let ours = Ours::start(&here, with_each(job, peers(&hosts, 65001)));
    let daemons = one_of_each(&hosts, |_| Setup::new(65001, Peering::both(&here, 64512)));
    sessions(&daemons).for_each(|(daemon, over)| _ = daemon.learns(&here.block(over)));
    ours.rest();
    sessions(&daemons).for_each(|(daemon, over)| daemon.forgets(&here.block(over)));
    for daemon in &daemons {
        until(&format!("{:?} says why", daemon.kind), || {
            let words = daemon.words().to_lowercase();
            ["deconfigured", "unconfigured", "de-configured"]
                .iter()
                .any(|word| words.contains(word))
                .then_some(())
        });
    }
}
