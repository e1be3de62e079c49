//! After a start: the attachments of the run before, from their files, or where a file is lost, from the kernel.
//!
//! A pod's objects are removed only when everything agrees that it is gone: the file says deleted or another boot, or
//! both its interface and its namespace are missing.

use crate::cni::Options;
use crate::effect::{Effect, FileOp, Report};
use crate::life::{Life, Stage, handle};
use crate::node::Node;
use derive::{Attachment, AttachmentId, Endpoint, Section};
use kernel::{Key, LinkKind, Netns, Objects, PodNs, RouteScope, Value};
use model::{IfName, Mtu};
use std::collections::BTreeSet;
use std::net::IpAddr;

impl Node {
    /// Takes up every attachment, once the kernel has been read for the first time.
    pub(crate) fn adopt(&mut self) {
        let Some(attachments) = self.found.take() else { return };
        for attachment in attachments {
            let id = attachment.id.clone();
            // A DEL may have come before its attachment was taken up.
            let asked_to_leave =
                self.lives.get(&id).is_some_and(|life| matches!(life.stage, Stage::Leaving(_)));
            let gone = attachment.deleted || attachment.boot_id != self.boot_id || asked_to_leave;
            self.take_up(attachment);
            if gone {
                self.leave(&id, None);
            } else {
                self.look_after(&id);
            }
        }
        let known: BTreeSet<IfName> =
            self.lives.values().map(|life| life.attachment.host_interface.clone()).collect();
        for attachment in lost_files(self.datapath.actual(), &known, &self.boot_id) {
            self.report(Report::warn(format!(
                "the file of {} was lost; made anew from {}",
                handle(&attachment.id),
                attachment.host_interface
            )));
            let id = attachment.id.clone();
            self.take_up(attachment.clone());
            let effect = self.new_effect();
            self.files.insert(effect, id);
            self.effects.push_back(Effect::File { id: effect, op: FileOp::Write(attachment) });
        }
    }

    fn take_up(&mut self, attachment: Attachment) {
        let id = attachment.id.clone();
        self.world.endpoints.insert(id.clone(), Endpoint { attachment: attachment.clone(), netns: None });
        let options = Options::default();
        self.lives.insert(id, Life { attachment, netns: None, options, stage: Stage::Live, since: self.now });
        self.dirty.extend([Section::Endpoints, Section::Rules]);
    }

    /// Makes sure that a live attachment has its interface: if not, its namespace is opened to make it anew.
    pub(crate) fn look_after(&mut self, id: &AttachmentId) {
        let Some(life) = self.lives.get(id).filter(|life| matches!(life.stage, Stage::Live)) else { return };
        if self.datapath.actual().contains_key(&life.host_link()) {
            return;
        }
        let (path, inode) = (life.attachment.netns.clone(), life.attachment.netns_inode);
        let netns = self.new_netns();
        self.lives.get_mut(id).expect("seen above").stage = Stage::Restoring;
        self.active.insert(id.clone());
        self.opening.insert(netns, id.clone());
        self.effects.push_back(Effect::OpenNetns { netns, path, inode });
    }

    /// The namespace is open, or out of reach: then the pod is gone.
    pub(crate) fn opened(&mut self, netns: PodNs, result: Result<(), String>) {
        let Some(id) = self.opening.remove(&netns) else { return };
        let Some(life) = self.lives.get_mut(&id).filter(|life| matches!(life.stage, Stage::Restoring)) else {
            self.effects.extend(result.is_ok().then_some(Effect::CloseNetns(netns)));
            return;
        };
        match result {
            Ok(()) => {
                life.netns = Some(netns);
                life.stage = Stage::Applying { filed: true };
                let attachment = life.attachment.clone();
                self.world.endpoints.insert(id, Endpoint { attachment, netns: Some(netns) });
                self.dirty.insert(Section::Endpoints);
            }
            Err(error) => {
                let text = format!(
                    "{}: its interface and its namespace are gone ({error}); releasing it",
                    handle(&id)
                );
                self.report(Report::info(text));
                self.leave(&id, None);
            }
        }
    }
}

/// Attachments whose interface stands in the kernel, but whose file is not there.
fn lost_files(actual: &Objects, known: &BTreeSet<IfName>, boot_id: &str) -> Vec<Attachment> {
    let links = actual.iter().filter_map(|(key, value)| match (key, value) {
        (Key::Link(key), Value::Link(link)) if key.netns == Netns::Host && !known.contains(&key.name) => {
            let veth = matches!(link.kind, LinkKind::Veth { .. }) && key.name.as_str().starts_with("cali");
            let id = link.alias.as_deref().and_then(AttachmentId::from_alias).filter(|_| veth)?;
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
                forwarding: false,
                pod: None,
                boot_id: boot_id.to_owned(),
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
