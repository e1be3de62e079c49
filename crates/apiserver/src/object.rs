//! The life of one object, as pure functions: what is stored when it is created, changed and deleted.
//!
//! Input is what the client sent, what is stored, and the time; output is what to store next. Names, texts and order
//! of checks are those of `k8s.io/apiserver/pkg/registry/rest`.

use crate::admit;
use crate::json;
use crate::kinds::Kind;
use crate::status::{Cause, Status};
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
    check_type(kind, &object)?;
    check_namespace(kind, namespace, &object)?;
    if !json::text(&object, &["metadata", "resourceVersion"]).is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    set_type(kind, &mut object);
    let generate = json::text(&object, &["metadata", "generateName"]).to_owned();
    let metadata = &mut object["metadata"];
    if metadata["name"].as_str().is_none_or(str::is_empty) && !generate.is_empty() {
        metadata["name"] = json!(format!("{generate}{}", suffix(&birth.uid)));
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
    begin(kind, &mut object);
    admit::validate(kind, object, None)
}

/// What to store for a PUT, or for the outcome of a PATCH, of `part` of `old`.
pub fn update(kind: &Kind, part: Part, old: &Value, mut new: Value) -> Result<Next, Status> {
    let name = json::text(old, &["metadata", "name"]);
    check_type(kind, &new)?;
    check_namespace(kind, json::text(old, &["metadata", "namespace"]), &new)?;
    check_name(name, &new)?;
    check_identity(kind, old, &new)?;
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
    for field in ["managedFields", "selfLink"] {
        remove(metadata, field);
    }
    let kept =
        ["name", "namespace", "uid", "creationTimestamp", "resourceVersion", "generateName", "generation"];
    for field in kept.into_iter().chain(["deletionTimestamp", "deletionGracePeriodSeconds"]) {
        copy(true, field, &old["metadata"], metadata);
    }
    tidy(metadata);
    if kind.resource == "namespaces" {
        metadata["labels"]["kubernetes.io/metadata.name"] = json!(name);
        copy(true, "spec", old, &mut new);
    }
    if kind.resource == "secrets" {
        encode_texts(&mut new);
    }
    let mut new = admit::validate(kind, new, Some(old))?;
    immutable(kind, old, &new)?;
    if &new == old {
        return Ok(Next::Same);
    }
    if kind.has_generation() && part == Part::Main && substance(old) != substance(&new) {
        grow_generation(&mut new);
    }
    if is_marked(&new) && may_go(&new) {
        return Ok(Next::Remove(new));
    }
    Ok(Next::Put(new))
}

/// What a DELETE asks.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub preconditions: Preconditions,
    pub dry_run: Vec<String>,
}

/// What must still hold when the object is deleted.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// What becomes of `object` when it is deleted at `now`.
pub fn delete(
    kind: &Kind,
    object: &Value,
    options: &DeleteOptions,
    now: jiff::Timestamp,
) -> Result<Next, Status> {
    check_preconditions(kind, object, &options.preconditions)?;
    let grace = grace(kind, object, options.grace_period_seconds);
    let before = object["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let finalizers = object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    if grace == 0 && !finalizers && kind.resource != "namespaces" {
        return Ok(Next::Remove(object.clone()));
    }
    // A second deletion may shorten the time, never lengthen it.
    if is_marked(object) && before.is_none_or(|before| before <= grace) {
        return Ok(Next::Same);
    }
    let mut marked = object.clone();
    if !is_marked(object) && kind.has_generation() {
        grow_generation(&mut marked);
    }
    let metadata = &mut marked["metadata"];
    metadata["deletionTimestamp"] = json!(timestamp(now + jiff::SignedDuration::from_secs(grace)));
    metadata["deletionGracePeriodSeconds"] = json!(grace);
    if kind.resource == "namespaces" {
        remove(metadata, "deletionGracePeriodSeconds");
        marked["status"]["phase"] = json!("Terminating");
    }
    Ok(Next::Put(marked))
}

/// Seconds that the object has after its deletion. Only a pod on a node needs any: its kubelet ends it.
fn grace(kind: &Kind, object: &Value, asked: Option<i64>) -> i64 {
    let phase = json::text(object, &["status", "phase"]);
    let unscheduled = json::text(object, &["spec", "nodeName"]).is_empty();
    if kind.resource != "pods" || unscheduled || phase == "Failed" || phase == "Succeeded" {
        return 0;
    }
    // A negative period is the shortest one that still waits, as in Kubernetes.
    match asked.or(object["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30) {
        negative if negative < 0 => 1,
        seconds => seconds,
    }
}

/// RFC 3339 in whole seconds, as Kubernetes writes times.
pub fn timestamp(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether the object waits for its deletion.
pub fn is_marked(object: &Value) -> bool {
    !json::text(object, &["metadata", "deletionTimestamp"]).is_empty()
}

/// Whether nothing holds a marked object any more.
fn may_go(object: &Value) -> bool {
    let metadata = &object["metadata"];
    let none = metadata["finalizers"].as_array().is_none_or(Vec::is_empty);
    let grace = metadata["deletionGracePeriodSeconds"].as_i64();
    none && grace == Some(0)
}

fn check_type(kind: &Kind, object: &Value) -> Result<(), Status> {
    if !object.is_object() {
        return Err(Status::undecodable(
            kind,
            "json: cannot unmarshal this value into Go value: an object is expected",
        ));
    }
    if !matches!(object.get("metadata"), None | Some(Value::Null | Value::Object(_))) {
        return Err(Status::undecodable(kind, "metadata must be an object"));
    }
    let api_version = json::text(object, &["apiVersion"]);
    if !api_version.is_empty() && api_version != kind.api_version {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            kind.api_version
        )));
    }
    let name = json::text(object, &["kind"]);
    if !name.is_empty() && name != kind.kind {
        return Err(Status::bad_request(format!(
            "the kind in the data ({name}) does not match the expected kind ({})",
            kind.kind
        )));
    }
    Ok(())
}

