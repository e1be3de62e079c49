//! Headers, OPENs, packing and AS numbers of two octets, as octets.

use bgp::wire::*;
use model::{Asn, Cidr};
use std::net::{Ipv4Addr, Ipv6Addr};

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| u8::try_from(digit).expect("a digit"))
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn framed(kind: u8, body: &str) -> Vec<u8> {
    let body = octets(body);
    let len = u16::try_from(19 + body.len()).expect("fits").to_be_bytes();
    [&[0xff; 16], &len[..], &[kind], &body].concat()
}

fn ctx() -> Ctx {
    let families = [Family::IPV4, Family::IPV6].into();
    Ctx { ebgp: true, four_octet_as: true, extended_message: false, families }
}

fn told(error: Error, data: &str) -> Result<Option<usize>, Notification> {
    Err(Notification::with(error, octets(data)))
}

fn attrs() -> Attributes {
    Attributes::new(Origin::Igp, AsPath::sequence([Asn(64512)]))
}

fn many_ipv4(count: u32) -> impl Iterator<Item = Cidr> {
    (0..count).map(|i| Cidr::containing(Ipv4Addr::from(0x0a00_0000 + (i << 8)).into(), 24).expect("fits"))
}

#[test]
fn a_header_that_is_wrong_ends_the_session() {
    let header = |len: &str, kind: &str| octets(&format!("{} {len} {kind}", "ff".repeat(16)));
    for (what, octets, max, expected) in [
        ("nothing", vec![], MAX, Ok(None)),
        ("eighteen octets", vec![0xff; 18], MAX, Ok(None)),
        ("a KEEPALIVE", header("0013", "04"), MAX, Ok(Some(19))),
        ("a KEEPALIVE and more", [header("0013", "04"), vec![0]].concat(), MAX, Ok(Some(19))),
        ("a header of an UPDATE", header("0017", "02"), MAX, Ok(None)),
        (
            "a marker of zeros",
            octets(&format!("{} 0013 04", "00".repeat(16))),
            MAX,
            told(Error::NotSynchronized, ""),
        ),
        ("a length of 0", header("0000", "04"), MAX, told(Error::BadMessageLength, "0000")),
        ("a length of 18", header("0012", "04"), MAX, told(Error::BadMessageLength, "0012")),
        ("a long KEEPALIVE", header("0014", "04"), MAX, told(Error::BadMessageLength, "0014")),
        ("a short OPEN", header("001c", "01"), MAX, told(Error::BadMessageLength, "001c")),
        ("a short UPDATE", header("0016", "02"), MAX, told(Error::BadMessageLength, "0016")),
        ("a short NOTIFICATION", header("0014", "03"), MAX, told(Error::BadMessageLength, "0014")),
        ("a short ROUTE-REFRESH", header("0016", "05"), MAX, told(Error::BadMessageLength, "0016")),
        ("a long ROUTE-REFRESH", header("0018", "05"), MAX, told(Error::BadMessageLength, "0018")),
        ("the longest UPDATE", header("1000", "02"), MAX, Ok(None)),
        ("a longer UPDATE", header("1001", "02"), MAX, told(Error::BadMessageLength, "1001")),
        ("the longest extended UPDATE", header("ffff", "02"), MAX_EXTENDED, Ok(None)),
        ("the longest extended NOTIFICATION", header("ffff", "03"), MAX_EXTENDED, Ok(None)),
        ("an extended OPEN", header("1001", "01"), MAX_EXTENDED, told(Error::BadMessageLength, "1001")),
        ("a type of 0", header("0013", "00"), MAX, told(Error::BadMessageType, "00")),
        ("a type of 6", header("0013", "06"), MAX, told(Error::BadMessageType, "06")),
        ("a type of 255", header("1000", "ff"), MAX, told(Error::BadMessageType, "ff")),
    ] {
        assert_eq!(frame(&octets, max), expected, "{what}");
    }
}

