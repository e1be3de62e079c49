//! A node's kernel as a map of objects, with what a map does not have: refusals, things that go with other things, and
//! notices, which leave out what the real ones leave out.
//!
//! Pods' namespaces are numbered by the simulation; the agent's numbers for them are translated while it has them open.
//! Of its own changes of routes and rules the agent is not told (`netlink::Monitor::leave_out`), and of routes that go with
//! an interface nobody is.

mod links;
mod refusals;

use kernel::addr::AddrScope;
use kernel::route::{PROTO_BOOT, PROTO_KERNEL, TABLE_MAIN};
use kernel::{
    AddrKey, AddrValue, ApplyError, Filter, Key, LinkKey, LinkKind, LinkValue, Netns, Objects, PodNs,
    RouteKey, RouteKind, RouteScope, RouteValue, Step, Value,
};
use model::{Cidr, IfAddr, IfName, Mtu};
use node::Notice;
use refusals::{EEXIST, refuse};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// The interface towards the other nodes.
pub const UPLINK: &str = "eth0";
const ENOENT: i32 = 2;

/// The kernel of one node.
#[derive(Clone, Debug)]
pub struct FakeKernel {
    /// The uplink's address.
    addr: IfAddr,
    objects: Objects,
    /// What it came up with: nobody's but the administrator's.
    foreign: Objects,
    /// The other end of each end of a pair.
    ends: BTreeMap<LinkKey, LinkKey>,
    /// Pods' namespaces.
    spaces: BTreeSet<PodNs>,
    /// The agent's number for a namespace that it has open, to the namespace.
    open: BTreeMap<PodNs, PodNs>,
    /// It has the module `ipip`.
    has_ipip: bool,
    notices: Vec<Notice>,
}

type Answer = Result<(), ApplyError>;

fn link(kind: LinkKind, mtu: u32, up: bool) -> Value {
    Value::Link(Box::new(LinkValue { kind, mac: None, mtu: Some(Mtu(mtu)), up, alias: None }))
}

fn route(dst: Cidr, gateway: Option<IpAddr>) -> (Key, Value) {
    let value = RouteValue {
        kind: RouteKind::Unicast,
        gateway,
        device: Some(IfName::fixed(UPLINK)),
        scope: if gateway.is_some() { RouteScope::Universe } else { RouteScope::Link },
        onlink: false,
        protocol: if gateway.is_some() { PROTO_BOOT } else { PROTO_KERNEL },
        source: None,
        mtu: None,
        also: Vec::new(),
    };
    (Key::Route(RouteKey { netns: Netns::Host, table: TABLE_MAIN, dst, priority: 0 }), Value::Route(value))
}

/// The name of an interface in the node's own namespace.
pub fn host_link(name: &str) -> LinkKey {
    LinkKey { netns: Netns::Host, name: IfName::fixed(name) }
}

impl FakeKernel {
    /// A kernel that has just come up: an uplink with `addr`, and a default route.
    pub fn boot(addr: IfAddr, router: IpAddr, has_ipip: bool) -> FakeKernel {
        let default = Cidr::containing(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0).expect("0 fits every family");
        let mut objects = Objects::from([
            (Key::Link(host_link(UPLINK)), link(LinkKind::Other("veth".into()), 1500, true)),
            (
                Key::Addr(AddrKey { netns: Netns::Host, device: IfName::fixed(UPLINK), addr }),
                Value::Addr(AddrValue { scope: AddrScope::Global }),
            ),
            route(addr.subnet(), None),
            route(default, Some(router)),
            (Key::Link(host_link("docker0")), link(LinkKind::Other("bridge".into()), 1500, true)),
        ]);
        let foreign = objects.clone();
        if has_ipip {
            objects.insert(Key::Link(host_link("tunl0")), link(LinkKind::Ipip, 1480, false));
        }
        FakeKernel {
            addr,
            objects,
            foreign,
            ends: BTreeMap::new(),
            spaces: BTreeSet::new(),
            open: BTreeMap::new(),
            has_ipip,
            notices: Vec::new(),
        }
    }

