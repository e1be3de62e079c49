//! Reading: the pool of read connections, and its three questions. No row leaves this module whose checksum is wrong.

use super::checksum::{self, Damaged};
use super::{Change, Changes, Error, Revision, Version, schema};
use crate::kinds::Kind;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, named_params};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Changes that one read of history gives at most: they may be large ones.
const CHANGES: usize = 100;
/// Connections that are kept for later.
const IDLE: usize = 4;

/// Connections for reading, made when needed and kept.
pub struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub fn new(path: PathBuf) -> Readers {
        Readers { path, idle: Mutex::default() }
    }

    /// Runs `query` on a connection of its own, in one transaction: all that it reads is of one moment.
    pub fn with<T>(&self, query: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let idle = self.idle.lock().expect("no holder panics").pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = Connection::open_with_flags(&self.path, flags)?;
                // 512 KiB of pages each: reads of the present are in few pages.
                connection.execute_batch("PRAGMA cache_size = -512;")?;
                connection
            }
        };
        connection.execute_batch("BEGIN")?;
        let answer = query(&connection);
        connection.execute_batch("COMMIT")?;
        let mut idle = self.idle.lock().expect("no holder panics");
        if idle.len() < IDLE {
            idle.push(connection);
        }
        answer
    }
}

/// The columns that [`version`] wants.
const COLUMNS: &str = "revision, kind, namespace, name, deleted, body, checksum";

/// The version of a row, if it is what was written.
fn version(row: &Row<'_>) -> rusqlite::Result<Result<Version, Damaged>> {
    let octets = |column: &str| -> rusqlite::Result<&[u8]> {
        // A flip may turn a text into a number.
        Ok(row.get_ref(column)?.as_bytes().unwrap_or_default())
    };
    let (kind, namespace, name) = (octets("kind")?, octets("namespace")?, octets("name")?);
    let revision: i64 = row.get("revision")?;
    let revision = revision.cast_unsigned();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    Ok(match whole(row, revision, [kind, namespace, name], ["deleted", "body", "checksum"])? {
        Some(body) => Ok(Version { revision, namespace: text(namespace), name: text(name), body }),
        None => Err(Damaged { revision, resource: text(kind), namespace: text(namespace), name: text(name) }),
    })
}

/// The body of a version, if the version is what was written; `columns` are its deletion, body and checksum.
fn whole(
    row: &Row<'_>,
    revision: Revision,
    key: [&[u8]; 3],
    [deleted, body, checksum]: [&str; 3],
) -> rusqlite::Result<Option<Arc<str>>> {
    let number = |column: &str| row.get_ref(column).map(|value| value.as_i64().unwrap_or(-1));
    let body = row.get_ref(body)?.as_bytes().unwrap_or_default();
    let wanted = checksum::of(revision, key, number(deleted)? != 0, body);
    let same = number(checksum)? == i64::from(wanted);
    Ok(std::str::from_utf8(body).ok().filter(|_| same).map(Arc::from))
}

/// The latest version of an object.
pub fn get(
    connection: &Connection,
    kind: &Kind,
    namespace: &str,
    name: &str,
) -> Result<Option<Version>, Error> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM versions
         WHERE kind = ?1 AND namespace = ?2 AND name = ?3 AND successor IS NULL AND NOT deleted"
    ))?;
    let found = statement.query_row((&kind.resource, namespace, name), version).optional()?;
    found.transpose().map_err(|damaged| Error::Unreadable(vec![damaged]))
}

