//! One connection: a task that reads what comes, writes what it is given, and says when it can write more.

use bgp::{ConnId, PeerConfig};
use failpoint::failpoint;
use netlink::tcp;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

/// How much is read at once.
const READ: usize = 64 * 1024;
/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// What connections tell.
#[derive(Debug)]
pub enum Event {
    Bytes(ConnId, Vec<u8>),
    /// What was given is written.
    Room(ConnId),
    Closed(ConnId, String),
    /// Our end and the peer's, or why there is no connection.
    Dialled(ConnId, Result<(TcpStream, SocketAddr, SocketAddr), String>),
}

/// The way to a connection's task.
#[derive(Debug)]
pub struct Line {
    words: mpsc::Sender<Words>,
    pub has_room: bool,
}

/// What is to be written.
#[derive(Debug)]
struct Words {
    bytes: Vec<u8>,
    are_last: bool,
}

impl Line {
    pub fn start(conn: ConnId, stream: TcpStream, events: mpsc::Sender<Event>) -> Line {
        // One that is being written, and the last.
        let (words, given) = mpsc::channel(2);
        tokio::spawn(converse(conn, stream, given, events));
        Line { words, has_room: true }
    }

    /// Hands over what to write. To be called only while there is room.
    pub fn write(&mut self, bytes: Vec<u8>) {
        assert!(self.has_room, "a connection is given one thing at a time");
        self.has_room = false;
        // A task that is gone has said so.
        let _ = self.words.try_send(Words { bytes, are_last: false });
    }

    /// Closes the connection after these.
    pub fn finish(self, bytes: Vec<u8>) {
        let _ = self.words.try_send(Words { bytes, are_last: true });
    }
}

async fn converse(
    conn: ConnId,
    mut stream: TcpStream,
    mut given: mpsc::Receiver<Words>,
    events: mpsc::Sender<Event>,
) {
    // Keepalives and NOTIFICATIONs must not wait for more.
    let _ = stream.set_nodelay(true);
    let (reader, mut writer) = stream.split();
    let mut rest: Option<(Words, usize)> = None;
    loop {
        tokio::select! {
            ready = reader.readable() => {
                let event = match ready.and_then(|()| read(&reader)) {
                    Ok(bytes) if bytes.is_empty() => Event::Closed(conn, "Socket: Connection closed".to_owned()),
                    Ok(bytes) => Event::Bytes(conn, bytes),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => Event::Closed(conn, words_of(&error)),
                };
                let is_over = matches!(event, Event::Closed(..));
                if events.send(event).await.is_err() || is_over {
                    return;
                }
            }
            words = given.recv() => match words {
                // A peer that reads no more would hold them up for ever.
                Some(last) if last.are_last => {
                    let farewell = async {
                        if let Some((words, at)) = &rest {
                            writer.write_all(&words.bytes[*at..]).await?;
                        }
                        writer.write_all(&last.bytes).await?;
                        writer.shutdown().await
                    };
                    let _ = tokio::time::timeout(FAREWELL, farewell).await;
                    return;
                }
                Some(words) => rest = Some((words, 0)),
                None => return,
            },
            written = write_on(&mut writer, rest.as_ref()), if rest.is_some() => {
                let Some((words, at)) = rest.take() else { continue };
                match written {
                    Ok(length) if at + length < words.bytes.len() => rest = Some((words, at + length)),
                    Ok(_) => {
                        failpoint!("words to a peer: written");
                        if events.send(Event::Room(conn)).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        let _ = events.send(Event::Closed(conn, words_of(&error))).await;
                        return;
                    }
                }
            }
        }
    }
}

/// What has come. There may be many connections, and most of the time none has anything to say: no buffer waits for it.
fn read(reader: &ReadHalf<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(READ);
    reader.try_read_buf(&mut bytes)?;
    bytes.shrink_to_fit();
    Ok(bytes)
}

async fn write_on(writer: &mut WriteHalf<'_>, rest: Option<&(Words, usize)>) -> io::Result<usize> {
    match rest {
        Some((words, at)) => writer.write(&words.bytes[*at..]).await,
        None => Ok(0),
    }
}

