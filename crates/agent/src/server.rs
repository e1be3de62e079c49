//! The agent's socket: one call a connection, one line each way, a pod's namespace with the first byte.
//!
//! Only root may connect, and every step has a limit: how many connections, how long a call, how long it may take to send
//! it and to take the answer. A client that goes away while it waits is reported to the core, which undoes what it asked.

use crate::inbox::{Call, Message};
use crate::queued;
use failpoint::failpoint;
use node::cni::{Command, Reply, Request};
use node::socket::{self, Answer, NodeStatus};
use node::{CniId, Input};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::umask;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How many calls are carried out at once; more wait.
const CALLS: usize = 256;
/// How many connections may be open without a call; of more, the one that was silent longest is closed.
const SILENT: usize = 512;
/// How long it may have been silent at least.
const GRACE: Duration = Duration::from_millis(250);
/// The longest call: a GC's list of attachments.
const MAX_CALL: usize = 4 << 20;
/// How long a client may take to send its call, or to take its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait after a connection could not be accepted (no descriptor left, say).
const PAUSE: Duration = Duration::from_millis(100);

/// How long an agent that was killed may take to end.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("another agent answers on {0}: stop it, or give this one another --socket and --state-dir")]
    Taken(PathBuf),
    #[error("{0} is there and is no socket: remove it or choose another --socket")]
    InTheWay(PathBuf),
    #[error("cannot serve on {path}: {cause}")]
    Bind { path: PathBuf, cause: io::Error },
}

/// Takes the socket, over a dead one if need be. Mode 0600, in a directory that, if there is none, is root's alone.
pub(crate) fn bind(path: &Path) -> Result<UnixListener, Error> {
    let failed = |cause| Error::Bind { path: path.to_owned(), cause };
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(Error::InTheWay(path.to_owned())),
        Ok(_) if answers_still(path) => return Err(Error::Taken(path.to_owned())),
        Ok(_) => std::fs::remove_file(path).map_err(failed)?,
        Err(_) => {}
    }
    // The mode must hold from the first moment; nothing else makes files at this time.
    let before = umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    listener.map_err(failed)
}

