//! The pod's network namespace: opened once here, then known by its descriptor only. What happens to the path afterwards
//! changes nothing.

use crate::error::Error;
use node::cni::NetnsRef;
use rustix::fs::{Mode, OFlags, fstat, fstatfs, open, stat};
use std::fs::File;
use std::io;

/// `NSFS_MAGIC` (linux/magic.h).
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// An open namespace and how the agent will know it again.
pub(crate) struct Netns {
    pub file: File,
    pub reference: NetnsRef,
}

/// Opens `path`, which must be a namespace and not this process's own. That it is one of networks is checked by the agent,
/// which looks into it.
pub(crate) fn open_pod(path: &str) -> Result<Netns, Error> {
    let failed = |cause: rustix::io::Errno| Error::OpenNetns { path: path.to_owned(), cause: cause.into() };
    let refused = |why| Error::NotANetns { path: path.to_owned(), why };
    // Without O_NONBLOCK, opening a FIFO waits for its writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = open(path, flags, Mode::empty()).map_err(failed)?;
    if fstatfs(&fd).map_err(failed)?.f_type as i64 != NSFS_MAGIC {
        return Err(refused("it is no namespace file"));
    }
    let found = fstat(&fd).map_err(failed)?;
    let own = stat("/proc/self/ns/net").map_err(failed)?;
    if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino) {
        return Err(refused("it is the node's own"));
    }
    let reference = NetnsRef { path: path.to_owned(), inode: (found.st_dev, found.st_ino) };
    Ok(Netns { file: File::from(fd), reference })
}

/// Opens `path` for a DEL, for which a namespace that is gone, or was never one, is no obstacle.
pub(crate) fn open_if_there(path: &str) -> Result<Option<Netns>, Error> {
    match open_pod(path) {
        Ok(netns) => Ok(Some(netns)),
        Err(Error::NotANetns { .. }) => Ok(None),
        Err(Error::OpenNetns { cause, .. }) if is_absence(&cause) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_absence(cause: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotADirectory, NotFound, PermissionDenied};
    matches!(cause.kind(), NotFound | NotADirectory | PermissionDenied | InvalidInput)
}
