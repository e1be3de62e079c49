//! Who may talk to us: passwords (RFC 2385), hops (RFC 5082); and who calls whom. With every other speaker at once, over
//! IPv4 and IPv6.

use agent::speaker::Job;
use bgp::{PeerConfig, PeerId};
use interop_tests::ours::{originating, with, with_each};
use interop_tests::{
    Daemon, Host, Kind, Ours, Over, Peering, Segment, Setup, job, one_of_each, peer, peers, sessions,
    throughout, until,
};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Longer than any of the daemons waits between two attempts.
const A_WHILE: Duration = Duration::from_secs(4);

/// Ours, which knows the hosts by these keys.
fn locked(here: &Host, hosts: &[Host; 3], key: impl Fn(Kind) -> &'static str) -> Job {
    let mut job = originating(job(64512, here.v4), &here.blocks());
    for (kind, host) in Kind::ALL.into_iter().zip(hosts) {
        for neighbour in peers([host], 65001) {
            let id = PeerId::new(&neighbour.addr.to_string());
            job.keys.insert(id, key(kind).as_bytes().to_vec());
            let password_key = Some(key(kind).to_owned());
            job = with_each(job, [PeerConfig { password_key, ..neighbour }]);
        }
    }
    job
}

fn none_is_established(ours: &Ours) -> bool {
    ours.sessions().iter().all(|session| session.state != "Established")
}

