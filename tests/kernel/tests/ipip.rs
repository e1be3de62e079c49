//! IP in IP between two nodes whose kernels hold exactly what `derive` wants: by the kernel's module where there is one, and
//! by the stand-in, each way round. Packets are made and seen by programs that are not ours.
//!
//! ```text
//!  pod 6.2.137.67 ─ cali… node 192.168.50.161 ens192 ═╦═ ens192 192.168.50.162 node cali… ─ pod 6.2.180.2
//!                                                     ╚═ stranger 192.168.50.99
//! ```

use derive::IpipDriver;
use derive::example::{article, ipip_mode};
use kernel::filter::Impostor;
use kernel::{Direction, FilterKey, Key, Netns, PodNs};
use kernel_tests::{Cluster, NODE1, NODE2, Node, POD1, POD2, POD3, PORT, STRANGER, differences, dump, inner};
use model::v3::EncapMode;
use model::{IfName, Mtu};
use netlink::Writer;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;
use testkit::packet::{self, Ipv4};
use testkit::sim::Rng;

/// A node of the article with this driver of IP in IP.
fn node(name: &str, pod_addr: Ipv4Addr, driver: IpipDriver) -> Node {
    let world = ipip_mode(article(name), EncapMode::Always, driver);
    let node = Node::new(world, name, pod_addr, Mtu(1480));
    if driver == IpipDriver::StandIn {
        // The module, where it is loaded, has put a tunl0 of its own where the stand-in's goes.
        node.host.try_run("ip link set tunl0 name modules-own");
    }
    node
}

/// Every pair of what this kernel can do.
fn pairs() -> Vec<(IpipDriver, IpipDriver)> {
    let module = netlink::probe::has_ipip().expect("tests run as root");
    let stand_in = netlink::probe::takes_stand_in().expect("tests run as root");
    assert_eq!(stand_in, Ok(()), "every kernel that the tests run on takes the stand-in");
    use IpipDriver::{Kernel, StandIn};
    match module {
        true => vec![(Kernel, Kernel), (Kernel, StandIn), (StandIn, Kernel), (StandIn, StandIn)],
        false => vec![(StandIn, StandIn)],
    }
}

fn each_pair(case: impl Fn(&Cluster)) {
    for (a, b) in pairs() {
        println!("master1 {a:?}, master2 {b:?}");
        case(&Cluster::new(node("master1", POD1, a), node("master2", POD2, b)));
    }
}

#[test]
fn pods_ping_through_the_tunnel_and_the_wire_shows_ip_in_ip() {
    each_pair(|cluster| {
        let file = std::env::temp_dir().join(format!("tortie-ipip-{}.pcap", std::process::id()));
        let line = format!("timeout 5 tcpdump -Uni ens192 -Z root -c 4 -w {} proto 4", file.display());
        let mut capture = cluster.a.host.command("sh").args(["-c", &line]).spawn().expect("sh is there");
        while !std::fs::metadata(&file).is_ok_and(|file| file.len() >= 24) {
            std::thread::sleep(Duration::from_millis(10));
        }
        cluster.b.pod.run(&format!("ping -n -c2 -i0.2 -W2 {POD1}"));
        capture.wait().expect("it is our child");
        let fields =
            "-T fields -e frame.protocols -e ip.proto -e ip.src -e ip.dst -e ip.ttl -e ip.checksum.status";
        let read = format!("tshark -o ip.check_checksum:TRUE -r {} {fields} 2>/dev/null", file.display());
        let text = cluster.a.host.run(&read);
        std::fs::remove_file(&file).expect("tcpdump wrote it");
        let there = "eth:ethertype:ip:ip:icmp:data\t4,1\t192.168.50.162,6.2.180.2\t192.168.50.161,6.2.137.67\t63,63\t1,1";
        let back = "eth:ethertype:ip:ip:icmp:data\t4,1\t192.168.50.161,6.2.137.67\t192.168.50.162,6.2.180.2\t63,63\t1,1";
        assert_eq!(text.lines().collect::<Vec<_>>(), [there, back, there, back]);
    });
}

#[test]
fn tcp_with_large_segments_goes_through_whole_both_ways() {
    each_pair(|cluster| {
        let _server = cluster.a.pod.spawn("iperf3 -s");
        while !cluster.a.pod.run("ss -Hltn sport = 5201").contains("5201") {
            std::thread::sleep(Duration::from_millis(10));
        }
        for (direction, sender) in [("", &cluster.b), ("-R", &cluster.a)] {
            let before = sender.sent();
            cluster.b.pod.run(&format!("iperf3 -n 20M -c {POD1} {direction}"));
            let after = sender.sent();
            let mean = (after.0 - before.0) / (after.1 - before.1);
            println!("{mean} bytes in each packet that left {}", sender.world.node);
            assert!(mean > 3000, "packets are cut before they leave the node: {mean} bytes each");
        }
    });
}

