//! Pods, as the scheduler would have made them: bound to a node, for its kubelet to start.

use crate::layout::Layout;
use crate::topology::Topology;
use crate::{api, down};
use anyhow::{Context, bail, ensure};
use datastore::{Client, Preconditions, Resource};
use model::k8s::pod_annotation;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;

const NAMESPACE: &str = "default";

/// Adds a pod and waits until it has its address.
pub fn add(layout: &Layout, pod: &str, node: &str, ip: Option<IpAddr>) -> anyhow::Result<()> {
    ensure!(layout.exists(), "there is no lab `{}`{}", layout.name, down::others(&layout.labs));
    Topology::read(&layout.topology())?.node(node)?;
    let address = api::run(layout, async |client| {
        create(&client, pod, node, ip).await?;
        wait_until_running(&client, pod).await
    })?;
    println!("pod `{pod}` runs on {node} with address {address}");
    Ok(())
}

/// Deletes a pod and waits until its kubelet has let it go.
pub fn delete(layout: &Layout, pod: &str) -> anyhow::Result<()> {
    ensure!(layout.exists(), "there is no lab `{}`{}", layout.name, down::others(&layout.labs));
    api::run(layout, async |client| {
        let deleted = client.delete_json(resource(), Some(NAMESPACE), pod, &Preconditions::default()).await;
        deleted.with_context(|| format!("cannot delete pod `{pod}`"))?;
        for _ in 0..600 {
            match client.get_json(resource(), Some(NAMESPACE), pod).await {
                Err(e) if e.is_not_found() => return Ok(()),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        bail!("pod `{pod}` does not go: `{}` may say why", layout.root.join("logs").display())
    })?;
    println!("pod `{pod}` is gone");
    Ok(())
}

pub fn resource() -> &'static Resource {
    Resource::of_kind("Pod").expect("a kind of ours")
}

/// Makes a Pod that is bound to a node.
pub async fn create(client: &Client, pod: &str, node: &str, ip: Option<IpAddr>) -> anyhow::Result<()> {
    let annotations = match ip {
        Some(ip) => json!({pod_annotation::IP_ADDRS: json!([ip]).to_string()}),
        None => json!({}),
    };
    let document = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod, "namespace": NAMESPACE, "labels": {"app": pod}, "annotations": annotations},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "main", "image": "tortie.lab/pause"}],
            "terminationGracePeriodSeconds": 1,
        },
    });
    let created = client.create_json(resource(), Some(NAMESPACE), &document).await;
    created.with_context(|| format!("cannot create pod `{pod}`")).map(drop)
}

/// The address of a pod, as soon as it runs; what keeps it from running if it does not.
pub async fn wait_until_running(client: &Client, pod: &str) -> anyhow::Result<String> {
    let mut last = Value::Null;
    for _ in 0..600 {
        last = client
            .get_json(resource(), Some(NAMESPACE), pod)
            .await
            .with_context(|| format!("pod `{pod}`"))?;
        if last["status"]["phase"] == "Running"
            && let Some(address) = last["status"]["podIP"].as_str()
        {
            return Ok(address.to_owned());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let why = last["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str();
    bail!("pod `{pod}` does not run: {}", why.unwrap_or("its kubelet says nothing"))
}
