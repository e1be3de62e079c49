//! A kind, watched for ever: first all that is, then each change; outages are bridged and said once.
//!
//! ```text
//!            ┌──────────── expired (410), any failure ───────────┐
//!            ▼                                                   │
//!   List ──Listed──► Open(version) ──► Read lines ──server ends──┤
//!     ▲                   ▲                 └─ version ─► Open   │
//!     └── back-off, Failed once per outage ──────────────────────┘
//! ```
//!
//! Attempts are at least one second apart, 10 s after long outages, each with jitter so that the nodes of a cluster do
//! not return at once; an outage is over when a watch delivers, since a list that works may stand beside a watch that
//! never does. An object that cannot be read is left out, with a warning that names it: what was known of it stays in
//! force until it can be read or is gone.

use crate::client::{Client, DEADLINE, JSON};
use crate::path::escape;
use crate::{Error, Resource, decode};
use futures::io::{AsyncBufRead, AsyncBufReadExt};
use futures::{Stream, stream};
use http::Method;
use kube::core::Status;
use model::store::{Event, Key, Kind, Object};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

const PAGE: usize = 500;
/// How long the server keeps a watch open; a quiet watch that outlives it is dead.
const WATCH: Duration = Duration::from_secs(290);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Which objects of a kind to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// Pods that are bound to this node.
    OnNode(String),
}

impl Client {
    /// All events of a kind, beginning with `Listed`. Never ends.
    pub fn watch(&self, kind: Kind, scope: Scope) -> impl Stream<Item = Event> + Send + use<> {
        assert!(scope == Scope::All || kind == Kind::Pod, "only pods are bound to a node");
        assert!(kind != Kind::Secret, "secrets are read by name");
        let selector = match scope {
            Scope::All => String::new(),
            Scope::OnNode(node) => format!("&fieldSelector=spec.nodeName%3D{}", escape(&node)),
        };
        let watch = Watch {
            client: self.clone(),
            kind,
            collection: Resource::of(kind).collection(None),
            selector,
            state: State::List,
            pause: Pause::default(),
            known: BTreeSet::new(),
            ready: VecDeque::new(),
        };
        stream::unfold(watch, |mut watch| async move { Some((watch.next().await, watch)) })
    }
}

type Lines = Pin<Box<dyn AsyncBufRead + Send>>;

enum State {
    List,
    Open { version: String },
    Read { version: String, lines: Lines, until: Instant },
}

struct Watch {
    client: Client,
    kind: Kind,
    collection: String,
    selector: String,
    state: State,
    pause: Pause,
    /// What was told and is not gone.
    known: BTreeSet<Key>,
    /// What is to be told next.
    ready: VecDeque<Event>,
}

/// What one line of a watch said.
enum Said {
    Event(Box<Event>),
    /// A bookmark, or an object that cannot be read.
    Nothing,
}