/// An OPEN of version 4, AS 64512, 90 seconds, 192.0.2.1 and these parameters.
fn open(parameters: &str) -> Vec<u8> {
    framed(1, &format!("04 fc00 005a c0000201 {parameters}"))
}

#[test]
fn f55_an_open_that_is_wrong_is_refused_with_its_own_error() {
    let with = |error, data: &str| Notification::with(error, octets(data));
    for (what, octets, expected) in [
        ("version 3", framed(1, "03 fc00 005a c0000201 00"), with(Error::UnsupportedVersion, "0004")),
        ("version 5", framed(1, "05 fc00 005a c0000201 00"), with(Error::UnsupportedVersion, "0004")),
        ("AS 0", framed(1, "04 0000 005a c0000201 00"), with(Error::BadPeerAs, "")),
        ("AS 0 of four octets", open("08 02 06 41 04 00000000"), with(Error::BadPeerAs, "")),
        ("a hold time of 1", framed(1, "04 fc00 0001 c0000201 00"), with(Error::UnacceptableHoldTime, "")),
        ("a hold time of 2", framed(1, "04 fc00 0002 c0000201 00"), with(Error::UnacceptableHoldTime, "")),
        ("router ID 0.0.0.0", framed(1, "04 fc00 005a 00000000 00"), with(Error::BadBgpIdentifier, "")),
        ("parameters longer than the message", open("01"), with(Error::Open, "")),
        ("parameters shorter than the message", open("00 00"), with(Error::Open, "")),
        ("a parameter without a length", open("01 02"), with(Error::Open, "")),
        ("a parameter beyond the parameters", open("02 02 01"), with(Error::Open, "")),
        ("authentication", open("03 01 01 00"), with(Error::UnsupportedOptionalParameter, "")),
        ("an unknown parameter", open("02 7f 00"), with(Error::UnsupportedOptionalParameter, "")),
        ("a capability without a length", open("03 02 01 02"), with(Error::Open, "02")),
        ("a capability beyond its parameter", open("04 02 02 41 04"), with(Error::Open, "41 04")),
        ("multiprotocol of three octets", open("07 02 05 01 03 000100"), with(Error::Open, "01 03 000100")),
        (
            "multiprotocol of five octets",
            open("09 02 07 01 05 0001000100"),
            with(Error::Open, "01 05 0001000100"),
        ),
        ("route refresh with a value", open("05 02 03 02 01 00"), with(Error::Open, "02 01 00")),
        ("an AS of two octets", open("06 02 04 41 02 fc00"), with(Error::Open, "41 02 fc00")),
        ("graceful restart of no octets", open("04 02 02 40 00"), with(Error::Open, "40 00")),
        ("half a family that is kept", open("08 02 06 40 04 00780001"), with(Error::Open, "40 04 00780001")),
        ("extended parameters beyond the message", open("ff ff 0005 02 0000"), with(Error::Open, "")),
    ] {
        assert_eq!(decode(&octets, &ctx()), Err(expected), "{what}");
    }
}

fn capabilities(parameters: &str) -> Vec<Capability> {
    match decode(&open(parameters), &ctx()).map(|decoded| decoded.message) {
        Ok(Message::Open(open)) => open.capabilities,
        other => panic!("{other:?} is no OPEN"),
    }
}

#[test]
fn f55_an_open_may_say_its_capabilities_in_many_ways() {
    let all = [Capability::Multiprotocol(Family::IPV6), Capability::RouteRefresh];
    assert_eq!(capabilities("0a 02 08 01 04 00020001 02 00"), all, "in one parameter");
    assert_eq!(capabilities("0c 02 06 01 04 00020001 02 02 02 00"), all, "in two parameters");
    assert_eq!(capabilities("ff ff 000b 02 0008 01 04 00020001 02 00"), all, "with long lengths");
    assert_eq!(
        capabilities("01 ff 000b 02 0008 01 04 00020001 02 00"),
        all,
        "with long lengths said otherwise"
    );
    assert_eq!(capabilities("02 02 00"), [], "none in a parameter");
    assert_eq!(capabilities("04 02 02 c8 00"), [Capability::Unknown { code: 200, value: vec![] }]);
}

