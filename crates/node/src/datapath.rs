//! What the node's kernel should hold, what it holds, and how far the writer got with each object.
//!
//! Inputs: sections of what is wanted, dumps, notices, outcomes. Output: one plan at a time, and behind it
//! perhaps one of routes to add. Only keys that something happened to (`suspects`) are compared; a dump makes every key
//! suspect. Invariants: a key in flight is never planned again; an object that is not ours is never changed; nothing here
//! remembers how a state came about.

use crate::effect::{EffectId, Notice, Report};
use crate::facts::{Facts, Lead};
use crate::socket::Repair;
use derive::{Part, Section};
use kernel::diff::{change, side_by_side};
use kernel::{
    AddrKey, ApplyError, Change, Key, LinkKey, LinkKind, Netns, Objects, Outcome, PodNs, Step, Value,
    WORKLOAD_PREFIX, ours, plan,
};
use model::{Cidr, Duration, IfName, Instant, Mtu};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// First and longest pause between tries of an object that the kernel refuses.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// How long a pod's interface that nobody wants any more is left alone. What hung on it goes at once; the interface costs the
/// kernel a grace period of RCU, some 20 ms, and many of them together cost no more than one.
const LINGER: Duration = Duration::from_millis(500);
/// How many kinds of repair are remembered.
const REPAIRS: usize = 32;

/// `ENOENT`, `EEXIST`, `EBUSY`.
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
    sections: BTreeMap<Section, Objects>,
    actual: Objects,
    facts: Facts,
    facts_changed: bool,
    /// The node's own namespace has been read.
    read: bool,
    suspects: BTreeSet<Key>,
    /// The plans that the writer has, in the order in which it works on them: one, or one and what may follow it.
    flights: VecDeque<Flight>,
    failed: BTreeMap<Key, Failed>,
    conflicts: BTreeMap<Key, Value>,
    /// Pods' interfaces that are to go, and when.
    parting: BTreeMap<Key, Instant>,
    /// Objects that were in order until somebody touched them, and when.
    tampered: BTreeMap<Key, Instant>,
    repairs: Vec<Repair>,
    repairs_total: u64,
    /// The kernel said that an object is there, or is not, against what we believe: it must be read again.
    stale: bool,
}

/// The plan that the writer works on.
#[derive(Debug)]
struct Flight {
    id: EffectId,
    /// What each key will be if the kernel agrees.
    keys: BTreeMap<Key, Option<Value>>,
    /// Keys that the kernel told of meanwhile: its word is newer than the outcome.
    noticed: BTreeSet<Key>,
}

#[derive(Debug)]
struct Failed {
    error: ApplyError,
    pause: Duration,
    retry_at: Instant,
}

impl Datapath {
    /// Makes `objects` what is wanted of `section`.
    pub fn want(&mut self, section: Section, objects: Objects) {
        let before = self.sections.insert(section, Objects::new()).unwrap_or_default();
        let differs = side_by_side(&before, &objects).filter(|(_, one, two)| one != two);
        let touched: Vec<Key> = differs.map(|(key, ..)| key.clone()).collect();
        self.reconsider(touched);
        self.sections.insert(section, objects);
    }

    /// Makes a part of `section` what is wanted.
    pub fn want_part(&mut self, section: Section, part: Part) {
        let objects = self.sections.entry(section).or_default();
        let mut touched = Vec::new();
        for (key, wanted) in part {
            match (objects.entry(key), wanted) {
                (Entry::Vacant(place), Some(wanted)) => {
                    touched.push(place.key().clone());
                    place.insert(wanted);
                }
                (Entry::Occupied(mut place), Some(wanted)) if *place.get() != wanted => {
                    touched.push(place.key().clone());
                    place.insert(wanted);
                }
                (Entry::Occupied(place), None) => touched.push(place.remove_entry().0),
                _ => {}
            }
        }
        self.reconsider(touched);
    }

    /// What is wanted of these is another thing than before.
    fn reconsider(&mut self, touched: Vec<Key>) {
        for key in &touched {
            self.failed.remove(key);
            self.tampered.remove(key);
        }
        self.suspects.extend(touched);
    }

    /// What is wanted of a section, once it was said.
    pub fn wants(&self, section: Section) -> Option<&Objects> {
        self.sections.get(&section)
    }

    /// The facts but for how routes lead, if they changed since this was asked last.
    pub fn changed_facts(&mut self) -> Option<&Facts> {
        std::mem::take(&mut self.facts_changed).then_some(&self.facts)
    }

