//! "Who may send a tunnel packet from that inner source?": each node its blocks, what it borrowed, its tunnel's and its own
//! addresses. Asked once, on outer and inner source together. What belongs to this node nobody else may send.

use crate::{Encap, Peer, World};
use model::Cidr;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// For VXLAN, pairs of outer and inner source. None while it is not accepted.
pub(crate) fn vxlan_sources(world: &World) -> impl Iterator<Item = (IpAddr, Cidr)> {
    let accepted = world.accepts(Encap::Vxlan);
    sources(world, |peer| peer.vxlan_tunnel).filter(move |_| accepted)
}

/// For IP in IP, inner source to outer source, where the longest prefix decides.
pub(crate) fn ipip_sources(world: &World) -> BTreeMap<Cidr, Ipv4Addr> {
    let v4 = |(outer, inner)| match outer {
        IpAddr::V4(outer) => Some((inner, outer)),
        IpAddr::V6(_) => None,
    };
    sources(world, |peer| peer.ipip_tunnel).filter_map(v4).collect()
}

fn sources(world: &World, tunnel: fn(&Peer) -> Option<IpAddr>) -> impl Iterator<Item = (IpAddr, Cidr)> {
    let remote = move |node: &str| world.peers.get(node).filter(|_| node != world.node);
    let blocks = world.blocks.iter().map(|(cidr, node)| (node, *cidr));
    let borrowed = world.borrowed.iter().map(|(addr, node)| (node, Cidr::host(*addr)));
    let held = blocks.chain(borrowed).filter_map(move |(node, cidr)| Some((remote(node)?.addr.addr(), cidr)));
    let own = world.peers.keys().filter_map(move |node| remote(node)).flat_map(move |peer| {
        let addrs = [Some(peer.addr.addr()), tunnel(peer)];
        addrs.into_iter().flatten().map(|addr| (peer.addr.addr(), Cidr::host(addr)))
    });
    held.chain(own).filter(|(outer, inner)| outer.is_ipv4() && inner.is_ipv4())
}
