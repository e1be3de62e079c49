//! With whom this node speaks BGP, how, and what it says: `World -> BgpPlan`, for the speaker to follow.
//!
//! ```text
//!  nodes, BGPConfigurations ─┐            ┌─ peers    the mesh, and what BGPPeers add, from both of their ends
//!  BGPPeers, BGPFilters ─────┼─ plan() ───┼─ originate    blocks and borrowed addresses of this node, services
//!  pools, blocks, services ──┘            └─ export   what may be told to a peer, and its communities
//! ```
//!
//! What is wrong with a resource is said in `complaints` and costs no more than that resource: the other sessions live on.
//! Of two resources that ask for the same peer, one wins and the other is said.

mod contradictions;
mod export;
mod fold;
mod peers;
mod services;
#[cfg(test)]
mod tests;
mod workloads;

use crate::World;
use model::v3::{
    BgpConfigurationSpec, BgpFilterRule, BgpFilterSpec, BgpPeerSpec, BindMode, DEFAULT_ASN, NextHopMode,
    Node, SecretKeyRef,
};
use model::{Asn, Cidr, Duration, IfAddr};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

pub use contradictions::RulePlace;
pub use export::{Export, Own, local_pref};
pub(crate) use peers::gateways;
pub use services::Services;
pub(crate) use services::ranges as service_ranges;
pub(crate) use workloads::derive as peerings;

const BGP_PORT: u16 = 179;
/// More than a node ever has: blocks, and single addresses of others' blocks.
const MOST_OF_A_NODE: u32 = 10_000;
/// More than anybody needs on a node: about all of the Internet.
const MOST_OF_A_ROUTER: u32 = 1_000_000;
/// For how long a peer keeps the routes of a node that restarts, unless told otherwise.
const RESTART_TIME: Duration = Duration::from_secs(120);

/// What a plan is made from, beside pools and blocks.
#[derive(Clone, Debug, Default)]
pub struct BgpWorld {
    /// Whether this node has a speaker.
    pub speaks: bool,
    /// Every node, ourselves included, by name.
    pub nodes: BTreeMap<String, BgpNode>,
    /// By name: `default`, and `node.<name>` for what one node does otherwise.
    pub configurations: BTreeMap<String, BgpConfigurationSpec>,
    /// By name.
    pub peers: BTreeMap<String, BgpPeerSpec>,
    /// By name.
    pub filters: BTreeMap<String, BgpFilterSpec>,
    pub services: Services,
    /// The labels of this node's pods, by namespace and name.
    pub pods: BTreeMap<(String, String), BTreeMap<String, String>>,
    /// How this node gets its router ID (`CALICO_ROUTER_ID`).
    pub router_id: RouterId,
}

/// A node as a speaker of BGP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BgpNode {
    pub labels: BTreeMap<String, String>,
    /// Its own AS number, if it has not the cluster's.
    pub asn: Option<Asn>,
    pub v4: Option<IfAddr>,
    pub v6: Option<IfAddr>,
    /// Of a route reflector (RFC 4456).
    pub cluster_id: Option<Ipv4Addr>,
}

/// Where the router ID comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouterId {
    /// The node's IPv4 address.
    #[default]
    Address,
    /// A hash of the node's name, for nodes without IPv4.
    Hash,
    Fixed(Ipv4Addr),
}

impl FromStr for RouterId {
    type Err = String;

    /// As `CALICO_ROUTER_ID` has it.
    fn from_str(text: &str) -> Result<RouterId, String> {
        match text {
            "" => Ok(RouterId::Address),
            "hash" => Ok(RouterId::Hash),
            _ => {
                // RFC 6286 §2.1.
                let id = text.parse().ok().filter(|id: &Ipv4Addr| !id.is_unspecified());
                id.map(RouterId::Fixed)
                    .ok_or_else(|| format!("`{text}` is neither `hash` nor an ID such as 10.0.0.1"))
            }
        }
    }
}

/// What the speaker should do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpPlan {
    pub asn: Asn,
    pub router_id: Ipv4Addr,
    /// Set if this node reflects routes.
    pub cluster_id: Option<Ipv4Addr>,
    pub listen_port: u16,
    /// The addresses to listen on; empty: all.
    pub listen_addrs: Vec<IpAddr>,
    pub peers: BTreeMap<PeerKey, PeerPlan>,
    /// Prefixes of our own.
    pub originate: BTreeMap<Cidr, Own>,
    /// What any peer may be told.
    pub export: Export,
    /// What is wrong, each once.
    pub complaints: BTreeSet<Complaint>,
}

/// Names a session: there is one with each address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerKey {
    pub addr: IpAddr,
    pub port: u16,
}

