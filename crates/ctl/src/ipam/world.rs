//! All that `ipam check` compares: what is assigned, and who uses which address.

use super::all;
use crate::failure::{Failure, Fault};
use crate::store::{Store, parts};
use ::ipam::block;
use ::ipam::check::Objects;
use datastore::Resource;
use model::k8s::{Node, Pod};
use model::v3::{self, AllocationAttribute, IpPool};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Objects and users, read one kind after the other.
pub struct World {
    pub objects: Objects,
    /// Addresses of tunnels, load balancers and workloads, and who uses each.
    pub tunnels: Vec<(IpAddr, String)>,
    pub balancers: Vec<(IpAddr, String)>,
    pub workloads: Vec<(IpAddr, String)>,
}

impl World {
    /// Reads all from the API.
    pub async fn read(store: &Store) -> Result<World, Failure> {
        let mut objects = Objects {
            pools: all(store, "IPPool").await?,
            blocks: all(store, "IPAMBlock").await?,
            affinities: all(store, "BlockAffinity").await?,
            handles: all(store, "IPAMHandle").await?,
            nodes: BTreeSet::new(),
            in_use: Vec::new(),
        };
        let nodes: Vec<Node> = all(store, "Node").await?;
        objects.nodes = nodes.iter().map(|node| node.metadata.name.clone()).collect();
        let pods: Vec<Pod> = all(store, "Pod").await?;
        let tunnels: Vec<_> = nodes.iter().flat_map(tunnels).collect();
        let balancers = balancers(store).await?;
        let workloads: Vec<_> = pods.iter().filter_map(Pod::endpoint).flat_map(workload).collect();
        objects.in_use = tunnels.iter().chain(&balancers).chain(&workloads).cloned().collect();
        Ok(World { objects, tunnels, balancers, workloads })
    }

    /// Every address that somebody uses, and who.
    pub fn in_use(&self) -> BTreeMap<IpAddr, &str> {
        self.objects.in_use.iter().map(|(addr, user)| (*addr, user.as_str())).collect()
    }

    /// Every allocation; an address that was released and is cooling down is nobody's.
    pub fn allocations(&self) -> impl Iterator<Item = (IpAddr, &AllocationAttribute)> {
        let all = self.objects.blocks.iter().flat_map(|b| {
            block::allocated(&b.spec).map(move |(ordinal, holder)| (block::addr(&b.spec, ordinal), holder))
        });
        all.filter(|(_, holder)| holder.released_at.is_none())
    }

    /// The pools that are not disabled.
    pub fn active_pools(&self) -> impl Iterator<Item = &IpPool> {
        self.objects.pools.iter().filter(|pool| !pool.spec.disabled)
    }

    /// Whether an active pool contains the address.
    pub fn is_in_a_pool(&self, addr: IpAddr) -> bool {
        self.active_pools().any(|pool| pool.spec.cidr.contains(addr))
    }
}

fn workload(endpoint: v3::WorkloadEndpoint) -> impl Iterator<Item = (IpAddr, String)> {
    let namespace = endpoint.metadata.namespace.unwrap_or_default();
    let user = format!("Workload({namespace}/{})", endpoint.metadata.name);
    endpoint.spec.ip_networks.into_iter().map(move |network| (network.addr(), user.clone()))
}

/// The addresses of a node's tunnel devices.
fn tunnels(node: &Node) -> Vec<(IpAddr, String)> {
    let spec = v3::Node::from(node).resource.spec;
    let wireguard = spec.wireguard.unwrap_or_default();
    let addresses = [
        spec.bgp.and_then(|bgp| bgp.ipv4_ipip_tunnel_addr),
        spec.ipv4_vxlan_tunnel_addr,
        spec.ipv6_vxlan_tunnel_addr,
        wireguard.interface_ipv4_address,
        wireguard.interface_ipv6_address,
    ];
    addresses.into_iter().flatten().map(|addr| (addr, format!("Node({})", node.metadata.name))).collect()
}

/// The addresses of load balancers. A server without services has none.
async fn balancers(store: &Store) -> Result<Vec<(IpAddr, String)>, Failure> {
    let services = Resource::of_kind("Service").expect("the kind is in the table");
    let list = match store.client.list_json(services, None).await {
        Err(e) if e.is_not_found() => return Ok(Vec::new()),
        list => list.map_err(|e| Fault::of("Service", e))?,
    };
    let mut found = Vec::new();
    for service in parts(list).1.into_iter().filter(|service| service["spec"]["type"] == "LoadBalancer") {
        let (namespace, name) = (&service["metadata"]["namespace"], &service["metadata"]["name"]);
        let user = format!(
            "Service({}/{})",
            namespace.as_str().unwrap_or_default(),
            name.as_str().unwrap_or_default()
        );
        for ingress in service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten() {
            if let Some(addr) = ingress["ip"].as_str().and_then(|text| text.parse().ok()) {
                found.push((addr, user.clone()));
            }
        }
    }
    Ok(found)
}
