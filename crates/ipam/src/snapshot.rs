//! What a node knows of the cluster's addresses: fed by watches and by replies, read by the decisions.
//!
//! Of the blocks of other nodes it keeps only how full they are: ten thousand of them are a megabyte. It may lag behind the
//! API; a decision from an old state fails its compare-and-swap, and the state is read anew.

use crate::{Wall, block, cooldown};
use model::selector::Selector;
use model::store::{Event, Key, Kind, Object};
use model::v3::{AffinityState, AllowedUse, BlockAffinity, IpPoolSpec, IpamBlock, IpamConfigurationSpec};
use model::{Cidr, Duration, Metadata, names};
use std::collections::{BTreeMap, BTreeSet};

/// How old a claim must be before another node may take the empty block over: its owner may be about to use it (Calico's
/// minute).
const CLAIM_PROTECTION: Duration = Duration::from_secs(60);

/// The kinds that must have listed before anything is written.
pub const WATCHED: [Kind; 6] = [
    Kind::Node,
    Kind::IpPool,
    Kind::IpamBlock,
    Kind::BlockAffinity,
    Kind::IpamConfiguration,
    Kind::IpReservation,
];

/// The cluster's addresses as one node knows them.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// This node's name.
    pub node: String,
    /// This node's labels, for the pools' node selectors.
    pub labels: BTreeMap<String, String>,
    /// By name: the order in which they are tried.
    pub pools: BTreeMap<String, IpPoolSpec>,
    /// The singleton `default`.
    pub configuration: IpamConfigurationSpec,
    /// CIDRs that are never given automatically, by reservation.
    pub reservations: BTreeMap<String, Vec<Cidr>>,
    /// The namespaces, for the pools' namespace selectors. One that is not known has no labels.
    pub namespaces: BTreeMap<String, Metadata>,
    /// Blocks of this node, and those of others that are being worked on.
    pub blocks: BTreeMap<Cidr, IpamBlock>,
    /// The other blocks.
    pub others: BTreeMap<Cidr, Fullness>,
    /// This node's claims.
    pub affinities: BTreeMap<Cidr, BlockAffinity>,
    listed: BTreeSet<Kind>,
    /// The wall clock's time, as far as anybody said it.
    wall: Option<Wall>,
}

/// How full a block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fullness {
    /// Addresses that nobody has: some may be reserved, or cool down.
    pub free: usize,
    /// Addresses that somebody has.
    pub used: usize,
    /// The node to which the block has affinity.
    pub owner: Option<String>,
    /// Nobody has an address, none cools down, and it is a node's or nobody's: Calico knows other owners.
    pub unused: bool,
    /// When it was claimed (RFC 3339).
    pub claimed: Option<String>,
}

impl Fullness {
    fn of(b: &IpamBlock) -> Fullness {
        let used = block::allocated(&b.spec).count();
        Fullness {
            free: b.spec.allocations.len() - used,
            used,
            owner: block::owner(&b.spec).map(str::to_owned),
            unused: block::is_empty(&b.spec)
                && (b.spec.affinity.is_none() || block::owner(&b.spec).is_some()),
            claimed: b.spec.affinity_claim_time.clone(),
        }
    }
}

impl Snapshot {
    /// Nothing is known yet.
    pub fn new(node: &str) -> Snapshot {
        Snapshot { node: node.to_owned(), ..Snapshot::default() }
    }

    /// The kinds that have not listed yet. While there are some, nothing may be written.
    pub fn missing(&self) -> impl Iterator<Item = Kind> {
        WATCHED.into_iter().filter(|kind| !self.listed.contains(kind))
    }

