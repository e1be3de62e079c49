//! CNI requests: what each command needs, what it starts, and when it is answered.

use crate::cni::{Added, Command, Failure, NetnsRef, Options, Reply, Request, code};
use crate::datapath::Applied;
use crate::effect::{CniId, Effect, FileOp};
use crate::leave::{Deferral, Leaving};
use crate::life::{Filing, Life, Stage};
use crate::node::{Node, Waiter};
use crate::reading::Read;
use derive::{Attachment, AttachmentId, Endpoint, Scope, mtu};
use kernel::{Key, Netns, Objects, PodNs};
use model::{IfName, Mtu};
use std::collections::BTreeSet;

type Answer = Result<(), Failure>;

impl Node {
    /// A client asks. Its namespace is closed again unless the request needs it.
    pub(crate) fn ask(&mut self, id: CniId, request: Request, netns: Option<PodNs>) {
        let outcome = match request.command.clone() {
            Command::Add => self.add(id, request, netns),
            Command::Del => self.del(id, &request, netns),
            Command::Check { previous } => self.check(id, &request, netns, &previous),
            Command::Status => self.status_of_network().and_then(|()| self.done(id)),
            Command::Gc { valid } => self.gc(id, &request.network, &valid),
        };
        if let Err(failure) = outcome {
            self.effects.extend(netns.map(Effect::CloseNetns));
            self.effects.push_back(Effect::Cni { id, reply: Reply::Failed(failure) });
        }
    }

    fn done(&mut self, id: CniId) -> Answer {
        self.effects.push_back(Effect::Cni { id, reply: Reply::Done });
        Ok(())
    }

    fn add(&mut self, cni: CniId, request: Request, netns: Option<PodNs>) -> Answer {
        let id = attachment_id(&request)?;
        let (Some(netns), Some(namespace)) = (netns, request.netns.clone()) else {
            return Err(failure(
                code::INVALID_ENVIRONMENT,
                "CNI_NETNS is required: ADD needs the pod's network namespace",
            ));
        };
        self.may_assign()?;
        match self.lives.get(&id).map(|life| &life.stage) {
            None => {}
            Some(Stage::Leaving(_)) => {
                return Err(failure(code::TRY_AGAIN_LATER, format!("{} is still being removed", shown(&id))));
            }
            Some(_) => {
                return Err(failure(
                    code::INTERNAL,
                    format!("{} is attached already: send DEL before another ADD", shown(&id)),
                ));
            }
        }
        self.is_free(&namespace, &id)?;
        self.is_first_interface(&id)?;
        let attachment = Attachment {
            netns: namespace.path,
            netns_inode: namespace.inode,
            host_interface: host_interface(&request),
            addresses: Vec::new(),
            mtu: self.pod_mtu(&request.options),
            path_mtu: None,
            mtu_is_given: request.options.mtu > 0,
            mac: None,
            forwarding: request.options.allow_ip_forwarding,
            pod: request.pod.clone(),
            boot_id: self.boot_id.clone(),
            restoring: false,
            deleted: false,
            id: id.clone(),
        };
        let (netns, options, order) = (Some(netns), request.options, self.next_order());
        let life = Life { netns, options, order, ..Life::new(attachment.clone(), Stage::Asking, self.now) };
        self.lives.insert(id.clone(), life);
        self.active.insert(id.clone());
        self.waiters.insert(cni, Waiter::Add(id.clone()));
        self.ask_pod(&id);
        // The API is the slowest part: it is asked first.
        self.advance_ipam();
        self.file(&id, FileOp::Begin(attachment), Filing::Begin);
        self.prepare(&id);
        Ok(())
    }

    /// Nobody else's interface may be touched: neither the ADD nor its undoing could tell the two apart.
    fn is_free(&self, namespace: &NetnsRef, id: &AttachmentId) -> Answer {
        let other = self.lives.values().find(|life| {
            let attachment = &life.attachment;
            attachment.netns == namespace.path
                && attachment.netns_inode == namespace.inode
                && attachment.id.interface == id.interface
        });
        match other {
            None => Ok(()),
            Some(life) => Err(failure(
                code::INVALID_ENVIRONMENT,
                format!("{} is in {} already", shown(&life.attachment.id), namespace.path),
            )),
        }
    }

    /// A container has one handle in a network and its pod one host interface.
    fn is_first_interface(&self, id: &AttachmentId) -> Answer {
        let same =
            |other: &AttachmentId| other.container_id == id.container_id && other.network == id.network;
        match self.lives.keys().find(|other| same(other) && *other != id) {
            None => Ok(()),
            Some(other) => Err(failure(
                code::INVALID_ENVIRONMENT,
                format!("{} is attached already: a container has one interface in a network", shown(other)),
            )),
        }
    }

    /// Whether the attachments of the run before are known.
    fn has_adopted(&self) -> Answer {
        if self.is_adopted() { Ok(()) } else { Err(self.has_just_started()) }
    }

    fn has_just_started(&self) -> Failure {
        let waits = self.cluster.waiting_for();
        let waits = if waits.is_empty() { "the kernel's state".to_owned() } else { waits.join(", ") };
        let text = format!("the agent of node {} has just started and waits for: {waits}", self.config.node);
        failure(code::TRY_AGAIN_LATER, text)
    }

