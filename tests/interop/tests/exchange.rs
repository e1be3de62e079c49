//! Sessions come up with every other speaker, in every role, and routes go both ways.

use bgp::PeerConfig;
use interop_tests::ours::{originating, with, with_each};
use interop_tests::raw::{self, Open, ROUTE_REFRESH, Raw, UPDATE};
use interop_tests::{
    Daemon, Host, Kind, Ours, Over, Peering, Segment, Setup, job, one_of_each, peer, peers, sessions, until,
};
use std::net::Ipv4Addr;

const CLUSTER: Ipv4Addr = Ipv4Addr::new(244, 0, 0, 1);

/// With each daemon a session over each family: routes come and go in both directions, and nothing ends a session.
fn exchange(asn: u32) {
    let segment = Segment::new();
    let (here, hosts) = (segment.host(1), [2, 3, 4].map(|number| segment.host(number)));
    let job = with_each(job(64512, here.v4), peers(&hosts, asn));
    let mut ours = Ours::start(&here, originating(job.clone(), &here.blocks()));
    let mut daemons =
        one_of_each(&hosts, |host| Setup::new(asn, Peering::both(&here, 64512)).announcing(&host.blocks()));

    let is_internal = asn == 64512;
    for (daemon, over) in sessions(&daemons) {
        let (kind, us, them) = (daemon.kind, here.end(over), daemon.host.end(over));
        let session = ours.established(them);
        assert_eq!(session.hold_time.map(|time| time.secs()), Some(90), "{kind:?}");
        let seen = daemon.learns(&here.block(over));
        assert_eq!(seen.nexthop, us.to_string(), "{kind:?}");
        assert_eq!(seen.as_path, if is_internal { "" } else { "64512" }, "{kind:?}");
        let path = ours.learns(&daemon.host.block(over));
        assert_eq!(path.nexthop.addr(), them, "{kind:?}");
        let as_path = if is_internal { String::new() } else { asn.to_string() };
        assert_eq!(path.attrs.as_path.to_string(), as_path, "{kind:?}");
    }
    let since = ours.since();

    ours.configure(job.clone());
    sessions(&daemons).for_each(|(daemon, over)| daemon.forgets(&here.block(over)));
    daemons.iter_mut().for_each(|daemon| daemon.set(|setup| setup.announce.clear()));
    hosts.iter().flat_map(Host::blocks).for_each(|block| ours.forgets(&block));

    ours.configure(originating(job, &here.blocks()));
    for (daemon, over) in sessions(&daemons) {
        daemon.learns(&here.block(over));
        refreshed(daemon, &here, over);
    }
    for daemon in &mut daemons {
        let blocks = daemon.host.blocks();
        daemon.set(|setup| setup.announce.extend(blocks));
    }
    hosts.iter().flat_map(Host::blocks).for_each(|block| _ = ours.learns(&block));
    assert!(sessions(&daemons).all(|(daemon, over)| daemon.sees(&here.block(over)).is_some()));
    assert_eq!(ours.since(), since, "one session with each all the time");
}

/// A daemon asks for our routes again, and gets them.
fn refreshed(daemon: &Daemon<'_>, here: &Host, over: Over) {
    let (us, before) = (here.end(over), daemon.updates_of(here.end(over)));
    daemon.refresh(us);
    if daemon.kind != Kind::Gobgp {
        until(&format!("{:?}: an answer over {over:?}", daemon.kind), || {
            (daemon.updates_of(us) > before).then_some(())
        });
    }
    assert!(daemon.sees(&here.block(over)).is_some(), "{:?}", daemon.kind);
}

#[test]
fn mesh_members_exchange_routes() {
    exchange(64512);
}

#[test]
fn external_routers_exchange_routes() {
    exchange(4_200_000_001);
}

