//! The objects and their history, durable, in one SQLite file.
//!
//! Every write of an object makes a *version*, numbered by the one revision counter; a deletion is a version too. A
//! version knows its predecessor and its successor, so the file answers what is now, what was at a revision that
//! history still holds, and what happened since one.
//!
//! ```text
//!   write(f) ──queue──► writer thread: BEGIN, f₁, f₂, … , COMMIT (one fsync for all) ──► answers
//!                                                                                  └──► Recent ──► watches
//!   get, list, changes ──► a pool of read connections (WAL: readers and the writer never wait for each other)
//! ```
//!
//! Invariants: an answer, a read or a watch speaks of committed, synced versions only; revisions grow by one and are
//! never used again once seen; writes are decided one after the other on the latest state; what a disk changed in a
//! version is an error of all that would show it, never something else than what was written, and never left out.

mod checksum;
mod error;
mod read;
mod recent;
mod schema;
mod writer;

pub use checksum::Damaged;
pub use error::Error;
pub use read::{Listing, Page};
pub use recent::Recent;
pub use writer::Tx;

use crate::kinds::Kind;
use checksum::Named;
use read::Readers;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// Number of a version; grows by one with every write of any object.
pub type Revision = u64;

/// One stored version of an object.
#[derive(Clone, Debug)]
pub struct Version {
    pub revision: Revision,
    /// Empty for cluster-wide kinds.
    pub namespace: String,
    pub name: String,
    /// The object as JSON, with its own `resourceVersion` inside.
    pub body: Arc<str>,
}

impl Version {
    /// The object.
    pub fn object(&self) -> Value {
        object(&self.body)
    }
}

/// The object of a body, as the store gave it.
pub fn object(body: &str) -> Value {
    serde_json::from_str(body).expect("it is what this program wrote: its checksum was right")
}

/// One step of history.
#[derive(Debug)]
pub struct Change {
    pub kind: &'static Kind,
    pub version: Version,
    /// The object was deleted; the version's body is its last state.
    pub deleted: bool,
    /// The object as it was before; `None` if it was created, and of a damaged one that was deleted.
    pub previous: Option<Arc<str>>,
}

/// What happened after a revision.
pub enum Changes {
    /// In order of revision; complete up to `through`.
    Some { changes: Vec<Arc<Change>>, through: Revision },
    /// History does not reach back so far.
    Compacted,
}

/// The store.
pub struct Store {
    readers: Arc<Readers>,
    writer: writer::Writer,
    recent: Arc<Recent>,
    named: Arc<Named>,
}

impl Store {
    /// Opens the store of directory `dir`, or makes one, and starts its writer.
    ///
    /// # Errors
    /// Another process holds it, it is damaged, it is of a later program.
    pub fn open(dir: &Path, history: u64) -> Result<Store, Error> {
        let (connection, lock) = schema::open(dir)?;
        let revision = schema::revision(&connection)?;
        let recent = Arc::new(Recent::new(revision));
        let readers = Arc::new(Readers::new(dir.join(schema::FILE)));
        let named = Arc::new(Named::default());
        let writer = writer::Writer::start(connection, lock, history, recent.clone(), named.clone())?;
        Ok(Store { readers, writer, recent, named })
    }

    /// Runs `decide` on the latest state; what it put and deleted is durable when this returns `Ok`.
    ///
    /// If it fails, or if `dry`, nothing of it is kept.
    pub async fn write<T, E, F>(&self, dry: bool, decide: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.writer.write(dry, decide).await
    }

    /// The latest version of an object.
    pub async fn get(
        &self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Version>, Error> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.read(move |connection| read::get(connection, kind, &namespace, &name)).await
    }

    /// One page of a kind's objects, in order of namespace and name.
    pub async fn list(&self, listing: Listing) -> Result<Page, Error> {
        self.read(move |connection| read::list(connection, &listing)).await
    }

    /// The latest durable revision.
    pub async fn revision(&self) -> Result<Revision, Error> {
        self.read(schema::revision).await
    }

