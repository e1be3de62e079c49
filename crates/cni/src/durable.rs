//! Small files that survive a power cut: written beside, synced, renamed, and the directory synced.

use failpoint::failpoint;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Ending of files that are being written; what is left of one after a crash means nothing.
pub const UNFINISHED: &str = ".new";
/// What the kernel writes into a file in one go.
const PAGE: u64 = 4096;

/// Makes a directory that only root may read, with its parents, durably.
pub fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    create_directory(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_directory(parent),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

/// Puts a whole file under a name, or leaves what was there. Durable once `sync_directory` follows.
pub fn replace(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    put(directory, name, content, File::sync_data)
}

/// As [`replace`], for what need survive the process only.
pub fn replace_unsynced(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    put(directory, name, content, |_| Ok(()))
}

/// As [`replace_unsynced`], but text of the same length is written over the old one, if both are within one page: such a write
/// is done or not when the process dies, and a rename waits for the disk on some file systems.
pub fn rewrite(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let length = content.len() as u64;
    match OpenOptions::new().write(true).open(directory.join(name)) {
        Ok(mut file) if length <= PAGE && file.metadata()?.len() == length => {
            file.write_all(content)?;
            failpoint!("file: written over");
            Ok(())
        }
        _ => replace_unsynced(directory, name, content),
    }
}

fn put(
    directory: &Path,
    name: &str,
    content: &[u8],
    sync: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let unfinished = unfinished(directory, name);
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(content)?;
        failpoint!("file: written");
        sync(&file)?;
        fs::rename(&unfinished, directory.join(name))?;
        failpoint!("file: renamed");
        Ok(())
    };
    write().inspect_err(|_| {
        // Of a full disk, not even that much should stay.
        let _ = fs::remove_file(&unfinished);
    })
}

fn unfinished(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}{UNFINISHED}"))
}

/// Takes a file away; its absence is success. Durable once `sync_directory` follows.
pub fn remove(directory: &Path, name: &str) -> io::Result<()> {
    let removed = fs::remove_file(directory.join(name));
    failpoint!("file: removed");
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Makes renames and removals inside a directory durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()?;
    failpoint!("directory: synced");
    Ok(())
}
