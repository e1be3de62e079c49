//! Sessions come up with every other speaker, in every role, and routes go both ways.

use interop_tests::ours::{originating, with};
use interop_tests::raw::{self, Open, ROUTE_REFRESH, Raw, UPDATE};
use interop_tests::{Daemon, Kind, Ours, Peering, Segment, Setup, job, peer};
use std::net::{IpAddr, Ipv4Addr};

const V4: (&str, &str) = ("10.1.0.0/26", "10.2.0.0/26");
const V6: (&str, &str) = ("fd01::/122", "fd02::/122");

/// One session: routes come and go in both directions, then our side asks for nothing more than silence.
fn exchange(kind: Kind, asn: u32, is_v4: bool) {
    let (segment, prefixes) = (Segment::new(), if is_v4 { V4 } else { V6 });
    let (here, there) = (segment.host(1), segment.host(2));
    let (us, them): (IpAddr, IpAddr) =
        if is_v4 { (here.v4.into(), there.v4.into()) } else { (here.v6.into(), there.v6.into()) };
    let job = with(job(64512, here.v4), peer(them, asn));
    let mut ours = Ours::start(&here, originating(job.clone(), &[prefixes.0]));
    let setup = Setup::new(asn, [Peering::new(us, 64512)]).announcing(&[prefixes.1]);
    let mut daemon = Daemon::start(kind, &there, setup);

    let session = ours.established(them);
    assert_eq!(session.hold_time.map(|time| time.secs()), Some(90), "{kind:?}");
    let seen = daemon.learns(prefixes.0);
    assert_eq!(seen.nexthop, us.to_string(), "{kind:?}");
    assert_eq!(seen.as_path, if asn == 64512 { "" } else { "64512" }, "{kind:?}");
    let path = ours.learns(prefixes.1);
    assert_eq!(path.nexthop.addr(), them, "{kind:?}");
    assert_eq!(path.attrs.as_path.to_string(), if asn == 64512 { String::new() } else { asn.to_string() });

    ours.configure(job.clone());
    daemon.forgets(prefixes.0);
    daemon.set(|setup| setup.announce.clear());
    ours.forgets(prefixes.1);
    ours.configure(originating(job, &[prefixes.0]));
    daemon.learns(prefixes.0);
    daemon.refresh();
    daemon.set(|setup| _ = setup.announce.insert(prefixes.1.to_owned()));
    ours.learns(prefixes.1);
    assert!(daemon.sees(prefixes.0).is_some(), "{kind:?}");
    assert_eq!(ours.session(them).since, session.since, "{kind:?}: one session all the time");
}

#[test]
fn a_mesh_member_exchanges_ipv4_routes() {
    Kind::ALL.into_iter().for_each(|kind| exchange(kind, 64512, true));
}

#[test]
fn a_mesh_member_exchanges_ipv6_routes() {
    Kind::ALL.into_iter().for_each(|kind| exchange(kind, 64512, false));
}

#[test]
fn an_external_router_exchanges_ipv4_routes() {
    Kind::ALL.into_iter().for_each(|kind| exchange(kind, 65001, true));
}

#[test]
fn an_external_router_exchanges_ipv6_routes() {
    Kind::ALL.into_iter().for_each(|kind| exchange(kind, 4_200_000_001, false));
}

#[test]
fn two_clients_of_their_reflector_see_each_other() {
    for kind in Kind::ALL {
        let segment = Segment::new();
        let [one, two, reflector] = [1, 2, 3].map(|number| segment.host(number));
        let client = |host: &interop_tests::Host, prefix| {
            let job = with(job(64512, host.v4), peer(reflector.v4, 64512));
            Ours::start(host, originating(job, &[prefix]))
        };
        let (mut first, mut second) = (client(&one, "10.1.0.0/26"), client(&two, "10.2.0.0/26"));
        let peers = [&one, &two].map(|host| Peering { client: true, ..Peering::new(host.v4, 64512) });
        let cluster_id = Some(Ipv4Addr::new(244, 0, 0, 1));
        let _daemon = Daemon::start(kind, &reflector, Setup { cluster_id, ..Setup::new(64512, peers) });
        let path = first.learns("10.2.0.0/26");
        assert_eq!(path.nexthop.addr(), IpAddr::from(two.v4), "{kind:?}");
        assert_eq!(path.attrs.originator_id.map(|id| id.0), Some(two.v4), "{kind:?}");
        assert_eq!(path.attrs.cluster_list, [Ipv4Addr::new(244, 0, 0, 1)], "{kind:?}");
        second.learns("10.1.0.0/26");
    }
}

#[test]
fn two_clients_of_our_reflector_see_each_other() {
    let segment = Segment::new();
    let reflector = segment.host(1);
    let hosts = [2, 3, 4].map(|number| segment.host(number));
    let mut job = job(64512, reflector.v4);
    job.bgp.cluster_id = Some(Ipv4Addr::new(244, 0, 0, 1));
    for host in &hosts {
        let client = bgp::PeerConfig { rr_client: true, ..peer(host.v4, 64512) };
        job = with(job, client);
    }
    let _ours = Ours::start(&reflector, job);
    let prefixes = ["10.2.0.0/26", "10.3.0.0/26", "10.4.0.0/26"];
    let clients: Vec<Daemon<'_>> = hosts
        .iter()
        .zip(Kind::ALL)
        .zip(prefixes)
        .map(|((host, kind), prefix)| {
            let setup = Setup::new(64512, [Peering::new(reflector.v4, 64512)]).announcing(&[prefix]);
            Daemon::start(kind, host, setup)
        })
        .collect();
    for (client, own) in clients.iter().zip(prefixes) {
        for (host, prefix) in hosts.iter().zip(prefixes).filter(|(_, prefix)| *prefix != own) {
            let seen = client.learns(prefix);
            assert_eq!(seen.nexthop, host.v4.to_string(), "{:?} sees {prefix}", client.kind);
        }
    }
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