    /// Takes in what a watch says.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Listed(kind, objects) => {
                self.listed.insert(*kind);
                self.forget_all_but(*kind, objects);
                objects.iter().for_each(|object| self.put(object, false));
            }
            Event::Put(object) => self.put(object, false),
            Event::Gone(key) => self.forget(key),
            Event::Failed { .. } => {}
        }
    }

    /// Takes in an object that the API answered with: a block is kept whole, whoever's it is.
    pub fn learn(&mut self, object: &Object) {
        self.put(object, true);
    }

    fn put(&mut self, object: &Object, whole: bool) {
        match object {
            Object::Node(node) if node.metadata.name == self.node => {
                self.labels = node.metadata.labels.clone()
            }
            Object::IpPool(pool) => _ = self.pools.insert(pool.metadata.name.clone(), pool.spec.clone()),
            Object::Namespace(namespace) => {
                let meta = &namespace.metadata;
                if self.namespaces.get(&meta.name).is_none_or(|old| meta.may_follow(old)) {
                    self.namespaces.insert(meta.name.clone(), meta.clone());
                }
            }
            Object::IpamConfiguration(c) if c.metadata.name == "default" => {
                self.configuration = c.spec.clone()
            }
            Object::IpReservation(reservation) => {
                let cidrs = reservation.spec.reserved_cidrs.clone();
                self.reservations.insert(reservation.metadata.name.clone(), cidrs);
            }
            Object::IpamBlock(b) => self.put_block(b, whole),
            // Under another name than its own nothing could be written to it.
            Object::BlockAffinity(BlockAffinity { metadata, spec })
                if metadata.name != names::affinity(&spec.node, spec.cidr) =>
            {
                self.forget(&object.key());
            }
            Object::BlockAffinity(affinity) if affinity.spec.node == self.node && is_host(affinity) => {
                let cidr = affinity.spec.cidr;
                if self.affinities.get(&cidr).is_none_or(|old| affinity.metadata.may_follow(&old.metadata)) {
                    self.affinities.insert(cidr, affinity.clone());
                }
            }
            _ => {}
        }
    }

    fn put_block(&mut self, new: &IpamBlock, whole: bool) {
        let cidr = new.spec.cidr;
        let known = self.blocks.get(&cidr);
        if whole || known.is_some() || block::owner(&new.spec) == Some(&self.node) {
            if known.is_none_or(|old| new.metadata.may_follow(&old.metadata)) {
                self.blocks.insert(cidr, new.clone());
            }
            self.others.remove(&cidr);
        } else {
            self.others.insert(cidr, Fullness::of(new));
        }
    }

    /// Takes in that an object does not exist.
    pub fn forget(&mut self, key: &Key) {
        match key.kind {
            Kind::IpPool => _ = self.pools.remove(&key.name),
            Kind::IpReservation => _ = self.reservations.remove(&key.name),
            Kind::Namespace => _ = self.namespaces.remove(&key.name),
            Kind::IpamConfiguration if key.name == "default" => {
                self.configuration = IpamConfigurationSpec::default()
            }
            Kind::BlockAffinity => self.affinities.retain(|_, affinity| affinity.metadata.name != key.name),
            Kind::IpamBlock => {
                if let Some(cidr) = names::block_cidr(&key.name) {
                    self.blocks.remove(&cidr);
                    self.others.remove(&cidr);
                }
            }
            _ => {}
        }
    }

    fn forget_all_but(&mut self, kind: Kind, objects: &[Object]) {
        let names: BTreeSet<&str> = objects.iter().map(|object| object.metadata().name.as_str()).collect();
        match kind {
            Kind::IpPool => self.pools.retain(|name, _| names.contains(name.as_str())),
            Kind::IpReservation => self.reservations.retain(|name, _| names.contains(name.as_str())),
            Kind::Namespace => self.namespaces.retain(|name, _| names.contains(name.as_str())),
            Kind::IpamConfiguration if !names.contains("default") => self.configuration = Default::default(),
            Kind::BlockAffinity => self.affinities.retain(|_, a| names.contains(a.metadata.name.as_str())),
            Kind::IpamBlock => {
                self.blocks.retain(|cidr, _| names.contains(names::block(*cidr).as_str()));
                self.others.retain(|cidr, _| names.contains(names::block(*cidr).as_str()));
            }
            _ => {}
        }
    }

    /// Forgets the content of other nodes' blocks, once nobody works on them.
    pub fn forget_foreign(&mut self) {
        let foreign = self.blocks.values().filter(|b| block::owner(&b.spec) != Some(&self.node));
        self.others.extend(foreign.map(|b| (b.spec.cidr, Fullness::of(b))));
        self.blocks.retain(|cidr, _| !self.others.contains_key(cidr));
    }

    /// Lets time pass: what has cooled down in the blocks that are known whole is free again.
    pub fn advance(&mut self, wall: Option<Wall>) {
        self.wall = wall;
        let Some(wall) = &self.wall else { return };
        let span = Duration::from_secs(self.cooldown_seconds());
        self.blocks.values_mut().for_each(|b| _ = cooldown::thaw(&mut b.spec, wall, span));
    }

    /// From when an address that is released now has to cool down: `None` if it has not.
    pub fn cool_from(&self) -> Option<&Wall> {
        self.wall.as_ref().filter(|_| self.cooldown_seconds() > 0)
    }

    fn cooldown_seconds(&self) -> u64 {
        self.configuration.ip_cooldown_seconds.unwrap_or(0).into()
    }

    /// Whether a block has an address of `cidr`, as far as is known. Blocks are disjoint, so the last one that begins before
    /// the end of `cidr` decides.
    pub fn taken(&self, cidr: Cidr) -> bool {
        let end = Cidr::host(cidr.last());
        let own = self.blocks.range(..=end).next_back().map(|(known, _)| known);
        let other = self.others.range(..=end).next_back().map(|(known, _)| known);
        own.into_iter().chain(other).any(|known| known.overlaps(cidr))
    }

    /// This node's block from which addresses may be given now: its affinity is confirmed.
    pub fn usable(&self, cidr: Cidr) -> Option<&IpamBlock> {
        let b = self.blocks.get(&cidr).filter(|b| !b.spec.deleted)?;
        let affinity = self.affinities.get(&cidr).filter(|a| !a.spec.deleted)?;
        let ours = block::owner(&b.spec) == Some(&self.node);
        (ours && affinity.spec.state == AffinityState::Confirmed).then_some(b)
    }

    /// A block of which addresses may be given now: one that is usable, or without strict affinity anybody else's that was
    /// read.
    pub fn open(&self, cidr: Cidr) -> Option<&IpamBlock> {
        let b = self.blocks.get(&cidr).filter(|b| !b.spec.deleted)?;
        let ours = block::owner(&b.spec) == Some(&self.node);
        if ours { self.usable(cidr) } else { Some(b).filter(|_| !self.configuration.strict_affinity) }
    }

    /// Whether another node's block, or one that is nobody's, may be taken over: it is empty, and its claim is old.
    pub fn is_idle(&self, cidr: Cidr) -> bool {
        let read = self.blocks.get(&cidr).filter(|b| block::owner(&b.spec) != Some(&self.node));
        let Some(fullness) = read.map(Fullness::of).or_else(|| self.others.get(&cidr).cloned()) else {
            return false;
        };
        let old = |claimed: &String| {
            self.wall.as_ref().is_some_and(|wall| wall.is_after(claimed, CLAIM_PROTECTION))
        };
        fullness.unused && fullness.claimed.as_ref().is_none_or(old)
    }

    /// Whether this node should have a block there: a pool covers it and selects the node.
    pub fn wants(&self, cidr: Cidr) -> bool {
        self.pools.values().any(|pool| pool.cidr.covers(cidr) && self.selects(pool))
    }

    /// Whether a block with addresses stays this node's when its claim is being given up. Calico gives up the claims in a
    /// pool that it is about to delete, which it disables first.
    pub fn clings_to(&self, cidr: Cidr) -> bool {
        self.pools.values().any(|pool| pool.cidr.covers(cidr) && self.selects(pool) && !pool.disabled)
    }

    /// Every reserved CIDR.
    pub fn reserved(&self) -> Vec<Cidr> {
        self.reservations.values().flatten().copied().collect()
    }

    /// Whether a pool's node selector matches this node. A selector that cannot be read matches none.
    pub fn selects(&self, pool: &IpPoolSpec) -> bool {
        matches(&pool.node_selector, &self.labels)
    }

    /// Whether a pool's namespace selector matches a pod's namespace.
    pub fn selects_namespace(&self, pool: &IpPoolSpec, namespace: Option<&String>) -> bool {
        let unlabelled = BTreeMap::new();
        let known = namespace.and_then(|namespace| self.namespaces.get(namespace));
        matches(&pool.namespace_selector, known.map_or(&unlabelled, |namespace| &namespace.labels))
    }
}

fn matches(selector: &str, labels: &BTreeMap<String, String>) -> bool {
    selector.parse::<Selector>().is_ok_and(|selector| selector.matches(labels))
}

fn is_host(affinity: &BlockAffinity) -> bool {
    affinity.spec.affinity_type.as_deref().is_none_or(|kind| kind == "host")
}

/// The uses of a pool: workloads and tunnels if it does not say.
pub fn allows(pool: &IpPoolSpec, wanted: AllowedUse) -> bool {
    match pool.allowed_uses.as_slice() {
        [] => wanted != AllowedUse::LoadBalancer,
        uses => uses.contains(&wanted),
    }
}
