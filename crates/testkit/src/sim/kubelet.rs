//! What the kubelets want and remember: sandboxes, each with a handle of its own, that are added until it works or the pod
//! is gone, and deleted until that works. They outlive the agent.

use model::Cidr;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How often a pod is tried anew after a failed ADD.
pub const TRIES: u32 = 4;

/// A pod and how often it was tried.
#[derive(Clone, Debug)]
pub struct Pod {
    pub node: usize,
    /// The address that it asks for.
    pub given: Option<IpAddr>,
    pub wanted: bool,
    pub tries: u32,
    /// Why the last ADD failed.
    pub error: Option<String>,
}

/// A sandbox of a pod: one ADD and one DEL.
#[derive(Clone, Debug)]
pub struct Sandbox {
    pub pod: String,
    pub node: usize,
    pub state: State,
}

/// How far a sandbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Adding,
    /// ADD answered.
    Running {
        addr: IpAddr,
        block: Cidr,
    },
    Deleting,
}

/// The kubelets of all nodes.
#[derive(Clone, Debug, Default)]
pub struct Kubelets {
    pub pods: BTreeMap<String, Pod>,
    /// By handle.
    pub sandboxes: BTreeMap<String, Sandbox>,
}

impl Kubelets {
    /// Every address that an ADD answered with and no DEL took back, and its handle.
    pub fn running(&self) -> impl Iterator<Item = (IpAddr, &str)> {
        self.sandboxes.iter().filter_map(|(handle, sandbox)| match sandbox.state {
            State::Running { addr, .. } => Some((addr, handle.as_str())),
            _ => None,
        })
    }

    /// The sandbox of a pod that is not being deleted.
    pub fn sandbox_of(&self, pod: &str) -> Option<&str> {
        let mut live = self.sandboxes.iter().filter(|(_, s)| s.pod == pod && s.state != State::Deleting);
        live.next().map(|(handle, _)| handle.as_str())
    }
}
