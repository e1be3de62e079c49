//! IP in IP: `tunl0`, and what the stand-in needs where the kernel lacks the module.
//!
//! ```text
//!                        the kernel's module          the stand-in
//!  tunl0                 the kernel's own device      an ifb without ARP
//!  which node?           the route's gateway          the same; its permanent neighbour spells it as a MAC
//!  outer header          put on and taken off there   by filters: tunl0 egress, uplink ingress
//!  who may send?         uplink ingress marks         uplink ingress decapsulates
//! ```
//!
//! Routes, addresses and packets are the same with both.

use crate::accept;
use crate::host::{rp_filter, sysctl, tunnel_address};
use crate::{Encap, IpipDriver, Peer, Uplink, World, mtu};
use kernel::neigh::spelling;
use kernel::{
    Direction, Filter, FilterKey, IPIP_DEVICE, Key, LinkKey, LinkKind, LinkValue, NeighKey, NeighValue,
    Netns, Value,
};
use model::IfName;
use std::net::{IpAddr, Ipv4Addr};

/// What IP in IP hangs on here.
struct Own<'a> {
    driver: IpipDriver,
    peer: &'a Peer,
    addr: Ipv4Addr,
    uplink: &'a Uplink,
}

/// `None` while it is not accepted, or while something is not known.
fn own(world: &World) -> Option<Own<'_>> {
    let (driver, peer, uplink) = (world.ipip?, world.peers.get(&world.node)?, world.uplink.as_ref()?);
    let IpAddr::V4(addr) = peer.addr.addr() else { return None };
    world.accepts(Encap::Ipip).then_some(Own { driver, peer, addr, uplink })
}

/// The device, its address and settings, and the stand-in's way out.
pub(crate) fn derive(world: &World) -> Vec<(Key, Value)> {
    let Some(own) = own(world) else { return Vec::new() };
    let name = IfName::fixed(IPIP_DEVICE);
    let kind = match own.driver {
        IpipDriver::Kernel => LinkKind::Ipip,
        IpipDriver::StandIn => LinkKind::Ifb { mac: spelling(own.addr) },
    };
    let link = LinkValue { kind, mac: None, mtu: Some(mtu::ipip(world)), up: true, alias: None };
    let mut objects = vec![
        (Key::Link(LinkKey { netns: Netns::Host, name: name.clone() }), Value::Link(Box::new(link))),
        rp_filter(&name),
    ];
    objects.extend(own.peer.ipip_tunnel.map(|addr| tunnel_address(name.clone(), addr)));
    if own.driver == IpipDriver::StandIn {
        let send = Filter::Send { local: own.addr, uplink: own.uplink.device.clone() };
        objects.push(filter(name.clone(), Direction::Egress, send));
        // The kernel's tunl0 has no link-local address either.
        objects.push(sysctl(Netns::Host, format!("net/ipv6/conf/{name}/disable_ipv6"), "1"));
    }
    objects
}

/// Where that is judged. The first time, the kernel stops the interface for a moment to make it (`qdisc_graft`): so it is there
/// from an agent's first start on, and not from the first change of a mode on.
pub(crate) fn place(world: &World) -> Option<(Key, Value)> {
    let uplink = world.uplink.as_ref().filter(|_| world.ipip.is_some())?;
    Some((Key::Clsact(LinkKey { netns: Netns::Host, name: uplink.device.clone() }), Value::Clsact))
}

/// Who is let in, on the uplink.
pub(crate) fn accept(world: &World) -> Option<(Key, Value)> {
    let own = own(world)?;
    let tunnel = (own.driver == IpipDriver::StandIn).then(|| IfName::fixed(IPIP_DEVICE));
    let accept = Filter::Accept { local: own.addr, tunnel, sources: accept::ipip_sources(world) };
    Some(filter(own.uplink.device.clone(), Direction::Ingress, accept))
}

/// The filter that judges, if one is wanted.
pub fn accepting_filter(world: &World) -> Option<FilterKey> {
    own(world).map(|own| place_of(own.uplink.device.clone(), Direction::Ingress))
}

/// The far node, as the stand-in's filter reads it.
pub(crate) fn tunnel_end(world: &World, remote: Ipv4Addr) -> Option<(Key, Value)> {
    let key = NeighKey { netns: Netns::Host, device: IfName::fixed(IPIP_DEVICE), addr: remote.into() };
    (world.ipip == Some(IpipDriver::StandIn))
        .then(|| (Key::Neigh(key), Value::Neigh(NeighValue::spelling(remote))))
}

fn filter(device: IfName, direction: Direction, filter: Filter) -> (Key, Value) {
    (Key::Filter(place_of(device, direction)), Value::Filter(filter))
}

fn place_of(device: IfName, direction: Direction) -> FilterKey {
    FilterKey { netns: Netns::Host, device, direction }
}
