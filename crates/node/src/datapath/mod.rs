//! What the node's kernel should hold, what it holds, and how far the writer got with each object.
//!
//! ```text
//!   sections ─► wanted ─┐
//!                       ├─ suspects compared ─► plan ─► flights ─► the writer
//!   dumps, notices ─► found ─┘                                        │
//!                       ▲                                          outcomes
//!                       └───────────── refusals, repairs ◄────────────┘
//! ```
//!
//! Output: one plan at a time, and behind it perhaps one of routes to add. Only keys that something happened to (`suspects`)
//! are compared; a dump makes every key suspect. Invariants: a key in flight is never planned again; an object that is not
//! ours is never changed; nothing here remembers how a state came about.

mod flights;
mod found;
mod ground;
mod inherited;
mod refusals;
mod repairs;
#[cfg(test)]
mod tests;
mod wanted;

use crate::effect::{EffectId, Notice, Report};
use crate::facts::{Facts, Lead};
use crate::socket::Repair;
use derive::{Part, Section};
use flights::Flights;
use found::{Found, hangs_on};
use kernel::diff::change;
use kernel::route::TABLE_MAIN;
use kernel::{
    ApplyError, Change, Key, LinkKey, LinkKind, Netns, Objects, Outcome, PodNs, Step, Value, is_workload,
    may_be_birds, plan,
};
use model::{Cidr, Duration, IfName, Instant, Mtu};
use refusals::Refusals;
use repairs::Repairs;
use std::collections::{BTreeMap, BTreeSet};
use wanted::Wanted;

/// How long a pod's interface that nobody wants any more is left alone. What hung on it goes at once; the interface costs the
/// kernel a grace period of RCU, some 20 ms, and many of them together cost no more than one.
const LINGER: Duration = Duration::from_millis(500);

/// `ENOENT`, `EEXIST`, `EBUSY`: refusals that say that the kernel holds something else than we believe.
const DISAGREES: [i32; 3] = [2, 17, 16];

/// How far an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied<'a> {
    /// The kernel holds what is wanted (nothing, if nothing is).
    Yes,
    /// It is being written, or will be.
    Pending,
    /// The kernel refused.
    Failed(&'a ApplyError),
    /// Somebody else's object is in the way.
    Conflict,
}

#[derive(Debug, Default)]
pub(crate) struct Datapath {
    wanted: Wanted,
    found: Found,
    /// The node's own namespace has been read.
    read: bool,
    suspects: BTreeSet<Key>,
    flights: Flights,
    refusals: Refusals,
    conflicts: BTreeMap<Key, Value>,
    /// Pods' interfaces that are to go, and when.
    parting: BTreeMap<Key, Instant>,
    repairs: Repairs,
    /// The kernel said that an object is there, or is not, against what we believe: it must be read again.
    stale: bool,
}

/// What is wanted.
impl Datapath {
    /// Makes `objects` what is wanted of `section`.
    pub fn want(&mut self, section: Section, objects: Objects) {
        let touched = self.wanted.put(section, objects);
        self.reconsider(touched);
    }

    /// Makes a part of `section` what is wanted.
    pub fn want_part(&mut self, section: Section, part: Part) {
        let touched = self.wanted.put_part(section, part);
        self.reconsider(touched);
    }

    /// What is wanted of these is another thing than before.
    fn reconsider(&mut self, touched: Vec<Key>) {
        for key in &touched {
            self.refusals.forget(key);
            self.repairs.forget(key);
        }
        self.suspects.extend(touched);
    }

    /// What is wanted of a section, once it was said.
    pub fn wants(&self, section: Section) -> Option<&Objects> {
        self.wanted.section(section)
    }

    /// The settings that a dump of `netns` must read besides the objects that the kernel lists.
    pub fn sysctls(&self, netns: Netns) -> Vec<String> {
        let path = |key: &Key| match key {
            Key::Sysctl(key) if key.netns == netns => Some(key.path.clone()),
            _ => None,
        };
        self.wanted.keys().filter_map(path).collect()
    }

    /// Somebody needs the name of a pod's interface, or its place in the pod's namespace: if nobody wants it, it goes now.
    pub fn hurry(&mut self, link: &Key) {
        if !self.flights.hold(link)
            && self.wanted.get(link).is_none()
            && self.found.get(link).is_some_and(|found| is_pair(link, found))
        {
            self.parting.insert(link.clone(), Instant::ZERO);
        }
    }
}

