//! Graceful restart (RFC 4724) in both directions, inside an AS and between two, over IPv4 and IPv6: nobody loses a route while
//! the other one is away.

use interop_tests::ours::{originating, with_each};
use interop_tests::{Ours, Over, Peering, Segment, Setup, job, one_of_each, peers, sessions, until};

#[test]
fn they_keep_our_routes_while_we_are_started_again() {
    for asn in [64512, 65001] {
        let segment = Segment::new();
        let (here, hosts) = (segment.host(1), [2, 3, 4].map(|number| segment.host(number)));
        let neighbours = with_each(job(64512, here.v4), peers(&hosts, asn));
        let mut job = originating(neighbours, &here.blocks());
        let mut ours = Ours::start(&here, job.clone());
        let daemons = one_of_each(&hosts, |host| {
            Setup::new(asn, Peering::both(&here, 64512)).announcing(&host.blocks())
        });
        for (daemon, over) in sessions(&daemons) {
            daemon.learns(&here.block(over));
            ours.learns(&daemon.host.block(over));
        }
        let all_keep_our_routes = || {
            for (daemon, over) in sessions(&daemons) {
                assert!(daemon.sees(&here.block(over)).is_some(), "{:?} keeps the route", daemon.kind);
            }
        };

        ours.kill();
        for (daemon, over) in sessions(&daemons) {
            until("they notice", || (!daemon.is_established(here.end(over))).then_some(()));
        }
        all_keep_our_routes();

        job.bgp.restarting = true;
        let mut ours = Ours::start(&here, job);
        until("every session and every route again", || {
            all_keep_our_routes();
            let has_all =
                hosts.iter().flat_map(|host| host.blocks()).all(|block| ours.path(&block).is_some());
            let are_up = ours.sessions().iter().all(|session| session.state == "Established");
            (has_all && are_up).then_some(())
        });
        all_keep_our_routes();
    }
}

#[test]
fn we_keep_their_routes_while_they_are_started_again() {
    for asn in [64512, 65001] {
        let segment = Segment::new();
        let (here, hosts) = (segment.host(1), [2, 3, 4].map(|number| segment.host(number)));
        let neighbours = with_each(job(64512, here.v4), peers(&hosts, asn));
        let mut ours = Ours::start(&here, originating(neighbours, &here.blocks()));
        let mut daemons = one_of_each(&hosts, |host| {
            Setup::new(asn, Peering::both(&here, 64512)).announcing(&host.blocks())
        });
        for (daemon, over) in sessions(&daemons) {
            daemon.learns(&here.block(over));
            assert!(!ours.learns(&daemon.host.block(over)).stale, "{:?}", daemon.kind);
        }
        for daemon in &mut daemons {
            let (kind, host) = (daemon.kind, daemon.host);
            let since = Over::BOTH.map(|over| ours.session(host.end(over)).since);
            daemon.crash_and_start(|| {
                for block in host.blocks() {
                    until("the path is stale", || ours.path(&block).filter(|path| path.stale));
                }
            });
            for block in host.blocks() {
                until("the path is fresh", || ours.path(&block).filter(|path| !path.stale));
            }
            for (over, since) in Over::BOTH.into_iter().zip(since) {
                assert!(ours.established(host.end(over)).since > since, "{kind:?}: another session");
            }
            here.blocks().iter().for_each(|block| _ = daemon.learns(block));
            assert_eq!(ours.losses(), 0, "{kind:?}");
        }
    }
}
