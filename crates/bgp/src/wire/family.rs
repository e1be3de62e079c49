//! Address families (RFC 4760): what sort of destinations routes have.

use model::Cidr;
use std::fmt;

/// An address family identifier and a subsequent one, as IANA numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Family {
    /// Address family: 1 is IPv4, 2 is IPv6.
    pub afi: u16,
    /// Subsequent address family: 1 is unicast.
    pub safi: u8,
}

impl Family {
    /// IPv4 unicast.
    pub const IPV4: Family = Family { afi: 1, safi: 1 };
    /// IPv6 unicast.
    pub const IPV6: Family = Family { afi: 2, safi: 1 };

    /// The unicast family of a destination.
    pub fn of(dst: Cidr) -> Family {
        if dst.is_ipv4() { Family::IPV4 } else { Family::IPV6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Family::IPV4 => f.write_str("IPv4 unicast"),
            Family::IPV6 => f.write_str("IPv6 unicast"),
            Family { afi, safi } => write!(f, "family {afi}/{safi}"),
        }
    }
}
