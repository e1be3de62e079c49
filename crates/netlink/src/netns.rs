//! Network namespaces: opened once and checked, then used by descriptor only, so that a path that is swapped later changes
//! nothing.

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

/// `NSFS_MAGIC` of `linux/magic.h`.
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;
/// `NS_GET_NSTYPE` of `linux/nsfs.h`: `_IO(0xb7, 3)`.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
/// The calling thread's own namespace.
const OWN: &str = "/proc/thread-self/ns/net";

/// Why a path is no namespace that may be used.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    #[error("cannot open network namespace {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("{path} is not a network namespace")]
    NotANetns { path: PathBuf },
    #[error("{path} is the node's own network namespace, not a pod's")]
    Own { path: PathBuf },
    #[error("cannot make network namespace {path}: {source}")]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot enter network namespace: {0}")]
    Enter(#[source] io::Error),
}

impl NetnsError {
    /// The system's error number, where it said no.
    pub fn errno(&self) -> Option<i32> {
        match self {
            NetnsError::Open { source, .. }
            | NetnsError::Create { source, .. }
            | NetnsError::Enter(source) => source.raw_os_error(),
            NetnsError::NotANetns { .. } | NetnsError::Own { .. } => None,
        }
    }
}

/// An open network namespace. It lives at least as long as this.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    inode: (u64, u64),
}

impl Netns {
    /// Opens a namespace that is not the caller's own. The path must be the file itself or `/proc/PID/ns/net`; any other
    /// link is refused.
    pub fn open(path: &Path) -> Result<Netns, NetnsError> {
        let netns = Netns::open_any(path)?;
        let own = fs::metadata(OWN).map_err(|source| NetnsError::Open { path: OWN.into(), source })?;
        if netns.inode == (own.dev(), own.ino()) {
            return Err(NetnsError::Own { path: path.to_owned() });
        }
        Ok(netns)
    }

    /// Opens any namespace, the caller's own too.
    pub fn open_any(path: &Path) -> Result<Netns, NetnsError> {
        let failed =
            |errno: rustix::io::Errno| NetnsError::Open { path: path.to_owned(), source: errno.into() };
        let refused = |_| NetnsError::NotANetns { path: path.to_owned() };
        let follow = if is_proc_link(path) { OFlags::empty() } else { OFlags::NOFOLLOW };
        // A look first, which opens nothing: a FIFO would make us wait, a device would do something.
        let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC | follow, Mode::empty());
        let place = place.map_err(failed)?;
        nsfs(&place).map_err(refused)?;
        let same = format!("/proc/self/fd/{}", place.as_raw_fd());
        let fd = rustix::fs::open(same, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        Netns::checked(fd).map_err(|_| NetnsError::NotANetns { path: path.to_owned() })
    }

    /// The calling thread's own.
    pub fn own() -> Result<Netns, NetnsError> {
        Netns::open_any(Path::new(OWN))
    }

    /// Takes a descriptor that somebody handed over, if it is a network namespace.
    pub fn checked(fd: OwnedFd) -> Result<Netns, NetnsError> {
        let refused = || NetnsError::NotANetns { path: format!("descriptor {}", fd.as_raw_fd()).into() };
        nsfs(&fd).map_err(|()| refused())?;
        // SAFETY: this ioctl takes no argument.
        let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
        if kind != libc::CLONE_NEWNET {
            return Err(refused());
        }
        let stat = rustix::fs::fstat(&fd).map_err(|_| refused())?;
        Ok(Netns { inode: (stat.st_dev, stat.st_ino), fd })
    }

    /// Runs `f` in a new namespace, which is gone when `f` ends.
    pub fn scratch<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: a network namespace is no part of what the threads of a process must share.
                unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(|e| NetnsError::Enter(e.into()))?;
                Ok(f())
            });
            thread.join().expect("a panic ends the process")
        })
    }

    /// Makes a namespace and keeps it alive by a file at `path` (mode 0444), which must not exist.
    pub fn create(path: &Path) -> Result<Netns, NetnsError> {
        let failed = |source| NetnsError::Create { path: path.to_owned(), source };
        OpenOptions::new().write(true).create_new(true).mode(0o444).open(path).map_err(failed)?;
        let made = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: a network namespace is no part of what the threads of a process must share.
                unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
                rustix::mount::mount_bind(OWN, path)
            });
            thread.join().expect("the thread does not panic")
        });
        if let Err(errno) = made {
            let _ = fs::remove_file(path);
            return Err(failed(errno.into()));
        }
        Netns::open(path)
    }

    /// Device and inode: what tells one namespace from another whose path is the same.
    pub fn inode(&self) -> (u64, u64) {
        self.inode
    }

    /// Runs `work` inside: the calling thread goes there and comes back.
    ///
    /// # Panics
    /// If the way back is barred: a thread in a wrong namespace must do nothing more.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T, NetnsError> {
        let own = fs::File::open(OWN).map_err(|source| NetnsError::Open { path: OWN.into(), source })?;
        enter(self.as_fd()).map_err(NetnsError::Enter)?;
        let done = work();
        enter(own.as_fd()).expect("the thread was there a moment ago");
        Ok(done)
    }

    /// Moves the calling thread inside, for good.
    pub fn enter(&self) -> Result<(), NetnsError> {
        enter(self.as_fd()).map_err(NetnsError::Enter)
    }

    /// Makes `command` start inside.
    pub fn start<'a>(&self, command: &'a mut Command) -> Result<&'a mut Command, NetnsError> {
        let fd = self.fd.try_clone().map_err(NetnsError::Enter)?;
        // SAFETY: `setns` is async-signal-safe, and the closure owns the descriptor.
        Ok(unsafe { command.pre_exec(move || enter(fd.as_fd())) })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl TryFrom<File> for Netns {
    type Error = NetnsError;
    fn try_from(file: File) -> Result<Netns, NetnsError> {
        Netns::checked(file.into())
    }
}

/// Takes away what `Netns::create` made at `path`. The namespace itself lives on while somebody uses it.
pub fn delete(path: &Path) -> io::Result<()> {
    match rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH) {
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    fs::remove_file(path)
}

fn enter(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(fd, Some(LinkNameSpaceType::Network))?)
}

/// Whether a descriptor is of the kernel's file system of namespaces.
fn nsfs(fd: &OwnedFd) -> Result<(), ()> {
    match rustix::fs::fstatfs(fd) {
        Ok(stat) if stat.f_type == NSFS_MAGIC => Ok(()),
        _ => Err(()),
    }
}

/// `/proc/PID/ns/net`, in which the last part is a link that only the kernel can make.
fn is_proc_link(path: &Path) -> bool {
    let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
    matches!(parts[..], ["/", "proc", _, "ns", "net"] | ["/", "proc", _, "task", _, "ns", "net"])
}
