//! Carries steps out. Steps that follow each other in the same namespace travel together; a step that is no netlink message
//! (a setting, the rules) closes the batch before it, so that the order of the steps holds.

mod objects;
mod run;

use crate::dump;
use crate::encode;
use crate::filter;
use crate::message::Message;
use crate::netns;
use crate::nft::{self, Change};
use crate::socket::{Protocol, Refusal, Socket};
use failpoint::failpoint;
use kernel::filter::Impostor;
use kernel::{
    ApplyError, FilterKey, Key, LinkKey, LinkKind, Netns, Objects, Outcome, PodNs, Step, SysctlKey,
    SysctlValue, Value,
};
use run::{Run, Tolerance};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
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

/// Whether a step may build on what the one before it wrote, so that the kernel must have answered: only then is it known
/// whether it may be carried out at all.
fn builds_on(before: &Step, step: &Step) -> bool {
    let leads = |step: &Step| match step {
        Step::Create(key, _) | Step::Replace { key, .. } | Step::Remove(key, _) => {
            matches!(key, Key::Fdb(_) | Key::Neigh(_) | Key::Route(_)).then(|| key.kind())
        }
        Step::Up(..) => None,
    };
    leads(step).is_some_and(|kind| leads(before).is_some_and(|before| before != kind))
}

fn removed_link(step: &Step) -> Option<&LinkKey> {
    match step {
        Step::Remove(Key::Link(link), _) => Some(link),
        _ => None,
    }
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
        let mut run = Run::of(steps);
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
        run.outcomes()
    }

    /// Reads a namespace whole, with the settings named and, in the node's own, our rules. `None`: it is not open.
    pub fn dump(&mut self, netns: Netns, sysctls: &[String]) -> Option<Result<Objects, Refusal>> {
        match netns {
            Netns::Host => Some(self.dump_host(sysctls)),
            Netns::Pod(id) => self.pods.get_mut(&id).map(|pod| pod.dump(netns, sysctls)),
        }
    }

    /// Who sent IP in IP that this filter of the node's own namespace did not judge honest, and how many packets.
    pub fn impostors(&mut self, filter: &FilterKey) -> Result<BTreeMap<Impostor, u64>, ApplyError> {
        filter::impostors(&mut self.host, filter)
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

    fn step(&mut self, run: &mut Run<'_>, step: &Step) {
        if self.lacks_pair(run, step) {
            let error = ApplyError::not_tried("the pod's interface could not be made");
            return run.record(run.step, Err(error));
        }
        if run.step.checked_sub(1).is_some_and(|before| builds_on(&run.steps[before], step)) {
            self.flush(run);
        }
        if let Some(error) = run.refused.forbids(step) {
            return run.record(run.step, Err(error));
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
    fn lacks_pair(&mut self, run: &mut Run<'_>, step: &Step) -> bool {
        let Some(&pair) = run.pairs.get(&step.netns()) else { return false };
        if run.whose.iter().any(|(number, _)| *number == pair) {
            self.flush(run);
        }
        run.results[pair].is_err()
    }

    /// Changes tables together. If the kernel refuses, one by one, so that each has the kernel's own word.
    fn change_rules(&mut self, run: &mut Run<'_>, changes: &[Change<'_>]) {
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
    }

    /// Removes interfaces as a group, for which the kernel waits once, not for each of them. Those that the group's removal
    /// leaves are removed one by one, so that each has the kernel's own word.
    fn remove_pairs(&mut self, run: &mut Run<'_>, steps: &[Step]) {
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

fn closed(netns: Netns) -> ApplyError {
    ApplyError { errno: libc::ENOENT, text: format!("{netns}the namespace is not open") }
}
