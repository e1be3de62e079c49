//! `World`: all that is known, as one value. No history, no "last good".

use crate::Sent;
use crate::bgp::{BgpWorld, PeerSort};
use crate::mode::{Announcement, Encap, PoolVersion};
use kernel::PodNs;
use model::v3::{FelixConfigurationSpec, IpPoolSpec};
use model::{Cidr, IfAddr, IfName, Mac, Mtu};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// A snapshot of the cluster as one node knows it.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Our own name.
    pub node: String,
    /// Every node that has said its address, ourselves included.
    pub peers: BTreeMap<String, Peer>,
    /// By name.
    pub pools: BTreeMap<String, IpPoolSpec>,
    /// Which wish of each pool is known, by the pool's name.
    pub versions: BTreeMap<String, PoolVersion>,
    /// What this node said last of itself, whether or not it is known to be written.
    pub announced: Option<Announcement>,
    /// How the kernel sends to each destination now.
    pub sent: Sent,
    /// The gateways of what it sends without encapsulation now; kept until `selected`.
    pub hops: BTreeMap<Cidr, Vec<IpAddr>>,
    /// The tunnels that stand in the kernel now, with their addresses.
    pub carried: BTreeSet<Encap>,
    /// The kernel lets IP in IP in now, whether or not its tunnel has an address.
    pub admits_ipip: bool,
    /// Tunnels of which it was seen that no process of this node uses their own addresses.
    pub idle: BTreeSet<Encap>,
    /// Block to the node whose affinity it has.
    pub blocks: BTreeMap<Cidr, String>,
    /// Addresses inside a block of one node that belong to another.
    pub borrowed: BTreeMap<IpAddr, String>,
    /// `default`, overlaid by `node.<name>`.
    pub felix: FelixConfigurationSpec,
    /// What BGP is made from.
    pub bgp: BgpWorld,
    /// What BGP peers say of each destination, by rank, the best first; none of them is ours.
    pub learnt: BTreeMap<Cidr, Arc<[Learnt]>>,
    /// The subnets of our interfaces.
    pub connected: BTreeMap<Cidr, IfName>,
    /// The speaker has made its first selection, or there is no speaker: what is not learnt is not there.
    pub selected: bool,
    /// The interface that holds our node's address, once the kernel has been read.
    pub uplink: Option<Uplink>,
    /// Who carries IP in IP here. `None`: neither way works in this kernel.
    pub ipip: Option<IpipDriver>,
    /// Pods of this node.
    pub endpoints: BTreeMap<AttachmentId, Endpoint>,
}

impl World {
    /// The host's interface towards the pod of this node that has the address.
    pub fn device_of_pod(&self, addr: IpAddr) -> Option<&IfName> {
        let holding = |endpoint: &&Endpoint| endpoint.attachment.addresses.contains(&addr);
        self.endpoints.values().find(holding).map(|endpoint| &endpoint.attachment.host_interface)
    }

    /// Whether a pod of this node has the address.
    pub fn holds(&self, addr: IpAddr) -> bool {
        self.device_of_pod(addr).is_some()
    }
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The address by which others reach it, with its subnet.
    pub addr: IfAddr,
    /// The address of its `vxlan.calico`.
    pub vxlan_tunnel: Option<IpAddr>,
    /// The address of its `tunl0`.
    pub ipip_tunnel: Option<IpAddr>,
    /// The MAC of its `vxlan.calico`.
    pub vtep_mac: Mac,
    /// How far it is with the pools' modes. `None`: it is Calico's, which does not say.
    pub announcement: Option<Announcement>,
}

/// A path that a BGP peer gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learnt {
    pub next_hop: IpAddr,
    /// Who gave it, by the session's name.
    pub peer: String,
    pub sort: PeerSort,
    /// The node that gave it; `None`: a router, or a pod.
    pub node: Option<String>,
    /// The pod of this node that gave it, by its address.
    pub pod: Option<IpAddr>,
    /// How good it is: zero for the best, else that of the best if those of the ranks before were not there.
    pub rank: u16,
    /// A rule of the peer's BGPFilter is for destinations like this one, and accepts them.
    pub named: bool,
}

/// Who carries IP in IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpipDriver {
    /// The kernel's module `ipip`.
    Kernel,
    /// Our filters: an `ifb` by the name `tunl0`, which looks the same on the wire and in the routing table.
    StandIn,
}

/// The interface towards the other nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    pub device: IfName,
    pub mtu: Mtu,
}

/// What identifies an attachment: never a pod's name, so that a late DEL touches nothing of a new sandbox.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttachmentId {
    pub network: String,
    pub container_id: String,
    /// The interface inside the pod.
    pub interface: IfName,
}

/// One pod's interface. This is the content of the attachment's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub id: AttachmentId,
    /// Path of the pod's network namespace.
    pub netns: String,
    /// Device and inode of the namespace: a path can be reused.
    pub netns_inode: (u64, u64),
    /// The host's end of the pair.
    pub host_interface: IfName,
    pub addresses: Vec<IpAddr>,
    /// Of both ends of the pair. It is only ever raised: a smaller one would lose what is on its way already.
    pub mtu: Mtu,
    /// The largest packet that the pod's default route takes, if that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<Mtu>,
    /// The network's configuration gave the MTU: it is left alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mtu_is_given: bool,
    pub mac: Option<Mac>,
    /// `allow_ip_forwarding`: the pod may route.
    #[serde(default)]
    pub forwarding: bool,
    /// `namespace/name` of the pod, if the orchestrator is Kubernetes.
    pub pod: Option<(String, String)>,
    /// The kernel's boot id at the time of ADD: after a reboot the attachment is gone.
    pub boot_id: String,
    /// Its interface was lost and is being made anew: what stands may be the half of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restoring: bool,
    /// DEL was answered, but the address is not given back yet: the API was away.
    #[serde(default)]
    pub deleted: bool,
}

/// A pod of this node as the kernel should have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub attachment: Attachment,
    /// The pod's namespace, while we have it open. Without it only the host's side is derived.
    pub netns: Option<PodNs>,
    /// How much of the pod's side is derived.
    pub scope: Scope,
}

/// How much of a pod's side is ours to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The pod is being wired.
    #[default]
    Whole,
    /// It runs, and may have settings and routes of its own: only how large its packets are.
    Size,
}