#[test]
fn two_clients_of_their_reflector_see_each_other() {
    for kind in Kind::ALL {
        let segment = Segment::new();
        let [one, two, reflector] = [1, 2, 3].map(|number| segment.host(number));
        let job = |host: &Host| with_each(job(64512, host.v4), peers([&reflector], 64512));
        let client = |host: &Host| Ours::start(host, originating(job(host), &host.blocks()));
        let (mut first, mut second) = (client(&one), client(&two));
        let peerings = [&one, &two].map(|host| Peering::both(host, 64512));
        let clients = peerings.into_iter().flatten().map(|peering| Peering { client: true, ..peering });
        let setup = Setup::new(64512, clients.collect::<Vec<_>>());
        let _daemon = Daemon::start(kind, &reflector, Setup { cluster_id: Some(CLUSTER), ..setup });
        for over in Over::BOTH {
            let path = first.learns(&two.block(over));
            assert_eq!(path.nexthop.addr(), two.end(over), "{kind:?}");
            assert_eq!(path.attrs.originator_id.map(|id| id.0), Some(two.v4), "{kind:?}");
            assert_eq!(path.attrs.cluster_list, [CLUSTER], "{kind:?}");
            second.learns(&one.block(over));
        }
        second.configure(job(&two));
        two.blocks().iter().for_each(|block| first.forgets(block));
        assert!(one.blocks().iter().all(|block| second.path(block).is_some()), "{kind:?}");
    }
}

#[test]
fn clients_of_our_reflector_see_each_other() {
    let segment = Segment::new();
    let (reflector, hosts) = (segment.host(1), [2, 3, 4].map(|number| segment.host(number)));
    let clients = peers(&hosts, 64512).into_iter().map(|client| PeerConfig { rr_client: true, ..client });
    let mut job = with_each(job(64512, reflector.v4), clients);
    job.bgp.cluster_id = Some(CLUSTER);
    let ours = Ours::start(&reflector, job);
    let mut daemons = one_of_each(&hosts, |host| {
        Setup::new(64512, Peering::both(&reflector, 64512)).announcing(&host.blocks())
    });
    let others = |own: &Host| hosts.iter().filter(|host| host.v4 != own.v4).collect::<Vec<_>>();
    for (daemon, over) in sessions(&daemons) {
        for host in others(daemon.host) {
            let seen = daemon.learns(&host.block(over));
            assert_eq!(seen.nexthop, host.end(over).to_string(), "{:?} sees {host:?}", daemon.kind);
        }
    }
    // What each takes back is gone everywhere, and comes again.
    for nth in 0..daemons.len() {
        let blocks = daemons[nth].host.blocks();
        daemons[nth].set(|setup| setup.announce.clear());
        for host in others(daemons[nth].host) {
            let other = daemons.iter().find(|daemon| daemon.host.v4 == host.v4).expect("one on each host");
            blocks.iter().for_each(|block| other.forgets(block));
        }
        daemons[nth].set(|setup| setup.announce.extend(blocks));
    }
    for (daemon, over) in sessions(&daemons) {
        others(daemon.host).iter().for_each(|host| _ = daemon.learns(&host.block(over)));
    }
    assert!(ours.sessions().iter().all(|session| session.state == "Established"));
}

#[test]
fn a_route_refresh_is_answered_with_every_route() {
    let segment = Segment::new();
    let (here, there) = (segment.host(1), segment.host(2));
    let job = with(job(64512, here.v4), peer(there.v4, 65001));
    let _ours = Ours::start(&here, originating(job, &["10.1.0.0/26", "10.1.0.64/26"]));
    let mut raw = Raw::establish(&there, here.v4, Open::new(65001, there.v4));
    for _ in 0..2 {
        let mut announced = Vec::new();
        while announced.len() < 2 {
            let body = raw.read_until(UPDATE).expect("a session");
            // Without withdrawn routes; after the attributes a length and its octets for each prefix.
            let attributes = usize::from(u16::from_be_bytes([body[2], body[3]]));
            announced.extend(body[4 + attributes..].chunks(5).map(<[u8]>::to_vec));
        }
        announced.sort();
        assert_eq!(announced, [[26, 10, 1, 0, 0], [26, 10, 1, 0, 64]]);
        raw.send(&raw::message(ROUTE_REFRESH, &[0, 1, 0, 1]));
    }
}
