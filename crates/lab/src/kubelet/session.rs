//! One command in a pod: a process on one side, a client's channels on the other.
//!
//! ```text
//!   client ──0 input, 4 size──► read ──► stdin or terminal ──► process
//!          ◄──1, 2 output──────── send ◄─────── queue ◄──────┘
//!          ◄──3 how it ended──────┘
//! ```
//!
//! Input and output do not wait for each other. When the client goes, the process and all that it started go: nothing
//! that nobody hears stays in the pod. When the process goes, its output is sent to the end, then its exit code.

use super::channel::{self, Said};
use anyhow::Context;
use futures::{Sink, SinkExt, Stream, StreamExt};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::tcsetwinsize;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

/// Bytes of output in one message.
const CHUNK: usize = 32 << 10;
/// Messages of output that wait for the client.
const QUEUE: usize = 4;
/// Time between two looks whether the pod is still there.
const LOOK: Duration = Duration::from_millis(500);
/// What a command is said to have exited with whose pod went: as if by SIGKILL.
const KILLED: i32 = 137;
/// How long a client that has been told the end may take to hang up.
const LINGER: Duration = Duration::from_secs(5);

/// A command to run, and the streams that the client wants.
pub struct Session {
    /// This program, which enters the pod for the command.
    pub program: PathBuf,
    /// Where commands are looked for.
    pub path: String,
    pub netns: PathBuf,
    pub command: Vec<String>,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// The streams are a terminal's.
    pub tty: bool,
}

type Reader = Box<dyn AsyncRead + Unpin>;
type Writer = Box<dyn AsyncWrite + Unpin>;

/// A process that runs, with its ends of the streams.
struct Running {
    child: Child,
    input: Option<Writer>,
    /// With the channel of each.
    outputs: Vec<(u8, Reader)>,
    terminal: Option<OwnedFd>,
}

/// Runs a session to its end.
pub async fn run(socket: WebSocketStream<UnixStream>, session: Session) -> anyhow::Result<()> {
    let (mut sink, mut stream) = socket.split();
    let Some(last) = talk(&mut sink, &mut stream, &session).await? else { return Ok(()) };
    sink.send(Message::Binary(last)).await?;
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    sink.send(Message::Close(Some(close))).await?;
    // What the client still says is heard until it has read all: hanging up on it could cost it the last words.
    let hears = async { while let Some(Ok(_)) = stream.next().await {} };
    let _ = tokio::time::timeout(LINGER, hears).await;
    Ok(())
}

/// Everything up to the last message, which is given back; `None` if the client is gone.
async fn talk(
    sink: &mut (impl Sink<Message, Error = Error> + Unpin),
    stream: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
    session: &Session,
) -> anyhow::Result<Option<Bytes>> {
    let running = match start(session) {
        Ok(running) => running,
        Err(e) => return Ok(Some(channel::failed(&format!("{e:#}")))),
    };
    let Running { mut child, input, outputs, terminal } = running;
    let _group = Group(child.id());
    // An empty message tells the client that its streams are open.
    sink.send(Message::Binary(channel::frame(channel::STDOUT, b""))).await?;
    let (queue, waiting) = mpsc::channel(QUEUE);
    for (channel, output) in outputs {
        tokio::task::spawn_local(pump(channel, output, queue.clone()));
    }
    drop(queue);
    tokio::select! {
        // All output is sent, or the client is gone.
        sent = send(sink, waiting) => sent?,
        () = read(stream, input, terminal) => return Ok(None),
        () = gone(&session.netns) => return Ok(Some(channel::ended(KILLED))),
    }
    let status = child.wait().await?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(Some(channel::ended(code)))
}

fn start(session: &Session) -> anyhow::Result<Running> {
    let mut command = Command::new(&session.program);
    command.args(["lab", "session", "--netns"]).arg(&session.netns);
    command.env("PATH", &session.path).current_dir("/").kill_on_drop(true);
    if session.tty {
        command.arg("--terminal").env("TERM", "xterm");
    } else {
        command.process_group(0);
    }
    command.arg("--").args(&session.command);
    if session.tty { with_terminal(session, command) } else { with_pipes(session, command) }
}

fn with_pipes(session: &Session, mut command: Command) -> anyhow::Result<Running> {
    let piped = |wanted: bool| if wanted { Stdio::piped() } else { Stdio::null() };
    command.stdin(piped(session.stdin)).stdout(piped(session.stdout)).stderr(piped(session.stderr));
    let mut child = command.spawn().context("cannot start the session")?;
    let mut outputs: Vec<(u8, Reader)> = Vec::new();
    outputs.extend(child.stdout.take().map(|stdout| (channel::STDOUT, Box::new(stdout) as Reader)));
    outputs.extend(child.stderr.take().map(|stderr| (channel::STDERR, Box::new(stderr) as Reader)));
    let input = child.stdin.take().map(|stdin| Box::new(stdin) as Writer);
    Ok(Running { child, input, outputs, terminal: None })
}

fn with_terminal(session: &Session, mut command: Command) -> anyhow::Result<Running> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags).context("cannot open a terminal")?;
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    command.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
    let child = command.spawn().context("cannot start the session")?;
    // Until it is dropped the command holds the terminal's other end open, and its output would never end.
    drop(command);
    let output: Reader = Box::new(pipe::Receiver::from_owned_fd_unchecked(ours.try_clone()?)?);
    let input: Writer = Box::new(pipe::Sender::from_owned_fd_unchecked(ours.try_clone()?)?);
    let input = session.stdin.then_some(input);
    Ok(Running { child, input, outputs: vec![(channel::STDOUT, output)], terminal: Some(ours) })
}

/// Until the pod is gone: it takes its commands along.
async fn gone(netns: &Path) {
    while netns.exists() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Queues an output until it ends; a terminal whose last process is gone gives EIO.
async fn pump(channel: u8, mut output: Reader, queue: mpsc::Sender<Bytes>) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(length @ 1..) = output.read(&mut chunk).await {
        if queue.send(channel::frame(channel, &chunk[..length])).await.is_err() {
            return;
        }
    }
}

async fn send(
    sink: &mut (impl Sink<Message, Error = Error> + Unpin),
    mut waiting: mpsc::Receiver<Bytes>,
) -> Result<(), Error> {
    while let Some(message) = waiting.recv().await {
        sink.send(Message::Binary(message)).await?;
    }
    Ok(())
}

/// Does what the client says until it is gone.
async fn read(
    stream: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
    mut input: Option<Writer>,
    terminal: Option<OwnedFd>,
) {
    while let Some(Ok(message)) = stream.next().await {
        let Message::Binary(message) = message else { continue };
        match (channel::read(&message), &mut input) {
            (Said::Input(bytes), Some(writer)) => {
                // A process that does not read any more may still write.
                let written = writer.write_all(&bytes).await;
                input = input.take().filter(|_| written.is_ok());
            }
            (Said::NoMoreInput, _) if terminal.is_none() => input = None,
            (Said::Resized(size), _) => {
                if let Some(terminal) = &terminal {
                    // Nobody is told of a size if the process has just ended.
                    let _ = tcsetwinsize(terminal, size);
                }
            }
            _ => {}
        }
    }
}

/// The process group of a session, which ends with it.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            // It is gone already where the command ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
