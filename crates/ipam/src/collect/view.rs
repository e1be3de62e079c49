//! What the watches have said of the cluster, and who uses which address by that.

use super::job::{Leak, Owner};
use crate::check::Objects;
use crate::{Wall, block, cooldown};
use model::k8s::Pod;
use model::store::{Event, Key, Kind, Object};
use model::v3::{AllocationAttribute, BlockAffinity, IpPool, IpamBlock, IpamConfigurationSpec, IpamHandle};
use model::{Cidr, Duration, names};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The kinds without which nothing can be judged.
pub const WATCHED: [Kind; 7] = [
    Kind::BlockAffinity,
    Kind::IpPool,
    Kind::IpamBlock,
    Kind::IpamConfiguration,
    Kind::IpamHandle,
    Kind::Node,
    Kind::Pod,
];

/// A pool and a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Empty for blocks of no pool.
    pub pool: String,
    /// Empty for blocks of no node.
    pub node: String,
}

/// How much a node has of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub blocks: usize,
    /// Addresses of the node's blocks that somebody has.
    pub in_use: usize,
    /// Of these, those that another node has.
    pub borrowed: usize,
}

#[derive(Debug, Default)]
pub(super) struct View {
    pools: BTreeMap<String, IpPool>,
    blocks: BTreeMap<Cidr, IpamBlock>,
    affinities: BTreeMap<String, BlockAffinity>,
    handles: BTreeMap<String, IpamHandle>,
    nodes: BTreeSet<String>,
    pods: BTreeMap<Key, Pod>,
    configuration: IpamConfigurationSpec,
    listed: BTreeSet<Kind>,
    wall: Option<Wall>,
}

