//! What counts of the paths that BGP peers give.
//!
//! Inside a pool the datastore says who holds a block; a path there counts only if it agrees: its prefix is the block's and
//! its next hop the holder, or a router of ours where the holder is in another subnet. A session that lies moves nothing: the
//! speaker gives all paths by rank, and one that does not count leaves its place to the next, however good it says that it is.
//!
//! Outside the pools a path of a configured peer counts, all the equally good ones together; nodes of the mesh have nothing
//! to say there. What the node itself stands on, its subnets and its default route, is left as it is unless a rule of the
//! peer's own BGPFilter accepts just that. Ranges of services are for kube-proxy. `refused` names who is not believed.
//!
//! A speaker that has just started knows nothing. Until its first selection is done (RFC 4724 §4.1) what it gave before counts,
//! as the kernel has kept it.

use crate::bgp::{self, PeerSort};
use crate::routes::{main, route};
use crate::{Learnt, Part, Path, World};
use kernel::{Objects, RouteValue, Value, Way};
use model::{Cidr, IfAddr, IfName};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What is made of a path to a destination outside the pools.
enum Verdict {
    /// Packets go to this neighbour.
    Counts(IpAddr),
    /// It is as it should be, and no route follows from it.
    Unused,
    Refused(String),
}

pub(crate) fn derive(world: &World) -> Objects {
    let routes = world.outside().into_iter().map(|dst| (main(dst), route_to(world, dst)));
    routes.filter_map(|(key, route)| Some((key, route?))).collect()
}

/// What of the section may change with what was learnt of these destinations, or with what the kernel kept of them.
pub fn moved_learnt(world: &World, moved: &BTreeSet<Cidr>) -> Part {
    moved.iter().map(|dst| (main(*dst), route_to(world, *dst))).collect()
}

/// The one route that follows for a destination, by all neighbours that lead there.
fn route_to(world: &World, dst: Cidr) -> Option<Value> {
    let way = |gateway| Some(Way { gateway, device: world.device_to(gateway)?.clone() });
    let mut ways = world.neighbours_to(dst).into_iter().filter_map(way);
    let first = ways.next()?;
    let one = route(world, dst, &Path::Direct { next_hop: first.gateway })?;
    Some(Value::Route(RouteValue { also: ways.collect(), ..one }))
}

impl World {
    /// The router that carries packets to `dst`, which a node of another subnet holds.
    pub fn router_to(&self, dst: Cidr) -> Option<IpAddr> {
        let mut paths = self.paths_to(dst).iter();
        let learnt = paths.find(|path| self.is_by_router(path)).map(|path| path.next_hop);
        learnt.or_else(|| self.kept_hops(dst).find(|hop| self.is_router(*hop)))
    }

    /// Where the kernel sends to `dst` now, as long as the speaker may still name it.
    fn kept_hops(&self, dst: Cidr) -> impl Iterator<Item = IpAddr> {
        let kept = self.hops.get(&dst).filter(|_| !self.selected);
        kept.into_iter().flatten().copied()
    }

    /// What BGP peers say of a destination.
    pub fn paths_to(&self, dst: Cidr) -> &[Learnt] {
        self.learnt.get(&dst).map_or(&[], |paths| &paths[..])
    }

    /// All destinations that a route may follow for.
    fn outside(&self) -> BTreeSet<Cidr> {
        let kept = self.hops.keys().filter(|_| !self.selected);
        let behind_gateways = bgp::gateways(self).map(|(peer, _)| Cidr::host(peer));
        self.learnt.keys().chain(kept).copied().chain(behind_gateways).collect()
    }

    /// All neighbours that lead to a destination: outside the pools by what was learnt, or else to a peer by its gateway.
    fn neighbours_to(&self, dst: Cidr) -> BTreeSet<IpAddr> {
        let mut neighbours = BTreeSet::new();
        if self.pool_of(dst).is_none() {
            neighbours.extend(self.counting(dst).into_iter().map(|(_, neighbour)| neighbour));
            if neighbours.is_empty() {
                neighbours.extend(self.kept_hops(dst));
            }
        }
        if neighbours.is_empty() && dst.is_host() {
            neighbours.extend(self.gateway_to(dst.addr()));
        }
        neighbours
    }

