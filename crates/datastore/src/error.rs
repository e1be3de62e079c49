//! Why the API could not be used, in words for people, and as the agent's [`store::Error`].

use kube::core::Status;
use model::store;
use std::path::PathBuf;
use std::time::Duration;

/// A failed use of the API.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No way to the API is configured.
    #[error("no Kubernetes API is configured: {0}; set KUBECONFIG or write ~/.kube/config")]
    Infer(String),
    /// The kubeconfig is not usable.
    #[error("cannot use kubeconfig {}: {cause}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The connection failed before an answer came.
    #[error("cannot reach the Kubernetes API at {url}: {cause}")]
    Unreachable {
        /// The server's base URL.
        url: String,
        /// The innermost cause.
        cause: String,
    },
    /// No answer in time.
    #[error("the Kubernetes API at {url} did not answer within {} s", after.as_secs())]
    Timeout {
        /// The server's base URL.
        url: String,
        /// The deadline.
        after: Duration,
    },
    /// The server answered with an error.
    #[error("{}", .0.message)]
    Status(Box<Status>),
    /// The server answered something that is no API object.
    #[error("the answer of {url} cannot be read: {cause}")]
    Decode {
        /// The URL of the request.
        url: String,
        /// Why.
        cause: String,
    },
}

impl Error {
    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Status(status) if status.code == 404)
    }

    /// Whether the object exists already.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Error::Status(status) if status.reason == "AlreadyExists")
    }

    /// Whether somebody else changed the object meanwhile.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Error::Status(status) if status.code == 409 && status.reason != "AlreadyExists")
    }

    /// Whether a watch or a list has to begin anew: the server forgot the version that was asked for.
    pub(crate) fn is_expired(&self) -> bool {
        matches!(self, Error::Status(status) if status.code == 410)
    }

    pub(crate) fn of_kube(url: &str, error: kube::Error) -> Error {
        match error {
            kube::Error::Api(status) => Error::Status(status),
            kube::Error::SerdeError(e) => Error::Decode { url: url.to_owned(), cause: e.to_string() },
            other => Error::Unreachable { url: url.to_owned(), cause: innermost(&other) },
        }
    }
}

/// The deepest cause: `Connection refused (os error 111)` rather than the layers around it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

impl From<Error> for store::Error {
    /// A write whose answer says nothing about its fate is `Unknown`: 5xx (the server's own store may have timed out after
    /// the write), too many requests, and every failure of the connection, also those before anything was sent.
    fn from(error: Error) -> store::Error {
        match &error {
            Error::Status(status) => match status.code {
                404 => store::Error::NotFound,
                409 if status.reason == "AlreadyExists" => store::Error::AlreadyExists,
                409 => store::Error::Conflict,
                408 | 429 | 500.. => store::Error::Unknown(error.to_string()),
                _ => store::Error::Refused(error.to_string()),
            },
            Error::Infer(_) | Error::Kubeconfig { .. } => store::Error::Refused(error.to_string()),
            Error::Unreachable { .. } | Error::Timeout { .. } | Error::Decode { .. } => {
                store::Error::Unknown(error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_the_server_has_its_meaning() {
        type Is = fn(&store::Error) -> bool;
        let cases: [(u16, &str, Is); 8] = [
            (404, "NotFound", |e| *e == store::Error::NotFound),
            (409, "AlreadyExists", |e| *e == store::Error::AlreadyExists),
            (409, "Conflict", |e| *e == store::Error::Conflict),
            (422, "Invalid", |e| matches!(e, store::Error::Refused(_))),
            (403, "Forbidden", |e| matches!(e, store::Error::Refused(_))),
            (429, "TooManyRequests", |e| matches!(e, store::Error::Unknown(_))),
            (500, "InternalError", |e| matches!(e, store::Error::Unknown(_))),
            (504, "Timeout", |e| matches!(e, store::Error::Unknown(_))),
        ];
        for (code, reason, is_right) in cases {
            let status = Status::failure("why", reason).with_code(code);
            let error = store::Error::from(Error::Status(Box::new(status)));
            assert!(is_right(&error), "{code} {reason}: {error:?}");
        }
    }
}
