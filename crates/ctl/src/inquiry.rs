//! Questions to other nodes' agents, each by a CalicoNodeStatus that lives as long as the question. The controller takes away
//! those whose command died.

use crate::failure::{Failure, Fault};
use crate::ipam::all;
use crate::store::Store;
use datastore::{Preconditions, Resource};
use failpoint::failpoint;
use model::k8s;
use model::v3::{CalicoNodeStatus, CalicoNodeStatusStatus, QUESTION};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long agents have to show that they live.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// How long the agent may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks for the answer.
const LOOK: Duration = Duration::from_millis(200);
/// Calico's agents answer only who wants to be answered again.
const PERIOD_SECONDS: u32 = 10;

/// What a node says of itself through the API.
#[derive(Debug, Default)]
pub struct Account {
    /// Its agent's answer: speakers, sessions, routes.
    pub answer: CalicoNodeStatusStatus,
    /// What its agent has written there besides.
    pub node: k8s::Node,
}

/// What `node` says of its agent and its sessions.
pub async fn ask(store: &Store, node: &str) -> Result<Account, Failure> {
    let nodes = Resource::of_kind("Node").expect("the kind is in the table");
    let found = store.client.get_json(nodes, None, node).await;
    let found: Value = found.map_err(|e| Fault::of(&format!("Node({node})"), e))?;
    let known = serde_json::from_value(found)
        .map_err(|e| Failure::new(format!("Node({node}) cannot be read: {e}")))?;
    let kind = status_kind();
    let question = json!({
        "apiVersion": kind.api_version(),
        "kind": "CalicoNodeStatus",
        "metadata": {"generateName": "node-status-", "labels": {QUESTION: "node-status"}},
        "spec": {"node": node, "classes": ["Agent", "BGP", "Routes"], "updatePeriodSeconds": PERIOD_SECONDS},
    });
    let object = "CalicoNodeStatus(node-status-)";
    let made = store.client.create_json(kind, None, &question).await.map_err(|e| Fault::of(object, e))?;
    failpoint!("inquiry: node asked");
    let name = made["metadata"]["name"].as_str().unwrap_or_default();
    let answer = tokio::time::timeout(DEADLINE, answer(store, kind, name)).await;
    let deleted = store.client.delete_json(kind, None, name, &Preconditions::default()).await;
    failpoint!("inquiry: question to a node removed");
    let Ok(answer) = answer else {
        return Err(Failure::new(format!(
            "the agent of node {node} does not answer: is it running there, and does it reach the API server?"
        )));
    };
    let answer = answer?;
    deleted.map_err(|e| Fault::of(&format!("CalicoNodeStatus({name})"), e))?;
    Ok(Account { answer, node: known })
}

async fn answer(store: &Store, kind: &Resource, name: &str) -> Result<CalicoNodeStatusStatus, Failure> {
    loop {
        let object = format!("CalicoNodeStatus({name})");
        let found: Value =
            store.client.get_json(kind, None, name).await.map_err(|e| Fault::of(&object, e))?;
        let found: CalicoNodeStatus = serde_json::from_value(found)
            .map_err(|e| Failure::new(format!("{object} cannot be read: {e}")))?;
        if found.status.last_updated.is_some() {
            return Ok(found.status);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Those of `nodes` whose agents do not answer within [`PATIENCE`], with the time of the last answer that still stands in
/// the API, if one does (RFC 3339).
///
/// # Errors
/// The question cannot be asked: whoever runs the command may not create CalicoNodeStatuses, say.
pub async fn silent(
    store: &Store,
    nodes: &BTreeSet<String>,
) -> Result<BTreeMap<String, Option<String>>, Failure> {
    let heard = statuses(store).await?;
    let mut asked = BTreeMap::new();
    let mut result = Ok(());
    for node in nodes {
        match question(store, node).await {
            Ok(name) => _ = asked.insert(name, node.clone()),
            Err(failure) => {
                result = Err(failure);
                break;
            }
        }
    }
    // What was made is taken away, whatever came of it.
    let answered = match result {
        Ok(()) => answered(store, &asked).await,
        Err(failure) => Err(failure),
    };
    for name in asked.keys() {
        // Asked once and answered once, one that stays costs nothing.
        let _ = store.client.delete_json(status_kind(), None, name, &Preconditions::default()).await;
        failpoint!("inquiry: question of life removed");
    }
    let answered = answered?;
    let last = |node: &String| {
        let of_node = heard.iter().filter(|status| status.spec.node == *node);
        of_node.filter_map(|status| status.status.last_updated.clone()).max()
    };
    let silent = nodes.iter().filter(|node| !answered.contains(*node));
    Ok(silent.map(|node| (node.clone(), last(node))).collect())
}

/// The nodes whose question is answered, all of them or those that were in time.
async fn answered(store: &Store, asked: &BTreeMap<String, String>) -> Result<BTreeSet<String>, Failure> {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answered: BTreeSet<String> = statuses(store)
            .await?
            .into_iter()
            .filter(|status| status.status.last_updated.is_some())
            .filter_map(|status| asked.get(&status.metadata.name).cloned())
            .collect();
        if answered.len() == asked.len() || tokio::time::Instant::now() >= end {
            return Ok(answered);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks whether a node's agent lives, once; the question's name.
async fn question(store: &Store, node: &str) -> Result<String, Failure> {
    let question = json!({
        "apiVersion": status_kind().api_version(),
        "kind": "CalicoNodeStatus",
        "metadata": {"generateName": "mode-plan-", "labels": {QUESTION: "mode-plan"}},
        "spec": {"node": node, "classes": ["Agent"], "updatePeriodSeconds": 0},
    });
    let made = store.client.create_json(status_kind(), None, &question).await;
    let made = made.map_err(|e| Fault::of("CalicoNodeStatus(mode-plan-)", e))?;
    failpoint!("inquiry: life asked for");
    Ok(made["metadata"]["name"].as_str().unwrap_or_default().to_owned())
}

async fn statuses(store: &Store) -> Result<Vec<CalicoNodeStatus>, Failure> {
    all(store, "CalicoNodeStatus").await
}

fn status_kind() -> &'static Resource {
    Resource::of_kind("CalicoNodeStatus").expect("the kind is in the table")
}
