//! "How does this node reach that block?", answered here and nowhere else.

use crate::mode::{self, Encap};
use crate::{IPIP_DEVICE, Peer, VXLAN_DEVICE, World};
use model::v3::{EncapMode, IpPoolSpec};
use model::{Cidr, IfName, Mac};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// How this node reaches a block or a borrowed address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// It is ours.
    Local,
    /// Over the uplink, unencapsulated.
    Direct { next_hop: IpAddr },
    /// Through `tunl0`, to the node with this address.
    Ipip { remote: Ipv4Addr },
    /// Through `vxlan.calico`.
    Vxlan(Vtep),
    /// Not at all.
    Unreachable(Why),
}

/// The far end of a VXLAN tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vtep {
    /// Outer destination: the node's address.
    pub host: IpAddr,
    /// Address of its `vxlan.calico`: the gateway of the block's route.
    pub tunnel: IpAddr,
    pub mac: Mac,
}

/// Why there is no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// No pool contains it, so nothing says how it should travel.
    NoPool,
    /// The node that holds it has not said its address.
    UnknownNode { node: String },
    /// The node that holds it does not accept what the pool wants, and may at any time stop accepting what it accepts now.
    NotReady { node: String },
    /// We do not know our own address or uplink.
    NoUplink,
    /// The far node has no address on its `vxlan.calico`.
    NoVtep { node: String },
    /// We have no address for our own `vxlan.calico`.
    NoTunnelAddress,
    /// The pool wants no encapsulation, and the node is behind a router that has no route to the block.
    AcrossRouter { node: String, addr: IpAddr },
    /// The pool wants IPIP, and no driver for it is to be had here.
    NoIpipDriver { pool: String },
    /// The pool wants IPIP, which carries IPv4 between IPv4 addresses only.
    IpipIsIpv4 { pool: String },
}

impl World {
    /// The pool that contains `dst`, with its name.
    pub fn pool_of(&self, dst: Cidr) -> Option<(&str, &IpPoolSpec)> {
        self.pools.iter().find(|(_, pool)| pool.cidr.covers(dst)).map(|(name, pool)| (name.as_str(), pool))
    }
}

/// The path from this node to `dst`, which `owner` holds.
pub fn path(world: &World, dst: Cidr, owner: &str) -> Path {
    choose(world, dst, owner).0
}

/// Modes that pools want and that some nodes cannot be reached by, each with what is kept instead, in words. Those that this node
/// cannot have at all are told by [`lacks`].
pub fn kept(world: &World) -> Vec<String> {
    let mut kept: BTreeMap<(&str, String), BTreeSet<&str>> = BTreeMap::new();
    let blocks = world.blocks.iter().map(|(cidr, owner)| (*cidr, owner.as_str()));
    let borrowed = world.borrowed.iter().map(|(addr, owner)| (Cidr::host(*addr), owner.as_str()));
    let lacks = lacks(world);
    for (dst, owner) in blocks.chain(borrowed) {
        if let (_, Some(why)) = choose(world, dst, owner)
            && !lacks.contains(&why)
            && let (Some((pool, _)), Some(sent)) = (world.pool_of(dst), world.sent.get(dst))
        {
            let text = format!("IPPool {pool} cannot have the mode that it wants: {why}; {sent} is kept");
            kept.entry((pool, text)).or_default().insert(owner);
        }
    }
    let said = |((_, text), owners): ((&str, String), BTreeSet<&str>)| {
        format!("{text} to {}", owners.into_iter().collect::<Vec<_>>().join(", "))
    };
    kept.into_iter().map(said).collect()
}

/// Why this node cannot have the modes of pools, whatever node is to be reached: what only a change of the pool or of the node
/// mends.
pub fn lacks(world: &World) -> Vec<Why> {
    world.pools.iter().filter_map(|(name, pool)| pool_lack(world, name, pool)).collect()
}

