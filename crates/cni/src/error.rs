//! What can fail, in the specification's terms (§5 "Error"): a code, a sentence, and what to do.

use crate::environment::Verb;
use crate::version::Version;
use model::ifname::IfNameError;
use node::cni::{Failure, code};
use serde::Serialize;
use std::io;
use std::path::PathBuf;

/// Why the plugin did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("unknown CNI_COMMAND: {0}")]
    UnknownCommand(String),
    #[error("required env variables [{}] missing", .0.join(","))]
    MissingVariables(Vec<&'static str>),
    #[error("the value of {0} is no UTF-8 text")]
    NotUtf8(&'static str),
    #[error("invalid CNI_CONTAINERID `{0}`")]
    ContainerId(String),
    #[error("invalid CNI_IFNAME: {0}")]
    Interface(IfNameError),
    #[error(
        "CNI_IFNAME {0:?} cannot be a pod's interface: `lo` is taken, and control characters are no name"
    )]
    PodInterface(String),
    #[error("{key}={text:?} in CNI_ARGS is no name of Kubernetes")]
    ArgsName { key: &'static str, text: String },
    #[error("invalid pair `{0}` in CNI_ARGS")]
    ArgsPair(String),
    #[error("IP=`{0}` in CNI_ARGS is no IP address")]
    ArgsAddress(String),
    #[error("cannot read the network configuration from stdin: {0}")]
    ReadStdin(io::Error),
    #[error("the network configuration is longer than {0} bytes")]
    ConfigTooLong(usize),
    #[error("the network configuration is no JSON: {0}")]
    Json(serde_json::Error),
    #[error("the network configuration cannot be used: {0}")]
    Config(serde_json::Error),
    #[error("incompatible CNI versions")]
    Version(String),
    #[error("config version does not allow {verb}")]
    VerbNotInVersion { verb: Verb, version: Version, since: Version },
    #[error("invalid network name `{0}`")]
    NetworkName(String),
    #[error("`{key}` is `{value}` in the network configuration, which is not supported")]
    Unsupported { key: &'static str, value: String, instead: &'static str },
    #[error("`{key}` of the network configuration is no usable path: `{value}`")]
    Path { key: &'static str, value: String },
    #[error("CHECK needs `prevResult` in the network configuration")]
    NoPreviousResult,
    #[error("`prevResult` of the network configuration cannot be used: {0}")]
    PreviousResult(String),
    #[error("GC needs the list `cni.dev/valid-attachments` in the network configuration")]
    NoValidAttachments,
    #[error("a valid attachment has the interface name {0}")]
    ValidAttachment(IfNameError),
    #[error("{0}")]
    Netns(netlink::NetnsError),
    #[error("calico-ipam assigns no addresses on its own")]
    NotAnIpamPlugin,
    #[error("the node agent does not answer on {}", socket.display())]
    AgentAway { verb: Verb, socket: PathBuf, cause: io::Error },
    #[error("the node agent refuses the call: {0}")]
    AgentRefuses(String),
    #[error("the node agent is away and the DEL cannot be queued in {}: {cause}", path.display())]
    Queue { path: PathBuf, cause: io::Error },
    #[error("{}", .0.msg)]
    Agent(Failure),
}

impl Error {
    /// The specification's code.
    pub(crate) fn code(&self) -> u32 {
        match self {
            Error::UnknownCommand(_)
            | Error::MissingVariables(_)
            | Error::NotUtf8(_)
            | Error::ContainerId(_)
            | Error::Interface(_)
            | Error::PodInterface(_)
            | Error::ArgsName { .. }
            | Error::ArgsPair(_)
            | Error::ArgsAddress(_)
            | Error::Netns(_) => code::INVALID_ENVIRONMENT,
            Error::ReadStdin(_) | Error::Queue { .. } => code::IO_FAILURE,
            Error::Json(_) => code::DECODE_FAILURE,
            Error::Version(_) | Error::VerbNotInVersion { .. } => code::INCOMPATIBLE_VERSION,
            Error::Unsupported { .. } => code::UNSUPPORTED_FIELD,
            Error::ConfigTooLong(_)
            | Error::Config(_)
            | Error::NetworkName(_)
            | Error::Path { .. }
            | Error::NoPreviousResult
            | Error::PreviousResult(_)
            | Error::NoValidAttachments
            | Error::ValidAttachment(_)
            | Error::NotAnIpamPlugin => code::INVALID_CONFIG,
            Error::AgentAway { verb: Verb::Status, .. } => code::NOT_AVAILABLE,
            Error::AgentAway { .. } => code::TRY_AGAIN_LATER,
            Error::AgentRefuses(_) => code::INTERNAL,
            Error::Agent(failure) => failure.code,
        }
    }

    /// What to do, or what was found instead.
    fn details(&self) -> String {
        let fixed = match self {
            Error::Version(found) => {
                let known: Vec<String> = Version::ALL.iter().map(|v| format!("{:?}", v.as_str())).collect();
                return format!("config is {found:?}, plugin supports [{}]", known.join(" "));
            }
            Error::VerbNotInVersion { version, since, .. } => {
                return format!("config is {:?}, it needs {:?} or newer", version.as_str(), since.as_str());
            }
            Error::Unsupported { instead, .. } => *instead,
            Error::AgentAway { cause, .. } => {
                return format!("{cause}; is calico-node (`tortie node`) running on this node?");
            }
            Error::Agent(failure) => &failure.details,
            Error::ContainerId(_) => {
                "use 1 to 100 letters, digits, `_`, `.` and `-`, a letter or digit first"
            }
            Error::NetworkName(_) => {
                "set `name` to 1 to 80 letters, digits, `_`, `.` and `-`, a letter or digit first"
            }
            Error::UnknownCommand(_) => "use ADD, DEL, CHECK, STATUS, GC or VERSION",
            Error::ArgsPair(_) => "write KEY=VALUE pairs with `;` between them",
            Error::NotAnIpamPlugin => {
                "the `calico` plugin gives pods their addresses itself: use \"type\": \"calico\" with \"ipam\": {\"type\": \"calico-ipam\"}"
            }
            _ => "",
        };
        fixed.to_owned()
    }

    /// The error object, as the runtime reads it. `version` is the configuration's, if it could be read.
    pub(crate) fn print(&self, version: Option<Version>) -> String {
        let object = Object {
            cni_version: version.map(Version::as_str),
            code: self.code(),
            msg: self.to_string(),
            details: self.details(),
        };
        crate::result::pretty(&object)
    }
}

#[derive(Serialize)]
struct Object {
    #[serde(rename = "cniVersion", skip_serializing_if = "Option::is_none")]
    cni_version: Option<&'static str>,
    code: u32,
    msg: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    details: String,
}
