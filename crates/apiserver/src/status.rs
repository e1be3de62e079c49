//! Kubernetes' `Status`: what a failed request is answered with, in the real server's words.

use crate::kinds::Kind;
use crate::store;
use serde_json::{Value, json};

/// A request that failed: HTTP status code, machine-readable reason, sentence, details.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub code: u16,
    /// `NotFound`, `Conflict`, …; empty where Kubernetes has none.
    pub reason: &'static str,
    pub message: String,
    pub details: Option<Value>,
}

/// One field that is wrong, as `details.causes` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, `FieldValueForbidden`, …
    pub reason: &'static str,
    pub field: String,
    pub message: String,
}

impl Cause {
    /// A value that may not be.
    pub fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Cause {
        let message = format!("Invalid value: {value}: {why}");
        Cause { reason: "FieldValueInvalid", field: field.into(), message }
    }

    /// A value that is missing.
    pub fn required(field: impl Into<String>, why: &str) -> Cause {
        let message =
            if why.is_empty() { "Required value".to_owned() } else { format!("Required value: {why}") };
        Cause { reason: "FieldValueRequired", field: field.into(), message }
    }

    /// A word that is none of those that may stand there.
    pub fn unsupported(field: impl Into<String>, value: &str, known: &[&str]) -> Cause {
        let known: Vec<String> = known.iter().map(|word| format!("{word:?}")).collect();
        let message = format!("Unsupported value: {value:?}: supported values: {}", known.join(", "));
        Cause { reason: "FieldValueNotSupported", field: field.into(), message }
    }

    /// A change that may not be made.
    pub fn forbidden(field: impl Into<String>, why: &str) -> Cause {
        Cause { reason: "FieldValueForbidden", field: field.into(), message: format!("Forbidden: {why}") }
    }
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Status {
        Status { code, reason, message: message.into(), details: None }
    }

    fn about(self, kind: &Kind, name: &str) -> Status {
        let mut details = json!({ "kind": kind.plural });
        if !name.is_empty() {
            details["name"] = json!(name);
        }
        if !kind.group.is_empty() {
            details["group"] = json!(kind.group);
        }
        Status { details: Some(details), ..self }
    }

    pub fn unauthorized() -> Status {
        Status::new(401, "Unauthorized", "Unauthorized")
    }

    /// The user lacks the right: `why` follows a colon.
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Status {
        let object = if name.is_empty() { String::new() } else { format!(" {name:?}") };
        Status::new(403, "Forbidden", format!("{}{object} is forbidden: {why}", kind.resource))
            .about(kind, name)
    }

    /// No such path.
    pub fn no_such_path() -> Status {
        Status {
            details: Some(json!({})),
            ..Status::new(404, "NotFound", "the server could not find the requested resource")
        }
    }

    /// Something that is not done here: `why` says so, and what to do instead.
    pub fn not_implemented(why: impl Into<String>) -> Status {
        Status::new(501, "", why)
    }

    /// A node's kubelet cannot be reached, or answers what it should not.
    pub fn no_kubelet(why: impl std::fmt::Display) -> Status {
        Status::new(500, "InternalError", format!("error dialing backend: {why}"))
    }

    pub fn not_found(kind: &Kind, name: &str) -> Status {
        Status::new(404, "NotFound", format!("{} {name:?} not found", kind.resource)).about(kind, name)
    }

    pub fn method_not_allowed() -> Status {
        let message = "the server does not allow this method on the requested resource";
        Status { details: Some(json!({})), ..Status::new(405, "MethodNotAllowed", message) }
    }

    pub fn not_acceptable(accepted: &str) -> Status {
        let message = format!("only the following media types are accepted: {accepted}");
        Status::new(406, "NotAcceptable", message)
    }

    pub fn already_exists(kind: &Kind, name: &str) -> Status {
        Status::new(409, "AlreadyExists", format!("{} {name:?} already exists", kind.resource))
            .about(kind, name)
    }