    /// All that there is; pods' namespaces by their own numbers.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// What is not as it came up, of that which is nobody's but the administrator's.
    pub fn violated(&self) -> Option<String> {
        let (key, _) = self.foreign.iter().find(|(key, value)| self.objects.get(key) != Some(value))?;
        Some(format!(
            "{key} was {}, now {:?}",
            self.foreign[key],
            self.objects.get(key).map(ToString::to_string)
        ))
    }

    /// The uplink's address.
    pub fn addr(&self) -> IfAddr {
        self.addr
    }

    /// Somebody gives the uplink another address of its subnet, and takes the one away that it had.
    pub fn readdress(&mut self, addr: IfAddr) {
        let key = |addr| Key::Addr(AddrKey { netns: Netns::Host, device: IfName::fixed(UPLINK), addr });
        let before = key(std::mem::replace(&mut self.addr, addr));
        for objects in [&mut self.objects, &mut self.foreign] {
            objects.remove(&before);
            objects.insert(key(addr), Value::Addr(AddrValue { scope: AddrScope::Global }));
        }
    }

    /// Whether the node itself has an address.
    pub fn has(&self, addr: IpAddr) -> bool {
        self.addresses(Netns::Host).any(|own| own.addr.addr() == addr)
    }

    /// The addresses of a namespace.
    pub fn addresses(&self, netns: Netns) -> impl Iterator<Item = &AddrKey> {
        let nowhere = IfAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0).expect("0 fits every family");
        let first = AddrKey { netns, device: IfName::fixed("!"), addr: nowhere };
        self.objects.range(Key::Addr(first)..).map_while(move |(key, _)| match key {
            Key::Addr(key) if key.netns == netns => Some(key),
            _ => None,
        })
    }

    /// A pod's namespace is made.
    pub fn make_space(&mut self, space: PodNs) {
        self.spaces.insert(space);
    }

    /// A pod's namespace goes, with the pod's interface and so the node's end of the pair.
    pub fn remove_space(&mut self, space: PodNs) {
        self.spaces.remove(&space);
        let inside = |key: &LinkKey| key.netns == Netns::Pod(space);
        let links: Vec<LinkKey> = self.ends.keys().filter(|key| inside(key)).cloned().collect();
        for key in links {
            self.remove_link(&key);
        }
        self.objects.retain(|key, _| key.netns() != Netns::Pod(space));
    }

    /// Whether a namespace is there.
    pub fn has_space(&self, space: PodNs) -> bool {
        self.spaces.contains(&space)
    }

    /// The agent has a namespace open by a number of its own.
    pub fn open(&mut self, number: PodNs, space: PodNs) {
        self.open.insert(number, space);
    }

    pub fn close(&mut self, number: PodNs) {
        self.open.remove(&number);
    }

    /// The agent is gone, and with it all that it had open.
    pub fn close_all(&mut self) {
        self.open.clear();
        self.notices.clear();
    }

    /// Whether the other end of an interface exists and is up, and its key.
    pub fn other_end(&self, key: &LinkKey) -> Option<&LinkKey> {
        self.ends.get(key).filter(|end| self.is_up(end))
    }

    pub fn is_up(&self, key: &LinkKey) -> bool {
        matches!(self.objects.get(&Key::Link(key.clone())), Some(Value::Link(link)) if link.up)
    }

    /// The largest packet that an interface takes: as usual, where nobody said.
    pub fn mtu(&self, key: &LinkKey) -> u32 {
        match self.objects.get(&Key::Link(key.clone())) {
            Some(Value::Link(link)) => link.mtu.map_or(1500, |mtu| mtu.0),
            _ => 1500,
        }
    }

    /// What the kernel told since it was asked last.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// All of a namespace, as the agent reads it, of settings those that are named. `None`: it is not open.
    pub fn dump(&self, netns: Netns, settings: &[String]) -> Option<Objects> {
        let space = self.real(netns).ok()?;
        let is_asked = |key: &Key| match key {
            Key::Sysctl(key) => settings.contains(&key.path),
            _ => true,
        };
        let found = self.objects.iter().filter(|(key, _)| key.netns() == space && is_asked(key));
        Some(found.map(|(key, value)| (moved(key.clone(), netns), value.clone())).collect())
    }

    /// A change by somebody else: of this everything is told.
    pub fn meddle(&mut self, key: &Key) {
        self.remove(key);
        self.notices.push(Notice::Gone(key.clone()));
    }

    /// One message of the agent's writer.
    pub fn apply(&mut self, step: &Step) -> Answer {
        let netns = self.real(step.netns())?;
        match step {
            Step::Up(_, name) => self.set_up(LinkKey { netns, name: name.clone() }),
            Step::Create(key, value) => {
                let key = moved(key.clone(), netns);
                let configures = matches!(value, Value::Link(link) if link.kind == LinkKind::Veth { peer: None })
                    || matches!(value, Value::Sysctl(_) | Value::Neigh(_) | Value::Fdb(_))
                    || matches!(self.objects.get(&key), Some(Value::Filter(Filter::Other(_))));
                match (self.objects.contains_key(&key), configures) {
                    (true, false) => refuse(EEXIST, "File exists"),
                    _ => self.put(key, value, None),
                }
            }
            Step::Replace { key, from, to } => {
                let key = moved(key.clone(), netns);
                match (from, to) {
                    (Value::Link(before), Value::Link(after))
                        if !after.kind.compatible_with(&before.kind) =>
                    {
                        self.remove(&key);
                        self.put(key, to, None)
                    }
                    _ => self.put(key, to, Some(from)),
                }
            }
            Step::Remove(Key::Sysctl(_), _) => Ok(()),
            Step::Remove(key, _) => {
                let key = moved(key.clone(), netns);
                self.remove(&key);
                if is_told(&key) {
                    self.notices.push(Notice::Gone(key));
                }
                Ok(())
            }
        }
    }

    fn real(&self, netns: Netns) -> Result<Netns, ApplyError> {
        let Netns::Pod(number) = netns else { return Ok(netns) };
        let space = self.open.get(&number).filter(|space| self.spaces.contains(space));
        let closed = || ApplyError { errno: ENOENT, text: "the namespace is not open".into() };
        space.map(|space| Netns::Pod(*space)).ok_or_else(closed)
    }

    fn put(&mut self, key: Key, value: &Value, from: Option<&Value>) -> Answer {
        self.admit(&key, value)?;
        if let (Key::Link(link), Value::Link(wanted)) = (&key, value) {
            return self.put_link(link, wanted, from.is_some());
        }
        if is_told(&key) {
            self.notices.push(Notice::Put(key.clone(), value.clone()));
        }
        self.objects.insert(key, value.clone());
        Ok(())
    }

    fn remove(&mut self, key: &Key) {
        match key {
            Key::Link(link) => self.remove_link(link),
            Key::Addr(addr) => {
                self.objects.remove(key);
                let same = |other: &Key| matches!(other, Key::Addr(other) if other.netns == addr.netns && other.device == addr.device);
                // With its last address an interface loses IPv4 (`fib_disable_ip`).
                if !self.objects.keys().any(same) {
                    self.objects.retain(|other, value| {
                        other.netns() != addr.netns || !leads_over(value, &addr.device)
                    });
                }
            }
            _ => _ = self.objects.remove(key),
        }
    }
}

fn leads_over(value: &Value, device: &IfName) -> bool {
    matches!(value, Value::Route(route) if route.device.as_ref() == Some(device))
}

/// Whether the agent hears of its own change of such an object.
fn is_told(key: &Key) -> bool {
    key.netns() == Netns::Host && !matches!(key, Key::Route(_) | Key::Nft(_) | Key::Sysctl(_))
}

/// The same key in another namespace.
fn moved(mut key: Key, netns: Netns) -> Key {
    match &mut key {
        Key::Link(key) => key.netns = netns,
        Key::Sysctl(key) => key.netns = netns,
        Key::Addr(key) => key.netns = netns,
        Key::Clsact(key) => key.netns = netns,
        Key::Filter(key) => key.netns = netns,
        Key::Fdb(key) => key.netns = netns,
        Key::Neigh(key) => key.netns = netns,
        Key::Route(key) => key.netns = netns,
        Key::Nft(_) => {}
    }
    key
}