    /// The latest changes, and the signals that there are more.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// What happened to objects of `kind` after `after`, at most some hundred changes at once.
    ///
    /// History that is damaged counts as forgotten: a list says what is now.
    pub async fn changes(&self, kind: &'static Kind, after: Revision) -> Result<Changes, Error> {
        match self.recent.since(kind, after) {
            Some(changes) => Ok(changes),
            None => match self.read(move |connection| read::changes(connection, kind, after)).await {
                Err(Error::Unreadable(_)) => Ok(Changes::Compacted),
                read => read,
            },
        }
    }

    async fn read<T, F>(&self, query: F) -> Result<T, Error>
    where
        F: FnOnce(&rusqlite::Connection) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        let readers = self.readers.clone();
        let read = tokio::task::spawn_blocking(move || readers.with(query));
        let answer = read.await.expect("a panic aborts the process");
        answer.inspect_err(|error| self.named.log(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    fn config_map(name: &str) -> serde_json::Value {
        json!({"metadata": {"namespace": "default", "name": name}})
    }

    #[tokio::test]
    async fn writes_that_wait_share_one_transaction() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Arc::new(Store::open(dir.path(), 100).expect("a store"));
        let (release, held) = mpsc::channel::<()>();
        let (begins, begun) = mpsc::channel::<()>();
        let first = store.clone();
        let first = tokio::spawn(async move {
            let hold = move |_: &mut Tx<'_>| {
                begins.send(()).map_err(|_| Error::Stopping)?;
                held.recv().map_err(|_| Error::Stopping)
            };
            first.write(false, hold).await
        });
        // Its group is closed once it is being decided.
        while begun.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        let (decided, queued) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let waiting: Vec<_> = (0..100)
            .map(|n| {
                let (store, decided, queued) = (store.clone(), decided.clone(), queued.clone());
                let count = decided.clone();
                tokio::spawn(async move {
                    queued.fetch_add(1, Ordering::SeqCst);
                    let put = move |tx: &mut Tx<'_>| {
                        count.fetch_add(1, Ordering::SeqCst);
                        tx.put(Kind::core("configmaps"), config_map(&format!("m{n}")))
                    };
                    let stored = store.write(false, put).await.expect("stored");
                    (stored.revision, decided.load(Ordering::SeqCst))
                })
            })
            .collect();
        // One thread: whoever has counted itself has queued its write when this task goes on.
        while queued.load(Ordering::SeqCst) < 100 {
            tokio::task::yield_now().await;
        }
        release.send(()).expect("the first write waits");
        first.await.expect("no panic").expect("written");
        let mut revisions = Vec::new();
        for task in waiting {
            let (revision, decided) = task.await.expect("no panic");
            assert_eq!(decided, 100, "all were decided before the first was answered");
            revisions.push(revision);
        }
        revisions.sort_unstable();
        assert_eq!(revisions, (1..=100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_write_that_fails_or_rehearses_leaves_nothing_and_no_gap() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path(), 100).expect("a store");
        let kind = Kind::core("configmaps");
        let put = |name: &'static str| move |tx: &mut Tx<'_>| tx.put(kind, config_map(name));
        assert_eq!(store.write(false, put("a")).await.expect("stored").revision, 1);
        assert_eq!(store.write(true, put("b")).await.expect("rehearsed").revision, 2);
        let failing = move |tx: &mut Tx<'_>| {
            tx.put(kind, config_map("c"))?;
            Err::<(), _>(Error::Stopping)
        };
        store.write(false, failing).await.expect_err("refused");
        assert_eq!(store.write(false, put("d")).await.expect("stored").revision, 2);
        let listing = Listing { kind, namespace: None, at: None, after: None, limit: None };
        let Page::Objects { versions, revision, .. } = store.list(listing).await.expect("a list") else {
            panic!("the present is there");
        };
        let names: Vec<&str> = versions.iter().map(|v| v.name.as_str()).collect();
        assert_eq!((names, revision), (vec!["a", "d"], 2));
    }
}
