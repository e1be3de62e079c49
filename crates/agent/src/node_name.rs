//! The node's name, and the file `nodename` in which Calico's tools and the next run look for it.

use crate::files::put_aside;
use anyhow::{Context, bail};
use cni::durable;
use model::dns;
use std::path::Path;
use std::{fs, io};

const FILE: &str = "nodename";

/// The name that was given, the name of the last run, or the host's in lower case, as with calico-node.
///
/// # Errors
/// None of them can be the name of a Node.
pub(crate) fn find(given: Option<&str>, state_dir: &Path) -> anyhow::Result<String> {
    let given = given.filter(|name| !name.is_empty()).map(str::to_owned);
    let host = || fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = given.or_else(|| stored(state_dir)).or_else(|| host().map(|name| name.trim().to_lowercase()));
    let name = name.unwrap_or_default();
    if !dns::is_subdomain(&name) {
        bail!("`{name}` cannot be the name of a Node: give --node-name as `kubectl get nodes` shows it");
    }
    Ok(name)
}

/// The name of the last run; a file that holds none is put aside.
fn stored(state_dir: &Path) -> Option<String> {
    let why = match fs::read(state_dir.join(FILE)) {
        Ok(bytes) => match String::from_utf8_lossy(&bytes).trim() {
            name if dns::is_subdomain(name) => return Some(name.to_owned()),
            name => format!("{name:?} cannot be the name of a Node"),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(e) => e.to_string(),
    };
    put_aside(state_dir, FILE, &why);
    None
}

/// Keeps the name for others and for the next run. The other name that stood there, if one did.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn keep(state_dir: &Path, name: &str) -> anyhow::Result<Option<String>> {
    let old = stored(state_dir);
    if old.as_deref() != Some(name) {
        durable::replace(state_dir, FILE, name.as_bytes())
            .with_context(|| format!("cannot write {}", state_dir.join(FILE).display()))?;
    }
    Ok(old.filter(|old| old != name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_given_counts_then_the_last_runs_then_the_hosts() {
        let dir = tempfile::tempdir().unwrap();
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_lowercase();
        assert_eq!(find(None, dir.path()).unwrap(), host);
        assert_eq!(keep(dir.path(), "n1").unwrap(), None);
        assert_eq!(find(Some(""), dir.path()).unwrap(), "n1");
        assert_eq!(find(Some("n2"), dir.path()).unwrap(), "n2");
        assert_eq!(keep(dir.path(), "n2").unwrap(), Some("n1".to_owned()));
        let refused = find(Some("N 2"), dir.path()).unwrap_err().to_string();
        assert!(refused.contains("`N 2` cannot be the name of a Node"), "{refused}");
    }

    #[test]
    fn f07_a_damaged_file_of_the_name_is_put_aside_and_written_anew() {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_lowercase();
        let damaged = [&b""[..], b"\0\0\0\0", b"n\x931", b"two words", &[b'a'; 254]];
        for bytes in damaged.map(Some).into_iter().chain([None]) {
            let dir = tempfile::tempdir().unwrap();
            let (file, aside) = (dir.path().join(FILE), dir.path().join("nodename.unreadable"));
            match bytes {
                Some(bytes) => fs::write(&file, bytes).unwrap(),
                None => fs::create_dir(&file).unwrap(),
            }
            assert_eq!(find(None, dir.path()).unwrap(), host, "{bytes:?}");
            assert!(aside.exists(), "{bytes:?}");
            assert_eq!(keep(dir.path(), "n1").unwrap(), None);
            assert_eq!(fs::read_to_string(&file).unwrap(), "n1");
        }
    }
}
