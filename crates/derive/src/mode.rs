//! The change of a pool's mode without a lost packet: three rules, and what nodes announce for them.
//!
//! ```text
//!   accept   what the pool wants now is accepted here ──► announce ready
//!   send     who is ready gives it to a peer that is ready and accepts it; when nothing goes otherwise ──► announce switched
//!   retire   what no pool wants is accepted until every peer has switched and sends nothing by it, and no process here uses
//!            its tunnel's own address
//! ```
//!
//! Where nothing is sent yet, nothing begins to a peer that is not ready by what this node has said that it does not send: the
//! peer may be about to stop accepting it.
//!
//! Announcements are bound to the pool's uid and generation: what a peer said of an older wish counts for nothing. No timer
//! decides anything: a node that is cut off goes on sending the old way, and is heard until its Node is gone.
//!
//! What is sent and carried now is a fact of the kernel (`World::sent`, `World::carried`), never remembered.

use crate::{IPIP_DEVICE, IpipDriver, Peer, Uplink, VXLAN_DEVICE, World};
use model::v3::{EncapMode, IpPoolSpec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How packets travel between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encap {
    Direct,
    Ipip,
    Vxlan,
}

impl fmt::Display for Encap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Encap::Direct => "direct",
            Encap::Ipip => "ipip",
            Encap::Vxlan => "vxlan",
        })
    }
}

/// Which wish of a pool is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolVersion {
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
}

/// What a node says of itself in its Node. An empty one: it is ready for nothing and may send anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Announcement {
    /// By the pool's uid.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pools: BTreeMap<String, Stand>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub accepts: BTreeSet<Encap>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub sends: BTreeSet<Encap>,
    /// What it accepts only for a process there that uses the tunnel's own address.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub held: BTreeSet<Encap>,
    pub able: Able,
}

/// What of a node's kernel decides which modes it can have: for who asks before a change ([`crate::change`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Able {
    /// Who carries IP in IP there. `None`: nobody can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipip: Option<IpipDriver>,
    /// The interface towards the other nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink: Option<Uplink>,
}

/// How far a node is with a pool: generations, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stand {
    /// It accepts what this generation wants.
    pub ready: i64,
    /// All that it sends is what this generation wants.
    pub switched: i64,
}

impl Encap {
    /// The tunnel's device, by Calico's name. `None`: it needs none.
    pub fn device(self) -> Option<&'static str> {
        match self {
            Encap::Direct => None,
            Encap::Ipip => Some(IPIP_DEVICE),
            Encap::Vxlan => Some(VXLAN_DEVICE),
        }
    }
}

impl Announcement {
    pub(crate) fn stand(&self, version: &PoolVersion) -> Stand {
        self.pools.get(&version.uid).copied().unwrap_or_default()
    }
}

/// What a pool wants towards a peer.
pub(crate) fn wanted(pool: &IpPoolSpec, same_subnet: bool) -> Encap {
    let encapsulated = |mode| mode == EncapMode::Always || mode == EncapMode::CrossSubnet && !same_subnet;
    if encapsulated(pool.ipip_mode) {
        Encap::Ipip
    } else if encapsulated(pool.vxlan_mode) {
        Encap::Vxlan
    } else {
        Encap::Direct
    }
}

impl World {
    /// Whether some pool wants it, at least to some nodes.
    pub fn wants(&self, encap: Encap) -> bool {
        self.pools.values().any(|pool| match encap {
            Encap::Ipip => pool.ipip() != EncapMode::Never,
            Encap::Vxlan => pool.vxlan_mode != EncapMode::Never,
            Encap::Direct => true,
        })
    }

    /// Whether packets that come by it are to be accepted: a pool wants it, or what stands here may not go yet (rule
    /// *retire*). What sends by it needs its device, also where nothing can come by it.
    pub fn accepts(&self, encap: Encap) -> bool {
        self.needs(encap) || self.holds_back(encap) && !self.idle.contains(&encap)
    }

    /// Whether nodes need it: a pool wants it, or packets still go by it or may come by it.
    fn needs(&self, encap: Encap) -> bool {
        self.wants(encap)
            || self.sent.goes_by(encap)
            || self.admits(encap) && self.others().any(|peer| self.may_send(peer, encap))
    }

    /// Whether its tunnel stands though no node needs it: only a process of this node could, by the tunnel's own address.
    pub fn holds_back(&self, encap: Encap) -> bool {
        self.carried.contains(&encap) && !self.needs(encap)
    }