#[test]
fn an_as_of_four_octets_stands_in_its_capability() {
    let told = Open {
        asn: Asn(65536),
        hold_time: HoldTime::new(0).expect("allowed"),
        router_id: RouterId(Ipv4Addr::new(192, 0, 2, 1)),
        capabilities: vec![Capability::FourOctetAs(Asn(65536))],
    };
    let mut out = Vec::new();
    Message::Open(told.clone()).encode(&ctx(), &mut out).expect("fits");
    assert_eq!(out, framed(1, "04 5ba0 0000 c0000201 08 02 06 41 04 00010000"));
    let Ok(Message::Open(read)) = decode(&out, &ctx()).map(|decoded| decoded.message) else {
        panic!("an OPEN")
    };
    assert!(read.four_octet_as() && read.asn == told.asn && read.families() == [Family::IPV4].into());
}

#[test]
fn of_several_promises_to_restart_the_last_counts() {
    let read = decode(&open("0a 02 08 40 02 8078 40 02 40b4"), &ctx()).map(|decoded| decoded.message);
    let Ok(Message::Open(open)) = read else { panic!("{read:?} is no OPEN") };
    let restart = open.graceful_restart().expect("promised");
    assert!(!restart.restarting && restart.notification && restart.time == 180);
}

#[test]
fn as_numbers_of_four_octets_are_put_back() {
    // (AS_PATH, AGGREGATOR and what comes after them, path, aggregator), RFC 6793 §4.2.3.
    for (what, attributes, path, aggregator) in [
        ("all in AS4_PATH", "400206 0202 5ba05ba0 c0110a 0202 0001000000010001", "65536 65537", None),
        ("one in front", "400208 0203 fc005ba05ba0 c0110a 0202 0001000000010001", "64512 65536 65537", None),
        ("AS4_PATH is longer", "400204 0201 5ba0 c0110a 0202 0001000000010001", "23456", None),
        (
            "a set in front",
            "40020c 0102 fc00fc01 0202 5ba05ba0 c0110a 0202 0001000000010001",
            "{64512,64513} 65536 65537",
            None,
        ),
        (
            "two segments in front",
            "40020c 0202 fc00fc01 0202 fc025ba0 c01106 0201 00010000",
            "64512 64513 64514 65536",
            None,
        ),
        (
            "a set counts one",
            "400206 0202 fc005ba0 c0110a 0102 0001000000010001",
            "64512 {65536,65537}",
            None,
        ),
        ("no AS4_PATH", "400206 0202 fc005ba0", "64512 23456", None),
        (
            "the aggregator too",
            "400204 0201 5ba0 c00706 5ba0c0000201 c01106 0201 00010000 c01208 00010001c0000201",
            "65536",
            Some(65537),
        ),
        (
            "another aggregator since",
            "400204 0201 5ba0 c00706 fc00c0000201 c01106 0201 00010000 c01208 00010001c0000201",
            "23456",
            Some(64512),
        ),
        (
            "an aggregator of two octets alone",
            "400204 0201 5ba0 c00706 fc00c0000201 c01106 0201 00010000",
            "65536",
            Some(64512),
        ),
        ("AS4_AGGREGATOR alone", "400204 0201 fc00 c01208 00010001c0000201", "64512", None),
    ] {
        let attributes = format!("40010100 400304c0000201 {attributes}");
        let body = format!("0000 {:04x} {attributes} 08 0a", octets(&attributes).len());
        let decoded = decode(&framed(2, &body), &Ctx { four_octet_as: false, ..ctx() }).expect("an UPDATE");
        let Message::Update(update) = decoded.message else { panic!("{what}") };
        let attrs = update.attrs.expect("a route");
        assert_eq!(attrs.as_path.to_string(), path, "{what}");
        assert_eq!(attrs.aggregator.map(|by| by.asn.0), aggregator, "{what}");
        assert_eq!(decoded.misbehaved, [], "{what}");
    }
}

