//! What counts of the paths that BGP peers give.
//!
//! Inside a pool the datastore says who holds a block; a path there counts only if it agrees: its prefix is the block's and
//! its next hop the holder, or a router of ours where the holder is in another subnet. A session that lies moves nothing
//! (`refused` names it). Outside the pools a path of a configured peer counts; nodes of the mesh have nothing to say there.

use crate::bgp::PeerSort;
use crate::{Learnt, World};
use model::{Cidr, IfAddr};
use std::net::IpAddr;

impl World {
    /// The router that carries packets to `dst`, which a node of another subnet holds.
    pub(crate) fn router_to(&self, dst: Cidr) -> Option<IpAddr> {
        let paths = self.learnt.get(&dst)?;
        paths.iter().find(|path| self.is_by_router(path)).map(|path| path.next_hop)
    }

    /// Destinations outside the pools, each with its next hop.
    pub(crate) fn learnt_outside(&self) -> impl Iterator<Item = (Cidr, IpAddr)> {
        let outside = self.learnt.iter().filter(|(dst, _)| self.pool_of(**dst).is_none());
        outside.filter_map(|(dst, paths)| {
            let path =
                paths.iter().find(|path| path.sort != PeerSort::Mesh && self.is_connected(path.next_hop))?;
            Some((*dst, path.next_hop))
        })
    }

    /// Given by a router, with a next hop that is on our subnet and is no node.
    fn is_by_router(&self, path: &Learnt) -> bool {
        path.node.is_none()
            && self.is_connected(path.next_hop)
            && self.peers.values().all(|peer| peer.addr.addr() != path.next_hop)
    }

    fn is_connected(&self, addr: IpAddr) -> bool {
        let own = self.bgp.nodes.get(&self.node);
        let subnets = own.into_iter().flat_map(|own| [own.v4, own.v6]).flatten().map(IfAddr::subnet);
        subnets.into_iter().any(|subnet| subnet.contains(addr))
    }

    /// Who holds a prefix inside a pool, if somebody holds exactly that.
    fn holder(&self, dst: Cidr) -> Option<&str> {
        let borrowed = || dst.is_host().then(|| self.borrowed.get(&dst.addr())).flatten();
        self.blocks.get(&dst).or_else(borrowed).map(String::as_str)
    }
}

/// Paths inside pools that do not agree with the datastore, in words.
pub fn refused(world: &World) -> impl Iterator<Item = String> {
    let inside = world.learnt.iter().filter(|(dst, _)| world.pool_of(**dst).is_some());
    inside.flat_map(move |(dst, paths)| {
        let holder = world.holder(*dst);
        let agrees = move |path: &&Learnt| {
            let holder_addr = holder.and_then(|holder| world.peers.get(holder)).map(|peer| peer.addr.addr());
            holder.is_some_and(|holder| holder != world.node)
                && (holder_addr == Some(path.next_hop) || world.is_by_router(path))
        };
        paths.iter().filter(move |path| !agrees(path)).map(move |path| {
            let truth = match holder {
                Some(holder) => format!("node {holder} holds it"),
                None => "no node holds exactly that".to_owned(),
            };
            format!(
                "RouteRejected: BGP peer {} says that {dst} is behind {}, but in the datastore {truth}; the path is ignored",
                path.peer, path.next_hop
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{article, pool_mode};
    use crate::{Path, derive, path};
    use model::v3::EncapMode;

    fn learnt(next_hop: &str, node: Option<&str>, sort: PeerSort) -> Vec<Learnt> {
        let next_hop = next_hop.parse().expect("an address");
        vec![Learnt { next_hop, peer: "Peer".into(), sort, node: node.map(str::to_owned) }]
    }

    fn direct() -> World {
        let mut world = pool_mode(article("master1"), EncapMode::Never);
        for (name, peer) in &world.peers {
            let node = crate::bgp::BgpNode { v4: Some(peer.addr), ..crate::bgp::BgpNode::default() };
            world.bgp.nodes.insert(name.clone(), node);
        }
        world
    }

    fn cidr(text: &str) -> Cidr {
        text.parse().expect("a CIDR")
    }

    #[test]
    fn a_router_carries_what_is_in_another_subnet() {
        let mut world = direct();
        let dst = cidr("6.2.182.0/26");
        assert!(matches!(path(&world, dst, "master4"), Path::Unreachable(_)));
        world.learnt.insert(dst, learnt("192.168.50.1", None, PeerSort::Global));
        let next_hop = "192.168.50.1".parse().expect("an address");
        assert_eq!(path(&world, dst, "master4"), Path::Direct { next_hop });
        assert_eq!(refused(&world).count(), 0);
    }

    #[test]
    fn who_lies_of_a_pool_moves_nothing_and_is_named() {
        for (dst, next_hop, node) in [
            ("6.2.180.0/26", "192.168.50.163", Some("master3")),
            ("6.2.180.64/26", "192.168.50.162", Some("master2")),
            ("6.2.180.2/32", "192.168.50.1", None),
            ("6.2.137.64/26", "192.168.50.162", Some("master2")),
            ("6.2.182.0/26", "192.168.50.162", Some("master2")),
        ] {
            let mut world = direct();
            let before = derive(&world);
            world.learnt.insert(cidr(dst), learnt(next_hop, node, PeerSort::Mesh));
            assert_eq!(derive(&world), before, "{dst}");
            let said: Vec<String> = refused(&world).collect();
            assert!(said.len() == 1 && said[0].contains(dst) && said[0].contains("Peer"), "{said:?}");
        }
    }

    #[test]
    fn outside_the_pools_a_configured_peer_is_believed_and_the_mesh_is_not() {
        for (sort, believed) in [(PeerSort::Global, true), (PeerSort::Mesh, false)] {
            let mut world = direct();
            world.learnt.insert(cidr("10.9.0.0/16"), learnt("192.168.50.1", None, sort));
            let routes: Vec<String> = derive(&world).keys().map(ToString::to_string).collect();
            assert_eq!(routes.contains(&"route 10.9.0.0/16".to_owned()), believed, "{sort:?}");
        }
    }
}
