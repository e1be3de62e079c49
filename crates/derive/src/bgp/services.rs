//! Which addresses of Services this node tells its peers of.
//!
//! The ranges that BGPConfiguration `default` lists are told whole, by every node. A single address is told
//!
//! | the service's `externalTrafficPolicy` | told by |
//! |---|---|
//! | `Local` | nodes with an endpoint that answers |
//! | `Cluster` | every node, if one of its addresses is listed by itself (a range of one address) |
//! | `Cluster`, with `serviceLoadBalancerAggregation: Disabled` | every node, while there is an endpoint; load balancers' ranges are not told then |
//!
//! and only if it lies in one of the ranges of its sort. A node with the label
//! `node.kubernetes.io/exclude-from-external-load-balancers` tells none of these.

use super::{BgpNode, BgpWorld};
use model::Cidr;
use model::k8s::{EndpointSlice, Service};
use model::v3::{BgpConfigurationSpec, ServiceCidr};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Namespace and name.
pub(super) type Name = (String, String);

/// The services of the cluster, as far as their addresses go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    pub(super) services: BTreeMap<Name, Addresses>,
    /// By the slice's name.
    pub(super) slices: BTreeMap<Name, Answering>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    cluster: Vec<IpAddr>,
    external: Vec<IpAddr>,
    load_balancer: Vec<IpAddr>,
    is_local: bool,
}

/// A slice with an endpoint that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answering {
    service: String,
    /// One of them is on this node.
    here: bool,
}

impl From<&Service> for Addresses {
    fn from(service: &Service) -> Addresses {
        Addresses {
            cluster: service.cluster_addrs().collect(),
            external: service.external_addrs().collect(),
            load_balancer: service.load_balancer_addrs().collect(),
            is_local: service.is_local(),
        }
    }
}

impl Answering {
    /// `None`: nobody answers, or it is no service's.
    pub(super) fn of(slice: &EndpointSlice, node: &str) -> Option<Answering> {
        let service = slice.service()?.to_owned();
        slice.ready_on().next()?;
        Some(Answering { service, here: slice.ready_on().any(|at| at == Some(node)) })
    }
}

/// The ranges of each sort.
struct Ranges<'a> {
    cluster: &'a [ServiceCidr],
    external: &'a [ServiceCidr],
    load_balancer: &'a [ServiceCidr],
}

impl<'a> Ranges<'a> {
    fn of(cluster: &'a BgpConfigurationSpec) -> Ranges<'a> {
        Ranges {
            cluster: &cluster.service_cluster_ips,
            external: &cluster.service_external_ips,
            load_balancer: &cluster.service_load_balancer_ips,
        }
    }
}

fn cidrs(ranges: &[ServiceCidr]) -> impl Iterator<Item = Cidr> {
    ranges.iter().filter_map(|range| range.cidr)
}

/// Whether services are told of at all, so that it matters which there are.
pub(super) fn are_told(bgp: &BgpWorld) -> bool {
    ranges(bgp).next().is_some()
}

/// All ranges of services.
pub(crate) fn ranges(bgp: &BgpWorld) -> impl Iterator<Item = Cidr> {
    let ranges = bgp.cluster().map(Ranges::of);
    ranges
        .into_iter()
        .flat_map(|of| cidrs(of.cluster).chain(cidrs(of.external)).chain(cidrs(of.load_balancer)))
}

/// What this node tells of.
pub(super) fn told(bgp: &BgpWorld, own: &BgpNode) -> BTreeSet<Cidr> {
    let Some(cluster) = bgp.cluster() else { return BTreeSet::new() };
    if own.labels.get(EXCLUDED).is_some_and(|value| value == "true") {
        return BTreeSet::new();
    }
    let ranges = Ranges::of(cluster);
    let singly = cluster.service_load_balancer_aggregation.as_deref() == Some("Disabled");
    let services = &bgp.services;
    let (anywhere, here) = (services.answering(|_| true), services.answering(|slice| slice.here));
    let told = services.services.iter().filter(|((namespace, name), service)| {
        let name = (namespace.as_str(), name.as_str());
        match service.is_local {
            true => here.contains(&name),
            false => ranges.lists_alone(service) || singly && anywhere.contains(&name),
        }
    });
    ranges.whole(singly).chain(told.flat_map(|(_, service)| ranges.singly(service))).collect()
}

impl Services {
    /// Services with a slice of this sort.
    fn answering(&self, is: impl Fn(&Answering) -> bool) -> BTreeSet<(&str, &str)> {
        let slices = self.slices.iter().filter(|(_, slice)| is(slice));
        slices.map(|((namespace, _), slice)| (namespace.as_str(), slice.service.as_str())).collect()
    }
}

impl Ranges<'_> {
    /// The ranges that are told whole. One of a single address is told while there is a service that has it.
    fn whole(&self, singly: bool) -> impl Iterator<Item = Cidr> {
        let balanced = cidrs(self.load_balancer).filter(move |_| !singly);
        let others = cidrs(self.external).chain(balanced).filter(|range| !range.is_host());
        cidrs(self.cluster).chain(others)
    }

    /// The addresses of a service that may be told.
    fn singly(&self, service: &Addresses) -> impl Iterator<Item = Cidr> {
        let sorts = [
            (self.cluster, &service.cluster),
            (self.external, &service.external),
            (self.load_balancer, &service.load_balancer),
        ];
        let within = sorts.into_iter().flat_map(|(listed, addrs)| {
            let lists = move |addr: &&IpAddr| cidrs(listed).any(|range| range.contains(**addr));
            addrs.iter().filter(lists)
        });
        within.map(|addr| Cidr::host(*addr))
    }

    /// Whether an address of the service that comes from outside is listed by itself.
    fn lists_alone(&self, service: &Addresses) -> bool {
        let alone = |ranges: &[ServiceCidr], addrs: &[IpAddr]| {
            cidrs(ranges).any(|range| range.is_host() && addrs.contains(&range.addr()))
        };
        alone(self.load_balancer, &service.load_balancer) || alone(self.external, &service.external)
    }
}