/// Every session is up, and each daemon has our routes.
fn all_talk(ours: &Ours, here: &Host, daemons: &[Daemon<'_>]) {
    for (daemon, over) in sessions(daemons) {
        ours.established(daemon.host.end(over));
        daemon.learns(&here.block(over));
    }
}

#[test]
fn the_password_must_be_the_same_and_may_change() {
    let segment = Segment::new();
    let (here, hosts) = (segment.host(1), [2, 3, 4].map(|number| segment.host(number)));
    let ours = Ours::start(&here, locked(&here, &hosts, |_| "wrong"));
    let mut daemons = one_of_each(&hosts, |_| {
        let peerings = Peering::both(&here, 64512);
        Setup::new(65001, peerings.map(|peering| Peering { password: Some("first"), ..peering }))
    });
    throughout(A_WHILE, "no session with a wrong password", || none_is_established(&ours));
    let is_named = |why: &Option<String>| why.as_deref().is_some_and(|why| why.contains("the same password"));
    until("what may be in the way is named", || {
        ours.sessions().iter().all(|session| is_named(&session.last_error)).then_some(())
    });

    ours.configure(locked(&here, &hosts, |_| "first"));
    all_talk(&ours, &here, &daemons);

    // GoBGP takes a password only when it starts.
    ours.configure(locked(&here, &hosts, |kind| if kind == Kind::Gobgp { "first" } else { "second" }));
    for daemon in daemons.iter_mut().filter(|daemon| daemon.kind != Kind::Gobgp) {
        daemon.set(|setup| setup.peers.iter_mut().for_each(|peer| peer.password = Some("second")));
    }
    all_talk(&ours, &here, &daemons);

    // Without one on our side there is no session either.
    ours.configure(with_each(job(64512, here.v4), peers(&hosts, 65001)));
    until("the sessions end with their password", || none_is_established(&ours).then_some(()));
    throughout(A_WHILE, "no session without the password", || none_is_established(&ours));
}

fn guarded(hosts: &[Host; 3]) -> impl Iterator<Item = PeerConfig> {
    peers(hosts, 65001).into_iter().map(|neighbour| PeerConfig { ttl_security: Some(1), ..neighbour })
}

#[test]
fn a_neighbour_that_is_one_hop_away_passes_the_guard_of_both() {
    let segment = Segment::new();
    let (here, hosts) = (segment.host(1), [2, 3, 4].map(|number| segment.host(number)));
    let job = originating(job(64512, here.v4), &here.blocks());
    let ours = Ours::start(&here, with_each(job, guarded(&hosts)));
    let daemons = one_of_each(&hosts, |_| {
        let peerings = Peering::both(&here, 64512);
        Setup::new(65001, peerings.map(|peering| Peering { gtsm: true, ..peering }))
    });
    all_talk(&ours, &here, &daemons);
}

#[test]
fn s21_a_neighbour_whose_packets_may_come_from_afar_is_not_heard() {
    // The other two send with the highest TTL to whoever is on the link; BIRD sends 64 or 1 unless it guards itself.
    let segment = Segment::new();
    let (here, hosts) = (segment.host(1), [2, 3, 4].map(|number| segment.host(number)));
    let ours = Ours::start(&here, with_each(job(64512, here.v4), guarded(&hosts)));
    let _daemon = Daemon::start(Kind::Bird, &hosts[0], Setup::new(65001, Peering::both(&here, 64512)));
    throughout(A_WHILE, "no session without the guard", || none_is_established(&ours));
}

#[test]
fn a_guard_of_two_hops_lets_a_peer_behind_one_router_pass() {
    let segment = Segment::new();
    let [here, router, far] = [1, 2, 3].map(|number| segment.host(number));
    // The far host is taken off the segment and put behind the router, as 10.10.0.3.
    far.netns.run("ip link del e0");
    router.netns.run(&format!(
        "ip link add r0 type veth peer name e0 netns {} && ip addr add 10.10.0.2/24 dev r0 && ip link set r0 up && \
         sysctl -q net.ipv4.ip_forward=1",
        far.netns.path().display()
    ));
    far.netns
        .run("ip addr add 10.10.0.3/24 dev e0 && ip link set e0 up && ip route add default via 10.10.0.2");
    here.netns.run("ip route add 10.10.0.0/24 via 10.9.0.2");
    let there = Ipv4Addr::new(10, 10, 0, 3);
    let within = |hops: u8| {
        let job = originating(job(64512, here.v4), &[here.block(Over::V4)]);
        with(job, PeerConfig { ttl_security: Some(hops), ..peer(there, 65001) })
    };
    let ours = Ours::start(&here, within(1));
    let bird = || {
        let peering = Peering { gtsm: true, multihop: true, ..Peering::new(here.v4, 64512) };
        Daemon::start(Kind::Bird, &far, Setup { source: Some(there), ..Setup::new(65001, [peering]) })
    };
    let in_vain = bird();
    throughout(A_WHILE, "one hop is too few", || none_is_established(&ours));
    // One that failed so long pauses before it calls again.
    drop(in_vain);
    ours.configure(within(2));
    let bird = bird();
    ours.established(there);
    bird.learns(&here.block(Over::V4));
}

#[test]
fn one_end_may_wait_for_the_other_to_call() {
    for we_wait in [true, false] {
        let segment = Segment::new();
        let (here, hosts) = (segment.host(1), [2, 3, 4].map(|number| segment.host(number)));
        let neighbours = peers(&hosts, 65001).into_iter();
        let neighbours = neighbours.map(|neighbour| PeerConfig { passive: we_wait, ..neighbour });
        let job = originating(job(64512, here.v4), &here.blocks());
        let ours = Ours::start(&here, with_each(job, neighbours));
        let daemons = one_of_each(&hosts, |_| {
            let peerings = Peering::both(&here, 64512);
            Setup::new(65001, peerings.map(|peering| Peering { passive: !we_wait, ..peering }))
        });
        all_talk(&ours, &here, &daemons);
    }
}

#[test]
fn f55_when_both_call_at_once_one_session_is_left() {
    // The higher identifier decides whose connection stays (RFC 4271 §6.8).
    for number in [1, 8] {
        let segment = Segment::new();
        let (here, hosts) = (segment.host(number), [2, 3, 4].map(|number| segment.host(number)));
        // Nobody can reach the other until all are about to call.
        here.netns.run("ip link set e0 down");
        let daemons = one_of_each(&hosts, |host| {
            Setup::new(65001, Peering::both(&here, 64512)).announcing(&host.blocks())
        });
        let job = originating(job(64512, here.v4), &here.blocks());
        let mut ours = Ours::start(&here, with_each(job, peers(&hosts, 65001)));
        here.netns.run("ip link set e0 up");
        // Until the far end has heard of the first it may still choose the other.
        all_talk(&ours, &here, &daemons);
        let settled: Vec<_> =
            sessions(&daemons).map(|(daemon, over)| ours.established(daemon.host.end(over)).since).collect();
        std::thread::sleep(A_WHILE);
        for ((daemon, over), since) in sessions(&daemons).zip(settled) {
            let (kind, them) = (daemon.kind, daemon.host.end(over));
            ours.learns(&daemon.host.block(over));
            assert_eq!(ours.session(them).since, since, "{kind:?}: the session that is left stays");
            // Of an IPv6 address ss wants to see where it ends.
            let end = if them.is_ipv4() { them.to_string() } else { format!("[{them}]") };
            let connections = here.netns.run(&format!("ss -Htn state established 'dst {end}' | wc -l"));
            assert_eq!(connections.trim(), "1", "{kind:?} over {over:?}");
        }
    }
}
