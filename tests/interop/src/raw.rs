//! A peer that says what it is told to say, octet by octet.

use crate::{Host, until};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Message types (RFC 4271 §4.1).
pub const OPEN: u8 = 1;
pub const UPDATE: u8 = 2;
pub const NOTIFICATION: u8 = 3;
pub const KEEPALIVE: u8 = 4;
/// RFC 2918.
pub const ROUTE_REFRESH: u8 = 5;

/// One end of a connection to port 179.
#[derive(Debug)]
pub struct Raw {
    pub stream: TcpStream,
}

/// What an OPEN says.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    pub version: u8,
    pub asn: u16,
    pub hold: u16,
    pub router_id: Ipv4Addr,
}

impl Open {
    pub fn new(asn: u16, router_id: Ipv4Addr) -> Open {
        Open { version: 4, asn, hold: 90, router_id }
    }

    /// With multiprotocol IPv4, route refresh and four-octet AS numbers.
    pub fn bytes(self) -> Vec<u8> {
        let mut body = vec![self.version];
        body.extend(self.asn.to_be_bytes());
        body.extend(self.hold.to_be_bytes());
        body.extend(self.router_id.octets());
        let [high, low] = self.asn.to_be_bytes();
        let capabilities = [1, 4, 0, 1, 0, 1, 2, 0, 65, 4, 0, 0, high, low];
        body.extend([16, 2, 14]);
        body.extend(capabilities);
        message(OPEN, &body)
    }
}

/// A message with a good header.
///
/// # Panics
/// If it is longer than a header can say.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).expect("a short message");
    let mut bytes = vec![0xff; 16];
    bytes.extend(length.to_be_bytes());
    bytes.push(kind);
    bytes.extend(body);
    bytes
}

/// An UPDATE with these attributes, octet by octet, for prefixes `(address, length)`.
///
/// # Panics
/// If it is longer than a message.
pub fn update(attributes: &[u8], prefixes: &[(Ipv4Addr, u8)]) -> Vec<u8> {
    let mut body = vec![0, 0];
    body.extend(u16::try_from(attributes.len()).expect("short attributes").to_be_bytes());
    body.extend(attributes);
    for (addr, length) in prefixes {
        body.push(*length);
        body.extend(&addr.octets()[..usize::from(length.div_ceil(8))]);
    }
    message(UPDATE, &body)
}

/// ORIGIN, AS_PATH with one system, NEXT_HOP.
pub fn attributes(asn: u16, nexthop: Ipv4Addr) -> Vec<u8> {
    let [high, low] = asn.to_be_bytes();
    let mut bytes = vec![0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, high, low, 0x40, 3, 4];
    bytes.extend(nexthop.octets());
    bytes
}

impl Raw {
    /// Connects from a host to port 179 of an address.
    ///
    /// # Panics
    /// If that is refused for long.
    pub fn dial(host: &Host, to: Ipv4Addr) -> Raw {
        host.netns.inside(|| Raw::connect(to))
    }

    /// Connects from a host and exchanges OPENs and KEEPALIVEs until a session is up.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn establish(host: &Host, to: Ipv4Addr, open: Open) -> Raw {
        host.netns.inside(|| Raw::meet(to, open))
    }

    /// Connects, in the namespace of the calling thread.
    fn connect(to: Ipv4Addr) -> Raw {
        let to = SocketAddr::new(to.into(), 179);
        let stream = until("a connection", || TcpStream::connect(to).ok());
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        Raw { stream }
    }

    /// As `establish`, in the namespace of the calling thread.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn meet(to: Ipv4Addr, open: Open) -> Raw {
        until("a raw session", || {
            let mut raw = Raw::connect(to);
            raw.send(&open.bytes());
            let (kind, _) = raw.read()?;
            if kind != OPEN {
                return None;
            }
            raw.send(&message(KEEPALIVE, &[]));
            (raw.read()?.0 == KEEPALIVE).then_some(raw)
        })
    }

    /// Sends bytes. A peer that has closed the connection is no failure: the test will read what it said.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next message: its type and body; none when the connection is closed.
    ///
    /// # Panics
    /// If nothing comes for long.
    pub fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; 19];
        self.fill(&mut header)?;
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        let mut body = vec![0; length.checked_sub(19).expect("our messages have headers")];
        self.fill(&mut body)?;
        Some((header[18], body))
    }

    /// The next message of a type; none when the connection is closed without one.
    pub fn read_until(&mut self, kind: u8) -> Option<Vec<u8>> {
        loop {
            let (found, body) = self.read()?;
            if found == kind {
                return Some(body);
            }
        }
    }

    /// Code and subcode of the NOTIFICATION that ends the session; none if it ends without.
    pub fn notification(&mut self) -> Option<(u8, u8)> {
        self.read_until(NOTIFICATION).map(|body| (body[0], body[1]))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(buffer) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                None
            }
            Err(error) => panic!("nothing comes: {error}"),
        }
    }
}