    /// How routes lead that changed since this was asked last.
    pub fn take_moved(&mut self) -> Vec<(Cidr, Option<Lead>)> {
        self.facts.take_moved()
    }

    /// Under `key` the kernel holds this from now on; what it held before.
    fn set_actual(&mut self, key: Key, value: Option<Value>) -> Option<Value> {
        let place = self.actual.entry(key);
        self.facts_changed |= self.facts.learn(place.key(), held(&place), value.as_ref());
        set(place, value)
    }

    /// What is wanted under `key`. Of sections that want it the first counts.
    fn wanted(&self, key: &Key) -> Option<&Value> {
        self.sections.values().find_map(|objects| objects.get(key))
    }

    /// What the kernel was last known to hold.
    pub fn actual(&self) -> &Objects {
        &self.actual
    }

    /// How large packets an interface of the node's own namespace takes.
    pub fn mtu_of(&self, device: &IfName) -> Option<Mtu> {
        let key = Key::Link(LinkKey { netns: Netns::Host, name: device.clone() });
        match self.actual.get(&key) {
            Some(Value::Link(link)) => link.mtu,
            _ => None,
        }
    }

    /// Whether the node's own namespace has been read.
    pub fn is_read(&self) -> bool {
        self.read
    }

    /// The settings that a dump of `netns` must read besides the objects that the kernel lists.
    pub fn sysctls(&self, netns: Netns) -> Vec<String> {
        let keys = self.sections.values().flat_map(Objects::keys);
        keys.filter_map(|key| match key {
            Key::Sysctl(key) if key.netns == netns => Some(key.path.clone()),
            _ => None,
        })
        .collect()
    }

    /// A namespace was read whole. Of a pod's, only what we want there is looked at: the rest is the pod's own.
    pub fn dumped(&mut self, now: Instant, netns: Netns, found: Objects) {
        self.read |= netns == Netns::Host;
        let mut found: Objects = found
            .into_iter()
            .filter(|(key, value)| {
                is_configured(value) && (netns == Netns::Host || self.wanted(key).is_some())
            })
            .collect();
        let known: Vec<Key> = self.actual.keys().filter(|key| key.netns() == netns).cloned().collect();
        for key in known {
            match found.remove(&key) {
                Some(value) => self.put(now, key, value),
                None => self.gone(now, &key),
            }
        }
        for (key, value) in found {
            self.put(now, key, value);
        }
        let wanted = self.sections.values().flat_map(Objects::keys).filter(|key| key.netns() == netns);
        self.suspects.extend(wanted.cloned());
    }

    /// The kernel told of a change in the node's own namespace.
    pub fn noticed(&mut self, now: Instant, notice: Notice) {
        let key = match &notice {
            Notice::Put(key, _) | Notice::Gone(key) => key,
        };
        // The kernel tells of every interface's settings: only those that are wanted are ours to look at.
        if matches!(key, Key::Sysctl(_)) && self.wanted(key).is_none() && !self.actual.contains_key(key) {
            return;
        }
        for flight in self.flights.iter_mut().filter(|flight| flight.keys.contains_key(key)) {
            flight.noticed.insert(key.clone());
        }
        match notice {
            Notice::Put(key, value) if is_configured(&value) => self.put(now, key, value),
            Notice::Put(key, _) | Notice::Gone(key) => self.gone(now, &key),
        }
    }

    fn put(&mut self, now: Instant, key: Key, value: Value) {
        if self.actual.get(&key) == Some(&value) {
            return;
        }
        let up = matches!(&value, Value::Link(link) if link.up);
        let previous = self.set_actual(key.clone(), Some(value));
        self.touched(now, &key, previous.as_ref());
        match &key {
            Key::Link(link) if up => self.retry_on(now, link),
            Key::Link(link) => {
                self.cascade(now, link.netns, &link.name, |key| matches!(key, Key::Route(_)));
            }
            _ => {}
        }
    }

    /// What was refused on an interface that was down or absent need not wait longer.
    fn retry_on(&mut self, now: Instant, link: &LinkKey) {
        let waits = |key: &Key| {
            key.netns() == link.netns
                && self.wanted(key).is_some_and(|value| hangs_on(key, value, &link.name))
        };
        let due: Vec<Key> = self.failed.keys().filter(|key| waits(key)).cloned().collect();
        for key in due {
            self.failed.entry(key).and_modify(|failed| failed.retry_at = now);
        }
    }

