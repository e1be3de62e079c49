//! The listening sockets, which follow the configuration: where they listen, and the keys of the peers.

use super::Job;
use failpoint::failpoint;
use netlink::tcp;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::task::Poll;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that wait to be taken.
const BACKLOG: u32 = 1024;

#[derive(Debug, Default)]
pub struct Listeners {
    sockets: BTreeMap<SocketAddr, Listener>,
    /// Sockets that could not be opened, and why: said once.
    failed: BTreeMap<SocketAddr, String>,
}

#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    keys: BTreeMap<IpAddr, Vec<u8>>,
}

impl Listeners {
    /// Opens and closes sockets as the configuration wants it, and gives them the peers' keys.
    pub fn follow(&mut self, job: Option<&Job>) {
        let wanted = job.map(places).unwrap_or_default();
        self.sockets.retain(|place, _| wanted.contains(place));
        self.failed.retain(|place, _| wanted.contains(place));
        let keys: BTreeMap<IpAddr, Vec<u8>> = job
            .into_iter()
            .flat_map(|job| {
                job.keys.iter().filter_map(|(id, key)| Some((job.bgp.peers.get(id)?.addr, key.clone())))
            })
            .collect();
        for place in wanted {
            if !self.sockets.contains_key(&place) {
                match open(place) {
                    Ok(socket) => {
                        failpoint!("BGP port: opened");
                        self.failed.remove(&place);
                        self.sockets.insert(place, Listener { socket, keys: BTreeMap::new() });
                    }
                    // A kernel without IPv6 needs no socket for it.
                    Err(error)
                        if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => {}
                    Err(error) => self.fail(place, &error),
                }
            }
            if let Some(listener) = self.sockets.get_mut(&place) {
                listener.take_keys(place, &keys);
            }
        }
    }

    fn fail(&mut self, place: SocketAddr, error: &io::Error) {
        let text = error.to_string();
        if self.failed.insert(place, text.clone()).as_ref() != Some(&text) {
            tracing::error!(
                "BGP: cannot listen on {place}: {text}; peers cannot call us. Stop who has the port (`ss -ltnp`), or set \
                 listenPort in BGPConfiguration; it is tried again"
            );
        }
    }

    /// The next connection of any of them.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        poll_fn(|context| {
            for listener in self.sockets.values() {
                // What is wrong with one connection is over with it.
                while let Poll::Ready(accepted) = listener.socket.poll_accept(context) {
                    match accepted {
                        Ok(connection) => return Poll::Ready(connection),
                        Err(error) if is_short_of(&error) => break,
                        Err(_) => {}
                    }
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Descriptors or memory are short: the next call would fail as well.
fn is_short_of(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    short.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn places(job: &Job) -> BTreeSet<SocketAddr> {
    let all = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let addrs: &[IpAddr] = if job.listen.is_empty() { &all } else { &job.listen };
    addrs.iter().map(|addr| SocketAddr::new(*addr, job.bgp.listen_port)).collect()
}

fn open(place: SocketAddr) -> io::Result<TcpListener> {
    let socket = if place.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if place.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(place)?;
    socket.listen(BACKLOG)
}

impl Listener {
    fn take_keys(&mut self, place: SocketAddr, wanted: &BTreeMap<IpAddr, Vec<u8>>) {
        let wanted: BTreeMap<IpAddr, Vec<u8>> = wanted
            .iter()
            .filter(|(addr, _)| addr.is_ipv4() == place.is_ipv4())
            .map(|(addr, key)| (*addr, key.clone()))
            .collect();
        let gone = self.keys.keys().filter(|addr| !wanted.contains_key(addr)).map(|addr| (addr, &[][..]));
        let new = wanted
            .iter()
            .filter(|(addr, key)| self.keys.get(addr) != Some(key))
            .map(|(addr, key)| (addr, key.as_slice()));
        for (addr, key) in gone.chain(new) {
            if let Err(error) = tcp::set_key(self.socket.as_fd(), *addr, key) {
                tracing::error!("BGP: cannot set the password of {addr}: {error}");
            }
        }
        self.keys = wanted;
    }
}