    /// The best of the paths to a destination outside the pools that count, each with the neighbour that packets go to.
    fn counting(&self, dst: Cidr) -> Vec<(&Learnt, IpAddr)> {
        let ranks = self.said_outside(dst).chunk_by(|one, next| one.rank == next.rank);
        let mut counting = ranks.map(|equal| {
            let judged = equal.iter().filter_map(|path| match self.judge(dst, path) {
                Verdict::Counts(neighbour) => Some((path, neighbour)),
                Verdict::Unused | Verdict::Refused(_) => None,
            });
            judged.collect::<Vec<_>>()
        });
        counting.find(|counting| !counting.is_empty()).unwrap_or_default()
    }

    /// What peers say of a destination outside the pools. Where they leave the first rank to us, it is our own, and nothing
    /// that they say matters.
    fn said_outside(&self, dst: Cidr) -> &[Learnt] {
        let paths = self.paths_to(dst);
        if paths.first().is_some_and(|best| best.rank == 0) { paths } else { &[] }
    }

    fn judge(&self, dst: Cidr, path: &Learnt) -> Verdict {
        let is_service = bgp::service_ranges(&self.bgp).any(|range| range.covers(dst));
        let own_subnet = self.subnets().find(|subnet| subnet.covers(dst));
        let refused = |why: &str| Verdict::Refused(why.to_owned());
        match self.neighbour_to(path.next_hop) {
            _ if is_service && path.node.is_some() => Verdict::Unused,
            _ if path.sort == PeerSort::Mesh => {
                refused("a node of the mesh has nothing to say outside the pools")
            }
            _ if is_service => refused("it is inside a range of the cluster's services"),
            _ if dst.is_default() && !path.named => {
                refused("no rule of a BGPFilter for it accepts a default route")
            }
            _ if let (Some(subnet), false) = (own_subnet, path.named) => {
                Verdict::Refused(format!("this node is on {subnet} itself"))
            }
            _ if let Some(pod) = path.pod => self.judge_pod(dst, path, pod),
            None => refused("its next hop is on no subnet of this node"),
            Some(neighbour) => Verdict::Counts(neighbour),
        }
    }

    /// A pod leads to itself alone, and to no node.
    fn judge_pod(&self, dst: Cidr, path: &Learnt, pod: IpAddr) -> Verdict {
        let mut nodes = self.peers.iter().filter(|(_, peer)| dst.contains(peer.addr.addr()));
        match nodes.next() {
            _ if path.next_hop != pod => {
                Verdict::Refused(format!("it is pod {pod}, and leads to itself alone"))
            }
            Some((node, _)) if !path.named => Verdict::Refused(format!(
                "node {node} is there, and no rule of a BGPFilter for it accepts that"
            )),
            _ if self.device_of_pod(pod).is_some() => Verdict::Counts(pod),
            _ => Verdict::Unused,
        }
    }

    /// What pods of this node lead to, each with the host's interface towards the pod.
    pub(crate) fn behind_pods(&self) -> impl Iterator<Item = (&IfName, Cidr)> {
        let by_pods = self.learnt.iter().filter(|(_, paths)| paths.iter().any(|path| path.pod.is_some()));
        let given = by_pods.flat_map(|(dst, _)| {
            let counting = self.counting(*dst).into_iter().filter(|(path, _)| path.pod.is_some());
            counting.map(|(_, pod)| (pod, *dst))
        });
        let kept = self.hops.iter().filter(|_| !self.selected);
        let kept = kept.flat_map(|(dst, hops)| hops.iter().map(|hop| (*hop, *dst)));
        let outside = given.chain(kept).filter(|(_, dst)| self.pool_of(*dst).is_none());
        outside.filter_map(|(pod, dst)| Some((self.device_of_pod(pod)?, dst)))
    }

