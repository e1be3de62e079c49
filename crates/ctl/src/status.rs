//! `status`: the whole cluster in two tables, and what this node's agent says where there is one.

use crate::agent;
use crate::cli::StatusArgs;
use crate::failure::{Failure, Fault};
use crate::ipam::all;
use crate::kind::Kind;
use crate::output::{json, table, yaml};
use crate::session::Session;
use crate::store::Store;
use datastore::Resource;
use model::k8s;
use node::socket::{Encap, IpipDriver, NodeStatus};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Prints the cluster's state.
pub async fn run(session: &mut Session<'_>, args: &StatusArgs) -> Result<(), Failure> {
    let render = match args.output.as_str() {
        "table" => tables,
        "json" => |status: &Value, _: Option<&NodeStatus>| json::render(status) + "\n",
        "yaml" => |status: &Value, _: Option<&NodeStatus>| yaml::render(status),
        other => {
            return Err(Failure::new(format!(
                "unrecognized output format '{other}': use table, json or yaml"
            )));
        }
    };
    let store = session.store().await?;
    let agent = agent::status(&session.global.agent_socket).ok();
    let status = json!({"nodes": nodes(&store).await?, "pools": pools(&store).await?, "agent": agent});
    session.print(&render(&status, agent.as_ref()))
}

async fn list(store: &Store, kind: &str) -> Result<Vec<Value>, Failure> {
    let resource = Resource::of_kind(kind).expect("the kind is in the table");
    let list = store.client.list_json(resource, None).await.map_err(|e| Fault::of(kind, e))?;
    Ok(crate::store::parts(list).1)
}

async fn nodes(store: &Store) -> Result<Vec<Value>, Failure> {
    let kind = Kind::of_document("Node").expect("the kind is in the table");
    let mut blocks: BTreeMap<String, usize> = BTreeMap::new();
    for block in list(store, "IPAMBlock").await? {
        if let Some(node) =
            block["spec"]["affinity"].as_str().and_then(|affinity| affinity.strip_prefix("host:"))
        {
            *blocks.entry(node.to_owned()).or_default() += 1;
        }
    }
    let mut pods: BTreeMap<String, usize> = BTreeMap::new();
    for pod in list(store, "Pod").await? {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if !pod["spec"]["hostNetwork"].as_bool().unwrap_or_default() && !node.is_empty() {
            *pods.entry(node.to_owned()).or_default() += 1;
        }
    }
    let kubernetes: BTreeMap<String, k8s::Node> = all::<k8s::Node>(store, "Node")
        .await?
        .into_iter()
        .map(|node| (node.metadata.name.clone(), node))
        .collect();
    let views = store.list(kind, None).await?;
    let views = views["items"].as_array().cloned().unwrap_or_default();
    let status = |view: Value| {
        let name = view["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        json!({
            "node": name,
            "address": view["spec"]["bgp"]["ipv4Address"],
            "tunnel": view["spec"]["ipv4VXLANTunnelAddr"],
            "network": kubernetes.get(&name).map_or_else(|| "gone".to_owned(), network),
            "blocks": blocks.get(&name).copied().unwrap_or_default(),
            "pods": pods.get(&name).copied().unwrap_or_default(),
        })
    };
    Ok(views.into_iter().map(status).collect())
}

/// What a node's conditions say of its network: in words if there is none, by its reason if something is wrong with it.
fn network(node: &k8s::Node) -> String {
    let conditions = &node.status.conditions;
    let Some(network) = conditions.iter().find(|c| c.condition_type == "NetworkUnavailable") else {
        return "unknown".to_owned();
    };
    if network.status != "False" {
        let said = [&network.message, &network.reason].into_iter().find(|text| !text.is_empty());
        return said.map_or_else(|| "unavailable".to_owned(), String::clone);
    }
    let trouble = node::troubles(node).into_iter().next();
    trouble.map_or_else(|| "ok".to_owned(), |trouble| trouble.reason)
}

async fn pools(store: &Store) -> Result<Vec<Value>, Failure> {
    let pool = |pool: Value| {
        let mode =
            |field: &str| pool["spec"][field].as_str().filter(|mode| *mode != "Never").map(str::to_owned);
        let mode = match (mode("vxlanMode"), mode("ipipMode")) {
            (Some(mode), _) => format!("VXLAN {mode}"),
            (None, Some(mode)) => format!("IPIP {mode}"),
            (None, None) => "direct".to_owned(),
        };
        json!({
            "pool": pool["metadata"]["name"],
            "cidr": pool["spec"]["cidr"],
            "mode": mode,
            "natOutgoing": pool["spec"]["natOutgoing"].as_bool().unwrap_or_default(),
            "disabled": pool["spec"]["disabled"].as_bool().unwrap_or_default(),
        })
    };
    Ok(list(store, "IPPool").await?.into_iter().map(pool).collect())
}

fn tables(status: &Value, agent: Option<&NodeStatus>) -> String {
    let mut text = section(&status["nodes"], &["node", "address", "tunnel", "network", "blocks", "pods"]);
    text.push('\n');
    text += &section(&status["pools"], &["pool", "cidr", "mode", "natOutgoing", "disabled"]);
    text.push('\n');
    match agent {
        Some(agent) => text += &agent_text(agent),
        None => text += "No agent runs on this node.\n",
    }
    text
}

fn section(rows: &Value, fields: &[&str]) -> String {
    let mut lines = vec![fields.iter().map(|field| field.to_uppercase()).collect::<Vec<_>>()];
    for row in rows.as_array().into_iter().flatten() {
        let cell = |field: &&str| match &row[*field] {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        lines.push(fields.iter().map(cell).collect());
    }
    table::render(&lines)
}

fn agent_text(agent: &NodeStatus) -> String {
    let mut text = String::new();
    let mut say =
        |said: std::fmt::Arguments<'_>| writeln!(text, "{said}").expect("writing to text cannot fail");
    let state = match (agent.ready, agent.waiting_for.is_empty()) {
        (true, _) => "ready".to_owned(),
        (false, true) => "not ready".to_owned(),
        (false, false) => format!("waiting for {}", agent.waiting_for.join(", ")),
    };
    say(format_args!("Agent of {}: {state}, {} endpoints, MTU {}", agent.node, agent.endpoints, agent.mtu));
    match agent.ipip {
        Some(IpipDriver::Kernel) => say(format_args!("  IPIP by the kernel's module")),
        Some(IpipDriver::StandIn) => say(format_args!("  IPIP by the stand-in for the kernel's module")),
        None => say(format_args!("  IPIP has no driver here")),
    }
    let accepted: Vec<String> = agent.accepts.iter().map(Encap::to_string).collect();
    let accepted = if accepted.is_empty() { "none".to_owned() } else { accepted.join(", ") };
    say(format_args!("  tunnels that are let in: {accepted}"));
    for path in &agent.paths {
        say(format_args!("  {} on {}: {}", path.block, path.node, path.path));
    }
    for problem in &agent.problems {
        say(format_args!("  problem: {problem}"));
    }
    for repair in &agent.repairs {
        let times = if repair.count == 1 { "once".to_owned() } else { format!("{} times", repair.count) };
        say(format_args!("  repaired {times}: {}, last in {} µs", repair.object, repair.took_micros));
    }
    text
}
