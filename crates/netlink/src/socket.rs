//! A netlink socket that sends many messages at once and says of each what the kernel said.
//!
//! Only the last message of a batch asks for an acknowledgement; errors come unasked, with the number of their message.
//! The kernel works while `send` runs, so that everything is there to be read when it returns.

use crate::message::{Attributes, HEADER, Message, Received, received, u32_at};
use crate::netns::NetnsError;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getsockname, netlink, recvfrom, send,
    socket_with, sockopt,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// More messages in one `send` gain nothing (the kernel's own work dominates), and their errors fit the receive buffer.
pub(crate) const BATCH: usize = 64;
/// `NLMSGERR_ATTR_MSG`: the kernel's sentence.
const ERROR_TEXT: u16 = 1;
/// `NLM_F_DUMP_INTR`: something changed while the kernel was listing.
const DUMP_INTERRUPTED: u16 = 0x10;
/// The kernel's dumps never give more at once.
const RECEIVE: usize = 32 * 1024;
/// What the kernel may hold for us: many times the errors of a batch.
const RECEIVE_BUFFER: usize = 1024 * 1024;
/// Answers are there when `send` returns; one that is not will never come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which part of the kernel a socket speaks with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes, neighbours.
    Route,
    /// nftables.
    Netfilter,
    /// Sockets of processes.
    Sockets,
}

/// The kernel's no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} (errno {errno})")]
pub struct Refusal {
    pub errno: i32,
    /// The kernel's own sentence (extended ACK) if it gave one, else the name of the error.
    pub text: String,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => Refusal { errno: libc::EAGAIN, text: "the kernel does not answer".into() },
            Some(errno) => Refusal { errno, text: named(errno) },
            None => Refusal { errno: libc::EIO, text: error.to_string() },
        }
    }
}

impl From<NetnsError> for Refusal {
    fn from(error: NetnsError) -> Refusal {
        Refusal { errno: error.errno().unwrap_or(libc::EIO), text: error.to_string() }
    }
}

impl From<Refusal> for kernel::ApplyError {
    fn from(refusal: Refusal) -> kernel::ApplyError {
        kernel::ApplyError { errno: refusal.errno, text: refusal.text }
    }
}

