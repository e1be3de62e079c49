//! The specification's versions and what each allows.

use crate::environment::Verb;
use crate::error::Error;
use std::fmt;

/// A version of the CNI specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V0_1_0,
    V0_2_0,
    V0_3_0,
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

impl Version {
    /// All that are spoken, oldest first.
    pub const ALL: [Version; 7] = [
        Version::V0_1_0,
        Version::V0_2_0,
        Version::V0_3_0,
        Version::V0_3_1,
        Version::V0_4_0,
        Version::V1_0_0,
        Version::V1_1_0,
    ];

    /// As it stands in `cniVersion`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V0_1_0 => "0.1.0",
            Version::V0_2_0 => "0.2.0",
            Version::V0_3_0 => "0.3.0",
            Version::V0_3_1 => "0.3.1",
            Version::V0_4_0 => "0.4.0",
            Version::V1_0_0 => "1.0.0",
            Version::V1_1_0 => "1.1.0",
        }
    }

    /// Reads `cniVersion`. Without one it is 0.2.0, as with the reference implementation.
    pub(crate) fn parse(text: &str) -> Result<Version, Error> {
        if text.is_empty() {
            return Ok(Version::V0_2_0);
        }
        let known = Version::ALL.into_iter().find(|v| v.as_str() == text);
        known.ok_or_else(|| Error::Version(text.to_owned()))
    }

    /// CHECK came with 0.4.0, GC and STATUS with 1.1.0.
    pub(crate) fn allows(self, verb: Verb) -> Result<(), Error> {
        let since = match verb {
            Verb::Check => Version::V0_4_0,
            Verb::Gc | Verb::Status => Version::V1_1_0,
            Verb::Add | Verb::Del | Verb::Version => Version::V0_1_0,
        };
        if self < since { Err(Error::VerbNotInVersion { verb, version: self, since }) } else { Ok(()) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What VERSION prints.
pub(crate) fn report() -> String {
    let versions: Vec<&str> = Version::ALL.iter().map(|v| v.as_str()).collect();
    let report = serde_json::json!({"cniVersion": Version::V1_1_0.as_str(), "supportedVersions": versions});
    format!("{report}\n")
}