/// Why this node cannot have the mode of a pool.
pub(crate) fn pool_lack(world: &World, name: &str, pool: &IpPoolSpec) -> Option<Why> {
    let wants_ipip = pool.ipip_mode != EncapMode::Never;
    wants_ipip.then(|| lack(world, name, pool.cidr)).flatten()
}

/// Why this node cannot send to `dst` of a pool by IP in IP.
fn lack(world: &World, pool: &str, dst: Cidr) -> Option<Why> {
    let pool = || pool.to_owned();
    match (dst.is_ipv4(), world.ipip) {
        (false, _) => Some(Why::IpipIsIpv4 { pool: pool() }),
        (true, None) => Some(Why::NoIpipDriver { pool: pool() }),
        (true, Some(_)) => None,
    }
}

/// The path, and if it is one that the pool does not want any more: why what it wants cannot be.
fn choose(world: &World, dst: Cidr, owner: &str) -> (Path, Option<Why>) {
    use Path::Unreachable;
    let only = |path| (path, None);
    if owner == world.node {
        return only(Path::Local);
    }
    let Some((name, pool)) = world.pool_of(dst) else { return only(Unreachable(Why::NoPool)) };
    let (Some(own), Some(_)) = (world.peers.get(&world.node), &world.uplink) else {
        return only(Unreachable(Why::NoUplink));
    };
    let Some(peer) = world.peers.get(owner) else {
        return only(Unreachable(Why::UnknownNode { node: owner.to_owned() }));
    };
    let same_subnet = own.addr.subnet().contains(peer.addr.addr());
    let wanted = mode::wanted(pool, same_subnet);
    let by = |encap| match encap {
        Encap::Ipip => ipip(world, name, dst, peer),
        Encap::Vxlan => vxlan(own, peer, owner),
        Encap::Direct => direct(world, dst, owner, peer, same_subnet),
    };
    let now = world.sent.get(dst);
    let Some(sends) = world.sends(name, peer, wanted, now) else {
        return only(Unreachable(Why::NotReady { node: owner.to_owned() }));
    };
    // A peer that is heard late may seem to have no tunnel: the one that is used was its own when it said so.
    let kept = |encap| match (by(encap), world.sent.vtep(dst)) {
        (Unreachable(Why::NoVtep { .. }), Some(tunnel)) => Path::Vxlan(vtep(peer, tunnel)),
        (path, _) => path,
    };
    let path = by(sends);
    // What cannot be done takes no working path down.
    match (path, now.map(kept)) {
        (Unreachable(why), Some(kept)) if !matches!(kept, Unreachable(_)) => (kept, Some(why)),
        (path, _) => only(path),
    }
}

fn ipip(world: &World, pool: &str, dst: Cidr, peer: &Peer) -> Path {
    match (lack(world, pool, dst), peer.addr.addr()) {
        (Some(why), _) => Path::Unreachable(why),
        (None, IpAddr::V4(remote)) => Path::Ipip { remote },
        (None, IpAddr::V6(_)) => Path::Unreachable(Why::IpipIsIpv4 { pool: pool.to_owned() }),
    }
}

fn direct(world: &World, dst: Cidr, owner: &str, peer: &Peer, same_subnet: bool) -> Path {
    let next_hop = peer.addr.addr();
    match same_subnet.then_some(next_hop).or_else(|| world.router_to(dst)) {
        Some(next_hop) => Path::Direct { next_hop },
        None => Path::Unreachable(Why::AcrossRouter { node: owner.to_owned(), addr: next_hop }),
    }
}

fn vxlan(own: &Peer, peer: &Peer, owner: &str) -> Path {
    match (own.vxlan_tunnel, peer.vxlan_tunnel) {
        (None, _) => Path::Unreachable(Why::NoTunnelAddress),
        (_, None) => Path::Unreachable(Why::NoVtep { node: owner.to_owned() }),
        (Some(_), Some(tunnel)) => Path::Vxlan(vtep(peer, tunnel)),
    }
}

fn vtep(peer: &Peer, tunnel: IpAddr) -> Vtep {
    Vtep { host: peer.addr.addr(), tunnel, mac: peer.vtep_mac }
}

