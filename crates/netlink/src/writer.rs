//! Carries steps out. Steps that follow each other in the same namespace travel together; a step that is no netlink message
//! (a setting, the rules) closes the batch before it, so that the order of the steps holds.

use crate::dump;
use crate::encode;
use crate::message::Message;
use crate::netns;
use crate::socket::{Protocol, Refusal, Socket};
use kernel::{
    ApplyError, Key, LinkKind, Netns, Objects, Outcome, PodNs, Step, SysctlKey, SysctlValue, Value, VethPeer,
};
use model::IfName;
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::{fs, io};

/// Writes to the kernel and reads it, in the node's own namespace and in pods'.
#[derive(Debug)]
pub struct Writer {
    host: Socket,
    rules: Socket,
    pods: BTreeMap<PodNs, Pod>,
}

#[derive(Debug)]
struct Pod {
    netns: netns::Netns,
    socket: Socket,
}

/// One run of `apply`.
#[derive(Default)]
struct Run {
    results: BTreeMap<Key, Result<(), ApplyError>>,
    batch: Vec<(Key, Message, Tolerance)>,
    batch_netns: Option<Netns>,
    /// Asked for once in a run: an interface that somebody makes anew has another index.
    indexes: BTreeMap<(Netns, IfName), u32>,
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
        Ok(Writer { host, rules, pods: BTreeMap::new() })
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

    /// The port that marks our own changes of the rules.
    pub fn rules_port(&self) -> io::Result<u32> {
        self.rules.port()
    }

    /// Carries steps out, in order. One outcome for each key that has steps: its first refusal, or success.
    pub fn apply(&mut self, steps: &[Step]) -> Vec<Outcome> {
        let mut run = Run::default();
        for step in steps {
            self.step(&mut run, step);
        }
        self.flush(&mut run);
        run.results.into_iter().map(|(key, result)| Outcome { key, result }).collect()
    }

    /// Reads a namespace whole, with the settings named and, in the node's own, our rules. `None`: it is not open.
    pub fn dump(&mut self, netns: Netns, sysctls: &[String]) -> Option<Result<Objects, Refusal>> {
        let (socket, settings) = match netns {
            Netns::Host => (&mut self.host, Ok(dump::sysctls(netns, sysctls))),
            Netns::Pod(id) => {
                let pod = self.pods.get_mut(&id)?;
                (&mut pod.socket, pod.netns.run(|| dump::sysctls(netns, sysctls)))
            }
        };
        let objects = dump::objects(socket, netns).map(|mut objects| {
            objects.extend(settings.unwrap_or_default());
            objects
        });
        if netns != Netns::Host {
            return Some(objects);
        }
        Some(objects.and_then(|mut objects| {
            objects.extend(self.dump_rules()?);
            Ok(objects)
        }))
    }

    /// Our nftables tables.
    pub fn dump_rules(&mut self) -> Result<Objects, Refusal> {
        let tables = crate::nft::dump(&mut self.rules)?;
        Ok(tables.into_iter().map(|(key, table)| (Key::Nft(key), Value::Nft(Box::new(table)))).collect())
    }

    fn step(&mut self, run: &mut Run, step: &Step) {
        match step {
            Step::Up(netns, name) => {
                let key = Key::Link(kernel::LinkKey { netns: *netns, name: name.clone() });
                self.enqueue(run, *netns, key, encode::link_up(name), Tolerance::None);
            }
            Step::Create(Key::Sysctl(key), Value::Sysctl(value))
            | Step::Replace { key: Key::Sysctl(key), to: Value::Sysctl(value), .. } => {
                self.flush(run);
                let result = self.set(key, value);
                run.record(Key::Sysctl(key.clone()), result);
            }
            // A setting cannot be absent: what is no longer wanted stays as it is.
            Step::Remove(key @ Key::Sysctl(_), _) => run.record(key.clone(), Ok(())),
            Step::Create(key @ Key::Nft(table), Value::Nft(to)) => {
                self.flush(run);
                let result = crate::nft::apply(&mut self.rules, table, None, Some(to));
                run.record(key.clone(), result);
            }
            Step::Replace { key: key @ Key::Nft(table), from: Value::Nft(from), to: Value::Nft(to) } => {
                self.flush(run);
                let result = crate::nft::apply(&mut self.rules, table, Some(from), Some(to));
                run.record(key.clone(), result);
            }
            Step::Remove(key @ Key::Nft(table), Value::Nft(from)) => {
                self.flush(run);
                let result = crate::nft::apply(&mut self.rules, table, Some(from), None);
                run.record(key.clone(), result);
            }
            Step::Create(key, value) => self.write(run, key, value, encode::Write::Create),
            Step::Replace { key, from, to } => self.replace(run, key, from, to),
            Step::Remove(key, value) => self.remove(run, key, value),
        }
    }

