//! "Does a process of this node use a tunnel's own address?", asked of the kernel before a tunnel that no node needs any more
//! goes (`derive::mode`, rule *retire*): with the device goes the address, and with that the process's connection.
//!
//! Asked as soon as nothing else keeps the tunnel, and again each second while a process does.

use crate::effect::{Effect, EffectId};
use crate::node::Node;
use derive::{Encap, Section};
use kernel::{Key, Netns};
use model::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What is known of the sockets.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// The look that is under way.
    asked: Option<EffectId>,
    again_at: Option<Instant>,
}

impl Sockets {
    pub fn timeout(&self) -> Option<Instant> {
        self.again_at.filter(|_| self.asked.is_none())
    }
}

impl Node {
    /// Asks while a tunnel stands that only a process here can still need. What was seen of another is forgotten: by the time
    /// that it may go, it is looked at anew.
    pub(crate) fn ask_for_sockets(&mut self) {
        let held = self.held_tunnels();
        self.world.idle.retain(|encap| held.contains_key(encap));
        let unsure = || held.iter().filter(|(encap, _)| !self.world.idle.contains(*encap));
        if unsure().next().is_none() {
            self.sockets.again_at = None;
            return;
        }
        if self.sockets.asked.is_some() || self.sockets.again_at.is_some_and(|at| self.now < at) {
            return;
        }
        let addrs = unsure().flat_map(|(_, addrs)| addrs.clone()).collect();
        let id = self.new_effect();
        self.sockets.asked = Some(id);
        self.effects.push_back(Effect::Sockets { id, addrs });
    }

    /// The answer.
    pub(crate) fn sockets_seen(&mut self, id: EffectId, used: &BTreeSet<IpAddr>) {
        if self.sockets.asked != Some(id) {
            return;
        }
        self.sockets = Sockets { asked: None, again_at: Some(self.now + LOOK) };
        for (encap, addrs) in self.held_tunnels() {
            if addrs.is_disjoint(used) && self.world.idle.insert(encap) {
                self.dirty.extend([Section::Host, Section::Rules]);
            }
        }
    }

    /// Why tunnels stay that no pool wants, in words.
    pub(crate) fn held_problems(&self) -> impl Iterator<Item = String> {
        let held = self.held_tunnels().into_iter().filter(|(encap, _)| self.world.accepts(*encap));
        held.map(|(encap, addrs)| {
            let addrs: Vec<String> = addrs.iter().map(IpAddr::to_string).collect();
            let (device, addrs) = (encap.device().unwrap_or_default(), addrs.join(", "));
            format!("{device} is not needed any more and stays while a process of this node uses its address {addrs}: `ss -anp` names it")
        })
    }

    /// Tunnels that only a process here can still need, with their addresses.
    fn held_tunnels(&self) -> BTreeMap<Encap, BTreeSet<IpAddr>> {
        let held = self.world.carried.iter().copied().filter(|encap| self.world.holds_back(*encap));
        held.map(|encap| (encap, self.addresses_of(encap))).collect()
    }

    fn addresses_of(&self, encap: Encap) -> BTreeSet<IpAddr> {
        let on_device = |key: &Key| match key {
            Key::Addr(key) if key.netns == Netns::Host && Some(key.device.as_str()) == encap.device() => {
                Some(key.addr.addr())
            }
            _ => None,
        };
        self.datapath.actual().keys().filter_map(on_device).collect()
    }
}
