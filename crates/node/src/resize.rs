//! How large a running pod's packets are, after a pool changed its mode:
//!
//! ```text
//!  Live ─► Opening ─► Measuring ─► Restoring ─► Live
//!          (namespace) (what is)    (what should be)
//! ```
//!
//! A smaller size is set on the pod's default route: a smaller interface would lose what is on its way already. A larger one is
//! set on the interface. The rest of a running pod's namespace is the pod's own.

use crate::effect::{Effect, Report};
use crate::life::{Life, Stage, handle};
use crate::node::Node;
use crate::reading::Read;
use derive::AttachmentId;
use kernel::{Netns, Objects, PodNs};
use model::Mtu;

/// What a pod's interface and its default route should take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    mtu: Mtu,
    path_mtu: Option<Mtu>,
}

impl Life {
    /// The size that lets the pod send packets of at most `largest`.
    fn size_for(&self, largest: Mtu) -> Size {
        let mtu = self.attachment.mtu.max(largest);
        Size { mtu, path_mtu: (largest < mtu).then_some(largest) }
    }

    fn size(&self) -> Size {
        Size { mtu: self.attachment.mtu, path_mtu: self.attachment.path_mtu }
    }

    /// Whether what it sends is no larger than `largest`, or is none of our business.
    fn fits(&self, largest: Mtu) -> bool {
        let attachment = &self.attachment;
        attachment.mtu_is_given
            || self.out_of_reach
            || matches!(self.stage, Stage::Leaving(_) | Stage::Superseded)
            || self.resize.is_none() && attachment.path_mtu.unwrap_or(attachment.mtu) <= largest
    }
}

impl Node {
    /// Whether no pod here sends larger packets than every way takes.
    pub(crate) fn pods_fit(&self) -> bool {
        let largest = derive::mtu::pod(&self.world);
        self.lives.values().all(|life| life.fits(largest))
    }

    /// Begins with every pod whose packets are too large now, or could be larger.
    pub(crate) fn resize_pods(&mut self) {
        let largest = derive::mtu::pod(&self.world);
        if self.sized_for.replace(largest) == Some(largest) {
            return;
        }
        let is_other = |life: &&Life| {
            matches!(life.stage, Stage::Live)
                && !life.attachment.mtu_is_given
                && !life.out_of_reach
                && !life.attachment.netns.is_empty()
                && (life.size() != life.size_for(largest) || life.cut_short)
        };
        let ids: Vec<AttachmentId> =
            self.lives.values().filter(is_other).map(|life| life.attachment.id.clone()).collect();
        for id in ids {
            let netns = self.new_netns();
            let life = self.lives.get_mut(&id).expect("just listed");
            life.resize = Some(life.size_for(largest));
            life.cut_short = false;
            life.stage = Stage::Opening;
            let (path, inode) = (life.attachment.netns.clone(), life.attachment.netns_inode);
            self.opening.insert(netns, id);
            self.effects.push_back(Effect::OpenNetns { netns, path, inode });
        }
    }

    /// The namespace is open: what is in it decides what is to be written.
    pub(crate) fn measure(&mut self, id: &AttachmentId, netns: PodNs) {
        let effect = self.new_effect();
        let life = self.lives.get_mut(id).expect("the caller has just seen it");
        life.netns = Some(netns);
        life.stage = Stage::Measuring;
        self.dumps.insert(effect, Read::Pod(id.clone()));
        self.effects.push_back(Effect::Dump { id: effect, netns: Netns::Pod(netns), sysctls: Vec::new() });
    }

    /// A pod's namespace was read.
    pub(crate) fn measured(&mut self, id: &AttachmentId, found: Option<Objects>) {
        let now = self.now;
        let Some(life) = self.lives.get_mut(id).filter(|life| matches!(life.stage, Stage::Measuring)) else {
            return;
        };
        let (Some(netns), Some(found)) = (life.netns, found) else {
            self.close(id);
            return self.not_resized(id, "its namespace cannot be read");
        };
        if let Some(size) = life.resize {
            (life.attachment.mtu, life.attachment.path_mtu) = (size.mtu, size.path_mtu);
        }
        life.stage = Stage::Restoring;
        let endpoint = life.endpoint();
        self.active.insert(id.clone());
        self.put_endpoint(id, endpoint);
        // Only of what is wanted does the datapath keep what was found.
        self.derive();
        self.datapath.dumped(now, Netns::Pod(netns), found);
    }

    /// The pod stays as it was until the next look.
    pub(crate) fn not_resized(&mut self, id: &AttachmentId, why: &str) {
        let Some(life) = self.lives.get_mut(id) else { return };
        life.stage = Stage::Live;
        let what = match life.resize.take() {
            Some(_) => "its MTU cannot follow its pool's mode",
            None => "its interface cannot be made whole",
        };
        self.report(Report::warn(format!("{}: {what}: {why}", handle(id))));
    }
}
