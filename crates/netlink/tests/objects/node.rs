//! A node and a pod's namespace to write to, and short words for objects.

use crate::netns::Netns;
use kernel::addr::AddrScope;
use kernel::route::{PROTO_CALICO, TABLE_MAIN};
use kernel::{
    AddrKey, AddrValue, FdbKey, FdbValue, Key, LinkKey, LinkKind, LinkValue, NeighKey, NeighValue, Objects,
    PodNs, RouteKey, RouteKind, RouteScope, RouteValue, Step, Value,
};
use model::{IfName, Mac, Mtu, Vni};
use netlink::Writer;

pub const HOST: kernel::Netns = kernel::Netns::Host;
pub const POD: kernel::Netns = kernel::Netns::Pod(PodNs(1));

impl Netns {
    /// The namespace as the crate has it.
    pub fn open(&self) -> netlink::Netns {
        netlink::Netns::try_from(self.0.try_clone().unwrap()).unwrap()
    }
}

/// A node with its uplink `ens192`, and a pod's namespace.
pub struct Node {
    pub host: Netns,
    pub pod: Netns,
}

impl Node {
    pub fn new() -> Node {
        let host = Netns::new();
        // The kernel makes link-local addresses when it likes.
        host.sh("echo 1 > /proc/sys/net/ipv6/conf/default/addr_gen_mode");
        host.sh("ip link add ens192 type veth peer name far; ip link set far up; ip link set ens192 up");
        host.sh("ip addr add 192.168.50.161/24 dev ens192");
        Node { host, pod: Netns::new() }
    }

    /// Does something with a writer that knows the pod.
    pub fn with<T: Send>(&self, work: impl FnOnce(&mut Writer) -> T + Send) -> T {
        self.host.run(|| {
            let mut writer = Writer::open().unwrap();
            writer.open_pod(PodNs(1), self.pod.open()).unwrap();
            work(&mut writer)
        })
    }

    /// What became of steps, in words: `ok`, or the kernel's sentence.
    pub fn apply(&self, steps: &[Step]) -> Vec<String> {
        let outcomes = self.with(|writer| writer.apply(steps));
        let say = |outcome: kernel::Outcome| match outcome.result {
            Ok(()) => format!("{}: ok", outcome.key),
            Err(error) => format!("{}: {error}", outcome.key),
        };
        outcomes.into_iter().map(say).collect()
    }

    /// Carries a step out that must succeed.
    pub fn done(&self, step: Step) {
        for outcome in self.with(|writer| writer.apply(std::slice::from_ref(&step))) {
            assert_eq!(outcome.result, Ok(()), "{step:?}");
        }
    }

    pub fn create(&self, (key, value): &(Key, Value)) {
        self.done(Step::Create(key.clone(), value.clone()));
    }

    pub fn remove(&self, (key, value): &(Key, Value)) {
        self.done(Step::Remove(key.clone(), value.clone()));
    }

    pub fn replace(&self, from: &(Key, Value), to: &(Key, Value)) {
        assert_eq!(from.0, to.0);
        self.done(Step::Replace { key: from.0.clone(), from: from.1.clone(), to: to.1.clone() });
    }

    pub fn dump(&self, netns: kernel::Netns) -> Objects {
        self.with(|writer| writer.dump(netns, &[]).unwrap().unwrap())
    }

    /// What the kernel holds under a key.
    pub fn found(&self, key: &Key) -> Option<Value> {
        self.dump(key.netns()).remove(key)
    }

    /// `vxlan.calico`, made and up.
    pub fn tunnel(&self) {
        self.host.sh(
            "ip link add vxlan.calico type vxlan id 4096 local 192.168.50.161 dev ens192 dstport 4789 nolearning; \
             ip link set vxlan.calico up",
        );
    }
}

pub fn link_key(netns: kernel::Netns, name: &str) -> LinkKey {
    LinkKey { netns, name: IfName::fixed(name) }
}

pub fn link(netns: kernel::Netns, name: &str, value: LinkValue) -> (Key, Value) {
    (Key::Link(link_key(netns, name)), Value::Link(Box::new(value)))
}

pub fn plain(kind: LinkKind) -> LinkValue {
    LinkValue { kind, mac: None, mtu: None, up: false, alias: None }
}

pub fn vxlan(vni: u32) -> LinkValue {
    let kind = LinkKind::Vxlan {
        vni: Vni(vni),
        port: 4789,
        local: [192, 168, 50, 161].into(),
        device: IfName::fixed("ens192"),
    };
    LinkValue { mac: Some(mac("66:f9:37:c3:7e:94")), mtu: Some(Mtu(1450)), ..plain(kind) }
}

pub fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

pub fn addr(device: &str, text: &str) -> (Key, Value) {
    let key = AddrKey { netns: HOST, device: IfName::fixed(device), addr: text.parse().unwrap() };
    (Key::Addr(key), Value::Addr(AddrValue { scope: AddrScope::Global }))
}

pub fn neigh(device: &str, addr: &str, lladdr: &str) -> (Key, Value) {
    let key = NeighKey { netns: HOST, device: IfName::fixed(device), addr: addr.parse().unwrap() };
    (Key::Neigh(key), Value::Neigh(NeighValue { mac: mac(lladdr), permanent: true }))
}

pub fn fdb(lladdr: &str, dst: &str) -> (Key, Value) {
    let key = FdbKey { netns: HOST, device: IfName::fixed("vxlan.calico"), mac: mac(lladdr) };
    (Key::Fdb(key), Value::Fdb(FdbValue { dst: dst.parse().unwrap(), permanent: true }))
}

/// A route of protocol 80 in the main table.
pub fn route(dst: &str, value: RouteValue) -> (Key, Value) {
    let key = RouteKey { netns: HOST, table: TABLE_MAIN, dst: dst.parse().unwrap(), priority: 0 };
    (Key::Route(key), Value::Route(value))
}

pub fn via(gateway: &str, device: &str) -> RouteValue {
    RouteValue {
        kind: RouteKind::Unicast,
        gateway: Some(gateway.parse().unwrap()),
        device: Some(IfName::fixed(device)),
        scope: RouteScope::Universe,
        onlink: true,
        protocol: PROTO_CALICO,
        source: None,
        mtu: None,
        also: Vec::new(),
    }
}

pub fn blackhole() -> RouteValue {
    RouteValue {
        kind: RouteKind::Blackhole,
        gateway: None,
        device: None,
        onlink: false,
        ..via("0.0.0.0", "lo")
    }
}

pub fn direct(device: &str) -> RouteValue {
    RouteValue { gateway: None, scope: RouteScope::Link, onlink: false, ..via("0.0.0.0", device) }
}
