//! Questions to nodes whose askers died.
//!
//! `calicoctl node status --node` and `mode plan` ask agents by CalicoNodeStatuses that they mark as theirs and take away
//! after some seconds. One that is there at two looks, a minute apart unless the command line says otherwise, has nobody left
//! who waits for it, and its node would answer it for ever.

use datastore::{Client, Error, Preconditions, Resource};
use failpoint::failpoint;
use model::v3::QUESTION;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

/// Takes them away as long as this one leads, with `patience` between two looks.
pub(crate) async fn collect(client: Client, patience: Duration, mut leads: watch::Receiver<bool>) {
    let mut seen = BTreeMap::new();
    let mut problem: Option<String> = None;
    loop {
        // Its sender lives as long as the process.
        let _ = leads.wait_for(|leads| *leads).await;
        let error = match look(&client, &mut seen).await {
            Ok(0) => None,
            Ok(removed) => {
                tracing::info!("removed {removed} CalicoNodeStatuses whose commands had died");
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if let (Some(why), true) = (&error, error != problem) {
            tracing::warn!("cannot remove CalicoNodeStatuses whose commands have died: {why}");
        }
        problem = error;
        tokio::time::sleep(patience).await;
    }
}

/// Removes what was `seen`, names by uid, and is still there; how many that were. What is there now has been seen then.
async fn look(client: &Client, seen: &mut BTreeMap<String, String>) -> Result<usize, Error> {
    let kind = Resource::of_kind("CalicoNodeStatus").expect("the kind is in the table");
    let list = match client.list_json_with(kind, None, QUESTION).await {
        // A cluster without the kind has none.
        Err(e) if e.is_not_found() => Value::Null,
        list => list?,
    };
    let part = |item: &Value, part: &str| item["metadata"][part].as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().into_iter().flatten();
    let found: BTreeMap<String, String> = items.map(|item| (part(item, "uid"), part(item, "name"))).collect();
    let before = std::mem::replace(seen, found);
    let mut removed = 0;
    for (uid, name) in seen.iter().filter(|(uid, _)| before.contains_key(*uid)) {
        let this = Preconditions { uid: Some(uid.clone()), resource_version: None };
        let answer = client.delete_json(kind, None, name, &this).await;
        failpoint!("question: removed");
        match answer {
            Ok(_) => removed += 1,
            // Its asker took it away, or somebody made another of that name.
            Err(e) if e.is_not_found() || e.is_conflict() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver::{Config, Server};
    use serde_json::json;

    #[tokio::test]
    async fn a_question_that_outlives_its_asker_is_removed_at_the_second_look_and_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config::new("127.0.0.1:0".parse().expect("an address"), folder.path().join("data"));
        let server = Server::start(config).await.expect("a server");
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, server.admin_kubeconfig()).expect("written");
        let client = Client::from_kubeconfig(&kubeconfig).await.expect("a client");
        let kind = Resource::of_kind("CalicoNodeStatus").expect("a kind");
        let ask = async |name: &str, labels: Value| {
            let question = json!({"apiVersion": kind.api_version(), "kind": "CalicoNodeStatus",
                "metadata": {"name": name, "labels": labels},
                "spec": {"node": "n1", "classes": ["Agent"], "updatePeriodSeconds": 10}});
            client.create_json(kind, None, &question).await.expect("created");
        };
        let names = async || {
            let list = client.list_json(kind, None).await.expect("a list");
            let names =
                list["items"].as_array().expect("items").iter().map(|item| item["metadata"]["name"].clone());
            names.collect::<Vec<_>>()
        };
        let mut seen = BTreeMap::new();
        ask("an-administrators", json!({})).await;
        ask("left", json!({QUESTION: "node-status"})).await;
        ask("made-anew", json!({QUESTION: "node-status"})).await;
        assert_eq!(look(&client, &mut seen).await.expect("looked"), 0);
        client.delete_json(kind, None, "made-anew", &Preconditions::default()).await.expect("deleted");
        ask("made-anew", json!({QUESTION: "node-status"})).await;
        assert_eq!(look(&client, &mut seen).await.expect("looked"), 1);
        assert_eq!(names().await, ["an-administrators", "made-anew"]);
    }
}
