//! The leak check: what there is before, what there is after, and the difference in words. Seen with iproute2's and nft's
//! eyes and /proc, never with our own.

use crate::netns;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Everything in some namespaces, one line a thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    lines: BTreeSet<String>,
}

const LOOKS: [(&str, &str); 7] = [
    ("link", "ip -o link show | sed -e 's/^[0-9]*: //' -e 's/[@:].*//'"),
    ("address", "ip -o -4 address show | awk '{print $2, $4}'"),
    ("route", "ip -4 route show table all"),
    ("neigh", "ip -4 neigh show nud permanent"),
    ("fdb", "bridge fdb show | grep -w permanent | grep -v -e ^33:33: -e ^01:00:5e: || true"),
    (
        "filter",
        "tc qdisc show | sed -n 's/^qdisc clsact [^ ]* dev \\([^ ]*\\).*/\\1/p' | while read d; do for w in ingress egress; do \
         tc filter show dev $d $w | grep handle | sed \"s/ id [0-9]*//; s/ tag .*//; s/^/$d $w /\"; done; done",
    ),
    // A set's elements are printed in any order, with brackets around whichever comes first and last.
    (
        "nft",
        "nft -nn list ruleset | sed -e 's/packets [0-9]* bytes [0-9]*//' -e 's/elements = //' -e 's/[{},]//g' | grep -v '^[[:space:]]*$' || true",
    ),
];

impl Inventory {
    /// Looks into namespaces.
    ///
    /// # Panics
    /// If one is not there.
    pub fn of<'a>(namespaces: impl IntoIterator<Item = &'a PathBuf>) -> Inventory {
        let mut lines = BTreeSet::new();
        for path in namespaces {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            for (kind, look) in LOOKS {
                let seen = netns::succeed(look, netns::command(path, "sh").args(["-c", look]).output());
                lines.extend(seen.lines().map(|line| format!("{name}: {kind} {}", line.trim())));
            }
        }
        Inventory { lines }
    }

    /// What a lab could leave behind on the machine: interfaces, and whatever names it: mounts and processes.
    ///
    /// # Panics
    /// Without /proc and /sys.
    pub fn of_machine(lab: &str) -> Inventory {
        let mut lines = BTreeSet::new();
        for link in std::fs::read_dir("/sys/class/net").expect("/sys is mounted").flatten() {
            lines.insert(format!("link {}", link.file_name().to_string_lossy()));
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        let mounts =
            mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|path| path.contains(lab));
        lines.extend(mounts.map(|path| format!("mount {path}")));
        for process in std::fs::read_dir("/proc").expect("/proc is mounted").flatten() {
            let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if command.contains(lab) {
                lines.insert(format!("process {} {command}", process.file_name().to_string_lossy()));
            }
        }
        Inventory { lines }
    }

    /// Lines that are there now and were not before (`+`), and the other way round (`-`).
    pub fn changes_since(&self, before: &Inventory) -> Vec<String> {
        let new = self.lines.difference(&before.lines).map(|line| format!("+ {line}"));
        let gone = before.lines.difference(&self.lines).map(|line| format!("- {line}"));
        new.chain(gone).collect()
    }

    /// Nothing came and nothing went.
    ///
    /// # Panics
    /// Otherwise, with what did.
    pub fn assert_as_before(&self, before: &Inventory) {
        let changes = self.changes_since(before);
        assert!(
            changes.is_empty(),
            "what was there before is not what is there now:\n{}",
            changes.join("\n")
        );
    }
}

/// How many files a process has open.
pub fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// The resident memory of a process, in KiB.
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::Netns;

    #[test]
    fn what_came_and_what_went_is_named() {
        let netns = Netns::new();
        let namespaces = [netns.path().to_owned()];
        let before = Inventory::of(&namespaces);
        netns.run("ip link add left type veth peer name right");
        let changes = Inventory::of(&namespaces).changes_since(&before);
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert!(changes[0].ends_with("link left"), "{changes:?}");
        netns.run("ip link del left");
        Inventory::of(&namespaces).assert_as_before(&before);
    }
}
