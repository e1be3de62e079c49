//! WorkloadEndpoint: read from a Pod.

use super::document;
use crate::failure::Fault;
use crate::kind::Kind;
use crate::store::parts;
use datastore::{Client, Resource};
use model::names::EndpointName;
use model::{k8s, store};
use serde_json::Value;

fn pods() -> &'static Resource {
    Resource::of(store::Kind::Pod)
}

fn view(kind: &Kind, pod: Value) -> Option<Value> {
    let pod: k8s::Pod = serde_json::from_value(pod).ok()?;
    Some(document(kind.kind, &pod.endpoint()?))
}

/// One endpoint, by its name: node, `k8s`, pod and interface.
pub async fn get(client: &Client, kind: &Kind, namespace: Option<&str>, name: &str) -> Result<Value, Fault> {
    let object = kind.object(namespace, name);
    let missing = |cause: &str| Fault::NotFound { object: object.clone(), cause: cause.to_owned() };
    let malformed = "malformed WorkloadEndpoint name - unable to determine Pod name";
    let parsed = EndpointName::parse(name).ok_or_else(|| missing(malformed))?;
    let pod =
        client.get_json(pods(), namespace, &parsed.workload).await.map_err(|e| Fault::of(&object, e))?;
    let endpoint = view(kind, pod).filter(|endpoint| endpoint["metadata"]["name"] == name);
    endpoint.ok_or_else(|| missing(&format!("pod \"{}\" has no such endpoint", parsed.workload)))
}

/// All endpoints of a namespace, or of all.
pub async fn list(
    client: &Client,
    kind: &Kind,
    namespace: Option<&str>,
) -> Result<(String, Vec<Value>), Fault> {
    let list =
        client.list_json(pods(), namespace).await.map_err(|e| Fault::of(&kind.object(namespace, ""), e))?;
    let (version, items) = parts(list);
    Ok((version, items.into_iter().filter_map(|pod| view(kind, pod)).collect()))
}

/// Fails if the pod of a document does not exist.
pub async fn exists(
    client: &Client,
    kind: &Kind,
    namespace: Option<&str>,
    document: &Value,
) -> Result<(), Fault> {
    let name = document["metadata"]["name"].as_str().unwrap_or_default();
    get(client, kind, namespace, name).await.map(|_| ())
}
