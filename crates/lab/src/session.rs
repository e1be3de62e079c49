//! The process that becomes a command in a pod: it enters the pod's namespace, makes the terminal that it was given its
//! own, and gives its place to the command.

use anyhow::Context;
use netlink::netns::Netns;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// What shells and container runtimes exit with where a command is not found, or cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;

/// Runs `command` inside `netns`; returns only if it cannot be started.
pub fn run(netns: &Path, terminal: bool, command: &[String]) -> anyhow::Result<ExitCode> {
    if terminal {
        rustix::process::setsid().context("cannot begin a session")?;
        rustix::process::ioctl_tiocsctty(std::io::stdin()).context("cannot take the terminal")?;
    }
    let (program, args) = command.split_first().context("there is no command")?;
    let mut prepared = Command::new(program);
    let error = Netns::open_any(netns)?.start(prepared.args(args))?.exec();
    eprintln!("cannot run \"{program}\": {error}");
    Ok(ExitCode::from(if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN }))
}
