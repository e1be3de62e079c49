//! Carries steps out. Steps that follow each other in the same namespace travel together; a step that is no netlink message
//! (a setting, the rules) closes the batch before it, so that the order of the steps holds.

use crate::dump;
use crate::encode;
use crate::filter;
use crate::message::Message;
use crate::netns;
use crate::nft::{self, Change};
use crate::socket::{BATCH, Protocol, Refusal, Socket};
use failpoint::failpoint;
use kernel::nft::TableKey;
use kernel::{
    ApplyError, Key, LinkKey, LinkKind, LinkValue, Netns, Objects, Outcome, PodNs, RouteValue, Step,
    SysctlKey, SysctlValue, Value, guard,
};
use model::IfName;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::{AsFd, AsRawFd};
use std::{fs, io};

/// Writes to the kernel and reads it, in the node's own namespace and in pods'.
#[derive(Debug)]
pub struct Writer {
    host: Socket,
    rules: Socket,
    pods: BTreeMap<PodNs, Pod>,
    /// The group of interfaces that are about to be removed: a number that nobody else draws.
    group: u32,
}

/// The ports of a writer's sockets in the node's own namespace, by which the kernel names whose doing a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Of links, addresses, routes, neighbours.
    pub objects: u32,
    pub rules: u32,
}

#[derive(Debug)]
struct Pod {
    netns: netns::Netns,
    socket: Socket,
}

/// One run of `apply`.
#[derive(Default)]
struct Run {
    /// Which step is being carried out.
    step: usize,
    /// What became of each step: its first refusal, or success.
    results: Vec<Result<(), ApplyError>>,
    /// Messages that wait, all for one namespace, and whose they are.
    batch: Vec<Message>,
    whose: Vec<(usize, Tolerance)>,
    batch_netns: Option<Netns>,
    /// The batch makes or removes interfaces, so that their numbers are not known before it is sent.
    batch_has_links: bool,
    /// Asked for once in a run: an interface that somebody makes anew has another number.
    indexes: BTreeMap<Netns, BTreeMap<IfName, u32>>,
    /// The step that makes the pair whose far end is in a pod's namespace.
    pairs: BTreeMap<Netns, usize>,
    /// What should know the pods does not: nothing may lead to one.
    rules_are_refused: bool,
}

/// How many of the first steps remove a pod's interface from the node.
fn pairs_to_remove(steps: &[Step]) -> usize {
    let is_pair = |step: &&Step| match (removed_link(step), step) {
        (Some(link), Step::Remove(_, Value::Link(found))) => {
            link.netns == Netns::Host && matches!(found.kind, LinkKind::Veth { .. })
        }
        _ => false,
    };
    steps.iter().take_while(is_pair).count()
}

fn change_of_rules(step: &Step) -> Option<Change<'_>> {
    match step {
        Step::Create(Key::Nft(key), Value::Nft(to)) => Some(Change { key, from: None, to: Some(to) }),
        Step::Replace { key: Key::Nft(key), from: Value::Nft(from), to: Value::Nft(to) } => {
            Some(Change { key, from: Some(from), to: Some(to) })
        }
        Step::Remove(Key::Nft(key), Value::Nft(from)) => Some(Change { key, from: Some(from), to: None }),
        _ => None,
    }
}

/// Whether the step must not be carried out if the rules before it were refused.
fn needs_rules(step: &Step) -> bool {
    match step {
        Step::Create(key, value) | Step::Replace { key, to: value, .. } => guard::needs_rules(key, value),
        Step::Up(..) | Step::Remove(..) => false,
    }
}

fn removed_link(step: &Step) -> Option<&LinkKey> {
    match step {
        Step::Remove(Key::Link(link), _) => Some(link),
        _ => None,
    }
}

/// Which refusals are as good as success.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tolerance {
    None,
    /// A removal: what is absent needs no removing.
    Absent,
}

impl Writer {
    /// A writer for the calling thread's namespace as the node's own. It must stay on this thread.
    pub fn open() -> io::Result<Writer> {
        let host = Socket::open(Protocol::Route)?;
        let rules = Socket::open(Protocol::Netfilter)?;
        let drawn = RandomState::new().build_hasher().finish() as u32;
        // Never 0, the group of everybody.
        Ok(Writer { host, rules, pods: BTreeMap::new(), group: drawn | 1 << 31 })
    }

    /// Gives a pod's namespace its number.
    pub fn open_pod(&mut self, id: PodNs, netns: netns::Netns) -> Result<(), netns::NetnsError> {
        let socket = netns.run(|| Socket::open(Protocol::Route))?.map_err(netns::NetnsError::Enter)?;
        self.pods.insert(id, Pod { netns, socket });
        Ok(())
    }

