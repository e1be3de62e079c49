//! Resident processes: started in a namespace, recorded by pid and start time, ended by that record alone; and found in
//! /proc by their namespace where no record is left.

use crate::layout::Layout;
use anyhow::Context;
use netlink::netns::Netns;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// One process, and no other that got its pid later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// In clock ticks since boot (proc_pid_stat(5), field 22).
    start: u64,
}

impl Process {
    /// Starts this program with `args` inside a namespace, with its output in the log of that name.
    pub fn start(layout: &Layout, name: &str, netns: &Path, args: &[String]) -> anyhow::Result<Process> {
        let log = File::options().create(true).append(true).open(layout.log(name))?;
        let mut command = Command::new(layout.bin().join("tortie"));
        command
            .args(args)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let netns = Netns::open_any(netns)?;
        let child = netns.start(&mut command)?.spawn().with_context(|| format!("cannot start {name}"))?;
        let process = Process::running(child.id()).with_context(|| format!("{name} ended at once"))?;
        fs::write(layout.processes().join(name), format!("{} {}\n", process.pid, process.start))?;
        Ok(process)
    }

    /// The process that has this pid now.
    fn running(pid: u32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the command's name in parentheses, which may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // While threads of it are left they hold its ports and files, though the first of them has ended.
        let ended = fields.first() == Some(&"Z") && fields.get(17) == Some(&"1");
        (!ended).then(|| Some(Process { pid, start: fields.get(19)?.parse().ok()? }))?
    }

    /// The recorded process of that name, whether or not it still runs.
    pub fn recorded(layout: &Layout, name: &str) -> Option<Process> {
        let text = fs::read_to_string(layout.processes().join(name)).ok()?;
        let (pid, start) = text.trim().split_once(' ')?;
        Some(Process { pid: pid.parse().ok()?, start: start.parse().ok()? })
    }

    pub fn runs(self) -> bool {
        Process::running(self.pid) == Some(self)
    }

    /// Ends it with SIGKILL, if it is still itself.
    pub fn kill(self) {
        self.signal(Signal::KILL);
    }

    /// Asks it to end with SIGTERM, if it is still itself.
    pub fn terminate(self) {
        self.signal(Signal::TERM);
    }

    fn signal(self, signal: Signal) {
        if self.runs()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            // It may end by itself between the look and the signal.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Names of all recorded processes.
pub fn names(layout: &Layout) -> Vec<String> {
    let entries = fs::read_dir(layout.processes()).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// All processes that are in one of these namespaces (device and inode).
pub fn inside(namespaces: &BTreeSet<(u64, u64)>) -> Vec<Process> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let netns = fs::metadata(format!("/proc/{pid}/ns/net")).ok()?;
        namespaces.contains(&(netns.dev(), netns.ino())).then(|| Process::running(pid))?
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_too() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::running(child.id()).unwrap();
        let other = Process { start: process.start + 1, ..process };
        assert!(process.runs() && !other.runs());
        other.kill();
        assert!(process.runs());
        process.kill();
        child.wait().unwrap();
        assert!(!process.runs());
    }
}
