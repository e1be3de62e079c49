//! Communities: marks on a route (RFC 1997, RFC 4360, RFC 8092).

use std::fmt;

/// A community of four octets, written `64512:100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl Community {
    /// Not to leave the AS (RFC 1997).
    pub const NO_EXPORT: Community = Community(0xffff_ff01);
    /// Not to be told to anybody (RFC 1997).
    pub const NO_ADVERTISE: Community = Community(0xffff_ff02);
    /// Not to leave the AS, nor its member of a confederation (RFC 1997).
    pub const NO_EXPORT_SUBCONFED: Community = Community(0xffff_ff03);

    /// The community of two halves: by custom an AS and a number that it chose.
    pub fn new(asn: u16, value: u16) -> Community {
        Community(u32::from(asn) << 16 | u32::from(value))
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// An extended community as it came: type, often a subtype, and a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtCommunity(pub u64);

impl ExtCommunity {
    /// Whether it may leave the AS (RFC 4360 §2).
    pub fn is_transitive(self) -> bool {
        self.0 >> 56 & 0x40 == 0
    }
}

impl fmt::Display for ExtCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

/// A community of twelve octets, written `64512:1:2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// Who gives it its meaning: an AS.
    pub global: u32,
    /// What it means, first part.
    pub local1: u32,
    /// What it means, second part.
    pub local2: u32,
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_are_written_as_operators_write_them() {
        assert_eq!(Community::new(64512, 100).to_string(), "64512:100");
        assert_eq!(LargeCommunity { global: 1 << 31, local1: 0, local2: 7 }.to_string(), "2147483648:0:7");
        assert_eq!(ExtCommunity(0x0002_fc00_0000_0064).to_string(), "0x0002fc0000000064");
        assert!(!ExtCommunity(0x4002 << 48).is_transitive() && ExtCommunity(0x8002 << 48).is_transitive());
    }
}
