//! Forwarding entries of a VXLAN device: behind which host an Ethernet address is (`NTF_SELF`).

use crate::Netns;
use model::{IfName, Mac};
use std::net::IpAddr;

/// Identifies a forwarding entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FdbKey {
    pub netns: Netns,
    pub device: IfName,
    pub mac: Mac,
}

/// A permanent forwarding entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbValue {
    /// The outer destination (`NDA_DST`).
    pub dst: IpAddr,
    /// False for what the device learnt; such entries are never ours.
    pub permanent: bool,
}
