//! What the node's kernel should hold, what it holds, and how far the writer got with each object.
//!
//! Inputs: sections of what is wanted, dumps, notices, outcomes. Output: one plan at a time. Only keys that something
//! happened to (`suspects`) are compared; a dump makes every key suspect. Invariants: a key in flight is never planned
//! again; an object that is not ours is never changed; nothing here remembers how a state came about.

use crate::effect::{EffectId, Notice, Report};
use crate::facts::Facts;
use crate::socket::Repair;
use derive::Section;
use kernel::diff::{change, side_by_side};
use kernel::{
    AddrKey, ApplyError, Change, Key, LinkKey, LinkKind, Netns, Objects, Outcome, PodNs, Step, Value,
    WORKLOAD_PREFIX, ours, plan,
};
use model::{Duration, IfName, Instant, Mtu};
use std::collections::{BTreeMap, BTreeSet};

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
    flight: Option<Flight>,
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

    /// Makes `after` what is wanted of a part of `section`: under these keys, and nothing else under them.
    pub fn want_part(&mut self, section: Section, keys: BTreeSet<Key>, after: Objects) {
        let objects = self.sections.entry(section).or_default();
        let mut touched = Vec::new();
        for key in keys {
            if !after.contains_key(&key) && objects.remove(&key).is_some() {
                touched.push(key);
            }
        }
        for (key, value) in after {
            if objects.get(&key) != Some(&value) {
                objects.insert(key.clone(), value);
                touched.push(key);
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

    /// The facts, if they changed since they were taken last.
    pub fn take_facts(&mut self) -> Option<Facts> {
        std::mem::take(&mut self.facts_changed).then(|| self.facts.clone())
    }

    /// The one place where `actual` changes.
    fn set_actual(&mut self, key: &Key, value: Option<Value>) -> Option<Value> {
        self.facts_changed |= self.facts.learn(key, value.as_ref());
        match value {
            Some(value) => self.actual.insert(key.clone(), value),
            None => self.actual.remove(key),
        }
    }

    /// What is wanted under `key`.
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
        if let Some(flight) = &mut self.flight
            && flight.keys.contains_key(key)
        {
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
        let previous = self.set_actual(&key, Some(value));
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
        let Some(previous) = self.set_actual(key, None) else { return };
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
        let in_flight = self.flight.as_ref().is_some_and(|flight| flight.keys.contains_key(key));
        if in_flight {
            return;
        }
        if let (Some(wanted), Some(previous)) = (self.wanted(key), previous)
            && wanted.satisfied_by(previous)
        {
            self.tampered.entry(key.clone()).or_insert(now);
        }
    }

    /// The next plan, if the writer is free and something differs.
    pub fn plan(&mut self, now: Instant, id: EffectId) -> Option<Vec<Step>> {
        if self.flight.is_some() {
            return None;
        }
        let due = self.failed.iter().filter(|(_, failed)| failed.retry_at <= now).map(|(key, _)| key.clone());
        self.suspects.extend(due.collect::<Vec<_>>());
        let parts = self.parting.values().any(|at| *at <= now);
        if parts {
            self.suspects.extend(self.parting.keys().cloned());
        }
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
        if changes.is_empty() {
            return None;
        }
        let keys = changes.iter().map(|change| (change.key().clone(), change.to().cloned())).collect();
        self.flight = Some(Flight { id, keys, noticed: BTreeSet::new() });
        Some(plan(changes))
    }

    /// The writer is done with plan `id`. Says what people should know.
    pub fn wrote(&mut self, now: Instant, id: EffectId, outcomes: Vec<Outcome>) -> Vec<Report> {
        let flight =
            self.flight.take_if(|flight| flight.id == id).expect("only the plan in flight has outcomes");
        let mut reports = Vec::new();
        for Outcome { key, result } in outcomes {
            let written = flight.keys.get(&key).cloned().unwrap_or_default();
            self.suspects.insert(key.clone());
            match result {
                Ok(()) => {
                    self.failed.remove(&key);
                    let noticed = flight.noticed.contains(&key);
                    if !noticed {
                        self.record(&key, written);
                    }
                    // Of routes only others' changes are told: whose came last is not known.
                    self.stale |= noticed && matches!(key, Key::Route(_));
                    if let Some(since) = self.tampered.remove(&key) {
                        reports.push(self.repaired(&key, now - since));
                    }
                }
                Err(error) => reports.extend(self.refused(now, key, error)),
            }
        }
        reports
    }

    /// Without a notice of its own (other namespaces, settings, rules), what was written is what is.
    fn record(&mut self, key: &Key, written: Option<Value>) {
        match (written, self.actual.get(key)) {
            (Some(value), Some(actual)) if value.satisfied_by(actual) => {}
            (written, _) => _ = self.set_actual(key, written),
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
        if self.flight.as_ref().is_some_and(|flight| flight.keys.contains_key(key)) {
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
        let in_flight = self.flight.as_ref().is_some_and(|flight| flight.keys.contains_key(key));
        !in_flight && !self.actual.get(key).is_some_and(|found| ours(key, found))
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
        self.read && self.flight.is_none() && self.suspects.is_empty()
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
        if self.flight.is_some() {
            return None;
        }
        self.failed.values().map(|failed| failed.retry_at).chain(self.parting.values().copied()).min()
    }

    /// Somebody needs the name of a pod's interface, or its place in the pod's namespace: if nobody wants it, it goes now.
    pub fn hurry(&mut self, link: &Key) {
        let in_flight = self.flight.as_ref().is_some_and(|flight| flight.keys.contains_key(link));
        if !in_flight
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
}