    /// Forgets a pod's namespace.
    pub fn close_pod(&mut self, id: PodNs) {
        self.pods.remove(&id);
    }

    /// The ports that mark our own changes.
    pub fn ports(&self) -> io::Result<Ports> {
        Ok(Ports { objects: self.host.port()?, rules: self.rules.port()? })
    }

    /// Carries steps out, in order. One outcome for each key that has steps: its first refusal, or success.
    pub fn apply(&mut self, steps: &[Step]) -> Vec<Outcome> {
        let mut run = Run { results: vec![Ok(()); steps.len()], ..Run::default() };
        let mut number = 0;
        while number < steps.len() {
            run.step = number;
            let rest = &steps[number..];
            let changes: Vec<Change<'_>> = rest.iter().map_while(change_of_rules).collect();
            number += match (changes.len(), pairs_to_remove(rest)) {
                (0, 0 | 1) => {
                    self.step(&mut run, &rest[0]);
                    1
                }
                (0, pairs) => {
                    self.remove_pairs(&mut run, &rest[..pairs]);
                    pairs
                }
                (tables, _) => {
                    self.change_rules(&mut run, &changes);
                    tables
                }
            };
        }
        self.flush(&mut run);
        outcomes(steps, run.results)
    }

    /// Reads a namespace whole, with the settings named and, in the node's own, our rules. `None`: it is not open.
    pub fn dump(&mut self, netns: Netns, sysctls: &[String]) -> Option<Result<Objects, Refusal>> {
        match netns {
            Netns::Host => Some(self.dump_host(sysctls)),
            Netns::Pod(id) => self.pods.get_mut(&id).map(|pod| pod.dump(netns, sysctls)),
        }
    }

    fn dump_host(&mut self, sysctls: &[String]) -> Result<Objects, Refusal> {
        let mut objects = dump::objects(&mut self.host, Netns::Host)?;
        objects.extend(dump::sysctls(Netns::Host, sysctls));
        let names = dump::names(&mut self.host)?;
        objects.extend(filter::dump(&mut self.host, &names)?);
        objects.extend(self.dump_rules()?);
        Ok(objects)
    }

    /// Our nftables tables.
    pub fn dump_rules(&mut self) -> Result<Objects, Refusal> {
        let tables = nft::dump(&mut self.rules)?;
        Ok(tables.into_iter().map(|(key, table)| (Key::Nft(key), Value::Nft(Box::new(table)))).collect())
    }

    fn step(&mut self, run: &mut Run, step: &Step) {
        if self.lacks_pair(run, step) {
            let error = ApplyError::not_tried("the pod's interface could not be made");
            return run.record(run.step, Err(error));
        }
        if run.rules_are_refused && needs_rules(step) {
            return run.record(run.step, Err(guard::unguarded()));
        }
        match step {
            Step::Up(netns, name) => {
                self.enqueue(run, *netns, encode::link_up(name), Tolerance::None);
            }
            Step::Create(Key::Sysctl(key), Value::Sysctl(value))
            | Step::Replace { key: Key::Sysctl(key), to: Value::Sysctl(value), .. } => {
                self.flush(run);
                let result = self.set(key, value);
                failpoint!("setting: written");
                run.record(run.step, result);
            }
            // A setting cannot be absent, and a place for filters may have others' in it: they stay as they are.
            Step::Remove(Key::Sysctl(_) | Key::Clsact(_), _) => {}
            Step::Create(Key::Clsact(key), _) => {
                self.flush(run);
                let prepared = filter::prepare(&mut self.host, &key.name);
                run.record(run.step, prepared);
            }
            Step::Create(Key::Filter(key), Value::Filter(to)) => {
                self.flush(run);
                let attached = filter::attach(&mut self.host, key, to);
                failpoint!("filter: attached");
                run.record(run.step, attached);
            }
            Step::Replace { key: Key::Filter(key), from: Value::Filter(from), to: Value::Filter(to) } => {
                self.flush(run);
                let changed = filter::change(&mut self.host, key, from, to);
                failpoint!("filter: changed");
                run.record(run.step, changed);
            }
            Step::Remove(Key::Filter(key), _) => {
                self.flush(run);
                let detached = filter::detach(&mut self.host, key);
                failpoint!("filter: detached");
                run.record(run.step, detached);
            }
            Step::Create(key, value) => self.write(run, key, value, encode::Write::Create),
            Step::Replace { key, from, to } => self.replace(run, key, from, to),
            Step::Remove(key, value) => self.remove(run, key, value),
        }
    }

