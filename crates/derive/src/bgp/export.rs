//! What this node says: its own prefixes, and which of all it knows may be told to anybody.

use super::{BgpNode, BgpWorld};
use crate::World;
use model::{Cidr, Community};
use std::collections::{BTreeMap, BTreeSet};

const NORMAL_PRIORITY: u32 = 1024;

/// What any peer may be told, after its own filter has left a route undecided: what is inside a pool.
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
    /// Whether a route to `dst` may be told.
    pub fn allows(&self, dst: Cidr) -> bool {
        let inside = |ranges: &BTreeSet<Cidr>| ranges.iter().any(|range| range.covers(dst));
        !inside(&self.withheld) && inside(&self.told)
    }

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

/// Blocks of this node, and the addresses that its pods have from blocks of others.
pub(super) fn originate(world: &World, export: &Export) -> BTreeMap<Cidr, BTreeSet<Community>> {
    let blocks = world.blocks.iter().map(|(cidr, owner)| (*cidr, owner));
    let borrowed = world.borrowed.iter().map(|(addr, owner)| (Cidr::host(*addr), owner));
    let own = blocks.chain(borrowed).filter(|(dst, owner)| **owner == world.node && export.allows(*dst));
    own.map(|(dst, _)| (dst, export.communities(dst))).collect()
}
