//! Tunnel packets from somebody who is no node.

use crate::suite::expect_drops;
use crate::{Lab, PODS};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;
use testkit::netns;

/// The pod's, to which everything is sent.
pub const PORT: u16 = 7777;
const SENT: usize = 10_000;

/// A VXLAN packet's payload (RFC 7348 §5): header, then Ethernet, IPv4 and UDP to the pod of master1.
fn vxlan(vtep: [u8; 6], source: Ipv4Addr, pod: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0x08, 0, 0, 0, 0, 0x10, 0, 0];
    packet.extend(vtep);
    packet.extend([0x66, 1, 2, 3, 4, 5, 0x08, 0x00]);
    let mut ip = vec![0x45, 0, 0, 29, 0, 0, 0x40, 0, 64, 17, 0, 0];
    ip.extend(source.octets());
    ip.extend(pod.octets());
    let checksum = checksum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(ip);
    packet.extend(PORT.to_be_bytes());
    packet.extend(PORT.to_be_bytes());
    packet.extend([0, 9, 0, 0, b'!']);
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

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

fn send(packet: &[u8], count: usize) {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a port is free");
    for n in 0..count {
        let _ = socket.send_to(packet, "192.168.50.161:4789");
        if n % 100 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

pub fn s16_a_tunnel_packet_from_no_node_or_with_anothers_source_is_dropped(lab: &Lab) {
    expect_drops(&["nft vxlan-refused"]);
    let mac = lab.exec("master1", "ip -o link show vxlan.calico | grep -o 'ether [^ ]*' | cut -d' ' -f2");
    let mut vtep = [0; 6];
    for (byte, text) in vtep.iter_mut().zip(mac.trim().split(':')) {
        *byte = u8::from_str_radix(text, 16).expect("a MAC");
    }
    let pod: Ipv4Addr = PODS[0].2.parse().expect("an address");
    let honest: Ipv4Addr = PODS[1].2.parse().expect("an address");

    let node2 = lab.netns("master2");
    let good = vxlan(vtep, honest, pod);
    let arrived = delivered(lab, || netns::inside(&node2, || send(&good, 100)));
    assert_eq!(arrived, 100, "a packet of the right node with a source of its block is delivered");

    let stranger = lab.stranger("192.168.50.99/24");
    stranger.run("ping -n -c1 -W2 192.168.50.161");
    assert_eq!(delivered(lab, || stranger.inside(|| send(&good, SENT))), 0, "a stranger's packets");

    let block_of_another = vxlan(vtep, PODS[2].2.parse().expect("an address"), pod);
    let arrived = delivered(lab, || netns::inside(&node2, || send(&block_of_another, SENT)));
    assert_eq!(arrived, 0, "a node's packets with a source of another node's block");
    let own = vxlan(vtep, Ipv4Addr::LOCALHOST, pod);
    assert_eq!(delivered(lab, || netns::inside(&node2, || send(&own, SENT))), 0, "a loopback source");
}
