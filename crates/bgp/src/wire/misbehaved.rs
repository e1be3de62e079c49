//! What can be wrong with an UPDATE, and what that does to it (RFC 7606): one variant a crime.

use super::family::Family;
use super::notification::Error;
use model::Cidr;
use std::fmt;

/// What an error does, weakest first. The strongest of a message counts (RFC 7606 §3 h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// What is wrong is left out and the rest counts.
    Discard,
    /// All destinations that the message announces are withdrawn.
    TreatAsWithdraw,
    /// The session ends: which destinations are meant cannot be told.
    SessionReset,
}

/// Something in an UPDATE that should not be so. `code` is an attribute's type code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Misbehaved {
    /// The optional or the transitive bit is not what the attribute's definition says (RFC 7606 §3 c).
    Flags { code: u8, flags: u8 },
    /// The attribute's length is none that it can have (RFC 7606 §7).
    Length { code: u8, len: u16 },
    /// The attribute reaches beyond the path attributes (RFC 7606 §4).
    Overrun { code: u8 },
    /// The path attributes end within an attribute's type or length (RFC 7606 §4).
    Leftover,
    /// A second one; the first counts (RFC 7606 §3 g).
    Duplicate { code: u8 },
    /// A mandatory attribute of an announced route is not there (RFC 7606 §3 d).
    Missing { code: u8 },
    /// Said to be well-known, and is not (RFC 4271 §6.3).
    UnrecognizedWellKnown { code: u8 },
    /// An ORIGIN beyond INCOMPLETE (RFC 7606 §7.1).
    OriginValue { value: u8 },
    /// A segment of an AS path that is no AS_SET and no AS_SEQUENCE. Those of confederations come from members of our
    /// confederation only, and we are in none (RFC 7606 §7.2, RFC 5065 §5).
    SegmentType { code: u8, kind: u8 },
    /// A segment of no AS (RFC 7606 §7.2).
    EmptySegment { code: u8 },
    /// A segment reaches beyond the attribute, or one octet is left over (RFC 7606 §7.2).
    SegmentLength { code: u8 },
    /// AS 0, which nobody has (RFC 7607 §2).
    AsZero { code: u8 },
    /// An AS path of more hops than `AsPath::MAX_HOPS`: nobody's network is as wide, some routers' memory is as small.
    PathTooLong { hops: u16 },
    /// An external peer may not say this (RFC 7606 §7.5, §7.9, §7.10).
    FromExternal { code: u8 },
    /// For peers with AS numbers of two octets only (RFC 6793 §6).
    FromFourOctet { code: u8 },
    /// The next hop's length does not fit the family (RFC 7606 §7.11).
    NextHopLength { len: u8 },
    /// Prefixes of `code` (0: the fields outside the attributes) are too long or cut off (RFC 7606 §5.3).
    Prefix { code: u8 },
    /// Destinations of a family that was not agreed on are left out.
    NotNegotiated { family: Family },
    /// A destination that is none for unicast, such as a multicast group, is left out (RFC 4271 §6.3). The first of several.
    NotUnicast { dst: Cidr },
}

impl Misbehaved {
    /// What RFC 7606 does about it where it can be sure of the destinations.
    pub fn class(self) -> Class {
        use super::attrs::code::*;
        use Misbehaved::*;
        match self {
            UnrecognizedWellKnown { .. } | NextHopLength { .. } | Prefix { .. } => Class::SessionReset,
            Flags { code: MP_REACH | MP_UNREACH, .. }
            | Length { code: MP_REACH | MP_UNREACH, .. }
            | Overrun { code: MP_REACH | MP_UNREACH }
            | Duplicate { code: MP_REACH | MP_UNREACH } => Class::SessionReset,
            Length { code: ATOMIC_AGGREGATE | AGGREGATOR | AS4_PATH | AS4_AGGREGATOR, .. }
            | SegmentType { code: AS4_PATH, .. }
            | EmptySegment { code: AS4_PATH }
            | SegmentLength { code: AS4_PATH }
            | AsZero { code: AGGREGATOR | AS4_PATH | AS4_AGGREGATOR } => Class::Discard,
            Duplicate { .. } | FromExternal { .. } | FromFourOctet { .. } => Class::Discard,
            NotNegotiated { .. } | NotUnicast { .. } => Class::Discard,
            Flags { .. } | Length { .. } | Overrun { .. } | Leftover | Missing { .. } => {
                Class::TreatAsWithdraw
            }
            OriginValue { .. } | SegmentType { .. } | EmptySegment { .. } | SegmentLength { .. } => {
                Class::TreatAsWithdraw
            }
            AsZero { .. } | PathTooLong { .. } => Class::TreatAsWithdraw,
        }
    }