/// What the kernel tells.
impl Datapath {
    /// A namespace was read whole. Of a pod's, only what we want there is looked at: the rest is the pod's own.
    pub fn dumped(&mut self, now: Instant, netns: Netns, found: Objects) {
        self.read |= netns == Netns::Host;
        let mut found: Objects = found
            .into_iter()
            .filter(|(key, value)| {
                is_configured(value) && (netns == Netns::Host || self.wanted.get(key).is_some())
            })
            .collect();
        let known = self.found.objects().keys().filter(|key| key.netns() == netns);
        for key in known.cloned().collect::<Vec<_>>() {
            match found.remove(&key) {
                Some(value) => self.put(now, key, value),
                None => self.gone(now, &key),
            }
        }
        for (key, value) in found {
            self.put(now, key, value);
        }
        self.suspects.extend(self.wanted.keys().filter(|key| key.netns() == netns).cloned());
    }

    /// Takes over the routes for prefixes of `pools` that Calico's BIRD left here; how many these are.
    pub fn inherit(&mut self, pools: impl Fn(Cidr) -> bool) -> usize {
        let uplink = |device: &IfName| self.found.has_address(device);
        let is_left = |key: &Key, value: &Value| {
            matches!(key, Key::Route(route) if route.netns == Netns::Host
                && route.table == TABLE_MAIN && pools(route.dst))
                && may_be_birds(value, uplink)
        };
        let left = self.found.objects().iter().filter(|(key, value)| is_left(key, value));
        let left: Vec<Key> = left.map(|(key, _)| key.clone()).collect();
        self.found.inherit(&left);
        let inherited = left.len();
        self.suspects.extend(left);
        inherited
    }

    /// The kernel told of a change in the node's own namespace.
    pub fn noticed(&mut self, now: Instant, notice: Notice) {
        let key = match &notice {
            Notice::Put(key, _) | Notice::Gone(key) => key,
        };
        // The kernel tells of every interface's settings: only those that are wanted are ours to look at.
        if matches!(key, Key::Sysctl(_)) && self.wanted.get(key).is_none() && self.found.get(key).is_none() {
            return;
        }
        self.flights.notice(key);
        match notice {
            Notice::Put(key, value) if is_configured(&value) => self.put(now, key, value),
            Notice::Put(key, _) | Notice::Gone(key) => self.gone(now, &key),
        }
    }

    fn put(&mut self, now: Instant, key: Key, value: Value) {
        if self.found.get(&key) == Some(&value) {
            return;
        }
        let up = matches!(&value, Value::Link(link) if link.up);
        let previous = self.found.set(key.clone(), Some(value));
        self.touched(now, &key, previous.as_ref());
        match &key {
            Key::Link(link) if up => self.retry_on(now, link),
            Key::Link(link) if !self.is_unwanted_pod(link.netns, &link.name) => {
                for lost in self.found.lost_when_down(link) {
                    self.gone(now, &lost);
                }
            }
            _ => {}
        }
    }

    /// What was refused on an interface that was down or absent need not wait longer.
    fn retry_on(&mut self, now: Instant, link: &LinkKey) {
        let wanted = &self.wanted;
        self.refusals.hurry(now, |key| {
            key.netns() == link.netns && wanted.get(key).is_some_and(|value| hangs_on(key, value, &link.name))
        });
    }

    fn gone(&mut self, now: Instant, key: &Key) {
        let Some(previous) = self.found.set(key.clone(), None) else { return };
        self.touched(now, key, Some(&previous));
        let is_unwanted_pod = match key {
            Key::Link(link) => self.is_unwanted_pod(link.netns, &link.name),
            Key::Addr(addr) => self.is_unwanted_pod(addr.netns, &addr.device),
            _ => false,
        };
        if !is_unwanted_pod {
            for lost in self.found.lost_with(key) {
                self.gone(now, &lost);
            }
        }
    }

    /// Whether it is a pod's interface that nobody wants. What hung on it is not wanted either, and not worth a walk.
    fn is_unwanted_pod(&self, netns: Netns, device: &IfName) -> bool {
        is_workload(device) && self.wanted.get(&Key::Link(LinkKey { netns, name: device.clone() })).is_none()
    }

