//! What the kubelets want and remember: sandboxes, each with a handle of its own, that are added until it works or the pod
//! is gone, and deleted until that works. They outlive the agent.

use super::simulation::{Happening, Purpose};
use super::{Broken, Sim};
use ipam::{Assigned, RequestId, Want};
use model::store::Object;
use model::{Cidr, Duration};
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

impl Sim {
    pub(super) fn ask(&mut self, index: usize, purpose: Purpose, want: Want) {
        let now = self.queue.now();
        let wall = self.wall(index);
        let node = &mut self.nodes[index];
        let Some(allocator) = &mut node.allocator else { return };
        node.requests += 1;
        let id = RequestId(node.requests);
        node.asked.insert(id, purpose.clone());
        allocator.request(now, &wall, id, want);
        self.say(format!("{} is asked: {purpose:?}", self.nodes[index].name));
    }

    /// What the clock on a node's wall says.
    pub(super) fn wall(&self, index: usize) -> String {
        let seconds =
            self.queue.now().micros() * self.clock.speed / 1_000_000 + self.clock.skew * index as u64;
        format!("2026-11-23T{:02}:{:02}:{:02}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
    }

    pub(super) fn finished(
        &mut self,
        index: usize,
        id: RequestId,
        result: Result<Vec<Assigned>, ipam::Error>,
    ) -> Result<(), Broken> {
        let purpose = self.nodes[index].asked.remove(&id).expect("a request is answered once");
        self.answered = true;
        self.say(format!("{} is done with {purpose:?}: {result:?}", self.nodes[index].name));
        match (purpose, result) {
            (Purpose::Add(handle), Ok(assigned)) => {
                let Assigned { addr, block } = assigned[0];
                let automatic = self.kubelets.pods[&self.kubelets.sandboxes[&handle].pod].given.is_none();
                if automatic && self.is_reserved(addr) {
                    return Err(self.broken("law 5", format!("{handle} got {addr}, which is reserved")));
                }
                let sandbox = self.kubelets.sandboxes.get_mut(&handle).expect("an ADD is of a sandbox");
                sandbox.state = State::Running { addr, block };
            }
            (Purpose::Add(handle), Err(error)) => self.add_failed(index, &handle, error.to_string()),
            (Purpose::Del(handle), Ok(_)) => _ = self.kubelets.sandboxes.remove(&handle),
            (Purpose::Del(handle), Err(_)) => {
                self.ask(index, Purpose::Del(handle.clone()), Want::Release { handle });
            }
            (Purpose::Tunnel, Ok(assigned)) => {
                let before = self.nodes[index].tunnel.replace(assigned[0]);
                if before.is_some_and(|before| before != assigned[0]) {
                    return Err(
                        self.broken("law 2", format!("a tunnel moved from {before:?} to {assigned:?}"))
                    );
                }
            }
            (Purpose::Tunnel, Err(_)) => {}
        }
        Ok(())
    }

    fn is_reserved(&self, addr: IpAddr) -> bool {
        self.api.objects().any(|object| match object {
            Object::IpReservation(r) => r.spec.reserved_cidrs.iter().any(|cidr| cidr.contains(addr)),
            _ => false,
        })
    }

    fn add_failed(&mut self, index: usize, handle: &str, error: String) {
        let sandbox = self.kubelets.sandboxes.get_mut(handle).expect("an ADD is of a sandbox");
        sandbox.state = State::Deleting;
        let name = sandbox.pod.clone();
        let pod = self.kubelets.pods.get_mut(&name).expect("a sandbox is of a pod");
        pod.error = Some(error);
        self.queue.push(Duration::from_millis(200), Happening::AddPod(name));
        self.ask(index, Purpose::Del(handle.to_owned()), Want::Release { handle: handle.to_owned() });
    }

    /// Makes a sandbox for a pod that is wanted and has none.
    pub(super) fn add_pod(&mut self, name: &str) {
        let pod = self.kubelets.pods.get_mut(name).expect("a pod is known before it is added");
        let alive = self.nodes[pod.node].allocator.is_some();
        if !pod.wanted || pod.tries >= TRIES || !alive || self.kubelets.sandbox_of(name).is_some() {
            return;
        }
        let pod = self.kubelets.pods.get_mut(name).expect("it was there");
        pod.tries += 1;
        let (node, handle) = (pod.node, format!("net.{name}-{}", pod.tries));
        let attributes = [("pod", name), ("namespace", "default"), ("node", &self.nodes[node].name)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let want = match pod.given {
            Some(addr) => Want::Given { handle: handle.clone(), attributes, addr },
            None => Want::Auto { handle: handle.clone(), attributes, pools: Vec::new() },
        };
        let sandbox = Sandbox { pod: name.to_owned(), node, state: State::Adding };
        self.kubelets.sandboxes.insert(handle.clone(), sandbox);
        self.ask(node, Purpose::Add(handle), want);
    }

    /// The pod is not wanted any more.
    pub(super) fn del_pod(&mut self, name: &str) {
        let pod = self.kubelets.pods.get_mut(name).expect("a pod is known before it is deleted");
        pod.wanted = false;
        let node = pod.node;
        let Some(handle) = self.kubelets.sandbox_of(name).map(str::to_owned) else { return };
        let sandbox = self.kubelets.sandboxes.get_mut(&handle).expect("it was there");
        if sandbox.state == State::Adding {
            // Runtimes wait for the ADD; one that never ends is cancelled.
            self.queue.push(Duration::from_millis(500), Happening::CancelAdd(name.to_owned()));
            self.queue.push(Duration::from_millis(600), Happening::DelPod(name.to_owned()));
            return;
        }
        sandbox.state = State::Deleting;
        self.ask(node, Purpose::Del(handle.clone()), Want::Release { handle });
    }

    pub(super) fn cancel_add(&mut self, name: &str) -> Result<(), Broken> {
        let Some(handle) = self.kubelets.sandbox_of(name).map(str::to_owned) else { return Ok(()) };
        let sandbox = self.kubelets.sandboxes.get_mut(&handle).expect("it was there");
        let index = sandbox.node;
        let now = self.queue.now();
        let node = &mut self.nodes[index];
        let asked =
            node.asked.iter().find(|(_, p)| matches!(p, Purpose::Add(h) if *h == handle)).map(|(id, _)| *id);
        let (Some(id), Some(allocator)) = (asked, &mut node.allocator) else { return Ok(()) };
        allocator.cancel(now, id);
        node.asked.remove(&id);
        self.say(format!("{} is no longer asked: add {handle}", self.nodes[index].name));
        self.add_failed(index, &handle, "cancelled".to_owned());
        self.drain(index)
    }
}
