//! The call to the node agent: one line there, one line back, the pod's namespace with the first byte.

use crate::environment::Verb;
use netlink::Netns;
use node::cni::{Reply, Request};
use node::socket::{Answer, Call};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, connect, sendmsg, socket_with, sockopt,
};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the agent may take to accept the call: an agent that is gone is noticed at once, one that hangs by this.
const ACCEPT: Duration = Duration::from_millis(900);
/// No answer is longer.
const MAX_ANSWER: u64 = 1 << 20;

/// How long the agent may take to answer. Its own deadlines are shorter.
pub(crate) fn deadline(verb: Verb) -> Duration {
    match verb {
        Verb::Status => Duration::from_secs(5),
        _ => Duration::from_secs(60),
    }
}

/// Why there is no reply.
#[derive(Debug)]
pub(crate) enum NoReply {
    /// The agent answers, but not what it was asked.
    Refused(String),
    /// No agent, or one that ended before it answered: what was asked may or may not have been done.
    Away(io::Error),
}

impl From<io::Error> for NoReply {
    fn from(error: io::Error) -> NoReply {
        NoReply::Away(error)
    }
}

impl From<serde_json::Error> for NoReply {
    fn from(error: serde_json::Error) -> NoReply {
        NoReply::Away(error.into())
    }
}

/// Asks the agent.
pub(crate) fn call(
    socket: &Path,
    request: &Request,
    netns: Option<&Netns>,
    deadline: Duration,
) -> Result<Reply, NoReply> {
    let mut line = serde_json::to_vec(&Call::Cni(Box::new(request.clone())))?;
    line.push(b'\n');
    let mut stream = dial(socket)?;
    send(&mut stream, &line, netns)?;
    match serde_json::from_slice(&receive(&mut stream, Instant::now() + deadline)?)? {
        Answer::Cni(reply) => Ok(reply),
        Answer::Refused(why) => Err(NoReply::Refused(why)),
        Answer::Status(_) => Err(NoReply::Refused("it answered another question".to_owned())),
    }
}

fn dial(path: &Path) -> io::Result<UnixStream> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // It bounds `connect` too, which waits while the agent's queue of new connections is full (unix(7)).
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(ACCEPT))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

fn send(stream: &mut UnixStream, line: &[u8], netns: Option<&Netns>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = netns.map(|netns| [netns.as_fd()]);
    if let Some(descriptors) = &descriptors {
        assert!(
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors)),
            "there is room for one descriptor"
        );
    }
    let sent = sendmsg(&*stream, &[IoSlice::new(line)], &mut ancillary, SendFlags::NOSIGNAL)?;
    stream.write_all(&line[sent..])
}

fn receive(stream: &mut UnixStream, until: Instant) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while answer.last() != Some(&b'\n') {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, "it took the call and then said nothing"));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "it ended before it answered")),
            Ok(n) => answer.extend_from_slice(&chunk[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => return Err(e),
        }
        if answer.len() as u64 > MAX_ANSWER {
            return Err(io::Error::other("its answer has no end"));
        }
    }
    Ok(answer)
}
