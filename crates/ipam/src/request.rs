//! What can be asked of an [`Allocator`](crate::Allocator), and what it answers.

use model::{Cidr, names};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Names a request, chosen by the one who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a call of the API, so that its reply finds its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What is wanted. A handle that already has an address of the sort keeps it: asking twice gives nothing new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// One IPv4 address of a block of this node.
    Auto {
        /// The owner: `<network>.<container id>` for a pod.
        handle: String,
        /// Kept with the address: `pod`, `namespace`, `node`, `timestamp`.
        attributes: BTreeMap<String, String>,
        /// Pools to choose from, by CIDR or name; empty: every automatic pool that selects this node.
        pools: Vec<String>,
    },
    /// This very address.
    Given { handle: String, attributes: BTreeMap<String, String>, addr: IpAddr },
    /// The address of this node's tunnel device, from a pool with that encapsulation.
    Tunnel(Tunnel),
    /// Give back whatever the handle has. An unknown handle has nothing: that is success.
    Release { handle: String },
}

/// A tunnel device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tunnel {
    Ipip,
    Vxlan,
}

/// An address and the block that it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Assigned {
    pub addr: IpAddr,
    pub block: Cidr,
}

impl Want {
    /// The handle that the request is about. `node` is this node's name.
    pub fn handle(&self, node: &str) -> String {
        match self {
            Want::Auto { handle, .. } | Want::Given { handle, .. } | Want::Release { handle } => {
                handle.clone()
            }
            Want::Tunnel(tunnel) => tunnel.handle(node),
        }
    }
}

impl Tunnel {
    /// The handle that owns a node's tunnel address.
    pub fn handle(self, node: &str) -> String {
        match self {
            Tunnel::Ipip => names::ipip_tunnel_handle(node),
            Tunnel::Vxlan => names::vxlan_tunnel_handle(node),
        }
    }

    /// Whether the attribute `type` says that an address is a tunnel's: also of those of Calico's that are not made here.
    pub fn is_attribute(kind: &str) -> bool {
        matches!(
            kind,
            "ipipTunnelAddress"
                | "vxlanTunnelAddress"
                | "vxlanV6TunnelAddress"
                | "wireguardTunnelAddress"
                | "wireguardV6TunnelAddress"
        )
    }

    /// The attributes of a node's tunnel address.
    pub fn attributes(self, node: &str) -> BTreeMap<String, String> {
        let kind = match self {
            Tunnel::Ipip => "ipipTunnelAddress",
            Tunnel::Vxlan => "vxlanTunnelAddress",
        };
        [("node".to_owned(), node.to_owned()), ("type".to_owned(), kind.to_owned())].into()
    }
}
