//! What the kernel tells of changes, as it happens.

use crate::dump;
use crate::filter;
use crate::message::{Received, received};
use crate::nft;
use crate::parse::{self, Names};
use crate::socket::{Protocol, Refusal, Socket};
use crate::writer::Ports;
use kernel::{Key, LinkKey, Netns, Value};
use rustix::event::epoll;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// `RTNLGRP_…` of `linux/rtnetlink.h`: links, neighbours (and forwarding entries), filters, addresses and routes of both
/// families, settings of IPv4 devices.
const GROUPS: [u32; 8] = [1, 3, 4, 5, 7, 9, 11, 24];
/// `linux/rtnetlink.h`.
const RTM_DELNETCONF: u16 = 81;

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Made or changed.
    Put(Key, Value),
    Gone(Key),
}

/// Why there are no events.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// Some were lost: only a dump can tell what is.
    #[error("kernel notifications were lost")]
    Overrun,
    #[error("cannot read kernel notifications: {0}")]
    Read(#[source] io::Error),
}

/// Listens in the namespace of the thread that opened it: to links, addresses, routes, neighbours, forwarding entries, filters, our
/// tables, and of the settings to `forwarding`, `rp_filter` and `proxy_arp` of IPv4 devices and `ip_forward` (the kernel
/// tells of no others that matter here).
#[derive(Debug)]
pub struct Monitor {
    /// Readable when one of the two sockets is.
    ready: OwnedFd,
    rules: nft::Monitor,
    socket: Socket,
    /// For reading names anew after a loss.
    queries: Socket,
    names: Names,
}

impl Monitor {
    /// Opens a monitor with receive buffers of `buffer` bytes. Whoever dumps after this misses nothing.
    pub fn open(buffer: usize) -> Result<Monitor, MonitorError> {
        let open = || -> io::Result<Monitor> {
            let socket = Socket::open(Protocol::Route)?;
            socket.receive_buffer(buffer)?;
            for group in GROUPS {
                socket.join(group)?;
            }
            let rules = nft::Monitor::open(buffer)?;
            let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            for fd in [socket.as_fd(), rules.as_fd()] {
                epoll::add(&ready, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
            }
            let queries = Socket::open(Protocol::Route)?;
            Ok(Monitor { ready, rules, socket, queries, names: Names::new() })
        };
        let mut monitor = open().map_err(MonitorError::Read)?;
        monitor.relearn()?;
        Ok(monitor)
    }

    /// Leaves out what a writer does to routes and to our nftables tables: its outcomes say that. (Of links, addresses and
    /// neighbours the kernel does not always name whose doing a change is.)
    pub fn leave_out(&mut self, writer: Ports) -> io::Result<()> {
        self.rules.leave_out(writer.rules);
        self.socket.leave_out_routes_of(writer.objects)
    }

    /// Everything that has arrived, without waiting.
    pub fn read(&mut self) -> Result<Vec<Event>, MonitorError> {
        let mut events = self.read_route()?;
        events.extend(self.rules.events()?);
        Ok(events)
    }

    fn read_route(&mut self) -> Result<Vec<Event>, MonitorError> {
        let mut events = Vec::new();
        loop {
            match self.socket.arrived() {
                Ok(Some(bytes)) => {
                    for message in received(bytes) {
                        learn(&mut self.names, &message, &mut events);
                    }
                }
                Ok(None) => return Ok(events),
                Err(error) if is_overrun(&error) => {
                    discard(&mut self.socket);
                    self.relearn()?;
                    return Err(MonitorError::Overrun);
                }
                Err(error) => return Err(MonitorError::Read(error)),
            }
        }
    }

    fn relearn(&mut self) -> Result<(), MonitorError> {
        let read = |refusal: Refusal| MonitorError::Read(io::Error::from_raw_os_error(refusal.errno));
        self.names = dump::names(&mut self.queries).map_err(read)?;
        Ok(())
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

/// Empties the queue. Until it is empty the kernel drops without saying so again (`NETLINK_S_CONGESTED`).
pub(crate) fn discard(socket: &mut Socket) {
    loop {
        match socket.arrived() {
            Ok(Some(_)) => {}
            Err(error) if is_overrun(&error) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

pub(crate) fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

/// Names first: the other objects are found through them.
fn learn(names: &mut Names, message: &Received<'_>, events: &mut Vec<Event>) {
    const HOST: Netns = Netns::Host;
    let body = message.body;
    let link_key = |name| Key::Link(LinkKey { netns: HOST, name });
    let put = |(key, value): (Key, Value)| Event::Put(key, value);
    let gone = |(key, _): (Key, Value)| Event::Gone(key);
    let event = match message.kind {
        libc::RTM_NEWLINK => {
            if let Some((index, name)) = parse::link_name(body)
                && let Some(before) = names.insert(index, name.clone())
                && before != name
            {
                events.push(Event::Gone(link_key(before)));
            }
            parse::link(HOST, names, body).map(put)
        }
        libc::RTM_DELLINK => parse::link_name(body).map(|(index, name)| {
            names.remove(&index);
            Event::Gone(link_key(name))
        }),
        libc::RTM_NEWADDR => parse::addr(HOST, names, body).map(put),
        libc::RTM_DELADDR => parse::addr(HOST, names, body).map(gone),
        libc::RTM_NEWROUTE => parse::route(HOST, names, body).map(put),
        libc::RTM_DELROUTE => parse::route(HOST, names, body).map(gone),
        // A neighbour that lost its MAC is none.
        libc::RTM_NEWNEIGH => match parse::neigh(HOST, names, body) {
            Some(found) => Some(put(found)),
            None => parse::neigh_key(HOST, names, body).map(Event::Gone),
        },
        libc::RTM_DELNEIGH => parse::neigh_key(HOST, names, body).map(Event::Gone),
        libc::RTM_NEWTFILTER => filter::put(names, body).map(put),
        libc::RTM_DELTFILTER => filter::gone(names, body).map(Event::Gone),
        libc::RTM_NEWQDISC => filter::place_of(names, body).map(|place| put((place, Value::Clsact))),
        libc::RTM_DELQDISC => {
            let gone = filter::place_of(names, body).map(filter::gone_with);
            events.extend(gone.into_iter().flatten().map(Event::Gone));
            None
        }
        libc::RTM_NEWNETCONF => {
            events.extend(parse::settings(HOST, names, body).into_iter().map(put));
            None
        }
        RTM_DELNETCONF => {
            events.extend(parse::settings_keys(HOST, names, body).into_iter().map(Event::Gone));
            None
        }
        _ => None,
    };
    events.extend(event);
}
