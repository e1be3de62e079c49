//! `lab status`: the nodes by what their agents say, and the pods by what the API says.

use crate::layout::Layout;
use crate::processes::Name;
use crate::table::{render, row};
use crate::topology::Topology;
use crate::{api, down, pods};
use anyhow::{anyhow, ensure};
use node::cni::{Command, Options, Reply, Request};
use node::socket::{Answer, Call, NodeStatus};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Prints both tables.
pub fn print(layout: &Layout) -> anyhow::Result<()> {
    ensure!(layout.exists(), "there is no lab `{}`{}", layout.name, down::others(&layout.labs));
    let topology = Topology::read(&layout.topology())?;
    print!("{}\n{}", nodes(layout, &topology), pods(layout)?);
    Ok(())
}

/// One line a node.
pub fn nodes(layout: &Layout, topology: &Topology) -> String {
    let mut rows = vec![row(["NODE", "ADDRESS", "AGENT", "KUBELET", "PODS", "PROBLEMS"])];
    let runs = |name: Name| name.running(layout).is_some();
    for node in topology.present() {
        let agent = ask(&layout.node(&node.name).socket());
        let state = match &agent {
            Ok(status) if status.ready => "ready".to_owned(),
            Ok(status) => format!("waits for {}", status.waiting_for.join(", ")),
            Err(_) if !runs(Name::Agent(node.name.clone())) => "stopped".to_owned(),
            Err(e) => e.to_string(),
        };
        let agent = agent.unwrap_or_default();
        let problems = if agent.problems.is_empty() { "none".to_owned() } else { agent.problems.join("; ") };
        rows.push(vec![
            node.name.clone(),
            node.address.to_string(),
            state,
            if runs(Name::Kubelet(node.name.clone())) { "runs" } else { "stopped" }.to_owned(),
            agent.endpoints.to_string(),
            problems,
        ]);
    }
    render(&rows)
}

/// One line a pod.
pub fn pods(layout: &Layout) -> anyhow::Result<String> {
    let list = api::run(layout, async |client| Ok(client.list_json(pods::resource(), None).await?))?;
    let mut rows = vec![row(["POD", "NODE", "ADDRESS", "PHASE"])];
    for pod in list["items"].as_array().into_iter().flatten() {
        let text = |pointer: &str| pod.pointer(pointer).and_then(|v| v.as_str()).unwrap_or("-").to_owned();
        rows.push(vec![
            text("/metadata/name"),
            text("/spec/nodeName"),
            text("/status/podIP"),
            text("/status/phase"),
        ]);
    }
    Ok(render(&rows))
}

/// Asks an agent for its account of itself.
pub fn ask(socket: &Path) -> anyhow::Result<NodeStatus> {
    match call(socket, &Call::Status)? {
        Answer::Status(status) => Ok(*status),
        answer => Err(unexpected(answer)),
    }
}

/// Asks an agent whether it is ready for pods, which costs it nothing: `None`, or why it is not.
pub fn is_ready(socket: &Path) -> anyhow::Result<Option<String>> {
    let status = Request {
        command: Command::Status,
        network: String::new(),
        container_id: String::new(),
        interface: None,
        netns: None,
        pod: None,
        options: Options::default(),
    };
    match call(socket, &Call::Cni(Box::new(status)))? {
        Answer::Cni(Reply::Done) => Ok(None),
        Answer::Cni(Reply::Failed(failure)) => Ok(Some(failure.msg)),
        answer => Err(unexpected(answer)),
    }
}

fn call(socket: &Path, call: &Call) -> anyhow::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(format!("{}\n", serde_json::to_string(call)?).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

fn unexpected(answer: Answer) -> anyhow::Error {
    match answer {
        Answer::Refused(why) => anyhow!("refuses: {why}"),
        Answer::Cni(_) | Answer::Status(_) => anyhow!("answers another question"),
    }
}
