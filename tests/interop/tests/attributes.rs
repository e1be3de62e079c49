//! What is said of routes arrives as it was meant, filters change it on the way, and a farewell is heard.

use bgp::config::NexthopMode;
use bgp::filter::{Action, AnyCommunity, Filter, MatchOperator, Matcher, Operation, PeerType, Rule};
use bgp::wire::{Community, LargeCommunity};
use bgp::{Origination, PeerConfig};
use interop_tests::ours::{originating, with};
use interop_tests::{Daemon, Kind, Ours, Peering, Seen, Segment, Setup, job, peer, throughout, until};
use model::Asn;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

#[test]
fn our_communities_and_preference_arrive() {
    for (kind, asn) in Kind::ALL.into_iter().flat_map(|kind| [(kind, 64512), (kind, 65001)]) {
        let segment = Segment::new();
        let (here, there) = (segment.host(1), segment.host(2));
        let mut job = with(job(64512, here.v4), peer(there.v4, asn));
        let origination = Origination {
            communities: BTreeSet::from([Community::new(64512, 7), Community::new(64512, 8)]),
            large: BTreeSet::from([LargeCommunity { global: 64512, local1: 1, local2: 2 }]),
            local_pref: Some(250),
            ..Origination::default()
        };
        job.bgp.originate.insert("10.1.0.0/26".parse().expect("a prefix"), origination);
        let _ours = Ours::start(&here, job);
        let daemon = Daemon::start(kind, &there, Setup::new(asn, [Peering::new(here.v4, 64512)]));
        let seen = daemon.learns("10.1.0.0/26");
        let set = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(seen.communities, set(&["64512:7", "64512:8"]), "{kind:?}");
        assert_eq!(seen.large, set(&["64512:1:2"]), "{kind:?}");
        if asn == 64512 {
            assert_eq!(seen.local_pref, Some(250), "{kind:?}");
        } else {
            // Whatever an external peer is told, it is not our preference (RFC 4271 §5.1.5).
            assert_ne!(seen.local_pref, Some(250), "{kind:?}");
        }
    }
}

#[test]
fn their_communities_metric_and_preference_arrive() {
    for (kind, asn) in Kind::ALL.into_iter().flat_map(|kind| [(kind, 64512), (kind, 65001)]) {
        let segment = Segment::new();
        let (here, there) = (segment.host(1), segment.host(2));
        let mut ours = Ours::start(&here, with(job(64512, here.v4), peer(there.v4, asn)));
        let decorated = Some("10.2.0.0/26".to_owned());
        let setup = Setup { decorated, ..Setup::new(asn, [Peering::new(here.v4, 64512)]) };
        let _daemon = Daemon::start(kind, &there, setup);
        let attrs = ours.learns("10.2.0.0/26").attrs;
        assert_eq!(attrs.communities, BTreeSet::from([Community::new(64512, 7)]), "{kind:?}");
        let large = LargeCommunity { global: 64512, local1: 1, local2: 2 };
        assert_eq!(attrs.large_communities, BTreeSet::from([large]), "{kind:?}");
        assert_eq!(attrs.med, Some(50), "{kind:?}");
        assert_eq!(attrs.local_pref, (asn == 64512).then_some(250), "{kind:?}");
    }
}

/// A filter that lets 10.1.0.0/16 pass to external peers, changed, and nothing else.
fn export() -> Filter {
    let matcher = Matcher {
        cidr: Some((MatchOperator::In, "10.1.0.0/16".parse().expect("a network"))),
        prefix_length: Some(24..=26),
        peer_type: Some(PeerType::External),
        ..Matcher::default()
    };
    let operations = vec![
        Operation::AddCommunity(AnyCommunity::Standard(Community::new(64512, 9))),
        Operation::PrependAsPath(vec![Asn(64512), Asn(64512)]),
    ];
    Filter { rules: vec![Rule { matcher, action: Action::Accept, operations }], default: Action::Reject }
}

#[test]
fn an_export_filter_selects_and_changes_what_they_see() {
    for kind in Kind::ALL {
        let segment = Segment::new();
        let (here, there) = (segment.host(1), segment.host(2));
        let prefixes = ["10.1.0.0/26", "10.1.0.64/32", "10.7.0.0/26"];
        let all = originating(job(64512, here.v4), &prefixes);
        let ours = Ours::start(&here, with(all.clone(), peer(there.v4, 65001)));
        let daemon = Daemon::start(kind, &there, Setup::new(65001, [Peering::new(here.v4, 64512)]));
        prefixes.map(|prefix| daemon.learns(prefix)).into_iter().for_each(drop);
        let since = ours.session(there.v4).since;

        ours.configure(with(all, PeerConfig { export: export(), ..peer(there.v4, 65001) }));
        daemon.forgets("10.1.0.64/32");
        daemon.forgets("10.7.0.0/26");
        let changed = until("the changed path", || {
            daemon.sees("10.1.0.0/26").filter(|seen| seen.communities.contains("64512:9"))
        });
        assert_eq!(changed.as_path, "64512 64512 64512", "{kind:?}");
        assert_eq!(ours.session(there.v4).since, since, "{kind:?}: filters end no session");
    }
}

