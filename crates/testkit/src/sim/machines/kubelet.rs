//! The kubelets and the runtime: pods and their sandboxes, which outlive the agent. A sandbox whose ADD fails, or whose agent
//! dies, is deleted and another one made; its namespace goes when its DEL is answered.

use super::carry::Happening;
use super::laws::address;
use super::{Broken, Machines};
use ::kernel::PodNs;
use model::store::{Key, Kind, Request as Ask};
use model::{Duration, IfName, Metadata, k8s};
use node::cni::{Command, NetnsRef, Options, Reply, Request};
use node::{CniId, Input};
use std::net::{IpAddr, Ipv4Addr};

/// How long after a failure the next try is made.
const AGAIN: Duration = Duration::from_millis(300);
const NETWORK: &str = "net";

/// A pod.
pub(super) struct Pod {
    pub node: usize,
    pub wanted: bool,
    pub sandbox: Option<Sandbox>,
    /// Earlier sandboxes that are to go, and whether their DEL is on its way.
    pub ending: Vec<(Sandbox, bool)>,
    /// Why the last ADD failed.
    pub error: Option<String>,
}

#[derive(Clone)]
pub(super) struct Sandbox {
    pub container: String,
    pub space: PodNs,
    /// `None`: its ADD is not answered.
    pub addr: Option<Ipv4Addr>,
}

/// A request that waits for its answer.
pub(super) enum Call {
    Add { pod: String },
    Del { pod: String, container: String },
}

impl Machines {
    /// A pod is wanted on a node.
    pub(super) fn want_pod(&mut self, name: &str, node: usize) -> Result<(), Broken> {
        if self.machines[node].is_gone {
            return Ok(());
        }
        let pod = Pod { node, wanted: true, sandbox: None, ending: Vec::new(), error: None };
        self.pods.insert(name.to_owned(), pod);
        let metadata = Metadata { namespace: Some("default".into()), ..Metadata::named(name) };
        let node_name = Some(self.machines[node].name.clone());
        let spec = k8s::PodSpec { node_name, ..k8s::PodSpec::default() };
        self.create(k8s::Pod { metadata, spec, ..k8s::Pod::default() }.into());
        self.look_after(name)
    }

    pub(super) fn del_pod(&mut self, name: &str) -> Result<(), Broken> {
        let Some(pod) = self.pods.get_mut(name) else { return Ok(()) };
        pod.wanted = false;
        self.look_after(name)
    }

    /// What is left to do for a pod.
    pub(super) fn look_after(&mut self, name: &str) -> Result<(), Broken> {
        let Some(pod) = self.pods.get_mut(name) else { return Ok(()) };
        let node = pod.node;
        if !pod.wanted && pod.sandbox.as_ref().is_some_and(|sandbox| sandbox.addr.is_some()) {
            let sandbox = pod.sandbox.take().expect("seen above");
            self.laws.forget(&sandbox.container);
            pod.ending.push((sandbox, false));
        }
        if !pod.wanted && pod.sandbox.is_none() && pod.ending.is_empty() {
            self.pods.remove(name);
            return self.delete_object(Key::namespaced(Kind::Pod, "default", name));
        }
        if self.machines[node].agent.is_none() || self.machines[node].held.is_some() {
            return Ok(());
        }
        let due = pod.ending.iter_mut().filter(|(_, asked)| !*asked);
        let ending: Vec<Sandbox> = due
            .map(|(sandbox, asked)| {
                *asked = true;
                sandbox.clone()
            })
            .collect();
        let makes = pod.wanted && pod.sandbox.is_none();
        for sandbox in ending {
            let call = Call::Del { pod: name.to_owned(), container: sandbox.container.clone() };
            self.request(node, Command::Del, name, &sandbox, call)?;
        }
        if makes && self.machines[node].agent.is_some() {
            self.numbers += 1;
            let space = PodNs(self.numbers);
            let sandbox = Sandbox { container: format!("c{}", self.numbers), space, addr: None };
            self.machines[node].kernel.make_space(space);
            self.pods.get_mut(name).expect("seen above").sandbox = Some(sandbox.clone());
            self.request(node, Command::Add, name, &sandbox, Call::Add { pod: name.to_owned() })?;
        }
        Ok(())
    }

    fn request(
        &mut self,
        node: usize,
        command: Command,
        pod: &str,
        sandbox: &Sandbox,
        call: Call,
    ) -> Result<(), Broken> {
        self.numbers += 1;
        let (id, number) = (CniId(u64::from(self.numbers)), PodNs(self.numbers));
        self.say(format!("n{} is asked: {command:?} {} of {pod}", node + 1, sandbox.container));
        let request = Request {
            command,
            network: NETWORK.into(),
            container_id: sandbox.container.clone(),
            interface: Some(IfName::fixed("eth0")),
            netns: Some(NetnsRef {
                path: format!("/run/netns/{}", sandbox.container),
                inode: (4, u64::from(sandbox.space.0)),
            }),
            pod: Some(("default".into(), pod.into())),
            options: Options::default(),
        };
        self.machines[node].kernel.open(number, sandbox.space);
        self.calls.insert((node, id), call);
        self.input(node, Input::Cni { id, request, netns: Some(number) })
    }

