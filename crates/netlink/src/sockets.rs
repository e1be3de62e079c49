//! "Which of these addresses do processes use?", by the kernel's list of sockets (`linux/sock_diag.h`, `linux/inet_diag.h`);
//! and an end to what this process says from an address that is gone.

use crate::message::Message;
use crate::socket::{Protocol, Refusal, Socket};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// Length of `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
/// `SOCK_DESTROY`.
const DESTROY: u16 = 21;
/// `id`, which names a socket, of `struct inet_diag_msg`; its length; where it stands in `struct inet_diag_req_v2`.
const ID: usize = 4;
const ID_LENGTH: usize = 48;
const ID_REQUESTED: usize = 8;
/// `idiag_src` and `idiag_inode` of `struct inet_diag_msg`.
const SOURCE: usize = 8;
const INODE: usize = 68;
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

/// Ends this process's TCP connections from an address, in the calling thread's namespace: each hears an error at once.
/// Once the address is nobody's, no answer would reach them, and it takes the kernel a quarter of an hour to say so.
///
/// # Errors
/// The kernel does not do that (`EOPNOTSUPP`: it was built without).
pub fn end(from: IpAddr) -> Result<(), Refusal> {
    let own = own_sockets()?;
    let mut socket = Socket::open(Protocol::Sockets)?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        let list = request(family, libc::IPPROTO_TCP, !OVER);
        let found = socket.dump(list, Vec::new, |found: &mut Vec<Message>, message| {
            let inode = message.body.get(INODE..INODE + 4).and_then(|bytes| bytes.try_into().ok());
            if source(message.body) == Some(from)
                && inode.is_some_and(|inode| own.contains(&u32::from_ne_bytes(inode)))
            {
                found.extend(destruction(message.body));
            }
        })?;
        for message in found {
            match socket.request(message) {
                // It has ended by itself.
                Err(refusal) if refusal.errno == libc::ENOENT => {}
                ended => ended?,
            }
        }
    }
    Ok(())
}

/// The inodes of this process's sockets.
fn own_sockets() -> std::io::Result<BTreeSet<u32>> {
    let descriptors = std::fs::read_dir("/proc/self/fd")?.flatten();
    let inode = |path: std::path::PathBuf| {
        let target = std::fs::read_link(path).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Ok(descriptors.filter_map(|descriptor| inode(descriptor.path())).collect())
}

/// The request to end the TCP connection that `struct inet_diag_msg` tells of.
fn destruction(body: &[u8]) -> Option<Message> {
    let mut fixed = [0; REQUEST];
    (fixed[0], fixed[1]) = (*body.first()?, libc::IPPROTO_TCP as u8);
    fixed[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
    fixed[ID_REQUESTED..].copy_from_slice(body.get(ID..ID + ID_LENGTH)?);
    Some(Message::new(DESTROY, 0, &fixed))
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
