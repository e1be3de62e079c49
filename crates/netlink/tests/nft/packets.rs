//! The rules do to packets what they say.

use crate::example::table;
use crate::netns::{Netns, connect};
use kernel::nft::TableKey;
use netlink::nft::counters;
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// A node with one pod behind it and one neighbour in front of it.
struct Node {
    pod: Netns,
    node: Netns,
    outside: Netns,
}

impl Node {
    fn new() -> Node {
        let [pod, node, outside] = std::array::from_fn(|_| Netns::new());
        node.sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
        connect((&node, "cali1", "169.254.1.1/32"), (&pod, "eth0", "10.244.0.5/32"));
        connect((&node, "eth0", "172.18.0.2/24"), (&outside, "eth0", "172.18.0.3/24"));
        node.sh("ip route add 10.244.0.5 dev cali1; ip route add 10.244.1.0/26 via 172.18.0.3");
        pod.sh("ip route add 169.254.1.1 dev eth0; ip route add default via 169.254.1.1 src 10.244.0.5");
        outside.sh("ip addr add 172.18.0.4/24 dev eth0; ip addr add 10.244.1.7/32 dev lo; ip route add 10.244.0.0/26 via 172.18.0.2");
        node.write(&table());
        Node { pod, node, outside }
    }

    /// What each named counter counted, without those that counted nothing.
    fn counted(&self) -> Vec<(String, u64)> {
        let counts = counters(&mut self.node.socket(), &TableKey::inet()).unwrap();
        counts
            .into_iter()
            .map(|(name, count)| (name, count.packets))
            .filter(|(_, packets)| *packets > 0)
            .collect()
    }
}

fn udp(netns: &Netns, addr: &str) -> UdpSocket {
    let socket = netns.run(|| UdpSocket::bind(addr)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Text and source of the next datagram.
fn next(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2000];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    (buffer[..len].to_vec(), from)
}

#[test]
fn a_pod_gets_the_nodes_address_on_its_way_out_of_all_pools_and_keeps_its_own_within() {
    let net = Node::new();
    let pod = udp(&net.pod, "10.244.0.5:7000");
    for (destination, seen) in [("172.18.0.3:53", "172.18.0.2"), ("10.244.1.7:53", "10.244.0.5")] {
        let server = udp(&net.outside, destination);
        pod.send_to(b"question", destination).unwrap();
        let (_, from) = next(&server);
        assert_eq!(from.ip().to_string(), seen);
        server.send_to(b"answer", from).unwrap();
        let (answer, from) = next(&pod);
        assert_eq!((answer.as_slice(), from.to_string().as_str()), (&b"answer"[..], destination));
    }
}

/// A VXLAN packet's payload of the UDP datagram.
fn vxlan(vni: u32, ethertype: u16, inner_source: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0x08, 0, 0, 0];
    bytes.extend((vni << 8).to_be_bytes());
    bytes.extend([0x66, 0, 0, 0, 0, 1, 0x66, 0, 0, 0, 0, 2]);
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
    bytes.extend(inner_source);
    bytes.extend([10, 244, 0, 5, 0, 7, 0, 7, 0, 8, 0, 0]);
    bytes
}

#[test]
fn s16_a_vxlan_packet_passes_only_if_outer_and_inner_source_belong_together() {
    let net = Node::new();
    let received = udp(&net.node, "172.18.0.2:4789");
    let (peer, stranger) = (udp(&net.outside, "172.18.0.3:0"), udp(&net.outside, "172.18.0.4:0"));
    let honest = || vxlan(4096, 0x0800, [10, 244, 1, 7]);
    let passes = [
        honest(),
        vxlan(4096, 0x0800, [10, 244, 1, 0]),
        vxlan(4096, 0x0800, [10, 244, 1, 63]),
        vxlan(4096, 0x0800, [172, 18, 0, 3]),
        vxlan(1, 0x0800, [10, 244, 1, 64]),
    ];
    let dropped = [
        vxlan(4096, 0x0800, [10, 244, 1, 64]),
        vxlan(4096, 0x0800, [10, 244, 0, 255]),
        vxlan(4096, 0x0800, [172, 18, 0, 2]),
        vxlan(4096, 0x86dd, [10, 244, 1, 7]),
        vxlan(4096, 0x0806, [10, 244, 1, 7]),
        vxlan(4096, 0x8100, [10, 244, 1, 7]),
        honest()[..30].to_vec(),
    ];
    stranger.send_to(&honest(), "172.18.0.2:4789").unwrap();
    for packet in dropped.iter().chain(&passes) {
        peer.send_to(packet, "172.18.0.2:4789").unwrap();
    }
    for packet in &passes {
        assert_eq!(next(&received).0, *packet);
    }
    assert_eq!(net.counted(), [("vxlan-refused".to_owned(), 1 + dropped.len() as u64)]);
}

