//! Options of BGP's TCP sockets for which there is no safe call: keys (RFC 2385) and the check of the TTL (RFC 5082).
//! Layouts of `linux/tcp.h` and `linux/in6.h`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// `TCP_MD5SIG_MAXKEYLEN`.
const LONGEST_KEY: usize = 80;
/// `IPV6_MINHOPCOUNT`.
const IPV6_MINHOPCOUNT: libc::c_int = 73;

/// `struct tcp_md5sig`.
#[repr(C)]
struct Md5Key {
    addr: libc::sockaddr_storage,
    flags: u8,
    prefix_length: u8,
    length: u16,
    device: libc::c_int,
    key: [u8; LONGEST_KEY],
}

/// Signs what is exchanged with `peer` by MD5 with this key, of a connection or of all that a listening socket accepts. An
/// empty key takes the peer's away.
///
/// # Errors
/// `EINVAL` for a key of more than 80 bytes; `ENOENT` if there is none to take away; `ENOPROTOOPT` if the kernel cannot.
pub fn set_key(socket: BorrowedFd<'_>, peer: IpAddr, key: &[u8]) -> io::Result<()> {
    if key.len() > LONGEST_KEY {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: all zeros is a value of this type.
    let mut option: Md5Key = unsafe { std::mem::zeroed() };
    option.addr = storage(SocketAddr::new(peer, 0));
    option.length = key.len() as u16;
    option.key[..key.len()].copy_from_slice(key);
    set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &option)
}

/// Sends with a TTL of 255, and takes only what has come over at most `hops` routers' links: 1 is a neighbour on the wire.
pub fn guard_ttl(socket: BorrowedFd<'_>, peer: IpAddr, hops: u8) -> io::Result<()> {
    let least = libc::c_int::from(255 - hops.saturating_sub(1));
    let most: libc::c_int = 255;
    if peer.is_ipv4() {
        set(socket, libc::IPPROTO_IP, libc::IP_TTL, &most)?;
        set(socket, libc::IPPROTO_IP, libc::IP_MINTTL, &least)
    } else {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, &most)?;
        set(socket, libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT, &least)
    }
}

pub(crate) fn set<T>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn storage(addr: SocketAddr) -> libc::sockaddr_storage {
    // SAFETY: all zeros is a value of this type.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let place = (&raw mut storage).cast::<u8>();
    match addr {
        SocketAddr::V4(addr) => {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: addr.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(addr.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: `sockaddr_storage` has room and alignment for every address.
            unsafe { place.cast::<libc::sockaddr_in>().write(v4) };
        }
        SocketAddr::V6(addr) => {
            let v6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: addr.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: addr.ip().octets() },
                sin6_scope_id: addr.scope_id(),
            };
            // SAFETY: as above.
            unsafe { place.cast::<libc::sockaddr_in6>().write(v6) };
        }
    }
    storage
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn a_guarded_pair_talks_where_no_router_stands_between() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut dialed = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (mut accepted, from) = listener.accept().expect("somebody dialled");
        for socket in [dialed.as_fd(), accepted.as_fd()] {
            guard_ttl(socket, from.ip(), 1).expect("the kernel checks");
        }
        dialed.write_all(b"x").expect("connected");
        let mut byte = [0];
        accepted.read_exact(&mut byte).expect("it passes");
    }

    #[test]
    fn a_key_that_is_too_long_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let peer = [192, 0, 2, 1].into();
        let error = set_key(listener.as_fd(), peer, &[b'x'; 81]).expect_err("too long");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        set_key(listener.as_fd(), peer, b"secret").expect("the kernel signs");
        set_key(listener.as_fd(), peer, b"").expect("it had a key");
    }
}
