//! Packets that no honest stack would send: made byte by byte, and sent as they are; and what is heard of them.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType, eth, ipproto, sockopt};
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
    let sender = Sender::open();
    let bytes = packet.bytes();
    (0..count).for_each(|n| sender.send(n, packet.dst, &bytes));
}

/// Sends each packet once, by one socket, as [`send`] does: the kernel takes its time to close one.
///
/// # Panics
/// If a raw socket is refused: tests run as root.
pub fn send_each(packets: impl Iterator<Item = Ipv4>) {
    let sender = Sender::open();
    packets.enumerate().for_each(|(n, packet)| sender.send(n, packet.dst, &packet.bytes()));
}

struct Sender(OwnedFd);

impl Sender {
    fn open() -> Sender {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW));
        Sender(socket.expect("tests run as root"))
    }

    /// The `n`th packet.
    fn send(&self, n: usize, dst: Ipv4Addr, bytes: &[u8]) {
        // Where there is no way, nothing arrives: that is what the tests look at.
        let _ = rustix::net::sendto(&self.0, bytes, SendFlags::empty(), &SocketAddrV4::new(dst, 0));
        if n % 100 == 99 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

/// Hears packets in the namespace of the thread that opens it.
#[derive(Debug)]
pub struct Ear(OwnedFd);

impl Ear {
    /// Every frame of every interface, in and out, with what is before its IP header (packet(7)).
    ///
    /// # Panics
    /// If it is refused: tests run as root.
    pub fn of_frames() -> Ear {
        Ear::open(AddressFamily::PACKET, eth::ALL)
    }

    /// ICMP packets that are for the namespace itself, with their IPv4 header (raw(7)).
    ///
    /// # Panics
    /// If it is refused: tests run as root.
    pub fn of_icmp() -> Ear {
        Ear::open(AddressFamily::INET, ipproto::ICMP)
    }

    fn open(family: AddressFamily, protocol: Protocol) -> Ear {
        let socket = rustix::net::socket(family, SocketType::RAW, Some(protocol)).expect("tests run as root");
        sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20).expect("tests run as root");
        Ear(socket)
    }

    /// What came since it was asked last.
    ///
    /// # Panics
    /// If the socket fails.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut buffer = [0; 1 << 16];
        loop {
            match rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => all.push(buffer[..length].to_vec()),
                Err(Errno::AGAIN) => return all,
                Err(error) => panic!("a raw socket: {error}"),
            }
        }
    }
}
