//! What the kernel was last known to hold, and what of that decides how packets travel ([`Facts`]).
//!
//! The kernel tells of an interface or an address that goes, and not of what goes with it: which objects those are is known
//! here.

use super::inherited::Inherited;
use crate::facts::{Facts, Lead};
use kernel::route::TABLE_MAIN;
use kernel::{AddrKey, Key, LinkKey, Netns, Objects, PodNs, RouteKey, Value};
use model::{Cidr, IfName, Mtu};
use std::collections::btree_map::Entry;

#[derive(Debug, Default)]
pub(super) struct Found {
    objects: Objects,
    inherited: Inherited,
    facts: Facts,
    facts_changed: bool,
}

impl Found {
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    /// Under `key` the kernel holds this from now on; what it held before.
    pub fn set(&mut self, key: Key, value: Option<Value>) -> Option<Value> {
        let place = self.objects.entry(key);
        self.facts_changed |= learn(&mut self.facts, &mut self.inherited, &place, value.as_ref());
        set(place, value)
    }

    /// Whether we may change or remove the object.
    pub fn is_ours(&self, key: &Key, value: &Value) -> bool {
        self.inherited.or_ours(key, value)
    }

    /// These routes, as they stand, are ours from now on.
    pub fn inherit(&mut self, routes: &[Key]) {
        for key in routes {
            if let (Key::Route(route), Some(value)) = (key, self.objects.get(key)) {
                self.inherited.put(key.clone(), value.clone());
                self.facts.leads(route, Lead::of(value));
            }
        }
    }

    /// This was written under `key`. What the kernel is known to hold stays as it told it, if that is what was written: it
    /// says more.
    pub fn record(&mut self, key: Key, written: Option<Value>) {
        let place = self.objects.entry(key);
        let as_found = |written: &Value| held(&place).is_some_and(|found| written.satisfied_by(found));
        if !written.as_ref().is_some_and(as_found) {
            self.facts_changed |= learn(&mut self.facts, &mut self.inherited, &place, written.as_ref());
            set(place, written);
        }
    }

    /// Nothing is known any more of what is in a pod's namespace.
    pub fn forget(&mut self, netns: PodNs) {
        self.objects.retain(|key, _| key.netns() != Netns::Pod(netns));
    }

    /// The facts but for how routes lead, if they changed since this was asked last.
    pub fn changed_facts(&mut self) -> Option<&Facts> {
        std::mem::take(&mut self.facts_changed).then_some(&self.facts)
    }

    /// How routes lead that changed since this was asked last.
    pub fn take_moved(&mut self) -> Vec<(Cidr, Option<Lead>)> {
        let mut moved = self.facts.take_moved();
        for (dst, lead) in moved.iter_mut().filter(|(_, lead)| lead.is_none()) {
            *lead = self.lead_to(*dst);
        }
        moved
    }

    /// How the best of our routes to a destination leads.
    fn lead_to(&self, dst: Cidr) -> Option<Lead> {
        let key = |priority| Key::Route(RouteKey { netns: Netns::Host, table: TABLE_MAIN, dst, priority });
        let mut routes = self.objects.range(key(0)..=key(u32::MAX));
        let best = routes.find(|(key, value)| self.is_ours(key, value));
        best.and_then(|(_, value)| Lead::of(value))
    }

    /// Whether an interface has an address that others can reach, and is no tunnel.
    pub fn has_address(&self, device: &IfName) -> bool {
        self.facts.addresses.iter().any(|(_, on)| on == device)
    }

    /// How large packets an interface of the node's own namespace takes.
    pub fn mtu_of(&self, device: &IfName) -> Option<Mtu> {
        let key = Key::Link(LinkKey { netns: Netns::Host, name: device.clone() });
        match self.objects.get(&key) {
            Some(Value::Link(link)) => link.mtu,
            _ => None,
        }
    }

    /// What the kernel took away with what it held under `key` (`neigh_ifdown`, `fib_disable_ip`).
    pub fn lost_with(&self, key: &Key) -> Vec<Key> {
        match key {
            Key::Link(link) => self.hanging_on(link.netns, &link.name, |_| true),
            // With its last address an interface loses IPv4.
            Key::Addr(addr) if addr.addr.addr().is_ipv4() && !self.has_ipv4(addr) => {
                let is_ipv4 = |key: &Key| matches!(key, Key::Route(route) if route.dst.is_ipv4());
                self.hanging_on(addr.netns, &addr.device, is_ipv4)
            }
            _ => Vec::new(),
        }
    }

    /// What the kernel took away when an interface went down (`fib_sync_down_dev`).
    pub fn lost_when_down(&self, link: &LinkKey) -> Vec<Key> {
        self.hanging_on(link.netns, &link.name, |key| matches!(key, Key::Route(_)))
    }

    /// Of what hangs on an interface, that which is `lost`.
    fn hanging_on(&self, netns: Netns, device: &IfName, lost: impl Fn(&Key) -> bool) -> Vec<Key> {
        let hangs =
            |key: &Key, value: &Value| key.netns() == netns && lost(key) && hangs_on(key, value, device);
        self.objects.iter().filter(|(key, value)| hangs(key, value)).map(|(key, _)| key.clone()).collect()
    }

    /// Whether the interface of `addr` has an IPv4 address.
    fn has_ipv4(&self, addr: &AddrKey) -> bool {
        self.objects.keys().any(|key| {
            matches!(key, Key::Addr(other) if other.netns == addr.netns && other.device == addr.device
                && other.addr.addr().is_ipv4())
        })
    }
}

/// Whether an object cannot be without an interface.
pub(super) fn hangs_on(key: &Key, value: &Value, device: &IfName) -> bool {
    match (key, value) {
        (Key::Addr(key), _) => key.device == *device,
        (Key::Neigh(key), _) => key.device == *device,
        (Key::Fdb(key), _) => key.device == *device,
        (Key::Route(_), Value::Route(route)) => route.device.as_ref() == Some(device),
        (Key::Clsact(key), _) => key.name == *device,
        (Key::Filter(key), Value::Filter(filter)) => {
            key.device == *device || filter.leads_to() == Some(device)
        }
        (Key::Sysctl(key), _) => key.path.split('/').any(|part| part == device.as_str()),
        _ => false,
    }
}

/// What is about to be in a place.
fn learn(
    facts: &mut Facts,
    inherited: &mut Inherited,
    place: &Entry<'_, Key, Value>,
    value: Option<&Value>,
) -> bool {
    let key = place.key();
    let changed = facts.learn(key, held(place), value, |value| inherited.or_ours(key, value));
    inherited.changed(key, value);
    changed
}

/// What is in a place.
fn held<'a>(place: &'a Entry<'_, Key, Value>) -> Option<&'a Value> {
    match place {
        Entry::Vacant(_) => None,
        Entry::Occupied(place) => Some(place.get()),
    }
}

/// Puts a value in its place, or nothing; what was there.
fn set(place: Entry<'_, Key, Value>, value: Option<Value>) -> Option<Value> {
    match (place, value) {
        (Entry::Vacant(place), Some(value)) => {
            place.insert(value);
            None
        }
        (Entry::Vacant(_), None) => None,
        (Entry::Occupied(mut place), Some(value)) => Some(place.insert(value)),
        (Entry::Occupied(place), None) => Some(place.remove()),
    }
}
