//! The command line of `tortie node`. Variables have the names that calico-node and Felix know.

use crate::address::{Family, OwnAddress};
use crate::method::Method;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Run the agent of a node: addresses for its pods, routes, tunnels and rules in its kernel.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of this node's Node object [default: the file `nodename` of --state-dir, else the host's name]
    #[arg(long, env = "NODENAME", value_name = "NAME")]
    pub node_name: Option<String>,

    /// IPv4 address by which other nodes reach this one: an address, with or without its prefix length, `autodetect`, or
    /// `none` [default: what the Node object says at the start, else `autodetect`]
    #[arg(long, env = "IP", value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    #[arg(value_parser = |text: &str| Family::V4.wish(text))]
    pub ip: OwnAddress,

    /// How `autodetect` chooses: `first-found`, `cidr=CIDR,…`, `can-reach=HOST`, `interface=REGEX,…`, `skip-interface=REGEX,…`
    /// or `kubernetes-internal-ip`
    #[arg(long, env = "IP_AUTODETECTION_METHOD", value_name = "METHOD", default_value = "first-found")]
    pub ip_autodetection_method: Method,

    /// IPv6 address by which other nodes reach this one: an address, with or without its prefix length, `autodetect`, or
    /// `none`: what the Node object says
    #[arg(long, env = "IP6", value_name = "ADDRESS", default_value = "none")]
    #[arg(value_parser = |text: &str| Family::V6.wish(text))]
    pub ip6: OwnAddress,

    /// How `autodetect` chooses the IPv6 address: as --ip-autodetection-method does
    #[arg(long, env = "IP6_AUTODETECTION_METHOD", value_name = "METHOD", default_value = "first-found")]
    pub ip6_autodetection_method: Method,

    /// Kubeconfig of the API server [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,

    /// Socket for the CNI plugin and local commands
    #[arg(long, value_name = "PATH", default_value = "/var/run/calico/agent.sock")]
    pub socket: PathBuf,

    /// What must outlive the agent: attachments, queued DELs, the node's name
    #[arg(long, value_name = "DIR", default_value = "/var/lib/calico")]
    pub state_dir: PathBuf,

    /// Who carries IP in IP: the kernel's module, our stand-in for it, or `auto`: the module where the kernel has it
    #[arg(long, env = "TORTIE_IPIP_DRIVER", value_enum, value_name = "DRIVER", default_value_t)]
    pub ipip_driver: crate::ipip::Choice,

    /// Who carries routes between nodes: `bird`, as Calico calls a BGP speaker, or nobody (`vxlan`, `none`): then blocks
    /// are routed from the datastore alone
    #[arg(long, env = "CALICO_NETWORKING_BACKEND", value_enum, value_name = "BACKEND", default_value_t)]
    pub backend: Backend,

    /// BGP router ID: an IPv4 address, or `hash` for a hash of the node's name [default: the node's IPv4 address]
    #[arg(long, env = "CALICO_ROUTER_ID", value_name = "ID")]
    pub router_id: Option<derive::bgp::RouterId>,

    /// Namespace of the Secrets with BGP passwords
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE", default_value = "kube-system")]
    pub namespace: String,

    /// Serve /liveness and /readiness here, or `none`
    #[arg(long, env = "TORTIE_HEALTH", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9099")]
    pub health: Listen,

    /// Serve /metrics for Prometheus here, or `none`
    #[arg(long, env = "TORTIE_METRICS", value_name = "ADDRESS:PORT", default_value = "0.0.0.0:9091")]
    pub metrics: Listen,
}

impl Args {
    /// What is asked for as this node's address of a family, and how one is found.
    pub(crate) fn own_address(&self, family: Family) -> (OwnAddress, &Method) {
        match family {
            Family::V4 => (self.ip, &self.ip_autodetection_method),
            Family::V6 => (self.ip6, &self.ip6_autodetection_method),
        }
    }
}

/// `--backend`, by the names of calico-node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    #[default]
    Bird,
    Vxlan,
    None,
}

/// Where to serve something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        match text {
            "none" => Ok(Listen(None)),
            _ => text
                .parse()
                .map(|addr| Listen(Some(addr)))
                .map_err(|_| format!("`{text}` is neither ADDRESS:PORT (as in 127.0.0.1:9099) nor `none`")),
        }
    }
}
