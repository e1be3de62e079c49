//! What the datastore holds when a lab starts: what `kubeadm` and some weeks of life would have left in it. Nodes, the pool,
//! and for nodes that come with a block, the block, its affinity and the tunnel address in it.

use crate::topology::{Node, Topology, Tunnel};
use anyhow::{Context, bail};
use datastore::{Client, Patch, Resource};
use futures::stream::{self, TryStreamExt};
use jiff::Timestamp;
use model::k8s::annotation;
use model::store::{Object, Request};
use model::v3::{
    AffinityState, AllocationAttribute, AllowedUse, AssignmentMode, BlockAffinity, IpPool, IpPoolSpec,
    IpamBlock, IpamBlockSpec, IpamHandle, IpamHandleSpec,
};
use model::{Cidr, Metadata, names};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Requests under way at the same time.
const AT_ONCE: usize = 32;

/// Writes everything.
pub async fn write(client: &Client, topology: &Topology) -> anyhow::Result<()> {
    let described = client.ensure_cluster_information().await;
    described.context("cannot create the ClusterInformation")?;
    let objects = stream::iter(objects(topology, &now()).into_iter().map(Ok));
    objects.try_for_each_concurrent(AT_ONCE, |object| create(client, object)).await?;
    let nodes = stream::iter(topology.nodes.iter().map(Ok));
    nodes.try_for_each_concurrent(AT_ONCE, |node| create_node(client, topology, node)).await
}

async fn create(client: &Client, object: Object) -> anyhow::Result<()> {
    let key = object.key();
    match client.request(Request::Create(object)).await {
        Err(e) => bail!("cannot create {:?} `{}`: {e}", key.kind, key.name),
        Ok(_) => Ok(()),
    }
}

async fn create_node(client: &Client, topology: &Topology, node: &Node) -> anyhow::Result<()> {
    let nodes = Resource::of_kind("Node").expect("a kind of ours");
    let document = kubernetes_node(topology, node);
    let created = client.create_json(nodes, None, &document).await;
    created.with_context(|| format!("cannot create node {}", node.name))?;
    let patch = json!({"status": document["status"]});
    let patched = client.patch_json(nodes, None, &node.name, Some("status"), Patch::Merge, &patch).await;
    patched.with_context(|| format!("cannot set the status of node {}", node.name)).map(drop)
}

/// RFC 3339, in seconds.
pub fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn objects(topology: &Topology, now: &str) -> Vec<Object> {
    let mut objects: Vec<Object> = vec![pool(topology).into()];
    for node in &topology.nodes {
        // It is in the first block.
        let mut tunnel = tunnel_address(topology, node);
        for cidr in &node.blocks {
            let tunnel = tunnel.take();
            objects.extend(tunnel.map(|(kind, _)| handle(&node.name, kind, *cidr).into()));
            objects.push(block(&node.name, *cidr, tunnel, now).into());
            objects.push(BlockAffinity::of_host(&node.name, *cidr, AffinityState::Confirmed).into());
        }
    }
    objects
}

/// A node has a tunnel address only while the pool may need a tunnel.
fn tunnel_address(topology: &Topology, node: &Node) -> Option<(Tunnel, IpAddr)> {
    topology.mode.tunnel().zip(node.tunnel_address)
}

fn pool(topology: &Topology) -> IpPool {
    let pool = &topology.pool;
    IpPool {
        metadata: Metadata::named(&pool.name),
        spec: IpPoolSpec {
            cidr: pool.cidr,
            vxlan_mode: topology.mode.vxlan(),
            ipip_mode: topology.mode.ipip(),
            nat_outgoing: pool.nat_outgoing,
            disabled: false,
            disable_bgp_export: false,
            block_size: pool.block_size,
            node_selector: "all()".into(),
            namespace_selector: String::new(),
            allowed_uses: vec![AllowedUse::Workload, AllowedUse::Tunnel],
            assignment_mode: AssignmentMode::Automatic,
            rest: serde_json::Map::new(),
        },
    }
}

fn handle_id(node: &str, tunnel: Tunnel) -> String {
    match tunnel {
        Tunnel::Vxlan => names::vxlan_tunnel_handle(node),
        Tunnel::Ipip => names::ipip_tunnel_handle(node),
    }
}

fn handle(node: &str, tunnel: Tunnel, block: Cidr) -> IpamHandle {
    let id = handle_id(node, tunnel);
    IpamHandle {
        metadata: Metadata::named(names::handle(&id)),
        spec: IpamHandleSpec {
            handle_id: id,
            block: BTreeMap::from([(block.to_string(), 1)]),
            deleted: false,
        },
    }
}

