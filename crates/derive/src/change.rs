//! What a change of a pool's mode would do on one node, asked before anybody makes it; and how far it got, once it is made.
//!
//! Both read a `World` that stands on the API alone: [`World::from_announcement`] puts in what the node says of its kernel.

use crate::path::pool_lack;
use crate::{Learnt, Path, Why, World, bgp, mtu, path};
use model::v3::EncapMode;
use model::{Cidr, Mtu};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The two fields of a pool that together are its mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Modes {
    pub ipip_mode: EncapMode,
    pub vxlan_mode: EncapMode,
}

/// What changes on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// To each other node.
    pub ways: Vec<Way>,
    /// Of its pods, before and after. `None`: the node does not say.
    pub mtu: Option<(Mtu, Mtu)>,
    pub obstacles: Vec<Obstacle>,
}

/// How packets reach another node's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    pub node: String,
    pub now: Path,
    pub then: Path,
}

/// Why a node cannot follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It has not said its address.
    NoAddress,
    /// It does not say how far it is with modes: Calico runs there, or nothing.
    Silent,
    /// Some nodes could not be reached any more, or the node could not have the mode at all.
    NoPath(Why),
}

/// How far a node is with what a pool wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// It does not accept it yet.
    Waiting,
    /// It accepts what the pool wants.
    Ready,
    /// It sends so, too.
    Switched,
    /// What it still accepts that no pool wants stands for a process there alone.
    Held,
    /// It accepts nothing any more that no pool wants.
    Retired,
}

impl World {
    /// Puts in what this node's own announcement says of its kernel.
    #[must_use]
    pub fn from_announcement(mut self) -> World {
        let said = self.peers.get(&self.node).and_then(|own| own.announcement.as_ref());
        let able = said.map(|said| said.able.clone()).unwrap_or_default();
        (self.ipip, self.uplink) = (able.ipip, able.uplink);
        self
    }

    /// How far this node is with what `pool` wants.
    pub fn progress(&self, pool: &str) -> Progress {
        let said = self.peers.get(&self.node).and_then(|own| own.announcement.as_ref());
        let (Some(said), Some(version)) = (said, self.versions.get(pool)) else { return Progress::Waiting };
        let stand = said.stand(version);
        let reached = |generation: i64| generation >= version.generation;
        match (reached(stand.ready), reached(stand.switched)) {
            (false, _) => Progress::Waiting,
            (true, false) => Progress::Ready,
            (true, true) if said.accepts.iter().all(|encap| self.wants(*encap)) => Progress::Retired,
            (true, true)
                if said.accepts.iter().all(|encap| self.wants(*encap) || said.held.contains(encap)) =>
            {
                Progress::Held
            }
            (true, true) => Progress::Switched,
        }
    }

    /// The world once every node has followed `pool` to `modes`: nobody needs to say anything any more, and tunnels have
    /// the addresses that they are given on the way.
    fn followed(&self, pool: &str, modes: Modes) -> World {
        let mut world = self.clone();
        if let Some(pool) = world.pools.get_mut(pool) {
            (pool.ipip_mode, pool.vxlan_mode) = (modes.ipip_mode, modes.vxlan_mode);
        }
        for peer in world.peers.values_mut() {
            peer.announcement = None;
            peer.vxlan_tunnel = peer.vxlan_tunnel.or(Some(peer.addr.addr()));
        }
        world
    }

    /// Takes routers that this node speaks BGP with at their word: that they carry packets to `dst`.
    fn trust_routers(&mut self, dst: Cidr) {
        let Ok(plan) = bgp::plan(self) else { return };
        let routers = plan.peers.into_iter().filter(|(_, peer)| peer.node.is_none() && !peer.is_pod);
        let learnt = routers.map(|(key, peer)| Learnt {
            named: false,
            next_hop: key.addr,
            peer: key.addr.to_string(),
            sort: peer.sort,
            node: None,
            pod: None,
            rank: 0,
        });
        self.learnt.insert(dst, learnt.collect());
    }
}

/// What `world.node` would do if `pool` changed to `modes`. A pool that is unknown changes nothing.
pub fn change(world: &World, pool: &str, modes: Modes) -> Change {
    let Some(dst) = world.pools.get(pool).map(|pool| pool.cidr) else {
        return Change { ways: Vec::new(), mtu: None, obstacles: Vec::new() };
    };
    let stopped = |obstacle| Change { ways: Vec::new(), mtu: None, obstacles: vec![obstacle] };
    match world.peers.get(&world.node).map(|own| &own.announcement) {
        None => return stopped(Obstacle::NoAddress),
        Some(None) => return stopped(Obstacle::Silent),
        Some(Some(_)) => {}
    }
    let mut now = world.clone();
    now.trust_routers(dst);
    let then = now.followed(pool, modes);
    let others = world.peers.keys().filter(|node| **node != world.node);
    let ways: Vec<Way> = others
        .map(|node| Way { node: node.clone(), now: path(&now, dst, node), then: path(&then, dst, node) })
        .collect();
    let lack = then.pools.get(pool).and_then(|spec| pool_lack(&then, pool, spec));
    let mut obstacles: Vec<Obstacle> = lack.into_iter().map(Obstacle::NoPath).collect();
    for way in &ways {
        if let Path::Unreachable(why) = &way.then
            && !obstacles.contains(&Obstacle::NoPath(why.clone()))
        {
            obstacles.push(Obstacle::NoPath(why.clone()));
        }
    }
    Change { ways, mtu: Some((mtu::pod(&now), mtu::pod(&then))), obstacles }
}

