//! What is believed of what a peer says, and what of it is passed on.

mod malformed;
mod net;

use bgp::wire::*;
use bgp::{NexthopMode, Origination};
use malformed::{AS_PATH, NEXT_HOP, ORIGIN, body, cut, octets, update};
use model::Asn;
use net::*;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const DST: &str = "10.50.0.0/16";

/// 0 talks to 1 and to 2; what 1 says is injected.
fn three(asns: [u32; 3], reflects: bool) -> Net {
    let mut configs = mesh(&asns);
    configs[1].peers.remove(&id(2));
    configs[2].peers.remove(&id(1));
    configs[0].cluster_id = reflects.then_some([1, 1, 1, 1].into());
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    net
}

/// 1 says this of a destination to 0, of one that everybody can believe unless `change` spoils it.
fn say(net: &mut Net, asn: u32, dst: &str, nexthop: IpAddr, change: impl FnOnce(&mut Attributes)) {
    let external = asn != 64512;
    let path = if external { AsPath::sequence([Asn(asn)]) } else { AsPath::default() };
    let mut attrs = Attributes::new(Origin::Igp, path);
    change(&mut attrs);
    let announced = vec![Announced { nexthop: nexthop.into(), dsts: vec![cidr(dst)] }];
    let update = Update { announced, attrs: Some(Arc::new(attrs)), ..Update::default() };
    let families = [Family::IPV4].into();
    let ctx = Ctx { ebgp: external, four_octet_as: true, extended_message: false, families };
    let mut octets = Vec::new();
    Message::Update(update).encode(&ctx, &mut octets).expect("it fits");
    let conn = net.conn_with(0, 1);
    net.inject(0, conn, &octets);
    net.settle();
}

#[test]
fn a_next_hop_that_no_router_has_is_not_believed() {
    for (nexthop, why) in [
        (addr(0), "OwnNexthop"),
        (Ipv4Addr::LOCALHOST.into(), "MartianNexthop"),
        (Ipv4Addr::new(224, 0, 0, 1).into(), "MartianNexthop"),
        (Ipv4Addr::UNSPECIFIED.into(), "MartianNexthop"),
    ] {
        let mut net = three([64512, 64513, 64514], false);
        say(&mut net, 64513, DST, addr(1), |_| ());
        assert!(net.nexthop(0, DST).is_some() && net.nexthop(2, DST).is_some());
        say(&mut net, 64513, DST, nexthop, |_| ());
        assert_eq!((net.nexthop(0, DST), net.nexthop(2, DST)), (None, None), "{nexthop}");
        assert!(net.log(0).iter().any(|line| line.contains(why)), "{nexthop}: {:?}", net.log(0));
        assert_eq!(net.state(0, 1), "Established");
    }
}

#[test]
fn a_destination_that_nobody_can_be_at_is_not_believed() {
    for dst in ["127.0.0.0/8", "0.1.0.0/16"] {
        let mut net = three([64512, 64513, 64514], false);
        say(&mut net, 64513, dst, addr(1), |_| ());
        assert_eq!((net.nexthop(0, dst), net.nexthop(2, dst)), (None, None), "{dst}");
        assert!(net.log(0).iter().any(|line| line.contains("MartianDst")), "{:?}", net.log(0));
    }
}

#[test]
fn what_a_neighbour_says_of_its_own_links_goes_no_further() {
    let (near, far) = (ExtCommunity(0x4002 << 48), ExtCommunity(0x0002_fc00_0000_0064));
    let links = |attrs: &mut Attributes| {
        attrs.med = Some(50);
        attrs.ext_communities = [near, far].into();
    };
    let mut net = three([64512, 64513, 64514], false);
    say(&mut net, 64513, DST, addr(1), links);
    assert_eq!(net.best(0)[&cidr(DST)][0].attrs.med, Some(50));
    let told = &net.best(2)[&cidr(DST)][0].attrs;
    assert_eq!((told.med, &told.ext_communities), (None, &[far].into()));
    // Within the AS it does.
    let mut net = three([64512, 64513, 64512], false);
    say(&mut net, 64513, DST, addr(1), links);
    let told = &net.best(2)[&cidr(DST)][0].attrs;
    assert_eq!((told.med, &told.ext_communities), (Some(50), &[near, far].into()));
}

#[test]
fn that_a_path_was_shortened_by_who_aggregated_it_is_passed_on() {
    let mut net = three([64512, 64513, 64514], false);
    let aggregator = Aggregator { asn: Asn(64999), addr: [192, 0, 2, 7].into() };
    say(&mut net, 64513, DST, addr(1), |attrs| {
        attrs.atomic_aggregate = true;
        attrs.aggregator = Some(aggregator);
    });
    let told = &net.best(2)[&cidr(DST)][0].attrs;
    assert!(told.atomic_aggregate);
    assert_eq!(told.aggregator, Some(aggregator));
}

