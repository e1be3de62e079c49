//! Which pods of this node are BGP peers of it, and by which address: those that a BGPPeer's `localWorkloadSelector` selects.
//!
//! ```text
//!  node: cali…  localWorkloadPeeringIPV4/32 ──── BGP ──── eth0  the pod's own address
//! ```
//!
//! Every node has the same address towards its own pods, so that a pod need not know where it runs. It has it on the
//! interfaces of those pods alone, with the scope of the host: no route to a pod takes it for its source.

use super::{BgpWorld, Complaint, peers, services};
use crate::{Attachment, World};
use kernel::addr::AddrScope;
use kernel::{AddrKey, AddrValue, Key, Netns, Objects, Value};
use model::v3::BgpPeerSpec;
use model::{Cidr, IfAddr, IfName};
use std::net::IpAddr;

/// An address of a pod that is a BGP peer.
pub(crate) struct WorkloadPeer<'a> {
    pub pod: IpAddr,
    /// The host's interface towards it.
    pub device: &'a IfName,
    /// This node's address towards it.
    pub own: IpAddr,
}

impl BgpWorld {
    /// Whether any BGPPeer asks for sessions with pods.
    pub fn has_workload_peers(&self) -> bool {
        self.peers.values().any(|spec| spec.local_workload_selector.is_some())
    }

    fn configured(&self, v4: bool) -> Option<IpAddr> {
        let cluster = self.cluster()?;
        let (of_v4, of_v6) = (cluster.local_workload_peering_ipv4, cluster.local_workload_peering_ipv6);
        if v4 { of_v4.map(IpAddr::V4) } else { of_v6.map(IpAddr::V6) }
    }
}

impl World {
    /// The pods that are BGP peers of this node.
    pub(crate) fn workload_peers(&self) -> Vec<WorkloadPeer<'_>> {
        if !self.bgp.speaks || !self.bgp.has_workload_peers() {
            return Vec::new();
        }
        let (v4, v6) = (self.peering_addr(true), self.peering_addr(false));
        let selected = self.bgp.peers.values().flat_map(|spec| self.selected_by(spec));
        let pairs = selected.flat_map(|attachment| {
            attachment.addresses.iter().map(move |pod| (*pod, &attachment.host_interface))
        });
        let peer = |(pod, device): (IpAddr, _)| {
            Some(WorkloadPeer { pod, device, own: if pod.is_ipv4() { v4 } else { v6 }? })
        };
        pairs.filter_map(peer).collect()
    }

    /// The attachments that a BGPPeer selects, if this node is at its own end.
    pub(super) fn selected_by<'a>(&'a self, spec: &'a BgpPeerSpec) -> impl Iterator<Item = &'a Attachment> {
        let own = self.bgp.nodes.get(&self.node);
        let is_here = own.is_some_and(|own| peers::sits_at_own_end(spec, &self.node, own));
        let selector = spec.local_workload_selector.as_ref().filter(|_| is_here);
        let attachments = self.endpoints.values().map(|endpoint| &endpoint.attachment);
        attachments.filter(move |attachment| {
            let labels = attachment.pod.as_ref().and_then(|pod| self.bgp.pods.get(pod));
            selector.zip(labels).is_some_and(|(selector, labels)| selector.matches(labels))
        })
    }

    /// This node's address towards pods that are BGP peers: what is configured, if it is nobody else's.
    pub(super) fn peering_addr(&self, v4: bool) -> Option<IpAddr> {
        let addr = self.bgp.configured(v4)?;
        self.why_not_ours(addr).is_none().then_some(addr)
    }

    /// Why no pod may know its node by an address, in words.
    fn why_not_ours(&self, addr: IpAddr) -> Option<String> {
        let is_special = addr.is_unspecified() || addr.is_multicast() || addr.is_loopback();
        if is_special {
            return Some("is no address of an interface".to_owned());
        }
        if let Some((name, pool)) = self.pool_of(Cidr::host(addr)) {
            return Some(format!("lies in {}, IPPool {name}", pool.cidr));
        }
        let subnets = self.bgp.nodes.iter().flat_map(|(name, node)| [(name, node.v4), (name, node.v6)]);
        let mut subnets = subnets.filter_map(|(name, addr)| Some((name, addr?.subnet())));
        if let Some((name, subnet)) = subnets.find(|(_, subnet)| subnet.contains(addr)) {
            return Some(format!("lies in {subnet}, the subnet of node {name}"));
        }
        let range = services::ranges(&self.bgp).find(|range| range.contains(addr))?;
        Some(format!("lies in {range}, a range of services"))
    }

    /// What is wrong with the addresses that nodes should have towards pods.
    pub(super) fn peering_complaints(&self) -> impl Iterator<Item = Complaint> {
        let families = [true, false].into_iter().filter(|_| self.bgp.has_workload_peers());
        families.filter_map(|v4| {
            let addr = self.bgp.configured(v4)?;
            Some(Complaint::PeeringAddr { addr, why: self.why_not_ours(addr)? })
        })
    }
}

/// The field of BGPConfiguration that has nodes' address of this family towards pods.
pub(super) fn field(addr: IpAddr) -> &'static str {
    if addr.is_ipv4() { "localWorkloadPeeringIPV4" } else { "localWorkloadPeeringIPV6" }
}

/// The node's address on the interfaces of pods that are BGP peers.
pub(crate) fn derive(world: &World) -> Objects {
    let peerings = world.workload_peers().into_iter().map(|peer| {
        let len = if peer.own.is_ipv4() { 32 } else { 128 };
        let addr = IfAddr::new(peer.own, len).expect("a host prefix fits its family");
        let key = AddrKey { netns: Netns::Host, device: peer.device.clone(), addr };
        (Key::Addr(key), Value::Addr(AddrValue { scope: AddrScope::Host }))
    });
    peerings.collect()
}