    /// Whether packets that come by it are let in now.
    fn admits(&self, encap: Encap) -> bool {
        self.carried.contains(&encap) || encap == Encap::Ipip && self.admits_ipip
    }

    fn others(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|(name, _)| **name != self.node).map(|(_, peer)| peer)
    }

    /// Whether packets of a peer may still come by something that no pool wants.
    fn may_send(&self, peer: &Peer, encap: Encap) -> bool {
        // Who never announced is Calico's, and does what the datastore says.
        peer.announcement.as_ref().is_some_and(|said| {
            said.sends.contains(&encap)
                || self.versions.values().any(|version| said.stand(version).switched < version.generation)
        })
    }

    /// What to send by: what the pool wants if the peer and this node are ready for it, else what is sent now (rule *send*).
    /// `None`: nothing may begin yet.
    pub(crate) fn sends(&self, pool: &str, peer: &Peer, wanted: Encap, now: Option<Encap>) -> Option<Encap> {
        let Some(said) = &peer.announcement else { return Some(wanted) };
        let version = self.versions.get(pool);
        let is_ready = version.is_some_and(|version| said.stand(version).ready >= version.generation);
        // Who is not ready for it itself leaves nothing for it: its own pods may still send packets that are too large.
        let may_leave = now.is_none_or(|now| now == wanted) || self.has_said_ready(version);
        if is_ready && may_leave && said.accepts.contains(&wanted) {
            return Some(wanted);
        }
        now.or_else(|| self.begins(version, said, wanted))
    }

    /// What to send by to a peer that is not ready, where nothing is sent yet: what the pool wants, if it accepts that still or
    /// already, else a tunnel that stands here and that it accepts, else what it will accept.
    fn begins(&self, version: Option<&PoolVersion>, said: &Announcement, wanted: Encap) -> Option<Encap> {
        let standing = said.accepts.intersection(&self.carried).copied();
        let accepted = [wanted].into_iter().filter(|encap| said.accepts.contains(encap)).chain(standing);
        accepted.chain([wanted]).find(|encap| self.may_begin(version, *encap))
    }

    /// Whether a peer goes on accepting `encap` until it hears that this node does not send by it: not if this node has said
    /// so before, which the peer may be about to follow (rule *retire*).
    fn may_begin(&self, version: Option<&PoolVersion>, encap: Encap) -> bool {
        let denies = |said: &Announcement| {
            version.is_some_and(|version| said.stand(version).switched > 0) && !said.sends.contains(&encap)
        };
        encap == Encap::Direct || !self.said().any(denies)
    }

    /// Whether this node has said of itself that it is ready for what the pool wants now.
    fn has_said_ready(&self, version: Option<&PoolVersion>) -> bool {
        version.is_some_and(|version| self.said().any(|said| said.stand(version).ready >= version.generation))
    }

    /// What this node has said of itself last, as far as it is known: the API server may have it or not yet.
    fn said(&self) -> impl Iterator<Item = &Announcement> {
        let learnt = self.peers.get(&self.node).and_then(|own| own.announcement.as_ref());
        [self.announced.as_ref(), learnt].into_iter().flatten()
    }

    /// What this node says of itself: `before` is what it said last, `accepts_all` whether the kernel holds all that
    /// accepting needs, `sends_all` whether every route is as derived.
    pub fn announce(&self, before: &Announcement, accepts_all: bool, sends_all: bool) -> Announcement {
        let mut pools = BTreeMap::new();
        for (name, version) in &self.versions {
            let Some(pool) = self.pools.get(name) else { continue };
            let mut stand = before.stand(version);
            if accepts_all && self.carries_all(pool) {
                stand.ready = version.generation;
            }
            // It never takes that back, and looking costs a walk over all that is sent.
            if sends_all && stand.switched < version.generation && self.has_switched(name) {
                stand.switched = version.generation;
            }
            pools.insert(version.uid.clone(), stand);
        }
        let accepts = self.carried.iter().copied().chain([Encap::Direct]).collect();
        let held = self.carried.iter().copied().filter(|encap| self.holds_back(*encap)).collect();
        let able = Able { ipip: self.ipip, uplink: self.uplink.clone() };
        // What somebody removed is about to come back: only when all is as derived a node says that it sends no more by it.
        let mut sends = self.sent.encaps();
        if !sends_all {
            sends.extend(&before.sends);
        }
        Announcement { pools, accepts, sends, held, able }
    }

    /// Whether every encapsulation that the pool wants is carried here.
    fn carries_all(&self, pool: &IpPoolSpec) -> bool {
        [wanted(pool, true), wanted(pool, false)]
            .iter()
            .all(|encap| *encap == Encap::Direct || self.carried.contains(encap))
    }

    /// Whether nothing inside a pool is sent otherwise than it wants.
    fn has_switched(&self, pool: &str) -> bool {
        let net = self.pools.get(pool).map(|pool| pool.cidr);
        let within = net.into_iter().flat_map(|net| self.sent.within(net));
        let inside = within.filter(|(dst, _)| self.pool_of(*dst).is_some_and(|(name, _)| name == pool));
        inside.into_iter().all(|(dst, sent)| {
            let holder = self.blocks.get(&dst).or_else(|| self.borrowed.get(&dst.addr()));
            let wish = holder.and_then(|holder| self.wish(dst, holder));
            wish.is_none_or(|wish| wish == sent)
        })
    }

    /// What the pool wants for `dst`, which `owner` holds.
    fn wish(&self, dst: model::Cidr, owner: &str) -> Option<Encap> {
        let (own, peer) = (self.peers.get(&self.node)?, self.peers.get(owner)?);
        let same_subnet = own.addr.subnet().contains(peer.addr.addr());
        Some(wanted(self.pool_of(dst)?.1, same_subnet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{article, pool_mode};
    use crate::{Path, Sent, path};

    /// The article's cluster in VXLAN mode, whose pool wants something else since generation 2.
    fn changing(mode: EncapMode) -> World {
        let mut world = pool_mode(article("master1"), mode);
        let pool = world.pools.keys().next().expect("a pool").clone();
        world.versions = [(pool, PoolVersion { uid: "u".into(), generation: 2 })].into();
        world.carried = [Encap::Vxlan].into();
        world.idle = [Encap::Vxlan].into();
        world.sent = world.blocks.keys().map(|block| (*block, Encap::Vxlan)).collect();
        world
    }

    fn says(world: &mut World, node: &str, ready: i64, switched: i64, accepts: &[Encap], sends: &[Encap]) {
        let pools = [("u".to_owned(), Stand { ready, switched })].into();
        let (accepts, sends) = (accepts.iter().copied().collect(), sends.iter().copied().collect());
        let said = Announcement { pools, accepts, sends, ..Announcement::default() };
        world.peers.get_mut(node).expect("a node").announcement = Some(said);
    }

    fn to_master2(world: &World) -> Path {
        path(world, "6.2.180.0/26".parse().expect("a CIDR"), "master2")
    }

    #[test]
    fn what_somebody_removed_and_is_about_to_come_back_is_not_taken_back() {
        let mut world = changing(EncapMode::Never);
        let before = Announcement { sends: [Encap::Vxlan].into(), ..Announcement::default() };
        world.sent = Sent::default();
        assert_eq!(world.announce(&before, true, false).sends, before.sends);
        assert!(world.announce(&before, true, true).sends.is_empty());
    }

    #[test]
    fn what_sends_by_a_tunnel_keeps_its_device_though_the_tunnel_has_no_address() {
        let mut world = changing(EncapMode::Never);
        world.carried.clear();
        assert!(world.accepts(Encap::Vxlan));
        world.sent = Sent::default();
        assert!(!world.accepts(Encap::Vxlan));
    }

    #[test]
    fn a_peer_gets_the_new_mode_when_both_are_ready_for_this_generation_and_it_accepts_it() {
        use Encap::{Direct, Vxlan};
        for (own, ready, accepts, moves) in [
            (2, 1, &[Direct, Vxlan][..], false),
            (2, 2, &[Vxlan][..], false),
            (2, 2, &[Direct, Vxlan][..], true),
            (2, 3, &[Direct, Vxlan][..], true),
            (1, 2, &[Direct, Vxlan][..], false),
        ] {
            let mut world = changing(EncapMode::Never);
            says(&mut world, "master1", own, 1, &[Direct, Vxlan], &[Vxlan]);
            says(&mut world, "master2", ready, 1, accepts, &[Vxlan]);
            let is_direct = matches!(to_master2(&world), Path::Direct { .. });
            assert_eq!(is_direct, moves, "ready {own} and {ready}, accepts {accepts:?}");
        }
    }

    #[test]
    fn nothing_begins_by_what_this_node_has_said_it_does_not_send_until_the_peer_is_ready() {
        use Encap::{Direct, Vxlan};
        for (switched, sends, ready, begins) in [
            (0, &[][..], 1, true),
            (1, &[Vxlan][..], 1, true),
            (1, &[Direct][..], 1, false),
            (1, &[Direct][..], 2, true),
        ] {
            let mut world = changing(EncapMode::Always);
            world.sent = Sent::default();
            says(&mut world, "master1", 1, switched, &[Direct, Vxlan], sends);
            says(&mut world, "master2", ready, 1, &[Direct, Vxlan], &[Direct]);
            let expected =
                if begins { "vxlan via 192.168.50.162" } else { "unreachable: node master2 has not said" };
            let path = to_master2(&world).to_string();
            assert!(
                path.starts_with(expected),
                "switched {switched}, sends {sends:?}, ready {ready}: {path}"
            );
        }
    }

    #[test]
    fn what_a_peer_may_still_send_is_accepted_until_it_says_otherwise_of_this_generation() {
        use Encap::{Direct, Vxlan};
        for (switched, sends, accepted) in
            [(1, &[Direct][..], true), (2, &[Direct, Vxlan][..], true), (2, &[Direct][..], false)]
        {
            let mut world = changing(EncapMode::Never);
            world.sent = Sent::default();
            for node in ["master2", "master3", "master4"] {
                says(&mut world, node, 2, 2, &[Direct], &[Direct]);
            }
            says(&mut world, "master3", 2, switched, &[Direct, Vxlan], sends);
            assert_eq!(world.accepts(Vxlan), accepted, "switched {switched}, sends {sends:?}");
        }
    }

    #[test]
    fn a_tunnel_whose_address_a_process_here_uses_stays_until_it_was_seen_that_none_does() {
        let mut world = changing(EncapMode::Never);
        world.sent = Sent::default();
        for node in ["master2", "master3", "master4"] {
            says(&mut world, node, 2, 2, &[Encap::Direct], &[Encap::Direct]);
        }
        let held = |world: &World| world.announce(&Announcement::default(), true, true).held;
        assert!(!world.accepts(Encap::Vxlan));
        world.idle.clear();
        assert!(world.accepts(Encap::Vxlan));
        assert_eq!(held(&world), [Encap::Vxlan].into());
        says(&mut world, "master2", 2, 2, &[Encap::Direct], &[Encap::Vxlan]);
        assert_eq!(held(&world), [].into(), "another node needs it, too");
    }

    #[test]
    fn what_we_send_by_ourselves_is_accepted_too() {
        let mut world = changing(EncapMode::Never);
        for node in ["master2", "master3", "master4"] {
            says(&mut world, node, 2, 2, &[Encap::Direct], &[Encap::Direct]);
        }
        assert!(world.accepts(Encap::Vxlan));
    }

    #[test]
    fn a_node_of_calicos_gets_what_the_datastore_says() {
        let world = changing(EncapMode::Never);
        assert!(matches!(to_master2(&world), Path::Direct { .. }));
        let mut world = world;
        world.sent = Sent::default();
        assert!(!world.accepts(Encap::Vxlan));
    }

    #[test]
    fn a_mode_that_cannot_be_takes_no_working_path_down() {
        let mut world = changing(EncapMode::Always);
        let pool = world.pools.values_mut().next().expect("a pool");
        (pool.ipip_mode, pool.vxlan_mode) = (EncapMode::Always, EncapMode::Never);
        world.ipip = None;
        assert!(matches!(to_master2(&world), Path::Vxlan(_)));
        world.sent = Sent::default();
        assert!(matches!(to_master2(&world), Path::Unreachable(_)));
    }

    #[test]
    fn ready_and_switched_are_said_of_the_generation_that_is_known() {
        let mut world = changing(EncapMode::Never);
        let before = Announcement::default();
        let said = world.announce(&before, true, true);
        assert_eq!(said.pools["u"], Stand { ready: 2, switched: 0 }, "it still sends by VXLAN");
        world.sent = world.blocks.keys().map(|block| (*block, Encap::Direct)).collect();
        assert_eq!(world.announce(&said, false, true).pools["u"], Stand { ready: 2, switched: 2 });
        let later = PoolVersion { uid: "u".into(), generation: 3 };
        *world.versions.values_mut().next().expect("a pool") = later;
        assert_eq!(world.announce(&said, false, false).pools["u"], Stand { ready: 2, switched: 0 });
    }
}
