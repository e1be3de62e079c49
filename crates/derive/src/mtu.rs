//! How large a packet may be.

use crate::World;
use model::Mtu;
use model::v3::EncapMode;

/// What VXLAN over IPv4 adds to a packet: inner Ethernet, outer IPv4, UDP, VXLAN (RFC 7348 §5).
pub const VXLAN_OVERHEAD: u32 = 14 + 20 + 8 + 8;
const _: () = assert!(VXLAN_OVERHEAD == 50);

/// Assumed for an uplink that has not been seen, as Calico does.
pub const UNKNOWN_UPLINK: Mtu = Mtu(1460);

/// The largest packet that fits through `vxlan.calico`.
pub fn vxlan(world: &World) -> Mtu {
    match world.felix.vxlan_mtu {
        Some(Mtu(n)) if n > 0 => Mtu(n),
        _ => Mtu(uplink(world).0.saturating_sub(VXLAN_OVERHEAD)),
    }
}

/// The largest packet that a pod may send, over every way that a pool may want.
pub fn pod(world: &World) -> Mtu {
    if vxlan_wanted(world) { vxlan(world).min(uplink(world)) } else { uplink(world) }
}

/// Whether some pool wants VXLAN, at least to some nodes.
pub fn vxlan_wanted(world: &World) -> bool {
    world.pools.values().any(|pool| pool.vxlan_mode != EncapMode::Never)
}

fn uplink(world: &World) -> Mtu {
    world.uplink.as_ref().map_or(UNKNOWN_UPLINK, |uplink| uplink.mtu)
}