/// Which objects to list.
#[derive(Clone, Debug)]
pub struct Listing {
    pub kind: &'static Kind,
    /// `None` lists all namespaces.
    pub namespace: Option<String>,
    /// The state at this revision, `None` for the latest.
    pub at: Option<Revision>,
    /// Begin after this namespace and name.
    pub after: Option<(String, String)>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// One page of a list.
#[derive(Debug)]
pub enum Page {
    Objects {
        versions: Vec<Version>,
        /// The revision of which the list speaks.
        revision: Revision,
        /// How many objects follow the page.
        remaining: usize,
    },
    /// History does not hold that revision any more.
    Compacted,
    /// That revision is not reached yet.
    Future { current: Revision },
}

/// Lists objects in order of namespace and name: all of them, or none if one is damaged. Who keeps what a list says would
/// take one that is not in it for deleted.
pub fn list(connection: &Connection, listing: &Listing) -> Result<Page, Error> {
    let current = schema::revision(connection)?;
    let at = listing.at.unwrap_or(current);
    if at > current {
        return Ok(Page::Future { current });
    }
    if at < schema::horizon(connection)? {
        return Ok(Page::Compacted);
    }
    let living = if at == current {
        "successor IS NULL"
    } else {
        "revision <= :at AND ifnull(successor, :at + 1) > :at"
    };
    let condition = format!(
        "kind = :kind AND {living} AND NOT deleted AND (:namespace IS NULL OR namespace = :namespace)
         AND (namespace, name) > (:after_namespace, :after_name) AND :at IS NOT NULL"
    );
    let (after_namespace, after_name) = listing.after.clone().unwrap_or_default();
    let at_number = at.cast_signed();
    let resource = &listing.kind.resource;
    let parameters = named_params! {
        ":kind": resource, ":at": at_number, ":namespace": listing.namespace,
        ":after_namespace": after_namespace, ":after_name": after_name,
    };
    let limit = listing.limit.map_or(-1, usize::cast_signed);
    let versions = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM versions WHERE {condition} ORDER BY namespace, name LIMIT {limit}"
        ))?
        .query_map(parameters, version)?
        .collect::<Result<Vec<_>, _>>()?;
    let versions = all_whole(versions)?;
    let mut remaining = 0;
    if listing.limit.is_some_and(|limit| versions.len() >= limit) {
        let all: i64 = connection
            .prepare_cached(&format!("SELECT count(*) FROM versions WHERE {condition}"))?
            .query_row(parameters, |row| row.get(0))?;
        remaining = usize::try_from(all).unwrap_or(0) - versions.len();
    }
    Ok(Page::Objects { versions, revision: at, remaining })
}

/// What happened to objects of `kind` after `after`.
pub fn changes(connection: &Connection, kind: &'static Kind, after: Revision) -> Result<Changes, Error> {
    if after < schema::horizon(connection)? {
        return Ok(Changes::Compacted);
    }
    let current = schema::revision(connection)?;
    let mut statement = connection.prepare_cached(
        "SELECT v.*, p.deleted AS previous_deleted, p.body AS previous_body, p.checksum AS previous_checksum
         FROM versions v LEFT JOIN versions p ON p.revision = v.previous
         WHERE v.kind = ?1 AND v.revision > ?2 ORDER BY v.revision LIMIT ?3",
    )?;
    let changes = statement
        .query_map((&kind.resource, after.cast_signed(), CHANGES.cast_signed()), |row| change(kind, row))?
        .collect::<Result<Vec<_>, _>>()?;
    let changes: Vec<_> = all_whole(changes)?.into_iter().map(Arc::new).collect();
    let through = match changes.last() {
        Some(last) if changes.len() == CHANGES => last.version.revision,
        _ => current.max(after),
    };
    Ok(Changes::Some { changes, through })
}

/// A row of [`changes`].
fn change(kind: &'static Kind, row: &Row<'_>) -> rusqlite::Result<Result<Change, Damaged>> {
    let version = match version(row)? {
        Ok(version) => version,
        Err(damaged) => return Ok(Err(damaged)),
    };
    let deleted = row.get("deleted")?;
    let before: i64 = row.get("previous")?;
    let before = before.cast_unsigned();
    let key = [kind.resource.as_bytes(), version.namespace.as_bytes(), version.name.as_bytes()];
    let columns = ["previous_deleted", "previous_body", "previous_checksum"];
    let previous = if before == 0 { None } else { whole(row, before, key, columns)? };
    if before != 0 && previous.is_none() {
        let resource = kind.resource.clone();
        return Ok(Err(Damaged {
            revision: before,
            resource,
            namespace: version.namespace,
            name: version.name,
        }));
    }
    Ok(Ok(Change { kind, version, deleted, previous }))
}

/// What all these are, if none is damaged.
fn all_whole<T>(read: Vec<Result<T, Damaged>>) -> Result<Vec<T>, Error> {
    let mut damaged = Vec::new();
    let whole = read.into_iter().filter_map(|one| one.map_err(|one| damaged.push(one)).ok()).collect();
    if damaged.is_empty() { Ok(whole) } else { Err(Error::Unreadable(damaged)) }
}
