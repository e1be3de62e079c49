//! DELs that came while the agent was away: a file for each attachment, so that the same DEL twice is one. The plugin
//! writes them, the agent carries them out and removes them.

use crate::error::Error;
use crate::{durable, sealed};
use derive::AttachmentId;
use model::IfName;
use node::cni::{Command, Request};
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

/// Where the queue is, below the directory of the agent's state.
pub fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("cni-del-queue")
}

/// The name of an attachment's file: `CONTAINER@INTERFACE@NETWORK.json`, with what has no place in a name as `%XX`.
pub fn file_name(id: &AttachmentId) -> String {
    let mut name = String::new();
    for (i, part) in [&id.container_id, id.interface.as_str(), &id.network].into_iter().enumerate() {
        if i > 0 {
            name.push('@');
        }
        for byte in part.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-') {
                name.push(byte.into());
            } else {
                write!(name, "%{byte:02X}").expect("writing to a text cannot fail");
            }
        }
    }
    name + ".json"
}

/// Queues a DEL, durably.
///
/// # Panics
/// If the request is no DEL: nothing else may be put off.
pub fn put(directory: &Path, request: &Request) -> Result<(), Error> {
    assert_eq!(request.command, Command::Del, "only a DEL may be put off");
    let write = || {
        durable::create_directory(directory)?;
        let id = id(request).ok_or(io::ErrorKind::InvalidInput)?;
        // The namespace was opened for the call that failed; its path may be another's by the time this is read.
        let request = Request { netns: None, ..request.clone() };
        durable::replace(directory, &file_name(&id), &sealed::seal(serde_json::to_vec(&request)?))?;
        durable::sync_directory(directory)
    };
    write().map_err(|cause| Error::Queue { path: directory.to_owned(), cause })
}

fn id(request: &Request) -> Option<AttachmentId> {
    let interface: IfName = request.interface.clone()?;
    Some(AttachmentId {
        network: request.network.clone(),
        container_id: request.container_id.clone(),
        interface,
    })
}

/// A queued DEL.
#[derive(Debug)]
pub struct Queued {
    /// Its file's name.
    pub name: String,
    /// What to do, or why that cannot be told.
    pub request: Result<Request, String>,
}

/// The names of the queued DELs. No directory is an empty queue.
pub fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string()
            && name.ends_with(".json")
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Reads one queued DEL; `None` if it is gone.
pub fn read(directory: &Path, name: &str) -> io::Result<Option<Queued>> {
    let text = match std::fs::read(directory.join(name)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == io::ErrorKind::IsADirectory => {
            return Ok(Some(Queued { name: name.to_owned(), request: Err(e.to_string()) }));
        }
        text => text?,
    };
    let request = sealed::open(&text)
        .and_then(|text| serde_json::from_slice::<Request>(text).map_err(|e| e.to_string()));
    let request = request.and_then(|request| match request.command {
        Command::Del => Ok(request),
        _ => Err("it is no DEL".to_owned()),
    });
    Ok(Some(Queued { name: name.to_owned(), request }))
}

/// Forgets a queued DEL that was carried out, durably.
pub fn remove(directory: &Path, name: &str) -> io::Result<()> {
    durable::remove(directory, name)?;
    durable::sync_directory(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::cni::Options;

    #[test]
    fn s37_whatever_an_attachment_is_called_its_file_is_in_the_directory() {
        let top = tempfile::tempdir().expect("a folder");
        let directory = top.path().join("state/queue");
        let hostile: Vec<String> =
            serde_json::from_str(include_str!("../tests/traversal.json")).expect("texts");
        assert_eq!(hostile.len(), 20);
        for (n, id) in hostile.iter().enumerate() {
            let request = Request {
                command: Command::Del,
                network: id.clone(),
                container_id: id.clone(),
                interface: Some(IfName::fixed("eth0")),
                netns: None,
                pod: None,
                options: Options::default(),
            };
            put(&directory, &request).expect("queued");
            let names = names(&directory).expect("it can be read");
            assert_eq!(names.len(), n + 1, "{id:?} has a file of its own: {names:?}");
            for name in &names {
                let read = read(&directory, name).expect("it can be read").expect("it is there");
                assert_eq!(file_name(&self::id(&read.request.expect("a DEL")).expect("it is named")), *name);
            }
        }
        let outside = std::fs::read_dir(top.path()).expect("ours").count();
        assert_eq!(outside, 1, "nothing stands beside the state's folder");
        assert_eq!(std::fs::read_dir(top.path().join("state")).expect("ours").count(), 1);
    }
}
