//! The kernels of a simulated cluster, laid into namespaces: two subnets with a router between them.
//!
//! ```text
//!  pods ─ node … node ─ left ═ router ═ right ─ node … node ─ pods
//! ```

use kernel::route::{PROTO_BOOT, PROTO_KERNEL};
use kernel::{
    ApplyError, Change, Key, LinkKey, LinkKind, Netns, Objects, PodNs, Step, Value, VethPeer, diff, ours,
    plan,
};
use model::Cidr;
use netlink::Writer;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use testkit::netns;
use testkit::packet::Ear;
use testkit::sim::machines::FakeKernel;

const UPLINK: &str = "eth0";

/// The cluster.
pub struct Laid {
    pub nodes: Vec<Node>,
    _router: netns::Netns,
}

/// A node's namespace and those of its pods, with what is heard in them.
pub struct Node {
    pub host: netns::Netns,
    pub frames: Ear,
    pub pods: BTreeMap<PodNs, (netns::Netns, Ear)>,
}

impl Laid {
    /// Namespaces that hold what each kernel holds. `routed` is what the router knows besides its subnets.
    ///
    /// # Panics
    /// If the kernel refuses something, or what is read back is something else.
    pub fn new(kernels: &[&FakeKernel], spaces: &[Vec<PodNs>], routed: &BTreeMap<Cidr, Ipv4Addr>) -> Laid {
        let router = netns::Netns::new();
        router.run(
            "for subnet in left:10 right:11; do lan=${subnet%:*}; ip link add $lan type bridge && \
             ip address add 192.168.${subnet#*:}.254/24 dev $lan && ip link set $lan up || exit; done; \
             cd /proc/sys/net/ipv4; echo 1 >ip_forward; for c in conf/*; do echo 0 >$c/send_redirects; \
             echo 0 >$c/rp_filter; done",
        );
        for (cidr, nexthop) in routed {
            router.run(&format!("ip route add {cidr} via {nexthop}"));
        }
        let make = |(n, (kernel, spaces)): (usize, (&&FakeKernel, &Vec<PodNs>))| {
            Node::new(&router, n, kernel, spaces)
        };
        let nodes: Vec<Node> = kernels.iter().zip(spaces).enumerate().map(make).collect();
        let laid = Laid { nodes, _router: router };
        // Before the kernel has seen that a wire is whole, what goes out is dropped, a question for an address with it.
        for node in &laid.nodes {
            for kernel in kernels {
                node.host.run(&format!("ping -n -c1 -w10 {}", kernel.addr().addr()));
            }
        }
        for node in &laid.nodes {
            let spaces = node.pods.values().map(|(space, _)| space);
            // Nobody answers: what is heard is what was sent.
            [&node.host].into_iter().chain(spaces).for_each(|space| {
                space.run("echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all");
            });
        }
        kernels.iter().zip(&laid.nodes).for_each(|(kernel, node)| node.make(kernel));
        laid
    }
}

impl Node {
    fn new(router: &netns::Netns, n: usize, kernel: &FakeKernel, spaces: &[PodNs]) -> Node {
        let host = netns::Netns::new();
        let addr = kernel.addr();
        let lan = if addr.subnet().contains([192, 168, 10, 254].into()) { "left" } else { "right" };
        router.run(&format!(
            "ip link add port{n} type veth peer name {UPLINK} netns {} && ip link set port{n} master {lan} up",
            host.path().display()
        ));
        // Interfaces come up strict, as distributions have it.
        host.run(&format!(
            "cd /proc/sys/net/ipv4; echo 0 >ip_forward; echo 0 >conf/all/rp_filter; echo 1 >conf/default/rp_filter; \
             echo 1 >conf/{UPLINK}/rp_filter; ip address add {addr} dev {UPLINK} && ip link set {UPLINK} up && \
             ip route add default via {}",
            addr.subnet().nth(254).expect("it is a /24")
        ));
        if !kernel.objects().values().any(is_module) {
            // The module, where it is loaded, has put a tunl0 of its own where the stand-in's goes.
            host.try_run("ip link set tunl0 name modules-own");
        }
        let pods = spaces.iter().map(|space| {
            let pod = netns::Netns::new();
            let ear = pod.inside(Ear::of_icmp);
            (*space, (pod, ear))
        });
        let frames = host.inside(Ear::of_frames);
        Node { pods: pods.collect(), host, frames }
    }

