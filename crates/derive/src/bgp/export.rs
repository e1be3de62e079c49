//! What this node says: its own prefixes, and which of all it knows may be told to a peer whose filters leave it open.

use super::{BgpNode, BgpWorld, services};
use crate::World;
use model::ifname::glob;
use model::{Cidr, Community, IfName};
use std::collections::{BTreeMap, BTreeSet};

const NORMAL_PRIORITY: u32 = 1024;

/// A prefix of our own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    pub communities: BTreeSet<Community>,
    /// Set if this node is no more than connected to it: then it is told where a peer's filter says so, and nowhere else.
    pub interface: Option<IfName>,
}

/// What any peer may be told, after its own filter has left a route undecided: what is our own, and what is inside a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// Pools with `disableBGPExport`: nothing inside them is told.
    pub withheld: BTreeSet<Cidr>,
    /// Pools, and where this node reflects routes, the services' ranges.
    pub told: BTreeSet<Cidr>,
    /// Communities of what is inside a prefix.
    pub communities: Vec<(Cidr, Vec<Community>)>,
    /// Metric of our own IPv4 routes: the smaller is preferred.
    pub priority_v4: u32,
    /// Metric of our own IPv6 routes.
    pub priority_v6: u32,
}

impl Export {
    /// The communities that a route to `dst` gets on its way out.
    pub fn communities(&self, dst: Cidr) -> BTreeSet<Community> {
        let covering = self.communities.iter().filter(|(cidr, _)| cidr.covers(dst));
        covering.flat_map(|(_, communities)| communities.iter().copied()).collect()
    }
}

/// The LOCAL_PREF that carries a metric through the AS, and back: the smaller the metric, the larger the preference.
pub fn local_pref(priority: u32) -> u32 {
    (i32::MAX as u32).saturating_sub(priority)
}

pub(super) fn derive(world: &World, own: &BgpNode) -> Export {
    let bgp = &world.bgp;
    let (withheld, told): (Vec<_>, Vec<_>) = world.pools.values().partition(|pool| pool.disable_bgp_export);
    let mut told: BTreeSet<Cidr> = told.iter().map(|pool| pool.cidr).collect();
    let cluster = bgp.cluster();
    if own.cluster_id.is_some() {
        let services = cluster.into_iter().flat_map(|cluster| {
            cluster.service_load_balancer_ips.iter().chain(&cluster.service_external_ips)
        });
        told.extend(services.filter_map(|range| range.cidr));
    }
    Export {
        withheld: withheld.iter().map(|pool| pool.cidr).collect(),
        told,
        communities: communities(bgp, &world.node),
        priority_v4: cluster.and_then(|c| c.ipv4_normal_route_priority).unwrap_or(NORMAL_PRIORITY),
        priority_v6: cluster.and_then(|c| c.ipv6_normal_route_priority).unwrap_or(NORMAL_PRIORITY),
    }
}

/// A node's own advertisements stand in place of the cluster's.
fn communities(bgp: &BgpWorld, node: &str) -> Vec<(Cidr, Vec<Community>)> {
    let own = bgp.own(node).filter(|own| !own.prefix_advertisements.is_empty());
    let configuration = own.or_else(|| bgp.cluster());
    let advertisements = configuration.into_iter().flat_map(|configuration| {
        let resolved = |advertisement| configuration.communities_of(advertisement);
        configuration.prefix_advertisements.iter().map(move |a| (a.cidr, resolved(a)))
    });
    advertisements.filter_map(|(cidr, communities)| Some((cidr?, communities))).collect()
}

/// Blocks of this node, the addresses that its pods have from blocks of others, services, and the subnets that it is
/// connected to.
pub(super) fn originate(world: &World, own: &BgpNode, export: &Export) -> BTreeMap<Cidr, Own> {
    let told = |dst, interface| (dst, Own { communities: export.communities(dst), interface });
    let blocks = world.blocks.iter().map(|(cidr, owner)| (*cidr, owner));
    let borrowed = world.borrowed.iter().map(|(addr, owner)| (Cidr::host(*addr), owner));
    let pods =
        blocks.chain(borrowed).filter(|(dst, owner)| **owner == world.node && world.pool_of(*dst).is_some());
    let services = services::told(&world.bgp, own);
    let ours = pods.map(|(dst, _)| dst).chain(services).map(|dst| told(dst, None));
    let mut originate: BTreeMap<Cidr, Own> =
        connected(world).map(|(dst, on)| told(dst, Some(on.clone()))).collect();
    originate.extend(ours);
    originate
}

/// Subnets of the interfaces that count: not pods', not those of services, not those that the configuration ignores.
fn connected(world: &World) -> impl Iterator<Item = (Cidr, &IfName)> {
    const NEVER: [&str; 2] = ["cali*", "kube-ipvs*"];
    let ignored = world.bgp.cluster().into_iter().flat_map(|cluster| &cluster.ignored_interfaces);
    let ignored: Vec<&str> = ignored.map(String::as_str).chain(NEVER).collect();
    let counts = move |on: &IfName| !ignored.iter().any(|pattern| glob(pattern, on.as_str()));
    world.connected.iter().filter(move |(_, on)| counts(on)).map(|(dst, on)| (*dst, on))
}
