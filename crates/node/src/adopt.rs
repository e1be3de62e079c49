//! After a start: the attachments of the run before, from their files, or where a file is lost, from the kernel; and on a node
//! that was Calico's, the routes that its BIRD left.
//!
//! A pod's objects are removed only when everything agrees that it is gone: the file says deleted or another boot, or its
//! interface is missing and its namespace is known not to exist. What cannot be told is kept.

use crate::cluster::InSync;
use crate::datapath::is_pair;
use crate::effect::{Effect, FileOp, NotOpened, Report};
use crate::life::{Filing, Life, Stage, handle};
use crate::node::Node;
use derive::{Attachment, AttachmentId, Section};
use kernel::route::PROTO_CALICO;
use kernel::{Key, LinkKey, Netns, Objects, PodNs, RouteScope, Value};
use model::{IfName, Mtu};
use std::collections::BTreeSet;
use std::net::IpAddr;

impl Node {
    /// Takes up every attachment, once the kernel has been read for the first time.
    pub(crate) fn adopt(&mut self) {
        let Some(attachments) = self.found.take() else { return };
        self.speech.kept_routes = self
            .datapath
            .actual()
            .values()
            .any(|value| matches!(value, Value::Route(route) if route.protocol == PROTO_CALICO));
        for attachment in attachments {
            let id = attachment.id.clone();
            let asked_to_leave = self.is_asked_to_leave(&id);
            // Without an address, its ADD was never answered.
            let is_begun = attachment.addresses.is_empty();
            let gone = attachment.deleted || attachment.boot_id != self.boot_id || is_begun || asked_to_leave;
            let stage = if self.is_superseded(&attachment) { Stage::Superseded } else { Stage::Live };
            self.take_up(attachment, stage);
            if gone {
                self.leave(&id, None);
            } else {
                self.look_after(&id);
            }
        }
        let known: BTreeSet<IfName> =
            self.lives.values().map(|life| life.attachment.host_interface.clone()).collect();
        for attachment in lost_files(self.datapath.actual(), &known, &self.boot_id) {
            let id = attachment.id.clone();
            let asked_to_leave = self.is_asked_to_leave(&id);
            self.take_up(attachment.clone(), Stage::Live);
            if asked_to_leave {
                self.leave(&id, None);
                continue;
            }
            self.report(Report::warn(format!(
                "the file of {} was lost; made anew from {}",
                handle(&id),
                attachment.host_interface
            )));
            self.file(&id, FileOp::Begin(attachment), Filing::Attach);
        }
    }

    /// Whether a DEL has come before its attachment was taken up.
    fn is_asked_to_leave(&self, id: &AttachmentId) -> bool {
        self.lives.get(id).is_some_and(|life| matches!(life.stage, Stage::Leaving(_)))
    }

    /// Takes over what Calico's BIRD left, once the pools are known: its routes lead to pods until ours do.
    pub(crate) fn inherit(&mut self, _: InSync) {
        if std::mem::replace(&mut self.has_inherited, true) {
            return;
        }
        let routes = self.datapath.inherit(|dst| self.world.pool_of(dst).is_some());
        if routes > 0 {
            self.speech.kept_routes = true;
            self.report(Report::info(format!("took over {routes} routes that Calico's BIRD left")));
        }
    }

    /// Whether the interface says that it is another sandbox's, or another sandbox was taken up with it already.
    fn is_superseded(&self, attachment: &Attachment) -> bool {
        let name = attachment.host_interface.clone();
        let taken = self.is_taken(&name);
        let link = self.datapath.actual().get(&Key::Link(LinkKey { netns: Netns::Host, name }));
        let owner = match link {
            Some(Value::Link(link)) => link.alias.as_deref().and_then(AttachmentId::from_alias),
            _ => None,
        };
        owner.map_or(taken, |owner| owner != attachment.id)
    }

    fn take_up(&mut self, mut attachment: Attachment, stage: Stage) {
        let id = attachment.id.clone();
        // Its interface was being made larger when the run before ended: a smaller one would lose packets.
        let larger = self.datapath.mtu_of(&attachment.host_interface).filter(|found| *found > attachment.mtu);
        let cut_short = larger.is_some() && !attachment.mtu_is_given;
        if let Some(larger) = larger.filter(|_| cut_short) {
            attachment.mtu = larger;
        }
        let life = Life { cut_short, ..Life::new(attachment, stage, self.now) };
        if let Stage::Live = life.stage {
            self.put_endpoint(&id, life.endpoint());
            self.dirty.insert(Section::Rules);
        }
        self.lives.insert(id, life);
    }

