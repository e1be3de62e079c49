//! The sessions of one node: the mesh, then what each BGPPeer asks for, from its own end and from the other.
//!
//! A BGPPeer has two ends. Its own end is a node, some nodes or every node; the other is an address, or nodes, or each node's
//! own pods. A node at its own end has the session (forward); a node at the other end has it too (reverse), unless
//! `reversePeering` is `Manual`, so that neither waits for a resource that nobody wrote.

use super::contradictions::{self, RulePlace};
use super::{
    BgpNode, BgpWorld, Complaint, MOST_OF_A_NODE, MOST_OF_A_ROUTER, PeerKey, PeerPlan, PeerSort,
    RESTART_TIME, is_reserved,
};
use crate::World;
use model::Asn;
use model::v3::{
    BgpFilterRule, BgpFilterSpec, BgpPassword, BgpPeerSpec, NextHopMode, PeerType, ReversePeering,
    SecretKeyRef, SourceAddress,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The sessions of this node, which is `own`, and what is wrong with the resources that ask for some.
pub(super) fn derive(world: &World, own: &BgpNode) -> (BTreeMap<PeerKey, PeerPlan>, BTreeSet<Complaint>) {
    let (bgp, name) = (&world.bgp, world.node.as_str());
    let mut sessions =
        Sessions { world, bgp, name, own, peers: BTreeMap::new(), complaints: BTreeSet::new() };
    let ends = |spec: &BgpPeerSpec| (is_global(spec), sits_at_own_end(spec, name, own));
    for (peer, spec) in bgp.peers.iter().filter(|(_, spec)| ends(spec) == (true, true)) {
        sessions.forward(peer, spec, PeerSort::Global);
    }
    for (peer, spec) in bgp.peers.iter().filter(|(_, spec)| ends(spec) == (false, true)) {
        sessions.forward(peer, spec, PeerSort::Node);
    }
    for (peer, spec) in &bgp.peers {
        sessions.reverse(peer, spec);
    }
    sessions.mesh();
    (sessions.peers, sessions.complaints)
}

/// Whether every node is at its own end.
fn is_global(spec: &BgpPeerSpec) -> bool {
    spec.node.is_empty() && spec.node_selector.is_none()
}

pub(super) fn sits_at_own_end(spec: &BgpPeerSpec, name: &str, node: &BgpNode) -> bool {
    match &spec.node_selector {
        Some(selector) => selector.matches(&node.labels),
        None => spec.node.is_empty() || spec.node == name,
    }
}

/// Peers of this node that are behind a gateway, each with it (`reachableBy`).
pub(crate) fn gateways(world: &World) -> impl Iterator<Item = (IpAddr, IpAddr)> {
    let own = world.bgp.nodes.get(&world.node);
    let own = own.into_iter().flat_map(|own| world.bgp.peers.values().map(move |spec| (own, spec)));
    let ours = own.filter(|(own, spec)| sits_at_own_end(spec, &world.node, own));
    ours.filter_map(|(own, spec)| {
        let (peer, gateway) = (spec.peer_ip?.addr, spec.reachable_by?);
        (own.addr(peer).is_some() && peer.is_ipv4() == gateway.is_ipv4()).then_some((peer, gateway))
    })
}

/// A list of a filter: its name, and where it is.
type Rules = (&'static str, fn(&BgpFilterSpec) -> &Vec<BgpFilterRule>);

/// The far end of a session.
struct Far<'a> {
    key: PeerKey,
    node: Option<(&'a str, &'a BgpNode)>,
    asn: Asn,
}

struct Sessions<'a> {
    world: &'a World,
    bgp: &'a BgpWorld,
    name: &'a str,
    own: &'a BgpNode,
    peers: BTreeMap<PeerKey, PeerPlan>,
    complaints: BTreeSet<Complaint>,
}

