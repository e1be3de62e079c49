//! One thing to take away, and the steps to it. Each step is decided anew from what was read since the job began: what is
//! missing is read; what speaks against it ends the job.

use super::view::{View, holds};
use crate::affinity::{self, Known, Next, Used, affinity_key, block_key, delete};
use crate::block::{self, Release};
use crate::{handle, request::Tunnel};
use model::k8s::Pod;
use model::store::{Error, Key, Kind, Object, Reply, Request};
use model::v3::{AllocationAttribute, IpamBlock};
use model::{Cidr, names};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// What is to go.
#[derive(Clone, Debug)]
pub(super) enum Aim {
    /// Addresses of a block, and what their handles say of it.
    Addresses { block: Cidr, leaks: Vec<Leak> },
    /// A handle without addresses.
    Handle { id: String, uid: String },
    /// A node's claim to a block: of one that is gone, or to an empty block that it can spare.
    Claim { block: Cidr, node: String, is_gone: bool },
    /// A block of nobody in which nobody has an address.
    Block(Cidr),
}

/// An address whose owner is gone.
#[derive(Clone, Debug)]
pub(super) struct Leak {
    pub addr: IpAddr,
    pub handle: String,
    pub owner: Owner,
    pub is_of_gone_node: bool,
}

/// For whom an address was assigned, by its attributes.
#[derive(Clone, Debug)]
pub(super) enum Owner {
    Pod { namespace: String, name: String, node: String },
    Tunnel { node: String },
}

impl Owner {
    /// `None`: somebody else, such as a virtual machine, a service, or Calico on Windows, which reserves addresses of every
    /// block. They keep what they have.
    pub fn of(by: &AllocationAttribute) -> Option<Owner> {
        let attribute = |key: &str| by.secondary.get(key).filter(|value| !value.is_empty()).cloned();
        let node = attribute("node")?;
        if by.secondary.keys().any(|key| key.starts_with("vm")) {
            return None;
        }
        match (attribute("namespace"), attribute("pod"), attribute("type")) {
            (Some(namespace), Some(name), _) => Some(Owner::Pod { namespace, name, node }),
            (_, None, Some(kind)) if Tunnel::is_attribute(&kind) => Some(Owner::Tunnel { node }),
            _ => None,
        }
    }

    pub fn node(&self) -> &str {
        let (Owner::Pod { node, .. } | Owner::Tunnel { node }) = self;
        node
    }

    pub fn pod(&self) -> Option<Key> {
        match self {
            Owner::Pod { namespace, name, .. } => Some(Key::namespaced(Kind::Pod, namespace, name)),
            Owner::Tunnel { .. } => None,
        }
    }

    /// Whether a pod of the owner's name is the owner: it is on the node, and either shows the address or none yet.
    pub fn is_used_by(&self, pod: &Pod, addr: IpAddr) -> bool {
        pod.endpoint().is_some_and(|endpoint| endpoint.spec.node == self.node())
            && !pod.is_finished()
            && (pod.shows(addr) || pod.addresses().is_empty())
    }
}

/// The progress with an aim.
#[derive(Debug)]
pub(super) struct Job {
    aim: Aim,
    /// What the API said last of each object since the job began: `None` does not exist.
    read: BTreeMap<Key, Option<Object>>,
    written: BTreeSet<Key>,
    /// The object of the call in flight, and whether that is a write.
    asked: Option<(Key, bool)>,
    /// How many addresses each handle has lost with the block's write.
    lost: BTreeMap<String, u32>,
    /// Addresses that were released.
    pub released: u64,
    /// Handles, claims and blocks that were removed.
    pub removed: u64,
}