    /// Makes sure that a live attachment has its interface, and all of it: if not, its namespace is opened to make it anew.
    pub(crate) fn look_after(&mut self, id: &AttachmentId) {
        let Some(life) = self.lives.get_mut(id).filter(|life| matches!(life.stage, Stage::Live)) else {
            return;
        };
        let stands = self.datapath.actual().contains_key(&life.host_link());
        if stands && !life.attachment.restoring || life.out_of_reach {
            return;
        }
        let (path, inode) = (life.attachment.netns.clone(), life.attachment.netns_inode);
        if path.is_empty() {
            life.out_of_reach = true;
            return self.report(Report::warn(format!("{}: {OUT_OF_REACH}", handle(id))));
        }
        life.stage = Stage::Opening;
        let netns = self.new_netns();
        self.opening.insert(netns, id.clone());
        self.effects.push_back(Effect::OpenNetns { netns, path, inode });
    }

    /// The namespace is open, is gone, or cannot be opened now.
    pub(crate) fn opened(&mut self, netns: PodNs, result: Result<(), NotOpened>) {
        let Some(id) = self.opening.remove(&netns) else { return };
        let Some(life) = self.lives.get_mut(&id).filter(|life| matches!(life.stage, Stage::Opening)) else {
            self.effects.extend(result.is_ok().then_some(Effect::CloseNetns(netns)));
            return;
        };
        match result {
            Ok(()) if life.resize.is_some() => self.measure(&id, netns),
            Err(NotOpened::Gone(why) | NotOpened::Failed(why)) if life.resize.is_some() => {
                self.not_resized(&id, &why);
            }
            // The run before ended while it made the interface: what there is of it decides what is to be written.
            Ok(()) if self.datapath.actual().contains_key(&life.host_link()) => self.measure(&id, netns),
            Ok(()) => {
                life.netns = Some(netns);
                life.stage = Stage::Restoring;
                life.attachment.restoring = true;
                let attachment = life.attachment.clone();
                self.file(&id, FileOp::Write(attachment), Filing::Restore);
            }
            Err(NotOpened::Gone(error)) => {
                let text = format!(
                    "{}: its interface and its namespace are gone ({error}); releasing it",
                    handle(&id)
                );
                self.report(Report::info(text));
                self.leave(&id, None);
            }
            // The next read of the kernel tries again.
            Err(NotOpened::Failed(error)) => {
                life.stage = Stage::Live;
                self.report(Report::warn(format!("{}: its interface is gone: {error}", handle(&id))));
            }
        }
    }

    /// The file says that the interface is being made anew, should this run end meanwhile: it is made now.
    pub(crate) fn make_anew(&mut self, id: &AttachmentId, filed: Result<(), String>) {
        let Some(life) = self.lives.get(id).filter(|life| matches!(life.stage, Stage::Restoring)) else {
            return;
        };
        let endpoint = life.endpoint();
        self.active.insert(id.clone());
        self.put_endpoint(id, endpoint);
        if let Err(error) = filed {
            self.report(Report::error(format!("cannot write the file of {}: {error}", handle(id))));
        }
    }
}

/// What helps a pod whose interface is gone and whose namespace nobody knows.
pub(crate) const OUT_OF_REACH: &str =
    "its interface is gone and its network namespace is unknown: delete the pod, so that it is made anew";

/// Attachments whose interface stands in the kernel, but whose file is not there.
fn lost_files(actual: &Objects, known: &BTreeSet<IfName>, boot_id: &str) -> Vec<Attachment> {
    let links = actual.iter().filter(|(key, value)| is_pair(key, value));
    let links = links.filter_map(|(key, value)| match (key, value) {
        (Key::Link(key), Value::Link(link)) if !known.contains(&key.name) => {
            let id = link.alias.as_deref().and_then(AttachmentId::from_alias)?;
            Some((id, key.name.clone(), link.mtu))
        }
        _ => None,
    });
    links
        .filter_map(|(id, host_interface, mtu)| {
            let addresses = addresses_behind(actual, &host_interface);
            (!addresses.is_empty()).then(|| Attachment {
                id,
                netns: String::new(),
                netns_inode: (0, 0),
                mac: neighbour_behind(actual, &host_interface),
                host_interface,
                addresses,
                mtu: mtu.unwrap_or(Mtu(1500)),
                path_mtu: None,
                mtu_is_given: false,
                forwarding: false,
                pod: None,
                boot_id: boot_id.to_owned(),
                restoring: false,
                deleted: false,
            })
        })
        .collect()
}

fn addresses_behind(actual: &Objects, device: &IfName) -> Vec<IpAddr> {
    actual
        .iter()
        .filter_map(|(key, value)| match (key, value) {
            (Key::Route(key), Value::Route(route))
                if route.device.as_ref() == Some(device)
                    && route.scope == RouteScope::Link
                    && key.dst.is_host() =>
            {
                Some(key.dst.addr())
            }
            _ => None,
        })
        .collect()
}

fn neighbour_behind(actual: &Objects, device: &IfName) -> Option<model::Mac> {
    actual.iter().find_map(|(key, value)| match (key, value) {
        (Key::Neigh(key), Value::Neigh(neigh)) if key.device == *device => Some(neigh.mac),
        _ => None,
    })
}
