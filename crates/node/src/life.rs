//! The life of an attachment, from ADD (or from its file, after a restart) to the end of DEL:
//!
//! ```text
//!  ADD ─► Asking ─► Assigning ─► Clearing ─► Applying ─► Live ─► Leaving ─► (gone)
//!           │           │            │           │          ▲        ▲
//!           └───────────┴────────────┴───────────┴── fails ─┼────────┘  DEL, GC, a client that went away
//!  file ─────────────────────────────────────────► Restoring┘
//! ```
//!
//! Leaving goes backwards: kernel first, then the address, then the file, so that an address is never given to another
//! pod while something here still leads to the first one, and a crash at any point leaves a file that says what to finish.

use crate::cni::{self, Failure, Reply};
use crate::datapath::Applied;
use crate::effect::{Effect, EffectId, FileOp, Report};
use crate::node::{Call, Node, Waiter};
use derive::{Attachment, AttachmentId, Endpoint, Section, endpoint_keys};
use ipam::{RequestId, Want};
use kernel::{Key, LinkKey, Netns, PodNs};
use model::k8s::{Pod, pod_annotation};
use model::store::{Key as StoreKey, Kind, Object, Request as Ask};
use model::{Cidr, Duration, Instant};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How long ADD waits for the API before it says so.
pub(crate) const ASSIGN_DEADLINE: Duration = Duration::from_secs(8);
/// How long DEL waits for the API; then the address is given back later.
pub(crate) const RELEASE_DEADLINE: Duration = Duration::from_secs(2);

/// An attachment and how far it is.
#[derive(Debug)]
pub(crate) struct Life {
    pub attachment: Attachment,
    /// The pod's namespace, while it is needed. It is not kept open: that would keep a dead pod's namespace alive.
    pub netns: Option<PodNs>,
    pub options: cni::Options,
    pub stage: Stage,
    pub since: Instant,
}

#[derive(Debug)]
pub(crate) enum Stage {
    /// The pod's object is being read.
    Asking,
    /// The allocator is at work.
    Assigning(RequestId),
    /// An older sandbox of the same pod still has the host interface.
    Clearing,
    /// File and kernel are being written.
    Applying {
        filed: bool,
    },
    /// The host's interface is missing; the pod's namespace is being opened to make it anew.
    Restoring,
    Live,
    Leaving(Leaving),
}

/// What is left to undo.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    /// Why, if it is a failed ADD.
    pub failure: Option<Failure>,
    pub release: Option<RequestId>,
    pub released: bool,
    /// The file that says "deleted" is written or being written, since the API does not answer.
    pub deferred: bool,
    /// The file is being removed: the last step.
    pub unfiling: bool,
}

impl Life {
    /// The handle under which IPAM knows the addresses.
    pub fn handle(&self) -> String {
        handle(&self.attachment.id)
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint { attachment: self.attachment.clone(), netns: self.netns }
    }

    pub fn host_link(&self) -> Key {
        Key::Link(LinkKey { netns: Netns::Host, name: self.attachment.host_interface.clone() })
    }
}

/// The handle of an attachment's addresses.
pub(crate) fn handle(id: &AttachmentId) -> String {
    model::names::pod_handle(&id.network, &id.container_id)
}

impl Node {
    /// Moves every attachment that is on its way as far as it can go now.
    pub(crate) fn progress(&mut self) {
        for id in self.active.clone() {
            while self.step(&id) {}
        }
    }

    /// One step of one attachment; whether it moved.
    fn step(&mut self, id: &AttachmentId) -> bool {
        let Some(life) = self.lives.get(id) else { return false };
        match &life.stage {
            Stage::Asking | Stage::Assigning(_) => self.expire(id),
            Stage::Clearing => self.occupy(id),
            Stage::Applying { filed } => {
                let filed = *filed;
                self.finish(id, filed)
            }
            Stage::Restoring | Stage::Live => false,
            Stage::Leaving(_) => self.leave_further(id),
        }
    }

