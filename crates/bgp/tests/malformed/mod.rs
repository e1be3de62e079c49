//! What becomes of a route when its UPDATE is malformed (RFC 7606), one error a row, from an external and from an internal
//! peer. A row begins with a good message and changes it; octets are hexadecimal.

#![allow(dead_code, reason = "each program uses its own part")]

use Change::*;
use Verdict::*;
use bgp::wire::Error;
use model::Cidr;

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The route is announced, and nothing was wrong.
    Good,
    /// The route is announced as if what is wrong had not been there.
    Less,
    /// The route is withdrawn.
    Gone,
    /// Nothing is announced and nothing is withdrawn.
    Nothing,
    /// The session ends with this.
    Reset(Error),
}

/// How the message differs from a good one.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// An IPv4 route with these attributes, in place of those of the same code.
    With(&'static str),
    /// The same on a session with AS numbers of two octets.
    Old(&'static str),
    /// The same for an IPv6 route.
    Six(&'static str),
    /// An IPv4 route with these attributes behind its own.
    And(&'static str),
    /// The same for an IPv6 route.
    SixAnd(&'static str),
    /// An IPv4 route without this attribute.
    No(u8),
    /// The same for an IPv6 route.
    SixNo(u8),
    /// An IPv4 route with further destinations behind its own.
    Dst(&'static str),
    /// The whole body.
    Body(&'static str),
}

pub const DST: &str = "18 c63364";
pub const ORIGIN: &str = "40 01 01 00";
pub const AS_PATH: &str = "40 02 06 02 01 0000fde9";
const AS_PATH_OLD: &str = "40 02 04 02 01 fde9";
pub const NEXT_HOP: &str = "40 03 04 c0000201";
pub const MP_REACH: &str = "80 0e 1a 0002 01 10 20010db8000000000000000000000001 00 20 20010db8";

const MALFORMED_LIST: Verdict = Reset(Error::MalformedAttributeList);
const OPTIONAL: Verdict = Reset(Error::OptionalAttribute);
const NETWORK: Verdict = Reset(Error::InvalidNetworkField);

/// Source, what is wrong, the change, and what becomes of the route from an external and from an internal peer.
pub type Row = (&'static str, &'static str, Change, Verdict, Verdict);

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    ("7606 §3", "nothing is wrong", With(""), Good, Good),
    ("7606 §3", "nothing is wrong with two octets", Old(""), Good, Good),
    ("7606 §3", "nothing is wrong with IPv6", Six(""), Good, Good),
    // Flags: the optional and the transitive bit.
    ("7606 §3 c", "ORIGIN optional transitive", With("c0 01 01 00"), Gone, Gone),
    ("7606 §3 c", "ORIGIN optional", With("80 01 01 00"), Gone, Gone),
    ("7606 §3 c", "ORIGIN not transitive", With("00 01 01 00"), Gone, Gone),
    ("7606 §3 c", "AS_PATH optional transitive", With("c0 02 06 02 01 0000fde9"), Gone, Gone),
    ("7606 §3 c", "AS_PATH optional", With("80 02 06 02 01 0000fde9"), Gone, Gone),
    ("7606 §3 c", "AS_PATH not transitive", With("00 02 06 02 01 0000fde9"), Gone, Gone),
    ("7606 §3 c", "NEXT_HOP optional transitive", With("c0 03 04 c0000201"), Gone, Gone),
    ("7606 §3 c", "NEXT_HOP optional", With("80 03 04 c0000201"), Gone, Gone),
    ("7606 §3 c", "NEXT_HOP not transitive", With("00 03 04 c0000201"), Gone, Gone),
    ("7606 §3 c", "MULTI_EXIT_DISC well-known", With("40 04 04 00000001"), Gone, Gone),
    ("7606 §3 c", "MULTI_EXIT_DISC transitive", With("c0 04 04 00000001"), Gone, Gone),
    ("7606 §3 c", "MULTI_EXIT_DISC without flags", With("00 04 04 00000001"), Gone, Gone),
    ("7606 §3 c", "LOCAL_PREF optional transitive", With("c0 05 04 00000064"), Less, Gone),
    ("7606 §3 c", "LOCAL_PREF optional", With("80 05 04 00000064"), Less, Gone),
    ("7606 §3 c", "LOCAL_PREF not transitive", With("00 05 04 00000064"), Less, Gone),
    ("7606 §3 c", "ATOMIC_AGGREGATE optional transitive", With("c0 06 00"), Gone, Gone),
    ("7606 §3 c", "ATOMIC_AGGREGATE optional", With("80 06 00"), Gone, Gone),
    ("7606 §3 c", "ATOMIC_AGGREGATE not transitive", With("00 06 00"), Gone, Gone),
    ("7606 §3 c", "AGGREGATOR well-known", With("40 07 08 0000fde9 c0000201"), Gone, Gone),
    ("7606 §3 c", "AGGREGATOR not transitive", With("80 07 08 0000fde9 c0000201"), Gone, Gone),
    ("7606 §3 c", "AGGREGATOR without flags", With("00 07 08 0000fde9 c0000201"), Gone, Gone),
    ("7606 §3 c", "COMMUNITIES well-known", With("40 08 04 fde90001"), Gone, Gone),
    ("7606 §3 c", "COMMUNITIES not transitive", With("80 08 04 fde90001"), Gone, Gone),
    ("7606 §3 c", "COMMUNITIES without flags", With("00 08 04 fde90001"), Gone, Gone),
    ("7606 §3 c", "ORIGINATOR_ID well-known", With("40 09 04 c0000202"), Less, Gone),
    ("7606 §3 c", "ORIGINATOR_ID transitive", With("c0 09 04 c0000202"), Less, Gone),
    ("7606 §3 c", "CLUSTER_LIST well-known", With("40 0a 04 c0000202"), Less, Gone),
    ("7606 §3 c", "CLUSTER_LIST transitive", With("c0 0a 04 c0000202"), Less, Gone),
    ("7606 §3 c", "EXTENDED COMMUNITIES well-known", With("40 10 08 0002fde900000001"), Gone, Gone),
    ("7606 §3 c", "EXTENDED COMMUNITIES not transitive", With("80 10 08 0002fde900000001"), Gone, Gone),
    ("7606 §3 c", "AS4_PATH well-known", Old("40 11 06 02 01 0000fde9"), Gone, Gone),
    ("7606 §3 c", "AS4_PATH not transitive", Old("80 11 06 02 01 0000fde9"), Gone, Gone),
    ("7606 §3 c", "AS4_AGGREGATOR well-known", Old("40 12 08 0000fde9 c0000201"), Gone, Gone),
    ("7606 §3 c", "AS4_AGGREGATOR not transitive", Old("80 12 08 0000fde9 c0000201"), Gone, Gone),
    ("7606 §3 c", "LARGE_COMMUNITY well-known", With("40 20 0c 000000010000000200000003"), Gone, Gone),
    ("7606 §3 c", "LARGE_COMMUNITY not transitive", With("80 20 0c 000000010000000200000003"), Gone, Gone),
    ("7606 §5.3", "MP_REACH_NLRI well-known",
        Six("40 0e 1a 0002 01 10 20010db8000000000000000000000001 00 20 20010db8"), OPTIONAL, OPTIONAL),
    ("7606 §5.3", "MP_REACH_NLRI transitive",
        Six("c0 0e 1a 0002 01 10 20010db8000000000000000000000001 00 20 20010db8"), OPTIONAL, OPTIONAL),
    ("7606 §5.3", "MP_UNREACH_NLRI well-known", And("40 0f 03 0002 01"), OPTIONAL, OPTIONAL),
    ("7606 §5.3", "MP_UNREACH_NLRI transitive", And("c0 0f 03 0002 01"), OPTIONAL, OPTIONAL),
    ("4271 §4.3", "the four low bits mean nothing", With("4f 01 01 00"), Good, Good),
    ("7606 §3 c", "the partial bit is no conflict", With("60 01 01 00"), Good, Good),
    ("4271 §4.3", "two octets of length where one would do", With("50 01 0001 00"), Good, Good),
    // ORIGIN.
    ("7606 §7.1", "ORIGIN of no octets", With("40 01 00"), Gone, Gone),
    ("7606 §7.1", "ORIGIN of two octets", With("40 01 02 0000"), Gone, Gone),
    ("7606 §7.1", "ORIGIN 3", With("40 01 01 03"), Gone, Gone),
    ("7606 §7.1", "ORIGIN 255", With("40 01 01 ff"), Gone, Gone),
    ("7606 §7.1", "ORIGIN of no octets with IPv6", Six("40 01 00"), Gone, Gone),
    // AS_PATH.
    ("7606 §4", "AS_PATH of no octets", With("40 02 00"), Good, Good),
    ("7606 §7.2", "AS_PATH of one octet", With("40 02 01 02"), Gone, Gone),
    ("7606 §7.2", "AS_PATH with an empty segment", With("40 02 02 02 00"), Gone, Gone),
    ("7606 §7.2", "AS_PATH with an empty segment at its end", With("40 02 08 02 01 0000fde9 02 00"), Gone, Gone),
    ("7606 §7.2", "AS_PATH with a segment beyond its end", With("40 02 06 02 02 0000fde9"), Gone, Gone),
    ("7606 §7.2", "AS_PATH with one octet left over", With("40 02 07 02 01 0000fde9 02"), Gone, Gone),
    ("7606 §7.2", "AS_PATH with three octets left over", With("40 02 09 02 01 0000fde9 00fde9"), Gone, Gone),
    ("7606 §7.2", "AS_PATH with two-octet numbers where four were agreed on", With("40 02 04 02 01 fde9"), Gone, Gone),
    ("7606 §7.2", "AS_PATH with a segment of type 0", With("40 02 06 00 01 0000fde9"), Gone, Gone),
    ("7606 §7.2", "AS_PATH with a segment of type 5", With("40 02 06 05 01 0000fde9"), Gone, Gone),
    ("5065 §5", "AS_PATH with AS_CONFED_SEQUENCE", With("40 02 06 03 01 0000fde9"), Gone, Gone),
    ("5065 §5", "AS_PATH with AS_CONFED_SET", With("40 02 06 04 01 0000fde9"), Gone, Gone),
    ("7607 §2", "AS_PATH with AS 0", With("40 02 0a 02 02 0000fde9 00000000"), Gone, Gone),
    ("7607 §2", "AS_PATH of two octets with AS 0", Old("40 02 04 02 01 0000"), Gone, Gone),
    ("4271 §4.3", "AS_PATH with AS_SET", With("40 02 0c 02 01 0000fde9 01 01 0000fdea"), Good, Good),
    // NEXT_HOP, MULTI_EXIT_DISC, LOCAL_PREF.
    ("7606 §7.3", "NEXT_HOP of no octets", With("40 03 00"), Gone, Gone),
    ("7606 §7.3", "NEXT_HOP of three octets", With("40 03 03 c00002"), Gone, Gone),
    ("7606 §7.3", "NEXT_HOP of five octets", With("40 03 05 c000020100"), Gone, Gone),
    ("7606 §7.3", "NEXT_HOP of sixteen octets", With("40 03 10 20010db8000000000000000000000001"), Gone, Gone),
    ("7606 §7.4", "MULTI_EXIT_DISC of no octets", With("80 04 00"), Gone, Gone),
    ("7606 §7.4", "MULTI_EXIT_DISC of three octets", With("80 04 03 000001"), Gone, Gone),
    ("7606 §7.4", "MULTI_EXIT_DISC of five octets", With("80 04 05 0000000100"), Gone, Gone),
    ("7606 §7.4", "MULTI_EXIT_DISC of five octets with IPv6", Six("80 04 05 0000000100"), Gone, Gone),
    ("7606 §7.5", "LOCAL_PREF", With("40 05 04 00000064"), Less, Good),
    ("7606 §7.5", "LOCAL_PREF of no octets", With("40 05 00"), Less, Gone),
    ("7606 §7.5", "LOCAL_PREF of three octets", With("40 05 03 000064"), Less, Gone),
    ("7606 §7.5", "LOCAL_PREF of five octets", With("40 05 05 0000006400"), Less, Gone),
    // ATOMIC_AGGREGATE, AGGREGATOR.
    ("7606 §7.6", "ATOMIC_AGGREGATE of one octet", With("40 06 01 00"), Less, Less),
    ("7606 §7.6", "ATOMIC_AGGREGATE of four octets", With("40 06 04 00000000"), Less, Less),
    ("7606 §7.7", "AGGREGATOR of no octets", With("c0 07 00"), Less, Less),
    ("7606 §7.7", "AGGREGATOR of four octets", With("c0 07 04 0000fde9"), Less, Less),
    ("7606 §7.7", "AGGREGATOR of six octets where eight were agreed on", With("c0 07 06 fde9 c0000201"), Less, Less),
    ("7606 §7.7", "AGGREGATOR of nine octets", With("c0 07 09 0000fde9 c0000201 00"), Less, Less),
    ("7606 §7.7", "AGGREGATOR of eight octets where six were agreed on", Old("c0 07 08 0000fde9 c0000201"), Less, Less),
    ("7606 §7.7", "AGGREGATOR of five octets", Old("c0 07 05 fde9 c00002"), Less, Less),
    ("7607 §2", "AGGREGATOR with AS 0", With("c0 07 08 00000000 c0000201"), Less, Less),
    ("7607 §2", "AGGREGATOR of six octets with AS 0", Old("c0 07 06 0000 c0000201"), Less, Less),
    // Communities.
    ("7606 §7.8", "COMMUNITIES of no octets", With("c0 08 00"), Gone, Gone),
    ("7606 §7.8", "COMMUNITIES of three octets", With("c0 08 03 fde900"), Gone, Gone),
    ("7606 §7.8", "COMMUNITIES of seven octets", With("c0 08 07 fde90001 fde900"), Gone, Gone),
    ("7606 §7.8", "COMMUNITIES of seven octets with IPv6", Six("c0 08 07 fde90001 fde900"), Gone, Gone),
    ("7606 §7.14", "EXTENDED COMMUNITIES of no octets", With("c0 10 00"), Gone, Gone),
    ("7606 §7.14", "EXTENDED COMMUNITIES of four octets", With("c0 10 04 0002fde9"), Gone, Gone),
    ("7606 §7.14", "EXTENDED COMMUNITIES of seven octets", With("c0 10 07 0002fde9000000"), Gone, Gone),
    ("7606 §7.14", "EXTENDED COMMUNITIES of nine octets", With("c0 10 09 0002fde900000001 00"), Gone, Gone),
    ("7606 §7.14", "EXTENDED COMMUNITIES of an unknown type", With("c0 10 08 3fffffffffffffff"), Good, Good),
    ("8092 §5", "LARGE_COMMUNITY of no octets", With("c0 20 00"), Gone, Gone),
    ("8092 §5", "LARGE_COMMUNITY of four octets", With("c0 20 04 00000001"), Gone, Gone),
    ("8092 §5", "LARGE_COMMUNITY of eight octets", With("c0 20 08 0000000100000002"), Gone, Gone),
    ("8092 §5", "LARGE_COMMUNITY of sixteen octets", With("c0 20 10 000000010000000200000003 00000004"), Gone, Gone),
    ("8092 §5", "LARGE_COMMUNITY of eleven octets", With("c0 20 0b 0000000100000002000000"), Gone, Gone),
    ("8092 §5", "LARGE_COMMUNITY of thirteen octets", With("c0 20 0d 000000010000000200000003 00"), Gone, Gone),
    ("8092 §3", "LARGE_COMMUNITY twice the same", With("c0 20 18 000000010000000200000003 000000010000000200000003"), Good, Good),
    // Route reflection.
    ("7606 §7.9", "ORIGINATOR_ID", With("80 09 04 c0000202"), Less, Good),
    ("7606 §7.9", "ORIGINATOR_ID of no octets", With("80 09 00"), Less, Gone),
    ("7606 §7.9", "ORIGINATOR_ID of three octets", With("80 09 03 c00002"), Less, Gone),
    ("7606 §7.9", "ORIGINATOR_ID of five octets", With("80 09 05 c000020200"), Less, Gone),
    ("7606 §7.10", "CLUSTER_LIST", With("80 0a 08 c0000202 c0000203"), Less, Good),
    ("7606 §7.10", "CLUSTER_LIST of no octets", With("80 0a 00"), Less, Gone),
    ("7606 §7.10", "CLUSTER_LIST of three octets", With("80 0a 03 c00002"), Less, Gone),
    ("7606 §7.10", "CLUSTER_LIST of six octets", With("80 0a 06 c0000202 c000"), Less, Gone),
    // Speakers with AS numbers of two octets.
    ("6793 §6", "AS4_PATH from a speaker with four octets", With("c0 11 06 02 01 0000fde9"), Less, Less),
    ("6793 §6", "AS4_AGGREGATOR from a speaker with four octets", With("c0 12 08 0000fde9 c0000201"), Less, Less),
    ("6793 §6", "AS4_PATH of no octets", Old("c0 11 00"), Less, Less),
    ("6793 §6", "AS4_PATH too short for an AS", Old("c0 11 04 02 01 fde9"), Less, Less),
    ("6793 §6", "AS4_PATH with an odd length", Old("c0 11 07 02 01 0000fde9 00"), Less, Less),
    ("6793 §6", "AS4_PATH with an empty segment", Old("c0 11 08 02 01 0000fde9 02 00"), Less, Less),
    ("6793 §6", "AS4_PATH with a segment beyond its end", Old("c0 11 06 02 02 0000fde9"), Less, Less),
    ("6793 §6", "AS4_PATH with a segment of type 5", Old("c0 11 06 05 01 0000fde9"), Less, Less),
    ("6793 §6", "AS4_PATH with AS_CONFED_SEQUENCE", Old("c0 11 0c 03 01 0000fde8 02 01 0000fde9"), Less, Less),
    ("7607 §2", "AS4_PATH with AS 0", Old("c0 11 06 02 01 00000000"), Less, Less),
    ("6793 §4.2.3", "AS4_PATH longer than AS_PATH", Old("c0 11 0a 02 02 00010000 00010001"), Good, Good),
    ("6793 §6", "AS4_AGGREGATOR of no octets", Old("c0 12 00"), Less, Less),
    ("6793 §6", "AS4_AGGREGATOR of six octets", Old("c0 12 06 fde9 c0000201"), Less, Less),
    ("7607 §2", "AS4_AGGREGATOR with AS 0", Old("c0 12 08 00000000 c0000201"), Less, Less),
    // The list of attributes.
    ("7606 §4", "the last attribute reaches beyond the list", And("80 04 05 00000001"), Gone, Gone),
    ("7606 §4", "an unknown attribute reaches beyond the list", And("c0 63 ff 00"), Gone, Gone),
    ("7606 §4", "one octet is left over", And("80"), Gone, Gone),
    ("7606 §4", "two octets are left over", And("80 04"), Gone, Gone),
    ("7606 §4", "three octets are left over where a length takes two", And("90 04 00"), Gone, Gone),
    ("7606 §4", "two octets are left over with IPv6", SixAnd("80 04"), Gone, Gone),
    ("7606 §3 j", "MP_UNREACH_NLRI reaches beyond the list", And("80 0f 09 0002 01"), MALFORMED_LIST, MALFORMED_LIST),
    ("7606 §3 b", "the list is longer than the message", Body("0000 00ff 40010100"), MALFORMED_LIST, MALFORMED_LIST),
    ("7606 §3 b", "the withdrawn routes are longer than the message", Body("00ff 0000"), MALFORMED_LIST, MALFORMED_LIST),
    ("7606 §3 b", "the withdrawn routes leave no room for a length", Body("0001 00 00"), MALFORMED_LIST, MALFORMED_LIST),
    // Twice.
    ("7606 §3 g", "ORIGIN twice", And("40 01 01 02"), Less, Less),
    ("7606 §3 g", "ORIGIN twice, the second one malformed", And("40 01 00"), Less, Less),
    ("7606 §3 g", "AS_PATH twice", And("40 02 00"), Less, Less),
    ("7606 §3 g", "NEXT_HOP twice", And("40 03 04 c0000209"), Less, Less),
    ("7606 §3 g", "ORIGIN twice with IPv6", SixAnd("40 01 01 02"), Less, Less),
    ("7606 §3 g", "COMMUNITIES twice, the first one malformed", And("c0 08 00 c0 08 04 fde90001"), Gone, Gone),
    ("7606 §3 g", "MP_REACH_NLRI twice",
        SixAnd("80 0e 1a 0002 01 10 20010db8000000000000000000000001 00 20 20010db8"), MALFORMED_LIST, MALFORMED_LIST),
    ("7606 §3 g", "MP_UNREACH_NLRI twice", And("80 0f 03 0002 01 80 0f 03 0002 01"), MALFORMED_LIST, MALFORMED_LIST),
    // Missing.
    ("7606 §3 d", "no ORIGIN", No(1), Gone, Gone),
    ("7606 §3 d", "no AS_PATH", No(2), Gone, Gone),
    ("7606 §3 d", "no NEXT_HOP", No(3), Gone, Gone),
    ("7606 §3 d", "no attributes at all", Body("0000 0000 18 c63364"), Gone, Gone),
    ("7606 §3 d", "unknown attributes only", Body("0000 0003 c06300 18 c63364"), Gone, Gone),
    ("7606 §3 d", "no ORIGIN with IPv6", SixNo(1), Gone, Gone),
    ("7606 §3 d", "no AS_PATH with IPv6", SixNo(2), Gone, Gone),
    ("4271 §5.1.5", "no LOCAL_PREF: it is not called mandatory", With(""), Good, Good),
    ("4760 §3", "NEXT_HOP beside IPv6 destinations means nothing", SixAnd("40 03 04 c0000201"), Good, Good),
    // Unknown.
    ("4271 §6.3", "an unknown well-known attribute", And("40 63 00"),
        Reset(Error::UnrecognizedWellKnown), Reset(Error::UnrecognizedWellKnown)),
    ("4271 §6.3", "an unknown attribute without flags", And("00 63 00"),
        Reset(Error::UnrecognizedWellKnown), Reset(Error::UnrecognizedWellKnown)),
    ("4271 §5", "an unknown optional attribute", And("80 63 02 abcd"), Good, Good),
    ("4271 §5", "an unknown optional transitive attribute", And("c0 63 02 abcd"), Good, Good),
    ("7606 §4", "an unknown attribute of no octets", And("c0 ff 00"), Good, Good),
    ("4271 §5", "attribute 0, which is reserved", And("c0 00 01 00"), Good, Good),
    ("7606 §3 g", "an unknown attribute twice", And("80 63 00 80 63 00"), Less, Less),
    // Destinations.
    ("7606 §5.3", "a destination of 33 bits", Dst("21 c633640000"), NETWORK, NETWORK),
    ("7606 §5.3", "a destination of 255 bits", Dst("ff"), NETWORK, NETWORK),
    ("7606 §5.3", "a destination that is cut off", Dst("18 c633"), NETWORK, NETWORK),
    ("7606 §5.3", "a withdrawn destination of 33 bits", Body("0006 21c633640000 0000"), NETWORK, NETWORK),
    ("7606 §5.3", "a withdrawn destination that is cut off", Body("0003 18c633 0000"), NETWORK, NETWORK),
    ("7606 §5.3", "an IPv6 destination of 129 bits",
        Six("80 0e 16 0002 01 10 20010db8000000000000000000000001 00 81"), OPTIONAL, OPTIONAL),
    ("7606 §5.3", "an IPv6 destination that is cut off",
        Six("80 0e 18 0002 01 10 20010db8000000000000000000000001 00 20 2001"), OPTIONAL, OPTIONAL),
    ("7606 §5.3", "MP_REACH_NLRI of no octets", Six("80 0e 00"), OPTIONAL, OPTIONAL),
    ("7606 §5.3", "MP_REACH_NLRI of four octets", Six("80 0e 04 0002 01 00"), OPTIONAL, OPTIONAL),
    ("7606 §5.3", "MP_UNREACH_NLRI of no octets", And("80 0f 00"), OPTIONAL, OPTIONAL),
    ("7606 §5.3", "MP_UNREACH_NLRI of two octets", And("80 0f 02 0002"), OPTIONAL, OPTIONAL),
    ("7606 §5.3", "MP_UNREACH_NLRI with 129 bits", And("80 0f 04 0002 01 81"), OPTIONAL, OPTIONAL),
    ("7606 §5.3", "MP_UNREACH_NLRI that is cut off", And("80 0f 05 0002 01 10 20"), OPTIONAL, OPTIONAL),
    ("7606 §7.11", "an IPv6 next hop of no octets", Six("80 0e 0a 0002 01 00 00 20 20010db8"), OPTIONAL, OPTIONAL),
    ("7606 §7.11", "an IPv6 next hop of four octets", Six("80 0e 0e 0002 01 04 c0000201 00 20 20010db8"), OPTIONAL, OPTIONAL),
    ("7606 §7.11", "an IPv6 next hop of 24 octets",
        Six("80 0e 22 0002 01 18 000000000000000020010db8000000000000000000000001 00 20 20010db8"), OPTIONAL, OPTIONAL),
    ("7606 §7.11", "a next hop beyond the attribute", Six("80 0e 0a 0002 01 ff 00 20 20010db8"), OPTIONAL, OPTIONAL),
    ("2545 §3", "a link-local next hop beside the global one",
        Six("80 0e 2a 0002 01 20 20010db8000000000000000000000001 fe800000000000000000000000000001 00 20 20010db8"), Good, Good),
    ("4760 §3", "the reserved octet means nothing",
        Six("80 0e 1a 0002 01 10 20010db8000000000000000000000001 ff 20 20010db8"), Good, Good),
    ("4271 §4.3", "bits beyond the prefix mean nothing", Dst("19 c63364ff"), Good, Good),
    ("4271 §6.3", "a multicast destination is left out", Dst("08 ef"), Less, Less),
    ("4271 §6.3", "an IPv6 multicast destination is left out",
        Six("80 0e 1c 0002 01 10 20010db8000000000000000000000001 00 20 20010db8 08 ff"), Less, Less),
    ("4271 §6.3", "a destination of one link is left out",
        Six("80 0e 1d 0002 01 10 20010db8000000000000000000000001 00 20 20010db8 0a fe80"), Less, Less),
    ("4760 §7", "a family that was not agreed on", And("80 0e 05 0001 80 00 00"), Less, Less),
    ("4760 §7", "withdrawals of a family that was not agreed on", And("80 0f 05 0001 80 0800"), Less, Less),
    // No destination in sight.
    ("7606 §5.2", "an error beside withdrawals only", Body("0004 18c63364 0004 40010103"),
        Reset(Error::InvalidOrigin), Reset(Error::InvalidOrigin)),
    ("7606 §5.2", "an error and no destinations", Body("0000 0003 c00800"),
        Reset(Error::AttributeLength), Reset(Error::AttributeLength)),
    ("7606 §5.2", "octets left over behind MP_UNREACH_NLRI", Body("0000 0008 800f03000201 8004"), MALFORMED_LIST, MALFORMED_LIST),
    ("7606 §5.2", "an attribute to be discarded and no destinations", Body("0000 0004 40060100"), Nothing, Nothing),
    ("7606 §5.2", "good attributes and no destinations", Body("0000 0004 40010100"), Nothing, Nothing),
    // Several errors.
    ("7606 §3 h", "discard and withdraw", With("40 06 01 00 c0 08 00"), Gone, Gone),
    ("7606 §3 h", "withdraw and discard", With("c0 08 00 40 06 01 00"), Gone, Gone),
    ("7606 §3 h", "discard and reset", With("40 06 01 00 40 63 00"),
        Reset(Error::UnrecognizedWellKnown), Reset(Error::UnrecognizedWellKnown)),
    ("7606 §3 h", "withdraw and reset", With("40 01 00 80 0f 02 0002"), OPTIONAL, OPTIONAL),
    ("7606 §3 h", "withdraw and a destination that is cut off", Body("0000 0003 400100 18c633"), NETWORK, NETWORK),
    ("7606 §3 h", "two of the same", With("40 06 01 00 c0 07 00"), Less, Less),
];

pub fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| u8::try_from(digit).expect("a digit"))
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Attributes in hexadecimal, one by one; what cannot be cut apart is the last.
pub fn cut(hex: &str) -> Vec<Vec<u8>> {
    let (mut rest, mut attributes) = (octets(hex), Vec::new());
    while !rest.is_empty() {
        let len = match rest[..] {
            [flags, _, high, low, ..] if flags & 0x10 != 0 => 4 + usize::from(high) * 256 + usize::from(low),
            [_, _, len, ..] => 3 + usize::from(len),
            _ => rest.len(),
        };
        let tail = rest.split_off(len.min(rest.len()));
        attributes.push(rest);
        rest = tail;
    }
    attributes
}

pub fn body(withdrawn: &[u8], attributes: &[Vec<u8>], announced: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let len = |part: &[u8]| u16::try_from(part.len()).expect("fits").to_be_bytes();
    [&len(withdrawn), withdrawn, &len(&attributes), &attributes, announced].concat()
}

/// An UPDATE, header included.
pub fn update(body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(19 + body.len()).expect("fits").to_be_bytes();
    [&[0xff; 16], &len[..], &[2], body].concat()
}

impl Change {
    pub fn is_old(self) -> bool {
        matches!(self, Old(_))
    }

    /// The message of a row, header included.
    pub fn message(self) -> Vec<u8> {
        let v4 = cut(&[ORIGIN, if self.is_old() { AS_PATH_OLD } else { AS_PATH }, NEXT_HOP].concat());
        let v6 = cut(&[MP_REACH, ORIGIN, AS_PATH].concat());
        let replaced = |mut base: Vec<Vec<u8>>, hex| {
            for new in cut(hex) {
                match base.iter_mut().find(|old| old[1] == new[1]) {
                    Some(old) => *old = new,
                    None => base.push(new),
                }
            }
            base
        };
        let without =
            |base: Vec<Vec<u8>>, code| base.into_iter().filter(|old| old[1] != code).collect::<Vec<_>>();
        let dst = octets(DST);
        let body = match self {
            With(hex) | Old(hex) => body(&[], &replaced(v4, hex), &dst),
            And(hex) => body(&[], &[v4, vec![octets(hex)]].concat(), &dst),
            No(code) => body(&[], &without(v4, code), &dst),
            Dst(hex) => body(&[], &v4, &[dst, octets(hex)].concat()),
            Six(hex) => body(&[], &replaced(v6, hex), &[]),
            SixAnd(hex) => body(&[], &[v6, vec![octets(hex)]].concat(), &[]),
            SixNo(code) => body(&[], &without(v6, code), &[]),
            Body(hex) => octets(hex),
        };
        update(&body)
    }

    pub fn dst(self) -> Cidr {
        let dst =
            if matches!(self, Six(_) | SixAnd(_) | SixNo(_)) { "2001:db8::/32" } else { "198.51.100.0/24" };
        dst.parse().expect("a CIDR")
    }
}
