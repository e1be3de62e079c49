//! "Which of these addresses do processes use?", by the kernel's list of sockets (`linux/sock_diag.h`, `linux/inet_diag.h`).

use crate::message::Message;
use crate::socket::{Protocol, Refusal, Socket};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// Length of `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
/// `idiag_src` of `struct inet_diag_msg`.
const SOURCE: usize = 8;
/// Bits of `TCP_TIME_WAIT` and `TCP_CLOSE`: nobody holds these any more.
const OVER: u32 = 1 << 6 | 1 << 7;

/// Those of `addrs` that are the own address of a TCP connection, a TCP listener or a UDP socket in the calling thread's
/// namespace. A socket that is open to every address uses none.
///
/// # Errors
/// The kernel does not tell (`ENOENT`: it was built without this list).
pub fn using(addrs: &BTreeSet<IpAddr>) -> Result<BTreeSet<IpAddr>, Refusal> {
    let mut socket = Socket::open(Protocol::Sockets)?;
    let mut used = BTreeSet::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (protocol, states) in [(libc::IPPROTO_TCP, !OVER), (libc::IPPROTO_UDP, u32::MAX)] {
            let found = socket.dump(request(family, protocol, states), BTreeSet::new, |found, message| {
                found.extend(source(message.body).filter(|addr| addrs.contains(addr)));
            })?;
            used.extend(found);
        }
    }
    Ok(used)
}

fn request(family: i32, protocol: i32, states: u32) -> Message {
    let mut fixed = [0; REQUEST];
    (fixed[0], fixed[1]) = (family as u8, protocol as u8);
    fixed[4..8].copy_from_slice(&states.to_ne_bytes());
    Message::new(BY_FAMILY, libc::NLM_F_DUMP as u16, &fixed)
}

/// A socket's own address; of an IPv6 socket that speaks IPv4, that one.
fn source(body: &[u8]) -> Option<IpAddr> {
    let bytes: [u8; 16] = body.get(SOURCE..SOURCE + 16)?.try_into().ok()?;
    match i32::from(*body.first()?) {
        libc::AF_INET => Some(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(bytes).to_canonical()),
        _ => None,
    }
}