impl View {
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Listed(kind, objects) => {
                self.listed.insert(*kind);
                self.forget_kind(*kind);
                objects.iter().for_each(|object| self.put(object));
            }
            Event::Put(object) => self.put(object),
            Event::Gone(key) => self.forget(key),
            Event::Failed { .. } => {}
        }
    }

    fn put(&mut self, object: &Object) {
        let name = object.metadata().name.clone();
        match object {
            Object::IpPool(o) => _ = self.pools.insert(name, o.clone()),
            Object::IpamBlock(o) => _ = self.blocks.insert(o.spec.cidr, o.clone()),
            Object::BlockAffinity(o) => _ = self.affinities.insert(name, o.clone()),
            Object::IpamHandle(o) => _ = self.handles.insert(name, o.clone()),
            Object::Node(_) => _ = self.nodes.insert(name),
            Object::Pod(o) => _ = self.pods.insert(object.key(), o.clone()),
            Object::IpamConfiguration(o) if name == "default" => self.configuration = o.spec.clone(),
            _ => {}
        }
    }

    fn forget(&mut self, key: &Key) {
        match key.kind {
            Kind::IpPool => _ = self.pools.remove(&key.name),
            Kind::IpamBlock => _ = names::block_cidr(&key.name).map(|cidr| self.blocks.remove(&cidr)),
            Kind::BlockAffinity => _ = self.affinities.remove(&key.name),
            Kind::IpamHandle => _ = self.handles.remove(&key.name),
            Kind::Node => _ = self.nodes.remove(&key.name),
            Kind::Pod => _ = self.pods.remove(key),
            Kind::IpamConfiguration if key.name == "default" => self.configuration = Default::default(),
            _ => {}
        }
    }

    fn forget_kind(&mut self, kind: Kind) {
        match kind {
            Kind::IpPool => self.pools.clear(),
            Kind::IpamBlock => self.blocks.clear(),
            Kind::BlockAffinity => self.affinities.clear(),
            Kind::IpamHandle => self.handles.clear(),
            Kind::Node => self.nodes.clear(),
            Kind::Pod => self.pods.clear(),
            Kind::IpamConfiguration => self.configuration = Default::default(),
            _ => {}
        }
    }

    /// Whether all that is needed has been listed. A cluster without nodes is one whose nodes are not known.
    pub fn is_whole(&self) -> bool {
        WATCHED.iter().all(|kind| self.listed.contains(kind)) && !self.nodes.is_empty()
    }

    /// Lets time pass: what has cooled down is free.
    pub fn advance(&mut self, wall: Wall) {
        let span = self.cooldown();
        self.blocks.values_mut().for_each(|b| _ = cooldown::thaw(&mut b.spec, &wall, span));
        self.wall = Some(wall);
    }

    /// A block as it was read, without what has cooled down.
    pub fn thawed(&self, b: &IpamBlock) -> IpamBlock {
        let mut b = b.clone();
        if let Some(wall) = &self.wall {
            cooldown::thaw(&mut b.spec, wall, self.cooldown());
        }
        b
    }

    /// From when an address that is released now has to cool down.
    pub fn cool_from(&self) -> Option<&Wall> {
        self.wall.as_ref().filter(|_| self.cooldown() > Duration::from_secs(0))
    }

    fn cooldown(&self) -> Duration {
        Duration::from_secs(self.configuration.ip_cooldown_seconds.unwrap_or(0).into())
    }

    /// All that is compared.
    pub fn objects(&self) -> Objects {
        Objects {
            pools: self.pools.values().cloned().collect(),
            blocks: self.blocks.values().filter(|b| !b.spec.deleted).cloned().collect(),
            affinities: self.affinities.values().filter(|a| !a.spec.deleted).cloned().collect(),
            handles: self.handles.values().filter(|h| !h.spec.deleted).cloned().collect(),
            nodes: self.nodes.clone(),
            in_use: self.in_use(),
        }
    }

    fn in_use(&self) -> Vec<(IpAddr, String)> {
        let mut users: Vec<(IpAddr, String)> = Vec::new();
        for (key, pod) in &self.pods {
            if let Some(endpoint) = pod.endpoint().filter(|endpoint| self.has_node(&endpoint.spec.node)) {
                let user = format!("{}/{}", key.namespace.as_deref().unwrap_or_default(), key.name);
                users.extend(endpoint.spec.ip_networks.iter().map(|network| (network.addr(), user.clone())));
            }
        }
        let shown: BTreeSet<IpAddr> = users.iter().map(|(addr, _)| *addr).collect();
        for b in self.blocks.values() {
            for (n, by) in block::allocated(&b.spec) {
                let addr = block::addr(&b.spec, n);
                if !shown.contains(&addr) && self.is_used(addr, by) {
                    users.push((addr, by.handle_id.clone().unwrap_or_default()));
                }
            }
        }
        users
    }

    /// Whether an address has an owner that is there: what is neither a pod's nor a tunnel's is not ours to judge.
    fn is_used(&self, addr: IpAddr, by: &AllocationAttribute) -> bool {
        match Owner::of(by) {
            None => true,
            Some(owner) if !self.has_node(owner.node()) => false,
            Some(owner) => match owner.pod() {
                None => true,
                Some(key) => self.pods.get(&key).is_some_and(|pod| owner.is_used_by(pod, addr)),
            },
        }
    }

    pub fn has_node(&self, node: &str) -> bool {
        self.nodes.contains(node)
    }

    pub fn handle(&self, id: &str) -> Option<&IpamHandle> {
        self.handles.get(&names::handle(id))
    }

    fn holder(&self, addr: IpAddr) -> Option<(&IpamBlock, &AllocationAttribute)> {
        let (_, b) = self.blocks.range(..=Cidr::host(addr)).next_back()?;
        Some((b, block::holder(&b.spec, block::ordinal(&b.spec, addr)?)?))
    }

    /// The node that has an address.
    pub fn node_of(&self, addr: IpAddr) -> Option<&str> {
        self.holder(addr)?.1.secondary.get("node").map(String::as_str)
    }

    /// The handle that has an address.
    pub fn owner_of(&self, addr: IpAddr) -> Option<String> {
        self.holder(addr)?.1.handle_id.clone()
    }

    /// An address whose owner is gone, and its block.
    pub fn leak(&self, addr: IpAddr) -> Option<(Cidr, Leak)> {
        let (b, by) = self.holder(addr)?;
        let owner = Owner::of(by)?;
        let is_of_gone_node = !self.has_node(owner.node());
        Some((b.spec.cidr, Leak { addr, handle: by.handle_id.clone()?, owner, is_of_gone_node }))
    }

    /// The addresses that a handle has in all blocks that it names.
    pub fn addresses_of<'a>(&'a self, handle: &'a str) -> impl Iterator<Item = IpAddr> + 'a {
        let named = self.handle(handle).into_iter().flat_map(crate::handle::blocks);
        let blocks = named.filter_map(|cidr| self.blocks.get(&cidr));
        blocks.flat_map(move |b| block::held(&b.spec, handle).map(|(addr, _)| addr))
    }

    /// Whether a node has addresses in a block, or somebody of whom that is not known.
    pub fn holds_in(&self, node: &str, block: Cidr) -> bool {
        self.blocks.get(&block).is_some_and(|b| holds(b, node))
    }

    /// Empty blocks of nodes that have others, where nodes claim blocks by themselves.
    pub fn spare_blocks(&self) -> impl Iterator<Item = (Cidr, String)> {
        let mut of_node: BTreeMap<&str, Vec<&IpamBlock>> = BTreeMap::new();
        let automatic = self.blocks.values().filter(|_| self.configuration.auto_allocate_blocks);
        for b in automatic.filter(|b| !b.spec.deleted) {
            if let Some(node) = block::owner(&b.spec).filter(|node| self.has_node(node)) {
                of_node.entry(node).or_default().push(b);
            }
        }
        of_node.into_iter().flat_map(|(node, blocks)| {
            let used = blocks.iter().any(|b| !block::is_empty(&b.spec));
            // One stays, for the next pod.
            let empty = blocks.into_iter().filter(|b| block::is_empty(&b.spec)).skip(usize::from(!used));
            empty.map(|b| (b.spec.cidr, node.to_owned())).collect::<Vec<_>>()
        })
    }

    pub fn tallies(&self) -> BTreeMap<Place, Tally> {
        let mut tallies: BTreeMap<Place, Tally> = BTreeMap::new();
        for b in self.blocks.values() {
            let pool = self.pools.iter().find(|(_, pool)| pool.spec.cidr.covers(b.spec.cidr));
            let place = Place {
                pool: pool.map_or_else(String::new, |(name, _)| name.clone()),
                node: block::owner(&b.spec).unwrap_or_default().to_owned(),
            };
            let tally = tallies.entry(place).or_default();
            tally.blocks += 1;
            tally.in_use += block::allocated(&b.spec).count();
            tally.borrowed += block::borrowed(&b.spec).count();
        }
        tallies
    }
}

/// Whether a node has addresses in a block, or somebody who does not say of which node it is.
pub(super) fn holds(b: &IpamBlock, node: &str) -> bool {
    block::allocated(&b.spec).any(|(_, by)| by.secondary.get("node").is_none_or(|of| of == node))
}
