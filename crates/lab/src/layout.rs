//! Where a lab's files are. Everything of one lab is below one directory:
//!
//! ```text
//! /run/tortie/lab/NAME/
//!   topology.yaml                 what was asked for
//!   kubeconfig                    the administrator's
//!   bin/                          calicoctl, kubectl-calico, calico: links to this program
//!   netns/fabric, netns/NODE      namespaces, as bind mounts
//!   processes/NAME                pid and start time of each resident process
//!   logs/NAME
//!   apiserver/                    its store
//!   nodes/NODE/                   kubeconfig, agent.sock, kubelet.sock, state/, net.d/10-calico.conflist
//!   nodes/NODE/pods/              one file a sandbox, and its namespace beside it
//! ```

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The name of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabName(String);

impl FromStr for LabName {
    type Err = String;

    fn from_str(text: &str) -> Result<LabName, String> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > 40 || !text.chars().all(good) {
            return Err("a lab's name has 1 to 40 lower-case letters, digits and `-`".into());
        }
        Ok(LabName(text.into()))
    }
}

impl std::fmt::Display for LabName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The paths of one lab.
#[derive(Clone, Debug)]
pub struct Layout {
    pub name: LabName,
    /// The directory of all labs.
    pub labs: PathBuf,
    pub root: PathBuf,
}

impl Layout {
    pub fn new(labs: &Path, name: &LabName) -> Layout {
        Layout { name: name.clone(), labs: labs.to_owned(), root: labs.join(&name.0) }
    }

    pub fn exists(&self) -> bool {
        self.root.exists()
    }

    pub fn topology(&self) -> PathBuf {
        self.root.join("topology.yaml")
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    pub fn namespaces(&self) -> PathBuf {
        self.root.join("netns")
    }

    pub fn fabric(&self) -> PathBuf {
        self.namespaces().join("fabric")
    }

    pub fn node_netns(&self, node: &str) -> PathBuf {
        self.namespaces().join(node)
    }

    pub fn processes(&self) -> PathBuf {
        self.root.join("processes")
    }

    pub fn log(&self, process: &str) -> PathBuf {
        self.root.join("logs").join(process)
    }

    pub fn apiserver(&self) -> PathBuf {
        self.root.join("apiserver")
    }

    pub fn nodes(&self) -> PathBuf {
        self.root.join("nodes")
    }

    pub fn node(&self, node: &str) -> NodeLayout {
        NodeLayout { root: self.nodes().join(node) }
    }

    /// Makes the directories of a lab with these nodes.
    pub fn create(&self, nodes: &[String]) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.labs)?;
        std::fs::create_dir(&self.root)?;
        for directory in ["bin", "netns", "processes", "logs", "nodes"] {
            std::fs::create_dir(self.root.join(directory))?;
        }
        // Keys and tokens are in it, and the server takes no other.
        std::fs::DirBuilder::new().mode(0o700).create(self.apiserver())?;
        for node in nodes {
            let node = self.node(node);
            for directory in [node.root.clone(), node.state(), node.net_d(), node.pods()] {
                std::fs::create_dir(directory)?;
            }
        }
        Ok(())
    }
}

/// The paths of one node.
#[derive(Clone, Debug)]
pub struct NodeLayout {
    root: PathBuf,
}

impl NodeLayout {
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    pub fn socket(&self) -> PathBuf {
        self.root.join("agent.sock")
    }

    /// Where the API server passes `kubectl exec` on to.
    pub fn kubelet_socket(&self) -> PathBuf {
        self.root.join("kubelet.sock")
    }

    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    pub fn net_d(&self) -> PathBuf {
        self.root.join("net.d")
    }

    pub fn conflist(&self) -> PathBuf {
        self.net_d().join("10-calico.conflist")
    }

    /// Sandboxes: `NAMESPACE.POD.json` with what is known of one, `ID.netns` its namespace.
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }
}