    fn may_assign(&self) -> Answer {
        self.has_adopted()?;
        if self.cluster.in_sync().is_none() {
            return Err(self.has_just_started());
        }
        if self.cluster.is_locked() {
            return Err(failure(
                code::TRY_AGAIN_LATER,
                "Calico is currently not ready to process requests: datastoreReady is false in ClusterInformation `default`",
            ));
        }
        if self.cluster.own().is_none() {
            return Err(failure(code::TRY_AGAIN_LATER, self.is_unknown()));
        }
        Ok(())
    }

    fn pod_mtu(&self, options: &Options) -> Mtu {
        if options.mtu > 0 { Mtu(options.mtu) } else { mtu::pod(&self.world) }
    }

    fn del(&mut self, cni: CniId, request: &Request, netns: Option<PodNs>) -> Answer {
        let id = attachment_id(request)?;
        self.effects.extend(netns.map(Effect::CloseNetns));
        self.waiters.insert(cni, Waiter::Del(id.clone()));
        if !self.lives.contains_key(&id) {
            // Unknown here, but an address may be left under its handle.
            let attachment = self.unknown_attachment(request, &id);
            self.lives.insert(id.clone(), Life::new(attachment, Stage::Superseded, self.now));
        }
        self.interrupt_add(&id, "DEL came before ADD was done");
        self.leave(&id, None);
        if let Some(Stage::Leaving(Leaving { deferral: Deferral::Written, .. })) =
            self.lives.get(&id).map(|l| &l.stage)
        {
            self.answer_end(&id, None, None);
        }
        Ok(())
    }

    fn unknown_attachment(&self, request: &Request, id: &AttachmentId) -> Attachment {
        Attachment {
            id: id.clone(),
            netns: String::new(),
            netns_inode: (0, 0),
            // No pod's: a name that nothing has, so that nothing of another sandbox is waited for.
            host_interface: IfName::fixed("cali-none"),
            addresses: Vec::new(),
            mtu: Mtu(0),
            path_mtu: None,
            mtu_is_given: false,
            mac: None,
            forwarding: false,
            pod: request.pod.clone(),
            boot_id: self.boot_id.clone(),
            restoring: false,
            deleted: true,
        }
    }

    /// The client of an ADD that is not done hears that it failed.
    fn interrupt_add(&mut self, id: &AttachmentId, why: &str) {
        let waiter =
            self.waiters.iter().find(|(_, waiter)| matches!(waiter, Waiter::Add(other) if other == id));
        if let Some(cni) = waiter.map(|(cni, _)| *cni) {
            self.waiters.remove(&cni);
            let reply = Reply::Failed(failure(code::TRY_AGAIN_LATER, format!("{}: {why}", shown(id))));
            self.effects.push_back(Effect::Cni { id: cni, reply });
        }
    }

    fn gc(&mut self, cni: CniId, network: &str, valid: &[AttachmentId]) -> Answer {
        // Attachments that are not taken up yet could not be told from none.
        self.has_adopted()?;
        // Those whose end is written down are done, as for DEL: the API server may be away for long.
        let is_written =
            |life: &Life| matches!(&life.stage, Stage::Leaving(Leaving { deferral: Deferral::Written, .. }));
        let stale: BTreeSet<AttachmentId> = self
            .lives
            .iter()
            .filter(|(id, life)| id.network == network && !valid.contains(id) && !is_written(life))
            .map(|(id, _)| id.clone())
            .collect();
        if stale.is_empty() {
            return self.done(cni);
        }
        for id in &stale {
            self.interrupt_add(id, "GC says that it is not valid");
            self.leave(id, None);
        }
        self.waiters.insert(cni, Waiter::Gc(stale));
        Ok(())
    }

    fn check(&mut self, cni: CniId, request: &Request, netns: Option<PodNs>, previous: &Added) -> Answer {
        let id = attachment_id(request)?;
        let Some(netns) = netns else {
            return Err(failure(
                code::INVALID_ENVIRONMENT,
                "CNI_NETNS is required: CHECK reads the pod's network namespace",
            ));
        };
        self.has_adopted()?;
        let life = self.lives.get(&id).filter(|life| matches!(life.stage, Stage::Live));
        let Some(life) = life else {
            return Err(failure(code::UNKNOWN_CONTAINER, format!("{} is not attached here", shown(&id))));
        };
        if !previous.addresses.is_empty() && previous.addresses != life.attachment.addresses {
            return Err(failure(
                code::INTERNAL,
                format!(
                    "prevResult says {:?}, but {} has {:?}",
                    previous.addresses,
                    shown(&id),
                    life.attachment.addresses
                ),
            ));
        }
        let effect = self.new_effect();
        self.dumps.insert(effect, Read::Check(cni));
        self.waiters.insert(cni, Waiter::Check(id, netns));
        self.effects.push_back(Effect::Dump { id: effect, netns: Netns::Pod(netns), sysctls: Vec::new() });
        Ok(())
    }

