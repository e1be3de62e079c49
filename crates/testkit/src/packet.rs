//! Packets that no honest stack would send: made byte by byte, and sent as they are.

use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto};
use std::net::{Ipv4Addr, SocketAddrV4};

/// An IPv4 packet (RFC 791 §3.1) under construction.
#[derive(Clone, Debug)]
pub struct Ipv4 {
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
    pub protocol: u8,
    pub ttl: u8,
    /// In units of four bytes when it is written; no-operation is 1.
    pub options: Vec<u8>,
    /// Flags and fragment offset.
    pub fragment: u16,
    pub payload: Vec<u8>,
}

impl Ipv4 {
    pub fn new(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: Vec<u8>) -> Ipv4 {
        Ipv4 { src, dst, protocol, ttl: 64, options: Vec::new(), fragment: 0, payload }
    }

    /// A UDP packet without a checksum.
    pub fn udp(src: Ipv4Addr, dst: Ipv4Addr, port: u16, text: &[u8]) -> Ipv4 {
        let length = u16::try_from(8 + text.len()).expect("a short text");
        let mut payload = Vec::new();
        for field in [port, port, length, 0] {
            payload.extend(field.to_be_bytes());
        }
        payload.extend(text);
        Ipv4::new(src, dst, 17, payload)
    }

    /// The same inside another packet (RFC 2003).
    pub fn inside(&self, src: Ipv4Addr, dst: Ipv4Addr) -> Ipv4 {
        Ipv4::new(src, dst, 4, self.bytes())
    }

    /// The same inside GRE (RFC 2784).
    pub fn in_gre(&self, src: Ipv4Addr, dst: Ipv4Addr) -> Ipv4 {
        Ipv4::new(src, dst, 47, [&[0, 0, 0x08, 0x00][..], &self.bytes()].concat())
    }

    /// The same inside a VXLAN packet (RFC 7348 §5) of network 4096, for the end of the tunnel that has this MAC.
    pub fn in_vxlan(&self, src: Ipv4Addr, dst: Ipv4Addr, vtep: [u8; 6]) -> Ipv4 {
        let mut payload = vec![0x08, 0, 0, 0, 0, 0x10, 0, 0];
        payload.extend(vtep);
        payload.extend([0x66, 1, 2, 3, 4, 5, 0x08, 0x00]);
        payload.extend(self.bytes());
        Ipv4::udp(src, dst, 4789, &payload)
    }

    /// With its checksum.
    ///
    /// # Panics
    /// If it is longer than a packet can be.
    pub fn bytes(&self) -> Vec<u8> {
        let header = 20 + self.options.len();
        let total = u16::try_from(header + self.payload.len()).expect("a short packet");
        let words = u8::try_from(header / 4).expect("a short header");
        let mut bytes = vec![0x40 | words, 0];
        bytes.extend(total.to_be_bytes());
        bytes.extend([0x12, 0x34]);
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.ttl, self.protocol, 0, 0]);
        bytes.extend(self.src.octets());
        bytes.extend(self.dst.octets());
        bytes.extend(&self.options);
        let checksum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// RFC 1071.
pub fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

/// Sends the packet, header and all, `count` times from the calling thread's namespace, with a pause now and then so that
/// no queue on the way overflows.
///
/// # Panics
/// If a raw socket is refused: tests run as root.
pub fn send(packet: &Ipv4, count: usize) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))
        .expect("tests run as root");
    let to = SocketAddrV4::new(packet.dst, 0);
    let bytes = packet.bytes();
    for n in 0..count {
        // Where there is no way, nothing arrives: that is what the tests look at.
        let _ = rustix::net::sendto(&socket, &bytes, SendFlags::empty(), &to);
        if n % 100 == 99 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}