#[test]
fn a_packet_of_full_size_fits_and_a_larger_one_is_told_so() {
    each_pair(|cluster| {
        cluster.b.pod.run(&format!("ping -n -c1 -W2 -M do -s 1452 {POD1}"));
        let large = cluster.b.pod.try_run(&format!("ping -n -c1 -W2 -M do -s 1453 {POD1}"));
        assert!(!large.status.success());
        cluster.b.pod.run(&format!("ping -n -c1 -W2 -s 3000 {POD1}"));
    });
}

#[test]
fn nodes_reach_pods_by_their_tunnel_addresses() {
    each_pair(|cluster| {
        cluster.b.host.run(&format!("ping -n -c1 -W2 {POD1}"));
        cluster.b.pod.run("ping -n -c1 -W2 6.2.137.65");
        cluster.b.host.run(&format!("ping -n -c1 -W2 -I 192.168.50.162 {POD1}"));
    });
}

#[test]
fn s16_ip_in_ip_from_who_is_no_node_is_never_delivered() {
    each_pair(|cluster| {
        assert_eq!(
            cluster.delivered(&cluster.b.host, &inner().inside(NODE2, NODE1), 100),
            100,
            "the honest one"
        );
        let before = cluster.a.counted("ipip-refused");
        let refused = |packet: &Ipv4, what: &str| {
            assert_eq!(cluster.delivered(&cluster.stranger, packet, 10_000), 0, "{what}");
        };
        refused(&inner().inside(STRANGER, NODE1), "a stranger's packet");
        assert!(cluster.a.counted("ipip-refused") >= before + 10_000, "each is counted");
        let loopback = Ipv4::udp(Ipv4Addr::LOCALHOST, POD1, PORT, b"!");
        refused(&loopback.inside(STRANGER, NODE1), "a loopback source");
        refused(&inner().inside(STRANGER, Ipv4Addr::new(6, 2, 137, 65)), "to the tunnel's address");
        // To the node itself, its own services: nothing comes out of the tunnel.
        let socket = cluster.a.host.inside(|| UdpSocket::bind(("0.0.0.0", PORT))).expect("the port is free");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket's option");
        for dst in [NODE1, Ipv4Addr::LOCALHOST, Ipv4Addr::new(224, 0, 0, 1), Ipv4Addr::new(6, 2, 137, 65)] {
            let packet = Ipv4::udp(STRANGER, dst, PORT, b"!").inside(STRANGER, NODE1);
            cluster.stranger.inside(|| packet::send(&packet, 100));
        }
        assert!(socket.recv(&mut [0; 64]).is_err(), "a packet for the node itself came out of the tunnel");
    });
}

#[test]
fn s17_a_node_may_not_send_in_anothers_name() {
    each_pair(|cluster| {
        let before = cluster.a.counted("ipip-refused");
        for (src, what) in [
            (POD3, "a source of another node's block"),
            (POD1, "a source of the receiver's own block"),
            (Ipv4Addr::new(192, 168, 50, 163), "another node's own address"),
            (Ipv4Addr::new(8, 8, 8, 8), "a source that no node has"),
        ] {
            let packet = Ipv4::udp(src, POD1, PORT, b"!").inside(NODE2, NODE1);
            assert_eq!(cluster.delivered(&cluster.b.host, &packet, 10_000), 0, "{what}");
        }
        assert!(cluster.a.counted("ipip-refused") >= before + 40_000, "each is counted");
        let impostor = |holder| Impostor { sender: NODE2, holder };
        let counted = impostors(cluster);
        assert_eq!(counted.keys().collect::<Vec<_>>(), [&impostor(None), &impostor(Some(NODE3))]);
        assert!(counted.values().all(|packets| *packets >= 20_000), "by whose name it was: {counted:?}");
    });
}

const NODE3: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 163);

/// Who sent to master1 in another's name.
fn impostors(cluster: &Cluster) -> BTreeMap<Impostor, u64> {
    let (device, direction) = (IfName::fixed("ens192"), Direction::Ingress);
    let filter = FilterKey { netns: Netns::Host, device, direction };
    let read = || Writer::open().expect("a netlink socket").impostors(&filter);
    cluster.a.host.inside(read).expect("there is a filter")
}

