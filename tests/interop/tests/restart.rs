//! Graceful restart (RFC 4724) in both directions: nobody loses a route while the other one is away.

use interop_tests::ours::{originating, with};
use interop_tests::{Daemon, Kind, Ours, Peering, Segment, Setup, job, peer, until};

#[test]
fn they_keep_our_routes_while_we_are_started_again() {
    for kind in Kind::ALL {
        let segment = Segment::new();
        let (here, there) = (segment.host(1), segment.host(2));
        let mut job = with(originating(job(64512, here.v4), &["10.1.0.0/26"]), peer(there.v4, 64512));
        let setup = Setup::new(64512, [Peering::new(here.v4, 64512)]).announcing(&["10.2.0.0/26"]);
        let mut ours = Ours::start(&here, job.clone());
        let daemon = Daemon::start(kind, &there, setup);
        daemon.learns("10.1.0.0/26");
        ours.learns("10.2.0.0/26");

        ours.kill();
        until("they notice", || (!daemon.is_established()).then_some(()));
        assert!(daemon.sees("10.1.0.0/26").is_some(), "{kind:?} keeps the route");

        job.bgp.restarting = true;
        let mut ours = Ours::start(&here, job);
        let mut is_up = false;
        until("the session again", || {
            assert!(daemon.sees("10.1.0.0/26").is_some(), "{kind:?} keeps the route");
            is_up |= ours.session(there.v4).state == "Established";
            (is_up && ours.path("10.2.0.0/26").is_some()).then_some(())
        });
        assert!(daemon.sees("10.1.0.0/26").is_some(), "{kind:?} has the route");
    }
}

#[test]
fn we_keep_their_routes_while_they_are_started_again() {
    for kind in Kind::ALL {
        let segment = Segment::new();
        let (here, there) = (segment.host(1), segment.host(2));
        let job = with(originating(job(64512, here.v4), &["10.1.0.0/26"]), peer(there.v4, 64512));
        let setup = Setup::new(64512, [Peering::new(here.v4, 64512)]).announcing(&["10.2.0.0/26"]);
        let mut ours = Ours::start(&here, job);
        let mut daemon = Daemon::start(kind, &there, setup);
        daemon.learns("10.1.0.0/26");
        assert!(!ours.learns("10.2.0.0/26").stale);
        let since = ours.session(there.v4).since;

        daemon.crash_and_start(|| {
            until("the path is stale", || ours.path("10.2.0.0/26").filter(|path| path.stale));
        });
        until("the path is fresh", || ours.path("10.2.0.0/26").filter(|path| !path.stale));
        assert!(ours.established(there.v4).since > since, "{kind:?}: another session");
        daemon.learns("10.1.0.0/26");
        assert_eq!(ours.losses(), 0, "{kind:?}");
    }
}