    fn gone(&mut self, now: Instant, key: &Key) {
        let Some(previous) = self.set_actual(key.clone(), None) else { return };
        self.touched(now, key, Some(&previous));
        match key {
            Key::Link(link) => self.cascade(now, link.netns, &link.name, |_| true),
            // With its last address an interface loses IPv4 (`fib_disable_ip`).
            Key::Addr(addr) if addr.addr.addr().is_ipv4() && !self.has_ipv4(addr) => {
                let lost = |key: &Key| matches!(key, Key::Route(route) if route.dst.is_ipv4());
                self.cascade(now, addr.netns, &addr.device, lost);
            }
            _ => {}
        }
    }

    /// Whether the interface of `addr` has an IPv4 address.
    fn has_ipv4(&self, addr: &AddrKey) -> bool {
        self.actual.keys().any(|key| {
            matches!(key, Key::Addr(other) if other.netns == addr.netns && other.device == addr.device
                && other.addr.addr().is_ipv4())
        })
    }

    /// What the kernel takes away with an interface without a word (`fib_sync_down_dev`, `neigh_ifdown`). A pod's
    /// interface that is not wanted is not worth the walk: what hung on it is not wanted either.
    fn cascade(&mut self, now: Instant, netns: Netns, device: &IfName, lost: impl Fn(&Key) -> bool) {
        let link = Key::Link(LinkKey { netns, name: device.clone() });
        if device.as_str().starts_with(WORKLOAD_PREFIX) && self.wanted(&link).is_none() {
            return;
        }
        let hangs: Vec<Key> = self
            .actual
            .iter()
            .filter(|(key, value)| key.netns() == netns && lost(key) && hangs_on(key, value, device))
            .map(|(key, _)| key.clone())
            .collect();
        for key in hangs {
            self.gone(now, &key);
        }
    }

    fn touched(&mut self, now: Instant, key: &Key, previous: Option<&Value>) {
        self.suspects.insert(key.clone());
        if self.is_in_flight(key) {
            return;
        }
        if let (Some(wanted), Some(previous)) = (self.wanted(key), previous)
            && wanted.satisfied_by(previous)
        {
            self.tampered.entry(key.clone()).or_insert(now);
        }
    }

    /// Whether the writer has a plan that changes `key`.
    fn is_in_flight(&self, key: &Key) -> bool {
        self.flights.iter().any(|flight| flight.keys.contains_key(key))
    }

    /// The next plan, if the writer is free, or may be given what follows, and something differs.
    pub fn plan(&mut self, now: Instant, id: EffectId) -> Option<Vec<Step>> {
        let changes = match self.flights.len() {
            0 => self.changes(now),
            1 if self.may_follow() => self.differences(now, false),
            _ => return None,
        };
        if changes.is_empty() {
            return None;
        }
        let keys = changes.iter().map(|change| (change.key().clone(), change.to().cloned())).collect();
        self.flights.push_back(Flight { id, keys, noticed: BTreeSet::new() });
        Some(plan(changes))
    }

    /// What is to be done now.
    fn changes(&mut self, now: Instant) -> Vec<Change> {
        let due = self.failed.iter().filter(|(_, failed)| failed.retry_at <= now).map(|(key, _)| key.clone());
        self.suspects.extend(due.collect::<Vec<_>>());
        let parts = self.parting.values().any(|at| *at <= now);
        if parts {
            self.suspects.extend(self.parting.keys().cloned());
        }
        self.differences(now, parts)
    }

    /// Whether what is to be done may wait behind the plan that is being written, so that the writer need not wait: if all of
    /// it is to add routes, and nothing of it is being written, nothing can come before what it should follow.
    fn may_follow(&self) -> bool {
        let is_new = |key: &Key| !self.actual.contains_key(key) && !self.is_in_flight(key);
        self.suspects.iter().all(|key| matches!(key, Key::Route(_)) && is_new(key))
    }

    /// How what is suspect differs from what is wanted; `parts`: pods' interfaces that nobody wants may go.
    fn differences(&mut self, now: Instant, parts: bool) -> Vec<Change> {
        let mut changes = Vec::new();
        for key in std::mem::take(&mut self.suspects) {
            if self.failed.get(&key).is_some_and(|failed| failed.retry_at > now) {
                continue;
            }
            self.conflicts.remove(&key);
            match change(&key, self.wanted(&key), self.actual.get(&key), ours) {
                Some(Change::Conflict { key, found }) => {
                    self.failed.remove(&key);
                    self.conflicts.insert(key, found);
                }
                Some(Change::Remove(key, found))
                    if is_pair(&key, &found) && !parts && !self.failed.contains_key(&key) =>
                {
                    self.parting.entry(key).or_insert(now + LINGER);
                }
                Some(change) => {
                    self.parting.remove(&key);
                    changes.push(change);
                }
                None => {
                    self.failed.remove(&key);
                    self.parting.remove(&key);
                    self.tampered.remove(&key);
                }
            }
        }
        changes
    }

