//! CNI requests as the plugin hands them to the agent, and the agent's replies. The plugin has checked the specification's
//! side (environment, version, configuration) and prints the reply in the version that the runtime asked for.

use derive::AttachmentId;
use model::k8s::{self, AnnotationError, Pod};
use model::{Cidr, IfName, Mac, Metadata, Mtu};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A request of the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub command: Command,
    /// Name of the network (`name` of the configuration).
    pub network: String,
    /// Empty for STATUS and GC.
    pub container_id: String,
    /// `CNI_IFNAME`; absent for STATUS and GC.
    pub interface: Option<IfName>,
    /// `CNI_NETNS` and the device and inode of what was opened there.
    pub netns: Option<NetnsRef>,
    /// `K8S_POD_NAMESPACE` and `K8S_POD_NAME`, if both are given.
    pub pod: Option<(String, String)>,
    pub options: Options,
}

/// The pod's network namespace, whose descriptor travels with the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsRef {
    pub path: String,
    pub inode: (u64, u64),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Command {
    Add,
    Del,
    /// With what the runtime remembers of the ADD.
    Check {
        previous: Added,
    },
    Status,
    /// Everything of the network that is not in the list is to be removed.
    Gc {
        valid: Vec<AttachmentId>,
    },
}

/// The parts of the network configuration that decide something in the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// 0: the agent's choice.
    pub mtu: u32,
    /// Pools to choose from, by CIDR or name.
    pub ipv4_pools: Vec<String>,
    /// Those that the pod or its namespace asks for by annotation. The plugin does not know them.
    #[serde(skip)]
    pub pod_pools: Vec<String>,
    /// `K8S_POD_UID`: a pod of the same name may be another one.
    pub pod_uid: Option<String>,
    /// `IP=` of `CNI_ARGS`: the address to give.
    pub requested: Vec<IpAddr>,
    /// `container_settings.allow_ip_forwarding`.
    pub allow_ip_forwarding: bool,
}

impl Options {
    /// What the pod's annotations ask for goes before the configuration.
    pub fn ask_as(&mut self, pod: &Pod) -> Result<(), AnnotationError> {
        k8s::refuse_unsupported(&pod.metadata)?;
        self.requested.extend(pod.requested_addresses(k8s::pod_annotation::IP_ADDRS)?);
        self.pod_pools = k8s::requested_pools(&pod.metadata)?;
        Ok(())
    }

    /// What the namespace's annotations ask for goes before the configuration, if the pod asks for nothing.
    pub fn ask_as_namespace(&mut self, namespace: &Metadata) -> Result<(), AnnotationError> {
        k8s::refuse_unsupported(namespace)?;
        self.pod_pools = k8s::requested_pools(namespace)?;
        Ok(())
    }

    /// The pools to choose from; none: every automatic one that selects the node and the namespace.
    pub fn pools(&self) -> &[String] {
        if self.pod_pools.is_empty() { &self.ipv4_pools } else { &self.pod_pools }
    }
}

/// The agent's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// ADD: what the pod got.
    Added(Added),
    /// DEL, CHECK, STATUS, GC: done, good.
    Done,
    Failed(Failure),
}

/// A pod's interface, addresses and routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Added {
    pub host_interface: String,
    pub interface: String,
    pub mac: Option<Mac>,
    pub mtu: Option<Mtu>,
    pub netns: String,
    pub addresses: Vec<IpAddr>,
    pub routes: Vec<Cidr>,
}

/// A failure in the specification's terms (CNI 1.1.0 §5 "Error").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: u32,
    pub msg: String,
    pub details: String,
}

/// Error codes: below 100 the specification's, from 100 on ours.
pub mod code {
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    pub const UNSUPPORTED_FIELD: u32 = 2;
    pub const UNKNOWN_CONTAINER: u32 = 3;
    pub const INVALID_ENVIRONMENT: u32 = 4;
    pub const IO_FAILURE: u32 = 5;
    pub const DECODE_FAILURE: u32 = 6;
    pub const INVALID_CONFIG: u32 = 7;
    pub const TRY_AGAIN_LATER: u32 = 11;
    pub const NOT_AVAILABLE: u32 = 50;
    /// Everything else, as Calico's plugin has it.
    pub const INTERNAL: u32 = 999;
}
