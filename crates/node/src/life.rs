//! The life of an attachment, from ADD (or from its file, after a restart) to DEL:
//!
//! ```text
//!        └─ address ────────┘   └ rivals ─┘
//!  ADD ─► Asking ─► Assigning ─► Clearing ─► Applying ─► Live ─► Opening ─┬─► Restoring ─► Live
//!           │           │            │           │         │              └─► Measuring ─► Restoring   (`resize`, `adopt`)
//!           └───────────┴────────────┴───────────┴─ fails ─┤
//!                                                          ├─► Superseded   a newer sandbox of the pod has its interface
//!                                                          └─► Leaving      DEL, GC, a client that went away (`leave`)
//! ```
//!
//! Only an ADD can fail: what was answered stays until DEL, whatever the kernel says of it later.

use crate::annotate;
use crate::cni::{self, Failure, Reply};
use crate::datapath::Applied;
use crate::effect::{Effect, EffectId, FileOp, Report};
use crate::leave::Leaving;
use crate::node::{Node, Waiter};
use crate::resize::Size;
use derive::{Attachment, AttachmentId, Endpoint, Scope, Section, endpoint_keys};
use ipam::RequestId;
use kernel::{Key, LinkKey, Netns, PodNs};
use model::Instant;

/// An attachment and how far it is.
#[derive(Debug)]
pub(crate) struct Life {
    pub attachment: Attachment,
    /// The pod's namespace, while it is needed. It is not kept open: that would keep a dead pod's namespace alive.
    pub netns: Option<PodNs>,
    pub options: cni::Options,
    pub stage: Stage,
    pub since: Instant,
    /// Grows from one ADD to the next: of two sandboxes of a pod, the later one counts.
    pub order: u64,
    /// Its interface is missing and its namespace is unknown: only a new sandbox helps.
    pub out_of_reach: bool,
    /// What its interface is being made.
    pub resize: Option<Size>,
    /// A resize of the run before did not come to its end: the pod's side may not be as large as the node's.
    pub cut_short: bool,
}

#[derive(Debug)]
pub(crate) enum Stage {
    /// The pod's object is being read.
    Asking,
    /// The allocator is at work.
    Assigning(RequestId),
    /// An older sandbox of the same pod still has the host interface.
    Clearing,
    /// The file and the kernel get the address; ADD is answered when both have it.
    Applying {
        filed: bool,
    },
    Live,
    /// The host's interface is missing; the pod's namespace is being opened to make it anew.
    Opening,
    /// The pod's namespace is being read: its packets are to be larger or smaller (`resize`), or the run before ended while it
    /// made the interface anew.
    Measuring,
    /// The interface is being made anew, or resized. A refusal is tried again, for as long as it takes.
    Restoring,
    /// A newer sandbox of the pod has the host interface. The address stays until DEL.
    Superseded,
    Leaving(Leaving),
}

/// What the file of an attachment is changed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filing {
    /// Its ADD has begun.
    Begin,
    /// It exists.
    Attach,
    /// Its interface is about to be made anew.
    Restore,
    /// It is deleted, but its address is not released yet.
    Defer,
    /// Nothing is left of it.
    Remove,
}

impl Life {
    /// A life that begins at a stage.
    pub fn new(attachment: Attachment, stage: Stage, now: Instant) -> Life {
        Life {
            attachment,
            netns: None,
            options: cni::Options::default(),
            stage,
            since: now,
            order: 0,
            out_of_reach: false,
            resize: None,
            cut_short: false,
        }
    }

    /// The handle under which IPAM knows the addresses.
    pub fn handle(&self) -> String {
        handle(&self.attachment.id)
    }

    /// Whether it has, or is about to take, the host interface of its pod. One that waits for its address may have it, too.
    pub fn claims_interface(&self) -> bool {
        matches!(
            self.stage,
            Stage::Clearing
                | Stage::Applying { .. }
                | Stage::Live
                | Stage::Opening
                | Stage::Measuring
                | Stage::Restoring
        )
    }

    /// Whether its ADD is not answered yet.
    pub fn is_being_added(&self) -> bool {
        matches!(self.stage, Stage::Asking | Stage::Assigning(_) | Stage::Clearing | Stage::Applying { .. })
    }

