//! What the kubelets want and remember: sandboxes, each with a handle of its own, that are added until it works or the pod
//! is gone, and deleted until that works. They outlive the agent.

use super::mind::Mind;
use super::simulation::{Happening, Purpose};
use super::{Broken, Sim};
use ipam::{Assigned, RequestId, Want};
use model::store::{Key, Kind, Object, Request};
use model::{Cidr, Duration, Metadata, k8s};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How often a pod is tried anew after a failed ADD.
pub const TRIES: u32 = 4;

/// How long an ADD may last.
const ADD_DEADLINE: Duration = Duration::from_millis(1_500);

/// The key of a pod's object.
pub fn pod_key(name: &str) -> Key {
    Key::namespaced(Kind::Pod, "default", name)
}

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

    /// Whether a handle is of a pod that is wanted and does not run.
    pub fn is_stranded(&self, handle: &str) -> bool {
        let pod = handle.strip_prefix("net.").and_then(|rest| rest.rsplit_once('-')).map(|(pod, _)| pod);
        pod.is_some_and(|pod| {
            self.pods.get(pod).is_some_and(|pod| pod.wanted) && self.sandbox_of(pod).is_none()
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
        let now = self.own_time(index);
        let wall = self.wall(index);
        let node = &mut self.nodes[index];
        let Some(allocator) = node.mind.as_mut().and_then(Mind::as_allocator) else { return };
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
                let pod = sandbox.pod.clone();
                self.show_address(&pod, addr);
            }
            (Purpose::Add(handle), Err(error)) => self.add_failed(index, &handle, error.to_string()),
            (Purpose::Del(handle), Ok(_)) => {
                if let Some(sandbox) = self.kubelets.sandboxes.remove(&handle) {
                    self.finish_pod(&sandbox.pod);
                }
            }
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
        let alive = self.nodes[pod.node].mind.is_some();
        if !pod.wanted || pod.tries >= TRIES || !alive || self.kubelets.sandbox_of(name).is_some() {
            return;
        }
        let pod = self.kubelets.pods.get_mut(name).expect("it was there");
        pod.tries += 1;
        let (node, given, handle) = (pod.node, pod.given, format!("net.{name}-{}", pod.tries));
        self.queue.push(ADD_DEADLINE, Happening::CancelAdd(name.to_owned()));
        self.schedule_pod(name, node);
        let attributes = [("pod", name), ("namespace", "default"), ("node", &self.nodes[node].name)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let want = match given {
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
        let Some(handle) = self.kubelets.sandbox_of(name).map(str::to_owned) else {
            return self.finish_pod(name);
        };
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
        let now = self.own_time(index);
        let node = &mut self.nodes[index];
        let asked =
            node.asked.iter().find(|(_, p)| matches!(p, Purpose::Add(h) if *h == handle)).map(|(id, _)| *id);
        let allocator = node.mind.as_mut().and_then(Mind::as_allocator);
        let (Some(id), Some(allocator)) = (asked, allocator) else { return Ok(()) };
        allocator.cancel(now, id);
        node.asked.remove(&id);
        self.say(format!("{} is no longer asked: add {handle}", self.nodes[index].name));
        self.add_failed(index, &handle, "cancelled".to_owned());
        self.drain(index)
    }

    /// The pod's object is there before its sandbox.
    fn schedule_pod(&mut self, name: &str, node: usize) {
        let metadata = Metadata { namespace: Some("default".to_owned()), ..Metadata::named(name) };
        let node_name = Some(self.nodes[node].name.clone());
        let spec = k8s::PodSpec { node_name, ..k8s::PodSpec::default() };
        let pod = k8s::Pod { metadata, spec, ..k8s::Pod::default() };
        if self.api.apply(&Request::Create(pod.into())).is_ok() {
            self.announce(Kind::Pod);
        }
    }

    /// The pod's object says its address as soon as kubelet knows it.
    fn show_address(&mut self, name: &str, addr: IpAddr) {
        if let Ok(Some(Object::Pod(mut pod))) = self.api.apply(&Request::Get(pod_key(name))) {
            pod.status.pod_ip = addr.to_string();
            self.api.write_status(pod.into());
            self.announce(Kind::Pod);
        }
    }

    /// The object of a pod that is not wanted goes after its last sandbox.
    fn finish_pod(&mut self, name: &str) {
        let wanted = self.kubelets.pods.get(name).is_some_and(|pod| pod.wanted);
        if !wanted && self.kubelets.sandboxes.values().all(|sandbox| sandbox.pod != name) {
            self.delete(pod_key(name));
        }
    }

    /// Deletes an object, if it is there.
    pub(super) fn delete(&mut self, key: Key) {
        let Ok(Some(object)) = self.api.apply(&Request::Get(key.clone())) else { return };
        let meta = object.metadata();
        let (uid, resource_version) = (meta.uid.clone(), meta.resource_version.clone());
        let kind = key.kind;
        self.api.apply(&Request::Delete { key, uid, resource_version }).expect("it was just read");
        self.announce(kind);
    }

    /// A machine goes with all that ran on it. Its object and those of its pods stay until somebody deletes them.
    pub(super) fn lose_node(&mut self, node: usize) {
        self.crash(node);
        self.nodes[node].is_lost = true;
        self.nodes[node].tunnel = None;
        self.kubelets.sandboxes.retain(|_, sandbox| sandbox.node != node);
        for pod in self.kubelets.pods.values_mut().filter(|pod| pod.node == node) {
            pod.wanted = false;
        }
    }

    /// A machine starts anew without what its runtime and its agent knew: its pods get new sandboxes.
    pub(super) fn wipe_node(&mut self, node: usize) {
        if self.nodes[node].is_lost {
            return;
        }
        self.crash(node);
        self.kubelets.sandboxes.retain(|_, sandbox| sandbox.node != node);
        let pods = self.kubelets.pods.iter().filter(|(_, pod)| pod.node == node && !pod.wanted);
        let pods: Vec<String> = pods.map(|(name, _)| name.clone()).collect();
        pods.iter().for_each(|pod| self.finish_pod(pod));
    }
}