    /// Given by a router, with a next hop that is on our subnet and is no node.
    fn is_by_router(&self, path: &Learnt) -> bool {
        path.node.is_none() && path.pod.is_none() && self.is_router(path.next_hop)
    }

    fn is_router(&self, addr: IpAddr) -> bool {
        self.is_connected(addr) && self.peers.values().all(|peer| peer.addr.addr() != addr)
    }

    /// The neighbour that packets to a next hop go to: itself, or the gateway that a BGPPeer says that it is behind.
    fn neighbour_to(&self, next_hop: IpAddr) -> Option<IpAddr> {
        if self.is_connected(next_hop) { Some(next_hop) } else { self.gateway_to(next_hop) }
    }

    /// The gateway that a BGPPeer says that a peer is behind.
    fn gateway_to(&self, peer: IpAddr) -> Option<IpAddr> {
        bgp::gateways(self).find(|(behind, _)| *behind == peer).map(|(_, gateway)| gateway)
    }

    fn is_connected(&self, addr: IpAddr) -> bool {
        self.subnets().any(|subnet| subnet.contains(addr))
    }

    /// The subnets that this node is on.
    fn subnets(&self) -> impl Iterator<Item = Cidr> {
        let own = self.bgp.nodes.get(&self.node);
        let own = own.into_iter().flat_map(|own| [own.v4, own.v6]).flatten().map(IfAddr::subnet);
        own.chain(self.connected.keys().copied())
    }

    /// The interface towards a neighbour.
    pub(crate) fn device_to(&self, neighbour: IpAddr) -> Option<&IfName> {
        let may_be_a_pod = self.bgp.has_workload_peers() || !self.selected;
        let pod = may_be_a_pod.then(|| self.device_of_pod(neighbour)).flatten();
        if pod.is_some() {
            return pod;
        }
        let on = self.connected.iter().filter(|(subnet, _)| subnet.contains(neighbour));
        let nearest = on.max_by_key(|(subnet, _)| subnet.len()).map(|(_, device)| device);
        let uplink = self.uplink.as_ref().map(|uplink| &uplink.device);
        let own = self.peers.get(&self.node).map(|own| own.addr.subnet());
        if own.is_some_and(|subnet| subnet.contains(neighbour)) { uplink } else { nearest.or(uplink) }
    }

    /// Who holds a prefix inside a pool, if somebody holds exactly that.
    fn holder(&self, dst: Cidr) -> Option<&str> {
        let borrowed = || dst.is_host().then(|| self.borrowed.get(&dst.addr())).flatten();
        self.blocks.get(&dst).or_else(borrowed).map(String::as_str)
    }

    /// Why a path inside a pool does not count.
    fn disagreement(&self, dst: Cidr, path: &Learnt) -> Option<String> {
        let holder = self.holder(dst);
        let holder_addr = holder.and_then(|holder| self.peers.get(holder)).map(|peer| peer.addr.addr());
        let agrees = holder.is_some_and(|holder| holder != self.node)
            && (holder_addr == Some(path.next_hop) || self.is_by_router(path));
        (!agrees).then(|| match holder {
            Some(holder) => format!("in the datastore node {holder} holds it"),
            None => "in the datastore no node holds exactly that".to_owned(),
        })
    }
}

