//! What an object must agree with before it is written: its URL, its kind, and what is stored.

use crate::json;
use crate::kinds::Kind;
use crate::status::{Cause, Status};
use serde_json::{Value, json};

/// The object is one, and of the kind that the URL says.
pub fn type_is_right(kind: &Kind, object: &Value) -> Result<(), Status> {
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

/// The object names no other namespace than the URL.
pub fn namespace(kind: &Kind, namespace: &str, object: &Value) -> Result<(), Status> {
    let given = json::text(object, &["metadata", "namespace"]);
    if kind.namespaced && !given.is_empty() && given != namespace {
        return Err(Status::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the request ({given} != {namespace})"
        )));
    }
    Ok(())
}

/// The object has the name that the URL says.
pub fn name(name: &str, object: &Value) -> Result<(), Status> {
    match json::text(object, &["metadata", "name"]) {
        given if given == name => Ok(()),
        "" => Err(Status::bad_request("the name of the object must be set: metadata.name")),
        given => Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        ))),
    }
}

/// The compare-and-swap: uid and resourceVersion, where the client gives them, must be the stored object's.
pub fn identity(kind: &Kind, old: &Value, new: &Value) -> Result<(), Status> {
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

/// What may never change.
pub fn immutable(kind: &Kind, old: &Value, new: &Value) -> Result<(), Status> {
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
