//! The end of a lab: its processes, its namespaces with all devices in them, its files. Works from what there is, so that
//! a lab whose processes were killed, or which never came up, is removed just as well.

use crate::kubelet;
use crate::layout::{LabName, Layout};
use crate::process::{self, Process};
use anyhow::{Context, bail, ensure};
use netlink::netns;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Ends one lab.
pub fn down(layout: &Layout) -> anyhow::Result<()> {
    if !layout.exists() {
        bail!("there is no lab `{}`{}", layout.name, others(&layout.labs));
    }
    let namespaces = namespaces(layout);
    let mut inodes = BTreeSet::new();
    for path in &namespaces {
        let meta = fs::metadata(path)?;
        inodes.insert((meta.dev(), meta.ino()));
    }
    end_processes(layout, &inodes)?;
    for path in &namespaces {
        netns::delete(path).with_context(|| format!("cannot unmount {}", path.display()))?;
    }
    fs::remove_dir_all(&layout.root).with_context(|| format!("cannot remove {}", layout.root.display()))?;
    // The last lab takes the directory with it, and the one above if that was made for labs.
    let _ = fs::remove_dir(&layout.labs);
    if let Some(parent) = layout.labs.parent().filter(|parent| parent.ends_with("tortie")) {
        let _ = fs::remove_dir(parent);
    }
    println!("lab `{}` is down", layout.name);
    Ok(())
}

/// Kills what is recorded and what is in the namespaces, until nothing of it runs: a process may have just started another.
fn end_processes(layout: &Layout, namespaces: &BTreeSet<(u64, u64)>) -> anyhow::Result<()> {
    let recorded: Vec<Process> =
        process::names(layout).iter().filter_map(|name| Process::recorded(layout, name)).collect();
    let start = Instant::now();
    loop {
        let mut left = process::inside(namespaces);
        left.extend(recorded.iter().filter(|process| process.runs()));
        let Some(process) = left.first() else { return Ok(()) };
        ensure!(start.elapsed() < Duration::from_secs(10), "process {} does not end", process.pid);
        for process in &left {
            process.kill();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ends every lab.
pub fn down_all(labs: &Path) -> anyhow::Result<()> {
    for name in names(labs) {
        down(&Layout::new(labs, &name))?;
    }
    Ok(())
}

/// Names of the labs that there are.
fn names(labs: &Path) -> Vec<LabName> {
    let entries = fs::read_dir(labs).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// What else there is, for people who mistyped a name.
pub fn others(labs: &Path) -> String {
    let names: Vec<String> = names(labs).iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        ": `tortie lab up` starts one".into()
    } else {
        format!("; there is {}", names.join(", "))
    }
}

/// Files on which namespaces of this lab are or were mounted.
fn namespaces(layout: &Layout) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(layout.namespaces()).into_iter().flatten().flatten().map(|e| e.path()).collect();
    for node in fs::read_dir(layout.nodes()).into_iter().flatten().flatten() {
        if let Some(node) = node.file_name().to_str() {
            paths.extend(kubelet::namespaces(&layout.node(node)));
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network;
    use crate::topology::{Mode, Topology};
    use std::process::Command;

    /// A lab's wires without anything that runs on them.
    fn wires(labs: &Path, topology: &Topology) -> Layout {
        let layout = Layout::new(labs, &"wires".parse().unwrap());
        layout.create(&topology.node_names()).unwrap();
        network::build(&layout, topology).unwrap();
        layout
    }

    fn in_node(layout: &Layout, node: &str, command: &[&str]) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--net={}", layout.node_netns(node).display())).args(command);
        nsenter
    }

    #[test]
    fn nodes_reach_each_other_through_the_router_and_nothing_is_left_of_them() {
        let labs = tempfile::tempdir().unwrap();
        let layout = wires(labs.path(), &Topology::article(Mode::Direct, 1, true));
        let pinged = in_node(&layout, "master1", &["ping", "-c1", "-W2", "192.168.60.162"]).output().unwrap();
        let mut stray = in_node(&layout, "master2", &["sleep", "60"]).spawn().unwrap();
        let netns = fs::metadata(layout.node_netns("master2")).unwrap();
        let netns = BTreeSet::from([(netns.dev(), netns.ino())]);
        while process::inside(&netns).is_empty() {
            std::thread::yield_now();
        }

        down(&layout).unwrap();

        assert!(pinged.status.success(), "{}", String::from_utf8_lossy(&pinged.stdout));
        assert!(stray.wait().unwrap().code().is_none(), "a process in our namespace is ended by a signal");
        assert!(!labs.path().exists());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&labs.path().display().to_string()));
    }

    #[test]
    fn a_lab_that_stopped_half_way_up_is_removed_too() {
        let labs = tempfile::tempdir().unwrap();
        let layout = Layout::new(labs.path(), &"half".parse().unwrap());
        layout.create(&["a".to_owned()]).unwrap();
        fs::write(layout.fabric(), "").unwrap();
        down(&layout).unwrap();
        assert!(!layout.exists());
    }
}