#[test]
fn a_route_that_comes_back_to_who_brought_it_in_is_ignored() {
    type Change = fn(&mut Attributes);
    let loops: [(&str, Change); 2] = [
        ("our own identifier", |attrs| attrs.originator_id = Some(RouterId([10, 0, 0, 1].into()))),
        ("our cluster", |attrs| attrs.cluster_list = vec![[2, 2, 2, 2].into(), [1, 1, 1, 1].into()]),
    ];
    for (what, change) in loops {
        let mut net = three([64512; 3], true);
        say(&mut net, 64512, DST, addr(1), |_| ());
        assert!(net.nexthop(0, DST).is_some());
        say(&mut net, 64512, DST, addr(1), change);
        assert_eq!(net.nexthop(0, DST), None, "{what}");
        assert_eq!(net.state(0, 1), "Established", "{what}");
    }
}

/// What 0 tells 2, to the octet, of a route that 1 says these further attributes of; nobody finds fault with them.
fn passed_on(net: &mut Net, further: &str) -> Vec<u8> {
    let lines = net.log(0).len();
    net.tap(0, 2);
    let attributes = cut(&[ORIGIN, AS_PATH, NEXT_HOP, further].concat());
    let conn = net.conn_with(0, 1);
    net.inject(0, conn, &update(&body(&[], &attributes, &octets(malformed::DST))));
    net.settle();
    assert_eq!(net.log(0)[lines..], [""; 0], "{further}");
    net.tapped(0, 2)
}

/// The same route as 0 is to tell it to 2, with these further attributes.
fn told(further: &str) -> Vec<u8> {
    let as_path = "40 02 0a 02 02 0000fc00 0000fde9";
    let next_hop = "40 03 04 c0a83201";
    let attributes = cut(&[ORIGIN, as_path, next_hop, further].concat());
    update(&body(&[], &attributes, &octets(malformed::DST)))
}

#[test]
fn an_unknown_attribute_that_is_transitive_is_passed_on_with_its_octets_and_the_partial_bit() {
    let long = |flags: &str| format!("{flags} 63 012c {}", "a5".repeat(300));
    let rows: [(&str, &str, &str); 7] = [
        ("not marked before", "c0 63 02 abcd", "e0 63 02 abcd"),
        ("marked before", "e0 63 02 abcd", "e0 63 02 abcd"),
        ("of no octets", "c0 ff 00", "e0 ff 00"),
        ("of many octets", &long("d0"), &long("f0")),
        ("of many octets, marked before", &long("f0"), &long("f0")),
        ("two", "c0 64 01 07 c0 63 02 abcd", "e0 63 02 abcd e0 64 01 07"),
        ("two, one of them marked before", "e0 63 02 abcd c0 64 00", "e0 63 02 abcd e0 64 00"),
    ];
    for (what, said, expected) in rows {
        let mut net = three([64512, 65001, 64514], false);
        assert_eq!(passed_on(&mut net, said), told(expected), "{what}");
    }
}

#[test]
fn a_partial_bit_on_what_is_known_here_stays_as_it_came() {
    for communities in ["c0 08 04 fde90001", "e0 08 04 fde90001"] {
        let mut net = three([64512, 65001, 64514], false);
        assert_eq!(passed_on(&mut net, communities), told(communities));
    }
}

#[test]
fn an_unknown_attribute_that_is_not_transitive_is_dropped_in_silence_and_its_route_lives() {
    for unknown in ["80 63 02 abcd", "a0 63 02 abcd", "80 ff 00"] {
        let mut net = three([64512, 65001, 64514], false);
        assert_eq!(passed_on(&mut net, unknown), told(""), "{unknown}");
        assert!(net.best(0)[&cidr("198.51.100.0/24")][0].attrs.unknown.is_empty(), "{unknown}");
        assert_eq!((net.state(0, 1), net.state(0, 2)), ("Established", "Established"), "{unknown}");
    }
}

#[test]
fn no_peer_is_told_its_own_address_as_a_next_hop() {
    for (asn, mode) in [(64512, NexthopMode::Auto), (64512, NexthopMode::Keep), (64514, NexthopMode::Keep)] {
        let mut configs = mesh(&[64512, 64513, asn]);
        configs[0].peers.get_mut(&id(2)).unwrap().nexthop = mode;
        configs[1].peers.remove(&id(2));
        configs[2].peers.remove(&id(1));
        let via = |node| Origination { nexthop: Some(addr(node)), ..Origination::default() };
        configs[0].originate.insert(cidr("10.60.0.0/16"), via(2));
        configs[0].originate.insert(cidr("10.61.0.0/16"), via(7));
        let mut net = Net::new(1, &configs);
        net.run(secs(5));
        say(&mut net, 64513, DST, addr(2), |_| ());
        let heard = net.speaker(2).adj_rib_in(&id(0));
        let nexthop =
            |dst| heard.iter().find(|heard| heard.dst == cidr(dst)).map(|heard| heard.nexthop.addr());
        assert_eq!(nexthop("10.61.0.0/16"), Some(addr(7)), "{asn}, {mode:?}: of somebody else");
        assert_eq!(nexthop("10.60.0.0/16"), Some(addr(0)), "{asn}, {mode:?}: for a route of our own");
        assert_eq!(nexthop(DST), Some(addr(0)), "{asn}, {mode:?}: for a route of another peer");
    }
}
