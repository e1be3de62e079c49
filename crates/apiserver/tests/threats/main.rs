//! What people without rights, or with bad intent, must not achieve.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../client/mod.rs"]
mod client;
mod garbage;
mod names;
mod rights;

use client::Cluster;
use serde_json::Value;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Group paths and what they list.
async fn discovered(cluster: &Cluster) -> Vec<(String, Vec<Value>)> {
    let api = &cluster.admin;
    let mut roots = vec!["/api/v1".to_owned()];
    let groups = api.get("/apis").await.ok();
    for group in groups["groups"].as_array().unwrap() {
        roots.push(format!("/apis/{}", group["preferredVersion"]["groupVersion"].as_str().unwrap()));
    }
    let mut found = Vec::new();
    for root in roots {
        let list = api.get(&root).await.ok();
        found.push((root, list["resources"].as_array().unwrap().clone()));
    }
    found
}
