//! Stage `Clearing` of an ADD: which of several sandboxes of a pod has the interface of its name. The newest has; the pair can
//! be made when what is in its way is gone.

use crate::cni;
use crate::effect::FileOp;
use crate::life::{Filing, Life, Stage};
use crate::node::Node;
use derive::{AttachmentId, Section};
use model::IfName;

impl Node {
    /// Has the pair made while the address is being found, if nothing is in its way.
    pub(crate) fn prepare(&mut self, id: &AttachmentId) {
        let Some(life) = self.lives.get(id) else { return };
        if matches!(life.stage, Stage::Asking | Stage::Assigning(_))
            && self.rivals(id).is_empty()
            && self.has_room(id)
        {
            self.put_endpoint(id, self.lives[id].endpoint());
        }
    }

    /// Puts the endpoint with its addresses into the world as soon as its host interface's name is free.
    pub(crate) fn occupy(&mut self, id: &AttachmentId) -> bool {
        let order = self.lives[id].order;
        let rivals = self.rivals(id);
        if rivals.iter().any(|(_, other)| *other > order) {
            self.supersede(id);
            return true;
        }
        for (older, _) in &rivals {
            self.supersede(older);
        }
        let prepared = self.world.endpoints.contains_key(id);
        if !prepared && !self.has_room(id) {
            return false;
        }
        let life = self.lives.get_mut(id).expect("seen above");
        life.stage = Stage::Applying { filed: false };
        let (attachment, endpoint) = (life.attachment.clone(), life.endpoint());
        self.put_endpoint(id, endpoint);
        self.dirty.insert(Section::Rules);
        self.file(id, FileOp::Write(attachment), Filing::Attach);
        true
    }

    /// Other sandboxes of the same pod that have its host interface or are about to take it, and the places of their ADDs.
    fn rivals(&self, id: &AttachmentId) -> Vec<(AttachmentId, u64)> {
        let link = self.lives[id].host_link();
        let claims = |other: &AttachmentId, rival: &Life| {
            rival.claims_interface() || self.world.endpoints.contains_key(other)
        };
        self.lives
            .iter()
            .filter(|(other, rival)| *other != id && rival.host_link() == link && claims(other, rival))
            .map(|(other, rival)| (other.clone(), rival.order))
            .collect()
    }

    /// Whether the pair can be made: neither its name on the node nor its place in the pod is taken by one that is to go.
    fn has_room(&mut self, id: &AttachmentId) -> bool {
        let life = &self.lives[id];
        let link = life.host_link();
        if self.is_taken(&life.attachment.host_interface) {
            return false;
        }
        let place = (life.attachment.netns_inode, life.attachment.id.interface.clone());
        let in_the_way =
            self.parting.iter().filter(|(_, other)| **other == place).map(|(link, _)| link.clone());
        let mut is_clear = true;
        for link in in_the_way.chain([link]).collect::<Vec<_>>() {
            self.datapath.hurry(&link);
            is_clear &= self.datapath.is_clear(&link);
        }
        is_clear
    }

    /// Whether an endpoint has the host interface of this name.
    pub(crate) fn is_taken(&self, host_interface: &IfName) -> bool {
        self.world.endpoints.values().any(|endpoint| endpoint.attachment.host_interface == *host_interface)
    }

    /// A newer sandbox of the pod takes the interface over: the runtime made it after the older one failed, and a DEL of
    /// the older one may be still to come. An ADD that is not answered yet fails.
    fn supersede(&mut self, id: &AttachmentId) {
        let life = self.lives.get_mut(id).expect("the caller has just seen it");
        if life.is_being_added() {
            let text = "a newer sandbox of the pod has taken its place".to_owned();
            return self.fail(id, cni::code::TRY_AGAIN_LATER, text);
        }
        life.stage = Stage::Superseded;
        self.active.remove(id);
        self.withdraw(id);
        self.close(id);
    }
}