/// One session.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerPlan {
    pub sort: PeerSort,
    /// The BGPPeer that asks for it; `None` for the mesh.
    pub resource: Option<String>,
    /// The node whose address it is, if it is one's.
    pub node: Option<String>,
    /// It is a pod of this node.
    pub is_pod: bool,
    pub local_asn: Asn,
    pub remote_asn: Asn,
    /// Wait to be called.
    pub passive: bool,
    /// The address of our end; `None`: what the routing table gives.
    pub source: Option<IpAddr>,
    /// Hops to the peer, at most, 1 for a neighbour: of what it sends, a TTL below 256 less this is dropped (RFC 5082).
    /// `None`: any number of hops.
    pub ttl_security: Option<u8>,
    pub password: Option<SecretKeyRef>,
    /// For how long the peer keeps our routes while we restart.
    pub restart_time: Duration,
    /// Time between keepalives; `None`: a third of the hold time.
    pub keepalive_time: Option<Duration>,
    /// How often our own AS may stand in the path of a route from this peer.
    pub allowed_local_asns: u32,
    /// The most prefixes that it may announce.
    pub most_prefixes: u32,
    pub next_hop: NextHopMode,
    /// The peer is a client of ours, in this cluster (RFC 4456).
    pub reflect_in: Option<Ipv4Addr>,
    /// Rules for routes from the peer; what none decides is accepted. Rules for the other sort of session are left out.
    pub import: Vec<BgpFilterRule>,
    /// Rules for routes to the peer; what none decides is left to `BgpPlan::export`.
    pub export: Vec<BgpFilterRule>,
}

impl Eq for PeerPlan {}

/// Where a session comes from, by the names of CalicoNodeStatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PeerSort {
    /// A BGPPeer of every node.
    #[serde(rename = "GlobalPeer")]
    Global,
    /// Every node with every node.
    #[serde(rename = "NodeMesh")]
    Mesh,
    /// A BGPPeer of some nodes.
    #[serde(rename = "NodePeer")]
    Node,
}

/// Why this node does not speak BGP at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBgp {
    #[error("node {node} has no address for BGP yet")]
    NoAddress { node: String },
    #[error(
        "node {node} has no IPv4 address for its router ID: give `--router-id` (CALICO_ROUTER_ID), `hash` or an ID such as 10.0.0.1"
    )]
    NoRouterId { node: String },
    #[error(
        "AS number {asn} of node {node} is reserved (RFC 6793, RFC 7607): give the node or BGPConfiguration default another"
    )]
    ReservedAsn { node: String, asn: Asn },
}

/// What is wrong with a resource, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Complaint {
    /// A peer that is no node, and nobody says its AS.
    NoAsn { peer: String, addr: IpAddr },
    /// 0 or 23456.
    ReservedAsn { peer: String, asn: Asn },
    /// 0 or 23456, of a node of the mesh.
    ReservedNodeAsn { node: String, asn: Asn },
    /// A filter that is named and not there.
    NoFilter { peer: String, filter: String },
    /// A rule of a filter that never decides, because an earlier one says the opposite of all that it is for.
    Contradiction { peer: String, first: RulePlace, second: RulePlace },
    /// Two resources ask for the same session differently.
    Shadowed { peer: String, by: String, addr: IpAddr },
    /// A pod of this node is selected, and nothing says by which address it knows the node.
    NoPeeringAddr { peer: String, pod: IpAddr },
    /// By that address no pod may know its node.
    PeeringAddr { addr: IpAddr, why: String },
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Complaint::NoAsn { peer, addr } => {
                write!(f, "BGPPeer {peer}: {addr} is no node's address: set spec.asNumber")
            }
            Complaint::ReservedAsn { peer, asn } => {
                write!(f, "BGPPeer {peer}: AS number {asn} is reserved (RFC 6793, RFC 7607): set another")
            }
            Complaint::ReservedNodeAsn { node, asn } => {
                write!(f, "Node {node}: AS number {asn} is reserved (RFC 6793, RFC 7607): set another")
            }
            Complaint::NoFilter { peer, filter } => {
                write!(f, "BGPPeer {peer}: BGPFilter {filter} does not exist and filters nothing")
            }
            Complaint::Contradiction { peer, first, second } => {
                write!(
                    f,
                    "BGPPeer {peer}: rule {second} contradicts rule {first} of its BGPFilters, which comes first and decides: remove one"
                )
            }
            Complaint::Shadowed { peer, by, addr } => {
                write!(
                    f,
                    "BGPPeer {peer}: BGPPeer {by} asks for another session with {addr} and wins: remove one"
                )
            }
            Complaint::NoPeeringAddr { peer, pod } => {
                let field = workloads::field(*pod);
                write!(
                    f,
                    "BGPPeer {peer}: pod {pod} has no address to call its node by: set {field} in BGPConfiguration default"
                )
            }
            Complaint::PeeringAddr { addr, why } => {
                let field = workloads::field(*addr);
                write!(
                    f,
                    "BGPConfiguration default: {field} {addr} {why}: set one that nobody has, such as 169.254.0.179 or fd00:179::1"
                )
            }
        }
    }
}

