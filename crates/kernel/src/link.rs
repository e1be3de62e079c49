//! Network interfaces.

use crate::Netns;
use model::{IfName, Mac, Mtu, Vni};
use std::net::IpAddr;

/// Identifies an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey {
    pub netns: Netns,
    pub name: IfName,
}

/// An interface. In what is wanted, `None` leaves a property open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkValue {
    pub kind: LinkKind,
    pub mac: Option<Mac>,
    pub mtu: Option<Mtu>,
    /// Administratively up.
    pub up: bool,
    /// `ifalias`: for a pod's host interface, its attachment.
    pub alias: Option<String>,
}

/// What sort of interface, with what cannot be changed after creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// One end of a pair. Creating the host's end creates the peer; the peer's own key is then only configured.
    Veth {
        /// In what is wanted of the end to create: the other end. `None` in what is found, and for the other end.
        peer: Option<VethPeer>,
    },
    /// Unicast VXLAN without learning (RFC 7348).
    Vxlan {
        vni: Vni,
        port: u16,
        local: IpAddr,
        /// The uplink.
        device: IfName,
    },
    /// The device of IP in IP without a far end of its own (`tunl0`): the route's gateway is the outer destination. It comes
    /// with the kernel's module, is configured and never removed.
    Ipip,
    /// A device that hands packets to filters only: the stand-in for [`LinkKind::Ipip`]. Its MAC cannot be changed.
    Ifb { mac: Mac },
    /// Any other, by the kernel's word for it (`""` for one without); never created or deleted by us.
    Other(String),
}

/// The other end of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VethPeer {
    pub key: LinkKey,
    pub mac: Option<Mac>,
    pub mtu: Option<Mtu>,
}

impl LinkKind {
    /// Whether an existing interface of kind `actual` can serve as `self` without being made anew.
    pub fn compatible_with(&self, actual: &LinkKind) -> bool {
        match (self, actual) {
            (LinkKind::Veth { .. }, LinkKind::Veth { .. }) => true,
            (a, b) => a == b,
        }
    }
}

impl LinkValue {
    /// See [`crate::Value::satisfied_by`].
    pub fn satisfied_by(&self, actual: &LinkValue) -> bool {
        self.kind.compatible_with(&actual.kind)
            && (self.mac.is_none() || self.mac == actual.mac)
            && (self.mtu.is_none() || self.mtu == actual.mtu)
            && (self.alias.is_none() || self.alias == actual.alias)
            && (!self.up || actual.up)
    }
}
