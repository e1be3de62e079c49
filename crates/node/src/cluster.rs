//! What the watches say, folded into the `World`: `World.apply(event)`, with what only the agent itself needs beside it.

use derive::{Announcement, Peer, PoolVersion, Section, World};
use model::k8s;
use model::selector::Selector;
use model::store::{Event, Key, Kind, Object};
use model::v3::{FelixConfigurationSpec, IpPool, IpamBlock};
use model::{Cidr, v3};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The kinds that a node follows. Of pods, its own.
pub const WATCHED: [Kind; 13] = [
    Kind::Node,
    Kind::IpPool,
    Kind::IpamBlock,
    Kind::BlockAffinity,
    Kind::IpamConfiguration,
    Kind::IpReservation,
    Kind::FelixConfiguration,
    Kind::ClusterInformation,
    Kind::Namespace,
    Kind::Pod,
    Kind::BgpConfiguration,
    Kind::BgpPeer,
    Kind::BgpFilter,
];

/// The kinds that decide what the kernel holds, which must have been listed before anything is written: with the settings of
/// FelixConfiguration or the BGP peers not yet known, what an agent before this one made would be changed, and changed back.
const NEEDED: [Kind; 8] = [
    Kind::Node,
    Kind::IpPool,
    Kind::IpamBlock,
    Kind::Pod,
    Kind::FelixConfiguration,
    Kind::BgpConfiguration,
    Kind::BgpPeer,
    Kind::BgpFilter,
];

#[derive(Debug, Default)]
pub(crate) struct Cluster {
    listed: BTreeSet<Kind>,
    failing: BTreeMap<Kind, String>,
    own: Option<k8s::Node>,
    /// Those of our Node, Calico's and Kubernetes' together; as they were, while it is gone.
    own_labels: BTreeMap<String, String>,
    /// What our own Node says of pools' modes.
    own_announcement: Option<Announcement>,
    /// Our Node is being written without the address of the VXLAN tunnel, and counts as if it were.
    withdraws_vxlan: bool,
    pods: BTreeMap<(String, String), k8s::Pod>,
    felix: BTreeMap<String, FelixConfigurationSpec>,
    /// Blocks as they are stored, as far as they decide who holds what.
    holders: BTreeMap<Cidr, Holders>,
    locked: bool,
}

/// Who holds a block, and who holds single addresses of it instead.
#[derive(Debug, Default, PartialEq, Eq)]
struct Holders {
    affinity: Option<String>,
    others: BTreeMap<IpAddr, String>,
}

/// Made only when every kind that is needed has listed: whoever hands a plan to the writer must show it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InSync(());

impl Cluster {
    /// The proof that nothing needed is missing.
    pub fn in_sync(&self) -> Option<InSync> {
        NEEDED.iter().all(|kind| self.listed.contains(kind)).then_some(InSync(()))
    }

    /// Whether each of these kinds has been listed.
    pub fn knows(&self, kinds: &[Kind]) -> bool {
        kinds.iter().all(|kind| self.listed.contains(kind))
    }

    /// Whether each of these kinds has been listed, or cannot be now.
    pub fn knows_or_cannot(&self, kinds: &[Kind]) -> bool {
        kinds.iter().all(|kind| self.listed.contains(kind) || self.failing.contains_key(kind))
    }

    /// The kinds that are needed and have not listed yet, each with what its watch says.
    pub fn waiting_for(&self) -> Vec<String> {
        let missing = NEEDED.iter().filter(|kind| !self.listed.contains(kind));
        missing
            .map(|kind| match self.failing.get(kind) {
                Some(error) => format!("{kind:?}: {error}"),
                None => format!("{kind:?}"),
            })
            .collect()
    }