    /// Whether the step is about a pod whose pair was refused: what has its name there is somebody else's.
    fn lacks_pair(&mut self, run: &mut Run, step: &Step) -> bool {
        let Some(&pair) = run.pairs.get(&step.netns()) else { return false };
        if run.whose.iter().any(|(number, _)| *number == pair) {
            self.flush(run);
        }
        run.results[pair].is_err()
    }

    /// Changes tables together. If the kernel refuses, one by one, so that each has the kernel's own word.
    fn change_rules(&mut self, run: &mut Run, changes: &[Change<'_>]) {
        self.flush(run);
        failpoint!("rules: to be sent");
        let result = nft::apply(&mut self.rules, changes);
        failpoint!("rules: sent");
        if let (Err(error), [_]) = (&result, changes) {
            run.record(run.step, Err(error.clone()));
        } else if result.is_err() {
            for (number, change) in changes.iter().enumerate() {
                let result = nft::apply(&mut self.rules, std::slice::from_ref(change));
                run.record(run.step + number, result);
            }
        }
        let refused = run.results[run.step..][..changes.len()].iter().zip(changes);
        run.rules_are_refused |=
            refused.filter(|(result, _)| result.is_err()).any(|(_, change)| change.key == &TableKey::inet());
    }

    fn write(&mut self, run: &mut Run, key: &Key, value: &Value, how: encode::Write) {
        if let (Key::Link(link), Value::Link(wanted)) = (key, value) {
            return self.make_link(run, link, wanted);
        }
        match self.object(run, key, value, how) {
            Ok(message) => self.enqueue(run, key.netns(), message, Tolerance::None),
            Err(error) => run.record(run.step, Err(error)),
        }
    }

    /// The message that makes an object on a device.
    fn object(
        &mut self,
        run: &mut Run,
        key: &Key,
        value: &Value,
        how: encode::Write,
    ) -> Result<Message, ApplyError> {
        let netns = key.netns();
        Ok(match (key, value) {
            (Key::Addr(addr), Value::Addr(wanted)) => {
                encode::addr(addr, *wanted, self.index(run, netns, &addr.device)?)
            }
            (Key::Neigh(neigh), Value::Neigh(wanted)) => {
                encode::neigh(neigh, *wanted, self.index(run, netns, &neigh.device)?)
            }
            (Key::Fdb(fdb), Value::Fdb(wanted)) => {
                encode::fdb(fdb, *wanted, self.index(run, netns, &fdb.device)?)
            }
            (Key::Route(route), Value::Route(wanted)) => {
                let devices = devices(wanted).map(|device| self.index(run, netns, device));
                encode::route(route, wanted, &devices.collect::<Result<Vec<_>, _>>()?, how)
            }
            _ => unreachable!("a step whose key and value are of different kinds: {key:?}, {value:?}"),
        })
    }

    fn make_link(&mut self, run: &mut Run, link: &LinkKey, wanted: &LinkValue) {
        let made = match &wanted.kind {
            LinkKind::Veth { peer: Some(peer) } => {
                run.pairs.insert(peer.key.netns, run.step);
                self.descriptor(peer.key.netns).map(|fd| encode::veth(&link.name, wanted, peer, fd))
            }
            // The other end made it already; it is only set up here.
            LinkKind::Veth { peer: None } => Ok(encode::link_settings(&link.name, None, wanted)),
            LinkKind::Vxlan { device, .. } => {
                self.index(run, link.netns, device).map(|parent| encode::vxlan(&link.name, wanted, parent))
            }
            LinkKind::Ipip => Ok(encode::plain_link(&link.name, wanted, "ipip")),
            LinkKind::Ifb { mac } => {
                let wanted = LinkValue { mac: Some(*mac), ..wanted.clone() };
                Ok(encode::plain_link(&link.name, &wanted, "ifb"))
            }
            LinkKind::Other(kind) => {
                let text = format!("interfaces of kind `{kind}` are not made here");
                Err(ApplyError { errno: libc::EOPNOTSUPP, text })
            }
        };
        match made {
            Ok(message) => {
                run.forget_index(link);
                self.enqueue_link(run, link, message, Tolerance::None);
                self.enqueue_alias(run, link, wanted);
            }
            Err(error) => run.record(run.step, Err(error)),
        }
    }

    /// The kernel takes no alias with the message that makes the interface.
    fn enqueue_alias(&mut self, run: &mut Run, link: &LinkKey, wanted: &LinkValue) {
        if let Some(alias) = &wanted.alias {
            self.enqueue_link(run, link, encode::alias(&link.name, alias), Tolerance::None);
        }
    }

    /// A namespace as the kernel takes it from us.
    fn descriptor(&self, netns: Netns) -> Result<i32, ApplyError> {
        let Netns::Pod(id) = netns else { return Err(closed(netns)) };
        let pod = self.pods.get(&id).ok_or_else(|| closed(netns))?;
        Ok(pod.netns.as_fd().as_raw_fd())
    }

    fn replace(&mut self, run: &mut Run, key: &Key, from: &Value, to: &Value) {
        match (key, from, to) {
            (Key::Link(link), Value::Link(before), Value::Link(wanted))
                if wanted.kind.compatible_with(&before.kind) =>
            {
                let settings = encode::link_settings(&link.name, Some(before), wanted);
                self.enqueue_link(run, link, settings, Tolerance::None);
                self.enqueue_alias(run, link, wanted);
            }
            (Key::Link(_) | Key::Addr(_), ..) => {
                self.remove(run, key, from);
                self.write(run, key, to, encode::Write::Create);
            }
            _ => self.write(run, key, to, encode::Write::Replace),
        }
    }

    fn remove(&mut self, run: &mut Run, key: &Key, value: &Value) {
        let message = self.removal(run, key, value);
        match (key, message) {
            (Key::Link(link), Some(message)) => {
                run.forget_index(link);
                self.enqueue_link(run, link, message, Tolerance::Absent);
            }
            (_, Some(message)) => self.enqueue(run, key.netns(), message, Tolerance::Absent),
            (_, None) => {}
        }
    }

    /// Removes interfaces as a group, for which the kernel waits once, not for each of them. Those that the group's removal
    /// leaves are removed one by one, so that each has the kernel's own word.
    fn remove_pairs(&mut self, run: &mut Run, steps: &[Step]) {
        self.flush(run);
        let links: Vec<&LinkKey> = steps.iter().filter_map(|step| removed_link(step)).collect();
        let mut marks: Vec<Message> =
            links.iter().map(|link| encode::link_group(&link.name, self.group)).collect();
        self.host.batch(&mut marks);
        failpoint!("pairs: marked");
        let removed = self.host.request(encode::del_group(self.group));
        failpoint!("pairs: removed");
        for link in &links {
            run.forget_index(link);
        }
        if removed.is_err() {
            for (number, link) in links.into_iter().enumerate() {
                let result = Tolerance::Absent.judge(self.host.request(encode::del_link(&link.name)));
                run.results[run.step + number] = result.map_err(ApplyError::from);
            }
        }
    }

    /// The message that removes an object; `None` if its device is gone, and the object with it.
    fn removal(&mut self, run: &mut Run, key: &Key, value: &Value) -> Option<Message> {
        let netns = key.netns();
        Some(match (key, value) {
            (Key::Link(link), _) => encode::del_link(&link.name),
            (Key::Route(route), Value::Route(found)) => {
                let devices = devices(found).map(|device| self.index_of(run, netns, device));
                encode::del_route(route, found, &devices.collect::<Option<Vec<_>>>()?)
            }
            (Key::Addr(addr), _) => encode::del_addr(addr, self.index_of(run, netns, &addr.device)?),
            (Key::Neigh(neigh), _) => encode::del_neigh(neigh, self.index_of(run, netns, &neigh.device)?),
            (Key::Fdb(fdb), Value::Fdb(found)) => {
                encode::del_fdb(fdb, *found, self.index_of(run, netns, &fdb.device)?)
            }
            _ => unreachable!("a removal whose key and value are of different kinds: {key:?}, {value:?}"),
        })
    }

    /// Puts a message into the batch that concerns an interface itself.
    fn enqueue_link(&mut self, run: &mut Run, link: &LinkKey, message: Message, tolerance: Tolerance) {
        self.enqueue(run, link.netns, message, tolerance);
        run.batch_has_links = true;
    }

    fn enqueue(&mut self, run: &mut Run, netns: Netns, message: Message, tolerance: Tolerance) {
        if run.batch.len() == BATCH || run.batch_netns != Some(netns) {
            self.flush(run);
            run.batch_netns = Some(netns);
        }
        run.batch.push(message);
        run.whose.push((run.step, tolerance));
    }

    fn flush(&mut self, run: &mut Run) {
        run.batch_has_links = false;
        let Some(netns) = run.batch_netns.take() else { return };
        failpoint!("batch: to be sent");
        let results = match self.socket(netns) {
            Some(socket) => socket.batch(&mut run.batch),
            None => vec![Err(Refusal { errno: libc::ENOENT, text: closed(netns).text }); run.batch.len()],
        };
        failpoint!("batch: sent");
        run.batch.clear();
        for (result, (step, tolerance)) in results.into_iter().zip(std::mem::take(&mut run.whose)) {
            run.record(step, tolerance.judge(result).map_err(ApplyError::from));
        }
    }

    fn socket(&mut self, netns: Netns) -> Option<&mut Socket> {
        match netns {
            Netns::Host => Some(&mut self.host),
            Netns::Pod(id) => self.pods.get_mut(&id).map(|pod| &mut pod.socket),
        }
    }

    /// The number of a device that must be there.
    fn index(&mut self, run: &mut Run, netns: Netns, device: &IfName) -> Result<u32, ApplyError> {
        self.index_of(run, netns, device).ok_or_else(|| ApplyError {
            errno: libc::ENODEV,
            text: format!("there is no interface {device}"),
        })
    }

    fn index_of(&mut self, run: &mut Run, netns: Netns, device: &IfName) -> Option<u32> {
        let known = run.indexes.get(&netns).and_then(|known| known.get(device)).copied();
        if known.is_some() {
            return known;
        }
        if run.batch_has_links {
            self.flush(run);
        }
        let index = encode::query_index(self.socket(netns)?, device)?;
        run.indexes.entry(netns).or_default().insert(device.clone(), index);
        Some(index)
    }

    fn set(&self, key: &SysctlKey, value: &SysctlValue) -> Result<(), ApplyError> {
        let path = format!("/proc/sys/{}", key.path);
        let written = match key.netns {
            Netns::Host => fs::write(&path, &value.0),
            Netns::Pod(id) => {
                let pod = self.pods.get(&id).ok_or_else(|| closed(key.netns))?;
                pod.netns.run(|| fs::write(&path, &value.0)).map_err(Refusal::from)?
            }
        };
        match written {
            // A kernel without IPv6 lacks its settings, and needs none of them.
            Err(error) if error.kind() == io::ErrorKind::NotFound && key.path.starts_with("net/ipv6/") => {
                Ok(())
            }
            written => written.map_err(|error| Refusal::from(error).into()),
        }
    }
}

impl Pod {
    fn dump(&mut self, netns: Netns, sysctls: &[String]) -> Result<Objects, Refusal> {
        let mut objects = dump::objects(&mut self.socket, netns)?;
        objects.extend(self.netns.run(|| dump::sysctls(netns, sysctls))?);
        Ok(objects)
    }
}

impl Run {
    /// The first refusal of a step stays.
    fn record(&mut self, step: usize, result: Result<(), ApplyError>) {
        let known = &mut self.results[step];
        if known.is_ok() {
            *known = result;
        }
    }