    /// The agent answers a request.
    pub(super) fn answered(&mut self, node: usize, id: CniId, reply: Reply) -> Result<(), Broken> {
        let Some(call) = self.calls.remove(&(node, id)) else { return Ok(()) };
        match call {
            Call::Add { pod: name } => {
                let pod = self.pods.get_mut(&name).expect("a pod stays until its sandboxes are gone");
                let mut sandbox = pod.sandbox.take().expect("an ADD is of the pod's sandbox");
                match reply {
                    Reply::Added(added) => {
                        let [IpAddr::V4(addr)] = added.addresses[..] else { panic!("one IPv4 address") };
                        sandbox.addr = Some(addr);
                        let space = sandbox.space;
                        pod.sandbox = Some(sandbox);
                        self.say(format!("n{}: {name} is added with {addr}", node + 1));
                        self.promised(node, space, addr)?;
                        self.laws.touched(node);
                        self.queue.push(Duration::ZERO, Happening::Kubelet(name));
                    }
                    Reply::Failed(failure) => {
                        pod.error = Some(failure.msg.clone());
                        pod.ending.push((sandbox, false));
                        self.say(format!("n{}: ADD of {name} fails: {}", node + 1, failure.msg));
                        self.queue.push(AGAIN, Happening::Kubelet(name));
                    }
                    Reply::Done => unreachable!("an ADD is answered by what the pod got"),
                }
            }
            Call::Del { pod: name, container } => {
                let pod = self.pods.get_mut(&name).expect("a pod stays until its sandboxes are gone");
                let at = pod.ending.iter().position(|(sandbox, _)| sandbox.container == container);
                let at = at.expect("a DEL is of a sandbox that ends");
                match reply {
                    Reply::Done => {
                        let (sandbox, _) = pod.ending.remove(at);
                        self.machines[node].kernel.remove_space(sandbox.space);
                        self.laws.touched(node);
                        self.pass_notices(node);
                        self.queue.push(Duration::ZERO, Happening::Kubelet(name));
                    }
                    other => {
                        pod.ending[at].1 = false;
                        self.say(format!("n{}: DEL of {name} fails: {other:?}", node + 1));
                        self.queue.push(AGAIN, Happening::Kubelet(name));
                    }
                }
            }
        }
        Ok(())
    }

    /// Requests break with their connection: a sandbox whose ADD was not answered is given up.
    pub(super) fn kubelet_hears_of_crash(&mut self, node: usize) {
        self.calls.retain(|(at, _), _| *at != node);
        for pod in self.pods.values_mut().filter(|pod| pod.node == node) {
            pod.ending.iter_mut().for_each(|(_, asked)| *asked = false);
            if let Some(sandbox) = pod.sandbox.take_if(|sandbox| sandbox.addr.is_none()) {
                pod.ending.push((sandbox, false));
            }
        }
    }

    pub(super) fn kubelet_hears_of_start(&mut self, node: usize) {
        for (name, _) in self.pods.iter().filter(|(_, pod)| pod.node == node) {
            self.queue.push(Duration::from_millis(1), Happening::Kubelet(name.clone()));
        }
    }

    /// The node was rebooted: no sandbox is left, and each has to be deleted.
    pub(super) fn kubelet_hears_of_reboot(&mut self, node: usize) {
        for pod in self.pods.values_mut().filter(|pod| pod.node == node) {
            if let Some(sandbox) = pod.sandbox.take() {
                pod.ending.push((sandbox, false));
            }
        }
    }

    pub(super) fn delete_object(&mut self, key: Key) -> Result<(), Broken> {
        let Ok(Some(object)) = self.api.apply(&Ask::Get(key.clone())) else { return Ok(()) };
        let meta = object.metadata();
        let (uid, resource_version) = (meta.uid.clone(), meta.resource_version.clone());
        self.api.apply(&Ask::Delete { key: key.clone(), uid, resource_version }).expect("it was just read");
        self.announce(key.kind);
        Ok(())
    }

    /// Every address that was promised and not given back: address and handle.
    pub(super) fn in_use(&self) -> Vec<(IpAddr, String)> {
        let pods = self.pods.values().filter_map(|pod| pod.sandbox.as_ref());
        let pods = pods.filter_map(|sandbox| {
            Some((sandbox.addr?.into(), model::names::pod_handle(NETWORK, &sandbox.container)))
        });
        pods.chain(self.api.objects().flat_map(address)).collect()
    }
}
