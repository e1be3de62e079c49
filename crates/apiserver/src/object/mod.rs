//! The life of one object, as pure functions: what is stored when it is created, changed and deleted.
//!
//! Input is what the client sent, what is stored, and the time; output is what to store next. Names, texts and order
//! of checks are those of `k8s.io/apiserver/pkg/registry/rest`.

mod begin;
mod check;
mod delete;

pub use delete::{DeleteOptions, delete, is_marked};

use crate::admit;
use crate::json;
use crate::kinds::Kind;
use crate::status::Status;
use serde_json::{Value, json};

/// Which part of an object a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The object without its status.
    Main,
    Status,
}

/// What makes one creation differ from another.
pub struct Birth {
    /// RFC 3339, whole seconds.
    pub now: String,
    pub uid: String,
}

/// What becomes of an object.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Nothing changes, nothing is written.
    Same,
    Put(Value),
    /// It goes; this is its last state.
    Remove(Value),
}

/// The object to store for a POST to `namespace` (empty for cluster-wide kinds).
pub fn create(kind: &Kind, namespace: &str, mut object: Value, birth: &Birth) -> Result<Value, Status> {
    check::type_is_right(kind, &object)?;
    check::namespace(kind, namespace, &object)?;
    if !json::text(&object, &["metadata", "resourceVersion"]).is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    set_type(kind, &mut object);
    let generate = json::text(&object, &["metadata", "generateName"]).to_owned();
    let metadata = &mut object["metadata"];
    if metadata["name"].as_str().is_none_or(str::is_empty) && !generate.is_empty() {
        metadata["name"] = json!(format!("{generate}{}", begin::suffix(&birth.uid)));
    }
    for field in
        ["managedFields", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"]
    {
        remove(metadata, field);
    }
    if kind.namespaced {
        metadata["namespace"] = json!(namespace);
    } else {
        remove(metadata, "namespace");
    }
    metadata["uid"] = json!(birth.uid);
    metadata["creationTimestamp"] = json!(birth.now);
    if kind.has_generation() {
        metadata["generation"] = json!(1);
    }
    begin::fill_in(kind, &mut object);
    admit::validate(kind, object, None)
}

/// What to store for a PUT, or for the outcome of a PATCH, of `part` of `old`.
pub fn update(kind: &Kind, part: Part, old: &Value, mut new: Value) -> Result<Next, Status> {
    let name = json::text(old, &["metadata", "name"]);
    check::type_is_right(kind, &new)?;
    check::namespace(kind, json::text(old, &["metadata", "namespace"]), &new)?;
    check::name(name, &new)?;
    check::identity(kind, old, &new)?;
    set_type(kind, &mut new);
    new = match part {
        Part::Main => {
            copy(kind.status, "status", old, &mut new);
            new
        }
        // Custom resources take the status alone; Kubernetes' own kinds take labels and annotations with it.
        Part::Status if kind.calico.is_some() => {
            let mut merged = old.clone();
            copy(true, "status", &new, &mut merged);
            merged
        }
        Part::Status => {
            copy(true, "spec", old, &mut new);
            new
        }
    };
    let metadata = &mut new["metadata"];
    remove(metadata, "selfLink");
    let kept =
        ["name", "namespace", "uid", "creationTimestamp", "resourceVersion", "generateName", "generation"];
    for field in kept.into_iter().chain(["deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"])
    {
        copy(true, field, &old["metadata"], metadata);
    }
    tidy(metadata);
    if kind.resource == "namespaces" {
        metadata["labels"]["kubernetes.io/metadata.name"] = json!(name);
        copy(true, "spec", old, &mut new);
    }
    if kind.resource == "secrets" {
        begin::encode_texts(&mut new);
    }
    if kind.resource == "services" && new["spec"]["clusterIP"].is_null() && new["spec"].is_object() {
        // An address is given once: who does not name it keeps it.
        copy(true, "clusterIP", &old["spec"], &mut new["spec"]);
    }
    begin::complete(kind, &mut new);
    let mut new = admit::validate(kind, new, Some(old))?;
    check::immutable(kind, old, &new)?;
    if &new == old {
        return Ok(Next::Same);
    }
    if kind.has_generation() && part == Part::Main && !substance(old).eq(substance(&new)) {
        grow_generation(&mut new);
    }
    if is_marked(&new) && delete::may_go(&new) {
        return Ok(Next::Remove(new));
    }
    Ok(Next::Put(new))
}

/// RFC 3339 in whole seconds, as Kubernetes writes times.
pub fn timestamp(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The fields of an object that its generation counts.
fn substance(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status"))
}

fn grow_generation(object: &mut Value) {
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
    object["metadata"]["generation"] = json!(generation + 1);
}

fn set_type(kind: &Kind, object: &mut Value) {
    object["apiVersion"] = json!(kind.api_version);
    object["kind"] = json!(kind.kind);
    if object["metadata"].is_null() {
        object["metadata"] = json!({});
    }
}

/// Empty maps and lists of metadata are not kept.
fn tidy(metadata: &mut Value) {
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let empty = match &metadata[field] {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        if empty {
            remove(metadata, field);
        }
    }
}

/// Makes `to`'s field what `from`'s is, absent included, if `wanted`.
fn copy(wanted: bool, field: &str, from: &Value, to: &mut Value) {
    if wanted {
        match from.get(field) {
            Some(value) => to[field] = value.clone(),
            None => remove(to, field),
        }
    }
}

fn remove(object: &mut Value, field: &str) {
    if let Value::Object(fields) = object {
        fields.remove(field);
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn birth() -> Birth {
        Birth { now: "2026-01-01T00:00:00Z".into(), uid: "6e0bd0a5-2f6b-4a0e-9f5e-6a2b3c4d5e6f".into() }
    }

    fn pool() -> &'static Kind {
        crate::kinds::find("projectcalico.org", "v3", "ippools").expect("a kind")
    }

    fn pods() -> &'static Kind {
        Kind::core("pods")
    }

    pub fn stored(kind: &Kind, namespace: &str, object: Value) -> Value {
        let mut object = create(kind, namespace, object, &birth()).expect("a good object");
        object["metadata"]["resourceVersion"] = json!("7");
        object
    }

    #[test]
    fn a_created_object_gets_identity_and_loses_what_is_not_the_clients() {
        let sent = json!({"metadata": {"generateName": "web-", "uid": "x", "generation": 9, "managedFields": [1],
            "deletionTimestamp": "2020-01-01T00:00:00Z"}, "spec": {"containers": [{"name": "c", "image": "x"}]}, "status": {"phase": "Running"}});
        let pod = create(pods(), "default", sent, &birth()).expect("a pod");
        let metadata = &pod["metadata"];
        assert_eq!(metadata["uid"], birth().uid);
        assert_eq!(metadata["generation"], 1);
        assert_eq!(metadata["namespace"], "default");
        assert!(metadata["name"].as_str().is_some_and(|name| name.len() == 9), "{metadata}");
        assert!(metadata.get("managedFields").is_none() && metadata.get("deletionTimestamp").is_none());
        assert_eq!(pod["status"]["phase"], "Pending");
        assert_eq!((&pod["kind"], &pod["apiVersion"]), (&json!("Pod"), &json!("v1")));
    }

    #[test]
    fn a_creation_that_contradicts_its_url_is_refused() {
        for (sent, why) in [
            (json!({"metadata": {"name": "a", "namespace": "x"}}), "does not match the namespace sent"),
            (
                json!({"apiVersion": "v2", "metadata": {"name": "a"}}),
                "does not match the expected API version",
            ),
            (json!({"kind": "Node", "metadata": {"name": "a"}}), "does not match the expected kind"),
            (json!({"metadata": {"name": "a", "resourceVersion": "1"}}), "resourceVersion should not be set"),
            (json!({"metadata": []}), "metadata must be an object"),
            (json!([]), "an object is expected"),
        ] {
            let error = create(pods(), "default", sent, &birth()).expect_err(why);
            assert_eq!(error.code, 400);
            assert!(error.message.contains(why), "{}", error.message);
        }
    }

    #[test]
    fn only_a_changed_spec_counts_as_a_generation() {
        let old = stored(pool(), "", json!({"metadata": {"name": "p"}, "spec": {"cidr": "10.0.0.0/16"}}));
        let with = |path: &str, value: Value| {
            let mut new = old.clone();
            *new.pointer_mut(path).expect("there") = value;
            match update(pool(), Part::Main, &old, new).expect("a good update") {
                Next::Put(new) => new["metadata"]["generation"].as_i64(),
                Next::Same => None,
                Next::Remove(_) => panic!("not deleted"),
            }
        };
        let mut labelled = old["metadata"].clone();
        labelled["labels"] = json!({"a": "b"});
        assert_eq!(with("/metadata", labelled), Some(1));
        let mut spec = old["spec"].clone();
        spec["natOutgoing"] = json!(true);
        assert_eq!(with("/spec", spec), Some(2));
        assert_eq!(with("/kind", json!("IPPool")), None, "an unchanged object is not written");
    }

    #[test]
    fn spec_and_status_are_written_apart() {
        let old = stored(
            pods(),
            "default",
            json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]}}),
        );
        let mut new = old.clone();
        new["spec"]["hostNetwork"] = json!(true);
        new["status"]["phase"] = json!("Running");
        new["metadata"]["annotations"] = json!({"x": "y"});
        let Next::Put(main) = update(pods(), Part::Main, &old, new.clone()).expect("good") else { panic!() };
        assert_eq!(
            (&main["spec"]["hostNetwork"], &main["status"]["phase"]),
            (&json!(true), &json!("Pending"))
        );
        let Next::Put(status) = update(pods(), Part::Status, &old, new).expect("good") else { panic!() };
        assert_eq!(
            (status["spec"].get("hostNetwork"), &status["status"]["phase"]),
            (None, &json!("Running"))
        );
        assert_eq!(status["metadata"]["annotations"]["x"], "y");
    }

    #[test]
    fn a_compare_and_swap_needs_the_stored_version() {
        let old = stored(pool(), "", json!({"metadata": {"name": "p"}, "spec": {"cidr": "10.0.0.0/16"}}));
        let with = |version: Value| {
            let mut new = old.clone();
            new["metadata"]["resourceVersion"] = version;
            new["spec"]["disabled"] = json!(true);
            update(pool(), Part::Main, &old, new).map(|_| ()).map_err(|e| (e.code, e.message))
        };
        assert_eq!(with(json!("7")), Ok(()));
        let modified = "Operation cannot be fulfilled on ippools.projectcalico.org \"p\": the object has been modified; \
                        please apply your changes to the latest version and try again";
        assert_eq!(with(json!("6")), Err((409, modified.into())));
        let missing = "IPPool.projectcalico.org \"p\" is invalid: metadata.resourceVersion: Invalid value: 0: \
                       must be specified for an update";
        assert_eq!(with(json!("")), Err((422, missing.into())));
    }
}
