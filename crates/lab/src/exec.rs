//! `lab exec`: the command takes this process's place inside the namespace, so that its terminal, signals and exit status
//! are its own.

use crate::down;
use crate::kubelet;
use crate::layout::Layout;
use crate::topology::Topology;
use anyhow::{Context, ensure};
use netlink::netns::Netns;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::str::FromStr;

/// Where to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    node: String,
    /// In the namespace `default`.
    pod: Option<String>,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let (node, pod) = text.split_once('/').map_or((text, None), |(node, pod)| (node, Some(pod)));
        if node.is_empty() || pod == Some("") {
            return Err("NODE or NODE/POD".into());
        }
        Ok(Place { node: node.into(), pod: pod.map(str::to_owned) })
    }
}

/// Runs a command; returns only if it cannot be started.
pub fn exec(layout: &Layout, place: &Place, command: &[String]) -> anyhow::Error {
    match prepare(layout, place, command) {
        Ok(mut prepared) => {
            anyhow::Error::new(prepared.exec()).context(format!("cannot run `{}`", command.join(" ")))
        }
        Err(e) => e,
    }
}

fn prepare(layout: &Layout, place: &Place, command: &[String]) -> anyhow::Result<Command> {
    ensure!(layout.exists(), "there is no lab `{}`{}", layout.name, down::others(&layout.labs));
    Topology::read(&layout.topology())?.node(&place.node)?;
    let node = layout.node(&place.node);
    let netns = match &place.pod {
        None => layout.node_netns(&place.node),
        Some(pod) => kubelet::netns_of(&node, pod).with_context(|| {
            format!("no pod `{pod}` runs on {}: `tortie lab status` lists them", place.node)
        })?,
    };
    let path = std::env::var("PATH").unwrap_or_default();
    let (program, args) = command.split_first().context("there is no command")?;
    let mut command = Command::new(program);
    command
        .args(args)
        .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", layout.bin().display()))
        .env("KUBECONFIG", layout.kubeconfig())
        .env("NODENAME", &place.node)
        .env("TORTIE_AGENT_SOCKET", node.socket());
    Netns::open_any(&netns)?.start(&mut command)?;
    Ok(command)
}
