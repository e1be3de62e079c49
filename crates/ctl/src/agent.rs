//! The agent of this node, asked through its socket.

use node::socket::{Answer, Call, NodeStatus};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long the agent may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why the agent said nothing of itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its socket is root's.
    #[error("only root may ask the agent on {0}")]
    Barred(String),
    /// Nobody listens.
    #[error("no agent answers on {0}")]
    Away(String),
    /// Somebody listens, and the conversation failed.
    #[error("the agent on {socket} does not answer: {cause}")]
    Silent { socket: String, cause: String },
}

/// What the agent says of itself.
pub fn status(socket: &Path) -> Result<NodeStatus, Error> {
    let name = socket.display().to_string();
    let stream = UnixStream::connect(socket).map_err(|e| match e.kind() {
        ErrorKind::PermissionDenied => Error::Barred(name.clone()),
        _ => Error::Away(name.clone()),
    })?;
    talk(stream).map_err(|e| Error::Silent { socket: name, cause: e.to_string() })
}

fn talk(mut stream: UnixStream) -> std::io::Result<NodeStatus> {
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let mut call = serde_json::to_string(&Call::Status)?;
    call.push('\n');
    stream.write_all(call.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    match serde_json::from_str(&line)? {
        Answer::Status(status) => Ok(*status),
        Answer::Refused(why) => Err(std::io::Error::other(why)),
        Answer::Cni(_) => Err(std::io::Error::other("it answered another question")),
    }
}