impl fmt::Display for Job {
    /// What went, in the past tense.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.aim {
            Aim::Addresses { leaks, .. } => {
                let each: Vec<String> =
                    leaks.iter().map(|leak| format!("{} of {}", leak.addr, leak.handle)).collect();
                write!(f, "gave back {}", each.join(", "))
            }
            Aim::Handle { id, .. } => write!(f, "removed handle {id}"),
            Aim::Claim { block, node, .. } => write!(f, "removed the claim of {node} to block {block}"),
            Aim::Block(block) => write!(f, "removed block {block}"),
        }
    }
}

/// The next step: `Err` is something to read first.
type Step = Result<Option<Request>, Key>;

impl Job {
    pub fn new(aim: Aim) -> Job {
        Job {
            aim,
            read: BTreeMap::new(),
            written: BTreeSet::new(),
            asked: None,
            lost: BTreeMap::new(),
            released: 0,
            removed: 0,
        }
    }

    /// The next call, or none: the job is done, or there is nothing to do after all.
    pub fn next(&mut self, view: &View) -> Option<Request> {
        let step = match self.aim.clone() {
            Aim::Addresses { block, leaks } => self.release_addresses(block, &leaks, view),
            Aim::Handle { id, uid } => self.remove_handle(&id, &uid),
            Aim::Claim { block, node, is_gone } => self.remove_claim(block, &node, is_gone, view),
            Aim::Block(block) => self.remove_block(block, view),
        };
        let request = step.unwrap_or_else(|key| Some(Request::Get(key)))?;
        let (key, writes) = match &request {
            Request::Get(key) => (key.clone(), false),
            Request::Delete { key, .. } => (key.clone(), true),
            Request::Update(object) => (object.key(), true),
            other => unreachable!("the collector only reads, changes and removes: {other:?}"),
        };
        self.asked = Some((key, writes));
        Some(request)
    }

    /// The API answered. An error ends the job.
    pub fn heard(&mut self, reply: Reply) -> Result<(), Error> {
        let (key, writes) = self.asked.take().expect("an answer is to a call");
        let object = match reply {
            Err(Error::NotFound) if !writes => None,
            reply => reply?,
        };
        if writes {
            self.removed += u64::from(object.is_none());
            self.released += match key.kind {
                Kind::IpamBlock => self.lost.values().map(|lost| u64::from(*lost)).sum(),
                _ => 0,
            };
            self.written.insert(key.clone());
        }
        if writes && key.kind == Kind::BlockAffinity {
            // Whether the block is still empty is to be seen after its claim was marked.
            self.read.retain(|key, _| key.kind != Kind::IpamBlock);
        }
        self.read.insert(key, object);
        Ok(())
    }

    fn known(&self, key: Key) -> Result<Option<&Object>, Key> {
        self.read.get(&key).map(Option::as_ref).ok_or(key)
    }

    fn block(&self, cidr: Cidr, view: &View) -> Result<Option<IpamBlock>, Key> {
        Ok(match self.known(block_key(cidr))? {
            Some(Object::IpamBlock(b)) => Some(view.thawed(b)),
            _ => None,
        })
    }

    fn is_gone(&self, node: &str) -> Result<bool, Key> {
        Ok(self.known(Key::cluster(Kind::Node, node))?.is_none())
    }

    /// Whether the leak's owner is gone by the API's own word, too.
    fn confirms(&self, leak: &Leak) -> Result<bool, Key> {
        if leak.is_of_gone_node {
            return self.is_gone(leak.owner.node());
        }
        let Some(pod) = leak.owner.pod() else { return Ok(false) };
        Ok(match self.known(pod)? {
            Some(Object::Pod(pod)) => !leak.owner.is_used_by(pod, leak.addr),
            _ => true,
        })
    }