    /// The writer is done with plan `id`. Says what people should know.
    pub fn wrote(&mut self, now: Instant, id: EffectId, outcomes: Vec<Outcome>) -> Vec<Report> {
        let mut flight =
            self.flights.pop_front_if(|flight| flight.id == id).expect("the first plan is written first");
        let mut reports = Vec::new();
        for Outcome { key, result } in outcomes {
            let written = flight.keys.remove(&key).unwrap_or_default();
            match result {
                Ok(()) => {
                    self.failed.remove(&key);
                    if let Some(since) = self.tampered.remove(&key) {
                        reports.push(self.repaired(&key, now - since));
                    }
                    if flight.noticed.contains(&key) {
                        // Of routes only others' changes are told: whose came last is not known.
                        self.stale |= matches!(key, Key::Route(_));
                        self.suspects.insert(key);
                    } else {
                        // It is as was wanted, and what is wanted otherwise since then is suspect already.
                        self.record(key, written);
                    }
                }
                Err(error) => {
                    self.suspects.insert(key.clone());
                    reports.extend(self.refused(now, key, error));
                }
            }
        }
        reports
    }

    /// Without a notice of its own (other namespaces, settings, rules), what was written is what is.
    fn record(&mut self, key: Key, written: Option<Value>) {
        let place = self.actual.entry(key);
        let as_found = |written: &Value| held(&place).is_some_and(|found| written.satisfied_by(found));
        if !written.as_ref().is_some_and(as_found) {
            self.facts_changed |= self.facts.learn(place.key(), held(&place), written.as_ref());
            set(place, written);
        }
    }

    fn repaired(&mut self, key: &Key, took: Duration) -> Report {
        let object = key.to_string();
        let known = self.repairs.iter().position(|repair| repair.object == object);
        let before = known.map_or(0, |at| self.repairs.remove(at).count);
        if self.repairs.len() == REPAIRS {
            self.repairs.remove(0);
        }
        let count = before + 1;
        self.repairs.push(Repair { object: object.clone(), count, took_micros: took.micros() });
        self.repairs_total += 1;
        Report::warn(format!(
            "restored {object}, {took} after somebody else changed or removed it (time {count})"
        ))
    }

    /// The first refusal is worth a word, the same again is not.
    fn refused(&mut self, now: Instant, key: Key, error: ApplyError) -> Option<Report> {
        let before = self.failed.remove(&key);
        let known = before.as_ref().is_some_and(|failed| failed.error == error);
        self.stale |= before.is_none() && DISAGREES.contains(&error.errno);
        let pause = before.map_or(RETRY.0, |failed| failed.pause.doubled(RETRY.1));
        // What was not even tried has its cause reported.
        let worth_a_word = !known && error.errno != ApplyError::NOT_TRIED;
        let report = worth_a_word.then(|| Report::warn(format!("the kernel refuses {key}: {error}")));
        self.failed.insert(key, Failed { error, pause, retry_at: now + pause });
        report
    }