impl Watch {
    async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            let step = match std::mem::replace(&mut self.state, State::List) {
                State::List => self.list().await,
                State::Open { version } => self.open(version).await,
                State::Read { version, lines, until } => self.read(version, lines, until).await,
            };
            if let Err(error) = step {
                self.state = State::List;
                if self.pause.failed(&error) {
                    self.ready.push_back(Event::Failed { kind: self.kind, error: error.to_string() });
                }
            }
        }
    }

    async fn list(&mut self) -> Result<(), Error> {
        self.pause.wait().await;
        let (mut objects, mut unreadable) = (Vec::new(), BTreeSet::new());
        let mut token = String::new();
        loop {
            let mut path = format!("{}?limit={PAGE}{}", self.collection, self.selector);
            if !token.is_empty() {
                path = format!("{path}&continue={}", escape(&token));
            }
            let text = self.client.send(Method::GET, &path, JSON, Vec::new(), 3 * DEADLINE).await?;
            let page: Page<'_> = serde_json::from_str(&text).map_err(|e| Error::Decode {
                url: format!("{}{path}", self.client.url()),
                cause: e.to_string(),
            })?;
            for item in page.items {
                match self.object(item) {
                    Ok(object) => objects.push(object),
                    Err(key) => unreadable.extend(key),
                }
            }
            if page.metadata.token.is_empty() {
                self.state = State::Open { version: page.metadata.resource_version };
                self.pause.listed();
                self.tell_list(objects, &unreadable);
                return Ok(());
            }
            token = page.metadata.token;
        }
    }

    /// A list says that what it lacks does not exist. Where an object was told before and cannot be read now, that would be
    /// wrong, and its routes would be removed: so the list is told as single changes, which leave that object alone. In
    /// the first list nothing is known yet that could be kept, and one broken object must not hold up a node's start.
    fn tell_list(&mut self, objects: Vec<Object>, unreadable: &BTreeSet<Key>) {
        let listed: BTreeSet<Key> = objects.iter().map(Object::key).collect();
        let kept: BTreeSet<Key> = self.known.intersection(unreadable).cloned().collect();
        if let Some(first) = kept.first() {
            let gone = self.known.iter().filter(|key| !listed.contains(key) && !kept.contains(key));
            self.ready.extend(gone.cloned().map(Event::Gone));
            self.ready.extend(objects.into_iter().map(Event::Put));
            let error =
                format!("{} of its objects cannot be read, the first is `{}`", kept.len(), first.name);
            self.ready.push_back(Event::Failed { kind: self.kind, error });
        } else {
            self.ready.push_back(Event::Listed(self.kind, objects));
        }
        self.known = &listed | &kept;
    }

    async fn open(&mut self, version: String) -> Result<(), Error> {
        self.pause.wait().await;
        let path = format!(
            "{}?watch=true&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}{}",
            self.collection,
            escape(&version),
            WATCH.as_secs(),
            self.selector,
        );
        let lines = Box::pin(self.client.stream(&path).await?);
        let until = Instant::now() + WATCH + DEADLINE;
        self.state = State::Read { version, lines, until };
        Ok(())
    }

    /// Reads one line. The end of the stream is no failure: the watch goes on from the last version.
    async fn read(&mut self, version: String, mut lines: Lines, until: Instant) -> Result<(), Error> {
        let mut line = String::new();
        let read = tokio::time::timeout_at(until, lines.read_line(&mut line)).await;
        if !matches!(read, Ok(Ok(_)) if line.ends_with('\n')) {
            self.pause.ended();
            self.state = State::Open { version };
            return Ok(());
        }
        let (version, said) = self.said(version, &line)?;
        self.pause.delivered();
        self.state = State::Read { version, lines, until };
        if let Said::Event(event) = said {
            match &*event {
                Event::Put(object) => _ = self.known.insert(object.key()),
                Event::Gone(key) => _ = self.known.remove(key),
                Event::Listed(..) | Event::Failed { .. } => {}
            }
            self.ready.push_back(*event);
        }
        Ok(())
    }

    fn said(&self, version: String, line: &str) -> Result<(String, Said), Error> {
        let unreadable =
            |cause: String| Error::Decode { url: format!("{}{}", self.client.url(), self.collection), cause };
        let change: Change<'_> = serde_json::from_str(line).map_err(|e| unreadable(e.to_string()))?;
        if change.kind == "ERROR" {
            let status: Status =
                serde_json::from_str(change.object.get()).map_err(|e| unreadable(e.to_string()))?;
            return Err(Error::Status(Box::new(status)));
        }
        let version = match serde_json::from_str::<Versioned>(change.object.get()) {
            Ok(object) => object.metadata.resource_version,
            Err(_) => version,
        };
        if change.kind == "BOOKMARK" {
            return Ok((version, Said::Nothing));
        }
        // What is gone need not be readable any more.
        if change.kind == "DELETED" {
            let key = self
                .key(change.object)
                .ok_or_else(|| unreadable("a deleted object has no name".to_owned()))?;
            return Ok((version, Said::Event(Box::new(Event::Gone(key)))));
        }
        let said = match self.object(change.object) {
            Ok(object) => Said::Event(Box::new(Event::Put(object))),
            Err(_) => Said::Nothing,
        };
        Ok((version, said))
    }

    /// Reads an object; of one that cannot be read, its key, if it has one.
    fn object(&self, json: &RawValue) -> Result<Object, Option<Key>> {
        decode::object(self.kind, json.get()).map_err(|error| {
            let key = self.key(json);
            let name = key.as_ref().map_or("", |key| &key.name);
            let kind = Resource::of(self.kind).kind;
            tracing::warn!("{kind} `{name}` cannot be read and is left out: {error}");
            key
        })
    }

    /// The key of an object, from its metadata alone.
    fn key(&self, json: &RawValue) -> Option<Key> {
        let ObjectMetadata { namespace, name, .. } =
            serde_json::from_str::<Versioned>(json.get()).ok()?.metadata;
        (!name.is_empty()).then_some(Key { kind: self.kind, namespace, name })
    }
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(borrow, default)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PageMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    token: String,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Versioned {
    metadata: ObjectMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ObjectMetadata {
    namespace: Option<String>,
    name: String,
    resource_version: String,
}

/// Keeps attempts apart, and remembers whether the outage was told.
#[derive(Default)]
struct Pause {
    /// Since a watch last delivered.
    failures: u32,
    /// Since the last list.
    told: bool,
    last: Option<Instant>,
}

impl Pause {
    /// Waits until the next attempt may be made.
    async fn wait(&mut self) {
        if let Some(last) = self.last {
            tokio::time::sleep_until(last + self.length(jitter())).await;
        }
        self.last = Some(Instant::now());
    }

    /// The pause after the attempts so far; `jitter` is within [0, 1).
    fn length(&self, jitter: f64) -> Duration {
        let doubled = FIRST_PAUSE * 2_u32.saturating_pow(self.failures.saturating_sub(1).min(8));
        match self.failures {
            0 => FIRST_PAUSE,
            _ => doubled.min(LONGEST_PAUSE).mul_f64(1.0 + jitter / 2.0),
        }
    }

    /// Counts a failure; whether it must be told. A version that the server forgot is worth no word, but must not be met
    /// again each second either.
    fn failed(&mut self, error: &Error) -> bool {
        self.failures = self.failures.saturating_add(1);
        !error.is_expired() && !std::mem::replace(&mut self.told, true)
    }

    /// After a list the watch follows at once. What fails from here on is news to whoever heard the list.
    fn listed(&mut self) {
        self.told = false;
        self.last = None;
    }

    /// A watch has said something.
    fn delivered(&mut self) {
        self.failures = 0;
    }

    /// A watch has ended, in order or not. One that lived for a while and had nothing to say worked.
    fn ended(&mut self) {
        if self.last.is_some_and(|opened| opened.elapsed() >= LONGEST_PAUSE) {
            self.failures = 0;
        }
    }
}

fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0_u8);
    f64::from(u32::try_from(random >> 32).expect("32 bits are left")) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_ten_seconds_and_start_over_when_a_watch_delivers() {
        let mut pause = Pause::default();
        let failure = Error::Decode { url: String::new(), cause: String::new() };
        let mut lengths = Vec::new();
        for _ in 0..6 {
            lengths.push(pause.length(0.0).as_secs());
            pause.failed(&failure);
            pause.listed();
        }
        assert_eq!(lengths, [1, 1, 2, 4, 8, 10]);
        assert!(pause.length(1.0) <= Duration::from_secs(15));
        pause.delivered();
        assert_eq!(pause.length(0.0), FIRST_PAUSE);
        assert!(pause.failed(&failure), "a new outage is told again");
        assert!(!pause.failed(&failure), "and only once");
    }
}
