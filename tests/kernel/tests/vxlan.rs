//! VXLAN between two nodes whose kernels hold exactly what `derive` wants: what of the network's and of the nodes' own packets
//! comes out of the tunnel. Packets are made and seen by programs that are not ours.

use derive::example::{article, pool_mode};
use kernel_tests::{Cluster, NODE1, NODE2, Node, POD1, POD2, POD3, PORT, STRANGER, inner};
use model::Mtu;
use model::v3::EncapMode;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;
use testkit::packet::{self, Ipv4};

/// The tunnel's own addresses.
const TUNNEL1: Ipv4Addr = Ipv4Addr::new(6, 2, 137, 65);
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

fn cluster() -> Cluster {
    let node = |name: &str, pod| Node::new(article(name), name, pod, Mtu(1450));
    Cluster::new(node("master1", POD1), node("master2", POD2))
}

/// As it comes to master1 from `src`.
fn sent_by(src: Ipv4Addr, inner: &Ipv4) -> Ipv4 {
    inner.in_vxlan(src, NODE1, model::names::vtep_mac("master1").0)
}

#[test]
fn s16_vxlan_from_who_is_no_node_is_never_delivered() {
    let cluster = cluster();
    let honest = sent_by(NODE2, &inner());
    assert_eq!(cluster.delivered(&cluster.b.host, &honest, 100), 100, "the honest one");
    let before = cluster.a.counted("vxlan-refused");
    assert_eq!(cluster.delivered(&cluster.stranger, &sent_by(STRANGER, &inner()), 10_000), 0, "a stranger's");
    assert!(cluster.a.counted("vxlan-refused") >= before + 10_000, "each is counted");
    // To the node itself, its services, everybody: nothing comes out of the tunnel.
    let socket = cluster.a.host.inside(|| UdpSocket::bind(("0.0.0.0", PORT))).expect("the port is free");
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket's option");
    for dst in [NODE1, Ipv4Addr::LOCALHOST, GROUP, TUNNEL1] {
        for src in [STRANGER, POD2, NODE2] {
            let packet = sent_by(STRANGER, &Ipv4::udp(src, dst, PORT, b"!"));
            cluster.stranger.inside(|| packet::send(&packet, 100));
        }
    }
    assert!(
        socket.recv(&mut [0; 64]).is_err(),
        "a stranger's packet for the node itself came out of the tunnel"
    );
    let packet = sent_by(NODE2, &Ipv4::udp(POD2, Ipv4Addr::LOCALHOST, PORT, b"!"));
    cluster.b.host.inside(|| packet::send(&packet, 100));
    assert!(socket.recv(&mut [0; 64]).is_err(), "a node's packet for loopback came out of the tunnel");
}

#[test]
fn s05_a_pods_own_tunnel_packets_do_not_leave_it() {
    let cluster = cluster();
    let forged = Ipv4::udp(POD3, POD1, PORT, b"!");
    let tunnelled = |src, dst| {
        let mac = model::names::vtep_mac(if dst == NODE1 { "master1" } else { "master2" }).0;
        [forged.in_vxlan(src, dst, mac), forged.inside(src, dst), forged.in_gre(src, dst)]
    };
    // To another host: a pod's packet under the node's address would be taken for one of the same flow, and dropped.
    let own = tunnelled(NODE2, STRANGER);
    cluster.b.host.inside(|| own.iter().for_each(|packet| packet::send(packet, 100)));
    assert_eq!(cluster.tunnelled(), 300, "the node's own are seen on the wire");
    for dst in [NODE1, NODE2] {
        for packet in tunnelled(POD2, dst) {
            let what = format!("protocol {} to {dst}", packet.protocol);
            assert_eq!(cluster.delivered(&cluster.b.pod, &packet, 1000), 0, "{what}");
            assert_eq!(cluster.tunnelled(), 300, "{what} is on the wire");
        }
    }
    for counter in ["pod-vxlan", "pod-ipip", "pod-gre"] {
        assert!(cluster.b.counted(counter) >= 2000, "{counter}");
    }
}

#[test]
fn s18_nothing_comes_out_of_the_tunnel_once_no_pool_wants_it() {
    let cluster = cluster();
    let packet = sent_by(NODE2, &inner());
    assert_eq!(cluster.delivered(&cluster.b.host, &packet, 100), 100);
    cluster.a.make(&pool_mode(cluster.a.world.clone(), EncapMode::Never));
    assert_eq!(cluster.delivered(&cluster.b.host, &packet, 1000), 0);
    assert!(!cluster.a.host.run("ip -o link show").contains("vxlan.calico"));
    assert!(!cluster.a.host.run("ss -Huln").contains(":4789"), "nobody listens");
}

#[test]
fn s19_a_tunnel_inside_the_tunnel_stays_shut() {
    let cluster = cluster();
    let nested = sent_by(NODE2, &sent_by(NODE2, &inner()));
    assert_eq!(cluster.delivered(&cluster.b.host, &nested, 1000), 0);
    let of_a_pod = sent_by(NODE2, &sent_by(POD2, &inner()));
    assert_eq!(cluster.delivered(&cluster.b.host, &of_a_pod, 1000), 0);
}

/// Ten thousand different packets in the tunnel: where to, from whom, how far, how deep.
fn shapes() -> Vec<Ipv4> {
    let nobody2 = Ipv4Addr::new(6, 2, 180, 9);
    let unclaimed = Ipv4Addr::new(6, 2, 77, 1);
    let outside = Ipv4Addr::new(203, 0, 113, 9);
    let mut shapes = Vec::new();
    for dst in [POD1, POD2, POD3, nobody2, unclaimed, NODE1, TUNNEL1, GROUP, Ipv4Addr::LOCALHOST, outside] {
        for src in [POD2, NODE2, POD1, POD3, Ipv4Addr::LOCALHOST] {
            for ttl in [0, 1, 2, 64, 255] {
                for depth in 0..4 {
                    for port in 7000..7010 {
                        let mut packet = Ipv4 { ttl, ..Ipv4::udp(src, dst, port, b"!") };
                        for _ in 0..depth {
                            packet = sent_by(NODE2, &packet);
                        }
                        shapes.push(sent_by(NODE2, &packet));
                    }
                }
            }
        }
    }
    shapes
}

#[test]
fn s19_one_packet_in_is_one_packet_out_at_most() {
    let cluster = cluster();
    let shapes = shapes();
    assert_eq!(shapes.len(), 10_000);
    let before = cluster.a.sent().1;
    cluster.b.host.inside(|| shapes.iter().for_each(|packet| packet::send(packet, 1)));
    std::thread::sleep(Duration::from_millis(500));
    let out = cluster.a.sent().1 - before;
    // Neighbours are asked for, and the sender is told of what cannot be, at a limited rate.
    assert!(out <= 10_000, "{out} packets left for 10000 that came");
    assert!(out >= 120, "{out}: what is for others is passed on");
}