#[test]
fn s17_however_many_send_in_anothers_name_few_are_remembered_and_nobody_else_notices() {
    each_pair(|cluster| {
        let senders = (0..20_000).map(|n| Ipv4Addr::from(0x0a00_0000 + n));
        let packets = senders.map(|sender| Ipv4::udp(POD3, POD1, PORT, b"!").inside(sender, NODE1));
        cluster.stranger.inside(|| packet::send_each(packets));
        let counted = impostors(cluster);
        assert!((1..=256).contains(&counted.len()), "{} are remembered", counted.len());
        assert!(counted.keys().all(|one| one.holder == Some(NODE3)), "{counted:?}");
        assert_eq!(cluster.delivered(&cluster.b.host, &inner().inside(NODE2, NODE1), 100), 100);
        assert_eq!(impostors(cluster), counted, "who is honest is not counted");
    });
}

#[test]
fn s10_fragments_and_options_of_the_outer_packet_are_dropped_whole() {
    each_pair(|cluster| {
        let whole = inner().inside(NODE2, NODE1);
        let options = Ipv4 { options: vec![1; 4], ..whole.clone() };
        assert_eq!(cluster.delivered(&cluster.b.host, &options, 1000), 0, "outer options");
        let more = Ipv4 { fragment: 0x2000, payload: whole.payload[..24].to_vec(), ..whole.clone() };
        let last = Ipv4 { fragment: 3, payload: whole.payload[24..].to_vec(), ..whole };
        let socket = cluster.a.pod.inside(|| UdpSocket::bind((POD1, PORT))).expect("the port is free");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket's option");
        cluster.b.host.inside(|| {
            for _ in 0..500 {
                packet::send(&more, 1);
                packet::send(&last, 1);
            }
        });
        assert!(socket.recv(&mut [0; 64]).is_err(), "a packet in fragments was delivered");
        assert!(cluster.a.counted("ipip-refused") > 0, "what was put together again is counted");
    });
}

#[test]
fn s05_a_pods_own_tunnel_packets_do_not_leave_it() {
    each_pair(|cluster| {
        let forged = Ipv4::udp(POD3, POD1, PORT, b"!");
        // To another host: a pod's packet under the node's address would be taken for one of the same flow, and dropped.
        let own = [forged.inside(NODE2, STRANGER), forged.in_gre(NODE2, STRANGER)];
        cluster.b.host.inside(|| own.iter().for_each(|packet| packet::send(packet, 100)));
        assert_eq!(cluster.tunnelled(), 200, "the node's own are seen on the wire");
        for dst in [NODE1, NODE2] {
            for packet in [forged.inside(POD2, dst), forged.in_gre(POD2, dst)] {
                let what = format!("protocol {} to {dst}", packet.protocol);
                assert_eq!(cluster.delivered(&cluster.b.pod, &packet, 1000), 0, "{what}");
                assert_eq!(cluster.tunnelled(), 200, "{what} is on the wire");
            }
        }
        assert!(cluster.b.counted("pod-ipip") >= 2000 && cluster.b.counted("pod-gre") >= 2000);
    });
}

#[test]
fn s18_nothing_comes_out_of_the_tunnel_once_no_pool_wants_it() {
    each_pair(|cluster| {
        let Cluster { a, b, .. } = cluster;
        let driver = a.world.ipip.expect("it has one");
        a.make(&ipip_mode(a.world.clone(), EncapMode::Never, driver));
        assert_eq!(cluster.delivered(&b.host, &inner().inside(NODE2, NODE1), 1000), 0);
        assert!(!a.host.run("tc filter show dev ens192 ingress").contains("tortie"));
        assert!(!a.host.run("ip -o addr show").contains("tunl0"));
    });
}

#[test]
fn s19_one_packet_in_is_one_packet_out_at_most_and_a_tunnel_inside_the_tunnel_stays_shut() {
    each_pair(|cluster| {
        let nested = inner().inside(NODE2, NODE1).inside(NODE2, NODE1);
        assert_eq!(cluster.delivered(&cluster.b.host, &nested, 1000), 0, "a tunnel inside the tunnel");
        // Master1 would send it back to where it came from, which has no such pod and drops it.
        let back = Ipv4::udp(POD2, Ipv4Addr::new(6, 2, 180, 9), PORT, b"!").inside(NODE2, NODE1);
        let before = cluster.a.sent().1;
        cluster.b.host.inside(|| packet::send(&back, 1000));
        std::thread::sleep(Duration::from_millis(300));
        let out = cluster.a.sent().1 - before;
        // Neighbours are asked for, and the sender may be told of a shorter way, at a limited rate.
        assert!(out <= 1000 + 20, "{out} packets left for 1000 that came");
    });
}

