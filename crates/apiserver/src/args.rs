//! The command line of `tortie apiserver`.

use crate::Config;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Serve the Kubernetes API from a SQLite file.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address and port to serve HTTPS on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:6443")]
    pub listen: SocketAddr,

    /// Directory of the database, the certificate authority and the tokens; made with mode 0700 if missing
    #[arg(long, value_name = "DIR", default_value = "/var/lib/tortie/apiserver")]
    pub data: PathBuf,

    /// Address that clients use, where it is not the one of --listen (behind a forward, or with 0.0.0.0)
    #[arg(long, value_name = "ADDRESS")]
    pub advertise_address: Option<IpAddr>,

    /// Write a kubeconfig with all rights here, mode 0600
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,

    /// Directory with a folder for each node, where its kubelet listens on `NODE/kubelet.sock`: for `kubectl exec`
    #[arg(long, value_name = "DIR")]
    pub kubelets: Option<PathBuf>,

    /// How many revisions back a watch may start; an older one begins with a list
    #[arg(long, value_name = "REVISIONS", default_value_t = crate::server::HISTORY)]
    pub history: u64,

    /// Write a kubeconfig with the rights of node NAME to PATH, mode 0600; may be repeated
    #[arg(long, value_name = "NAME=PATH")]
    pub node_kubeconfig: Vec<NodeKubeconfig>,
}

/// `NAME=PATH`: whose kubeconfig to write, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeKubeconfig {
    pub node: String,
    pub path: PathBuf,
}

impl FromStr for NodeKubeconfig {
    type Err = String;

    fn from_str(text: &str) -> Result<NodeKubeconfig, String> {
        match text.split_once('=') {
            Some((node, path)) if !node.is_empty() && !path.is_empty() => {
                Ok(NodeKubeconfig { node: node.to_owned(), path: path.into() })
            }
            _ => Err(format!("`{text}` is not NAME=PATH")),
        }
    }
}

impl Args {
    /// The server's configuration, and the kubeconfigs to write: path and node, `None` for the admin's.
    pub(crate) fn split(self) -> (Config, Vec<(PathBuf, Option<String>)>) {
        let mut config = Config::new(self.listen, self.data);
        config.advertise = self.advertise_address;
        config.kubelets = self.kubelets;
        config.history = self.history;
        let admin = self.kubeconfig.into_iter().map(|path| (path, None));
        let nodes = self.node_kubeconfig.into_iter().map(|n| (n.path, Some(n.node)));
        (config, admin.chain(nodes).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_kubeconfig_is_a_name_and_a_path() {
        let parsed = "n1=/tmp/a=b".parse::<NodeKubeconfig>();
        assert_eq!(parsed, Ok(NodeKubeconfig { node: "n1".into(), path: "/tmp/a=b".into() }));
        for bad in ["", "n1", "=path", "n1="] {
            assert!(bad.parse::<NodeKubeconfig>().is_err(), "{bad}");
        }
    }
}
