//! What root in a pod may try against its node and other pods.

use super::sample_between;
use crate::{Lab, PODS, within};
use rustix::net::{AddressFamily, SendFlags, SocketType, netdevice, sendto, socket};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testkit::netns;
use testkit::packet::{self, Ipv4};
use testkit::sampler::Sampler;

const PORT: u16 = 7788;
const SENT: usize = 1_000;

/// The pod of master1 that attacks, by its namespace.
fn attacker(lab: &Lab) -> PathBuf {
    lab.place(PODS[0].0, PODS[0].1).netns
}

fn addr(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

/// How many datagrams arrive at a place while `send` runs.
fn heard(place: &Path, at: Ipv4Addr, send: impl FnOnce()) -> usize {
    let socket = netns::inside(place, || UdpSocket::bind((at, PORT))).expect("the port is free");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket's option");
    send();
    std::iter::from_fn(|| socket.recv(&mut [0; 64]).ok()).count()
}

/// What a counter of our table says on master1.
fn counted(lab: &Lab, name: &str) -> usize {
    let text = lab.exec("master1", &format!("nft list counter inet calico {name}"));
    let count = text.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count in {text}"))
}

pub fn s01_what_a_pod_sends_with_anothers_source_arrives_nowhere(lab: &Lab) {
    let (pod, victim) = (attacker(lab), lab.place(PODS[1].0, PODS[1].1).netns);
    let target = addr(PODS[1].2);
    let send = |source: Ipv4Addr, count| {
        let packet = Ipv4::udp(source, target, PORT, b"forged");
        netns::inside(&pod, || packet::send(&packet, count));
    };
    let before = counted(lab, "pod-spoofed");
    let arrived = heard(&victim, target, || {
        // Another pod here or elsewhere, the node, the API server, the outside, a free address of the own block.
        for source in
            ["6.2.136.4", "6.2.180.9", "192.168.50.161", "192.168.50.1", "203.0.113.7", "6.2.137.99"]
        {
            send(addr(source), SENT);
        }
    });
    assert_eq!(arrived, 0);
    assert_eq!(counted(lab, "pod-spoofed") - before, 6 * SENT);
    assert_eq!(heard(&victim, target, || send(addr(PODS[0].2), 10)), 10, "its own address passes");
}

/// ICMPv6 of RFC 4861 §4.2 and §4.5, without a checksum: raw sockets of ICMPv6 put it in.
fn router_advertisement() -> Vec<u8> {
    let mut bytes = vec![134, 0, 0, 0, 64, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    // A prefix for autoconfiguration (§4.6.2).
    bytes.extend([3, 4, 64, 0xc0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend("2001:db8:bad::".parse::<Ipv6Addr>().expect("an address").octets());
    bytes
}

fn redirect() -> Vec<u8> {
    let mut bytes = vec![137, 0, 0, 0, 0, 0, 0, 0];
    for addr in ["fe80::bad", "2001:db8::1"] {
        bytes.extend(addr.parse::<Ipv6Addr>().expect("an address").octets());
    }
    bytes
}

pub fn s02_a_pod_cannot_move_its_nodes_routes(lab: &Lab) {
    let routes = || {
        lab.exec("master1", "ip route show table all; ip -6 route show table all; ip -6 addr | grep -w inet6")
    };
    let (pod, gateway) = (attacker(lab), addr("169.254.1.1"));
    within(Duration::from_secs(5), "the addresses have settled", || !routes().contains("tentative"));
    let before = routes();
    let end = Instant::now() + Duration::from_secs(3);
    netns::inside(&pod, || {
        let raw =
            socket(AddressFamily::INET6, SocketType::RAW, Some(rustix::net::ipproto::ICMPV6)).expect("root");
        rustix::net::sockopt::set_ipv6_multicast_hops(&raw, 255).expect("a socket's option");
        rustix::net::sockopt::set_ipv6_unicast_hops(&raw, Some(255)).expect("a socket's option");
        let device = netdevice::name_to_index(&raw, "eth0").expect("the pod's interface");
        let nodes = SocketAddrV6::new("ff02::1".parse().expect("an address"), 0, 0, device);
        while Instant::now() < end {
            for packet in [router_advertisement(), redirect()] {
                // Where there is no way, nothing arrives: that is what is looked at.
                let _ = sendto(&raw, &packet, SendFlags::empty(), &nodes);
            }
            // ICMP redirect (RFC 792): another router for the API server.
            let mut payload = vec![5, 1, 0, 0];
            payload.extend(addr(PODS[0].2).octets());
            payload.extend(Ipv4::udp(addr("192.168.50.161"), addr("192.168.50.1"), 1, b"12345678").bytes());
            let sum = packet::checksum(&payload).to_be_bytes();
            payload[2..4].copy_from_slice(&sum);
            for target in [addr("192.168.50.161"), gateway] {
                packet::send(&Ipv4::new(addr(PODS[0].2), target, 1, payload.clone()), 1);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    assert_eq!(routes(), before);
    let cached = lab.exec("master1", "ip route get 192.168.50.1");
    assert!(!cached.contains(PODS[0].2), "{cached}");
}

pub fn s03_a_pod_cannot_take_anothers_address_by_arp(lab: &Lab) {
    for pod in ["s03-victim", "s03-attacker"] {
        lab.verb(&["pod", "add", pod, "--node", "master1"]);
    }
    let victim = lab.place("master1", "s03-victim");
    let samplers =
        [Sampler::start(&victim, &lab.place(PODS[1].0, PODS[1].1)), sample_between(lab, PODS[2], PODS[0])];
    let permanent = || lab.exec("master1", "ip -4 neigh show nud permanent | sort");
    let before = permanent();
    // The pod takes the addresses of another pod here, its gateway, both nodes and a pod there, and tells everybody: its
    // kernel announces all of them whenever the interface's MAC changes, and asks as each of them.
    let claimed = [&victim.addr.to_string(), "169.254.1.1", "192.168.50.161", "192.168.50.162", PODS[1].2];
    let mut script = "echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_notify; ".to_owned();
    for address in claimed {
        script += &format!("ip address add {address}/32 dev eth0; ");
    }
    script +=
        "for n in $(seq 10 99); do ip link set eth0 address 02:ba:d0:00:00:$n; ip neigh flush dev eth0; ";
    for address in claimed {
        script += &format!("ping -n -c1 -W0.01 -I {address} 6.2.137.126 > /dev/null; ");
    }
    script += "done; true";
    lab.exec("master1/s03-attacker", &script);
    for sampler in samplers {
        let report = sampler.stop();
        println!("{report}");
        report.assert_nothing_lost();
    }
    assert_eq!(permanent(), before);
    for pod in ["s03-victim", "s03-attacker"] {
        lab.verb(&["pod", "delete", pod]);
    }
}

pub fn s06_nobody_reaches_the_nodes_loopback_from_outside(lab: &Lab) {
    let (node, local) = (lab.netns("master1"), Ipv4Addr::LOCALHOST);
    let tcp = netns::inside(&node, || TcpListener::bind((local, PORT))).expect("the port is free");
    tcp.set_nonblocking(true).expect("a socket's option");
    let before = counted(lab, "pod-to-loopback");
    let (pod, stranger) = (netns::Netns::new(), lab.stranger("192.168.50.97/24"));
    let added = lab.cni("master1", "ADD", "s06", pod.path());
    assert!(added.good, "{}", added.body);
    // A kernel that takes 127/8 for an address like any other.
    let outwards = |place: &netns::Netns, gateway: &str| {
        place.run(&format!(
            "ip address flush dev lo; echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; \
             ip route add 127.0.0.0/8 via {gateway} dev eth0 onlink"
        ));
    };
    outwards(&pod, "169.254.1.1");
    outwards(&stranger, "192.168.50.161");
    let heard = heard(&node, local, || {
        for (place, source) in [(&pod, added.address()), (&stranger, "192.168.50.97".to_owned())] {
            place.inside(|| packet::send(&Ipv4::udp(addr(&source), local, PORT, b"x"), SENT));
            let dial = format!("timeout 1 nc -w1 127.0.0.1 {PORT} < /dev/null");
            assert!(!place.try_run(&dial).status.success(), "a connection from {source}");
        }
    });
    assert_eq!(heard, 0);
    assert!(tcp.accept().is_err(), "nobody connects");
    let dropped = counted(lab, "pod-to-loopback") - before;
    assert!(dropped >= SENT, "what the pod sent is dropped and counted: {dropped}");
    lab.cni("master1", "DEL", "s06", pod.path()).expect("DEL");
}
