//! Addresses of interfaces.

use crate::Netns;
use model::{IfAddr, IfName};

/// Identifies an address on an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddrKey {
    pub netns: Netns,
    pub device: IfName,
    pub addr: IfAddr,
}

/// An address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddrValue {
    pub scope: AddrScope,
}

/// How far an address is valid (`rtm_scope` of `linux/rtnetlink.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddrScope {
    Global,
    Link,
    Host,
}
