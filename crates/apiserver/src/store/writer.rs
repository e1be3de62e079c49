//! The one thread that writes, and its group commit.
//!
//! All writes that wait are decided in one transaction, one after the other, and share one fsync. Answers go out and
//! changes are published after the commit.

use super::checksum::{self, Named};
use super::{Change, Error, Recent, Revision, Version, read, schema};
use crate::json::is_within;
use crate::kinds::Kind;
use failpoint::failpoint;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::fs::File;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Writes that may share a transaction.
const GROUP: usize = 256;
/// How long a group waits for as many writes as the last one had: their clients have just been answered, and a sync
/// takes ten times as long.
const GATHER: Duration = Duration::from_micros(500);
/// Writes after which history is cut.
const COMPACT_EVERY: u64 = 200;

/// Bytes of a stored object: what a request may bring.
const LARGEST: usize = 3 << 20;
/// Levels of a stored object. Its readers, and [`super::object`], take 127, of which a list and a watch need some.
const DEEPEST: usize = 100;

/// A write: decides inside the transaction, and gives what is to be called with the transaction's end.
type Job = Box<dyn FnOnce(&mut Tx<'_>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// The writer's queue; dropping it ends the thread after the last write.
pub struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread, which owns the connection and the directory's lock.
    pub fn start(
        connection: Connection,
        lock: File,
        history: u64,
        recent: Arc<Recent>,
        named: Arc<Named>,
    ) -> Result<Writer, Error> {
        let (queue, jobs) = mpsc::channel();
        let revision = schema::revision(&connection)?;
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || {
                let _lock = lock;
                let history = history.max(1);
                Group { connection, recent, named, history, revision, compacted: revision }.run(&jobs);
            })
            .map_err(|error| Error::Sqlite(error.to_string()))?;
        Ok(Writer { queue: Some(queue), thread: Some(thread) })
    }

    /// See `Store::write`.
    pub async fn write<T, E, F>(&self, dry: bool, decide: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |tx| {
            let outcome = tx.attempt(dry, decide);
            Box::new(move |committed| {
                let _ = answer.send(committed.map_err(E::from).and(outcome));
            })
        });
        let queue = self.queue.as_ref().expect("taken on drop only");
        queue.send(job).map_err(|_| E::from(Error::Stopping))?;
        answered.await.unwrap_or_else(|_| Err(Error::Stopping.into()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's state.
struct Group {
    connection: Connection,
    recent: Arc<Recent>,
    named: Arc<Named>,
    history: u64,
    /// The latest durable revision.
    revision: Revision,
    /// The revision at which history was last cut.
    compacted: Revision,
}

impl Group {
    fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        let mut last = 0;
        while let Ok(first) = jobs.recv() {
            let group = gather(first, jobs, last);
            last = group.len();
            self.commit(group);
            if self.revision - self.compacted >= COMPACT_EVERY {
                if let Err(error) = self.compact() {
                    tracing::warn!(%error, "cannot cut the history");
                }
                self.compacted = self.revision;
            }
        }
        let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
    }

    /// Decides `jobs` in one transaction and answers them all.
    fn commit(&mut self, jobs: Vec<Job>) {
        let mut tx = Tx {
            connection: &self.connection,
            named: &self.named,
            revision: self.revision,
            changes: Vec::new(),
            broken: None,
        };
        if let Err(error) = run(tx.connection, "BEGIN IMMEDIATE") {
            tx.broken = Some(error.into());
        }
        let answers: Vec<Answer> = jobs.into_iter().map(|job| job(&mut tx)).collect();
        let Tx { changes, broken, .. } = tx;
        let committed = match broken {
            Some(error) => Err(error),
            None if changes.is_empty() => run(&self.connection, "ROLLBACK").map_err(Error::from),
            None => {
                failpoint!("group: decided");
                let committed = run(&self.connection, "COMMIT").map_err(Error::from);
                failpoint!("group: committed");
                committed
            }
        };
        match &committed {
            Ok(()) => self.revision += changes.len() as u64,
            Err(error) => {
                tracing::error!(%error, "a write failed");
                if !self.connection.is_autocommit() {
                    let _ = self.connection.execute_batch("ROLLBACK");
                }
            }
        }
        for answer in answers {
            answer(committed.clone());
        }
        failpoint!("group: answered");
        // Who wrote is answered first: its own watch would keep it from reading on.
        if committed.is_ok() {
            self.recent.publish(changes);
        }
        failpoint!("group: told");
    }

    /// Forgets versions that were superseded, and tombstones, before the last `history` revisions.
    fn compact(&self) -> Result<(), Error> {
        let horizon = self.revision.saturating_sub(self.history).cast_signed();
        if horizon <= 0 {
            return Ok(());
        }
        failpoint!("history: to be cut");
        let tx = self.connection.unchecked_transaction()?;
        tx.prepare_cached("DELETE FROM versions WHERE successor <= ?1")?.execute([horizon])?;
        tx.prepare_cached("DELETE FROM versions WHERE deleted AND revision <= ?1")?.execute([horizon])?;
        tx.prepare_cached("UPDATE horizon SET compacted = ?1")?.execute([horizon])?;
        tx.commit()?;
        failpoint!("history: cut");
        Ok(())
    }
}

/// What is stored can be read again, by this program and by its clients.
fn may_be_stored(object: &Value, body: &str) -> Result<(), Error> {
    if body.len() > LARGEST {
        return Err(Error::TooLarge { bytes: body.len(), limit: LARGEST });
    }
    if !is_within(object, DEEPEST) {
        return Err(Error::TooDeep { limit: DEEPEST });
    }
    Ok(())
}

/// One of the few statements that frame every write: parsed once.
fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

/// All writes that wait, and for a moment those of clients that wrote in the last group of `expected`.
fn gather(first: Job, jobs: &mpsc::Receiver<Job>, expected: usize) -> Vec<Job> {
    let mut group = vec![first];
    let until = Instant::now() + GATHER;
    loop {
        group.extend(jobs.try_iter().take(GROUP - group.len()));
        if group.len() >= expected.min(GROUP) {
            return group;
        }
        match jobs.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(job) => group.push(job),
            Err(_) => return group,
        }
    }
}

