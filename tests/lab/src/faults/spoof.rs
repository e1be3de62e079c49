//! Tunnel packets from somebody who is no node.

use crate::suite::expect_drops;
use crate::{Lab, PODS};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;
use testkit::netns;
use testkit::packet::{self, Ipv4};

/// The pod's, to which everything is sent.
pub const PORT: u16 = 7777;
pub(super) const SENT: usize = 10_000;

/// How many of the packets that `send` sends arrive at the pod of master1.
pub fn delivered(lab: &Lab, send: impl FnOnce()) -> usize {
    let (node, pod, _) = PODS[0];
    let place = lab.place(node, pod);
    let socket =
        netns::inside(&place.netns, || UdpSocket::bind((place.addr, PORT))).expect("the port is free");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket's option");
    send();
    std::iter::from_fn(|| socket.recv(&mut [0; 16]).ok()).count()
}

pub fn s16_a_tunnel_packet_from_no_node_or_with_anothers_source_is_dropped(lab: &Lab) {
    expect_drops(&["master1: nft vxlan-refused"]);
    let mac = lab.exec("master1", "ip -o link show vxlan.calico | grep -o 'ether [^ ]*' | cut -d' ' -f2");
    let mut vtep = [0; 6];
    for (byte, text) in vtep.iter_mut().zip(mac.trim().split(':')) {
        *byte = u8::from_str_radix(text, 16).expect("a MAC");
    }
    let pod = |n: usize| -> Ipv4Addr { PODS[n].2.parse().expect("an address") };
    let packet = |outer: &str, inner: Ipv4Addr| {
        let outer = outer.parse().expect("an address");
        Ipv4::udp(inner, pod(0), PORT, b"!").in_vxlan(outer, Ipv4Addr::new(192, 168, 50, 161), vtep)
    };
    let node2 = lab.netns("master2");
    let from_node2 = |inner, count| {
        let packet = packet("192.168.50.162", inner);
        delivered(lab, || netns::inside(&node2, || packet::send(&packet, count)))
    };
    assert_eq!(
        from_node2(pod(1), 100),
        100,
        "a packet of the right node with a source of its block is delivered"
    );

    let stranger = lab.stranger("192.168.50.99/24");
    stranger.run("ping -n -c1 -W2 192.168.50.161");
    let own = packet("192.168.50.99", pod(1));
    assert_eq!(delivered(lab, || stranger.inside(|| packet::send(&own, SENT))), 0, "a stranger's packets");

    assert_eq!(from_node2(pod(2), SENT), 0, "a node's packets with a source of another node's block");
    assert_eq!(from_node2(Ipv4Addr::LOCALHOST, SENT), 0, "a loopback source");
}