/// Whether an agent answers, and goes on to. One that was killed holds its socket until its last thread is gone.
fn answers_still(path: &Path) -> bool {
    let end = std::time::Instant::now() + FAREWELL;
    while std::os::unix::net::UnixStream::connect(path).is_ok() {
        if std::time::Instant::now() >= end {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// Serves for ever.
pub(crate) async fn serve(listener: UnixListener, inbox: mpsc::Sender<Message>) {
    let permits = Arc::new(Semaphore::new(CALLS));
    // Who has not said its call yet, the longest first.
    let mut silent: VecDeque<(Instant, AbortHandle)> = VecDeque::new();
    let mut next = 0;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot accept a connection on the agent's socket: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        next = (next + 1) % queued::FIRST_ID;
        silent.retain(|(_, task)| !task.is_finished());
        while silent.len() >= SILENT {
            // Its call may have come and not been read yet.
            tokio::time::sleep_until(silent[0].0 + GRACE).await;
            silent.pop_front().expect("it is not empty").1.abort();
            silent.retain(|(_, task)| !task.is_finished());
        }
        let heard = tokio::spawn(hear(stream, CniId(next), permits.clone(), inbox.clone()));
        silent.push_back((Instant::now(), heard.abort_handle()));
    }
}

/// Takes a call, and has it answered by a task that nobody sheds. Ends before, if the client hangs up or is too slow.
async fn hear(mut stream: UnixStream, id: CniId, permits: Arc<Semaphore>, inbox: mpsc::Sender<Message>) {
    let Ok(call) = call(&mut stream).await else { return };
    tokio::spawn(async move {
        let _permit = permits.acquire_owned().await.expect("the semaphore is never closed");
        // A client that hangs up has nobody who could be told.
        let _ = converse(stream, id, call, &inbox).await;
    });
}

/// The call's line and what came along, or why it is not listened to.
type Heard = Result<(Vec<u8>, Vec<OwnedFd>), String>;

async fn call(stream: &mut UnixStream) -> io::Result<Heard> {
    if stream.peer_cred()?.uid() != 0 {
        return Ok(Err("only root may call the agent".into()));
    }
    within(receive(stream)).await
}

async fn converse(
    mut stream: UnixStream,
    id: CniId,
    call: Heard,
    inbox: &mpsc::Sender<Message>,
) -> io::Result<()> {
    let (line, descriptors) = match call {
        Ok(call) => call,
        Err(why) => return say(&mut stream, &Answer::Refused(why)).await,
    };
    let answer = match serde_json::from_slice(&line) {
        Err(error) => Some(Answer::Refused(format!("the call cannot be understood: {error}"))),
        Ok(socket::Call::Status) => status(inbox).await.map(|status| Answer::Status(Box::new(status))),
        Ok(socket::Call::Cni(request)) => match namespace(&request, descriptors) {
            Err(why) => Some(Answer::Refused(why)),
            Ok(netns) => cni(&mut stream, id, *request, netns, inbox).await.map(Answer::Cni),
        },
    };
    match answer {
        Some(answer) => say(&mut stream, &answer).await,
        None => Ok(()),
    }
}

/// What the agent says of itself; `None` if it ends.
pub(crate) async fn status(inbox: &mpsc::Sender<Message>) -> Option<NodeStatus> {
    let (reply, status) = oneshot::channel();
    inbox.send(Message::Status(reply)).await.ok()?;
    status.await.ok()
}

/// Asks the core; `None` if the client goes away first.
async fn cni(
    stream: &mut UnixStream,
    id: CniId,
    request: Request,
    netns: Option<netlink::Netns>,
    inbox: &mpsc::Sender<Message>,
) -> Option<Reply> {
    failpoint!("call: heard");
    let (reply, answer) = oneshot::channel();
    inbox.send(Message::Call(Call { id, request, netns, reply })).await.ok()?;
    let mut more = [0];
    tokio::select! {
        answer = answer => answer.ok(),
        // The client has said all that it has to say: whatever comes now is its end.
        _ = stream.read(&mut more) => {
            let _ = inbox.send(Message::Input(Input::CniGone(id))).await;
            None
        }
    }
}

/// The namespace that came along, if it is the one that the call speaks of.
fn namespace(request: &Request, mut descriptors: Vec<OwnedFd>) -> Result<Option<netlink::Netns>, String> {
    let netns = match descriptors.pop() {
        Some(_) if !descriptors.is_empty() => return Err("a call brings one namespace at most".into()),
        Some(fd) => Some(netlink::Netns::checked(fd).map_err(|e| e.to_string())?),
        None => None,
    };
    let own = netlink::Netns::own().map_err(|e| e.to_string())?;
    match (&request.netns, &netns) {
        (None, None) if matches!(request.command, Command::Add | Command::Check { .. }) => {
            Err("ADD and CHECK bring the pod's network namespace as a file descriptor".into())
        }
        (None, None) => Ok(None),
        (Some(reference), Some(found)) if reference.inode != found.inode() => {
            Err(format!("the namespace that came along is not {}", reference.path))
        }
        (Some(reference), Some(found)) if found.inode() == own.inode() => {
            Err(format!("{} is the node's own network namespace, not a pod's", reference.path))
        }
        (Some(_), Some(_)) => Ok(netns),
        _ => Err("a call names its network namespace and brings it, or neither".into()),
    }
}

/// Reads a line and the descriptors that come with it. One that is too long is read to its end, but not kept: whoever is cut off
/// while he writes reads no answer.
async fn receive(stream: &mut UnixStream) -> io::Result<Heard> {
    let (mut line, mut descriptors) = (Vec::new(), Vec::new());
    let mut chunk = vec![0; 16 << 10];
    loop {
        let read = |stream: &UnixStream| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let parts = &mut [IoSliceMut::new(&mut chunk)];
            let got = recvmsg(stream, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    descriptors.extend(fds);
                }
            }
            Ok(got.bytes)
        };
        stream.readable().await?;
        let mut read = read;
        let n = match stream.try_io(Interest::READABLE, || read(stream)) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
            Err(e) => return Err(e),
        };
        if line.len() <= MAX_CALL {
            line.extend_from_slice(&chunk[..n]);
        }
        if chunk[..n].ends_with(b"\n") {
            let too_long =
                || format!("the call is longer than {} MiB, the most that the agent takes", MAX_CALL >> 20);
            return Ok(if line.len() <= MAX_CALL { Ok((line, descriptors)) } else { Err(too_long()) });
        }
    }
}