    /// The endpoint that the world should hold.
    pub fn endpoint(&self) -> Endpoint {
        let scope = if self.resize.is_some() { Scope::Size } else { Scope::Whole };
        Endpoint { attachment: self.attachment.clone(), netns: self.netns, scope }
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
            Stage::Restoring => self.restore(id),
            Stage::Live | Stage::Opening | Stage::Measuring | Stage::Superseded => false,
            Stage::Leaving(_) => self.leave_further(id),
        }
    }

    /// Answers ADD when file, kernel and rules are as they should be.
    fn finish(&mut self, id: &AttachmentId, filed: bool) -> bool {
        match self.programmed(id) {
            Ok(done) if done && filed => {
                // The runtime waits for the answer, nobody for the rest.
                self.answer_add(id);
                self.settle(id);
                true
            }
            Ok(_) => false,
            Err(text) => {
                self.fail(id, cni::code::INTERNAL, text);
                true
            }
        }
    }

    /// An interface that was lost is back when all that hangs on it is, and a pod is as large as it should be: the file says so
    /// too.
    fn restore(&mut self, id: &AttachmentId) -> bool {
        let done = self.programmed(id) == Ok(true);
        if done {
            let life = self.lives.get_mut(id).expect("the caller has just seen it");
            life.resize = None;
            life.attachment.restoring = false;
            let attachment = life.attachment.clone();
            self.file(id, FileOp::Write(attachment), Filing::Attach);
            self.settle(id);
        }
        done
    }

    /// Whether the kernel holds all of an endpoint, and the rules; or why it will not.
    fn programmed(&self, id: &AttachmentId) -> Result<bool, String> {
        let Some(endpoint) = self.world.endpoints.get(id) else { return Ok(false) };
        if self.dirty.contains(&Section::Endpoints) || self.dirty.contains(&Section::Rules) {
            return Ok(false);
        }
        let mut done = true;
        // Of what is left out without them, they are the cause.
        for key in [kernel::rules_key()].iter().chain(&endpoint_keys(endpoint)) {
            match self.datapath.applied(key) {
                Applied::Yes => {}
                Applied::Pending => done = false,
                Applied::Failed(error) => return Err(format!("the kernel refuses {key}: {error}")),
                Applied::Conflict => {
                    return Err(format!("{key} is somebody else's: remove it and try again"));
                }
            }
        }
        Ok(done)
    }

    /// The pod's namespace is not needed any more.
    fn settle(&mut self, id: &AttachmentId) {
        self.close(id);
        self.lives.get_mut(id).expect("the caller has just seen it").stage = Stage::Live;
        self.active.remove(id);
        self.sized_for = None;
    }

    pub(crate) fn close(&mut self, id: &AttachmentId) {
        let Some(netns) = self.lives.get_mut(id).and_then(|life| life.netns.take()) else { return };
        if let Some(endpoint) = self.world.endpoints.get(id) {
            self.put_endpoint(id, Endpoint { netns: None, ..endpoint.clone() });
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
            self.annotate(pod, annotate::addresses(&attachment.addresses, &id.container_id));
        }
    }

    /// An ADD fails: everything is undone, then the client hears why.
    pub(crate) fn fail(&mut self, id: &AttachmentId, code: u32, msg: String) {
        let failure = Failure { code, msg, details: String::new() };
        self.leave(id, Some(failure));
    }

    /// Puts an endpoint into the world, or changes it.
    pub(crate) fn put_endpoint(&mut self, id: &AttachmentId, endpoint: Endpoint) {
        let before = self.world.endpoints.insert(id.clone(), endpoint);
        self.moved.entry(id.clone()).or_insert(before);
        self.dirty.insert(Section::Endpoints);
        self.peer_with_pods();
    }

    /// Which pods there are decides with which the node speaks BGP.
    fn peer_with_pods(&mut self) {
        if self.world.bgp.has_workload_peers() {
            self.speech.dirty = true;
            self.dirty.extend([Section::Learnt, Section::Peerings, Section::Rules]);
        }
    }

    /// Takes an endpoint out of the world; its address stays assigned.
    pub(crate) fn withdraw(&mut self, id: &AttachmentId) {
        if let Some(before) = self.world.endpoints.remove(id) {
            self.moved.entry(id.clone()).or_insert(Some(before));
            self.dirty.extend([Section::Endpoints, Section::Rules]);
            self.peer_with_pods();
        }
    }

    pub(crate) fn file(&mut self, id: &AttachmentId, op: FileOp, filing: Filing) {
        let effect = self.new_effect();
        self.files.insert(effect, (id.clone(), filing));
        self.effects.push_back(Effect::File { id: effect, op });
    }

    /// The attachment's file is as it should be, or cannot be.
    pub(crate) fn filed(&mut self, effect: EffectId, result: Result<(), String>) {
        let Some((id, filing)) = self.files.remove(&effect) else { return };
        match filing {
            Filing::Begin => {
                let begun = self.lives.get(&id).is_some_and(|life| life.is_being_added());
                if let (true, Err(error)) = (begun, result) {
                    self.fail(
                        &id,
                        cni::code::IO_FAILURE,
                        format!("cannot write the attachment's file: {error}"),
                    );
                }
            }
            Filing::Attach => match (self.lives.get_mut(&id).map(|life| &mut life.stage), result) {
                (Some(Stage::Applying { filed }), Ok(())) => *filed = true,
                (Some(Stage::Applying { .. }), Err(error)) => {
                    let text = format!("cannot write the attachment's file: {error}");
                    self.fail(&id, cni::code::IO_FAILURE, text);
                }
                (_, Ok(())) => {}
                (_, Err(error)) => {
                    self.report(Report::error(format!("cannot write the file of {}: {error}", handle(&id))));
                }
            },
            Filing::Restore => self.make_anew(&id, result),
            Filing::Defer => self.deferred(&id, result),
            Filing::Remove => {
                if let Err(error) = result {
                    self.report(Report::error(format!("cannot remove the file of {}: {error}", handle(&id))));
                }
                self.end(&id);
            }
        }
    }
}
