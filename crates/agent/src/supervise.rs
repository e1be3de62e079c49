//! The first process of a container: it starts the agent, and starts it again at once when it dies of a signal, as it does
//! when it finds a fault in itself. A runtime would let the node wait for minutes after the second time.
//!
//! An agent that ends by itself ends the container, and so does one that dies again and again: then the runtime's growing
//! wait, and people, are what is wanted.

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// So many deaths within `WHILE` are endured.
const DEATHS: usize = 10;
const WHILE: Duration = Duration::from_secs(60);

/// Whether this process is the first of its container.
pub(crate) fn is_wanted() -> bool {
    std::process::id() == 1
}

/// Runs the agent, this program with the same arguments, until it ends by itself or is told to.
pub(crate) async fn run() -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut deaths = Vec::new();
    loop {
        let mut agent = tokio::process::Command::from(agent()).spawn().context("cannot start the agent")?;
        let mut asked = false;
        let ended = loop {
            let told = tokio::select! {
                ended = agent.wait() => break ended?,
                _ = term.recv() => Signal::TERM,
                _ = int.recv() => Signal::INT,
            };
            asked = true;
            pass_on(agent.id(), told);
        };
        match outcome(ended, asked) {
            Outcome::Over => return Ok(()),
            Outcome::Failed(code) => std::process::exit(code),
            Outcome::Died(signal) => {
                let now = Instant::now();
                deaths.retain(|death| now - *death < WHILE);
                deaths.push(now);
                if deaths.len() > DEATHS {
                    bail!(
                        "the agent died {} times within a minute, at last of signal {signal}",
                        deaths.len()
                    );
                }
                tracing::error!("the agent died of signal {signal}; it is started again");
            }
        }
    }
}

fn agent() -> Command {
    let mut args = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    command.arg0(args.next().unwrap_or_else(|| "tortie".into())).args(args);
    command
}

fn pass_on(agent: Option<u32>, told: Signal) {
    if let Some(pid) = agent.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
        // It may end by itself at this moment; it was not waited for yet, so the number is nobody else's.
        let _ = kill_process(pid, told);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Over,
    Failed(i32),
    Died(i32),
}

fn outcome(ended: ExitStatus, asked: bool) -> Outcome {
    match (ended.signal(), ended.code()) {
        (Some(signal), _) if !asked => Outcome::Died(signal),
        (None, Some(code)) if code != 0 => Outcome::Failed(code),
        _ => Outcome::Over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_dies_without_being_asked_is_started_again() {
        let (killed, failed) = (ExitStatus::from_raw(6), ExitStatus::from_raw(3 << 8));
        assert_eq!(outcome(killed, false), Outcome::Died(6));
        assert_eq!(outcome(killed, true), Outcome::Over);
        assert_eq!(outcome(failed, false), Outcome::Failed(3));
        assert_eq!(outcome(ExitStatus::from_raw(0), false), Outcome::Over);
    }
}
