//! Network namespaces, kept alive by bind mounts.

use anyhow::Context;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

/// Makes a new namespace and mounts it on a new file.
pub fn create(path: &Path) -> anyhow::Result<()> {
    File::create_new(path).with_context(|| format!("cannot create {}", path.display()))?;
    in_a_thread(|| {
        #[expect(deprecated, reason = "what can go wrong is the file table, which is not unshared")]
        rustix::thread::unshare(UnshareFlags::NEWNET).context("cannot make a network namespace")?;
        mount_bind("/proc/thread-self/ns/net", path)
            .with_context(|| format!("cannot mount {}", path.display()))
    })
}

/// Unmounts and removes a namespace's file; the namespace goes with the last process in it.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    match unmount(path, UnmountFlags::DETACH) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(e) => return Err(e).with_context(|| format!("cannot unmount {}", path.display())),
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Runs `f` inside a namespace, in a thread of its own.
pub fn inside<T: Send>(path: &Path, f: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    let netns = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    in_a_thread(|| {
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("cannot enter {}", path.display()))?;
        f()
    })
}

fn in_a_thread<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(f).join()).expect("a panic aborts")
}
