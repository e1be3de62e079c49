//! Reading the node's kernel: all of it at the start, now and then, and when notices were lost; what it tells in between; and
//! which of its interfaces is the uplink.

use crate::effect::{CniId, Effect, EffectId, Notice};
use crate::life::{Life, Stage};
use crate::node::Node;
use derive::{AttachmentId, Section, Uplink};
use kernel::{Key, LinkKey, Netns, Objects};
use model::{Duration, Instant};

/// How often the whole kernel is read again, for what it does not tell of.
const REFRESH: Duration = Duration::from_secs(90);
/// A node with nothing else to do would do nothing else.
const LEAST_REFRESH: Duration = Duration::from_secs(1);

/// What a namespace is read for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// The node's own, to know what is.
    Host,
    /// A client's CHECK.
    Check(CniId),
    /// A running pod's, whose size is to change.
    Pod(AttachmentId),
}

impl Node {
    /// When the kernel is to be read again.
    pub(crate) fn refresh_at(&self) -> Option<Instant> {
        let interval = self.world.felix.route_refresh_interval.unwrap_or(REFRESH);
        let read_at = self.read_at.filter(|_| interval > Duration::ZERO)?;
        Some(read_at + interval.max(LEAST_REFRESH))
    }

    /// A namespace was read; `None`: it is gone.
    pub(crate) fn dumped(&mut self, id: EffectId, netns: Netns, objects: Option<Objects>) {
        match self.dumps.remove(&id) {
            Some(Read::Check(cni)) => self.checked(cni, objects.as_ref()),
            Some(Read::Pod(id)) => self.measured(&id, objects),
            Some(Read::Host) => {
                self.read_at = Some(self.now);
                let objects = objects.unwrap_or_default();
                self.datapath.dumped(self.now, netns, objects);
                self.find_uplink();
                self.look_after_all();
                self.sized_for = None;
            }
            None => {}
        }
    }

    /// The kernel told of a change in the node's own namespace.
    pub(crate) fn noticed(&mut self, notice: Notice) {
        let key = match &notice {
            Notice::Put(key, _) | Notice::Gone(key) => key.clone(),
        };
        let gone = matches!(notice, Notice::Gone(_));
        self.datapath.noticed(self.now, notice);
        if self.concerns_uplink(&key) {
            self.find_uplink();
        }
        if let (Key::Link(link), true) = (&key, gone) {
            self.parting.remove(&key);
            self.link_gone(link);
        }
    }

    fn concerns_uplink(&self, key: &Key) -> bool {
        match key {
            Key::Link(link) => self.world.uplink.as_ref().is_some_and(|uplink| uplink.device == link.name),
            Key::Addr(addr) => {
                let own = self.world.peers.get(&self.config.node);
                own.is_some_and(|own| own.addr.addr() == addr.addr.addr())
            }
            _ => false,
        }
    }

    /// An interface went away: a pod's is made anew.
    fn link_gone(&mut self, link: &LinkKey) {
        let of = |life: &&Life| life.attachment.host_interface == link.name;
        let being_made = self.lives.values().filter(of).find_map(|life| life.netns);
        if let Some(netns) = being_made {
            self.datapath.forget(netns);
        }
        let live = self.lives.values().filter(of).find(|life| matches!(life.stage, Stage::Live));
        if let Some(id) = live.map(|life| life.attachment.id.clone()) {
            self.look_after(&id);
        }
    }

    fn look_after_all(&mut self) {
        if self.found.is_none() {
            for id in self.lives.keys().cloned().collect::<Vec<_>>() {
                self.look_after(&id);
            }
        }
    }

    /// The interface that holds our address is the uplink.
    pub(crate) fn find_uplink(&mut self) {
        let Some(own) = self.world.peers.get(&self.config.node) else { return };
        let addr = own.addr.addr();
        let device = self.datapath.actual().keys().find_map(|key| match key {
            Key::Addr(key) if key.netns == Netns::Host && key.addr.addr() == addr => Some(key.device.clone()),
            _ => None,
        });
        let uplink = device.map(|device| Uplink {
            mtu: self.datapath.mtu_of(&device).unwrap_or(derive::mtu::UNKNOWN_UPLINK),
            device,
        });
        if uplink != self.world.uplink {
            self.speech.dirty = true;
            self.world.uplink = uplink;
            self.dirty.extend(Section::ALL);
        }
    }

    /// Has all of the node's own namespace read, unless that is under way.
    pub(crate) fn read_kernel(&mut self) {
        if self.dumps.values().any(|read| *read == Read::Host) {
            return;
        }
        let id = self.new_effect();
        self.dumps.insert(id, Read::Host);
        // The next one is counted from the answer.
        self.read_at = None;
        let sysctls = self.datapath.sysctls(Netns::Host);
        self.effects.push_back(Effect::Dump { id, netns: Netns::Host, sysctls });
    }
}
