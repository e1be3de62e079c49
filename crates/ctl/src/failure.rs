//! Why a command failed: what stands on stderr, word for word as `calicoctl` says it.

use model::schema::FieldErrors;

/// The text of a failed command; its exit status is 1.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    pub text: String,
    /// Where the text is printed: on standard error, but for a few that `calicoctl` has always printed as output.
    pub on_stdout: bool,
}

impl Failure {
    /// A failure that is told on standard error.
    pub fn new(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), on_stdout: false }
    }

    /// A failure that is told on standard output.
    pub fn on_stdout(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), on_stdout: true }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure::new(fault.to_string())
    }
}

impl From<datastore::Error> for Failure {
    fn from(error: datastore::Error) -> Failure {
        Failure::new(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::new(error.to_string())
    }
}

/// Why something could not be done with one object. Objects are named `Kind(name)` or `Kind(namespace/name)`.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("resource does not exist: {object} with error: {cause}")]
    NotFound { object: String, cause: String },
    #[error("resource already exists: {object} with error: {cause}")]
    AlreadyExists { object: String, cause: String },
    #[error("update conflict: {object}")]
    Conflict { object: String },
    #[error("connection is unauthorized: {0}")]
    Unauthorized(String),
    #[error("operation {operation} is not supported on {object}{}", reason.map(|r| format!(": {r}")).unwrap_or_default())]
    Unsupported { operation: &'static str, object: String, reason: Option<&'static str> },
    #[error("{0}")]
    Invalid(#[from] FieldErrors),
    #[error("resource namespace does not match client namespace. {document} != {client}")]
    OtherNamespace { document: String, client: String },
    /// The flag names a namespace.
    #[error("{0} is not namespaced")]
    NotNamespaced(String),
    /// The document names a namespace.
    #[error(
        "namespace should not be specified for a non-namespaced resource. {0} is not a namespaced resource"
    )]
    Namespaced(String),
    #[error("{0}")]
    Api(datastore::Error),
}

impl Fault {
    /// What the API's answer means for `object`.
    pub fn of(object: &str, error: datastore::Error) -> Fault {
        let object = object.to_owned();
        let cause = error.to_string();
        match &error {
            e if e.is_not_found() => Fault::NotFound { object, cause },
            e if e.is_already_exists() => Fault::AlreadyExists { object, cause },
            e if e.is_conflict() => Fault::Conflict { object },
            datastore::Error::Status(status) if matches!(status.code, 401 | 403) => {
                Fault::Unauthorized(cause)
            }
            _ => Fault::Api(error),
        }
    }
}