    /// How far `key` is.
    pub fn applied(&self, key: &Key) -> Applied<'_> {
        if self.is_in_flight(key) {
            return Applied::Pending;
        }
        if let Some(failed) = self.failed.get(key) {
            return Applied::Failed(&failed.error);
        }
        if self.conflicts.contains_key(key) {
            return Applied::Conflict;
        }
        match (self.wanted(key), self.actual.get(key)) {
            (None, None) => Applied::Yes,
            (Some(wanted), Some(actual)) if wanted.satisfied_by(actual) => Applied::Yes,
            _ => Applied::Pending,
        }
    }

    /// Whether the kernel holds nothing of ours under `key`, and nothing is on the way there.
    pub fn is_clear(&self, key: &Key) -> bool {
        !self.is_in_flight(key) && !self.actual.get(key).is_some_and(|found| ours(key, found))
    }

    /// Whether the kernel holds all of a section.
    pub fn holds(&self, section: Section) -> bool {
        self.sections
            .get(&section)
            .is_some_and(|objects| objects.keys().all(|key| self.applied(key) == Applied::Yes))
    }

    /// Whether, of a section, nothing was refused or stands in the way; to be asked when all is settled.
    pub fn lacks_none(&self, section: Section) -> bool {
        let wrong = || self.failed.keys().chain(self.conflicts.keys());
        self.sections.get(&section).is_some_and(|objects| wrong().all(|key| !objects.contains_key(key)))
    }

    /// Whether everything wanted is in the kernel, as far as it let us.
    pub fn is_settled(&self) -> bool {
        self.read && self.flights.is_empty() && self.suspects.is_empty()
    }

    /// Forgets what was in a pod's namespace: it is out of reach, or went with the pod's interface.
    pub fn forget(&mut self, netns: PodNs) {
        let within = |key: &Key| key.netns() == Netns::Pod(netns);
        self.actual.retain(|key, _| !within(key));
        self.failed.retain(|key, _| !within(key));
        self.suspects.retain(|key| !within(key));
        let wanted = self.sections.values().flat_map(Objects::keys).filter(|key| within(key)).cloned();
        self.suspects.extend(wanted.collect::<Vec<_>>());
    }

    /// When a refused object is to be tried again, or a pod's interface to go.
    pub fn timeout(&self) -> Option<Instant> {
        if !self.flights.is_empty() {
            return None;
        }
        self.failed.values().map(|failed| failed.retry_at).chain(self.parting.values().copied()).min()
    }

    /// Somebody needs the name of a pod's interface, or its place in the pod's namespace: if nobody wants it, it goes now.
    pub fn hurry(&mut self, link: &Key) {
        if !self.is_in_flight(link)
            && self.wanted(link).is_none()
            && self.actual.get(link).is_some_and(|found| is_pair(link, found))
        {
            self.parting.insert(link.clone(), Instant::ZERO);
        }
    }

    /// What is wanted and not so, in words.
    pub fn problems(&self) -> Vec<String> {
        let failed =
            self.failed.iter().map(|(key, failed)| format!("the kernel refuses {key}: {}", failed.error));
        let conflicts = self.conflicts.iter().map(|(key, found)| {
            format!("{key} is somebody else's ({found}): remove it, and it is made anew")
        });
        failed.chain(conflicts).collect()
    }

    /// How many objects were put back since the start.
    pub fn repairs_total(&self) -> u64 {
        self.repairs_total
    }

    /// Whether the kernel must be read again; said once.
    pub fn take_stale(&mut self) -> bool {
        std::mem::take(&mut self.stale)
    }

    /// What was put back lately.
    pub fn repairs(&self) -> &[Repair] {
        &self.repairs
    }
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

