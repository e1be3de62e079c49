//! Neighbours: which Ethernet address an IP address has.

use crate::Netns;
use model::{IfName, Mac};
use std::net::IpAddr;

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