impl<'a> Sessions<'a> {
    /// The addresses of another node that we have the family of.
    fn far_node(
        &self,
        name: &'a str,
        node: &'a BgpNode,
        asn: Asn,
    ) -> impl Iterator<Item = Far<'a>> + use<'a> {
        let port = self.bgp.listen_port(name);
        let own = self.own;
        let reachable = node.addrs().filter(move |addr| own.addr(*addr).is_some());
        reachable.map(move |addr| Far { key: PeerKey { addr, port }, node: Some((name, node)), asn })
    }

    fn others(&self) -> impl Iterator<Item = (&'a str, &'a BgpNode)> + use<'a> {
        let own = self.name;
        self.bgp.nodes.iter().map(|(name, node)| (name.as_str(), node)).filter(move |(name, _)| *name != own)
    }

    /// Every node with every node, but for reflectors, which have their clients by BGPPeers.
    fn mesh(&mut self) {
        if !self.bgp.has_mesh() || self.own.cluster_id.is_some() {
            return;
        }
        let cluster = self.bgp.cluster();
        let password = cluster.and_then(|cluster| secret(cluster.node_mesh_password.as_ref()));
        let restart_time =
            cluster.and_then(|cluster| cluster.node_mesh_max_restart_time).unwrap_or(RESTART_TIME);
        let local_asn = self.bgp.asn(self.own);
        let members = self.others().filter(|(_, node)| node.cluster_id.is_none());
        let members: Vec<Far<'a>> =
            members.flat_map(|(name, node)| self.far_node(name, node, self.bgp.asn(node))).collect();
        for far in members {
            let node = far.node.map(|(name, _)| name.to_owned());
            if is_reserved(far.asn) {
                let complaint = node.map(|node| Complaint::ReservedNodeAsn { node, asn: far.asn });
                self.complaints.extend(complaint);
                continue;
            }
            let source = self.own.addr(far.key.addr);
            let plan = PeerPlan {
                sort: PeerSort::Mesh,
                resource: None,
                node,
                is_pod: false,
                local_asn,
                remote_asn: far.asn,
                passive: source.is_some_and(|own| calls_us(far.key.addr, own)),
                source,
                ttl_security: None,
                password: password.clone(),
                restart_time,
                keepalive_time: None,
                allowed_local_asns: 0,
                most_prefixes: MOST_OF_A_NODE,
                next_hop: NextHopMode::Auto,
                reflect_in: None,
                import: Vec::new(),
                export: Vec::new(),
            };
            // Who wrote a BGPPeer for a member of the mesh meant more than the mesh gives.
            self.peers.entry(far.key).or_insert(plan);
        }
    }

    /// The sessions of a resource whose own end we are at, of the families that we have an address of.
    fn forward(&mut self, peer: &'a str, spec: &'a BgpPeerSpec, sort: PeerSort) {
        if spec.local_workload_selector.is_some() {
            return self.with_pods(peer, spec, sort);
        }
        let local_asn = spec.local_as_number.unwrap_or_else(|| self.bgp.asn(self.own));
        let mut fars: Vec<Far<'a>> = Vec::new();
        if let Some(selector) = &spec.peer_selector {
            let selected = self.others().filter(|(_, node)| selector.matches(&node.labels));
            fars.extend(selected.flat_map(|(name, node)| self.far_node(name, node, self.bgp.asn(node))));
        } else if let Some(to) =
            spec.peer_ip.filter(|to| self.own.addr(to.addr).is_some_and(|own| own != to.addr))
        {
            let node = self.bgp.node_at(to.addr);
            let port = node.map_or(super::BGP_PORT, |(name, _)| self.bgp.listen_port(name));
            let key = PeerKey { addr: to.addr, port: to.port.unwrap_or(port) };
            match spec.as_number.or_else(|| node.map(|(_, node)| self.bgp.asn(node))) {
                Some(asn) => fars.push(Far { key, node, asn }),
                None => _ = self.complaints.insert(Complaint::NoAsn { peer: peer.to_owned(), addr: to.addr }),
            }
        }
        for far in fars {
            let plan = self.session(peer, spec, sort, &far, local_asn);
            self.add(far.key, plan);
        }
    }

    /// The sessions of a resource with pods of this node.
    fn with_pods(&mut self, peer: &'a str, spec: &'a BgpPeerSpec, sort: PeerSort) {
        let local_asn = spec.local_as_number.unwrap_or_else(|| self.bgp.asn(self.own));
        let world = self.world;
        for pod in world.selected_by(spec).flat_map(|attachment| attachment.addresses.iter().copied()) {
            let (Some(asn), Some(own)) = (spec.as_number, world.peering_addr(pod.is_ipv4())) else {
                let peer = peer.to_owned();
                self.complaints.insert(match spec.as_number {
                    None => Complaint::NoAsn { peer, addr: pod },
                    Some(_) => Complaint::NoPeeringAddr { peer, pod },
                });
                continue;
            };
            let far = Far { key: PeerKey { addr: pod, port: super::BGP_PORT }, node: None, asn };
            let plan = PeerPlan {
                is_pod: true,
                // Whatever sourceAddress says: by no other address does the pod know the node.
                source: Some(own),
                most_prefixes: MOST_OF_A_NODE,
                ..self.session(peer, spec, sort, &far, local_asn)
            };
            self.add(far.key, plan);
        }
    }

    /// The sessions of a resource at whose other end we are: with every node at its own end.
    fn reverse(&mut self, peer: &'a str, spec: &'a BgpPeerSpec) {
        let is_manual = spec.reverse_peering == Some(ReversePeering::Manual);
        if is_manual || spec.local_workload_selector.is_some() || !self.sits_at_other_end(spec) {
            return;
        }
        // What is our AS for them is theirs for us.
        let local_asn = spec.as_number.unwrap_or_else(|| self.bgp.asn(self.own));
        let theirs = |node: &BgpNode| spec.local_as_number.unwrap_or_else(|| self.bgp.asn(node));
        let fars = self.others().filter(|(name, node)| sits_at_own_end(spec, name, node));
        let fars = fars.flat_map(|(name, node)| self.far_node(name, node, theirs(node)));
        let asked = |far: &Far<'_>| spec.peer_ip.is_none_or(|to| to.addr.is_ipv4() == far.key.addr.is_ipv4());
        for far in fars.filter(asked).collect::<Vec<_>>() {
            if !self.peers.contains_key(&far.key) {
                let plan = self.session(peer, spec, PeerSort::Node, &far, local_asn);
                self.add(far.key, plan);
            }
        }
    }

    /// Whether the resource means us by its other end: by our labels, or by our address, port and AS.
    fn sits_at_other_end(&self, spec: &BgpPeerSpec) -> bool {
        if let Some(selector) = &spec.peer_selector {
            return selector.matches(&self.own.labels);
        }
        spec.peer_ip.is_some_and(|to| {
            self.own.addr(to.addr) == Some(to.addr)
                && to.port.is_none_or(|port| port == self.bgp.listen_port(self.name))
                && spec.as_number.is_none_or(|asn| asn == self.bgp.asn(self.own))
        })
    }

    fn session(
        &mut self,
        peer: &str,
        spec: &BgpPeerSpec,
        sort: PeerSort,
        far: &Far<'_>,
        local_asn: Asn,
    ) -> PeerPlan {
        let own_addr = self.own.addr(far.key.addr);
        let internal = local_asn == far.asn;
        let next_hop = match spec.next_hop_mode {
            Some(mode) => mode,
            None if spec.keep_original_next_hop && !internal => NextHopMode::Keep,
            None => NextHopMode::Auto,
        };
        let far_cluster = far.node.and_then(|(_, node)| node.cluster_id);
        let reflect_in = self.own.cluster_id.filter(|id| internal && far_cluster != Some(*id));
        let source = spec.source_address.unwrap_or_default() == SourceAddress::UseNodeIP;
        let calls = own_addr.is_some_and(|own| calls_us(far.key.addr, own));
        let v4 = far.key.addr.is_ipv4();
        let imports: Rules = if v4 { ("importV4", |f| &f.import_v4) } else { ("importV6", |f| &f.import_v6) };
        let exports: Rules = if v4 { ("exportV4", |f| &f.export_v4) } else { ("exportV6", |f| &f.export_v6) };
        PeerPlan {
            sort,
            resource: Some(peer.to_owned()),
            node: far.node.map(|(name, _)| name.to_owned()),
            is_pod: false,
            local_asn,
            remote_asn: far.asn,
            passive: sort == PeerSort::Global && far.node.is_some() && calls,
            source: own_addr.filter(|_| source),
            ttl_security: spec.ttl_security.filter(|hops| *hops > 0),
            password: secret(spec.password.as_ref()),
            restart_time: spec.max_restart_time.unwrap_or(RESTART_TIME),
            keepalive_time: spec.keepalive_time,
            allowed_local_asns: spec.num_allowed_local_as_numbers.unwrap_or_default(),
            most_prefixes: MOST_OF_A_ROUTER,
            next_hop,
            reflect_in,
            import: self.rules(peer, spec, internal, imports),
            export: self.rules(peer, spec, internal, exports),
        }
    }

    /// The rules of all filters, one after the other. The first that matches decides, in whichever filter it stands.
    fn rules(
        &mut self,
        peer: &str,
        spec: &BgpPeerSpec,
        internal: bool,
        (list, of): Rules,
    ) -> Vec<BgpFilterRule> {
        let sort = if internal { PeerType::Internal } else { PeerType::External };
        let mut rules = Vec::new();
        for name in &spec.filters {
            let Some(filter) = self.bgp.filters.get(name) else {
                self.complaints.insert(Complaint::NoFilter { peer: peer.to_owned(), filter: name.clone() });
                continue;
            };
            let place = |index| RulePlace { filter: name.clone(), list, index };
            rules.extend(of(filter).iter().enumerate().map(|(index, rule)| (place(index), rule.clone())));
        }
        rules.retain(|(_, rule)| rule.peer_type.is_none_or(|wanted| wanted == sort));
        for (first, second) in contradictions::find(&rules) {
            self.complaints.insert(Complaint::Contradiction { peer: peer.to_owned(), first, second });
        }
        rules.into_iter().map(|(_, rule)| rule).collect()
    }

    /// Takes a session up. A global one gives way to one of this node's own that asks for something else.
    fn add(&mut self, key: PeerKey, plan: PeerPlan) {
        let asn = [plan.remote_asn, plan.local_asn].into_iter().find(|asn| is_reserved(*asn));
        if let (Some(asn), Some(peer)) = (asn, &plan.resource) {
            self.complaints.insert(Complaint::ReservedAsn { peer: peer.clone(), asn });
            return;
        }
        let Some(old) = self.peers.get(&key) else {
            self.peers.insert(key, plan);
            return;
        };
        if is_same_session(old, &plan) {
            return;
        }
        let wins = old.sort == PeerSort::Global && plan.sort == PeerSort::Node;
        let names = (old.resource.clone().unwrap_or_default(), plan.resource.clone().unwrap_or_default());
        let (peer, by) = if wins { names } else { (names.1, names.0) };
        if peer != by {
            self.complaints.insert(Complaint::Shadowed { peer, by, addr: key.addr });
        }
        if wins {
            self.peers.insert(key, plan);
        }
    }
}

/// Whether two resources ask for the same, whatever their names.
fn is_same_session(a: &PeerPlan, b: &PeerPlan) -> bool {
    let anonymous =
        |plan: &PeerPlan| PeerPlan { sort: PeerSort::Node, resource: None, passive: false, ..plan.clone() };
    anonymous(a) == anonymous(b)
}

/// Of two nodes the one whose address is the greater text calls, as between Calico's nodes.
fn calls_us(peer: IpAddr, own: IpAddr) -> bool {
    peer.to_string() > own.to_string()
}

fn secret(password: Option<&BgpPassword>) -> Option<SecretKeyRef> {
    password?.secret_key_ref.clone()
}
