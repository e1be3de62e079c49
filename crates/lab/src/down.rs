//! The end of a lab: its processes, its namespaces with all devices in them, its files. Works from what there is, so that
//! a lab whose processes were killed, or which never came up, is removed just as well.

use crate::layout::{LabName, Layout};
use crate::process::{self, Process};
use crate::{kubelet, netns};
use anyhow::{Context, bail};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    let mut processes: Vec<Process> =
        process::names(layout).iter().filter_map(|name| Process::recorded(layout, name)).collect();
    processes.extend(process::inside(&inodes));
    for process in &processes {
        process.kill();
    }
    process::wait_until_gone(&processes, Duration::from_secs(10))?;
    for path in &namespaces {
        netns::remove(path)?;
    }
    fs::remove_dir_all(&layout.root).with_context(|| format!("cannot remove {}", layout.root.display()))?;
    // The last lab takes the directory with it.
    let _ = fs::remove_dir(&layout.labs);
    println!("lab `{}` is down", layout.name);
    Ok(())
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
