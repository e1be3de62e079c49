//! What root in a pod may try against its node and other pods.

use super::sample_between;
use crate::suite::expect_drops;
use crate::{Lab, PODS, within};
use rustix::net::{AddressFamily, SendFlags, SocketType, netdevice, sendto, socket};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testkit::length;
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
    expect_drops(&["master1: nft pod-spoofed"]);
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

/// The flood waits for the pod's interface, so that it begins with the ADD.
pub fn s02_a_pod_cannot_move_its_nodes_routes(lab: &Lab) {
    expect_drops(&["master1: nft pod-spoofed"]);
    let pod = netns::Netns::new();
    let routes = |but: &str| {
        let text = lab.exec(
            "master1",
            "ip route show table all; ip -6 route show table all; ip -6 addr | grep -w inet6",
        );
        let lines = text.lines().filter(|line| but.is_empty() || !line.contains(but));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let settled = || !routes("").iter().any(|line| line.contains("tentative"));
    within(Duration::from_secs(5), "the addresses have settled", settled);
    let before = routes("");
    let span = Duration::from_secs(length(10, 60).into());
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&pod, span));
        let added = lab.cni("master1", "ADD", "s02", pod.path()).expect("ADD");
        let host = added["interfaces"][0]["name"].as_str().expect("an ADD names the interface");
        let sent = flood.join().expect("it floods");
        assert!(sent > 1_000, "{sent} packets");
        assert_eq!(routes(host), before);
    });
    let cached = lab.exec("master1", "ip route get 192.168.50.1");
    assert!(!cached.contains("via"), "{cached}");
    lab.cni("master1", "DEL", "s02", pod.path()).expect("DEL");
    within(Duration::from_secs(5), "the routes are as before", || routes("") == before);
}

/// Sends what moves a host's routes to whoever hears it, from the pod's interface on; how much.
fn flood(pod: &netns::Netns, span: Duration) -> usize {
    let (own, node, gateway) = (addr("6.2.137.99"), addr("192.168.50.161"), addr("169.254.1.1"));
    pod.inside(|| {
        let raw =
            socket(AddressFamily::INET6, SocketType::RAW, Some(rustix::net::ipproto::ICMPV6)).expect("root");
        rustix::net::sockopt::set_ipv6_multicast_hops(&raw, 255).expect("a socket's option");
        rustix::net::sockopt::set_ipv6_unicast_hops(&raw, Some(255)).expect("a socket's option");
        let device = loop {
            if let Ok(device) = netdevice::name_to_index(&raw, "eth0") {
                break device;
            }
            std::thread::yield_now();
        };
        let nodes = SocketAddrV6::new("ff02::1".parse().expect("an address"), 0, 0, device);
        let (end, mut sent) = (Instant::now() + span, 0);
        while Instant::now() < end {
            for packet in [router_advertisement(), redirect()] {
                // Where there is no way, nothing arrives: that is what is looked at.
                sent += usize::from(sendto(&raw, &packet, SendFlags::empty(), &nodes).is_ok());
            }
            // ICMP redirect (RFC 792): another router for the API server.
            let mut payload = vec![5, 1, 0, 0];
            payload.extend(own.octets());
            payload.extend(Ipv4::udp(node, addr("192.168.50.1"), 1, b"12345678").bytes());
            let sum = packet::checksum(&payload).to_be_bytes();
            payload[2..4].copy_from_slice(&sum);
            for target in [node, gateway] {
                packet::send(&Ipv4::new(own, target, 1, payload.clone()), 1);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        sent
    })
}

pub fn s03_a_pod_cannot_take_anothers_address_by_arp(lab: &Lab) {
    expect_drops(&["master1: nft pod-arp"]);
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

/// Its kernel asks as every address that it has, whenever its MAC changes.
pub fn s04_a_pod_that_asks_as_thousands_fills_no_table_of_neighbours(lab: &Lab) {
    expect_drops(&["master1: nft pod-arp"]);
    const ADDRESSES: usize = 20_000;
    let pod = netns::Netns::new();
    let added = lab.cni("master1", "ADD", "s04", pod.path()).expect("ADD");
    let host = added["interfaces"][0]["name"].as_str().expect("an ADD names the interface").to_owned();
    let neighbours =
        || lab.exec("master1", &format!("ip neigh show dev {host}; ip -6 neigh show dev {host}"));
    let refused = || {
        let text = lab.exec("master1", "nft list counter arp calico pod-arp");
        let number = text.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
        number.and_then(|number| number.parse::<usize>().ok()).expect("a count")
    };
    assert_eq!(neighbours().lines().count(), 1, "its own, for ever");
    let before = refused();
    let batch = lab.root().join("addresses");
    let lines: String =
        (0..ADDRESSES).map(|n| format!("address add 10.{}.{}.1/32 dev eth0\n", n >> 8, n & 0xff)).collect();
    std::fs::write(&batch, lines).expect("the lab's folder can be written");
    pod.run(&format!("ip -batch {}", batch.display()));
    pod.run("echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_notify");
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            for n in 10..14 {
                pod.run(&format!("ip link set eth0 address 02:ba:d0:00:00:{n}"));
            }
        });
        let stranger = lab.stranger("192.168.50.96/24");
        let [there, other] = [(); 2].map(|()| netns::Netns::new());
        there.run(&format!(
            "ip link add v type veth peer name v netns {} && ip link set v up && ip address add 192.0.2.1/24 dev v",
            other.path().display()
        ));
        other.run("ip link set v up && ip address add 192.0.2.2/24 dev v");
        within(Duration::from_secs(1), "a new neighbour on the uplink", || {
            lab.try_exec("master1", "ping -n -c1 -W0.2 192.168.50.96").status.success()
        });
        within(Duration::from_secs(1), "a new neighbour in another namespace", || {
            there.try_run("ping -n -c1 -W0.2 192.0.2.2").status.success()
        });
        assert!(neighbours().lines().count() <= 8, "{}", neighbours());
        asking.join().expect("it asks");
        drop(stranger);
    });
    within(Duration::from_secs(5), "what it asked is counted", || refused() - before >= ADDRESSES);
    assert!(neighbours().lines().count() <= 8, "{}", neighbours());
    // It has no address of IPv6, and nobody listens to it there.
    let v6 = lab.exec("master1", &format!("cat /proc/sys/net/ipv6/conf/{host}/disable_ipv6"));
    assert_eq!(v6.trim(), "1");
    lab.cni("master1", "DEL", "s04", pod.path()).expect("DEL");
}

pub fn s06_nobody_reaches_the_nodes_loopback_from_outside(lab: &Lab) {
    expect_drops(&["master1: nft pod-to-loopback"]);
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