    /// The pod's object is known: its annotation may ask for addresses.
    pub(crate) fn asked(&mut self, id: &AttachmentId, pod: Result<Object, model::store::Error>) {
        let Some(life) = self.lives.get_mut(id).filter(|life| matches!(life.stage, Stage::Asking)) else {
            return;
        };
        match pod {
            Ok(Object::Pod(pod)) => match pod.requested_addresses(pod_annotation::IP_ADDRS) {
                Ok(addresses) => life.options.requested.extend(addresses),
                Err(error) => return self.fail(id, cni::code::INVALID_CONFIG, error.to_string()),
            },
            Ok(other) => unreachable!("asked for a pod, got {:?}", other.key()),
            Err(error) => {
                let name =
                    life.attachment.pod.clone().map_or_else(String::new, |(ns, name)| format!("{ns}/{name}"));
                return self.fail(id, cni::code::TRY_AGAIN_LATER, format!("cannot read pod {name}: {error}"));
            }
        }
        self.assign(id);
    }

    /// Hands the attachment to the allocator.
    pub(crate) fn assign(&mut self, id: &AttachmentId) {
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
            None => Want::Auto { handle, attributes, pools: life.options.ipv4_pools.clone() },
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
            (Stage::Leaving(leaving), Ok(_)) => leaving.released = true,
            (Stage::Leaving(leaving), Err(error)) => {
                leaving.released = true;
                self.report(Report::warn(format!("cannot release the addresses of {}: {error}", handle(id))));
            }
            (stage, result) => unreachable!("the allocator answered {result:?} in {stage:?}"),
        }
    }

    /// Gives up waiting for the API.
    fn expire(&mut self, id: &AttachmentId) -> bool {
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

    /// Puts the endpoint into the world as soon as its host interface's name is free.
    fn occupy(&mut self, id: &AttachmentId) -> bool {
        let life = &self.lives[id];
        let link = life.host_link();
        let older: Vec<AttachmentId> = self
            .lives
            .iter()
            .filter(|(other, other_life)| *other != id && other_life.host_link() == link)
            .filter(|(_, other)| !matches!(other.stage, Stage::Leaving(_)))
            .map(|(other, _)| other.clone())
            .collect();
        // The runtime makes a pod's new sandbox after the old one failed; a DEL of the old one may be still to come.
        for other in &older {
            self.withdraw(other);
        }
        if !self.datapath.is_clear(&link)
            || self.world.endpoints.values().any(|e| e.attachment.host_interface == life_name(&link))
        {
            return false;
        }
        let life = self.lives.get_mut(id).expect("seen above");
        life.stage = Stage::Applying { filed: false };
        let attachment = life.attachment.clone();
        self.world.endpoints.insert(id.clone(), life.endpoint());
        self.dirty.extend([Section::Endpoints, Section::Rules]);
        self.file(id, FileOp::Write(attachment));
        true
    }

    /// Answers ADD when file, kernel and rules are as they should be.
    fn finish(&mut self, id: &AttachmentId, filed: bool) -> bool {
        if self.dirty.contains(&Section::Endpoints) || self.dirty.contains(&Section::Rules) {
            return false;
        }
        let life = &self.lives[id];
        let mut pending = !filed;
        let rules = derive::rules_key();
        for key in endpoint_keys(&life.endpoint()).iter().chain([&rules]) {
            match self.datapath.applied(key) {
                Applied::Yes => {}
                Applied::Pending => pending = true,
                Applied::Failed(error) => {
                    let text = format!("the kernel refuses {key}: {error}");
                    self.fail(id, cni::code::INTERNAL, text);
                    return true;
                }
                Applied::Conflict => {
                    let text = format!("{key} is somebody else's: remove it and try again");
                    self.fail(id, cni::code::INTERNAL, text);
                    return true;
                }
            }
        }
        if pending {
            return false;
        }
        self.settle(id);
        self.answer_add(id);
        true
    }

    /// The pod's namespace is not needed any more.
    fn settle(&mut self, id: &AttachmentId) {
        self.close(id);
        self.lives.get_mut(id).expect("the caller has just seen it").stage = Stage::Live;
        self.active.remove(id);
    }

    fn close(&mut self, id: &AttachmentId) {
        let Some(netns) = self.lives.get_mut(id).and_then(|life| life.netns.take()) else { return };
        if let Some(endpoint) = self.world.endpoints.get_mut(id) {
            endpoint.netns = None;
            self.dirty.insert(Section::Endpoints);
        }
        self.effects.push_back(Effect::CloseNetns(netns));
        self.closing.push(netns);
    }

    fn answer_add(&mut self, id: &AttachmentId) {
        let life = &self.lives[id];
        let attachment = &life.attachment;
        let added = cni::Added {
            host_interface: attachment.host_interface.to_string(),
            interface: id.interface.to_string(),
            mac: Some(attachment.pod_mac()),
            mtu: Some(attachment.mtu),
            netns: attachment.netns.clone(),
            addresses: attachment.addresses.clone(),
            routes: Vec::new(),
        };
        let waiter =
            self.waiters.iter().find(|(_, waiter)| matches!(waiter, Waiter::Add(other) if other == id));
        if let Some(cni) = waiter.map(|(cni, _)| *cni) {
            self.waiters.remove(&cni);
            self.effects.push_back(Effect::Cni { id: cni, reply: Reply::Added(added) });
        }
        if let Some(pod) = attachment.pod.clone() {
            let texts = address_annotations(&attachment.addresses, &id.container_id);
            self.annotate_pod(pod, texts);
        }
    }

    fn annotate_pod(
        &mut self,
        (namespace, name): (String, String),
        annotations: BTreeMap<String, Option<String>>,
    ) {
        let key = StoreKey::namespaced(Kind::Pod, namespace, name);
        self.call(Call::PodAnnotated, Ask::Annotate { key, annotations });
    }

    /// An ADD fails: everything is undone, then the client hears why.
    pub(crate) fn fail(&mut self, id: &AttachmentId, code: u32, msg: String) {
        let failure = Failure { code, msg, details: String::new() };
        self.leave(id, Some(failure));
    }

    /// Begins to undo an attachment.
    pub(crate) fn leave(&mut self, id: &AttachmentId, failure: Option<Failure>) {
        let Some(life) = self.lives.get_mut(id) else { return };
        if let Stage::Leaving(_) = life.stage {
            return;
        }
        if let Stage::Assigning(request) = life.stage {
            self.ipam_requests.remove(&request);
            self.ipam.cancel(self.now, request);
        }
        life.since = self.now;
        life.stage = Stage::Leaving(Leaving { failure, ..Leaving::default() });
        self.active.insert(id.clone());
        self.withdraw(id);
    }

    /// Takes an endpoint out of the world; its address stays assigned.
    fn withdraw(&mut self, id: &AttachmentId) {
        if self.world.endpoints.remove(id).is_some() {
            self.dirty.extend([Section::Endpoints, Section::Rules]);
        }
    }

    /// Kernel, then address, then file.
    fn leave_further(&mut self, id: &AttachmentId) -> bool {
        let life = &self.lives[id];
        let Stage::Leaving(leaving) = &life.stage else { unreachable!("the caller matched it") };
        if leaving.unfiling {
            return false;
        }
        if leaving.release.is_none() {
            let used = self
                .world
                .endpoints
                .values()
                .any(|e| e.attachment.host_interface == life.attachment.host_interface);
            if self.dirty.contains(&Section::Endpoints)
                || !(used || self.datapath.is_clear(&life.host_link()))
            {
                return false;
            }
            self.release(id);
            return true;
        }
        if leaving.released {
            self.unfile(id);
            return true;
        }
        if !leaving.deferred && self.now >= life.since + RELEASE_DEADLINE {
            self.defer(id);
            return true;
        }
        false
    }

    fn release(&mut self, id: &AttachmentId) {
        self.close(id);
        let request = self.new_request();
        let wall = self.wall();
        let life = self.lives.get_mut(id).expect("the caller has just seen it");
        let handle = life.handle();
        if let Stage::Leaving(leaving) = &mut life.stage {
            leaving.release = Some(request);
        }
        self.ipam_requests.insert(request, id.clone());
        self.ipam.request(self.now, &wall, request, Want::Release { handle });
    }

    fn unfile(&mut self, id: &AttachmentId) {
        if let Some(Life { stage: Stage::Leaving(leaving), .. }) = self.lives.get_mut(id) {
            leaving.unfiling = true;
        }
        self.file(id, FileOp::Remove(id.clone()));
    }

    /// The API is away: what is left to do is written down, and DEL is answered.
    fn defer(&mut self, id: &AttachmentId) {
        let life = self.lives.get_mut(id).expect("the caller has just seen it");
        life.attachment.deleted = true;
        if let Stage::Leaving(leaving) = &mut life.stage {
            leaving.deferred = true;
        }
        let attachment = life.attachment.clone();
        self.file(id, FileOp::Write(attachment));
    }

    fn file(&mut self, id: &AttachmentId, op: FileOp) {
        let effect = self.new_effect();
        self.files.insert(effect, id.clone());
        self.effects.push_back(Effect::File { id: effect, op });
    }

    /// The attachment's file is as it should be, or cannot be.
    pub(crate) fn filed(&mut self, effect: EffectId, result: Result<(), String>) {
        let Some(id) = self.files.remove(&effect) else { return };
        let Some(life) = self.lives.get_mut(&id) else { return };
        match (&mut life.stage, result) {
            (Stage::Applying { filed }, Ok(())) => *filed = true,
            (Stage::Applying { .. }, Err(error)) => {
                self.fail(&id, cni::code::IO_FAILURE, format!("cannot write the attachment's file: {error}"));
            }
            (Stage::Leaving(leaving), result) if leaving.unfiling => {
                if let Err(error) = result {
                    self.report(Report::error(format!("cannot remove the file of {}: {error}", handle(&id))));
                }
                self.end(&id);
            }
            (Stage::Leaving(leaving), Ok(())) if leaving.deferred => {
                let failure = leaving.failure.clone();
                self.answer_end(&id, failure);
            }
            (Stage::Leaving(leaving), Err(error)) if leaving.deferred => {
                let text = format!("the API server is away and the release cannot be written down: {error}");
                let failure = Failure { code: cni::code::IO_FAILURE, msg: text, details: String::new() };
                leaving.deferred = false;
                life.since = self.now;
                self.answer_end(&id, Some(failure));
            }
            (_, Ok(())) => {}
            (_, Err(error)) => {
                self.report(Report::error(format!("cannot write the file of {}: {error}", handle(&id))))
            }
        }
    }

    /// Nothing of the attachment is left.
    fn end(&mut self, id: &AttachmentId) {
        self.active.remove(id);
        let Some(life) = self.lives.remove(id) else { return };
        let Stage::Leaving(leaving) = life.stage else { unreachable!("only what leaves ends") };
        if leaving.failure.is_none()
            && let Some((namespace, name)) = &life.attachment.pod
            && self.cluster.pod(namespace, name).is_some_and(|pod| is_of(pod, id))
        {
            let pod = (namespace.clone(), name.clone());
            let emptied = [pod_annotation::POD_IP, pod_annotation::POD_IPS]
                .map(|key| (key.into(), Some(String::new())));
            self.annotate_pod(pod, emptied.into());
        }
        self.answer_end(id, leaving.failure);
    }
}

/// What the pod's annotations say of its addresses.
fn address_annotations(addresses: &[IpAddr], container_id: &str) -> BTreeMap<String, Option<String>> {
    let nets: Vec<String> = addresses.iter().map(|addr| Cidr::host(*addr).to_string()).collect();
    [
        (pod_annotation::CONTAINER_ID, container_id.to_owned()),
        (pod_annotation::POD_IP, nets.first().cloned().unwrap_or_default()),
        (pod_annotation::POD_IPS, nets.join(",")),
    ]
    .map(|(key, text)| (key.to_owned(), Some(text)))
    .into()
}

/// Whether the pod's annotations are about this attachment, not about a newer sandbox.
fn is_of(pod: &Pod, id: &AttachmentId) -> bool {
    pod.metadata.annotations.get(pod_annotation::CONTAINER_ID) == Some(&id.container_id)
}

fn life_name(link: &Key) -> model::IfName {
    match link {
        Key::Link(link) => link.name.clone(),
        _ => unreachable!("a link's key"),
    }
}
