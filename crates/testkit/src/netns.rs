//! Network namespaces of a test: made for it, and gone with it, also when it fails.

use crate::process::Guard;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

static MADE: AtomicU32 = AtomicU32::new(0);

/// A namespace, mounted on a file of its own until this is dropped.
#[derive(Debug)]
pub struct Netns {
    path: PathBuf,
}

impl Netns {
    /// A new one, with `lo` up.
    ///
    /// # Panics
    /// Without the right to make one: tests run as root.
    pub fn new() -> Netns {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tortie-test-{}-{number}.netns", std::process::id()));
        netlink::netns::Netns::create(&path).expect("tests run as root");
        let netns = Netns { path };
        netns.run("ip link set lo up");
        netns
    }

    /// The file on which it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a line of shell inside and returns what it printed.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&self, line: &str) -> String {
        succeed(line, self.command("sh").args(["-c", line]).output())
    }

    /// Runs a line of shell inside, whatever comes of it.
    pub fn try_run(&self, line: &str) -> Output {
        self.command("sh").args(["-c", line]).output().expect("sh is there")
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        command(&self.path, program)
    }

    /// Starts a command inside, which ends with the guard.
    pub fn spawn(&self, line: &str) -> Guard {
        Guard::spawn(self.command("sh").args(["-c", &format!("exec {line}")]))
    }

    /// Runs `f` in a thread inside.
    pub fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        inside(&self.path, f)
    }
}

impl Default for Netns {
    fn default() -> Netns {
        Netns::new()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = netlink::netns::delete(&self.path);
    }
}

/// A command that will run inside the namespace mounted at `path`.
pub fn command(path: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", path.display())).arg("--").arg(program);
    command
}

/// Runs `f` in a thread inside the namespace mounted at `path`.
///
/// # Panics
/// If there is none, or `f` does.
pub fn inside<T: Send>(path: &Path, f: impl FnOnce() -> T + Send) -> T {
    open(path).run(f).expect("tests run as root")
}

/// Opens the namespace mounted at `path`.
pub(crate) fn open(path: &Path) -> netlink::netns::Netns {
    netlink::netns::Netns::open_any(path).unwrap_or_else(|e| panic!("{e}"))
}

/// What a command printed, if it ended well.
pub(crate) fn succeed(what: &str, output: std::io::Result<Output>) -> String {
    let output = output.unwrap_or_else(|e| panic!("`{what}` cannot run: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "`{what}` fails with {}\n{out}{err}", output.status);
    out.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_namespace_has_nothing_but_lo_and_goes_with_its_guard() {
        let netns = Netns::new();
        let path = netns.path().to_owned();
        assert_eq!(netns.run("ip -o link show up").lines().count(), 1);
        drop(netns);
        assert!(!path.exists());
        assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&path.display().to_string()));
    }
}