#[test]
fn a_speaker_with_two_octets_is_told_as4_attributes_only_where_they_are_needed() {
    let two = Ctx { four_octet_as: false, ..ctx() };
    let nexthop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
    for (asn, body) in [
        (64512, "0000 0012 40010100 400204 0201 fc00 400304c0000201 08 0a"),
        (65536, "0000 001b 40010100 400204 0201 5ba0 400304c0000201 c01106 0201 00010000 08 0a"),
    ] {
        let attrs = Attributes::new(Origin::Igp, AsPath::sequence([Asn(asn)]));
        let mut dsts = ["10.0.0.0/8".parse().expect("a CIDR")].into_iter().peekable();
        let mut out = Vec::new();
        assert_eq!(pack::announce(&attrs, nexthop, &mut dsts, &two, &mut out), Ok(1));
        assert_eq!(out, framed(2, body), "AS {asn}");
    }
}

#[test]
fn an_ipv6_route_begins_with_its_destinations() {
    let global: Ipv6Addr = "2001:db8::1".parse().expect("an address");
    for (link_local, head) in [
        (None, "0000 002b 900e001a 000201 10 20010db8000000000000000000000001"),
        (
            Some("fe80::1"),
            "0000 003b 900e002a 000201 20 20010db8000000000000000000000001 fe800000000000000000000000000001",
        ),
    ] {
        let nexthop =
            NextHop::V6 { global, link_local: link_local.map(|addr| addr.parse().expect("an address")) };
        let mut dsts = ["2001:db8::/32".parse().expect("a CIDR")].into_iter().peekable();
        let mut out = Vec::new();
        assert_eq!(pack::announce(&attrs(), nexthop, &mut dsts, &ctx(), &mut out), Ok(1));
        assert_eq!(out, framed(2, &format!("{head} 00 20 20010db8 40010100 400206 0201 0000fc00")));
    }
}

#[test]
fn what_is_for_internal_peers_is_not_told_to_external_ones() {
    let internal = Attributes {
        local_pref: Some(100),
        originator_id: Some(RouterId(Ipv4Addr::new(192, 0, 2, 9))),
        cluster_list: vec![Ipv4Addr::new(192, 0, 2, 8)],
        ..attrs()
    };
    let nexthop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
    for (ebgp, expected) in [(true, attrs()), (false, internal.clone())] {
        let ctx = Ctx { ebgp, ..ctx() };
        let mut out = Vec::new();
        pack::announce(&internal, nexthop, &mut many_ipv4(1).peekable(), &ctx, &mut out).expect("fits");
        let Ok(Message::Update(update)) = decode(&out, &ctx).map(|decoded| decoded.message) else {
            panic!("an UPDATE")
        };
        assert_eq!(update.attrs.as_deref(), Some(&expected));
    }
}

