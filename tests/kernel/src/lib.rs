//! A node whose kernel holds exactly what `derive` wants, with a pod behind it.

pub mod laid;

use derive::example::attachment;
use derive::{Endpoint, Scope, World};
use kernel::{Key, Netns, Objects, PodNs, diff, ours, plan};
use model::Mtu;
use netlink::Writer;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;
use testkit::netns;
use testkit::packet::{self, Ipv4};

pub const POD1: Ipv4Addr = Ipv4Addr::new(6, 2, 137, 67);
pub const POD2: Ipv4Addr = Ipv4Addr::new(6, 2, 180, 2);
pub const POD3: Ipv4Addr = Ipv4Addr::new(6, 2, 136, 4);
pub const NODE1: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 161);
pub const NODE2: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 162);
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 99);
pub const PORT: u16 = 7777;

/// A node's namespace, its pod's, and what the node knows.
pub struct Node {
    pub host: netns::Netns,
    pub pod: netns::Netns,
    pub world: World,
}

impl Node {
    /// A node that knows of its pod, and has nothing in its kernel yet.
    pub fn new(mut world: World, pod: &str, pod_addr: Ipv4Addr, mtu: Mtu) -> Node {
        let mut attachment = attachment(pod, &pod_addr.to_string());
        attachment.mtu = mtu;
        world.endpoints.insert(
            attachment.id.clone(),
            Endpoint { attachment, netns: Some(PodNs(1)), scope: Scope::Whole },
        );
        Node { host: netns::Netns::new(), pod: netns::Netns::new(), world }
    }

    /// Makes the kernel be as `world` says. What is read back then must be just that.
    ///
    /// # Panics
    /// If the kernel refuses something, or what is read back is something else.
    pub fn make(&self, world: &World) {
        let wanted = derive::derive(world);
        self.host.inside(|| {
            let mut writer = Writer::open().expect("a netlink socket");
            let pod = netlink::Netns::open(self.pod.path()).expect("the pod's namespace");
            writer.open_pod(PodNs(1), pod).expect("a socket in it");
            // With an interface that is made anew goes what hung on it: the second time puts it back.
            for _ in 0..2 {
                let steps = plan(differences(&wanted, &dump(&mut writer, &wanted)));
                for outcome in writer.apply(&steps) {
                    assert_eq!(outcome.result, Ok(()), "{}", outcome.key);
                }
            }
            let left = differences(&wanted, &dump(&mut writer, &wanted));
            assert_eq!(left, [], "all is read back as it was written");
        });
    }

    /// Bytes and packets that left by the uplink; a packet may be many segments.
    ///
    /// # Panics
    /// Without an uplink.
    pub fn sent(&self) -> (u64, u64) {
        let read = |name: &str| {
            let line = format!("ip -s link show ens192 | awk '/TX:/ {{ getline; print ${name} }}'");
            self.host.run(&line).trim().parse::<u64>().expect("a count")
        };
        (read("1"), read("2"))
    }

    /// How many packets a rule of ours counted.
    ///
    /// # Panics
    /// If no rule counts so.
    pub fn counted(&self, counter: &str) -> u64 {
        counted(&self.host, &format!("inet calico {counter}"))
    }
}

/// How many packets a counter of nftables has counted, which is named by family, table and name.
fn counted(netns: &netns::Netns, counter: &str) -> u64 {
    let text = netns.run(&format!("nft list counter {counter}"));
    let number = text.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no count in {text}"))
}

/// Counts what comes out of master2's uplink and is a tunnel's: IP in IP, GRE and VXLAN.
const WIRE: &str = "
    add table netdev wire
    add counter netdev wire tunnels
    add chain netdev wire of-master2 { type filter hook ingress device port2 priority 0; }
    add rule netdev wire of-master2 meta l4proto { 4, 47 } counter name tunnels
    add rule netdev wire of-master2 udp dport 4789 counter name tunnels";

/// What is not as wanted: of the pod's namespace only what is wanted there.
pub fn differences(wanted: &Objects, found: &Objects) -> Vec<kernel::Change> {
    let mut changes = diff(wanted, found, &BTreeSet::new(), ours);
    changes.retain(|change| change.key().netns() == Netns::Host || wanted.contains_key(change.key()));
    changes
}

/// What the kernel holds in both namespaces, with the settings that are wanted.
///
/// # Panics
/// If it does not answer.
pub fn dump(writer: &mut Writer, wanted: &Objects) -> Objects {
    let sysctls = |netns| {
        let paths = wanted.keys().filter_map(move |key| match key {
            Key::Sysctl(key) if key.netns == netns => Some(key.path.clone()),
            _ => None,
        });
        paths.collect::<Vec<_>>()
    };
    let dump = |netns| writer.dump(netns, &sysctls(netns)).expect("it is open").expect("the kernel answers");
    [Netns::Host, Netns::Pod(PodNs(1))].into_iter().flat_map(dump).collect()
}

/// Two nodes of the article and a host that is none, in one subnet.
pub struct Cluster {
    pub a: Node,
    pub b: Node,
    pub stranger: netns::Netns,
    lan: netns::Netns,
}

impl Cluster {
    /// master1 and master2, made as their worlds say.
    pub fn new(a: Node, b: Node) -> Cluster {
        let (stranger, lan) = (netns::Netns::new(), netns::Netns::new());
        lan.run("ip link add lan0 type bridge && ip link set lan0 up");
        for (n, netns, addr) in [(1, &a.host, NODE1), (2, &b.host, NODE2), (3, &stranger, STRANGER)] {
            lan.run(&format!(
                "ip link add port{n} type veth peer name ens192 netns {} && ip link set port{n} master lan0 up",
                netns.path().display()
            ));
            netns.run(&format!("ip addr add {addr}/24 dev ens192 && ip link set ens192 up"));
        }
        lan.run(&format!("nft '{WIRE}'"));
        a.make(&a.world);
        b.make(&b.world);
        // What goes out before the kernel has seen that a wire is whole is dropped, a question for an address with it.
        for neighbour in [&stranger, &b.host] {
            neighbour.run("ping -n -c1 -w10 192.168.50.161");
        }
        Cluster { a, b, stranger, lan }
    }

    /// How many tunnel packets the wire has brought from master2.
    ///
    /// # Panics
    /// If nobody counts them.
    pub fn tunnelled(&self) -> u64 {
        counted(&self.lan, "netdev wire tunnels")
    }

    /// How many of `count` such packets arrive at the pod of master1, by whatever sender's address.
    ///
    /// # Panics
    /// If the pod's port is taken.
    pub fn delivered(&self, from: &netns::Netns, packet: &Ipv4, count: usize) -> usize {
        let socket = self.a.pod.inside(|| UdpSocket::bind((POD1, PORT))).expect("the port is free");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket's option");
        from.inside(|| packet::send(packet, count));
        std::iter::from_fn(|| socket.recv(&mut [0; 64]).ok()).count()
    }
}

/// From the pod of master2 to that of master1, one byte of text.
pub fn inner() -> Ipv4 {
    Ipv4::udp(POD2, POD1, PORT, b"!")
}