fn block(node: &str, cidr: Cidr, tunnel: Option<(Tunnel, IpAddr)>, now: &str) -> IpamBlock {
    let size = 1_u32 << (if cidr.is_ipv4() { 32 } else { 128 } - cidr.len());
    let taken = tunnel.map(|(_, addr)| ordinal(cidr, addr));
    let attribute = |tunnel| AllocationAttribute {
        handle_id: Some(handle_id(node, tunnel)),
        secondary: BTreeMap::from([
            ("node".into(), node.to_owned()),
            ("type".into(), kind_of(tunnel).to_owned()),
        ]),
        ..AllocationAttribute::default()
    };
    IpamBlock {
        metadata: Metadata::named(names::block(cidr)),
        spec: IpamBlockSpec {
            cidr,
            affinity: Some(format!("host:{node}")),
            affinity_claim_time: Some(now.to_owned()),
            strict_affinity: false,
            allocations: (0..size).map(|n| (Some(n) == taken).then_some(0)).collect(),
            unallocated: (0..size).filter(|n| Some(*n) != taken).collect(),
            attributes: tunnel.map(|(tunnel, _)| attribute(tunnel)).into_iter().collect(),
            sequence_number: 1,
            sequence_number_for_allocation: taken.map(|n| (n.to_string(), 0)).into_iter().collect(),
            deleted: false,
        },
    }
}

fn kind_of(tunnel: Tunnel) -> &'static str {
    match tunnel {
        Tunnel::Vxlan => "vxlanTunnelAddress",
        Tunnel::Ipip => "ipipTunnelAddress",
    }
}

/// The place of an address in its block.
fn ordinal(block: Cidr, addr: IpAddr) -> u32 {
    match (block.addr(), addr) {
        (IpAddr::V4(first), IpAddr::V4(addr)) => u32::from(addr) - u32::from(first),
        (IpAddr::V6(first), IpAddr::V6(addr)) => {
            u32::try_from(u128::from(addr) - u128::from(first)).expect("a block has at most 4096 addresses")
        }
        _ => unreachable!("the topology is checked: {addr} is in {block}"),
    }
}

/// A Node as `kubectl get node -o wide` wants it; not ready until its kubelet has seen the network.
fn kubernetes_node(topology: &Topology, node: &Node) -> Value {
    let mut annotations = BTreeMap::new();
    if let Some((tunnel, addr)) = tunnel_address(topology, node) {
        let name = match tunnel {
            Tunnel::Vxlan => annotation::IPV4_VXLAN_TUNNEL_ADDR,
            Tunnel::Ipip => annotation::IPV4_IPIP_TUNNEL_ADDR,
        };
        annotations.insert(name, addr.to_string());
    }
    if node.absent {
        // What its agent would have said.
        annotations.insert(annotation::IPV4_ADDRESS, node.address.to_string());
    }
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let os = read("/etc/os-release")
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or("Linux".to_owned(), |name| name.trim_matches('"').to_owned());
    let version = concat!("v", env!("CARGO_PKG_VERSION"));
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "labels": {
                "kubernetes.io/hostname": node.name,
                "kubernetes.io/os": "linux",
                "node-role.kubernetes.io/master": "",
            },
            "annotations": annotations,
        },
        "spec": {},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": node.address.addr()},
                {"type": "Hostname", "address": node.name},
            ],
            "conditions": [not_ready("the lab starts")],
            "capacity": resources(),
            "allocatable": resources(),
            "nodeInfo": {
                "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
                "bootID": read("/proc/sys/kernel/random/boot_id"),
                "containerRuntimeVersion": format!("tortie-lab://{}", env!("CARGO_PKG_VERSION")),
                "kernelVersion": read("/proc/sys/kernel/osrelease"),
                "kubeProxyVersion": version,
                "kubeletVersion": version,
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": os,
                "systemUUID": "",
            },
        },
    })
}

/// What a node has for its pods: all that this machine has, as every other node of the lab.
fn resources() -> Value {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix(" kB"));
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    json!({
        "cpu": cpus.to_string(),
        "memory": format!("{}Ki", total.unwrap_or("0").trim()),
        "pods": "110",
    })
}

/// The condition by which kubelet says that a node has its network.
pub fn ready() -> Value {
    condition("True", "KubeletReady", "kubelet is posting ready status")
}

/// The condition by which kubelet says that a node has no network.
pub fn not_ready(why: &str) -> Value {
    condition("False", "KubeletNotReady", &format!("container runtime network not ready: {why}"))
}

fn condition(status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now(),
        "lastTransitionTime": now(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Mode;

    #[test]
    fn a_seeded_block_holds_its_nodes_tunnel_address_and_nothing_else() {
        let topology = Topology::article(Mode::Vxlan, 3, false);
        let objects = objects(&topology, "2026-01-01T00:00:00Z");
        let block = objects
            .iter()
            .find_map(|object| match object {
                Object::IpamBlock(block) if block.metadata.name == "6-2-136-0-26" => Some(&block.spec),
                _ => None,
            })
            .unwrap();
        assert_eq!(block.allocations.len(), 64);
        assert_eq!(block.allocations[3], Some(0));
        assert_eq!(block.unallocated.len(), 63);
        assert_eq!(block.attributes[0].handle_id.as_deref(), Some("vxlan-tunnel-addr-master3"));
    }

    #[test]
    fn direct_mode_has_no_tunnel_addresses() {
        let topology = Topology::article(Mode::Direct, 3, false);
        let objects = objects(&topology, "2026-01-01T00:00:00Z");
        assert!(!objects.iter().any(|object| matches!(object, Object::IpamHandle(_))));
    }
}