#[test]
fn messages_are_filled_to_the_last_octet_that_fits() {
    // Destinations of one to five octets each.
    fn dsts(family: Family, len: u8) -> impl Iterator<Item = Cidr> {
        let addr = if family == Family::IPV4 { "0.0.0.0" } else { "::" };
        let dst = Cidr::containing(addr.parse().expect("an address"), len).expect("fits");
        std::iter::repeat_n(dst, 70_000)
    }
    let ipv6 = NextHop::V6 { global: Ipv6Addr::LOCALHOST, link_local: None };
    for (nexthop, extended_message, len) in [NextHop::V4(Ipv4Addr::LOCALHOST), ipv6]
        .into_iter()
        .flat_map(|nexthop| [false, true].map(|extended| (nexthop, extended)))
        .flat_map(|(nexthop, extended)| [0, 8, 16, 24, 32].map(|len| (nexthop, extended, len)))
    {
        let ctx = Ctx { extended_message, ..ctx() };
        let (max, family, octets) = (ctx.max(), nexthop.family(), usize::from(len / 8));
        let (mut announced, mut withdrawn) = (dsts(family, len).peekable(), dsts(family, len).peekable());
        let (mut update, mut withdrawal) = (Vec::new(), Vec::new());
        let count = pack::announce(&attrs(), nexthop, &mut announced, &ctx, &mut update);
        assert_eq!(count, Ok(70_000 - announced.count()));
        let count = pack::withdraw(family, &mut withdrawn, &ctx, &mut withdrawal);
        assert_eq!(count, 70_000 - withdrawn.count());
        for message in [update, withdrawal] {
            assert!((max - octets..=max).contains(&message.len()), "{} of {max} for /{len}", message.len());
            assert!(decode(&message, &ctx).is_ok_and(|decoded| decoded.misbehaved.is_empty()));
        }
    }
}

#[test]
fn s25_attributes_that_fit_no_message_are_refused_and_nothing_is_written() {
    let nexthop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
    // The other attributes take 28 octets, header and lengths 23, the destination four.
    for (communities, fits) in [(1011, true), (1012, false), (20_000, false)] {
        let attrs = Attributes { communities: (0..communities).map(Community).collect(), ..attrs() };
        let mut dsts = many_ipv4(1).peekable();
        let mut out = vec![0xa5];
        let packed = pack::announce(&attrs, nexthop, &mut dsts, &ctx(), &mut out);
        assert_eq!(packed.is_ok(), fits, "{communities} communities: {packed:?}, {} octets", out.len());
        assert_eq!((out.len() > 1, dsts.peek().is_none()), (fits, fits), "{communities} communities");
    }
}

#[test]
fn the_end_of_a_rib_is_marked_for_each_family() {
    let unicast_v6 = "0000 0007 900f0003 000201";
    for (family, body) in [(Family::IPV4, "0000 0000"), (Family::IPV6, unicast_v6)] {
        let mut out = Vec::new();
        pack::end_of_rib(family, &mut out);
        assert_eq!(out, framed(2, body));
        let end = Update { end_of_rib: Some(family), ..Update::default() };
        assert_eq!(decode(&out, &ctx()).map(|decoded| decoded.message), Ok(Message::Update(end)));
    }
    // Other ways to write it, and what only looks like it.
    for (body, end_of_rib) in [
        ("0000 0006 800f03 000201", Some(Family::IPV6)),
        ("0000 0006 800f03 000101", Some(Family::IPV4)),
        ("0000 000a 800f03 000201 40010100", None),
        ("0000 0006 800f03 000280", None),
        ("0000 0004 40010100", None),
        ("0001 00 0000", None),
    ] {
        let decoded = decode(&framed(2, body), &ctx()).expect("an UPDATE");
        let Message::Update(update) = decoded.message else { panic!("an UPDATE") };
        assert_eq!(update.end_of_rib, end_of_rib, "{body}");
    }
}

#[test]
fn a_destination_of_both_fields_is_announced_after_it_was_withdrawn() {
    let body = "0002 080a 0014 40010100 400206 0201 0000fc00 400304c0000201 08 0a";
    let Ok(Message::Update(update)) = decode(&framed(2, body), &ctx()).map(|decoded| decoded.message) else {
        panic!("an UPDATE")
    };
    assert_eq!(update.withdrawn, update.announced[0].dsts);
}

#[test]
fn a_notification_is_cut_where_the_peer_takes_no_more() {
    let told = Notification::with(Error::OptionalAttribute, vec![7; 5000]);
    let mut out = Vec::new();
    Message::Notification(told).encode(&ctx(), &mut out).expect("fits");
    assert_eq!(out.len(), MAX);
}
