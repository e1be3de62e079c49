//! The node's own part: settings that forwarding needs, `tunl0` and `vxlan.calico` while they are accepted.

use crate::{Encap, World, ipip, mtu};
use kernel::addr::AddrScope;
use kernel::{
    AddrKey, AddrValue, Key, LinkKey, LinkKind, LinkValue, Netns, Objects, SysctlKey, SysctlValue,
    VXLAN_DEVICE, Value,
};
use model::{IfAddr, IfName, Vni};
use std::net::IpAddr;

/// Calico's network identifier.
const VXLAN_VNI: Vni = Vni(4096);
/// UDP port of VXLAN (RFC 7348 §8).
pub(crate) const VXLAN_PORT: u16 = 4789;

pub(crate) fn derive(world: &World) -> Objects {
    let mut objects = Objects::new();
    objects.extend([sysctl(Netns::Host, "net/ipv4/ip_forward".into(), "1")]);
    if let Some(uplink) = &world.uplink {
        // What comes by the tunnel and goes back direct (or the other way round) must pass a strict system-wide setting:
        // the kernel takes the larger of `all` and the device's, and 2 is loose.
        objects.extend([rp_filter(&uplink.device)]);
        objects.extend(ipip::place(world));
    }
    objects.extend(ipip::derive(world));
    objects.extend(vxlan(world).into_iter().flatten());
    objects
}

/// The UDP port that tunnels use.
pub(crate) fn vxlan_port(world: &World) -> u16 {
    world.felix.vxlan_port.unwrap_or(VXLAN_PORT)
}

/// The network identifier that tunnels use.
pub(crate) fn vxlan_vni(world: &World) -> Vni {
    world.felix.vxlan_vni.unwrap_or(VXLAN_VNI)
}

fn vxlan(world: &World) -> Option<[(Key, Value); 3]> {
    let own = world.peers.get(&world.node)?;
    let tunnel = own.vxlan_tunnel?;
    let uplink = world.uplink.as_ref()?;
    if !world.accepts(Encap::Vxlan) {
        return None;
    }
    let name = IfName::fixed(VXLAN_DEVICE);
    let link = LinkValue {
        kind: LinkKind::Vxlan {
            vni: vxlan_vni(world),
            port: vxlan_port(world),
            local: own.addr.addr(),
            device: uplink.device.clone(),
        },
        mac: Some(own.vtep_mac),
        mtu: Some(mtu::vxlan(world)),
        up: true,
        alias: None,
    };
    Some([
        (Key::Link(LinkKey { netns: Netns::Host, name: name.clone() }), Value::Link(Box::new(link))),
        rp_filter(&name),
        tunnel_address(name, tunnel),
    ])
}

/// A tunnel's own address on its device.
pub(crate) fn tunnel_address(device: IfName, addr: IpAddr) -> (Key, Value) {
    let addr =
        IfAddr::new(addr, if addr.is_ipv4() { 32 } else { 128 }).expect("a host prefix fits its family");
    (
        Key::Addr(AddrKey { netns: Netns::Host, device, addr }),
        Value::Addr(AddrValue { scope: AddrScope::Global }),
    )
}

/// Loose: what comes by this device may have its way back through another.
pub(crate) fn rp_filter(device: &IfName) -> (Key, Value) {
    sysctl(Netns::Host, format!("net/ipv4/conf/{device}/rp_filter"), "2")
}

pub(crate) fn sysctl(netns: Netns, path: String, value: &str) -> (Key, Value) {
    (Key::Sysctl(SysctlKey { netns, path }), Value::Sysctl(SysctlValue(value.to_owned())))
}