    fn release_addresses(&mut self, cidr: Cidr, leaks: &[Leak], view: &View) -> Step {
        if self.written.contains(&block_key(cidr)) {
            return self.forget_in_handles(cidr);
        }
        let mut confirmed = Vec::new();
        for leak in leaks {
            if self.confirms(leak)? {
                confirmed.push(leak);
            }
        }
        let Some(known) = self.block(cidr, view)? else { return Ok(None) };
        let mut b = known.clone();
        let has = |leak: &&&Leak| block::held(&known.spec, &leak.handle).any(|(addr, _)| addr == leak.addr);
        let confirmed: Vec<&&Leak> = confirmed.iter().filter(has).collect();
        let release =
            |leak: &&&Leak| Release { addr: leak.addr, handle: Some(leak.handle.clone()), sequence: None };
        let releases: Vec<Release> = confirmed.iter().map(release).collect();
        if block::release(&mut b.spec, &releases, view.cool_from()) != Ok(true) {
            return Ok(None);
        }
        self.lost.clear();
        for leak in confirmed {
            *self.lost.entry(leak.handle.clone()).or_default() += 1;
        }
        block::touch(&mut b.spec);
        Ok(Some(match b.spec.affinity.is_none() && block::is_empty(&b.spec) {
            true => delete(&known.into()),
            false => Request::Update(b.into()),
        }))
    }

    /// After the block's write no earlier one of the handles' owners can reach the block: they may go.
    fn forget_in_handles(&self, cidr: Cidr) -> Step {
        for (id, lost) in &self.lost {
            let key = Key::cluster(Kind::IpamHandle, names::handle(id));
            if self.written.contains(&key) {
                continue;
            }
            if let Some(Object::IpamHandle(handle)) = self.known(key)?
                && let Some(write) = handle::less(handle, cidr, *lost)
            {
                return Ok(Some(write));
            }
        }
        Ok(None)
    }

    /// An owner that is no more may have a write of a block on its way: every block that the handle names is written once
    /// before the handle goes, so that it comes too late.
    fn remove_handle(&self, id: &str, uid: &str) -> Step {
        let Some(Object::IpamHandle(handle)) =
            self.known(Key::cluster(Kind::IpamHandle, names::handle(id)))?
        else {
            return Ok(None);
        };
        if handle.metadata.uid != uid {
            return Ok(None);
        }
        let mut fence = None;
        for cidr in handle::blocks(handle) {
            let Some(Object::IpamBlock(b)) = self.known(block_key(cidr))? else { continue };
            if block::held(&b.spec, id).next().is_some() {
                return Ok(None);
            }
            if !self.written.contains(&block_key(cidr)) {
                fence = Some(b.clone());
            }
        }
        Ok(Some(match fence {
            Some(mut b) => {
                block::touch(&mut b.spec);
                Request::Update(b.into())
            }
            None => delete(&handle.clone().into()),
        }))
    }

    fn remove_claim(&self, cidr: Cidr, node: &str, is_gone: bool, view: &View) -> Step {
        if is_gone && !self.is_gone(node)? {
            return Ok(None);
        }
        let claim = match self.known(affinity_key(node, cidr))? {
            Some(Object::BlockAffinity(claim)) => Some(claim),
            _ => None,
        };
        let b = self.block(cidr, view)?;
        if is_gone && b.as_ref().is_some_and(|b| holds(b, node)) {
            return Ok(None);
        }
        let Some(claim) = claim else {
            let own = b.filter(|b| is_gone && block::owner(&b.spec) == Some(node));
            return Ok(own.map(|b| affinity::abandon(&b)));
        };
        let known = b.as_ref().map_or(Known::Absent, Known::Read);
        let used = if is_gone { Used::IsCleared } else { Used::Stays };
        Ok(match affinity::release(node, cidr, Some(claim), known, used) {
            Next::Call(request) => Some(*request),
            Next::Done | Next::Lost => None,
        })
    }

    fn remove_block(&self, cidr: Cidr, view: &View) -> Step {
        let b = self.block(cidr, view)?;
        let abandoned = b.filter(|b| b.spec.affinity.is_none() && block::is_empty(&b.spec));
        Ok(abandoned.map(|b| delete(&b.into())))
    }
}
