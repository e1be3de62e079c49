//! Every object that was recorded of two real clusters, whole: one whose CRDs are of `crd.projectcalico.org/v1`, as Calico
//! stored them there, and one whose CRDs are of `projectcalico.org/v3`, with the same inputs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use client::{Client, Cluster};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const RECORDED: &str = include_str!("../../model/tests/fixtures/calico-objects.jsonl");
const CORE: &str = "v1";
const V3: &str = "projectcalico.org/v3";
const V1: &str = "crd.projectcalico.org/v1";
/// Where older CRDs' objects have what Calico's users know as their metadata.
const ANNOTATION: &str = "/metadata/annotations/projectcalico.org~1metadata";
/// What `kubectl apply` notes down.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn recorded(api_version: &str) -> Vec<Value> {
    let objects = RECORDED.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects.filter(|object| object["apiVersion"] == api_version).collect()
}

fn word<'o>(object: &'o Value, pointer: &str) -> &'o str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Where objects of the kind of one are.
fn path(api_version: &str, object: &Value) -> String {
    let kind = match (word(object, "/kind"), api_version) {
        ("IPAMConfiguration" | "IPAMConfig", V1) => "IPAMConfig",
        ("IPAMConfig", _) => "IPAMConfiguration",
        (kind, _) => kind,
    };
    let kind = kind.to_lowercase();
    let plural = match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    };
    let root = if api_version == CORE { "/api" } else { "/apis" };
    match word(object, "/metadata/namespace") {
        "" => format!("{root}/{api_version}/{plural}"),
        namespace => format!("{root}/{api_version}/namespaces/{namespace}/{plural}"),
    }
}

/// Stores an object as its writers do: what it is, then its status.
async fn store(api: &Client, object: &Value) {
    let path = path(word(object, "/apiVersion"), object);
    if let Some(namespace) = object["metadata"]["namespace"].as_str() {
        api.post("/api/v1/namespaces", &json!({"metadata": {"name": namespace}})).await;
    }
    let mut object = object.clone();
    object["metadata"]["resourceVersion"] = json!("");
    let made = api.post(&format!("{path}?fieldValidation=Strict"), &object).await.ok();
    if object.get("status").is_some() {
        object["metadata"] = made["metadata"].clone();
        api.put(&format!("{path}/{}/status", word(&object, "/metadata/name")), &object).await.ok();
    }
}

/// An object as a group shows it.
async fn read(api: &Client, api_version: &str, object: &Value) -> Value {
    api.get(&format!("{}/{}", path(api_version, object), word(object, "/metadata/name"))).await.ok()
}

/// An object without what a server gives it. In the annotation, its time of birth is called `BORN`.
fn given(mut object: Value) -> Value {
    let born = object["metadata"]["creationTimestamp"].to_string();
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
        metadata.remove(field);
    }
    if let Some(Value::String(annotation)) = object.pointer_mut(ANNOTATION) {
        *annotation = annotation.replace(&born, "BORN");
    }
    object
}

/// What Calico stored with CRDs of `crd.projectcalico.org/v1`, as the view shows it: the same, but for what differs on purpose
/// (`docs/compatibility.md`, on `crd.projectcalico.org/v1`).
fn as_viewed(calicos: &Value) -> Value {
    let mut ours = given(calicos.clone());
    match (word(calicos, "/kind"), word(calicos, "/metadata/name")) {
        // Labels stand on the object, too.
        ("GlobalNetworkSet" | "NetworkSet" | "HostEndpoint", _) => {
            let known: Value = serde_json::from_str(word(calicos, ANNOTATION)).unwrap();
            ours["metadata"]["labels"] = known["labels"].clone();
        }
        // Who manages which field stands on the object alone; its annotations, there too.
        ("CalicoNodeStatus", _) => {
            let known: Value = serde_json::from_str(word(calicos, ANNOTATION)).unwrap();
            let applied = known["annotations"][APPLIED].clone();
            ours["metadata"]["annotations"][APPLIED] = applied;
            let text = word(&ours, ANNOTATION).to_owned();
            let (kept, _) = text.split_once(",\"managedFields\":").unwrap();
            *ours.pointer_mut(ANNOTATION).unwrap() = json!(format!("{kept}}}"));
        }
        // What kubectl wrote has the annotation, too; and the label of its tier, as what calicoctl writes.
        ("GlobalNetworkPolicy", "by-kubectl") => {
            let tier = json!({"projectcalico.org/tier": "default"});
            let applied = json!({ APPLIED: calicos["metadata"]["annotations"][APPLIED] });
            *ours.pointer_mut("/metadata/annotations").unwrap() = json!({
                APPLIED: applied[APPLIED],
                "projectcalico.org/metadata": format!(
                    r#"{{"name":"by-kubectl","creationTimestamp":BORN,"labels":{tier},"annotations":{applied}}}"#
                ),
            });
            ours["metadata"]["labels"] = tier;
        }
        // The default is written out, as in `projectcalico.org/v3`.
        ("IPAMConfig", _) => ours["spec"]["maxBlocksPerHost"] = json!(0),
        _ => return ours,
    }
    assert_ne!(ours, given(calicos.clone()), "it does not differ");
    ours
}

