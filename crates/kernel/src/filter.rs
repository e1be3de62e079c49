//! Programs that the kernel runs on every IPv4 packet of an interface (`tc` filters of kind `bpf`): what IP in IP (RFC 2003)
//! needs and the routing table cannot say.
//!
//! ```text
//!  uplink, ingress   Accept   may the outer source speak for the inner one? Then the packet gets ACCEPTED or is decapsulated
//!  tunl0, egress     Send     the stand-in's encapsulation
//! ```
//!
//! What [`Filter::Accept`] did not judge honest goes on as it came, without the mark; a rule at INPUT drops it.

use crate::Netns;
use model::{Cidr, IfName};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Identifies a filter of ours: each direction of an interface has at most one, at [`PRIORITY`] and [`HANDLE`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterKey {
    pub netns: Netns,
    pub device: IfName,
    pub direction: Direction,
}

/// Which packets of an interface a filter sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    Ingress,
    Egress,
}

/// What a filter does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Judges IP in IP for `local`, once, on outer and inner source together: the longest prefix of `sources` that contains
    /// the inner source must say the outer one. Fragments, outer options and what comes from elsewhere stay without mark.
    Accept {
        /// The outer destination: this node's address.
        local: Ipv4Addr,
        /// `None`: the packet is marked, the kernel's own `tunl0` takes it. Else it is decapsulated here and comes in by
        /// this interface.
        tunnel: Option<IfName>,
        /// Inner source to the address of the node that may send it.
        sources: BTreeMap<Cidr, Ipv4Addr>,
    },
    /// Puts an outer header in front, to the address that the frame's destination spells ([`crate::NeighValue::spelling`]),
    /// and sends by the outer packet's own route through `uplink`.
    Send { local: Ipv4Addr, uplink: IfName },
    /// Anything else under the key, by its name: another's, or that of another version of ours.
    Other(String),
}

/// Who sent IP in IP that [`Filter::Accept`] did not judge honest: one entry of what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Impostor {
    /// The outer source.
    pub sender: Ipv4Addr,
    /// The node that may send from the inner source; `None`: no node may send that to this one.
    pub holder: Option<Ipv4Addr>,
}

/// `TCA_PRIO`: early, so that nobody's filter takes a packet before it is judged.
pub const PRIORITY: u16 = 64;
/// `tcm_handle`.
pub const HANDLE: u32 = 1;
/// The mark of a packet that was judged honest: one bit of those that Felix keeps for itself (`iptablesMarkMask`).
pub const ACCEPTED: u32 = 1 << 24;
/// What the names of our filters begin with.
pub const NAMES: &str = "tortie_ipip_";

impl Filter {
    /// The name by which `tc filter show` knows it (`TCA_BPF_NAME`).
    pub fn name(&self) -> &str {
        match self {
            Filter::Accept { .. } => "tortie_ipip_in",
            Filter::Send { .. } => "tortie_ipip_out",
            Filter::Other(name) => name,
        }
    }

    /// The other interface that it leads packets to.
    pub fn leads_to(&self) -> Option<&IfName> {
        match self {
            Filter::Accept { tunnel, .. } => tunnel.as_ref(),
            Filter::Send { uplink, .. } => Some(uplink),
            Filter::Other(_) => None,
        }
    }

    /// Whether `self` can be made of `other` by changing the accepted sources alone, in place.
    pub fn differs_by_sources_only(&self, other: &Filter) -> bool {
        match (self, other) {
            (
                Filter::Accept { local, tunnel, .. },
                Filter::Accept { local: other_local, tunnel: other_tunnel, .. },
            ) => local == other_local && tunnel == other_tunnel,
            _ => false,
        }
    }
}
