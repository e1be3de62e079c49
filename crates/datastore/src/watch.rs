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
//! not return at once. An object that cannot be read is left out, with a warning that names it.

use crate::client::{Client, DEADLINE, JSON};
use crate::path::escape;
use crate::{Error, Resource, decode};
use futures::io::{AsyncBufRead, AsyncBufReadExt};
use futures::{Stream, stream};
use http::Method;
use kube::core::Status;
use model::store::{Event, Kind, Object};
use serde::Deserialize;
use serde_json::value::RawValue;
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
            let step = match std::mem::replace(&mut self.state, State::List) {
                State::List => self.list().await.map(Some),
                State::Open { version } => self.open(version).await.map(|()| None),
                State::Read { version, lines, until } => self.read(version, lines, until).await,
            };
            match step {
                Ok(Some(event)) => return event,
                Ok(None) => {}
                Err(error) if error.is_expired() => self.state = State::List,
                Err(error) => {
                    self.state = State::List;
                    if self.pause.failed() {
                        return Event::Failed { kind: self.kind, error: error.to_string() };
                    }
                }
            }
        }
    }

    async fn list(&mut self) -> Result<Event, Error> {
        self.pause.wait().await;
        let mut objects = Vec::new();
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
            objects.extend(page.items.iter().filter_map(|item| self.object(item)));
            if page.metadata.token.is_empty() {
                self.state = State::Open { version: page.metadata.resource_version };
                self.pause.succeeded();
                return Ok(Event::Listed(self.kind, objects));
            }
            token = page.metadata.token;
        }
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
    async fn read(
        &mut self,
        version: String,
        mut lines: Lines,
        until: Instant,
    ) -> Result<Option<Event>, Error> {
        let mut line = String::new();
        match tokio::time::timeout_at(until, lines.read_line(&mut line)).await {
            Ok(Ok(0) | Err(_)) | Err(_) => {
                self.state = State::Open { version };
                return Ok(None);
            }
            Ok(Ok(_)) if !line.ends_with('\n') => {
                self.state = State::Open { version };
                return Ok(None);
            }
            Ok(Ok(_)) => {}
        }
        let (version, said) = self.said(version, &line)?;
        self.state = State::Read { version, lines, until };
        Ok(match said {
            Said::Event(event) => Some(*event),
            Said::Nothing => None,
        })
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
        let said = match self.object(change.object) {
            None => Said::Nothing,
            Some(object) if change.kind == "DELETED" => Said::Event(Box::new(Event::Gone(object.key()))),
            Some(object) => Said::Event(Box::new(Event::Put(object))),
        };
        Ok((version, said))
    }

    fn object(&self, json: &RawValue) -> Option<Object> {
        match decode::object(self.kind, json.get()) {
            Ok(object) => Some(object),
            Err(error) => {
                let name = serde_json::from_str::<Versioned>(json.get())
                    .map(|o| o.metadata.name)
                    .unwrap_or_default();
                tracing::warn!(
                    "{} `{name}` cannot be read and is left out: {error}",
                    Resource::of(self.kind).kind
                );
                None
            }
        }
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
    name: String,
    resource_version: String,
}

/// Keeps attempts apart, and remembers whether the outage was told.
#[derive(Default)]
struct Pause {
    failures: u32,
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

    /// Counts a failure; whether it is the first of its outage.
    fn failed(&mut self) -> bool {
        self.failures += 1;
        self.failures == 1
    }

    /// After a success the next step may follow at once.
    fn succeeded(&mut self) {
        *self = Pause::default();
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
    fn pauses_grow_to_ten_seconds_and_start_over_after_a_success() {
        let mut pause = Pause::default();
        let mut lengths = Vec::new();
        for _ in 0..6 {
            lengths.push(pause.length(0.0).as_secs());
            pause.failed();
        }
        assert_eq!(lengths, [1, 1, 2, 4, 8, 10]);
        assert!(pause.length(1.0) <= Duration::from_secs(15));
        pause.succeeded();
        assert!(pause.failed(), "a new outage is told again");
    }
}