/// The state on which a write decides: the latest, with all writes decided before it.
pub struct Tx<'c> {
    connection: &'c Connection,
    named: &'c Named,
    revision: Revision,
    changes: Vec<Change>,
    /// The database failed: nothing of this transaction will be.
    broken: Option<Error>,
}

impl Tx<'_> {
    /// Runs one write; undoes it if it fails or is only a rehearsal.
    fn attempt<T, E: From<Error>>(
        &mut self,
        dry: bool,
        decide: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(error) = &self.broken {
            return Err(error.clone().into());
        }
        let (revision, changes) = (self.revision, self.changes.len());
        self.sql(|c| run(c, "SAVEPOINT write"))?;
        let outcome = decide(self);
        if self.broken.is_none() {
            let undo = dry || outcome.is_err();
            if undo {
                (self.revision, _) = (revision, self.changes.truncate(changes));
                self.sql(|c| c.execute_batch("ROLLBACK TO write; RELEASE write"))?;
            } else {
                self.sql(|c| run(c, "RELEASE write"))?;
            }
        }
        outcome
    }

    /// The latest version of an object.
    pub fn get(&mut self, kind: &Kind, namespace: &str, name: &str) -> Result<Option<Version>, Error> {
        self.noting(|tx| read::get(tx.connection, kind, namespace, name))
    }

    /// All objects of a kind, or of a kind and namespace.
    pub fn list(&mut self, kind: &'static Kind, namespace: Option<&str>) -> Result<Vec<Version>, Error> {
        self.some(kind, namespace, None)
    }

    /// Whether a namespace has an object of a kind.
    pub fn any(&mut self, kind: &'static Kind, namespace: &str) -> Result<bool, Error> {
        Ok(!self.some(kind, Some(namespace), Some(1))?.is_empty())
    }

    fn some(
        &mut self,
        kind: &'static Kind,
        namespace: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Vec<Version>, Error> {
        let listing =
            read::Listing { kind, namespace: namespace.map(str::to_owned), at: None, after: None, limit };
        match self.noting(|tx| read::list(tx.connection, &listing))? {
            read::Page::Objects { versions, .. } => Ok(versions),
            read::Page::Compacted | read::Page::Future { .. } => unreachable!("the present is always there"),
        }
    }

    /// Stores an object, new or changed; gives what is stored, with its `resourceVersion`.
    pub fn put(&mut self, kind: &'static Kind, object: Value) -> Result<Version, Error> {
        self.version(kind, object, false)
    }

    /// Deletes an object, whose last state is given. Of a damaged one watches are not told what it was: they end.
    pub fn delete(&mut self, kind: &'static Kind, object: Value) -> Result<Version, Error> {
        self.version(kind, object, true)
    }

    fn version(&mut self, kind: &'static Kind, mut object: Value, deleted: bool) -> Result<Version, Error> {
        let revision = self.revision + 1;
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        assert!(
            !name.is_empty() && namespace.is_empty() != kind.namespaced,
            "an admitted object has its full name"
        );
        let version = Version { revision, namespace, name, body: object.to_string().into() };
        if !deleted {
            may_be_stored(&object, &version.body)?;
        }
        let (previous, before) = match self.get(kind, &version.namespace, &version.name) {
            Ok(before) => (before.as_ref().map_or(0, |v| v.revision), before.map(|v| v.body)),
            Err(Error::Unreadable(damaged)) if deleted => (damaged.last().map_or(0, |v| v.revision), None),
            Err(error) => return Err(error),
        };
        let key = [kind.resource.as_bytes(), version.namespace.as_bytes(), version.name.as_bytes()];
        let sum = checksum::of(revision, key, deleted, version.body.as_bytes());
        self.sql(|c| {
            c.prepare_cached(
                "UPDATE versions SET successor = ?1
                 WHERE kind = ?2 AND namespace = ?3 AND name = ?4 AND successor IS NULL",
            )?
            .execute((
                revision.cast_signed(),
                &kind.resource,
                &version.namespace,
                &version.name,
            ))?;
            c.prepare_cached(
                "INSERT INTO versions (revision, kind, namespace, name, previous, deleted, body, checksum)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute((
                revision.cast_signed(),
                &kind.resource,
                &version.namespace,
                &version.name,
                previous.cast_signed(),
                deleted,
                &*version.body,
                sum,
            ))
        })?;
        self.revision = revision;
        self.changes.push(Change { kind, version: version.clone(), deleted, previous: before });
        Ok(version)
    }

    fn sql<T>(&mut self, run: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        self.noting(|tx| run(tx.connection).map_err(Error::from))
    }

    fn noting<T>(&mut self, run: impl FnOnce(&Self) -> Result<T, Error>) -> Result<T, Error> {
        let outcome = run(self);
        match &outcome {
            // Of one object: the group's other writes go on.
            Err(error @ Error::Unreadable(_)) => self.named.log(error),
            Err(error) => self.broken = Some(error.clone()),
            Ok(_) => {}
        }
        outcome
    }
}
