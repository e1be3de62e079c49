//! The next hop of a route, as it stands in NEXT_HOP (RFC 4271 §5.1.3) or MP_REACH_NLRI (RFC 4760 §3, RFC 2545 §3).

use super::family::Family;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where packets for a route's destinations go. Whether it makes sense (own, martian, on the link) is the session's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// Of IPv4 destinations.
    V4(Ipv4Addr),
    /// Of IPv6 destinations.
    V6 {
        /// The address that other routers may use too.
        global: Ipv6Addr,
        /// The link-local address, told only to peers on the same link.
        link_local: Option<Ipv6Addr>,
    },
}

impl NextHop {
    /// The address without the link-local one.
    pub fn addr(self) -> IpAddr {
        match self {
            NextHop::V4(addr) => addr.into(),
            NextHop::V6 { global, .. } => global.into(),
        }
    }

    /// The family of the destinations.
    pub fn family(self) -> Family {
        match self {
            NextHop::V4(_) => Family::IPV4,
            NextHop::V6 { .. } => Family::IPV6,
        }
    }
}

impl From<IpAddr> for NextHop {
    fn from(addr: IpAddr) -> NextHop {
        match addr {
            IpAddr::V4(addr) => NextHop::V4(addr),
            IpAddr::V6(global) => NextHop::V6 { global, link_local: None },
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NextHop::V6 { global, link_local: Some(link_local) } => write!(f, "{global} ({link_local})"),
            _ => self.addr().fmt(f),
        }
    }
}
