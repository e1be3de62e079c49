//! The database file: its tables, opening it, the lock that keeps a second server out.

use super::{Error, Revision};
use failpoint::failpoint;
use rusqlite::{Connection, OptionalExtension};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file's name in the data directory.
pub const FILE: &str = "store.db";
/// Its log, by SQLite's name.
const LOG: &str = "store.db-wal";
/// Pages in the log after which it is copied into the file and begun anew.
const LOG_PAGES: u32 = 1000;
/// Bytes that the log is given: its pages with their frames, and what the last commit may add.
const LOG_BYTES: u64 = (LOG_PAGES as u64 + 100) * (4096 + 24);
/// `PRAGMA user_version` of files that this program writes.
const FORMAT: i64 = 2;

/// `previous` is 0 for a creation. Rows without a successor are the present: one per object ever known to history,
/// tombstones (`deleted`) included. `checksum` is of all
/// but `previous` and `successor` ([`super::checksum::of`]). `compacted` is the revision up to which history was forgotten.
const TABLES: &str = "
    CREATE TABLE versions (
        revision INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        previous INTEGER NOT NULL,
        successor INTEGER,
        deleted INTEGER NOT NULL,
        body TEXT NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX present ON versions (kind, namespace, name) WHERE successor IS NULL;
    CREATE INDEX history ON versions (kind, revision);
    CREATE INDEX superseded ON versions (successor) WHERE successor IS NOT NULL;
    CREATE INDEX tombstones ON versions (revision) WHERE deleted;
    CREATE TABLE horizon (compacted INTEGER NOT NULL) STRICT;
    INSERT INTO horizon VALUES (0);
";

/// Opens the database of `dir` for writing, making it if there is none, and takes the directory's lock.
pub fn open(dir: &Path) -> Result<(Connection, File), Error> {
    let path = dir.join(FILE);
    let lock = lock(dir)?;
    let broken = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            Error::Damaged { path: path.clone(), detail: error.to_string() }
        }
        Some(rusqlite::ErrorCode::DiskFull) => error.into(),
        _ => Error::Open { path: path.clone(), detail: error.to_string() },
    };
    // What SQLite makes beside the file has the file's mode.
    let made = File::options().create(true).append(true).mode(0o600).open(&path);
    made.map_err(|error| Error::Open { path: path.clone(), detail: error.to_string() })?;
    let connection = Connection::open(&path).map_err(broken)?;
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = {LOG_PAGES};"
        ))
        .map_err(broken)?;
    // An index that lost an entry would hide an object: indices are compared with the rows too.
    let verdict: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(broken)?;
    if verdict != "ok" {
        return Err(Error::Damaged { path, detail: verdict.replace('\n', " ") });
    }
    let format: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(broken)?;
    match format {
        FORMAT => {}
        0 => connection
            .execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;"))
            .map_err(broken)?,
        found => return Err(Error::OtherFormat { path, found, known: FORMAT }),
    }
    failpoint!("database: made");
    lay_out_log(&dir.join(LOG))
        .map_err(|error| Error::Open { path: dir.join(LOG), detail: error.to_string() })?;
    failpoint!("log: laid out");
    Ok((connection, lock))
}

/// Gives the log its whole size: a commit then changes content only, and its sync waits for no journal of the file
/// system's, which other programs fill too. SQLite takes zeros for the end of a log. A disk without the space lets it grow.
fn lay_out_log(path: &Path) -> std::io::Result<()> {
    let mut log = OpenOptions::new().append(true).open(path)?;
    let length = log.metadata()?.len();
    let mut zeros = std::io::repeat(0).take(LOG_BYTES.saturating_sub(length));
    std::io::copy(&mut zeros, &mut log).and_then(|_| log.sync_all()).or_else(|_| log.set_len(length))
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::StorageFull => Error::Full { detail: error.to_string() },
        _ => Error::Open { path: path.clone(), detail: error.to_string() },
    })?;
    file.try_lock().map_err(|_| Error::Locked { path: dir.to_owned() })?;
    Ok(file)
}

/// The latest revision.
pub fn revision(connection: &Connection) -> Result<Revision, Error> {
    let latest: Option<i64> =
        connection.prepare_cached("SELECT max(revision) FROM versions")?.query_row([], |row| row.get(0))?;
    Ok(latest.unwrap_or(0).cast_unsigned())
}

/// The revision up to which history was forgotten.
pub fn horizon(connection: &Connection) -> Result<Revision, Error> {
    let compacted: Option<i64> = connection
        .prepare_cached("SELECT compacted FROM horizon")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(compacted.unwrap_or(0).cast_unsigned())
}
