//! Routes of IPv4 and IPv6.

use crate::Netns;
use model::{Cidr, IfName, Mtu};
use std::cmp::Ordering;
use std::net::IpAddr;

/// Identifies a route: the kernel holds one for each of these (`fib_table_insert`, leaving TOS aside). In order: as the fields
/// stand here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteKey {
    pub netns: Netns,
    /// 254 is `main`.
    pub table: u32,
    pub dst: Cidr,
    /// Metric; 0 is the one that the kernel gives to a route without one, which IPv6 calls 1024.
    pub priority: u32,
}

/// `main` (`RT_TABLE_MAIN`).
pub const TABLE_MAIN: u32 = 254;
/// `RTPROT_KERNEL`: made by the kernel for an address.
pub const PROTO_KERNEL: u8 = 2;
/// `RTPROT_BOOT`: what `ip route add` and Calico's plugin leave.
pub const PROTO_BOOT: u8 = 3;
/// `RTPROT_BIRD`: BIRD's, Calico's among them.
pub const PROTO_BIRD: u8 = 12;
/// Felix's routes, and ours.
pub const PROTO_CALICO: u8 = 80;

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteValue {
    pub kind: RouteKind,
    pub gateway: Option<IpAddr>,
    pub device: Option<IfName>,
    pub scope: RouteScope,
    /// The gateway is on the link although no address says so.
    pub onlink: bool,
    /// `rtm_protocol`.
    pub protocol: u8,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Path MTU of this route.
    pub mtu: Option<Mtu>,
    /// Ways that are as good as `gateway` and `device`: packets are spread over all of them.
    pub also: Vec<Way>,
}

/// Another way of a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    pub gateway: IpAddr,
    pub device: IfName,
}

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    Unicast,
    /// Drops silently; a longer prefix wins.
    Blackhole,
    /// Anything else that was found (`rtm_type`).
    Other(u8),
}

/// `rtm_scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteScope {
    Universe,
    Link,
    Host,
    /// Anything else that was found.
    Other(u8),
}

impl Ord for RouteKey {
    /// Nearly all that are compared are of one table.
    #[inline]
    fn cmp(&self, other: &RouteKey) -> Ordering {
        if self.table == other.table && self.netns == other.netns {
            return self.dst.cmp(&other.dst).then(self.priority.cmp(&other.priority));
        }
        (self.netns, self.table).cmp(&(other.netns, other.table))
    }
}

impl PartialOrd for RouteKey {
    #[inline]
    fn partial_cmp(&self, other: &RouteKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl RouteValue {
    /// See [`crate::Value::satisfied_by`].
    pub fn satisfied_by(&self, actual: &RouteValue) -> bool {
        self == actual
    }
}
