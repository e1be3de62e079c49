//! Which kernel objects are ours. The answer comes from the object alone, so that a restarted agent, or another version of
//! it, gives the same.

use crate::{Key, LinkKind, Value, nft, route};
use model::IfName;

/// The beginning of the names of pods' host interfaces.
pub const WORKLOAD_PREFIX: &str = "cali";
/// Devices that are ours by name (and kind).
const TUNNELS: [&str; 2] = ["vxlan.calico", "vxlan-v6.calico"];

/// Whether we may change or remove the object.
///
/// | kind | ours if |
/// |---|---|
/// | link | a VXLAN device by one of our names, or a veth whose name begins with `cali` |
/// | address | on one of our links, except link-local IPv6 (the kernel's) |
/// | neighbour, forwarding entry | permanent and unicast, on one of our links |
/// | route | protocol 80, or directly connected on a `cali…` device; and what Calico leaves on our VXLAN devices |
/// | rules | table `inet calico` or `arp calico` |
/// | setting | always: only settings that are wanted are ever looked at |
///
/// In a pod's namespace everything that is wanted is ours, and nothing else is looked at.
pub fn ours(key: &Key, value: &Value) -> bool {
    if key.netns() != crate::Netns::Host {
        return true;
    }
    match (key, value) {
        (Key::Link(key), Value::Link(link)) => match link.kind {
            LinkKind::Vxlan { .. } => is_tunnel(&key.name),
            LinkKind::Veth { .. } => is_workload(&key.name),
            // With settings that ours never has: a device of our name all the same.
            LinkKind::Other(ref kind) => kind == "vxlan" && is_tunnel(&key.name),
        },
        (Key::Addr(key), _) => is_ours(&key.device) && !is_link_local(key.addr.addr()),
        (Key::Neigh(key), Value::Neigh(neigh)) => {
            neigh.permanent && neigh.mac.is_unicast() && is_ours(&key.device)
        }
        (Key::Fdb(key), Value::Fdb(fdb)) => fdb.permanent && key.mac.is_unicast() && is_ours(&key.device),
        (Key::Route(_), Value::Route(found)) => {
            let on = |test: fn(&IfName) -> bool| found.device.as_ref().is_some_and(test);
            found.protocol == route::PROTO_CALICO
                || on(is_workload)
                    && found.scope == crate::RouteScope::Link
                    && found.protocol != route::PROTO_KERNEL
                || on(is_tunnel) && found.protocol == route::PROTO_BOOT
        }
        (Key::Nft(key), _) => key.name == nft::TABLE_CALICO,
        (Key::Sysctl(_), _) => true,
        (key, value) => unreachable!("a key and a value of different kinds: {key:?}, {value:?}"),
    }
}

fn is_workload(name: &IfName) -> bool {
    name.as_str().starts_with(WORKLOAD_PREFIX)
}

fn is_tunnel(name: &IfName) -> bool {
    TUNNELS.contains(&name.as_str())
}

fn is_ours(name: &IfName) -> bool {
    is_workload(name) || is_tunnel(name)
}

fn is_link_local(addr: std::net::IpAddr) -> bool {
    matches!(addr, std::net::IpAddr::V6(addr) if addr.segments()[0] & 0xffc0 == 0xfe80)
}
