//! Routes to blocks and borrowed addresses, and the forwarding entries and neighbours of the tunnel ends that they use.

use crate::path::Vtep;
use crate::{Path, VXLAN_DEVICE, World, ipip, mtu, path};
use kernel::route::{PROTO_CALICO, TABLE_MAIN};
use kernel::{
    FdbKey, FdbValue, Key, NeighKey, NeighValue, Netns, Objects, RouteKey, RouteKind, RouteScope, RouteValue,
    Value,
};
use model::{Cidr, IfName};

/// Every block and borrowed address with its owner and path, in the order of the addresses.
pub fn paths(world: &World) -> impl Iterator<Item = (Cidr, &str, Path)> {
    let blocks = world.blocks.iter().map(|(cidr, owner)| (*cidr, owner.as_str()));
    let borrowed = world.borrowed.iter().map(|(addr, owner)| (Cidr::host(*addr), owner.as_str()));
    blocks.chain(borrowed).map(move |(dst, owner)| (dst, owner, path(world, dst, owner)))
}

pub(crate) fn derive(world: &World) -> Objects {
    let mut objects = Objects::new();
    for (dst, _, path) in paths(world) {
        // While a pod here still has the address, it is here, whatever the datastore says already.
        if dst.is_host() && world.holds(dst.addr()) {
            continue;
        }
        if let Some(route) = route(world, dst, &path) {
            objects.insert(main(dst), Value::Route(route));
        }
        match path {
            Path::Vxlan(vtep) => objects.extend(tunnel_end(&vtep)),
            Path::Ipip { remote } => objects.extend(ipip::tunnel_end(world, remote)),
            _ => {}
        }
    }
    objects
}

/// The key of a route of the node's main table.
pub(crate) fn main(dst: Cidr) -> Key {
    Key::Route(RouteKey { netns: Netns::Host, table: TABLE_MAIN, dst, priority: 0 })
}

/// The route that a path is.
pub(crate) fn route(world: &World, dst: Cidr, path: &Path) -> Option<RouteValue> {
    let plain = RouteValue {
        kind: RouteKind::Unicast,
        gateway: None,
        device: path.device(world),
        scope: RouteScope::Universe,
        onlink: true,
        protocol: PROTO_CALICO,
        source: None,
        mtu: None,
        also: Vec::new(),
    };
    match path {
        // A borrowed address of ours is routed to its pod (`endpoint`).
        Path::Local if dst.is_host() => None,
        // What no pod has must not leave by the default route and come back.
        Path::Local => Some(RouteValue { kind: RouteKind::Blackhole, onlink: false, ..plain }),
        Path::Direct { next_hop } => Some(RouteValue { gateway: Some(*next_hop), ..plain }),
        Path::Ipip { remote } => {
            Some(RouteValue { gateway: Some((*remote).into()), mtu: Some(mtu::ipip(world)), ..plain })
        }
        Path::Vxlan(vtep) => {
            Some(RouteValue { gateway: Some(vtep.tunnel), mtu: Some(mtu::vxlan(world)), ..plain })
        }
        Path::Unreachable(_) => None,
    }
}

/// Without learning, the device needs to be told both: which MAC the gateway has, and behind which host that MAC is.
fn tunnel_end(vtep: &Vtep) -> [(Key, Value); 2] {
    let device = IfName::fixed(VXLAN_DEVICE);
    [
        (
            Key::Fdb(FdbKey { netns: Netns::Host, device: device.clone(), mac: vtep.mac }),
            Value::Fdb(FdbValue { dst: vtep.host, permanent: true }),
        ),
        (
            Key::Neigh(NeighKey { netns: Netns::Host, device, addr: vtep.tunnel }),
            Value::Neigh(NeighValue { mac: vtep.mac, permanent: true }),
        ),
    ]
}