fn named(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// A socket of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(protocol: Protocol) -> io::Result<Socket> {
        let number = match protocol {
            // `NETLINK_ROUTE` is the number 0, which stands for no protocol here.
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
            Protocol::Sockets => Some(netlink::SOCK_DIAG),
        };
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, number)?;
        let socket = Socket { fd, sequence: 0, buffer: vec![0; RECEIVE] };
        socket.option(libc::NETLINK_EXT_ACK, 1)?;
        socket.option(libc::NETLINK_CAP_ACK, 1)?;
        if protocol == Protocol::Route {
            socket.option(libc::NETLINK_GET_STRICT_CHK, 1)?;
        }
        socket.receive_buffer(RECEIVE_BUFFER)?;
        sockopt::set_socket_timeout(&socket.fd, sockopt::Timeout::Recv, Some(PATIENCE))?;
        bind(&socket.fd, &netlink::SocketAddrNetlink::new(0, 0))?;
        Ok(socket)
    }

    /// The port under which the kernel names this socket's messages to others.
    pub fn port(&self) -> io::Result<u32> {
        let addr = netlink::SocketAddrNetlink::try_from(getsockname(&self.fd)?)?;
        Ok(addr.pid())
    }

    fn option(&self, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        // SAFETY: the pointer and the length describe `value`, which outlives the call.
        let result = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_NETLINK,
                name,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Makes the kernel keep to itself what was done to routes through `port`, by a classic BPF program on the socket
    /// (`linux/filter.h`): its notices are never queued.
    pub fn leave_out_routes_of(&self, port: u32) -> io::Result<()> {
        const LOAD_HALF: u16 = 0x28;
        const LOAD_WORD: u16 = 0x20;
        const JUMP_IF_EQUAL: u16 = 0x15;
        const RETURN: u16 = 0x06;
        // Loads are in network order, the header is in the host's.
        let (made, gone) = (u32::from(libc::RTM_NEWROUTE.to_be()), u32::from(libc::RTM_DELROUTE.to_be()));
        let mut program = [
            (LOAD_HALF, 0, 0, 4),
            (JUMP_IF_EQUAL, 1, 0, made),
            (JUMP_IF_EQUAL, 0, 2, gone),
            (LOAD_WORD, 0, 0, 12),
            (JUMP_IF_EQUAL, 1, 0, port.to_be()),
            (RETURN, 0, 0, u32::MAX),
            (RETURN, 0, 0, 0),
        ]
        .map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k });
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: `program` and what it points to outlive the call, which copies them.
        let result = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                size_of::<libc::sock_fprog>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Joins a multicast group (`RTNLGRP_…`, `NFNLGRP_…`).
    pub fn join(&self, group: u32) -> io::Result<()> {
        self.option(libc::NETLINK_ADD_MEMBERSHIP, group as libc::c_int)
    }

    /// Sets the receive buffer's size in bytes, beyond the system's limit.
    pub fn receive_buffer(&self, bytes: usize) -> io::Result<()> {
        Ok(sockopt::set_socket_recv_buffer_size_force(&self.fd, bytes)?)
    }

    /// Sets the send buffer's size in bytes, beyond the system's limit: the most that one `send` takes.
    pub fn send_buffer(&self, bytes: usize) -> io::Result<()> {
        Ok(sockopt::set_socket_send_buffer_size_force(&self.fd, bytes)?)
    }

    /// Sends messages, in order; the result has one entry for each. A message that fails does not stop the next.
    pub fn batch(&mut self, messages: &mut [Message]) -> Vec<Result<(), Refusal>> {
        let mut results = Vec::with_capacity(messages.len());
        for batch in messages.chunks_mut(BATCH) {
            let size = batch.len();
            match self.exchange(batch) {
                Ok(outcome) => results.extend(outcome),
                Err(error) => results.extend(vec![Err(Refusal::from(error)); size]),
            }
        }
        results
    }

    /// Sends one message and waits for the kernel's verdict.
    pub fn request(&mut self, message: Message) -> Result<(), Refusal> {
        self.batch(&mut [message]).pop().expect("one message, one result")
    }

    /// Sends a question and gives the body of the one message that answers it.
    pub fn ask(&mut self, question: Message) -> Result<Vec<u8>, Refusal> {
        let mut answer = None;
        let sequence = self.next_sequence();
        let bytes = question.clone().stamped(sequence, false).to_vec();
        self.send(&bytes)?;
        while answer.is_none() {
            let length = self.receive(RecvFlags::empty())?;
            for message in received(&self.buffer[..length]).filter(|m| m.sequence == sequence) {
                answer = Some(match refusal(&message) {
                    Some(refusal) if i32::from(message.kind) == libc::NLMSG_ERROR => Err(refusal),
                    _ => Ok(message.body.to_vec()),
                });
            }
        }
        answer.expect("the loop ends with an answer")
    }

    fn exchange(&mut self, batch: &mut [Message]) -> io::Result<Vec<Result<(), Refusal>>> {
        let first = self.sequence.wrapping_add(1);
        let last = self.sequence.wrapping_add(batch.len() as u32);
        self.sequence = last;
        let count = batch.len();
        let mut bytes = Vec::with_capacity(batch.iter().map(Message::len).sum());
        for (i, message) in batch.iter_mut().enumerate() {
            bytes.extend(message.stamped(first.wrapping_add(i as u32), i + 1 == count));
        }
        self.send(&bytes)?;
        let mut results = vec![Ok(()); count];
        loop {
            let length = self.receive(RecvFlags::empty())?;
            for message in received(&self.buffer[..length]) {
                let index = message.sequence.wrapping_sub(first) as usize;
                if index >= count || i32::from(message.kind) != libc::NLMSG_ERROR {
                    continue;
                }
                if let Some(refusal) = refusal(&message) {
                    results[index] = Err(refusal);
                }
                if message.sequence == last {
                    return Ok(results);
                }
            }
        }
    }

    /// Sends a dump request and shows every message of the answer to `each`, with what `start` made. An answer that was
    /// interrupted by a change is begun anew, from a new `start`.
    pub fn dump<S>(
        &mut self,
        request: Message,
        start: impl Fn() -> S,
        mut each: impl FnMut(&mut S, Received<'_>),
    ) -> Result<S, Refusal> {
        const TRIES: usize = 10;
        for _ in 0..TRIES {
            let mut state = start();
            if self.dump_once(request.clone(), |message| each(&mut state, message))? {
                return Ok(state);
            }
        }
        Err(Refusal { errno: libc::EINTR, text: "the kernel's tables change too fast to be read".into() })
    }

    /// Whether the answer is consistent.
    fn dump_once(
        &mut self,
        mut request: Message,
        mut each: impl FnMut(Received<'_>),
    ) -> Result<bool, Refusal> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let bytes = request.stamped(sequence, false).to_vec();
        self.send(&bytes)?;
        let mut consistent = true;
        loop {
            let length = self.receive(RecvFlags::empty())?;
            for message in received(&self.buffer[..length]).filter(|m| m.sequence == sequence) {
                consistent &= message.flags & DUMP_INTERRUPTED == 0;
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => {
                        let errno = u32_at(message.body, 0).map_or(0, |n| -(n as i32));
                        return if errno > 0 {
                            Err(Refusal { errno, text: named(errno) })
                        } else {
                            Ok(consistent)
                        };
                    }
                    libc::NLMSG_ERROR => match refusal(&message) {
                        Some(refusal) => return Err(refusal),
                        None => return Ok(consistent),
                    },
                    _ => each(message),
                }
            }
        }
    }

    /// Sends bytes that are whole messages.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        rustix::io::retry_on_intr(|| send(&self.fd, bytes, SendFlags::empty()))?;
        Ok(())
    }

    /// Receives one datagram of the kernel into the socket's buffer. What other processes send (a pod may have the right
    /// to, in its own namespace) is not heard.
    fn receive(&mut self, flags: RecvFlags) -> io::Result<usize> {
        loop {
            let buffer = &mut self.buffer[..];
            let room = buffer.len();
            let (_, length, sender) =
                rustix::io::retry_on_intr(|| recvfrom(&self.fd, &mut *buffer, flags | RecvFlags::TRUNC))?;
            let port = sender.and_then(|addr| netlink::SocketAddrNetlink::try_from(addr).ok());
            match port.map(|addr| addr.pid()) {
                Some(0) if length > room => return Err(io::Error::from_raw_os_error(libc::EMSGSIZE)),
                Some(0) => return Ok(length),
                _ => {}
            }
        }
    }

    /// What has arrived, without waiting: `None` if nothing has.
    pub fn arrived(&mut self) -> io::Result<Option<&[u8]>> {
        match self.receive(RecvFlags::DONTWAIT) {
            Ok(length) => Ok(Some(&self.buffer[..length])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next sequence number, for callers that stamp messages themselves.
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What an error message says, `None` if it is an acknowledgement (`struct nlmsgerr`).
pub fn refusal(message: &Received<'_>) -> Option<Refusal> {
    let errno = -(u32_at(message.body, 0)? as i32);
    if errno == 0 {
        return None;
    }
    let text = Attributes::after(message.body, 4 + HEADER).text(ERROR_TEXT).map(str::to_owned);
    Some(Refusal { errno, text: text.unwrap_or_else(|| named(errno)) })
}
