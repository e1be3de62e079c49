//! Stages `Asking` and `Assigning` of an ADD: what the pod and its namespace ask for, then what the allocator gives.

use crate::cni;
use crate::life::Stage;
use crate::node::{Call, Node};
use derive::AttachmentId;
use ipam::Want;
use model::Duration;
use model::k8s::Pod;
use model::store::{Error, Event, Key, Kind, Object, Reply, Request};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How long ADD waits for the API before it says so.
pub(crate) const ASSIGN_DEADLINE: Duration = Duration::from_secs(8);

impl Node {
    /// The pod may ask for addresses and pools; what is no pod's is assigned one at once.
    pub(crate) fn ask_pod(&mut self, id: &AttachmentId) {
        let life = &self.lives[id];
        let Some((namespace, name)) = &life.attachment.pod else { return self.assign(id) };
        let known = self.cluster.pod(namespace, name).filter(|pod| is_it(pod, &life.options.pod_uid));
        match known.cloned() {
            Some(pod) => self.asked(id, Ok(pod.into())),
            // The watch may lag behind the runtime: a consistent read decides.
            None => {
                let key = Key::namespaced(Kind::Pod, namespace.clone(), name.clone());
                self.call(Call::Pod(id.clone()), Request::Get(key));
            }
        }
    }

    /// The pod's object is known: its annotation may ask for addresses.
    pub(crate) fn asked(&mut self, id: &AttachmentId, pod: Result<Object, Error>) {
        let Some(life) = self.lives.get_mut(id).filter(|life| matches!(life.stage, Stage::Asking)) else {
            return;
        };
        match pod {
            Ok(Object::Pod(pod)) if !is_it(&pod, &life.options.pod_uid) => {
                let text = format!(
                    "pod {} is another one by now: this sandbox is of an earlier pod",
                    pod.metadata.name
                );
                return self.fail(id, cni::code::TRY_AGAIN_LATER, text);
            }
            Ok(Object::Pod(pod)) => {
                if let Err(error) = life.options.ask_as(&pod) {
                    return self.fail(id, cni::code::INVALID_CONFIG, error.to_string());
                }
            }
            Ok(other) => unreachable!("asked for a pod, got {:?}", other.key()),
            Err(error) => {
                let name =
                    life.attachment.pod.clone().map_or_else(String::new, |(ns, name)| format!("{ns}/{name}"));
                return self.fail(id, cni::code::TRY_AGAIN_LATER, format!("cannot read pod {name}: {error}"));
            }
        }
        self.ask_namespace(id);
    }

    /// The pod's namespace may ask for pools, and pools for namespaces. The watch knows it, unless it was made a moment ago.
    fn ask_namespace(&mut self, id: &AttachmentId) {
        let life = &self.lives[id];
        let knows_what = !life.options.requested.is_empty() || !life.options.pod_pools.is_empty();
        let Some((name, _)) = life.attachment.pod.as_ref().filter(|_| !knows_what) else {
            return self.assign(id);
        };
        let Some(namespace) = self.ipam.snapshot().namespaces.get(name) else {
            let key = Key::cluster(Kind::Namespace, name.clone());
            return self.call(Call::Namespace(id.clone()), Request::Get(key));
        };
        let life = self.lives.get_mut(id).expect("seen above");
        match life.options.ask_as_namespace(namespace) {
            Ok(()) => self.assign(id),
            Err(error) => {
                let text = format!("namespace {}: {error}", namespace.name);
                self.fail(id, cni::code::INVALID_CONFIG, text);
            }
        }
    }

    /// A namespace that the watch did not know was read. Without one, a pod has what pods of any namespace have.
    pub(crate) fn heard_of_namespace(&mut self, id: &AttachmentId, reply: Reply) {
        let asks = self.lives.get(id).is_some_and(|life| matches!(life.stage, Stage::Asking));
        match reply {
            _ if !asks => {}
            Ok(Some(namespace)) => {
                self.ipam.observe(&Event::Put(namespace));
                self.ask_namespace(id);
            }
            Ok(None) | Err(Error::NotFound) => self.assign(id),
            Err(error) => {
                let text = format!("cannot read the pod's namespace: {error}");
                self.fail(id, cni::code::TRY_AGAIN_LATER, text);
            }
        }
    }

    /// Hands the attachment to the allocator.
    fn assign(&mut self, id: &AttachmentId) {
        let request = self.new_request();
        let wall = self.wall();
        let life = self.lives.get_mut(id).expect("the caller has just seen it");
        let mut attributes: BTreeMap<String, String> =
            [("node".to_owned(), self.config.node.clone()), ("timestamp".to_owned(), wall.clone())].into();
        if let Some((namespace, name)) = &life.attachment.pod {
            attributes
                .extend([("namespace".to_owned(), namespace.clone()), ("pod".to_owned(), name.clone())]);
        }
        let handle = life.handle();
        let want = match life.options.requested.first() {
            Some(addr) => Want::Given { handle, attributes, addr: *addr },
            None => Want::Auto { handle, attributes, pools: life.options.pools().to_vec() },
        };
        life.stage = Stage::Assigning(request);
        life.since = self.now;
        self.ipam_requests.insert(request, id.clone());
        self.ipam.request(self.now, &wall, request, want);
    }

    /// The allocator is done with an attachment's request.
    pub(crate) fn assigned(&mut self, id: &AttachmentId, result: Result<Vec<IpAddr>, ipam::Error>) {
        let Some(life) = self.lives.get_mut(id) else { return };
        match (&mut life.stage, result) {
            (Stage::Assigning(_), Ok(addresses)) => {
                life.attachment.addresses = addresses;
                life.stage = Stage::Clearing;
            }
            (Stage::Assigning(_), Err(error)) => self.fail(id, cni::code::INTERNAL, error.to_string()),
            (Stage::Leaving(_), result) => self.released(id, result.err()),
            (stage, result) => unreachable!("the allocator answered {result:?} in {stage:?}"),
        }
    }

    /// Gives up waiting for the API.
    pub(crate) fn expire(&mut self, id: &AttachmentId) -> bool {
        let life = &self.lives[id];
        if self.now < life.since + ASSIGN_DEADLINE {
            return false;
        }
        let waits = match &life.stage {
            Stage::Assigning(request) => self.ipam.waiting_for(*request),
            _ => None,
        };
        let waits = waits.unwrap_or_else(|| "the API server does not answer".to_owned());
        self.fail(id, cni::code::TRY_AGAIN_LATER, format!("no address within {ASSIGN_DEADLINE}: {waits}"));
        true
    }
}

/// Whether the pod is the one that the runtime means.
fn is_it(pod: &Pod, uid: &Option<String>) -> bool {
    uid.as_ref().is_none_or(|uid| pod.metadata.uid == *uid)
}
