//! Who may talk to us: passwords (RFC 2385), hops (RFC 5082); and who calls whom.

use agent::speaker::Job;
use bgp::{PeerConfig, PeerId};
use interop_tests::ours::{originating, with};
use interop_tests::{Daemon, Host, Kind, Ours, Peering, Segment, Setup, job, peer, throughout, until};
use std::time::Duration;

/// Longer than any of the daemons waits between two attempts.
const A_WHILE: Duration = Duration::from_secs(4);

fn locked(here: &Host, there: &Host, key: &str) -> Job {
    let neighbour = PeerConfig { password_key: Some(key.to_owned()), ..peer(there.v4, 65001) };
    let mut job = with(originating(job(64512, here.v4), &["10.1.0.0/26"]), neighbour);
    job.keys.insert(PeerId::new(&there.v4.to_string()), key.as_bytes().to_vec());
    job
}

#[test]
fn the_password_must_be_the_same_and_may_change() {
    for kind in Kind::ALL {
        let segment = Segment::new();
        let (here, there) = (segment.host(1), segment.host(2));
        let ours = Ours::start(&here, locked(&here, &there, "wrong"));
        let peering = Peering { password: Some("first"), ..Peering::new(here.v4, 64512) };
        let mut daemon = Daemon::start(kind, &there, Setup::new(65001, [peering]));
        throughout(A_WHILE, "no session with a wrong password", || {
            ours.session(there.v4).state != "Established"
        });

        ours.configure(locked(&here, &there, "first"));
        ours.established(there.v4);
        daemon.learns("10.1.0.0/26");

        // GoBGP takes a password only when it starts.
        if kind != Kind::Gobgp {
            ours.configure(locked(&here, &there, "second"));
            daemon.set(|setup| setup.peers[0].password = Some("second"));
            ours.established(there.v4);
            daemon.learns("10.1.0.0/26");
        }

        // Without one on our side there is no session either.
        ours.configure(with(job(64512, here.v4), peer(there.v4, 65001)));
        until("the session ends with its password", || {
            (ours.session(there.v4).state != "Established").then_some(())
        });
        throughout(A_WHILE, "no session without the password", || {
            ours.session(there.v4).state != "Established"
        });
    }
}

#[test]
fn a_neighbour_that_is_one_hop_away_passes_the_guard_of_both() {
    for kind in Kind::ALL {
        let segment = Segment::new();
        let (here, there) = (segment.host(1), segment.host(2));
        let neighbour = PeerConfig { ttl_security: Some(1), ..peer(there.v4, 65001) };
        let ours = Ours::start(&here, with(originating(job(64512, here.v4), &["10.1.0.0/26"]), neighbour));
        let peering = Peering { gtsm: true, ..Peering::new(here.v4, 64512) };
        let daemon = Daemon::start(kind, &there, Setup::new(65001, [peering]));
        ours.established(there.v4);
        daemon.learns("10.1.0.0/26");
    }
}

#[test]
fn s21_a_neighbour_whose_packets_may_come_from_afar_is_not_heard() {
    // The other two send with the highest TTL to whoever is on the link; BIRD sends 64 or 1 unless it guards itself.
    let segment = Segment::new();
    let (here, there) = (segment.host(1), segment.host(2));
    let neighbour = PeerConfig { ttl_security: Some(1), ..peer(there.v4, 65001) };
    let ours = Ours::start(&here, with(job(64512, here.v4), neighbour));
    let _daemon = Daemon::start(Kind::Bird, &there, Setup::new(65001, [Peering::new(here.v4, 64512)]));
    throughout(A_WHILE, "no session without the guard", || ours.session(there.v4).state != "Established");
}

#[test]
fn one_end_may_wait_for_the_other_to_call() {
    for kind in Kind::ALL {
        for we_wait in [true, false] {
            let segment = Segment::new();
            let (here, there) = (segment.host(1), segment.host(2));
            let neighbour = PeerConfig { passive: we_wait, ..peer(there.v4, 65001) };
            let ours = Ours::start(&here, with(job(64512, here.v4), neighbour));
            let peering = Peering { passive: !we_wait, ..Peering::new(here.v4, 64512) };
            let _daemon = Daemon::start(kind, &there, Setup::new(65001, [peering]));
            ours.established(there.v4);
        }
    }
}

#[test]
fn f55_when_both_call_at_once_one_session_is_left() {
    for kind in Kind::ALL {
        // The higher identifier decides whose connection stays (RFC 4271 §6.8).
        for (low, high) in [(1, 2), (3, 2)] {
            let segment = Segment::new();
            let (here, there) = (segment.host(low), segment.host(high));
            let setup = Setup::new(65001, [Peering::new(here.v4, 64512)]).announcing(&["10.2.0.0/26"]);
            let job = with(originating(job(64512, here.v4), &["10.1.0.0/26"]), peer(there.v4, 65001));
            // Neither can reach the other until both are about to call.
            there.netns.run("ip link set e0 down");
            let daemon = Daemon::start(kind, &there, setup);
            let mut ours = Ours::start(&here, job);
            there.netns.run("ip link set e0 up");
            let session = ours.established(there.v4);
            ours.learns("10.2.0.0/26");
            daemon.learns("10.1.0.0/26");
            assert_eq!(ours.session(there.v4).since, session.since, "{kind:?}: the first session stays");
            let connections = here.netns.run("ss -Htn state established | wc -l");
            assert_eq!(connections.trim(), "1", "{kind:?}");
        }
    }
}
