//! What may be stored: names, labels, fields that a kind does not have, Calico's rules.

use crate::core;
use crate::json;
use crate::kinds::Kind;
use crate::status::{Cause, Status};
use model::{dns, schema};
use serde_json::{Value, json};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const KEY: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
/// Bytes of all annotations of an object.
const ANNOTATIONS: usize = 256 << 10;

/// What to do with fields that a kind does not have (`fieldValidation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    Strict,
    Warn,
    Ignore,
}

impl FieldValidation {
    /// Reads the query parameter; Kubernetes warns unless told otherwise.
    pub fn parse(text: Option<&str>) -> Result<FieldValidation, Status> {
        match text {
            None | Some("" | "Warn") => Ok(FieldValidation::Warn),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some(other) => Err(Status::bad_request(format!(
                "invalid fieldValidation {other:?}: use one of Ignore, Warn, Strict"
            ))),
        }
    }
}

/// Takes fields that `kind` does not have out of `object`; gives the warnings to send along.
pub fn prune(
    kind: &Kind,
    object: &mut Value,
    duplicates: &[String],
    rule: FieldValidation,
) -> Result<Vec<String>, Status> {
    let unknown = unknown_fields(kind, object);
    let complaints: Vec<String> = unknown
        .iter()
        .map(|path| format!("unknown field {path:?}"))
        .chain(duplicates.iter().map(|path| format!("duplicate field {path:?}")))
        .collect();
    if rule == FieldValidation::Strict && !complaints.is_empty() {
        let why = format!("strict decoding error: {}", complaints.join(", "));
        return Err(Status::undecodable(kind, &why));
    }
    for path in unknown.iter().rev() {
        remove(object, path);
    }
    check_types(kind, object)?;
    Ok(if rule == FieldValidation::Warn { complaints } else { Vec::new() })
}

fn unknown_fields(kind: &Kind, object: &Value) -> Vec<String> {
    let Some(fields) = core::fields(kind) else { return schema::unknown_fields(kind.kind, object) };
    let fields: Vec<schema::Field> = core::HEAD.iter().chain(fields).copied().collect();
    schema::unknown_in(object, &fields, "")
}

/// A field of Kubernetes' own kinds that has another type than it must, as its decoder complains.
///
/// Calico's kinds are judged by their schema, when all else is known.
fn check_types(kind: &Kind, object: &Value) -> Result<(), Status> {
    let Some(fields) = core::fields(kind) else { return Ok(()) };
    let errors = [core::HEAD, fields].into_iter().flat_map(|fields| schema::type_errors(object, fields, ""));
    match errors.into_iter().next() {
        None => Ok(()),
        Some(error) => Err(Status::undecodable(kind, &format!("{}: {}", error.field, error.reason))),
    }
}

/// Removes the field at a path like `spec.ingress[1].typo`.
fn remove(object: &mut Value, path: &str) {
    let (parent, field) = path.rsplit_once('.').unwrap_or(("", path));
    let pointer: String = parent
        .split(['.', '['])
        .filter(|key| !key.is_empty())
        .map(|key| format!("/{}", key.trim_end_matches(']')))
        .collect();
    if let Some(Value::Object(fields)) = object.pointer_mut(&pointer) {
        fields.remove(field);
    }
}

/// Gives `new` its defaults and says whether it may be stored in place of `old`.
pub fn validate(kind: &Kind, new: Value, old: Option<&Value>) -> Result<Value, Status> {
    let name = json::text(&new, &["metadata", "name"]).to_owned();
    let mut causes = metadata(kind, &new);
    if kind.resource == "pods" {
        causes.extend(pod(&new));
    }
    let new = match kind.calico {
        None => new,
        Some(_) if !causes.is_empty() => new,
        Some(_) => match schema::validate(kind.kind, new, old) {
            Ok(new) => new,
            Err(errors) => {
                causes.extend(errors.iter().map(calico_cause));
                return Err(Status::invalid(kind, &name, &causes));
            }
        },
    };
    if causes.is_empty() { Ok(new) } else { Err(Status::invalid(kind, &name, &causes)) }
}

