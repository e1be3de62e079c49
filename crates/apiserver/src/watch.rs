//! Watches: a kind, a selector and a starting point in; lines of events out.
//!
//! A watch pulls: it remembers the revision that it has sent through, asks the store what came after, and sleeps until
//! the store's signal. Its client's pace is its own.
//!
//! Guarantees: events come in order of revision, each once; only durable changes are seen; a watch that begins at any
//! revision it was told goes on without a gap, or ends at once with 410; an object that leaves the selector is told as
//! deleted, one that enters as added; a bookmark is only sent when everything before it was.

use crate::kinds::Kind;
use crate::rest::{Api, Form};
use crate::select::Selector;
use crate::status::Status;
use crate::store::{self, Change, Changes, Listing, Page, Revision};
use bytes::Bytes;
use failpoint::failpoint;
use futures::Stream;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Time between bookmarks, as in Kubernetes.
const BOOKMARK: Duration = Duration::from_secs(60);

/// Where a watch begins.
#[derive(Clone, Copy, Debug)]
pub enum Start {
    /// With all objects as added.
    Everything,
    /// With all objects as added, and a bookmark that says that they are all (`sendInitialEvents`).
    Streamed,
    /// With what came after a revision.
    After(Revision),
}

/// A running watch.
pub struct Watch {
    api: Arc<Api>,
    kind: &'static Kind,
    /// The form in which the client sees it.
    view: &'static Kind,
    /// Empty for all.
    namespace: String,
    selector: Selector,
    form: Form,
    bookmarks: bool,
    /// Everything up to here was sent.
    position: Revision,
    signal: watch::Receiver<Revision>,
    /// Ready lines.
    ready: String,
    /// No table was sent yet: the first one tells the columns.
    first: bool,
    bookmark_at: Instant,
    end: Instant,
    over: bool,
}

/// What a watch woke up for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Changes,
    Bookmark,
    End,
}

impl Watch {
    /// Begins a watch.
    #[expect(clippy::too_many_arguments, reason = "the query's own parameters, each used once")]
    pub async fn new(
        api: Arc<Api>,
        view: &'static Kind,
        namespace: String,
        selector: Selector,
        form: Form,
        bookmarks: bool,
        start: Start,
        timeout: Duration,
    ) -> Result<Watch, Status> {
        let kind = view.stored();
        let signal = api.store.recent().signal(kind);
        let now = Instant::now();
        let mut watch = Watch {
            api,
            kind,
            view,
            namespace,
            selector,
            form,
            bookmarks,
            position: 0,
            signal,
            ready: String::new(),
            first: true,
            bookmark_at: now + BOOKMARK,
            end: now + timeout,
            over: false,
        };
        match start {
            Start::After(revision) => {
                let current = watch.api.store.revision().await?;
                if revision > current {
                    return Err(Status::from_the_future(revision, current));
                }
                watch.position = revision;
            }
            Start::Everything | Start::Streamed => watch.begin(matches!(start, Start::Streamed)).await?,
        }
        Ok(watch)
    }

    /// Readies all objects as added.
    async fn begin(&mut self, streamed: bool) -> Result<(), Status> {
        let namespace = Some(self.namespace.clone()).filter(|namespace| !namespace.is_empty());
        let listing = Listing { kind: self.kind, namespace, at: None, after: None, limit: None };
        let Page::Objects { versions, revision, .. } = self.api.store.list(listing).await? else {
            unreachable!("the present is always there")
        };
        for version in versions {
            if self.wants(&version.body) {
                self.ready("ADDED", &version.body);
            }
        }
        if streamed {
            self.ready.push_str(&self.form.bookmark(self.view, revision, true));
        }
        self.position = revision;
        Ok(())
    }

    /// The chunks of the answer's body.
    pub fn into_stream(self) -> impl Stream<Item = Bytes> {
        futures::stream::unfold(
            self,
            |mut watch| async move { watch.next().await.map(|chunk| (chunk, watch)) },
        )
    }

    async fn next(&mut self) -> Option<Bytes> {
        let mut due = Due::Changes;
        while self.ready.is_empty() && !self.over {
            if Instant::now() >= self.end {
                due = Due::End;
            }
            let seen = *self.signal.borrow_and_update();
            match self.api.store.changes(self.kind, self.position).await {
                Ok(Changes::Some { changes, through }) => {
                    for change in &changes {
                        self.tell(change);
                    }
                    self.position = through;
                    if due != Due::Changes {
                        self.mark(due);
                        due = Due::Changes;
                    } else if changes.is_empty() && seen <= through {
                        due = self.sleep().await;
                    }
                }
                Ok(Changes::Compacted) => {
                    let asked = self.position;
                    self.fail(&Status::expired(format!("too old resource version: {asked}")));
                }
                Err(error) => self.fail(&Status::from(error)),
            }
        }
        failpoint!("events: to be sent");
        (!self.ready.is_empty()).then(|| Bytes::from(std::mem::take(&mut self.ready)))
    }

    /// Until there may be more to tell, a bookmark is due, or time is up.
    async fn sleep(&mut self) -> Due {
        tokio::select! {
            changed = self.signal.changed() => if changed.is_ok() { Due::Changes } else { Due::End },
            () = tokio::time::sleep_until(self.bookmark_at), if self.bookmarks => Due::Bookmark,
            () = tokio::time::sleep_until(self.end) => Due::End,
        }
    }

    /// Bookmarks the position, if the client wants it; it was just brought up to date.
    fn mark(&mut self, due: Due) {
        self.over = due == Due::End;
        self.bookmark_at = Instant::now() + BOOKMARK;
        if self.bookmarks {
            self.ready.push_str(&self.form.bookmark(self.view, self.position, false));
        }
    }

    fn tell(&mut self, change: &Change) {
        if !self.namespace.is_empty() && change.version.namespace != self.namespace {
            return;
        }
        if change.deleted && change.previous.is_none() {
            // Which watches wanted it cannot be known: a list tells each what it has now.
            return self.fail(&Status::expired("a damaged object was deleted: list again"));
        }
        let body = &change.version.body;
        let before = change.previous.as_ref().map(|previous| self.wants(previous));
        match (before, self.wants(body) && !change.deleted) {
            (None | Some(false), true) => self.ready("ADDED", body),
            (Some(true), true) => self.ready("MODIFIED", body),
            (Some(true), false) if change.deleted => self.ready("DELETED", body),
            (Some(true), false) => self.ready("DELETED", &left(change)),
            (None | Some(false), false) => {}
        }
    }

    fn wants(&self, body: &str) -> bool {
        self.selector.is_everything() || self.selector.matches(&store::object(body))
    }

    fn ready(&mut self, event: &str, body: &str) {
        self.ready.push_str(&self.form.event(self.view, event, body, self.first));
        self.first = false;
    }

    fn fail(&mut self, status: &Status) {
        self.ready.push_str(&format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", status.to_json()));
        self.over = true;
    }
}

/// The object as it was when it was still wanted, at the revision at which it left.
fn left(change: &Change) -> String {
    let previous = change.previous.as_deref().unwrap_or("{}");
    let mut object = store::object(previous);
    object["metadata"]["resourceVersion"] = change.version.revision.to_string().into();
    object.to_string()
}