/// Connects to a peer as its configuration says.
pub async fn dial(
    peer: &PeerConfig,
    key: Option<&[u8]>,
) -> Result<(TcpStream, SocketAddr, SocketAddr), String> {
    let connect = async || -> io::Result<(TcpStream, SocketAddr, SocketAddr)> {
        let socket = if peer.addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(key) = key {
            tcp::set_key(socket.as_fd(), peer.addr, key)?;
        }
        if let Some(hops) = peer.ttl_security {
            tcp::guard_ttl(socket.as_fd(), peer.addr, hops)?;
        }
        if let Some(addr) = peer.local_addr {
            socket.bind(SocketAddr::new(addr, 0))?;
        }
        let remote = SocketAddr::new(peer.addr, peer.port);
        let stream = socket.connect(remote).await?;
        failpoint!("peer: called");
        let local = stream.local_addr()?;
        Ok((stream, local, remote))
    };
    connect().await.map_err(|error| words_of(&error))
}

/// Demands of an accepted connection what `ttl_security` says.
pub fn guard(stream: &TcpStream, peer: IpAddr, hops: u8) -> io::Result<()> {
    tcp::guard_ttl(stream.as_fd(), peer, hops)
}

/// As BIRD puts it: `Socket: Connection refused`.
fn words_of(error: &io::Error) -> String {
    let text = error.to_string();
    format!("Socket: {}", text.split(" (os error").next().unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ends of a connection with the smallest buffers that the kernel gives.
    async fn narrow() -> (TcpStream, TcpStream) {
        let listening = TcpSocket::new_v4().expect("a socket");
        listening.set_recv_buffer_size(1).expect("set");
        listening.set_send_buffer_size(1).expect("set");
        listening.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let listener = listening.listen(1).expect("listening");
        let calling = TcpSocket::new_v4().expect("a socket");
        calling.set_recv_buffer_size(1).expect("set");
        calling.set_send_buffer_size(1).expect("set");
        let ours = calling.connect(listener.local_addr().expect("its address")).await.expect("connected");
        (ours, listener.accept().await.expect("accepted").0)
    }

    #[tokio::test]
    async fn f37_what_is_read_and_written_in_pieces_is_all_there_and_in_order() {
        use tokio::io::AsyncReadExt;
        let (ours, mut theirs) = narrow().await;
        theirs.set_nodelay(true).expect("set");
        let (events, mut happened) = mpsc::channel(4);
        let mut line = Line::start(ConnId::Accepted(1), ours, events);
        let given: Vec<u8> = (0..1 << 18).map(|n: u32| n.to_be_bytes()[3] ^ n.to_be_bytes()[2]).collect();
        line.write(given.clone());
        let peer = tokio::spawn(async move {
            let (mut reader, mut writer) = theirs.split();
            let write = async {
                for octet in 0..=255 {
                    writer.write_all(&[octet]).await.expect("written");
                    tokio::task::yield_now().await;
                }
            };
            let mut got = vec![0; 1 << 18];
            let (read, ()) = tokio::join!(reader.read_exact(&mut got), write);
            read.expect("all of it");
            (theirs, got)
        });
        let (mut heard, mut pieces, mut has_room) = (Vec::new(), 0, false);
        while heard.len() < 256 || !has_room {
            match happened.recv().await.expect("the task goes on") {
                Event::Bytes(_, bytes) => {
                    pieces += 1;
                    heard.extend(bytes);
                }
                Event::Room(_) => has_room = true,
                other => panic!("{other:?}"),
            }
        }
        assert!(pieces > 1, "it came in pieces");
        assert_eq!(heard, (0..=255).collect::<Vec<u8>>());
        assert!(peer.await.expect("no panic").1 == given);
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_left_all_the_same() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let ours = TcpStream::connect(listener.local_addr().expect("its address")).await.expect("connected");
        let (_theirs, _) = listener.accept().await.expect("accepted");
        let (events, mut happened) = mpsc::channel(4);
        let mut line = Line::start(ConnId::Accepted(1), ours, events);
        // More than two sockets hold.
        line.write(vec![0; 64 << 20]);
        line.finish(b"last words".to_vec());
        let left = tokio::time::timeout(2 * FAREWELL, happened.recv()).await;
        assert!(matches!(left, Ok(None)), "the task goes on: {left:?}");
    }
}
