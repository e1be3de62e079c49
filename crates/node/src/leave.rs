//! The end of an attachment: kernel first, then the address, then the file, so that an address is never given to another
//! pod while something here still leads to the first one, and a crash at any point leaves a file that says what to finish.
//! The interface alone may stay for a moment (`datapath`): nothing leads to it any more, and nothing that it sends passes.
//!
//! While the API is away, or before the first in-sync, DEL is answered all the same: the file says that the attachment is
//! deleted, and the rest is done when it can be.

use crate::annotate;
use crate::cni::{self, Failure};
use crate::datapath::Applied;
use crate::effect::{FileOp, Report};
use crate::life::{Filing, Stage, handle};
use crate::node::Node;
use derive::{AttachmentId, Endpoint, Section};
use ipam::Want;
use kernel::{Key, Netns};
use model::Duration;
use model::k8s::{Pod, pod_annotation};

/// How long DEL waits for the kernel and the API; then the rest is done later.
pub(crate) const RELEASE_DEADLINE: Duration = Duration::from_secs(2);

/// What is left to undo.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    /// Why, if it is a failed ADD.
    pub failure: Option<Failure>,
    pub release: Release,
    pub deferral: Deferral,
    /// The file is being removed: the last step.
    pub unfiling: bool,
}

/// How far the release of the address is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Release {
    /// The kernel is not clear yet.
    #[default]
    Waiting,
    Asked,
    Done,
}

/// Whether the file says that the attachment is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Deferral {
    #[default]
    No,
    Writing,
    Written,
}

impl Leaving {
    /// Whether it would be written down at the deadline.
    pub fn may_defer(&self) -> bool {
        self.deferral == Deferral::No && self.release != Release::Done && !self.unfiling
    }
}

impl Node {
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

    fn leaving(&mut self, id: &AttachmentId) -> Option<&mut Leaving> {
        match self.lives.get_mut(id).map(|life| &mut life.stage) {
            Some(Stage::Leaving(leaving)) => Some(leaving),
            _ => None,
        }
    }

    /// One step of what leaves; whether it moved.
    pub(crate) fn leave_further(&mut self, id: &AttachmentId) -> bool {
        let life = &self.lives[id];
        let Stage::Leaving(leaving) = &life.stage else { unreachable!("the caller matched it") };
        if leaving.unfiling {
            return false;
        }
        if leaving.may_defer() && self.now >= life.since + RELEASE_DEADLINE {
            self.defer(id);
            return true;
        }
        match leaving.release {
            Release::Waiting => {
                if !self.is_undone(id) {
                    return false;
                }
                self.release(id);
                true
            }
            Release::Asked => false,
            Release::Done => {
                self.leaving(id).expect("matched above").unfiling = true;
                self.file(id, FileOp::Remove(id.clone()), Filing::Remove);
                true
            }
        }
    }

    /// Whether what is left of the attachment is in nobody's way. After a DEL that may be its interface, for a moment; a
    /// failed ADD leaves nothing, since the runtime may try again at once in the same namespace.
    fn is_undone(&mut self, id: &AttachmentId) -> bool {
        let life = &self.lives[id];
        let (endpoint, link) = (life.endpoint(), life.host_link());
        let fails = matches!(&life.stage, Stage::Leaving(leaving) if leaving.failure.is_some());
        if fails && !self.is_taken(&life.attachment.host_interface) {
            self.datapath.hurry(&link);
            if !self.datapath.is_clear(&link) {
                return false;
            }
        }
        self.is_cut_off(&endpoint)
    }

    /// Whether nothing in the kernel leads to the endpoint or lets its packets pass.
    fn is_cut_off(&self, endpoint: &Endpoint) -> bool {
        let leads = |key: &Key| matches!(key, Key::Route(_) | Key::Neigh(_));
        !self.dirty.contains(&Section::Endpoints)
            && !self.dirty.contains(&Section::Rules)
            && self.datapath.applied(&kernel::rules_key()) != Applied::Pending
            && derive::endpoint_keys(endpoint)
                .iter()
                .filter(|key| leads(key) && key.netns() == Netns::Host)
                .all(|key| self.datapath.is_clear(key))
    }

    fn release(&mut self, id: &AttachmentId) {
        self.close(id);
        let life = &self.lives[id];
        let (link, attachment) = (life.host_link(), &life.attachment);
        if !self.datapath.is_clear(&link) {
            self.parting.insert(link, (attachment.netns_inode, id.interface.clone()));
        }
        self.leaving(id).expect("only what leaves is released").release = Release::Asked;
        let request = self.new_request();
        let wall = self.wall();
        self.ipam_requests.insert(request, id.clone());
        self.ipam.request(self.now, &wall, request, Want::Release { handle: handle(id) });
    }

    /// The allocator has given the address back, or never will.
    pub(crate) fn released(&mut self, id: &AttachmentId, error: Option<ipam::Error>) {
        if let Some(leaving) = self.leaving(id) {
            leaving.release = Release::Done;
        }
        if let Some(error) = error {
            self.report(Report::warn(format!("cannot release the addresses of {}: {error}", handle(id))));
        }
    }

    fn defer(&mut self, id: &AttachmentId) {
        self.leaving(id).expect("only what leaves is deferred").deferral = Deferral::Writing;
        let life = self.lives.get_mut(id).expect("it leaves");
        life.attachment.deleted = true;
        let attachment = life.attachment.clone();
        self.file(id, FileOp::Write(attachment), Filing::Defer);
    }

    /// What is left to do is written down, or cannot be.
    pub(crate) fn deferred(&mut self, id: &AttachmentId, result: Result<(), String>) {
        let now = self.now;
        let Some(life) = self.lives.get_mut(id) else { return };
        let Stage::Leaving(leaving) = &mut life.stage else { return };
        let failure = leaving.failure.clone();
        match result {
            Ok(()) => {
                leaving.deferral = Deferral::Written;
                self.answer_end(id, failure, None);
            }
            Err(error) => {
                leaving.deferral = Deferral::No;
                life.since = now;
                let msg =
                    format!("the address cannot be released now, and not be written down either: {error}");
                let unwritten = Failure { code: cni::code::IO_FAILURE, msg, details: String::new() };
                self.answer_end(id, failure, Some(unwritten));
            }
        }
    }

    /// Nothing of the attachment is left.
    pub(crate) fn end(&mut self, id: &AttachmentId) {
        self.active.remove(id);
        let Some(life) = self.lives.remove(id) else { return };
        let Stage::Leaving(leaving) = life.stage else { unreachable!("only what leaves ends") };
        if leaving.failure.is_none()
            && let Some((namespace, name)) = life.attachment.pod
            && self.cluster.pod(&namespace, &name).is_some_and(|pod| is_of(pod, id))
        {
            self.annotate((namespace, name), annotate::no_addresses());
        }
        self.answer_end(id, leaving.failure, None);
    }
}

/// Whether the pod's annotations are about this attachment, not about a newer sandbox.
fn is_of(pod: &Pod, id: &AttachmentId) -> bool {
    pod.metadata.annotations.get(pod_annotation::CONTAINER_ID) == Some(&id.container_id)
}
