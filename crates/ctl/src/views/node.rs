//! Node: read from a Kubernetes Node and its annotations, written as annotations.

use super::document;
use crate::failure::Fault;
use crate::kind::Kind;
use crate::store::{Write, parts};
use datastore::{Client, Patch, Resource};
use failpoint::failpoint;
use model::k8s::annotation::KUBE_LABELS;
use model::{k8s, store, v3};
use serde_json::{Value, json};

/// What the agent writes into a Node. A document that leaves it out does not mean to take it away.
const AGENT_FIELDS: &[&str] = &[
    "ipv4VXLANTunnelAddr",
    "vxlanTunnelMACAddr",
    "ipv6VXLANTunnelAddr",
    "vxlanTunnelMACAddrV6",
    "interfaces",
    "wireguard",
];

fn nodes() -> &'static Resource {
    Resource::of(store::Kind::Node)
}

fn view(kind: &Kind, value: Value) -> Option<Value> {
    let node: k8s::Node = serde_json::from_value(value).ok()?;
    Some(document(kind.kind, &v3::Node::from(&node)))
}

/// One node.
pub async fn get(client: &Client, kind: &Kind, name: &str) -> Result<Value, Fault> {
    let object = kind.object(None, name);
    let value = client.get_json(nodes(), None, name).await.map_err(|e| Fault::of(&object, e))?;
    let unreadable = || Fault::NotFound { object, cause: "the Kubernetes Node cannot be read".to_owned() };
    view(kind, value).ok_or_else(unreadable)
}

/// All nodes and the list's version.
pub async fn list(client: &Client, kind: &Kind) -> Result<(String, Vec<Value>), Fault> {
    let list = client.list_json(nodes(), None).await.map_err(|e| Fault::of("Node()", e))?;
    let (version, items) = parts(list);
    Ok((version, items.into_iter().filter_map(|item| view(kind, item)).collect()))
}

/// Writes a node's annotations. Nodes come and go in Kubernetes only.
///
/// Differs from Calico: applying a document without the tunnel addresses that the agent wrote keeps them; Calico takes them
/// away, and the node off the network.
pub async fn write(
    client: &Client,
    kind: &Kind,
    name: &str,
    document: &Value,
    write: Write,
) -> Result<Value, Fault> {
    let object = kind.object(None, name);
    let unsupported = || Fault::Unsupported {
        operation: "Create",
        object: object.clone(),
        reason: Some("nodes are made in Kubernetes"),
    };
    let old = match (get(client, kind, name).await, write) {
        (Ok(_), Write::Create) => {
            return Err(Fault::AlreadyExists { object, cause: format!("nodes \"{name}\" already exists") });
        }
        (Err(Fault::NotFound { .. }), Write::Create | Write::Apply) => return Err(unsupported()),
        (old, _) => old?,
    };
    let mut new = document.clone();
    if write != Write::Patch {
        for field in AGENT_FIELDS {
            if new["spec"][*field].is_null() && !old["spec"][*field].is_null() {
                new["spec"][*field] = old["spec"][*field].clone();
            }
        }
    }
    new["metadata"]["annotations"][KUBE_LABELS] = old["metadata"]["annotations"][KUBE_LABELS].clone();
    let node: v3::Node = serde_json::from_value(new).map_err(|e| {
        Fault::Invalid(model::schema::FieldError::bare(format!("Node.{name}"), e.to_string()).into())
    })?;
    let mut metadata = json!({"annotations": node.annotations()});
    if let Some(version) =
        document["metadata"]["resourceVersion"].as_str().filter(|version| !version.is_empty())
    {
        metadata["resourceVersion"] = version.into();
    }
    let body = json!({"metadata": metadata});
    let written = client.patch_json(nodes(), None, name, Some("status"), Patch::Merge, &body).await;
    failpoint!("document: node annotated");
    let value = written.map_err(|e| Fault::of(&object, e))?;
    view(kind, value).ok_or(Fault::Conflict { object })
}