    /// Watches that fail now, in words.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.failing.iter().map(|(kind, error)| format!("the watch of {kind:?} fails: {error}"))
    }

    /// Our own Node.
    pub fn own(&self) -> Option<&k8s::Node> {
        self.own.as_ref()
    }

    /// What our own Node says of pools' modes.
    pub fn own_announcement(&self) -> Option<&Announcement> {
        self.own_announcement.as_ref()
    }

    /// A pod of this node.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&k8s::Pod> {
        self.pods.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Whether ClusterInformation says `datastoreReady: false`: no address may be assigned.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// Folds `event` in; says which sections must be derived anew.
    pub fn apply(&mut self, world: &mut World, event: Event) -> BTreeSet<Section> {
        match event {
            Event::Failed { kind, error } => {
                self.failing.insert(kind, error);
                BTreeSet::new()
            }
            Event::Listed(kind, objects) => {
                self.failing.remove(&kind);
                let was_in_sync = self.in_sync().is_some();
                self.listed.insert(kind);
                let mut dirty = self.replace(world, kind, objects);
                if !was_in_sync && self.in_sync().is_some() {
                    dirty.extend(Section::ALL);
                }
                dirty
            }
            Event::Put(object) => {
                self.failing.remove(&object.kind());
                self.put(world, object)
            }
            Event::Gone(key) => self.gone(world, &key),
        }
    }

    /// The list is the whole kind: what it does not hold is gone.
    fn replace(&mut self, world: &mut World, kind: Kind, objects: Vec<Object>) -> BTreeSet<Section> {
        let listed: BTreeSet<Key> = objects.iter().map(Object::key).collect();
        let mut dirty = BTreeSet::new();
        for key in self.known(world, kind).into_iter().filter(|key| !listed.contains(key)) {
            dirty.extend(self.gone(world, &key));
        }
        for object in objects {
            dirty.extend(self.put(world, object));
        }
        dirty
    }

    fn known(&self, world: &World, kind: Kind) -> Vec<Key> {
        let cluster = |name: &String| Key::cluster(kind, name.clone());
        match kind {
            Kind::Node => {
                world.peers.keys().chain(self.own.as_ref().map(|n| &n.metadata.name)).map(cluster).collect()
            }
            Kind::IpPool => world.pools.keys().map(cluster).collect(),
            Kind::IpamBlock => {
                self.holders.keys().map(|cidr| Key::cluster(kind, model::names::block(*cidr))).collect()
            }
            Kind::FelixConfiguration => self.felix.keys().map(cluster).collect(),
            Kind::Pod => {
                self.pods.keys().map(|(namespace, name)| Key::namespaced(kind, namespace, name)).collect()
            }
            Kind::ClusterInformation if self.locked => vec![Key::cluster(kind, "default")],
            _ => Vec::new(),
        }
    }

    fn put(&mut self, world: &mut World, object: Object) -> BTreeSet<Section> {
        match object {
            Object::Node(node) => self.put_node(world, node),
            Object::IpPool(pool) => put_pool(world, pool),
            Object::IpamBlock(block) => self.put_block(world, &block),
            Object::FelixConfiguration(felix) => {
                self.felix.insert(felix.metadata.name, felix.spec);
                self.overlay(world)
            }
            Object::ClusterInformation(info) => {
                self.locked = info.spec.datastore_ready == Some(false);
                BTreeSet::new()
            }
            Object::Pod(pod) => {
                let namespace = pod.metadata.namespace.clone().unwrap_or_default();
                self.pods.insert((namespace, pod.metadata.name.clone()), pod);
                BTreeSet::new()
            }
            _ => BTreeSet::new(),
        }
    }

    fn gone(&mut self, world: &mut World, key: &Key) -> BTreeSet<Section> {
        match key.kind {
            Kind::Node => {
                if key.name == world.node {
                    // Whoever deletes our Node does not take our address away: the kubelet registers it anew.
                    (self.own, self.own_announcement) = (None, None);
                    return BTreeSet::new();
                }
                changed(world.peers.remove(&key.name).is_some())
            }
            Kind::IpPool => {
                world.versions.remove(&key.name);
                changed(world.pools.remove(&key.name).is_some())
            }
            Kind::IpamBlock => {
                let cidr = model::names::block_cidr(&key.name);
                cidr.map_or_else(BTreeSet::new, |cidr| self.hold(world, cidr, None))
            }
            Kind::FelixConfiguration => {
                self.felix.remove(&key.name);
                self.overlay(world)
            }
            Kind::ClusterInformation => {
                self.locked = false;
                BTreeSet::new()
            }
            Kind::Pod => {
                self.pods.remove(&(key.namespace.clone().unwrap_or_default(), key.name.clone()));
                BTreeSet::new()
            }
            _ => BTreeSet::new(),
        }
    }

    fn put_node(&mut self, world: &mut World, node: k8s::Node) -> BTreeSet<Section> {
        let name = node.metadata.name.clone();
        let said = announcement(&node);
        let mut peer = peer(&node, said.clone());
        let mut dirty = BTreeSet::new();
        if name == world.node {
            if let Some(own) = peer.as_mut().filter(|_| self.withdraws_vxlan) {
                own.vxlan_tunnel = None;
            }
            // The answer to our own write is newer than what the watch has still to tell.
            if self.own.as_ref().is_some_and(|own| !node.metadata.may_follow(&own.metadata)) {
                return BTreeSet::new();
            }
            let labels = v3::Node::from(&node).resource.metadata.labels;
            (self.own, self.own_announcement) = (Some(node), said);
            if labels != self.own_labels {
                self.own_labels = labels;
                dirty = self.overlay(world);
            }
            if peer.is_none() {
                return dirty;
            }
        }
        let before = world.peers.get(&name);
        if before == peer.as_ref() {
            return dirty;
        }
        match peer {
            Some(peer) => world.peers.insert(name, peer),
            None => world.peers.remove(&name),
        };
        changed(true)
    }

    /// Our Node is about to be written without the address of the VXLAN tunnel: no device is to be made for that address
    /// any more, whatever a pool wishes meanwhile.
    pub fn withdraw_vxlan(&mut self, world: &mut World) -> BTreeSet<Section> {
        self.withdraws_vxlan = true;
        let own = world.peers.get_mut(&world.node);
        changed(own.is_some_and(|own| own.vxlan_tunnel.take().is_some()))
    }

    /// That write is over. Without an answer, what the Node said last counts.
    pub fn vxlan_withdrawn(&mut self, world: &mut World) -> BTreeSet<Section> {
        if !std::mem::take(&mut self.withdraws_vxlan) {
            return BTreeSet::new();
        }
        self.own.clone().map_or_else(BTreeSet::new, |own| self.put_node(world, own))
    }

    fn put_block(&mut self, world: &mut World, block: &IpamBlock) -> BTreeSet<Section> {
        let holders = (!block.spec.deleted).then(|| holders(block));
        self.hold(world, block.spec.cidr, holders)
    }

    fn hold(&mut self, world: &mut World, cidr: Cidr, holders: Option<Holders>) -> BTreeSet<Section> {
        if self.holders.get(&cidr) == holders.as_ref() {
            return BTreeSet::new();
        }
        if let Some(before) = self.holders.remove(&cidr) {
            world.blocks.remove(&cidr);
            for addr in before.others.keys() {
                world.borrowed.remove(addr);
            }
        }
        if let Some(holders) = holders {
            if let Some(node) = &holders.affinity {
                world.blocks.insert(cidr, node.clone());
            }
            world.borrowed.extend(holders.others.clone());
            self.holders.insert(cidr, holders);
        }
        [Section::Routes, Section::Rules].into()
    }

    /// Over `default` go those whose nodeSelector matches our Node, in the order of their names, and over these
    /// `node.<name>`: field by field.
    fn overlay(&mut self, world: &mut World) -> BTreeSet<Section> {
        let own = format!("node.{}", world.node);
        let selected = self.felix.iter().filter(|(name, spec)| is_selected(name, spec, &self.own_labels));
        let selected = selected.map(|(_, spec)| spec).chain(self.felix.get(&own));
        let default = self.felix.get("default").cloned().unwrap_or_default();
        let merged = FelixConfigurationSpec {
            node_selector: String::new(),
            ..selected.fold(default, |merged, spec| merged.overlaid_by(spec))
        };
        let differs = merged != world.felix;
        world.felix = merged;
        changed(differs)
    }
}