    fn touched(&mut self, now: Instant, key: &Key, previous: Option<&Value>) {
        self.suspects.insert(key.clone());
        if self.flights.hold(key) {
            return;
        }
        if let (Some(wanted), Some(previous)) = (self.wanted.get(key), previous)
            && wanted.satisfied_by(previous)
        {
            self.repairs.tampered(now, key);
        }
    }

    /// Forgets what was in a pod's namespace: it is out of reach, or went with the pod's interface.
    pub fn forget(&mut self, netns: PodNs) {
        self.found.forget(netns);
        self.refusals.forget_all(netns);
        let within = |key: &&Key| key.netns() == Netns::Pod(netns);
        self.suspects.retain(|key| !within(&key));
        self.suspects.extend(self.wanted.keys().filter(within).cloned());
    }
}

/// What is to be done, and what came of it.
impl Datapath {
    /// The next plan, if the writer is free, or may be given what follows, and something differs.
    pub fn plan(&mut self, now: Instant, id: EffectId) -> Option<Vec<Step>> {
        let changes = match self.flights.len() {
            0 => self.changes(now),
            1 if self.may_follow() => self.differences(now, false),
            _ => return None,
        };
        let steps = self.founded(now, plan(changes));
        if steps.is_empty() {
            return None;
        }
        self.flights.begin(id, &steps);
        Some(steps)
    }

    /// What is to be done now.
    fn changes(&mut self, now: Instant) -> Vec<Change> {
        self.suspects.extend(self.refusals.due(now).cloned());
        let parts = self.parting.values().any(|at| *at <= now);
        if parts {
            self.suspects.extend(self.parting.keys().cloned());
        }
        self.differences(now, parts)
    }

    /// Whether what is to be done may wait behind the plan that is being written, so that the writer need not wait: if all of
    /// it is to add routes, and nothing of it is being written, nothing can come before what it should follow.
    fn may_follow(&self) -> bool {
        let is_new = |key: &Key| self.found.get(key).is_none() && !self.flights.hold(key);
        self.suspects.iter().all(|key| matches!(key, Key::Route(_)) && is_new(key))
    }

    /// How what is suspect differs from what is wanted; `parts`: pods' interfaces that nobody wants may go.
    fn differences(&mut self, now: Instant, parts: bool) -> Vec<Change> {
        let mut changes = Vec::new();
        for key in std::mem::take(&mut self.suspects) {
            if self.refusals.pauses(now, &key) {
                // Its removal was refused: who needs its place waits for the next try.
                self.parting.remove(&key);
                continue;
            }
            self.conflicts.remove(&key);
            let is_ours = |key: &Key, value: &Value| self.found.is_ours(key, value);
            match change(&key, self.wanted.get(&key), self.found.get(&key), is_ours) {
                Some(Change::Conflict { key, found }) => {
                    self.refusals.forget(&key);
                    self.conflicts.insert(key, found);
                }
                Some(Change::Remove(key, found))
                    if is_pair(&key, &found) && !parts && self.refusals.get(&key).is_none() =>
                {
                    self.parting.entry(key).or_insert(now + LINGER);
                }
                Some(change) => {
                    self.parting.remove(&key);
                    changes.push(change);
                }
                None => {
                    self.refusals.forget(&key);
                    self.parting.remove(&key);
                    self.repairs.forget(&key);
                }
            }
        }
        changes
    }

    /// The writer is done with plan `id`. Says what people should know.
    pub fn wrote(&mut self, now: Instant, id: EffectId, outcomes: Vec<Outcome>) -> Vec<Report> {
        let mut flight = self.flights.end(id);
        let (mut reports, mut ground) = (Vec::new(), BTreeSet::new());
        for Outcome { key, result } in outcomes {
            let written = flight.take(&key);
            match result {
                Ok(()) => {
                    self.refusals.forget(&key);
                    if !matches!(key, Key::Route(_)) {
                        ground.insert(key.clone());
                    }
                    reports.extend(self.repairs.written(now, &key));
                    if flight.was_noticed(&key) {
                        // Of routes only others' changes are told: whose came last is not known.
                        self.stale |= matches!(key, Key::Route(_));
                        self.suspects.insert(key);
                    } else {
                        // It is as was wanted, and what is wanted otherwise since then is suspect already. Without a notice
                        // of its own (other namespaces, settings, rules), what was written is what is.
                        self.found.record(key, written);
                    }
                }
                Err(error) => {
                    self.suspects.insert(key.clone());
                    let is_news = self.refusals.get(&key).is_none_or(|before| before.errno != error.errno);
                    self.stale |= is_news && DISAGREES.contains(&error.errno);
                    reports.extend(self.refusals.record(now, key, error));
                }
            }
        }
        self.retry_on_ground(now, &ground);
        reports
    }

