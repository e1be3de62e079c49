//! Why the store could not do what was asked.

use super::checksum::Damaged;
use std::path::PathBuf;

/// A failure of the store itself, or an object that it does not take.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the disk of the API server is full ({detail}): nothing was written; free some space and try again"
    )]
    Full { detail: String },
    #[error(
        "{path} is damaged ({detail}): restore it from a copy, or move it away to begin with an empty store"
    )]
    Damaged { path: PathBuf, detail: String },
    #[error(
        "damaged in the store: {}; restore from a copy, or delete with ignoreStoreReadErrorWithClusterBreakingPotential=true",
        names(.0)
    )]
    Unreadable(Vec<Damaged>),
    #[error("{path} is held by another API server: stop that one, or choose another data directory")]
    Locked { path: PathBuf },
    #[error(
        "{path} was written by another version of this program (format {found}, this one knows {known}): use that one, or move the file away to begin with an empty store"
    )]
    OtherFormat { path: PathBuf, found: i64, known: i64 },
    #[error("cannot open {path}: {detail}")]
    Open { path: PathBuf, detail: String },
    #[error("the store failed ({0}): stop the server and see whether it starts again, which checks the file")]
    Sqlite(String),
    #[error("the API server is stopping")]
    Stopping,
    #[error("the object is too large: with its managedFields it has {bytes} bytes, {limit} are the most")]
    TooLarge { bytes: usize, limit: usize },
    #[error("the object is nested too deep: with its managedFields it may have {limit} levels")]
    TooDeep { limit: usize },
}

fn names(damaged: &[Damaged]) -> String {
    damaged.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Error::Full { detail: error.to_string() },
            _ => Error::Sqlite(error.to_string()),
        }
    }
}
