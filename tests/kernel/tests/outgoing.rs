//! Pods that leave the pools by the node's address, in mode VXLAN: what derive wants, in a real kernel.

use derive::World;
use derive::example::article;
use kernel_tests::Node;
use model::Mtu;
use model::v3::FelixConfigurationSpec;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;
use testkit::netns::Netns;

const POD: Ipv4Addr = Ipv4Addr::new(6, 2, 137, 67);
/// Another node, of which the tunnels' packets come too.
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 162);
const VXLAN: u16 = 4789;
/// By two ports of the server, so that half of what there is to draw from is free at the end.
const SERVERS: [u16; 2] = [9001, 9002];
/// Those before the tunnels' port, which none may keep, and a long row of others, in which those would look for a place.
const SOURCES: std::ops::Range<u16> = 1024..1024 + 30_000;

/// A node and its pod, and another machine on the node's subnet.
fn outside(world: World) -> (Node, Netns) {
    let node = Node::new(world, "a", POD, Mtu(1450));
    let other = Netns::new();
    other.run(&format!(
        "ip link add ens192 type veth peer name ens192 netns {} && ip link set ens192 up && ip addr add {OTHER}/24 dev ens192",
        node.host.path().display()
    ));
    node.host.run("ip addr add 192.168.50.161/24 dev ens192 && ip link set ens192 up");
    node.make(&node.world);
    (node, other)
}

#[test]
fn who_leaves_the_pools_has_the_address_and_the_ports_that_are_configured() {
    const ADDR: &str = "192.0.2.7";
    let mut world = article("master1");
    world.felix.nat_outgoing_address = ADDR.parse().ok();
    world.felix.nat_port_range = "4700:4810".parse().ok();
    world.felix.nat_outgoing_interface_filter = "ens+".parse().ok();
    let (node, other) = outside(world);
    node.host.run(&format!("ip addr add {ADDR}/32 dev lo"));
    other.run(&format!("ip route add {ADDR} via 192.168.50.161"));
    let (tcp, udp) = other.inside(|| {
        (TcpListener::bind((OTHER, 9003)).expect("free"), UdpSocket::bind((OTHER, 9003)).expect("free"))
    });
    for _ in 0..20 {
        let (from_tcp, from_udp) = node.pod.inside(|| {
            let socket = TcpStream::connect((OTHER, 9003)).expect("it is answered");
            let (_, from_tcp) = tcp.accept().expect("it called");
            let asking = UdpSocket::bind((POD, 0)).expect("a free port");
            asking.send_to(b"question", (OTHER, 9003)).expect("there is a way");
            let (_, from_udp) = udp.recv_from(&mut [0; 16]).expect("it asked");
            drop(socket);
            (from_tcp, from_udp)
        });
        assert_eq!((from_tcp.ip().to_string(), from_udp.ip().to_string()), (ADDR.into(), ADDR.into()));
        assert!((4700..=4810).contains(&from_tcp.port()), "{from_tcp}");
        assert!((4700..=4788).contains(&from_udp.port()), "{from_udp}: beside the tunnels' port");
    }
    node.pod.run(&format!("ping -n -c 1 -W 2 {OTHER}"));
    let others = World { felix: FelixConfigurationSpec::default(), ..node.world.clone() };
    let elsewhere = FelixConfigurationSpec {
        nat_outgoing_interface_filter: "eth+".parse().ok(),
        ..FelixConfigurationSpec::default()
    };
    for (felix, is_answered) in [(elsewhere, false), (FelixConfigurationSpec::default(), true)] {
        node.make(&World { felix, ..others.clone() });
        let ping = node.pod.try_run(&format!("ping -n -c 1 -W 1 {OTHER}"));
        assert_eq!(ping.status.success(), is_answered, "by another interface it keeps its source");
    }
}

#[test]
fn s20_sixty_thousand_flows_out_of_the_pools_are_answered_and_none_uses_the_tunnels_port() {
    let (node, other) = outside(article("master1"));
    let servers =
        SERVERS.map(|port| other.inside(|| UdpSocket::bind((OTHER, port))).expect("the port is free"));
    let seen = std::thread::scope(|scope| {
        let answering = servers.each_ref().map(|server| scope.spawn(move || answer(server)));
        let lost: Vec<SocketAddr> = node.pod.inside(|| SERVERS.into_iter().flat_map(lost).collect());
        assert_eq!(lost, [], "whose answers did not come");
        answering.map(|thread| thread.join().expect("it answers"))
    });
    for seen in seen {
        assert_eq!(seen.len(), SOURCES.len(), "each flow has a port of its own");
        assert!(!seen.contains(&VXLAN));
    }
}

/// The flows to a port of the server that had no answer, by their ends in the pod.
fn lost(port: u16) -> Vec<SocketAddr> {
    // Those that may keep theirs come first.
    let flows = SOURCES.rev().filter_map(|source| {
        let socket = UdpSocket::bind((POD, source)).expect("the port is free");
        socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a socket's option");
        socket.send_to(b"question", (OTHER, port)).expect("there is a way");
        socket.recv(&mut [0; 16]).is_err().then(|| socket.local_addr().expect("it is bound"))
    });
    flows.collect()
}

/// Answers until nobody has asked for a while; by what ports the questions came.
fn answer(server: &UdpSocket) -> BTreeSet<u16> {
    server.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket's option");
    let questions = std::iter::from_fn(|| {
        let (_, from) = server.recv_from(&mut [0; 16]).ok()?;
        let _ = server.send_to(b"answer", from);
        Some(from.port())
    });
    questions.take(SOURCES.len()).collect()
}
