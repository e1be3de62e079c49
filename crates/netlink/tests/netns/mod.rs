//! Network namespaces that nobody names: each lives as long as its descriptor, so none is left behind by a test that fails.

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;

pub struct Netns(pub File);

impl Netns {
    /// A new one, with its loopback interface up.
    pub fn new() -> Netns {
        let make = || {
            // SAFETY: a network namespace is no part of what the threads of a process must share.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        let netns = Netns(thread::spawn(make).join().unwrap());
        netns.sh("ip link set lo up");
        netns
    }

    /// Does something inside.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let enter = || {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                inside()
            };
            scope.spawn(enter).join().unwrap()
        })
    }

    /// Runs a shell line inside and gives what it printed.
    pub fn sh(&self, line: &str) -> String {
        let output = self.run(|| Command::new("sh").args(["-ec", line]).output().unwrap());
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}