impl fmt::Display for Modes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.ipip_mode, self.vxlan_mode) {
            (EncapMode::Never, EncapMode::Never) => f.write_str("direct"),
            (ipip, EncapMode::Never) => write!(f, "IPIP {ipip:?}"),
            (EncapMode::Never, vxlan) => write!(f, "VXLAN {vxlan:?}"),
            (ipip, vxlan) => write!(f, "IPIP {ipip:?} and VXLAN {vxlan:?}"),
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Progress::Waiting => "waiting",
            Progress::Ready => "ready",
            Progress::Switched => "switched",
            Progress::Held => "switched; a process there uses the address of the old tunnel",
            Progress::Retired => "retired",
        })
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::NoAddress => f.write_str("it has not published its address: start its agent"),
            Obstacle::Silent => f.write_str(
                "it does not say how far it is with modes: Calico's agent runs there, or none did; start `tortie node` on it, or delete the Node",
            ),
            Obstacle::NoPath(why) => why.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::article;
    use crate::{Able, Announcement, Encap, IpipDriver, PoolVersion, Stand};
    use EncapMode::{Always, CrossSubnet, Never};
    use std::collections::BTreeMap;

    fn modes(ipip_mode: EncapMode, vxlan_mode: EncapMode) -> Modes {
        Modes { ipip_mode, vxlan_mode }
    }

    /// The article's cluster, in VXLAN mode, as the API shows it from a node's place.
    fn seen(ipip: Option<IpipDriver>) -> World {
        let mut world = article("master1");
        let (uplink, pool) = (world.uplink.take(), world.pools.keys().next().expect("a pool").clone());
        world.versions = [(pool, PoolVersion { uid: "u".into(), generation: 2 })].into();
        for peer in world.peers.values_mut() {
            let able = Able { ipip, uplink: uplink.clone() };
            let accepts = [Encap::Direct, Encap::Vxlan].into();
            let pools = BTreeMap::from([("u".to_owned(), Stand { ready: 2, switched: 2 })]);
            let sends = [Encap::Vxlan].into();
            peer.announcement = Some(Announcement { pools, accepts, sends, able, ..Announcement::default() });
        }
        world.from_announcement()
    }

    fn pool(world: &World) -> String {
        world.pools.keys().next().expect("a pool").clone()
    }

    fn shown(change: &Change) -> Vec<String> {
        change.ways.iter().map(|way| format!("{}: {} -> {}", way.node, way.now, way.then)).collect()
    }

    #[test]
    fn a_change_says_each_path_and_the_mtu_before_and_after() {
        let world = seen(Some(IpipDriver::Kernel));
        let change = change(&world, &pool(&world), modes(CrossSubnet, Never));
        assert_eq!(
            shown(&change),
            [
                "master2: vxlan via 192.168.50.162 -> direct via 192.168.50.162",
                "master3: vxlan via 192.168.50.163 -> direct via 192.168.50.163",
                "master4: vxlan via 192.168.60.164 -> ipip via 192.168.60.164",
            ]
        );
        assert_eq!(change.mtu, Some((Mtu(1450), Mtu(1480))));
        assert_eq!(change.obstacles, []);
    }

    #[test]
    fn what_a_node_cannot_do_is_known_beforehand() {
        let world = seen(None);
        let obstacles = change(&world, &pool(&world), modes(Always, Never)).obstacles;
        assert_eq!(obstacles, [Obstacle::NoPath(Why::NoIpipDriver { pool: pool(&world) })]);
        let mut alone = world.clone();
        alone.peers.retain(|node, _| node != "master4");
        let obstacles = change(&alone, &pool(&world), modes(CrossSubnet, Never)).obstacles;
        assert_eq!(obstacles, [Obstacle::NoPath(Why::NoIpipDriver { pool: pool(&world) })]);
        let obstacles = change(&world, &pool(&world), modes(Never, Never)).obstacles;
        assert!(
            matches!(&obstacles[..], [Obstacle::NoPath(Why::AcrossRouter { node, .. })] if node == "master4")
        );
    }

    #[test]
    fn a_tunnel_that_has_no_address_yet_gets_one_on_the_way() {
        let mut world = seen(None);
        let name = pool(&world);
        world.pools.get_mut(&name).expect("the pool").vxlan_mode = Never;
        world.peers.values_mut().for_each(|peer| peer.vxlan_tunnel = None);
        assert_eq!(change(&world, &name, modes(Never, Always)).obstacles, []);
    }

    #[test]
    fn who_says_nothing_of_modes_is_in_the_way() {
        let mut world = seen(None);
        world.peers.get_mut("master1").expect("master1").announcement = None;
        let name = pool(&world);
        assert_eq!(change(&world, &name, modes(Never, CrossSubnet)).obstacles, [Obstacle::Silent]);
        world.peers.remove("master1");
        assert_eq!(change(&world, &name, modes(Never, CrossSubnet)).obstacles, [Obstacle::NoAddress]);
    }

    #[test]
    fn a_node_is_ready_then_switched_then_retired() {
        let mut world = seen(None);
        let name = pool(&world);
        world.pools.get_mut(&name).expect("the pool").vxlan_mode = Never;
        let (direct, both) = (&[Encap::Direct][..], &[Encap::Direct, Encap::Vxlan][..]);
        for (ready, switched, accepts, held, progress) in [
            (1, 1, both, &[][..], Progress::Waiting),
            (2, 1, both, &[], Progress::Ready),
            (2, 2, both, &[], Progress::Switched),
            (2, 2, both, &[Encap::Vxlan], Progress::Held),
            (2, 2, direct, &[], Progress::Retired),
        ] {
            let own = world.peers.get_mut("master1").expect("master1");
            let said = own.announcement.as_mut().expect("it speaks");
            said.pools = [("u".to_owned(), Stand { ready, switched })].into();
            said.accepts = accepts.iter().copied().collect();
            said.held = held.iter().copied().collect();
            assert_eq!(world.progress(&name), progress);
        }
    }
}