    fn write(&mut self, run: &mut Run, key: &Key, value: &Value, how: encode::Write) {
        let netns = key.netns();
        match (key, value) {
            (Key::Link(link), Value::Link(wanted)) => self.make_link(run, key, link, wanted),
            (Key::Addr(addr), Value::Addr(wanted)) => {
                if let Some(index) = self.index(run, key, netns, &addr.device) {
                    self.enqueue(
                        run,
                        netns,
                        key.clone(),
                        encode::addr(addr, *wanted, index),
                        Tolerance::None,
                    );
                }
            }
            (Key::Neigh(neigh), Value::Neigh(wanted)) => {
                if let Some(index) = self.index(run, key, netns, &neigh.device) {
                    self.enqueue(
                        run,
                        netns,
                        key.clone(),
                        encode::neigh(neigh, *wanted, index),
                        Tolerance::None,
                    );
                }
            }
            (Key::Fdb(fdb), Value::Fdb(wanted)) => {
                if let Some(index) = self.index(run, key, netns, &fdb.device) {
                    self.enqueue(run, netns, key.clone(), encode::fdb(fdb, *wanted, index), Tolerance::None);
                }
            }
            (Key::Route(route), Value::Route(wanted)) => {
                let index = match &wanted.device {
                    None => None,
                    Some(device) => match self.index(run, key, netns, device) {
                        None => return,
                        index => index,
                    },
                };
                self.enqueue(
                    run,
                    netns,
                    key.clone(),
                    encode::route(route, wanted, index, how),
                    Tolerance::None,
                );
            }
            _ => unreachable!("a step whose key and value are of different kinds: {key:?}, {value:?}"),
        }
    }

    fn make_link(&mut self, run: &mut Run, key: &Key, link: &kernel::LinkKey, wanted: &kernel::LinkValue) {
        run.indexes.remove(&(link.netns, link.name.clone()));
        match &wanted.kind {
            LinkKind::Veth { peer: Some(peer) } => {
                let Some(fd) = self.namespace(run, key, peer) else { return };
                let made = encode::veth(&link.name, wanted, peer, fd);
                self.enqueue(run, link.netns, key.clone(), made, Tolerance::None);
                self.enqueue_alias(run, key, link, wanted);
            }
            // The other end made it already; it is only set up here.
            LinkKind::Veth { peer: None } => {
                let set = encode::link_settings(&link.name, wanted);
                self.enqueue(run, link.netns, key.clone(), set, Tolerance::None);
            }
            LinkKind::Vxlan { device, .. } => {
                if let Some(parent) = self.index(run, key, link.netns, device) {
                    let made = encode::vxlan(&link.name, wanted, parent);
                    self.enqueue(run, link.netns, key.clone(), made, Tolerance::None);
                    self.enqueue_alias(run, key, link, wanted);
                }
            }
            LinkKind::Other(kind) => {
                let text = format!("interfaces of kind `{kind}` are not made here");
                run.record(key.clone(), Err(ApplyError { errno: libc::EOPNOTSUPP, text }));
            }
        }
    }

    /// The kernel takes no alias with the message that makes the interface.
    fn enqueue_alias(
        &mut self,
        run: &mut Run,
        key: &Key,
        link: &kernel::LinkKey,
        wanted: &kernel::LinkValue,
    ) {
        if let Some(alias) = &wanted.alias {
            self.enqueue(run, link.netns, key.clone(), encode::alias(&link.name, alias), Tolerance::None);
        }
    }

    fn namespace(&self, run: &mut Run, key: &Key, peer: &VethPeer) -> Option<i32> {
        let fd = match peer.key.netns {
            Netns::Pod(id) => self.pods.get(&id).map(|pod| std::os::fd::AsFd::as_fd(&pod.netns).as_raw_fd()),
            Netns::Host => None,
        };
        if fd.is_none() {
            run.record(key.clone(), Err(closed(peer.key.netns)));
        }
        fd
    }

    fn replace(&mut self, run: &mut Run, key: &Key, from: &Value, to: &Value) {
        match (key, from, to) {
            (Key::Link(link), Value::Link(from_link), Value::Link(to_link)) => {
                if to_link.kind.compatible_with(&from_link.kind) {
                    let set = encode::link_settings(&link.name, to_link);
                    self.enqueue(run, link.netns, key.clone(), set, Tolerance::None);
                    self.enqueue_alias(run, key, link, to_link);
                } else {
                    self.remove(run, key, from);
                    self.make_link(run, key, link, to_link);
                }
            }
            (Key::Addr(_), ..) => {
                self.remove(run, key, from);
                self.write(run, key, to, encode::Write::Create);
            }
            _ => self.write(run, key, to, encode::Write::Replace),
        }
    }