#[test]
fn an_import_filter_takes_effect_on_what_was_heard_before() {
    for kind in Kind::ALL {
        let segment = Segment::new();
        let (here, there) = (segment.host(1), segment.host(2));
        let mut ours = Ours::start(&here, with(job(64512, here.v4), peer(there.v4, 65001)));
        let setup = Setup::new(65001, [Peering::new(here.v4, 64512)]);
        let _daemon = Daemon::start(kind, &there, setup.announcing(&["10.1.0.0/26", "10.7.0.0/26"]));
        ours.learns("10.1.0.0/26");
        ours.learns("10.7.0.0/26");
        ours.configure(with(job(64512, here.v4), PeerConfig { import: export(), ..peer(there.v4, 65001) }));
        ours.forgets("10.7.0.0/26");
        let path = until("the changed path", || {
            ours.path("10.1.0.0/26").filter(|path| path.attrs.communities.contains(&Community::new(64512, 9)))
        });
        assert_eq!(path.attrs.as_path.to_string(), "64512 64512 65001", "{kind:?}");
        ours.configure(with(job(64512, here.v4), peer(there.v4, 65001)));
        ours.learns("10.7.0.0/26");
    }
}

#[test]
fn the_next_hop_is_what_the_mode_says() {
    for kind in Kind::ALL {
        let segment = Segment::new();
        let [here, there, origin] = [1, 2, 3].map(|number| segment.host(number));
        let neighbours = |nexthop| {
            let inside = PeerConfig { nexthop, ..peer(there.v4, 64512) };
            with(with(job(64512, here.v4), inside), peer(origin.v4, 65001))
        };
        let ours = Ours::start(&here, neighbours(NexthopMode::SelfAlways));
        let setup = Setup::new(65001, [Peering::new(here.v4, 64512)]).announcing(&["10.3.0.0/26"]);
        let _origin = Daemon::start(Kind::Bird, &origin, setup);
        let daemon = Daemon::start(kind, &there, Setup::new(64512, [Peering::new(here.v4, 64512)]));
        for (mode, nexthop) in [(NexthopMode::SelfAlways, here.v4), (NexthopMode::Keep, origin.v4)] {
            ours.configure(neighbours(mode));
            let wanted = IpAddr::from(nexthop).to_string();
            let is_wanted = |seen: &Seen| seen.nexthop == wanted;
            until(&format!("{kind:?}: {mode:?}"), || daemon.sees("10.3.0.0/26").filter(is_wanted));
        }
    }
}

#[test]
fn their_reason_for_a_shutdown_is_shown() {
    for kind in Kind::ALL {
        let segment = Segment::new();
        let (here, there) = (segment.host(1), segment.host(2));
        let mut ours = Ours::start(&here, with(job(64512, here.v4), peer(there.v4, 65001)));
        let setup = Setup::new(65001, [Peering::new(here.v4, 64512)]).announcing(&["10.2.0.0/26"]);
        let daemon = Daemon::start(kind, &there, setup);
        ours.learns("10.2.0.0/26");
        daemon.shut_down("new cables until noon");
        ours.ended(there.v4, "new cables until noon");
        ours.forgets("10.2.0.0/26");
        // GoBGP comes back by itself; the others stay away, and we do not insist.
        if kind != Kind::Gobgp {
            throughout(Duration::from_secs(2), "no session", || {
                ours.session(there.v4).state != "Established"
            });
        }
    }
}

#[test]
fn our_farewell_is_heard_and_no_route_stays() {
    for kind in Kind::ALL {
        let segment = Segment::new();
        let (here, there) = (segment.host(1), segment.host(2));
        let job = with(originating(job(64512, here.v4), &["10.1.0.0/26"]), peer(there.v4, 65001));
        let ours = Ours::start(&here, job);
        let daemon = Daemon::start(kind, &there, Setup::new(65001, [Peering::new(here.v4, 64512)]));
        daemon.learns("10.1.0.0/26");
        ours.rest();
        daemon.forgets("10.1.0.0/26");
        until("they say why", || {
            let words = daemon.words().to_lowercase();
            ["deconfigured", "unconfigured", "de-configured"]
                .iter()
                .any(|word| words.contains(word))
                .then_some(())
        });
    }
}