fn kinds(objects: &[Value]) -> BTreeSet<&str> {
    objects.iter().map(|object| word(object, "/kind")).collect()
}

/// Every kind of Calico's, but two of which neither cluster had any.
fn all_are_among(objects: &[Value]) {
    let kinds = kinds(objects);
    assert_eq!(kinds.len(), model::schema::KINDS.len() - 2, "{kinds:?}");
}

#[tokio::test]
async fn nodes_pods_and_what_native_crds_hold_are_kept_whole() {
    let cluster = Cluster::start().await;
    all_are_among(&recorded(V3));
    for object in [recorded(CORE), recorded(V3)].concat() {
        store(&cluster.admin, &object).await;
        let api_version = word(&object, "/apiVersion");
        assert_eq!(given(read(&cluster.admin, api_version, &object).await), given(object.clone()));
    }
}

#[tokio::test]
async fn what_older_crds_hold_is_kept_whole_by_the_view() {
    let cluster = Cluster::start().await;
    let objects = recorded(V1);
    all_are_among(&objects);
    for object in objects {
        store(&cluster.admin, &object).await;
        assert_eq!(given(read(&cluster.admin, V1, &object).await), as_viewed(&object));
    }
}

/// The two clusters had the same inputs. What each of them came to by itself is left out: a pod's handles are named after its
/// container, and of blocks, the cluster's id and a node's status the contents are of the moment.
#[tokio::test]
async fn what_was_stored_as_v3_is_viewed_as_older_crds_had_it() {
    let cluster = Cluster::start().await;
    let older = recorded(V1);
    let mut compared = BTreeSet::new();
    for mut object in recorded(V3) {
        // Only native CRDs have controllers that write these.
        object["metadata"].as_object_mut().unwrap().remove("finalizers");
        if object["kind"] == "IPPool" {
            object.as_object_mut().unwrap().remove("status");
        }
        store(&cluster.admin, &object).await;
        let viewed = read(&cluster.admin, V1, &object).await;
        let same = |other: &&Value| {
            ["/kind", "/metadata/namespace", "/metadata/name"]
                .iter()
                .all(|at| other.pointer(at) == viewed.pointer(at))
        };
        let Some(counterpart) = older.iter().find(same).filter(|other| other["kind"] != "IPAMBlock") else {
            continue;
        };
        assert_eq!(timeless(&given(viewed)), timeless(&as_viewed(counterpart)));
        compared.insert(word(counterpart, "/kind"));
    }
    assert_eq!(compared.len(), kinds(&older).len() - 1, "all but blocks: {compared:?}");
}

/// Without what a cluster came to by itself. What `kubectl apply` noted down names the version that was applied.
fn timeless(object: &Value) -> Value {
    let mut object: Value = serde_json::from_str(&object.to_string().replace(V1, V3)).unwrap();
    for own in ["/spec/clusterGUID", "/status/lastUpdated"] {
        if let Some(value) = object.pointer_mut(own) {
            *value = Value::Null;
        }
    }
    object
}