    fn remove(&mut self, run: &mut Run, key: &Key, value: &Value) {
        let netns = key.netns();
        let message = match (key, value) {
            (Key::Link(link), _) => {
                run.indexes.remove(&(netns, link.name.clone()));
                Some(encode::del_link(&link.name))
            }
            (Key::Route(route), Value::Route(found)) => Some(encode::del_route(route, found)),
            (Key::Addr(addr), _) => {
                self.index_of(run, netns, &addr.device).map(|index| encode::del_addr(addr, index))
            }
            (Key::Neigh(neigh), _) => {
                self.index_of(run, netns, &neigh.device).map(|index| encode::del_neigh(neigh, index))
            }
            (Key::Fdb(fdb), Value::Fdb(found)) => {
                self.index_of(run, netns, &fdb.device).map(|index| encode::del_fdb(fdb, *found, index))
            }
            _ => unreachable!("a removal whose key and value are of different kinds: {key:?}, {value:?}"),
        };
        match message {
            Some(message) => self.enqueue(run, netns, key.clone(), message, Tolerance::Absent),
            None => run.record(key.clone(), Ok(())),
        }
    }

    fn enqueue(&mut self, run: &mut Run, netns: Netns, key: Key, message: Message, tolerance: Tolerance) {
        if run.batch_netns != Some(netns) {
            self.flush(run);
            run.batch_netns = Some(netns);
        }
        run.batch.push((key, message, tolerance));
    }

    fn flush(&mut self, run: &mut Run) {
        let batch = std::mem::take(&mut run.batch);
        let Some(netns) = run.batch_netns.take().filter(|_| !batch.is_empty()) else { return };
        let (mut messages, whose): (Vec<Message>, Vec<(Key, Tolerance)>) =
            batch.into_iter().map(|(key, message, tolerance)| (message, (key, tolerance))).unzip();
        let results = match self.socket(netns) {
            Some(socket) => socket.batch(&mut messages),
            None => vec![Err(Refusal { errno: libc::ENOENT, text: closed(netns).text }); messages.len()],
        };
        for (result, (key, tolerance)) in results.into_iter().zip(whose) {
            run.record(key, tolerance.judge(result).map_err(ApplyError::from));
        }
    }

    fn socket(&mut self, netns: Netns) -> Option<&mut Socket> {
        match netns {
            Netns::Host => Some(&mut self.host),
            Netns::Pod(id) => self.pods.get_mut(&id).map(|pod| &mut pod.socket),
        }
    }

    /// The index of a device that `key` needs; without one the key has failed.
    fn index(&mut self, run: &mut Run, key: &Key, netns: Netns, device: &IfName) -> Option<u32> {
        let index = self.index_of(run, netns, device);
        if index.is_none() {
            let text = format!("there is no interface {device}");
            run.record(key.clone(), Err(ApplyError { errno: libc::ENODEV, text }));
        }
        index
    }

    fn index_of(&mut self, run: &mut Run, netns: Netns, device: &IfName) -> Option<u32> {
        let place = (netns, device.clone());
        if let Some(index) = run.indexes.get(&place) {
            return Some(*index);
        }
        // The message that makes the device may still wait.
        self.flush(run);
        let index = encode::query_index(self.socket(netns)?, device)?;
        run.indexes.insert(place, index);
        Some(index)
    }

    fn set(&self, key: &SysctlKey, value: &SysctlValue) -> Result<(), ApplyError> {
        let path = format!("/proc/sys/{}", key.path);
        let written = match key.netns {
            Netns::Host => fs::write(&path, &value.0),
            Netns::Pod(id) => {
                let pod = self.pods.get(&id).ok_or_else(|| closed(key.netns))?;
                let written = pod.netns.run(|| fs::write(&path, &value.0));
                written.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
        };
        match written {
            // A kernel without IPv6 lacks its settings, and needs none of them.
            Err(error) if error.kind() == io::ErrorKind::NotFound && key.path.starts_with("net/ipv6/") => {
                Ok(())
            }
            Err(error) => Err(Refusal::from(error).into()),
            Ok(()) => Ok(()),
        }
    }
}

impl Run {
    /// The first refusal of a key stays.
    fn record(&mut self, key: Key, result: Result<(), ApplyError>) {
        let known = self.results.entry(key).or_insert(Ok(()));
        if known.is_ok() {
            *known = result;
        }
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