#[test]
fn s16_a_fragmented_vxlan_packet_is_judged_as_a_whole() {
    let net = Node::new();
    let received = udp(&net.node, "172.18.0.2:4789");
    let peer = udp(&net.outside, "172.18.0.3:0");
    let long = |source| vxlan(4096, 0x0800, source).into_iter().chain([7; 3000]).collect::<Vec<u8>>();
    peer.send_to(&long([10, 9, 9, 9]), "172.18.0.2:4789").unwrap();
    peer.send_to(&long([10, 244, 1, 7]), "172.18.0.2:4789").unwrap();
    let mut buffer = [0; 4000];
    let (len, _) = received.recv_from(&mut buffer).unwrap();
    assert_eq!(buffer[..len], long([10, 244, 1, 7]));
    assert_eq!(net.counted(), [("vxlan-refused".to_owned(), 1)]);
}

#[test]
fn s01_s05_what_a_pod_may_not_send_is_dropped_and_counted() {
    let net = Node::new();
    net.pod.sh(
        "ip addr flush dev lo; ip addr add 10.244.0.6/32 dev eth0; ip route add 127.0.0.0/8 via 169.254.1.1",
    );
    let server = udp(&net.outside, "172.18.0.3:53");
    udp(&net.pod, "10.244.0.6:0").send_to(b"spoofed", "172.18.0.3:53").unwrap();
    let pod = udp(&net.pod, "10.244.0.5:0");
    pod.send_to(b"loopback", "127.0.0.1:53").unwrap();
    pod.send_to(b"vxlan", "172.18.0.3:4789").unwrap();
    for protocol in [ipproto::IPIP, ipproto::GRE] {
        raw(&net.pod, AddressFamily::INET, protocol, &[0x45; 20], "172.18.0.3:0".parse().unwrap());
    }
    raw(&net.pod, AddressFamily::INET6, ipproto::ICMPV6, &router_advertisement(), all_nodes(&net.pod));
    pod.send_to(b"honest", "172.18.0.3:53").unwrap();
    assert_eq!(next(&server).0, b"honest");
    let counted = net.counted();
    let names = ["pod-gre", "pod-ipip", "pod-router-advert", "pod-spoofed", "pod-to-loopback", "pod-vxlan"];
    assert_eq!(counted, names.map(|name| (name.to_owned(), 1)));
}

fn raw(
    netns: &Netns,
    family: AddressFamily,
    protocol: rustix::net::Protocol,
    payload: &[u8],
    to: SocketAddr,
) {
    let socket = netns.run(|| socket(family, SocketType::RAW, Some(protocol))).unwrap();
    sendto(&socket, payload, SendFlags::empty(), &to).unwrap();
}

/// RFC 4861 §4.2, without options.
fn router_advertisement() -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[0] = 134;
    bytes
}

/// All nodes on the pod's link. Waits until the pod's own address is confirmed.
fn all_nodes(pod: &Netns) -> SocketAddr {
    while pod.sh("ip -6 addr show dev eth0 scope link").contains("tentative") {
        std::thread::sleep(Duration::from_millis(20));
    }
    let index =
        pod.sh("cat /sys/class/net/eth0/ifindex 2>/dev/null || true; ip -o link show eth0 | cut -d: -f1");
    let index = index.lines().last().unwrap().parse().unwrap();
    SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 0, 0, index).into()
}