impl Path {
    /// The gateway of its route.
    pub fn gateway(&self) -> Option<IpAddr> {
        match self {
            Path::Direct { next_hop } => Some(*next_hop),
            Path::Ipip { remote } => Some((*remote).into()),
            Path::Vxlan(vtep) => Some(vtep.tunnel),
            Path::Local | Path::Unreachable(_) => None,
        }
    }

    /// The interface of its route to another node.
    pub fn device(&self, world: &World) -> Option<IfName> {
        match self {
            Path::Direct { next_hop } => world.device_to(*next_hop).cloned(),
            Path::Ipip { .. } => Some(IfName::fixed(IPIP_DEVICE)),
            Path::Vxlan(_) => Some(IfName::fixed(VXLAN_DEVICE)),
            Path::Local | Path::Unreachable(_) => None,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Local => f.write_str("local"),
            Path::Direct { next_hop } => write!(f, "direct via {next_hop}"),
            Path::Ipip { remote } => write!(f, "ipip via {remote}"),
            Path::Vxlan(vtep) => write!(f, "vxlan via {}", vtep.host),
            Path::Unreachable(why) => write!(f, "unreachable: {why}"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::NoPool => f.write_str("no IPPool contains it"),
            Why::UnknownNode { node } => write!(f, "node {node} has not published its address"),
            Why::NotReady { node } => {
                write!(
                    f,
                    "node {node} has not said yet that it accepts what the pool wants: see that its agent runs"
                )
            }
            Why::NoUplink => f.write_str("no interface of this node holds its address"),
            Why::NoVtep { node } => write!(f, "node {node} has no VXLAN tunnel address yet"),
            Why::NoTunnelAddress => f.write_str("this node has no VXLAN tunnel address yet"),
            Why::AcrossRouter { node, addr } => {
                write!(
                    f,
                    "node {node} ({addr}) is in another subnet and the pool wants no encapsulation: set ipipMode or vxlanMode to CrossSubnet"
                )
            }
            Why::NoIpipDriver { pool } => {
                write!(
                    f,
                    "pool {pool} wants IPIP, for which this node has no driver: install the kernel's module `ipip` (of the package with extra modules, where the distribution has one), start its agent with --ipip-driver=auto, or set ipipMode to Never and vxlanMode to Always"
                )
            }
            Why::IpipIsIpv4 { pool } => {
                write!(f, "pool {pool} wants IPIP, which carries IPv4 only: set its ipipMode to Never")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{article, pool_mode};
    use model::v3::EncapMode::{Always, CrossSubnet, Never};

    fn shown(world: &World, dst: &str, owner: &str) -> String {
        path(world, dst.parse().expect("a CIDR"), owner).to_string()
    }

    #[test]
    fn each_mode_gives_its_path() {
        for (vxlan, near, far) in [
            (Always, "vxlan via 192.168.50.162", "vxlan via 192.168.60.164"),
            (CrossSubnet, "direct via 192.168.50.162", "vxlan via 192.168.60.164"),
            (
                Never,
                "direct via 192.168.50.162",
                "unreachable: node master4 (192.168.60.164) is in another subnet and the pool wants no encapsulation: \
                 set ipipMode or vxlanMode to CrossSubnet",
            ),
        ] {
            let world = pool_mode(article("master1"), vxlan);
            assert_eq!(shown(&world, "6.2.137.64/26", "master1"), "local");
            assert_eq!(shown(&world, "6.2.180.0/26", "master2"), near);
            assert_eq!(shown(&world, "6.2.182.0/26", "master4"), far);
        }
    }

    #[test]
    fn a_mode_that_cannot_be_had_is_said_once_with_all_that_keep_the_old_one() {
        let mut world = pool_mode(article("master1"), Never);
        world.sent = world.blocks.keys().map(|block| (*block, Encap::Direct)).collect();
        assert_eq!(kept(&world), Vec::<String>::new());
        world = pool_mode(world, Always);
        world.peers.get_mut("master1").expect("master1").vxlan_tunnel = None;
        let said = kept(&world);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("cannot have the mode that it wants: this node has no VXLAN"), "{said:?}");
        assert!(said[0].ends_with("direct is kept to master2, master3"), "{said:?}");
    }

    #[test]
    fn a_tunnel_that_is_used_is_kept_while_its_node_seems_to_have_none() {
        let (mut world, block) = (pool_mode(article("master1"), Always), "6.2.180.0/26");
        let used = world.peers["master2"].vxlan_tunnel.expect("it has one");
        world.sent.set_vtep(block.parse().expect("a CIDR"), used);
        world.peers.get_mut("master2").expect("master2").vxlan_tunnel = None;
        assert_eq!(shown(&world, block, "master2"), "vxlan via 192.168.50.162");
        assert_eq!(path(&world, block.parse().expect("a CIDR"), "master2").gateway(), Some(used));
        let said = kept(&world);
        assert!(
            said.len() == 1 && said[0].contains("node master2 has no VXLAN tunnel address yet"),
            "{said:?}"
        );
        world.sent.set(block.parse().expect("a CIDR"), None);
        assert_eq!(
            shown(&world, block, "master2"),
            "unreachable: node master2 has no VXLAN tunnel address yet"
        );
    }

    #[test]
    fn a_mode_that_this_node_cannot_have_is_said_once_though_every_path_is_kept() {
        let mut world = pool_mode(article("master1"), Always);
        world.ipip = None;
        world.sent = world.blocks.keys().map(|block| (*block, Encap::Vxlan)).collect();
        assert_eq!(lacks(&world), []);
        let name = world.pools.keys().next().expect("a pool").clone();
        for ipip in [Always, CrossSubnet] {
            let pool = world.pools.get_mut(&name).expect("it is there");
            (pool.ipip_mode, pool.vxlan_mode) = (ipip, Never);
            assert_eq!(lacks(&world), [Why::NoIpipDriver { pool: name.clone() }]);
            assert_eq!(kept(&world), Vec::<String>::new());
            assert_eq!(shown(&world, "6.2.182.0/26", "master4"), "vxlan via 192.168.60.164");
        }
        world.ipip = Some(crate::IpipDriver::Kernel);
        assert_eq!(lacks(&world), []);
    }

    #[test]
    fn a_pool_of_ipv6_never_gets_ip_in_ip_whoever_has_let_it_wish_so() {
        let mut world = pool_mode(article("master1"), Always);
        let mut pool = world.pools.values().next().expect("a pool").clone();
        (pool.cidr, pool.ipip_mode, pool.vxlan_mode) =
            ("fd00:6::/48".parse().expect("a CIDR"), Always, Never);
        world.pools.insert("six".into(), pool);
        assert_eq!(lacks(&world), [Why::IpipIsIpv4 { pool: "six".into() }]);
        assert!(!world.wants(Encap::Ipip) && !world.accepts(Encap::Ipip));
        let six = shown(&world, "fd00:6:0:1::/64", "master2");
        assert!(six.starts_with("unreachable: pool six wants IPIP, which carries IPv4 only"), "{six}");
        assert_eq!(shown(&world, "6.2.180.0/26", "master2"), "vxlan via 192.168.50.162");
    }

    #[test]
    fn what_is_missing_is_said() {
        let mut world = article("master1");
        assert_eq!(shown(&world, "7.7.7.0/26", "master2"), "unreachable: no IPPool contains it");
        assert_eq!(
            shown(&world, "6.2.1.0/26", "nobody"),
            "unreachable: node nobody has not published its address"
        );
        world.peers.get_mut("master2").expect("master2").vxlan_tunnel = None;
        assert_eq!(
            shown(&world, "6.2.180.0/26", "master2"),
            "unreachable: node master2 has no VXLAN tunnel address yet"
        );
        world.uplink = None;
        assert_eq!(
            shown(&world, "6.2.180.0/26", "master2"),
            "unreachable: no interface of this node holds its address"
        );
    }
}