    /// When a refused object is to be tried again, or a pod's interface to go.
    pub fn timeout(&self) -> Option<Instant> {
        if !self.flights.is_empty() {
            return None;
        }
        self.refusals.timeout().into_iter().chain(self.parting.values().copied()).min()
    }

    /// Whether the kernel must be read again; said once.
    pub fn take_stale(&mut self) -> bool {
        std::mem::take(&mut self.stale)
    }
}

/// How it stands.
impl Datapath {
    /// What the kernel was last known to hold.
    pub fn actual(&self) -> &Objects {
        self.found.objects()
    }

    /// How large packets an interface of the node's own namespace takes.
    pub fn mtu_of(&self, device: &IfName) -> Option<Mtu> {
        self.found.mtu_of(device)
    }

    /// The facts but for how routes lead, if they changed since this was asked last.
    pub fn changed_facts(&mut self) -> Option<&Facts> {
        self.found.changed_facts()
    }

    /// How routes lead that changed since this was asked last.
    pub fn take_moved(&mut self) -> Vec<(Cidr, Option<Lead>)> {
        self.found.take_moved()
    }

    /// Whether the node's own namespace has been read.
    pub fn is_read(&self) -> bool {
        self.read
    }

    /// How far `key` is.
    pub fn applied(&self, key: &Key) -> Applied<'_> {
        if self.flights.hold(key) {
            return Applied::Pending;
        }
        if let Some(error) = self.refusals.get(key) {
            return Applied::Failed(error);
        }
        if self.conflicts.contains_key(key) {
            return Applied::Conflict;
        }
        match (self.wanted.get(key), self.found.get(key)) {
            (None, None) => Applied::Yes,
            (Some(wanted), Some(found)) if wanted.satisfied_by(found) => Applied::Yes,
            _ => Applied::Pending,
        }
    }

    /// Whether the kernel holds nothing of ours under `key`, and nothing is on the way there.
    pub fn is_clear(&self, key: &Key) -> bool {
        !self.flights.hold(key) && !self.found.get(key).is_some_and(|found| self.found.is_ours(key, found))
    }

    /// Whether the kernel holds all of a section.
    pub fn holds(&self, section: Section) -> bool {
        let wanted = self.wanted.section(section);
        wanted.is_some_and(|objects| objects.keys().all(|key| self.applied(key) == Applied::Yes))
    }

    /// Whether, of a section, nothing was refused or stands in the way; to be asked when all is settled.
    pub fn lacks_none(&self, section: Section) -> bool {
        let wrong = || self.refusals.iter().map(|(key, _)| key).chain(self.conflicts.keys());
        self.wanted.section(section).is_some_and(|objects| wrong().all(|key| !objects.contains_key(key)))
    }

    /// Whether everything wanted is in the kernel, as far as it let us.
    pub fn is_settled(&self) -> bool {
        self.read && self.flights.is_empty() && self.suspects.is_empty()
    }

    /// What is wanted and not so, in words.
    pub fn problems(&self) -> Vec<String> {
        let refused = self.refusals.iter().map(|(key, error)| format!("the kernel refuses {key}: {error}"));
        let conflicts = self.conflicts.iter().map(|(key, found)| {
            format!("{key} is somebody else's ({found}): remove it, and it is made anew")
        });
        refused.chain(conflicts).collect()
    }

    /// How many objects were put back since the start.
    pub fn repairs_total(&self) -> u64 {
        self.repairs.total()
    }

    /// What was put back lately.
    pub fn repairs(&self) -> &[Repair] {
        self.repairs.lately()
    }
}

/// Whether it is the node's end of a pod's interface.
pub(crate) fn is_pair(key: &Key, found: &Value) -> bool {
    matches!((key, found), (Key::Link(key), Value::Link(link))
        if key.netns == Netns::Host
            && is_workload(&key.name)
            && matches!(link.kind, LinkKind::Veth { .. }))
}

/// Whether somebody configured it. What the kernel learnt by itself gives way to what is configured.
fn is_configured(value: &Value) -> bool {
    match value {
        Value::Neigh(neigh) => neigh.permanent,
        Value::Fdb(fdb) => fdb.permanent,
        _ => true,
    }
}