fn check_namespace(kind: &Kind, namespace: &str, object: &Value) -> Result<(), Status> {
    let given = json::text(object, &["metadata", "namespace"]);
    if kind.namespaced && !given.is_empty() && given != namespace {
        return Err(Status::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the request ({given} != {namespace})"
        )));
    }
    Ok(())
}

fn check_name(name: &str, object: &Value) -> Result<(), Status> {
    match json::text(object, &["metadata", "name"]) {
        given if given == name => Ok(()),
        "" => Err(Status::bad_request("the name of the object must be set: metadata.name")),
        given => Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        ))),
    }
}

/// The compare-and-swap: uid and resourceVersion, where the client gives them, must be the stored object's.
fn check_identity(kind: &Kind, old: &Value, new: &Value) -> Result<(), Status> {
    let text = |object, field| json::text(object, &["metadata", field]).to_owned();
    let name = text(old, "name");
    let (uid, stored) = (text(new, "uid"), text(old, "uid"));
    if !uid.is_empty() && uid != stored {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}");
        return Err(Status::conflict(kind, &name, &why));
    }
    let version = text(new, "resourceVersion");
    if version.is_empty() && kind.needs_version() {
        let cause = Cause::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
        return Err(Status::invalid(kind, &name, &[cause]));
    }
    if !version.is_empty() && version != text(old, "resourceVersion") {
        return Err(Status::modified(kind, &name));
    }
    Ok(())
}

fn check_preconditions(kind: &Kind, object: &Value, preconditions: &Preconditions) -> Result<(), Status> {
    let text = |field| json::text(object, &["metadata", field]);
    if let Some(uid) = &preconditions.uid
        && uid != text("uid")
    {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            text("uid")
        );
        return Err(Status::conflict(kind, text("name"), &why));
    }
    if let Some(version) = &preconditions.resource_version
        && version != text("resourceVersion")
    {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
            text("resourceVersion")
        );
        return Err(Status::conflict(kind, text("name"), &why));
    }
    Ok(())
}

/// What Kubernetes fills in at creation, as far as somebody here reads it.
fn begin(kind: &Kind, object: &mut Value) {
    if kind.calico.is_some() && kind.status {
        remove(object, "status");
    }
    tidy(&mut object["metadata"]);
    match kind.resource.as_str() {
        "namespaces" => {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            object["spec"] = json!({ "finalizers": ["kubernetes"] });
            object["status"] = json!({ "phase": "Active" });
        }
        "pods" => {
            for (field, value) in [
                ("restartPolicy", json!("Always")),
                ("terminationGracePeriodSeconds", json!(30)),
                ("dnsPolicy", json!("ClusterFirst")),
                ("serviceAccountName", json!("default")),
                ("schedulerName", json!("default-scheduler")),
                ("enableServiceLinks", json!(true)),
            ] {
                default(&mut object["spec"], field, value);
            }
            object["status"] = json!({ "phase": "Pending", "qosClass": "BestEffort" });
        }
        "services" => {
            default(&mut object["spec"], "type", json!("ClusterIP"));
            default(&mut object["spec"], "sessionAffinity", json!("None"));
            object["status"] = json!({ "loadBalancer": {} });
        }
        "secrets" => {
            default(object, "type", json!("Opaque"));
            encode_texts(object);
        }
        "nodes" => {
            default(object, "spec", json!({}));
            default(object, "status", json!({}));
        }
        _ => {}
    }
}

/// `stringData` of a secret is only a way to write `data`.
fn encode_texts(secret: &mut Value) {
    let texts = secret["stringData"].as_object().cloned().unwrap_or_default();
    for (key, value) in texts {
        let text = value.as_str().unwrap_or_default();
        secret["data"][key] = json!(data_encoding::BASE64.encode(text.as_bytes()));
    }
    remove(secret, "stringData");
}