    fn forget_index(&mut self, link: &LinkKey) {
        self.indexes.entry(link.netns).or_default().remove(&link.name);
    }
}

impl Tolerance {
    fn judge(self, result: Result<(), Refusal>) -> Result<(), Refusal> {
        const ABSENT: [i32; 4] = [libc::ENOENT, libc::ESRCH, libc::ENODEV, libc::EADDRNOTAVAIL];
        match result {
            Err(refusal) if self == Tolerance::Absent && ABSENT.contains(&refusal.errno) => Ok(()),
            result => result,
        }
    }
}

fn closed(netns: Netns) -> ApplyError {
    ApplyError { errno: libc::ENOENT, text: format!("{netns}the namespace is not open") }
}

/// What became of each key: the first refusal among its steps.
fn outcomes(steps: &[Step], results: Vec<Result<(), ApplyError>>) -> Vec<Outcome> {
    let key = |step: &Step| match step {
        Step::Up(netns, name) => Key::Link(LinkKey { netns: *netns, name: name.clone() }),
        Step::Create(key, _) | Step::Replace { key, .. } | Step::Remove(key, _) => key.clone(),
    };
    let mut outcomes: Vec<Outcome> =
        steps.iter().zip(results).map(|(step, result)| Outcome { key: key(step), result }).collect();
    // Stable: the steps of a key stay in their order.
    outcomes.sort_by(|a, b| a.key.cmp(&b.key));
    outcomes.dedup_by(|next, first| {
        let same = next.key == first.key;
        if same && first.result.is_ok() {
            first.result = std::mem::replace(&mut next.result, Ok(()));
        }
        same
    });
    outcomes
}
/// The devices of a route's ways.
fn devices(route: &RouteValue) -> impl Iterator<Item = &IfName> {
    route.device.iter().chain(route.also.iter().map(|way| &way.device))
}