/// The cluster from a node's place, as far as `objects` of the API tell: what the agent there would know, but for its kernel,
/// of which its announcement says what matters.
pub fn seen_from(node: &str, objects: &[Object]) -> World {
    let mut world = World { node: node.to_owned(), ..World::default() };
    let mut cluster = Cluster::default();
    for object in objects {
        world.bgp.put(node, object);
        cluster.put(&mut world, object.clone());
    }
    world.from_announcement()
}

/// Whether a FelixConfiguration is for nodes with these labels. One without a selector is for none, but for those that are by
/// their names.
fn is_selected(name: &str, spec: &FelixConfigurationSpec, labels: &BTreeMap<String, String>) -> bool {
    let by_name = name == "default" || name.starts_with("node.");
    let selector = Some(&spec.node_selector).filter(|selector| !by_name && !selector.is_empty());
    selector.and_then(|selector| selector.parse::<Selector>().ok()).is_some_and(|it| it.matches(labels))
}

fn changed(yes: bool) -> BTreeSet<Section> {
    if yes { Section::ALL.into() } else { BTreeSet::new() }
}

fn put_pool(world: &mut World, pool: IpPool) -> BTreeSet<Section> {
    let spec = pool.spec.defaulted();
    let version = PoolVersion { uid: pool.metadata.uid, generation: pool.metadata.generation };
    let known = world.versions.insert(pool.metadata.name.clone(), version.clone());
    let before = world.pools.insert(pool.metadata.name, spec.clone());
    changed(before.as_ref() != Some(&spec) || known.as_ref() != Some(&version))
}

/// What a node says of pools' modes. What cannot be read says that it is ready for nothing.
pub fn announcement(node: &k8s::Node) -> Option<Announcement> {
    let text = node.metadata.annotations.get(k8s::annotation::ENCAPSULATION)?;
    Some(serde_json::from_str(text).unwrap_or_default())
}

/// A node that has said its address.
fn peer(node: &k8s::Node, announcement: Option<Announcement>) -> Option<Peer> {
    let calico = v3::Node::from(node);
    let spec = calico.resource.spec;
    let bgp = spec.bgp?;
    Some(Peer {
        addr: bgp.ipv4_address?,
        ipip_tunnel: bgp.ipv4_ipip_tunnel_addr,
        vxlan_tunnel: spec.ipv4_vxlan_tunnel_addr,
        vtep_mac: spec.vxlan_tunnel_mac_addr.unwrap_or_else(|| model::names::vtep_mac(&node.metadata.name)),
        announcement,
    })
}

/// The block's node by its affinity; and for each address that another node uses, that node.
fn holders(block: &IpamBlock) -> Holders {
    let affinity = ipam::block::owner(&block.spec).map(str::to_owned);
    let borrowed = ipam::block::borrowed(&block.spec);
    let others = borrowed.map(|(addr, node, _)| (addr, node.to_owned())).collect();
    Holders { affinity, others }
}