    /// Somebody else wrote first, or a precondition does not hold.
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Status {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind.resource);
        Status::new(409, "Conflict", message).about(kind, name)
    }

    /// An apply would take fields from other managers.
    pub fn apply_conflict(message: String, causes: Vec<Value>) -> Status {
        Status { details: Some(json!({ "causes": causes })), ..Status::new(409, "Conflict", message) }
    }

    /// One of a request's options (`PatchOptions`, `DeleteOptions`) is wrong.
    pub fn bad_option(options: &str, cause: &Cause) -> Status {
        let causes = json!([{ "reason": cause.reason, "message": cause.message, "field": cause.field }]);
        let message = format!("{options}.meta.k8s.io \"\" is invalid: {}: {}", cause.field, cause.message);
        let details = json!({ "group": "meta.k8s.io", "kind": options, "causes": causes });
        Status { details: Some(details), ..Status::new(422, "Invalid", message) }
    }

    /// The compare-and-swap failed.
    pub fn modified(kind: &Kind, name: &str) -> Status {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Status::conflict(kind, name, why)
    }

    /// History does not reach back so far.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::new(410, "Expired", message)
    }

    /// The user has as much of it as one may have.
    pub fn too_many(message: impl Into<String>) -> Status {
        Status::new(429, "TooManyRequests", message)
    }

    pub fn too_large(message: impl Into<String>) -> Status {
        Status::new(413, "RequestEntityTooLarge", message)
    }

    pub fn unsupported_media_type(accepted: &str) -> Status {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Status::new(415, "UnsupportedMediaType", message)
    }

    /// The object is not what its kind wants; `causes` must not be empty.
    pub fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Status {
        let texts: Vec<String> =
            causes
                .iter()
                .map(|c| {
                    if c.field.is_empty() { c.message.clone() } else { format!("{}: {}", c.field, c.message) }
                })
                .collect();
        let list = match &texts[..] {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let qualified = match kind.group {
            "" => kind.kind.to_owned(),
            group => format!("{}.{group}", kind.kind),
        };
        let mut status =
            Status::new(422, "Invalid", format!("{qualified} {name:?} is invalid: {list}")).about(kind, name);
        if let Some(details) = &mut status.details {
            details["kind"] = json!(kind.kind);
            details["causes"] = causes
                .iter()
                .map(|c| json!({ "reason": c.reason, "message": c.message, "field": c.field }))
                .collect();
        }
        status
    }

    /// A JSON patch that does not apply.
    pub fn unprocessable(message: impl Into<String>) -> Status {
        Status::new(422, "Invalid", message)
    }

    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(400, "BadRequest", message)
    }

    /// A body that does not decode as the kind.
    pub fn undecodable(kind: &Kind, why: &str) -> Status {
        Status::bad_request(format!(
            "{0} in version {1:?} cannot be handled as a {0}: {why}",
            kind.kind, kind.version
        ))
    }

    /// The caller is ahead of us.
    pub fn from_the_future(asked: u64, current: u64) -> Status {
        let message = format!("Too large resource version: {asked}, current: {current}");
        let causes =
            json!([{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }]);
        Status {
            details: Some(json!({ "causes": causes, "retryAfterSeconds": 1 })),
            ..Status::new(504, "Timeout", message)
        }
    }

    /// The same failure in the words of a kind's view.
    pub fn of_view(mut self, view: &Kind) -> Status {
        self.message = self
            .message
            .replace(".projectcalico.org", &format!(".{}", view.group))
            .replace(" projectcalico.org/v3", &format!(" {}", view.api_version));
        if let Some(group) = self.details.as_mut().and_then(|details| details.get_mut("group")) {
            *group = json!(view.group);
        }
        self
    }

    /// The `Status` object.
    pub fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

impl From<store::Error> for Status {
    fn from(error: store::Error) -> Status {
        let code = match &error {
            store::Error::Unreadable(damaged) => return unreadable(damaged, error.to_string()),
            store::Error::TooLarge { .. } => return Status::too_large(error.to_string()),
            store::Error::TooDeep { .. } => return Status::unprocessable(error.to_string()),
            store::Error::Full { .. } => 507,
            _ => 500,
        };
        Status::new(code, "InternalError", error.to_string())
    }
}

/// Objects whose stored form is damaged, as `metav1.StatusReasonStoreReadError` has it.
fn unreadable(damaged: &[store::Damaged], message: String) -> Status {
    let cause = |one: &store::Damaged| json!({ "reason": "UnexpectedServerResponse", "message": "damaged", "field": one.to_string() });
    let details = json!({ "causes": damaged.iter().map(cause).collect::<Vec<_>>() });
    Status { details: Some(details), ..Status::new(500, "StorageReadError", message) }
}