/// Packets of every shape that a sender can think of: fields, options, fragments, lengths that lie, tunnels in tunnels.
fn shape(rng: &mut Rng) -> Ipv4 {
    let places = [POD1, POD2, POD3, NODE1, NODE2, Ipv4Addr::new(6, 2, 180, 9), Ipv4Addr::new(224, 0, 0, 1)];
    let length = rng.below(64) as usize;
    let payload = (0..length).map(|_| rng.below(256) as u8).collect();
    let mut packet = match rng.below(3) {
        0 => Ipv4::udp(*rng.pick(&places), *rng.pick(&places), PORT, b"!"),
        _ => Ipv4::new(*rng.pick(&places), *rng.pick(&places), rng.below(256) as u8, payload),
    };
    for _ in 0..rng.between(1, 4) {
        if rng.per_mille(200) {
            packet.options = vec![1; 4 * rng.between(1, 10) as usize];
        }
        if rng.per_mille(200) {
            packet.fragment = rng.below(1 << 16) as u16;
        }
        packet = packet.inside(*rng.pick(&places), *rng.pick(&places));
    }
    Ipv4 { dst: NODE1, ..packet }
}

#[test]
fn s19_no_shape_of_packet_is_multiplied() {
    let shapes = u64::from(testkit::length(500, 10_000));
    each_pair(|cluster| {
        let mut rng = Rng::stream(19, "shapes");
        let before = cluster.a.sent().1;
        cluster.b.host.inside(|| {
            for n in 0..shapes {
                packet::send(&shape(&mut rng), 1);
                if n % 100 == 99 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        std::thread::sleep(Duration::from_millis(300));
        let out = cluster.a.sent().1 - before;
        assert!(out <= shapes + 20, "{out} packets left for {shapes} that came");
        assert_eq!(cluster.delivered(&cluster.b.host, &inner().inside(NODE2, NODE1), 100), 100, "it goes on");
    });
}

#[test]
fn a_filter_of_somebody_else_in_our_place_is_left_alone_and_said() {
    each_pair(|cluster| {
        let place = "dev ens192 ingress protocol ip prio 64 handle 1 bpf";
        cluster.a.host.run(&format!(
            "tc filter del {place} && tc filter add {place} bytecode '1,6 0 0 4294967295' classid 1:1"
        ));
        let wanted = derive::derive(&cluster.a.world);
        cluster.a.host.inside(|| {
            let mut writer = Writer::open().expect("a netlink socket");
            let pod = netlink::Netns::open(cluster.a.pod.path()).expect("the pod's namespace");
            writer.open_pod(PodNs(1), pod).expect("a socket in it");
            match &differences(&wanted, &dump(&mut writer, &wanted))[..] {
                [kernel::Change::Conflict { key: Key::Filter(key), .. }] => {
                    assert_eq!(key.device.as_str(), "ens192")
                }
                other => panic!("{other:?}"),
            }
        });
        cluster.stranger.run("ping -n -c1 -W2 192.168.50.161");
        let delivered = cluster.delivered(&cluster.b.host, &inner().inside(NODE2, NODE1), 100);
        assert_eq!(delivered, 0, "what nobody judges is not let in");
    });
}

/// Where the module makes no device of its own in a new namespace (`net.core.fb_tunnels_only_for_init_net`).
#[test]
fn the_stand_in_gives_the_name_back_to_the_module() {
    each_pair(|cluster| {
        let a = &cluster.a;
        let taken = a.host.run("ip -o link show").contains("modules-own");
        if a.world.ipip != Some(IpipDriver::StandIn) || !netlink::probe::has_ipip().expect("root") || taken {
            return;
        }
        a.make(&ipip_mode(a.world.clone(), EncapMode::Always, IpipDriver::Kernel));
        assert!(a.host.run("ip -d link show tunl0").contains("ipip"));
        cluster.b.pod.run(&format!("ping -n -c1 -W2 {POD1}"));
    });
}

#[test]
fn what_a_node_accepts_changes_in_place() {
    each_pair(|cluster| {
        let id = || cluster.a.host.run("tc filter show dev ens192 ingress | grep -o ' id [0-9]*'");
        let before = id();
        let mut world = cluster.a.world.clone();
        world.blocks.insert("6.2.180.64/26".parse().expect("a CIDR"), "master2".into());
        cluster.a.make(&world);
        assert_eq!(id(), before, "the program is the same");
        let packet = Ipv4::udp(Ipv4Addr::new(6, 2, 180, 70), POD1, PORT, b"!").inside(NODE2, NODE1);
        assert_eq!(cluster.delivered(&cluster.b.host, &packet, 100), 100);
    });
}