/// Paths that do not count, in words.
pub fn refused(world: &World) -> impl Iterator<Item = String> {
    let all = world.learnt.keys().flat_map(|dst| {
        let is_inside = world.pool_of(*dst).is_some();
        let paths = if is_inside { world.paths_to(*dst) } else { world.said_outside(*dst) };
        paths.iter().map(|path| (*dst, path))
    });
    all.filter_map(|(dst, path)| {
        let why = match world.pool_of(dst) {
            Some(_) => world.disagreement(dst, path),
            None => match world.judge(dst, path) {
                Verdict::Refused(why) => Some(why),
                Verdict::Counts(_) | Verdict::Unused => None,
            },
        }?;
        Some(format!(
            "RouteRejected: BGP peer {} says that {dst} is behind {}, but {why}; the path is ignored",
            path.peer, path.next_hop
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{article, pool_mode};
    use crate::{Encap, Path, Section, derive, path};
    use model::v3::EncapMode;

    fn learnt(next_hop: &str, node: Option<&str>, sort: PeerSort) -> Vec<Learnt> {
        let next_hop = next_hop.parse().expect("an address");
        vec![Learnt {
            next_hop,
            peer: "Peer".into(),
            sort,
            node: node.map(str::to_owned),
            pod: None,
            rank: 0,
            named: false,
        }]
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
        world.learnt.insert(dst, learnt("192.168.50.1", None, PeerSort::Global).into());
        let next_hop = "192.168.50.1".parse().expect("an address");
        assert_eq!(path(&world, dst, "master4"), Path::Direct { next_hop });
        assert_eq!(refused(&world).count(), 0);
    }

    #[test]
    fn what_a_speaker_gave_before_it_restarted_is_kept_until_it_has_selected_anew() {
        let (inside, outside) = (cidr("6.2.182.0/26"), cidr("10.9.0.0/16"));
        let router: IpAddr = "192.168.50.1".parse().expect("an address");
        let mut world = direct();
        world.hops = [(inside, vec![router]), (outside, vec![router])].into();
        world.sent = [(inside, Encap::Direct), (outside, Encap::Direct)].into_iter().collect();
        assert_eq!(path(&world, inside, "master4"), Path::Direct { next_hop: router });
        assert_eq!(world.neighbours_to(outside), [router].into());
        let has_route = |world: &World| crate::section(world, Section::Learnt).contains_key(&main(outside));
        assert!(has_route(&world));
        world.selected = true;
        assert!(matches!(path(&world, inside, "master4"), Path::Unreachable(_)));
        assert!(!has_route(&world));
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
            world.learnt.insert(cidr(dst), learnt(next_hop, node, PeerSort::Mesh).into());
            assert_eq!(derive(&world), before, "{dst}");
            let said: Vec<String> = refused(&world).collect();
            assert!(said.len() == 1 && said[0].contains(dst) && said[0].contains("Peer"), "{said:?}");
        }
    }

    /// A path that is told as the better one by a node that has nothing to say, and the honest one behind it.
    fn shouted_down(honest: &str) -> Vec<Learnt> {
        let mut said = learnt("192.168.50.163", Some("master3"), PeerSort::Mesh);
        said.extend(
            learnt(honest, None, PeerSort::Global).into_iter().map(|path| Learnt { rank: 1, ..path }),
        );
        said
    }

    #[test]
    fn s27_who_lies_with_a_better_path_hides_no_honest_one() {
        let router: IpAddr = "192.168.50.1".parse().expect("an address");
        let (block, outside) = (cidr("6.2.182.0/26"), cidr("10.9.0.0/16"));
        let mut world = direct();
        for dst in [block, outside] {
            world.learnt.insert(dst, shouted_down("192.168.50.1").into());
        }
        assert_eq!(path(&world, block, "master4"), Path::Direct { next_hop: router });
        assert_eq!(world.neighbours_to(outside), [router].into());
        let said: Vec<String> = refused(&world).collect();
        assert!(said.len() == 2 && said.iter().all(|line| line.contains("192.168.50.163")), "{said:?}");
    }

    #[test]
    fn a_worse_path_counts_only_where_no_better_one_does_and_none_where_we_are_the_origin() {
        let dst = cidr("10.9.0.0/16");
        let ranked = |ranks: [u16; 2]| {
            let hops = ["192.168.50.1", "192.168.50.20"].map(|hop| learnt(hop, None, PeerSort::Global));
            let paths = hops.into_iter().flatten().zip(ranks).map(|(path, rank)| Learnt { rank, ..path });
            let mut world = direct();
            world.learnt.insert(dst, paths.collect());
            assert_eq!(refused(&world).count(), 0);
            world.neighbours_to(dst).len()
        };
        assert_eq!(ranked([0, 0]), 2);
        assert_eq!(ranked([0, 1]), 1);
        assert_eq!(ranked([1, 2]), 0);
    }

    /// Whether a route to `dst` follows from what a peer says of it, and what is said of that.
    fn follows(world: &World, dst: &str, said: Vec<Learnt>) -> (bool, Vec<String>) {
        let mut world = world.clone();
        world.learnt.insert(cidr(dst), said.into());
        let routes: Vec<String> = derive(&world).keys().map(ToString::to_string).collect();
        (routes.contains(&format!("route {dst}")), refused(&world).collect())
    }

    #[test]
    fn outside_the_pools_a_configured_peer_is_believed_and_the_mesh_is_not() {
        for (sort, believed) in [(PeerSort::Global, true), (PeerSort::Mesh, false)] {
            let (follows, said) = follows(&direct(), "10.9.0.0/16", learnt("192.168.50.1", None, sort));
            assert_eq!((follows, said.is_empty()), (believed, believed), "{sort:?}: {said:?}");
        }
    }

    #[test]
    fn s27_what_the_node_stands_on_is_moved_by_nobody_whose_filter_does_not_name_it() {
        for (dst, why) in [
            ("0.0.0.0/0", "accepts a default route"),
            ("192.168.50.0/24", "this node is on 192.168.50.0/24 itself"),
            ("192.168.50.162/32", "this node is on 192.168.50.0/24 itself"),
        ] {
            let mut said = learnt("192.168.50.1", None, PeerSort::Global);
            let (does, words) = follows(&direct(), dst, said.clone());
            assert!(!does && words.len() == 1 && words[0].contains(why), "{dst}: {words:?}");
            assert!(
                words[0].starts_with(&format!("RouteRejected: BGP peer Peer says that {dst} ")),
                "{words:?}"
            );
            said[0].named = true;
            assert_eq!(follows(&direct(), dst, said), (true, Vec::new()));
        }
        let (does, words) = follows(&direct(), "10.9.0.0/16", learnt("203.0.113.1", None, PeerSort::Global));
        assert!(!does && words[0].contains("its next hop is on no subnet"), "{words:?}");
    }

    #[test]
    fn s27_a_range_of_services_is_nobodys_to_route() {
        let mut world = direct();
        let spec = serde_json::json!({"serviceClusterIPs": [{"cidr": "10.96.0.0/12"}]});
        world.bgp.configurations.insert("default".into(), serde_json::from_value(spec).expect("a spec"));
        let from_node = learnt("192.168.50.162", Some("master2"), PeerSort::Mesh);
        assert_eq!(follows(&world, "10.96.0.1/32", from_node), (false, Vec::new()));
        let (does, words) = follows(&world, "10.96.0.0/12", learnt("192.168.50.1", None, PeerSort::Global));
        assert!(!does && words[0].contains("a range of the cluster's services"), "{words:?}");
    }

    #[test]
    fn of_equally_good_paths_outside_the_pools_all_are_used() {
        let mut world = direct();
        let said = ["192.168.50.2", "192.168.50.1", "203.0.113.1"]
            .into_iter()
            .flat_map(|next_hop| learnt(next_hop, None, PeerSort::Global));
        world.learnt.insert(cidr("10.9.0.0/16"), said.collect());
        let neighbours = world.neighbours_to(cidr("10.9.0.0/16"));
        assert_eq!(
            neighbours.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["192.168.50.1", "192.168.50.2"]
        );
    }

    #[test]
    fn a_peer_behind_a_gateway_has_a_route_and_so_has_what_it_gives() {
        let mut world = direct();
        let spec =
            serde_json::json!({"peerIP": "203.0.113.1", "asNumber": 65001, "reachableBy": "192.168.50.1"});
        world.bgp.peers.insert("tor".into(), serde_json::from_value(spec).expect("a spec"));
        let (does, words) = follows(&world, "10.9.0.0/16", learnt("203.0.113.1", None, PeerSort::Global));
        assert_eq!((does, words), (true, Vec::new()));
        let to_peer = derive(&world).into_iter().find(|(key, _)| key.to_string() == "route 203.0.113.1/32");
        let (_, value) = to_peer.expect("a route to the peer");
        assert!(value.to_string().contains("via 192.168.50.1"), "{value}");
    }
}
