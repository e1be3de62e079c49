//! A question to another node's agent, by a CalicoNodeStatus that lives as long as the question.

use crate::failure::{Failure, Fault};
use crate::store::Store;
use datastore::{Preconditions, Resource};
use model::v3::{CalicoNodeStatus, CalicoNodeStatusStatus};
use serde_json::{Value, json};
use std::time::Duration;

/// How long the agent may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks for the answer.
const LOOK: Duration = Duration::from_millis(200);
/// Calico's agents answer only who wants to be answered again.
const PERIOD_SECONDS: u32 = 10;

/// What `node` says of its agent and its sessions.
pub async fn ask(store: &Store, node: &str) -> Result<CalicoNodeStatusStatus, Failure> {
    let nodes = Resource::of_kind("Node").expect("the kind is in the table");
    let found = store.client.get_json(nodes, None, node).await;
    found.map_err(|e| Fault::of(&format!("Node({node})"), e))?;
    let kind = Resource::of_kind("CalicoNodeStatus").expect("the kind is in the table");
    let question = json!({
        "apiVersion": kind.api_version(),
        "kind": "CalicoNodeStatus",
        "metadata": {"generateName": "node-status-"},
        "spec": {"node": node, "classes": ["Agent", "BGP"], "updatePeriodSeconds": PERIOD_SECONDS},
    });
    let object = "CalicoNodeStatus(node-status-)";
    let made = store.client.create_json(kind, None, &question).await.map_err(|e| Fault::of(object, e))?;
    let name = made["metadata"]["name"].as_str().unwrap_or_default();
    let answer = tokio::time::timeout(DEADLINE, answer(store, kind, name)).await;
    let deleted = store.client.delete_json(kind, None, name, &Preconditions::default()).await;
    let Ok(answer) = answer else {
        return Err(Failure::new(format!(
            "the agent of node {node} does not answer: is it running there, and does it reach the API server?"
        )));
    };
    let answer = answer?;
    deleted.map_err(|e| Fault::of(&format!("CalicoNodeStatus({name})"), e))?;
    Ok(answer)
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