async fn say(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    failpoint!("call: to be answered");
    within(stream.write_all(&line)).await?;
    failpoint!("call: answered");
    Ok(())
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or(Err(ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::fs::{File, Permissions};
    use std::io::IoSlice;
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;
    use tempfile::TempDir;
    use tokio::io::AsyncBufReadExt;

    /// A server whose core is the test.
    struct Fixture {
        dir: TempDir,
        inbox: mpsc::Receiver<Message>,
    }

    impl Fixture {
        fn start() -> Fixture {
            let dir = TempDir::new().unwrap();
            let (sender, inbox) = mpsc::channel(8);
            tokio::spawn(serve(bind(&dir.path().join("agent.sock")).unwrap(), sender));
            Fixture { dir, inbox }
        }

        async fn connect(&self) -> UnixStream {
            UnixStream::connect(self.dir.path().join("agent.sock")).await.unwrap()
        }

        /// Sends a text, with descriptors, and gives back the line that is answered.
        async fn ask(&self, text: &str, files: &[File]) -> String {
            let mut stream = self.connect().await;
            send(&stream, text, files).await;
            answer(&mut stream).await
        }

        /// The next call, which must come.
        async fn call(&mut self) -> Call {
            match self.inbox.recv().await {
                Some(Message::Call(call)) => call,
                other => panic!("not a call: {other:?}"),
            }
        }
    }

    async fn send(stream: &UnixStream, text: &str, files: &[File]) {
        stream.writable().await.unwrap();
        let descriptors: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        }
        let parts = [IoSlice::new(text.as_bytes())];
        assert_eq!(sendmsg(stream, &parts, &mut ancillary, SendFlags::empty()), Ok(text.len()));
    }

    async fn answer(stream: &mut UnixStream) -> String {
        let mut line = String::new();
        tokio::io::BufReader::new(stream).read_line(&mut line).await.unwrap();
        line
    }

    fn cni_call(command: Command, inode: Option<(u64, u64)>) -> String {
        let request = Request {
            command,
            network: "net".into(),
            container_id: "c1".into(),
            interface: Some(model::IfName::fixed("eth0")),
            netns: inode.map(|inode| node::cni::NetnsRef { path: "/n".into(), inode }),
            pod: None,
            options: node::cni::Options::default(),
        };
        serde_json::to_string(&socket::Call::Cni(Box::new(request))).unwrap() + "\n"
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn what_is_no_call_is_refused_in_words() {
        run(async {
            let fixture = Fixture::start();
            for garbage in
                ["\n", "{}\n", "null\n", "{\"cni\":{}}\n", "{\"statu\n", "[[[[[[\n", "\u{1}\u{2}\n"]
            {
                let said = fixture.ask(garbage, &[]).await;
                assert!(
                    said.starts_with("{\"refused\":\"the call cannot be understood: "),
                    "{garbage}: {said}"
                );
            }
        });
    }

    #[test]
    fn s36_a_namespace_is_believed_by_its_descriptor_only() {
        run(async {
            let fixture = Fixture::start();
            let own = netlink::Netns::own().unwrap().inode();
            let own_file = || File::open("/proc/self/ns/net").unwrap();
            let file = || File::open("/dev/null").unwrap();
            for (text, files, why) in [
                (cni_call(Command::Add, None), vec![], "ADD and CHECK bring"),
                (cni_call(Command::Add, Some((1, 2))), vec![], "names its network namespace and brings it"),
                (cni_call(Command::Add, Some((1, 2))), vec![file()], "is not a network namespace"),
                (cni_call(Command::Add, Some((1, 2))), vec![own_file()], "is not /n"),
                (cni_call(Command::Add, Some(own)), vec![own_file()], "the node's own"),
                (cni_call(Command::Del, Some(own)), vec![own_file()], "the node's own"),
                (cni_call(Command::Add, Some(own)), vec![own_file(), file()], "one namespace at most"),
            ] {
                let said = fixture.ask(&text, &files).await;
                assert!(said.starts_with("{\"refused\":") && said.contains(why), "{text}: {said}");
            }
        });
    }

    #[test]
    fn a_call_is_answered_with_what_the_core_says() {
        run(async {
            let mut fixture = Fixture::start();
            let mut stream = fixture.connect().await;
            send(&stream, &cni_call(Command::Del, None), &[]).await;
            let call = fixture.call().await;
            assert_eq!((&call.request.command, call.netns.is_none()), (&Command::Del, true));
            call.reply.send(Reply::Done).unwrap();
            assert_eq!(answer(&mut stream).await, "{\"cni\":\"done\"}\n");
        });
    }

    #[test]
    fn f37_a_call_that_comes_octet_by_octet_is_read_whole_with_its_descriptor() {
        run(async {
            let mut fixture = Fixture::start();
            let text = cni_call(Command::Add, Some((1, 2)));
            // The descriptor comes with the first octet, or with the last.
            for with in [0, text.len() - 1] {
                let mut stream = fixture.connect().await;
                for (at, octet) in text.char_indices() {
                    let file = (at == with).then(|| File::open("/dev/null").unwrap());
                    send(&stream, &octet.to_string(), file.as_slice()).await;
                    // So the server reads what is there.
                    tokio::task::yield_now().await;
                }
                let said = answer(&mut stream).await;
                assert!(said.contains("is not a network namespace"), "it has the descriptor: {said}");
            }
            let mut stream = fixture.connect().await;
            for octet in cni_call(Command::Del, None).chars() {
                send(&stream, &octet.to_string(), &[]).await;
                tokio::task::yield_now().await;
            }
            fixture.call().await.reply.send(Reply::Done).unwrap();
            assert_eq!(answer(&mut stream).await, "{\"cni\":\"done\"}\n");
        });
    }

    #[test]
    fn f37_an_answer_that_is_larger_than_the_socket_holds_is_written_whole() {
        run(async {
            let mut fixture = Fixture::start();
            let mut stream = fixture.connect().await;
            rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 1).unwrap();
            send(&stream, &cni_call(Command::Del, None), &[]).await;
            let text = "x".repeat(1 << 20);
            let failure = node::cni::Failure { code: 11, msg: text.clone(), details: String::new() };
            fixture.call().await.reply.send(Reply::Failed(failure)).unwrap();
            let said = answer(&mut stream).await;
            assert!(said.contains(&text) && said.ends_with("}\n"), "{} octets", said.len());
        });
    }

    #[test]
    fn a_client_that_goes_away_is_reported() {
        run(async {
            let mut fixture = Fixture::start();
            let stream = fixture.connect().await;
            send(&stream, &cni_call(Command::Del, None), &[]).await;
            let call = fixture.call().await;
            drop(stream);
            let gone = fixture.inbox.recv().await;
            assert!(matches!(gone, Some(Message::Input(Input::CniGone(id))) if id == call.id), "{gone:?}");
        });
    }

    #[test]
    fn clients_that_stall_hold_up_nobody_and_are_let_go() {
        run(async {
            let mut fixture = Fixture::start();
            let mut slow = Vec::new();
            for _ in 0..50 {
                let stream = fixture.connect().await;
                send(&stream, "{\"cni\":", &[]).await;
                slow.push(stream);
            }
            let mut stream = fixture.connect().await;
            send(&stream, &cni_call(Command::Status, None), &[]).await;
            fixture.call().await.reply.send(Reply::Done).unwrap();
            assert_eq!(answer(&mut stream).await, "{\"cni\":\"done\"}\n");
            let started = Instant::now();
            assert_eq!(answer(&mut slow[0]).await, "", "it is hung up on");
            assert!(started.elapsed() < 2 * PATIENCE);
        });
    }

    #[test]
    fn s34_a_call_over_the_limit_is_refused_in_words_and_one_of_that_length_is_taken() {
        run(async {
            let mut fixture = Fixture::start();
            let of_length = |length: usize| {
                let call = cni_call(Command::Del, None);
                " ".repeat(length - call.len()) + &call
            };
            for length in [MAX_CALL + 1, 3 * MAX_CALL] {
                let mut stream = fixture.connect().await;
                stream.write_all(of_length(length).as_bytes()).await.unwrap();
                let said = answer(&mut stream).await;
                assert!(said.starts_with("{\"refused\":\"the call is longer than 4 MiB"), "{length}: {said}");
            }
            let mut stream = fixture.connect().await;
            stream.write_all(of_length(MAX_CALL).as_bytes()).await.unwrap();
            fixture.call().await.reply.send(Reply::Done).unwrap();
            assert_eq!(answer(&mut stream).await, "{\"cni\":\"done\"}\n");
        });
    }

    #[test]
    fn s34_a_directory_that_is_made_for_the_socket_is_roots_alone_and_one_that_is_there_stays_as_it_is() {
        run(async {
            let dir = TempDir::new().unwrap();
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            let (made, found) = (dir.path().join("made"), dir.path().join("found"));
            bind(&made.join("agent.sock")).unwrap();
            // Another test's `umask` may have taken away more.
            assert_eq!(mode(&made) & 0o077, 0);
            std::fs::create_dir(&found).unwrap();
            std::fs::set_permissions(&found, Permissions::from_mode(0o755)).unwrap();
            bind(&found.join("agent.sock")).unwrap();
            assert_eq!(mode(&found), 0o755);
        });
    }

    #[test]
    fn a_dead_socket_is_taken_over_and_a_living_one_is_not() {
        run(async {
            let dir = TempDir::new().unwrap();
            let path = dir.path().join("run/agent.sock");
            drop(bind(&path).unwrap());
            let listener = bind(&path).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(matches!(bind(&path), Err(Error::Taken(_))));
            drop(listener);
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "").unwrap();
            assert!(matches!(bind(&path), Err(Error::InTheWay(_))));
        });
    }
}
