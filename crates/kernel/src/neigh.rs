//! Neighbours: which Ethernet address an IP address has.

use crate::Netns;
use model::{IfName, Mac};
use std::net::{IpAddr, Ipv4Addr};

/// Identifies a neighbour.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighKey {
    pub netns: Netns,
    pub device: IfName,
    pub addr: IpAddr,
}

/// A permanent neighbour (`NUD_PERMANENT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighValue {
    pub mac: Mac,
    /// False for what the kernel learnt itself; such entries are never ours.
    pub permanent: bool,
}

impl NeighValue {
    /// A permanent neighbour whose MAC spells an IPv4 address: `02:01` and its four bytes, locally administered.
    /// [`crate::Filter::Send`] reads the outer destination out of it.
    pub fn spelling(addr: Ipv4Addr) -> NeighValue {
        NeighValue { mac: spelling(addr), permanent: true }
    }
}

/// The MAC of [`NeighValue::spelling`].
pub fn spelling(addr: Ipv4Addr) -> Mac {
    let [a, b, c, d] = addr.octets();
    Mac([0x02, 0x01, a, b, c, d])
}