    /// What a NOTIFICATION calls it (RFC 4271 §6.3).
    pub fn error(self) -> Error {
        use super::attrs::code::*;
        use Misbehaved::*;
        match self {
            Flags { code: MP_REACH | MP_UNREACH, .. } | Length { code: MP_REACH | MP_UNREACH, .. } => {
                Error::OptionalAttribute
            }
            Flags { .. } => Error::AttributeFlags,
            Length { .. } => Error::AttributeLength,
            Overrun { .. } | Leftover | Duplicate { .. } => Error::MalformedAttributeList,
            Missing { .. } => Error::MissingWellKnown,
            UnrecognizedWellKnown { .. } => Error::UnrecognizedWellKnown,
            OriginValue { .. } => Error::InvalidOrigin,
            SegmentType { .. } | EmptySegment { .. } | SegmentLength { .. } => Error::MalformedAsPath,
            AsZero { .. } | PathTooLong { .. } => Error::MalformedAsPath,
            Prefix { code: 0 } | NotUnicast { .. } => Error::InvalidNetworkField,
            FromExternal { .. } | FromFourOctet { .. } => Error::Update,
            NextHopLength { .. } | Prefix { .. } | NotNegotiated { .. } => Error::OptionalAttribute,
        }
    }
}

impl fmt::Display for Misbehaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use super::attrs::code::Name;
        use Misbehaved::*;
        match *self {
            Flags { code, flags } => write!(f, "{} with flags {flags:#04x}", Name(code)),
            Length { code, len } => write!(f, "{} of {len} octets", Name(code)),
            Overrun { code } => write!(f, "{} reaches beyond the path attributes", Name(code)),
            Leftover => f.write_str("the path attributes end within an attribute"),
            Duplicate { code } => write!(f, "a second {}", Name(code)),
            Missing { code } => write!(f, "no {}", Name(code)),
            UnrecognizedWellKnown { code } => write!(f, "{} is said to be well-known", Name(code)),
            OriginValue { value } => write!(f, "ORIGIN {value}"),
            SegmentType { code, kind } => write!(f, "{} with a segment of type {kind}", Name(code)),
            EmptySegment { code } => write!(f, "{} with an empty segment", Name(code)),
            SegmentLength { code } => write!(f, "{} with a segment that is cut off", Name(code)),
            AsZero { code } => write!(f, "{} with AS 0", Name(code)),
            PathTooLong { hops } => write!(f, "an AS path of {hops} hops"),
            FromExternal { code } => write!(f, "{} from an external peer", Name(code)),
            FromFourOctet { code } => write!(f, "{} from a peer with four-octet AS numbers", Name(code)),
            NextHopLength { len } => write!(f, "a next hop of {len} octets"),
            Prefix { code: 0 } => f.write_str("a prefix that is too long or cut off"),
            Prefix { code } => write!(f, "{} with a prefix that is too long or cut off", Name(code)),
            NotNegotiated { family } => write!(f, "destinations of {family}, which was not agreed on"),
            NotUnicast { dst } => write!(f, "{dst} is no unicast destination"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::attrs::code::*;
    use super::*;

    #[test]
    fn every_crime_is_said_in_words_of_its_own() {
        use Misbehaved::*;
        let dst = "224.0.0.0/4".parse().expect("a CIDR");
        for (crime, words) in [
            (Flags { code: ORIGIN, flags: 0xc0 }, "ORIGIN with flags 0xc0"),
            (Length { code: COMMUNITIES, len: 7 }, "COMMUNITIES of 7 octets"),
            (Overrun { code: 99 }, "attribute 99 reaches beyond the path attributes"),
            (Leftover, "the path attributes end within an attribute"),
            (Duplicate { code: MED }, "a second MULTI_EXIT_DISC"),
            (Missing { code: NEXT_HOP }, "no NEXT_HOP"),
            (UnrecognizedWellKnown { code: 99 }, "attribute 99 is said to be well-known"),
            (OriginValue { value: 3 }, "ORIGIN 3"),
            (SegmentType { code: AS_PATH, kind: 5 }, "AS_PATH with a segment of type 5"),
            (EmptySegment { code: AS4_PATH }, "AS4_PATH with an empty segment"),
            (SegmentLength { code: AS_PATH }, "AS_PATH with a segment that is cut off"),
            (AsZero { code: AGGREGATOR }, "AGGREGATOR with AS 0"),
            (PathTooLong { hops: 2000 }, "an AS path of 2000 hops"),
            (FromExternal { code: LOCAL_PREF }, "LOCAL_PREF from an external peer"),
            (FromFourOctet { code: AS4_PATH }, "AS4_PATH from a peer with four-octet AS numbers"),
            (NextHopLength { len: 17 }, "a next hop of 17 octets"),
            (Prefix { code: 0 }, "a prefix that is too long or cut off"),
            (Prefix { code: MP_REACH }, "MP_REACH_NLRI with a prefix that is too long or cut off"),
            (NotNegotiated { family: Family::IPV6 }, "destinations of IPv6 unicast, which was not agreed on"),
            (NotUnicast { dst }, "224.0.0.0/4 is no unicast destination"),
        ] {
            assert_eq!(crime.to_string(), words);
        }
    }
}