/// Whether it is the node's end of a pod's interface.
fn is_pair(key: &Key, found: &Value) -> bool {
    matches!((key, found), (Key::Link(key), Value::Link(link))
        if key.netns == Netns::Host
            && key.name.as_str().starts_with(WORKLOAD_PREFIX)
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

fn hangs_on(key: &Key, value: &Value, device: &IfName) -> bool {
    match (key, value) {
        (Key::Addr(key), _) => key.device == *device,
        (Key::Neigh(key), _) => key.device == *device,
        (Key::Fdb(key), _) => key.device == *device,
        (Key::Route(_), Value::Route(route)) => route.device.as_ref() == Some(device),
        (Key::Filter(key), Value::Filter(filter)) => {
            key.device == *device || filter.leads_to() == Some(device)
        }
        (Key::Sysctl(key), _) => key.path.split('/').any(|part| part == device.as_str()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::addr::AddrScope;
    use kernel::route::{PROTO_CALICO, TABLE_MAIN};
    use kernel::{AddrValue, LinkValue, RouteKey, RouteKind, RouteScope, RouteValue};

    fn uplink(up: bool) -> (Key, Value) {
        let key = LinkKey { netns: Netns::Host, name: IfName::fixed("ens192") };
        let link = LinkValue { kind: LinkKind::Other(String::new()), mac: None, mtu: None, up, alias: None };
        (Key::Link(key), Value::Link(Box::new(link)))
    }

    fn address() -> (Key, Value) {
        let addr = "192.168.50.161/24".parse().expect("it is an address");
        let key = AddrKey { netns: Netns::Host, device: IfName::fixed("ens192"), addr };
        (Key::Addr(key), Value::Addr(AddrValue { scope: AddrScope::Global }))
    }

    fn direct_route() -> (Key, Value) {
        let dst = "6.2.180.0/26".parse().expect("it is a CIDR");
        let route = RouteValue {
            kind: RouteKind::Unicast,
            gateway: Some([192, 168, 50, 162].into()),
            device: Some(IfName::fixed("ens192")),
            scope: RouteScope::Universe,
            onlink: true,
            protocol: PROTO_CALICO,
            source: None,
            mtu: None,
            also: Vec::new(),
        };
        let key = RouteKey { netns: Netns::Host, table: TABLE_MAIN, dst, priority: 0 };
        (Key::Route(key), Value::Route(route))
    }

    #[test]
    fn routes_that_the_kernel_takes_away_without_a_word_are_made_again() {
        let (down, (addr, _)) = (uplink(false), address());
        for notice in [Notice::Put(down.0, down.1), Notice::Gone(addr)] {
            let now = Instant::ZERO;
            let mut datapath = Datapath::default();
            datapath.want(Section::Routes, Objects::from([direct_route()]));
            datapath.dumped(now, Netns::Host, Objects::from([uplink(true), address(), direct_route()]));
            assert_eq!(datapath.plan(now, EffectId(1)), None, "all is as wanted");
            datapath.noticed(now, notice);
            let (key, value) = direct_route();
            assert_eq!(datapath.plan(now, EffectId(2)), Some(vec![Step::Create(key, value)]));
        }
    }

    #[test]
    fn what_a_downed_interface_refused_is_tried_when_it_comes_up() {
        let (down, up) = (uplink(false), uplink(true));
        let mut datapath = Datapath::default();
        datapath.want(Section::Routes, Objects::from([direct_route()]));
        datapath.dumped(Instant::ZERO, Netns::Host, Objects::from([down, address()]));
        let mut now = Instant::ZERO;
        for id in 0..12 {
            datapath.plan(now, EffectId(id)).expect("it is tried");
            let error = ApplyError { errno: 100, text: "Network is down".into() };
            datapath.wrote(now, EffectId(id), vec![Outcome { key: direct_route().0, result: Err(error) }]);
            now = datapath.timeout().expect("it is tried again");
        }
        let soon = Instant::from_micros(now.micros() - 1_000_000);
        assert_eq!(datapath.plan(soon, EffectId(20)), None, "the pause is long by now");
        datapath.noticed(soon, Notice::Put(up.0, up.1));
        assert!(datapath.plan(soon, EffectId(21)).is_some());
    }

    /// The route of `direct_route`, to another destination.
    fn another_route(dst: &str) -> (Key, Value) {
        let dst = dst.parse().expect("it is a CIDR");
        (Key::Route(RouteKey { netns: Netns::Host, table: TABLE_MAIN, dst, priority: 0 }), direct_route().1)
    }

    #[test]
    fn routes_to_add_wait_behind_a_plan_and_everything_else_waits_for_its_outcome() {
        let (now, id) = (Instant::ZERO, EffectId);
        let done = |(key, _): (Key, Value)| Outcome { key, result: Ok(()) };
        let [first, second, third] =
            [direct_route(), another_route("20.0.0.0/26"), another_route("20.0.1.0/26")];
        let with = |routes: &[&(Key, Value)]| routes.iter().copied().cloned().collect::<Objects>();
        let mut datapath = Datapath::default();
        datapath.dumped(now, Netns::Host, Objects::from([uplink(true), address()]));
        datapath.want(Section::Routes, with(&[&first]));
        assert!(datapath.plan(now, id(1)).is_some());

        datapath.want(Section::Learnt, with(&[&second]));
        let made = Step::Create(second.0.clone(), second.1.clone());
        assert_eq!(datapath.plan(now, id(2)), Some(vec![made]));
        datapath.want(Section::Learnt, with(&[&second, &third]));
        assert_eq!(datapath.plan(now, id(3)), None, "two are enough");

        datapath.wrote(now, id(1), vec![done(first.clone())]);
        assert_eq!(datapath.applied(&first.0), Applied::Yes);
        assert_eq!(datapath.applied(&second.0), Applied::Pending);
        datapath.want(Section::Routes, Objects::new());
        assert_eq!(datapath.plan(now, id(3)), None, "a removal must not come before what it should follow");
        datapath.wrote(now, id(2), vec![done(second)]);
        let (key, value) = third;
        let steps = vec![Step::Create(key, value), Step::Remove(first.0, first.1)];
        assert_eq!(datapath.plan(now, id(3)), Some(steps));
    }
}