/// A node as Calico shows it.
impl From<&Node> for BgpNode {
    fn from(node: &Node) -> BgpNode {
        let bgp = node.resource.spec.bgp.clone().unwrap_or_default();
        BgpNode {
            labels: node.resource.metadata.labels.clone(),
            asn: bgp.as_number,
            v4: bgp.ipv4_address,
            v6: bgp.ipv6_address,
            cluster_id: bgp.route_reflector_cluster_id.and_then(|id| id.parse().ok()),
        }
    }
}

impl BgpNode {
    /// Its address of the family of `like`.
    fn addr(&self, like: IpAddr) -> Option<IpAddr> {
        if like.is_ipv4() { self.v4 } else { self.v6 }.map(IfAddr::addr)
    }

    fn addrs(&self) -> impl Iterator<Item = IpAddr> + use<> {
        [self.v4, self.v6].into_iter().flatten().map(IfAddr::addr)
    }
}

impl BgpWorld {
    /// The cluster's configuration.
    fn cluster(&self) -> Option<&BgpConfigurationSpec> {
        self.configurations.get("default")
    }

    /// What one node does otherwise. Of it count the port, the advertisements and the log level.
    fn own(&self, node: &str) -> Option<&BgpConfigurationSpec> {
        self.configurations.get(&format!("node.{node}"))
    }

    fn asn(&self, node: &BgpNode) -> Asn {
        node.asn.or_else(|| self.cluster()?.as_number).unwrap_or(DEFAULT_ASN)
    }

    /// The port that a node listens on.
    pub(crate) fn listen_port(&self, node: &str) -> u16 {
        let own = self.own(node).and_then(|own| own.listen_port);
        own.or_else(|| self.cluster()?.listen_port).unwrap_or(BGP_PORT)
    }

    /// The ports that nodes listen on.
    pub(crate) fn listen_ports(&self) -> BTreeSet<u16> {
        self.nodes.keys().map(|node| self.listen_port(node)).collect()
    }

    /// The node that has an address.
    fn node_at(&self, addr: IpAddr) -> Option<(&str, &BgpNode)> {
        let found = self.nodes.iter().find(|(_, node)| node.addr(addr) == Some(addr));
        found.map(|(name, node)| (name.as_str(), node))
    }

    /// Whether services are told of, so that it matters which there are.
    pub fn tells_services(&self) -> bool {
        services::are_told(self)
    }

    fn has_mesh(&self) -> bool {
        self.cluster().and_then(|cluster| cluster.node_to_node_mesh_enabled) != Some(false)
    }
}

/// 0 and AS_TRANS are nobody's.
fn is_reserved(asn: Asn) -> bool {
    matches!(asn.0, 0 | 23456)
}

/// What this node's speaker should do.
pub fn plan(world: &World) -> Result<BgpPlan, NoBgp> {
    let (name, bgp) = (&world.node, &world.bgp);
    let own = bgp.nodes.get(name).filter(|own| own.addrs().next().is_some());
    let own = own.ok_or_else(|| NoBgp::NoAddress { node: name.clone() })?;
    let router_id = match (bgp.router_id, own.v4.map(IfAddr::addr)) {
        (RouterId::Fixed(id), _) => id,
        (RouterId::Hash, _) => model::names::router_id(name),
        (RouterId::Address, Some(IpAddr::V4(addr))) => addr,
        (RouterId::Address, _) => return Err(NoBgp::NoRouterId { node: name.clone() }),
    };
    let asn = bgp.asn(own);
    if is_reserved(asn) {
        return Err(NoBgp::ReservedAsn { node: name.clone(), asn });
    }
    let bind = bgp.cluster().and_then(|cluster| cluster.bind_mode).unwrap_or_default();
    let (peers, mut complaints) = peers::derive(world, own);
    complaints.extend(world.peering_complaints());
    let mut listen_addrs: Vec<IpAddr> = Vec::new();
    if bind == BindMode::NodeIP {
        let towards_pods = peers.values().filter(|peer| peer.is_pod).filter_map(|peer| peer.source);
        listen_addrs.extend(own.addrs().chain(towards_pods.collect::<BTreeSet<_>>()));
    }
    let export = export::derive(world, own);
    Ok(BgpPlan {
        asn,
        router_id,
        cluster_id: own.cluster_id,
        listen_port: bgp.listen_port(name),
        listen_addrs,
        peers,
        originate: export::originate(world, own, &export),
        export,
        complaints,
    })
}