    /// The pod's namespace has been read for CHECK.
    pub(crate) fn checked(&mut self, cni: CniId, found: Option<&Objects>) {
        let Some(Waiter::Check(id, netns)) = self.waiters.remove(&cni) else { return };
        self.effects.push_back(Effect::CloseNetns(netns));
        let missing = match (self.lives.get(&id), found) {
            (Some(life), Some(found)) => self.missing(life, netns, found),
            (None, _) => Some("it was removed meanwhile".to_owned()),
            (_, None) => Some("the pod's network namespace is gone".to_owned()),
        };
        let reply = match missing {
            None => Reply::Done,
            Some(what) => Reply::Failed(failure(code::INTERNAL, format!("{}: {what}", shown(&id)))),
        };
        self.effects.push_back(Effect::Cni { id: cni, reply });
    }

    /// The first object of the attachment that is not as it should be.
    fn missing(&self, life: &Life, netns: PodNs, found: &Objects) -> Option<String> {
        let endpoint =
            Endpoint { attachment: life.attachment.clone(), netns: Some(netns), scope: Scope::Whole };
        let objects = derive::endpoint_objects(&endpoint);
        let wrong = objects.iter().find(|(key, wanted)| match key {
            Key::Sysctl(_) => false,
            key if key.netns() == Netns::Host => self.datapath.applied(key) != Applied::Yes,
            key => !found.get(key).is_some_and(|actual| wanted.satisfied_by(actual)),
        });
        wrong.map(|(key, _)| format!("{key} is missing or changed"))
    }

    /// STATUS fails only when the data path was never programmed: runtimes evict pods of a node that fails it.
    fn status_of_network(&self) -> Answer {
        if self.ready {
            return Ok(());
        }
        let why = match self.cluster.waiting_for().join(", ") {
            none if none.is_empty() => "the kernel has not taken all of it, see the agent's log".to_owned(),
            kinds => format!("waiting for: {kinds}"),
        };
        Err(failure(
            code::NOT_AVAILABLE,
            format!("the data path of node {} has not been programmed yet; {why}", self.config.node),
        ))
    }

    /// The client went away. What it began is undone; what it ended ends.
    pub(crate) fn client_gone(&mut self, cni: CniId) {
        match self.waiters.remove(&cni) {
            Some(Waiter::Add(id)) => self.fail(&id, code::TRY_AGAIN_LATER, "the runtime went away".into()),
            Some(Waiter::Check(_, netns)) => self.effects.push_back(Effect::CloseNetns(netns)),
            Some(Waiter::Del(_) | Waiter::Gc(_)) | None => {}
        }
    }

    /// Answers everybody who waits for the end of an attachment: an ADD hears why it failed, the others that it is gone,
    /// or `otherwise`.
    pub(crate) fn answer_end(&mut self, id: &AttachmentId, why: Option<Failure>, otherwise: Option<Failure>) {
        let mut answers = Vec::new();
        for (cni, waiter) in &mut self.waiters {
            match waiter {
                Waiter::Add(other) if other == id => {
                    let gone =
                        || failure(code::TRY_AGAIN_LATER, format!("{} was removed meanwhile", shown(id)));
                    answers.push((*cni, Reply::Failed(why.clone().unwrap_or_else(gone))));
                }
                Waiter::Del(other) if other == id => answers.push((*cni, ended(&otherwise))),
                Waiter::Gc(stale) => {
                    stale.remove(id);
                    if stale.is_empty() || otherwise.is_some() {
                        answers.push((*cni, ended(&otherwise)));
                    }
                }
                _ => {}
            }
        }
        for (cni, reply) in answers {
            self.waiters.remove(&cni);
            self.effects.push_back(Effect::Cni { id: cni, reply });
        }
    }
}

fn ended(failure: &Option<Failure>) -> Reply {
    failure.clone().map_or(Reply::Done, Reply::Failed)
}

fn attachment_id(request: &Request) -> Result<AttachmentId, Failure> {
    let Some(interface) = request.interface.clone() else {
        return Err(failure(code::INVALID_ENVIRONMENT, "CNI_IFNAME is required"));
    };
    if request.container_id.is_empty() {
        return Err(failure(code::INVALID_ENVIRONMENT, "CNI_CONTAINERID is required"));
    }
    Ok(AttachmentId {
        network: request.network.clone(),
        container_id: request.container_id.clone(),
        interface,
    })
}

/// Calico's name: after the pod, or after the container where there is no pod.
fn host_interface(request: &Request) -> IfName {
    match &request.pod {
        Some((namespace, name)) => model::names::host_interface(namespace, name),
        None => {
            let id: String = request.container_id.chars().filter(char::is_ascii).take(11).collect();
            format!("cali{id}")
                .parse()
                .unwrap_or_else(|_| model::names::host_interface("", &request.container_id))
        }
    }
}

fn failure(code: u32, msg: impl Into<String>) -> Failure {
    Failure { code, msg: msg.into(), details: String::new() }
}

fn shown(id: &AttachmentId) -> String {
    format!("container {} ({} of network {})", id.container_id, id.interface, id.network)
}