/// What may never change.
fn immutable(kind: &Kind, old: &Value, new: &Value) -> Result<(), Status> {
    let name = json::text(old, &["metadata", "name"]);
    let locked = |object: &Value| object["immutable"] == json!(true);
    if matches!(kind.resource.as_str(), "configmaps" | "secrets")
        && locked(old)
        && ["data", "binaryData", "stringData"].iter().any(|field| old[field] != new[field])
    {
        let cause = Cause::forbidden("data", "field is immutable when `immutable` is set");
        return Err(Status::invalid(kind, name, &[cause]));
    }
    let node = |object| json::text(object, &["spec", "nodeName"]).to_owned();
    if kind.resource == "pods" && !node(old).is_empty() && node(old) != node(new) {
        let cause = Cause::forbidden("spec.nodeName", "pod updates may not move a pod to another node");
        return Err(Status::invalid(kind, name, &[cause]));
    }
    Ok(())
}

/// The object but for what its generation does not count.
fn substance(object: &Value) -> Value {
    let mut object = object.clone();
    remove(&mut object, "metadata");
    remove(&mut object, "status");
    object
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

fn default(object: &mut Value, field: &str, value: Value) {
    if object[field].is_null() {
        object[field] = value;
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

/// Five characters for `generateName`, from Kubernetes' alphabet (no vowels, nothing that looks alike).
fn suffix(uid: &str) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit);
    let number = digits
        .take(12)
        .fold(0_u64, |n, digit| n << 4 | u64::from(char::from(digit).to_digit(16).unwrap_or(0)));
    (0..5).map(|i| char::from(ALPHABET[(number / 27_u64.pow(i) % 27) as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn birth() -> Birth {
        Birth { now: "2026-01-01T00:00:00Z".into(), uid: "6e0bd0a5-2f6b-4a0e-9f5e-6a2b3c4d5e6f".into() }
    }

    fn pool() -> &'static Kind {
        crate::kinds::find("projectcalico.org", "v3", "ippools").expect("a kind")
    }

    fn pods() -> &'static Kind {
        Kind::core("pods")
    }

    fn stored(kind: &Kind, namespace: &str, object: Value) -> Value {
        let mut object = create(kind, namespace, object, &birth()).expect("a good object");
        object["metadata"]["resourceVersion"] = json!("7");
        object
    }

    fn now() -> jiff::Timestamp {
        "2026-01-01T00:01:00Z".parse().expect("a time")
    }

    #[test]
    fn a_created_object_gets_identity_and_loses_what_is_not_the_clients() {
        let sent = json!({"metadata": {"generateName": "web-", "uid": "x", "generation": 9, "managedFields": [1],
            "deletionTimestamp": "2020-01-01T00:00:00Z"}, "spec": {}, "status": {"phase": "Running"}});
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
        let old = stored(pods(), "default", json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1"}}));
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

    #[test]
    fn a_pod_on_a_node_is_marked_first_and_removed_when_its_kubelet_says_so() {
        let pod = stored(pods(), "default", json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1"}}));
        let Next::Put(marked) = delete(pods(), &pod, &DeleteOptions::default(), now()).expect("ok") else {
            panic!()
        };
        assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-01T00:01:30Z");
        assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
        assert_eq!(delete(pods(), &marked, &DeleteOptions::default(), now()), Ok(Next::Same));
        let shorter = DeleteOptions { grace_period_seconds: Some(5), ..DeleteOptions::default() };
        assert!(matches!(delete(pods(), &marked, &shorter, now()), Ok(Next::Put(_))));
        let now_ = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        assert!(matches!(delete(pods(), &marked, &now_, now()), Ok(Next::Remove(_))));
        let unscheduled = stored(pods(), "default", json!({"metadata": {"name": "a"}}));
        assert!(matches!(
            delete(pods(), &unscheduled, &DeleteOptions::default(), now()),
            Ok(Next::Remove(_))
        ));
    }

    #[test]
    fn finalizers_hold_an_object_until_the_last_is_gone() {
        let object = json!({"metadata": {"name": "c", "finalizers": ["a/b"]}});
        let held = stored(Kind::core("configmaps"), "default", object);
        let configmaps = Kind::core("configmaps");
        let Next::Put(marked) = delete(configmaps, &held, &DeleteOptions::default(), now()).expect("ok")
        else {
            panic!()
        };
        assert!(is_marked(&marked));
        let mut free = marked.clone();
        free["metadata"]["finalizers"] = json!([]);
        assert!(matches!(update(configmaps, Part::Main, &marked, free), Ok(Next::Remove(_))));
    }

    #[test]
    fn preconditions_must_hold() {
        let object = stored(Kind::core("configmaps"), "default", json!({"metadata": {"name": "c"}}));
        for (uid, version, holds) in [
            (None, Some("7"), true),
            (Some(birth().uid), None, true),
            (Some("x".into()), None, false),
            (None, Some("6"), false),
        ] {
            let preconditions = Preconditions { uid, resource_version: version.map(str::to_owned) };
            let options = DeleteOptions { preconditions, ..DeleteOptions::default() };
            let outcome = delete(Kind::core("configmaps"), &object, &options, now());
            assert_eq!(outcome.is_ok(), holds, "{options:?}");
            if let Err(error) = outcome {
                assert_eq!(error.code, 409);
            }
        }
    }
}