/// What a pod must have.
fn pod(pod: &Value) -> Vec<Cause> {
    let containers = pod["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if containers.is_empty() {
        return vec![Cause::required("spec.containers", "")];
    }
    let mut causes = Vec::new();
    for (at, container) in containers.iter().enumerate() {
        for field in ["name", "image"] {
            if json::text(container, &[field]).is_empty() {
                causes.push(Cause::required(format!("spec.containers[{at}].{field}"), ""));
            }
        }
    }
    causes
}

/// A complaint of Calico's rules.
pub fn calico_cause(error: &schema::FieldError) -> Cause {
    match &error.value {
        Some(value) => Cause::invalid(&error.field, &json!(value), error.reason.trim()),
        None => Cause {
            reason: "FieldValueInvalid",
            field: error.field.clone(),
            message: error.reason.trim().to_owned(),
        },
    }
}

/// What is wrong with an object's metadata.
fn metadata(kind: &Kind, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = json::text(object, &["metadata", "name"]);
    let is_label = matches!(kind.resource.as_str(), "namespaces" | "services");
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else if is_label && !dns::is_label(name) {
        causes.push(Cause::invalid("metadata.name", &json!(name), LABEL));
    } else if name.len() > 253 {
        causes.push(Cause::invalid("metadata.name", &json!(name), "must be no more than 253 characters"));
    } else if !dns::is_subdomain(name) {
        causes.push(Cause::invalid("metadata.name", &json!(name), SUBDOMAIN));
    }
    for field in ["labels", "annotations"] {
        let path = format!("metadata.{field}");
        match &object["metadata"][field] {
            Value::Null => {}
            Value::Object(map) => {
                for (key, value) in map {
                    if let Some(why) = key_error(key) {
                        causes.push(Cause::invalid(&path, &json!(key), why));
                    }
                    match value.as_str() {
                        None => causes.push(Cause::invalid(&path, value, "must be a string")),
                        Some(value) if field == "labels" && !is_label_value(value) => {
                            causes.push(Cause::invalid(&path, &json!(value), LABEL_VALUE));
                        }
                        Some(_) => {}
                    }
                }
            }
            other => causes.push(Cause::invalid(path, other, "must be a map of strings")),
        }
    }
    let size: usize = object["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| key.len() + value.as_str().unwrap_or_default().len())
        .sum();
    if size > ANNOTATIONS {
        let message = format!("Too long: may not be more than {ANNOTATIONS} bytes");
        causes.push(Cause { reason: "FieldValueTooLong", field: "metadata.annotations".into(), message });
    }
    causes
}

fn is_label_value(value: &str) -> bool {
    value.len() <= 63 && (value.is_empty() || is_label_text(value))
}

fn is_label_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// What is wrong with a key of labels or annotations: `name` or `dns.prefix/name`.
fn key_error(key: &str) -> Option<&'static str> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if prefix.is_some_and(|prefix| !dns::is_subdomain(&prefix.to_ascii_lowercase())) {
        return Some("prefix part must be a DNS subdomain");
    }
    if name.is_empty() {
        return Some("name part must be non-empty");
    }
    if name.len() > 63 {
        return Some("name part must be no more than 63 bytes");
    }
    (!is_label_text(name)).then_some(KEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> &'static Kind {
        crate::kinds::find("projectcalico.org", "v3", "ippools").expect("a kind")
    }

    #[test]
    fn unknown_fields_are_refused_told_or_dropped() {
        let object = json!({"metadata": {"name": "a"}, "spec": {"cidr": "10.0.0.0/16", "typo": 1}});
        let mut strict = object.clone();
        let error =
            prune(pool(), &mut strict, &["spec.cidr".into()], FieldValidation::Strict).expect_err("strict");
        assert_eq!(
            error.message,
            "IPPool in version \"v3\" cannot be handled as a IPPool: strict decoding error: \
             unknown field \"spec.typo\", duplicate field \"spec.cidr\""
        );
        let mut warned = object.clone();
        let warnings = prune(pool(), &mut warned, &[], FieldValidation::Warn).expect("warned");
        assert_eq!(warnings, ["unknown field \"spec.typo\""]);
        assert_eq!(warned["spec"], json!({"cidr": "10.0.0.0/16"}));
        let mut ignored = object;
        assert!(prune(pool(), &mut ignored, &[], FieldValidation::Ignore).expect("ignored").is_empty());
        assert_eq!(ignored, warned);
    }

    #[test]
    fn fields_of_kubernetes_kinds_are_known_with_their_types() {
        let pods = Kind::core("pods");
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "lables": {}},
            "spec": {"contaniers": [], "containers": [{"name": "c", "imege": "x", "resources": {"limits": {}}}]}});
        let error = prune(pods, &mut pod.clone(), &[], FieldValidation::Strict).expect_err("strict");
        assert!(
            error.message.ends_with(
                "unknown field \"metadata.lables\", unknown field \"spec.containers[0].imege\", \
                 unknown field \"spec.contaniers\""
            ),
            "{}",
            error.message
        );
        prune(pods, &mut pod, &[], FieldValidation::Ignore).expect("dropped");
        assert_eq!(pod["spec"], json!({"containers": [{"name": "c", "resources": {"limits": {}}}]}));
        pod["spec"]["hostNetwork"] = json!("yes");
        let error = prune(pods, &mut pod, &[], FieldValidation::Ignore).expect_err("a wrong type");
        assert_eq!(
            (error.code, error.message.as_str()),
            (
                400,
                "Pod in version \"v1\" cannot be handled as a Pod: spec.hostNetwork: must be of type boolean"
            )
        );
    }

    #[test]
    fn a_pod_has_containers_with_name_and_image() {
        let error = validate(Kind::core("pods"), json!({"metadata": {"name": "a"}, "spec": {}}), None);
        assert_eq!(error.expect_err("none").message, "Pod \"a\" is invalid: spec.containers: Required value");
        let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}]}});
        let error = validate(Kind::core("pods"), pod, None).expect_err("no image");
        assert_eq!(error.message, "Pod \"a\" is invalid: spec.containers[0].image: Required value");
    }

    #[test]
    fn names_and_labels_are_judged() {
        let judge =
            |metadata: Value| super::metadata(Kind::core("pods"), &json!({ "metadata": metadata })).len();
        for (object, wrong) in [
            (json!({"name": "a.b-c"}), 0),
            (json!({}), 1),
            (json!({"name": "A"}), 1),
            (json!({"name": "../etc"}), 1),
            (json!({"name": "a", "labels": {"app": "x", "a.b/c": ""}}), 0),
            (json!({"name": "a", "labels": {"app": "x y"}}), 1),
            (json!({"name": "a", "labels": {"/x": "y"}}), 1),
            (json!({"name": "a", "labels": {"x": 1}}), 1),
            (json!({"name": "a", "labels": []}), 1),
            (json!({"name": "a", "annotations": {"x": "y".repeat(ANNOTATIONS)}}), 1),
        ] {
            assert_eq!(
                judge(object.clone()),
                wrong,
                "{}",
                object.to_string().chars().take(80).collect::<String>()
            );
        }
    }

    #[test]
    fn several_errors_stand_in_brackets() {
        let object = json!({"metadata": {"name": "A", "labels": {"x": "!"}}});
        let error = validate(Kind::core("pods"), object, None).expect_err("two errors");
        assert_eq!(error.code, 422);
        assert!(
            error
                .message
                .starts_with("Pod \"A\" is invalid: [metadata.name: Invalid value: \"A\": a lowercase")
        );
    }
}
