//! `lab up`: wires, API server, what the datastore holds, agents, kubelets, pods; then what to try.

use crate::layout::Layout;
use crate::processes::Name;
use crate::topology::{Topology, Tunnel};
use crate::{UpArgs, api, network, pods, routes, seed, status};
use anyhow::{Context, bail};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Instant;

/// Starts a lab.
pub fn up(layout: &Layout, args: &UpArgs) -> anyhow::Result<()> {
    if layout.exists() {
        bail!(
            "lab `{}` is there already: `tortie lab status` shows it, `tortie lab down` ends it, `--name` makes another one",
            layout.name
        );
    }
    let topology = match &args.file {
        Some(path) => Topology::read(path)?,
        None => Topology::article(args.mode.unwrap_or_default(), args.nodes, args.router),
    };
    start(layout, &topology).with_context(|| {
        format!(
            "lab `{0}` did not come up; it is left for a look: `tortie lab down --name {0}` removes it",
            layout.name
        )
    })?;
    print!("\n{}\n{}\n{}", status::nodes(layout, &topology), status::pods(layout)?, tour(layout, &topology));
    Ok(())
}

fn start(layout: &Layout, topology: &Topology) -> anyhow::Result<()> {
    let mut progress = Progress::new();
    layout
        .create(&topology.node_names())
        .with_context(|| format!("cannot make {}", layout.root.display()))?;
    fs::write(layout.topology(), serde_saphyr::to_string(topology)?)?;
    links(layout)?;
    network::build(layout, topology)?;
    let subnets: Vec<String> = topology.subnets().iter().map(|subnet| subnet.cidr.to_string()).collect();
    progress.step(&format!("network: {} nodes on {}", topology.node_names().len(), subnets.join(" and ")));

    Name::ApiServer.start(layout, topology)?;
    Name::ApiServer.wait(layout)?;
    progress.step(&format!("API server: https://{}", api::address(topology)));

    api::run(layout, async |client| seed::write(&client, topology).await)?;
    progress.step(&format!("datastore: nodes, pool {} {}", topology.pool.name, topology.pool.cidr));

    for node in topology.node_names() {
        conflist(layout, &node)?;
        Name::Agent(node).start(layout, topology)?;
    }
    for node in topology.node_names() {
        Name::Agent(node).wait(layout)?;
    }
    progress.step("agents: ready");

    Name::Controller.start(layout, topology)?;
    for node in topology.node_names() {
        Name::Kubelet(node).start(layout, topology)?;
    }
    let running = api::run(layout, async |client| {
        let pods: Vec<_> =
            topology.present().flat_map(|node| node.pods.iter().map(move |pod| (&node.name, pod))).collect();
        for (node, pod) in &pods {
            pods::create(&client, &pod.name, node, pod.address).await?;
        }
        let mut running = Vec::new();
        for (_, pod) in &pods {
            let address = pods::wait_until_running(&client, &pod.name).await?.parse()?;
            running.push(routes::Pod { name: pod.name.clone(), address });
        }
        Ok(running)
    })?;
    progress.step(&format!("pods: {} running", running.len()));

    let missing = routes::wait(layout, &topology.node_names(), &running)?;
    progress.step(&match &missing[..] {
        [] => "routes: every node has one to every pod".to_owned(),
        [one] => format!("routes: {one} yet"),
        [one, more @ ..] => format!("routes: {one} yet, and {} more are missing", more.len()),
    });
    Ok(())
}

/// Says what is done, and how long it took.
struct Progress {
    last: Instant,
}

impl Progress {
    fn new() -> Progress {
        Progress { last: Instant::now() }
    }

    fn step(&mut self, text: &str) {
        println!("{text} ({} ms)", self.last.elapsed().as_millis());
        self.last = Instant::now();
    }
}

/// The names under which this program is called inside a lab.
fn links(layout: &Layout) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    for name in ["tortie", "calicoctl", "kubectl-calico", "calico", "calico-ipam"] {
        symlink(&program, layout.bin().join(name))?;
    }
    Ok(())
}

/// The network configuration that the node's runtime finds.
fn conflist(layout: &Layout, node: &str) -> anyhow::Result<()> {
    let files = layout.node(node);
    let conflist = json!({
        "name": "k8s-pod-network",
        "cniVersion": "1.0.0",
        "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        "plugins": [{
            "type": "calico",
            "datastore_type": "kubernetes",
            "nodename": node,
            "ipam": {"type": "calico-ipam"},
            "policy": {"type": "k8s"},
            "kubernetes": {"kubeconfig": files.kubeconfig()},
            "agent_socket": files.socket(),
            "state_dir": files.state(),
        }],
    });
    Ok(fs::write(files.conflist(), format!("{conflist:#}\n"))?)
}

/// What to type next.
fn tour(layout: &Layout, topology: &Topology) -> String {
    let name =
        if layout.name.to_string() == "default" { String::new() } else { format!(" --name {}", layout.name) };
    let program = std::env::current_exe().map_or("tortie".into(), |path| path.display().to_string());
    let exec = |place: &str, command: &str| format!("  {program} lab exec{name} {place} -- {command}\n");
    let first = topology.present().next().expect("the topology is checked");
    let mut text = String::from("Try:\n");
    text += &exec(&first.name, "kubectl get node -o wide");
    text += &exec(&first.name, "kubectl get po -o wide");
    text += &exec(&first.name, "calicoctl get ippool -o wide");
    text += &exec(&first.name, "calicoctl node status");
    text += &exec(&first.name, "route -n");
    let (device, filter) = match topology.mode.tunnel() {
        Some(Tunnel::Ipip) => ("tunl0", "proto 4"),
        _ => ("vxlan.calico", "udp port 4789"),
    };
    text += &exec(&first.name, &format!("ifconfig {device}"));
    let other = topology.present().skip(1).find(|node| !node.pods.is_empty());
    if let (Some(target), Some(other)) = (first.pods.iter().find_map(|pod| pod.address), other) {
        let pod = &other.pods[0].name;
        text += &exec(&first.name, &format!("kubectl exec -it {pod} -- ping -c 3 {target}"));
        text += &exec(&format!("{}/{pod}", other.name), &format!("ping -c 3 {target}"));
        text += &exec(&first.name, &format!("tcpdump -ni {} {filter}", topology.uplink));
    }
    let patch = format!(
        "calicoctl patch ippool {} -p '{{\"spec\":{{\"{}\":\"Never\"}}}}'",
        topology.pool.name,
        if device == "tunl0" { "ipipMode" } else { "vxlanMode" }
    );
    text += &exec(&first.name, &patch);
    text + &format!("  {program} lab down{name}\n")
}