    /// Makes the namespaces hold what the kernel of the simulation holds.
    ///
    /// # Panics
    /// If it cannot be, or what is read back is something else.
    pub fn make(&self, kernel: &FakeKernel) {
        let wanted = wanted(kernel);
        self.writing(|writer| {
            // With an interface that is made anew goes what hung on it: the second time puts it back.
            for _ in 0..2 {
                let steps = plan(self.differences(writer, &wanted));
                for outcome in writer.apply(&steps) {
                    assert_eq!(outcome.result, Ok(()), "{}", outcome.key);
                }
            }
            assert_eq!(self.differences(writer, &wanted), [], "all is read back as it was written");
        });
        // An interface passes nothing before the kernel has seen that its wire is whole.
        for space in self.pods.values().map(|(pod, _)| pod).chain([&self.host]) {
            space.run(
                "n=0; while ip -o link show up | grep -q DOWN && [ $n -lt 1000 ]; do n=$((n+1)); sleep 0.01; done; \
                 [ $n -lt 1000 ]",
            );
        }
    }

    /// One message.
    ///
    /// # Panics
    /// If the kernel does not answer.
    pub fn apply(&self, step: &Step) -> Result<(), ApplyError> {
        self.writing(|writer| {
            let [outcome] = &writer.apply(std::slice::from_ref(step))[..] else {
                panic!("one key, one outcome")
            };
            outcome.result.clone()
        })
    }

    fn writing<T: Send>(&self, work: impl FnOnce(&mut Writer) -> T + Send) -> T {
        let pods: Vec<_> = self.pods.iter().map(|(space, (pod, _))| (*space, pod.path())).collect();
        self.host.inside(|| {
            let mut writer = Writer::open().expect("a netlink socket");
            for (space, path) in pods {
                let pod = netlink::Netns::open(path).expect("the pod's namespace");
                writer.open_pod(space, pod).expect("a socket in it");
            }
            work(&mut writer)
        })
    }

    fn differences(&self, writer: &mut Writer, wanted: &Objects) -> Vec<Change> {
        let mut found = Objects::new();
        for netns in self.pods.keys().map(|space| Netns::Pod(*space)).chain([Netns::Host]) {
            let sysctls = wanted.keys().filter_map(|key| match key {
                Key::Sysctl(key) if key.netns == netns => Some(key.path.clone()),
                _ => None,
            });
            let sysctls: Vec<String> = sysctls.collect();
            found.extend(writer.dump(netns, &sysctls).expect("it is open").expect("the kernel answers"));
        }
        // What the kernel learnt by itself gives way to what is configured.
        found.retain(|_, value| !matches!(value, Value::Neigh(neigh) if !neigh.permanent));
        let mut changes = diff(wanted, &found, &BTreeSet::new(), ours);
        changes.retain(|change| change.key().netns() == Netns::Host || wanted.contains_key(change.key()));
        changes
    }
}

fn is_module(value: &Value) -> bool {
    matches!(value, Value::Link(link) if link.kind == LinkKind::Ipip)
}

/// All but what the kernel came up with. A pair is made with its other end.
fn wanted(kernel: &FakeKernel) -> Objects {
    let on_uplink = |name: &model::IfName| name.as_str() == UPLINK;
    let came_up = |key: &Key, value: &Value| match (key, value) {
        (Key::Link(key), _) => on_uplink(&key.name) || key.name.as_str() == "docker0",
        (Key::Addr(key), _) => on_uplink(&key.device),
        (Key::Route(_), Value::Route(route)) => {
            route.device.as_ref().is_some_and(on_uplink)
                && [PROTO_KERNEL, PROTO_BOOT].contains(&route.protocol)
        }
        _ => false,
    };
    let pair = |key: &LinkKey| {
        let end = kernel.other_end(key)?;
        let Some(Value::Link(far)) = kernel.objects().get(&Key::Link(end.clone())) else { return None };
        Some(VethPeer { key: end.clone(), mac: far.mac, mtu: far.mtu })
    };
    let objects = kernel.objects().iter();
    let own = objects.filter(|(key, value)| key.netns() != Netns::Host || !came_up(key, value));
    own.map(|(key, value)| match (key, value) {
        (Key::Link(name), Value::Link(link)) if name.netns == Netns::Host => {
            let mut link = link.clone();
            if let LinkKind::Veth { peer } = &mut link.kind {
                *peer = pair(name);
            }
            (key.clone(), Value::Link(link))
        }
        _ => (key.clone(), value.clone()),
    })
    .collect()
}
