//! The resident processes of a lab by name: how each is started, and how to tell that it is ready.

use crate::layout::Layout;
use crate::process::Process;
use crate::topology::{Topology, Tunnel};
use crate::{api, down, status};
use anyhow::{Context, bail, ensure};
use std::fmt;
use std::os::unix::net::UnixStream;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How long a process may take to become ready.
const DEADLINE: Duration = Duration::from_secs(40);
/// And to end when it is told to.
const STOP: Duration = Duration::from_secs(10);
/// Between two looks whether it is.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// One of the resident processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    ApiServer,
    Controller,
    /// Of this node.
    Agent(String),
    Kubelet(String),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::ApiServer => f.write_str("apiserver"),
            Name::Controller => f.write_str("controller"),
            Name::Agent(node) => write!(f, "node-{node}"),
            Name::Kubelet(node) => write!(f, "kubelet-{node}"),
        }
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        match text.split_once('-') {
            None if text == "apiserver" => Ok(Name::ApiServer),
            None if text == "controller" => Ok(Name::Controller),
            Some(("node", node)) => Ok(Name::Agent(node.into())),
            Some(("kubelet", node)) => Ok(Name::Kubelet(node.into())),
            _ => Err("apiserver, controller, node-NODE or kubelet-NODE".into()),
        }
    }
}

/// Kills a process of a lab.
pub fn kill(layout: &Layout, name: &Name) -> anyhow::Result<()> {
    let process = resident(layout, name)?;
    process.kill();
    while process.runs() {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("{name} is killed: `tortie lab start {name}` starts it again");
    Ok(())
}

/// Tells a process of a lab to end, and waits until it has.
pub fn stop(layout: &Layout, name: &Name) -> anyhow::Result<()> {
    let process = resident(layout, name)?;
    let asked = Instant::now();
    process.terminate();
    while process.runs() {
        let kill = format!("`tortie lab kill {name}` ends it");
        ensure!(asked.elapsed() < STOP, "{name} does not end within {} s: {kill}", STOP.as_secs());
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("{name} has ended: `tortie lab start {name}` starts it again");
    Ok(())
}

fn resident(layout: &Layout, name: &Name) -> anyhow::Result<Process> {
    ensure!(layout.exists(), "there is no lab `{}`{}", layout.name, down::others(&layout.labs));
    name.running(layout).with_context(|| format!("{name} does not run"))
}

/// Starts a process of a lab and waits until it is ready.
pub fn start(layout: &Layout, name: &Name) -> anyhow::Result<()> {
    ensure!(layout.exists(), "there is no lab `{}`{}", layout.name, down::others(&layout.labs));
    ensure!(name.running(layout).is_none(), "{name} runs already");
    let topology = Topology::read(&layout.topology())?;
    if let Name::Agent(node) | Name::Kubelet(node) = name {
        topology.node(node)?;
    }
    name.start(layout, &topology)?;
    name.wait(layout)?;
    println!("{name} runs");
    Ok(())
}

impl Name {
    /// The process, if it runs.
    pub fn running(&self, layout: &Layout) -> Option<Process> {
        Process::recorded(layout, &self.to_string()).filter(|process| process.runs())
    }

    pub fn start(&self, layout: &Layout, topology: &Topology) -> anyhow::Result<Process> {
        let name = self.to_string();
        match self {
            Name::ApiServer => {
                Process::start(layout, &name, &layout.fabric(), &apiserver_args(layout, topology))
            }
            Name::Controller => {
                let mut args =
                    vec!["controller".to_owned(), format!("--kubeconfig={}", layout.kubeconfig().display())];
                args.extend(topology.controller.iter().cloned());
                Process::start(layout, &name, &layout.fabric(), &args)
            }
            Name::Agent(node) => {
                let args = agent_args(layout, topology, node)?;
                Process::start(layout, &name, &layout.node_netns(node), &args)
            }
            Name::Kubelet(node) => {
                let args = [
                    "lab".to_owned(),
                    format!("--name={}", layout.name),
                    format!("--dir={}", layout.labs.display()),
                    "kubelet".to_owned(),
                    format!("--node={node}"),
                ];
                Process::start(layout, &name, &layout.node_netns(node), &args)
            }
        }
    }

    /// Waits until it is ready, or says why it is not.
    pub fn wait(&self, layout: &Layout) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let asked = Instant::now();
            let Err(state) = self.ready(layout) else { return Ok(()) };
            if self.running(layout).is_none() {
                bail!("{self} has ended: {}", api::last_lines(&layout.log(&self.to_string())));
            }
            if start.elapsed() > DEADLINE {
                bail!(
                    "{self} does not get ready, it {state}: {}",
                    api::last_lines(&layout.log(&self.to_string()))
                );
            }
            // Answering is not to keep it from getting ready; nor is one answer that takes its time to use up ours.
            std::thread::sleep((10 * asked.elapsed()).clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
        }
    }

    /// Whether it is ready; if not, what it does instead.
    fn ready(&self, layout: &Layout) -> Result<(), String> {
        match self {
            Name::ApiServer => api::answers(layout).map_err(|e| format!("does not answer ({e:#})")),
            Name::Agent(node) => match status::is_ready(&layout.node(node).socket()) {
                Ok(None) => Ok(()),
                Ok(Some(why)) => Err(format!("says: {why}")),
                Err(e) => Err(format!("does not answer ({e})")),
            },
            Name::Controller => Ok(()),
            Name::Kubelet(node) => match UnixStream::connect(layout.node(node).kubelet_socket()) {
                Ok(_) => Ok(()),
                Err(e) => Err(format!("does not listen ({e})")),
            },
        }
    }
}

fn apiserver_args(layout: &Layout, topology: &Topology) -> Vec<String> {
    let mut args = vec![
        "apiserver".to_owned(),
        format!("--listen={}", api::address(topology)),
        format!("--data={}", layout.apiserver().display()),
        format!("--kubeconfig={}", layout.kubeconfig().display()),
        format!("--kubelets={}", layout.nodes().display()),
    ];
    for node in topology.node_names() {
        args.push(format!("--node-kubeconfig={node}={}", layout.node(&node).kubeconfig().display()));
    }
    args
}

fn agent_args(layout: &Layout, topology: &Topology, node: &str) -> anyhow::Result<Vec<String>> {
    let files = layout.node(node);
    let described = topology.node(node)?;
    let driver = described.ipip_driver.as_ref().map(|driver| format!("--ipip-driver={driver}"));
    let args = vec![
        "node".to_owned(),
        format!("--node-name={node}"),
        format!("--ip={}", described.address),
        format!("--kubeconfig={}", files.kubeconfig().display()),
        format!("--socket={}", files.socket().display()),
        format!("--state-dir={}", files.state().display()),
        // As Calico's manifests have it: without IP in IP or direct routes nobody needs BGP.
        format!("--backend={}", if topology.mode.tunnel() == Some(Tunnel::Vxlan) { "vxlan" } else { "bird" }),
    ];
    Ok(args.into_iter().chain(driver).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_is_read_as_it_is_written() {
        for name in
            [Name::ApiServer, Name::Controller, Name::Agent("master1".into()), Name::Kubelet("a-b".into())]
        {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        assert!("agent-master1".parse::<Name>().is_err());
    }
}
