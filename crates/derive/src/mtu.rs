//! How large a packet may be.

use crate::{Encap, World};
use model::Mtu;

/// What VXLAN over IPv4 adds to a packet: inner Ethernet, outer IPv4, UDP, VXLAN (RFC 7348 §5).
pub const VXLAN_OVERHEAD: u32 = 14 + 20 + 8 + 8;
const _: () = assert!(VXLAN_OVERHEAD == 50);

/// What IP in IP adds: the outer IPv4 header (RFC 2003 §3.1).
pub const IPIP_OVERHEAD: u32 = 20;

/// Assumed for an uplink that has not been seen, as Calico does.
pub const UNKNOWN_UPLINK: Mtu = Mtu(1460);

/// The largest packet that fits through `vxlan.calico`.
pub fn vxlan(world: &World) -> Mtu {
    match world.felix.vxlan_mtu {
        Some(Mtu(n)) if n > 0 => Mtu(n),
        _ => Mtu(uplink(world).0.saturating_sub(VXLAN_OVERHEAD)),
    }
}

/// The largest packet that fits through `tunl0`.
pub fn ipip(world: &World) -> Mtu {
    match world.felix.ipip_mtu {
        Some(Mtu(n)) if n > 0 => Mtu(n),
        _ => Mtu(uplink(world).0.saturating_sub(IPIP_OVERHEAD)),
    }
}

/// The largest packet that a pod may send, over every way that its packets may take.
pub fn pod(world: &World) -> Mtu {
    let vxlan = world.accepts(Encap::Vxlan).then(|| vxlan(world));
    let ipip = world.accepts(Encap::Ipip).then(|| ipip(world));
    [vxlan, ipip].into_iter().flatten().fold(uplink(world), Mtu::min)
}

fn uplink(world: &World) -> Mtu {
    world.uplink.as_ref().map_or(UNKNOWN_UPLINK, |uplink| uplink.mtu)
}
