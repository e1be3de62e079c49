//! The datastore's two ways: requests of the core, a few at a time, and the watches.

use crate::inbox::Message;
use datastore::{Client, Scope};
use failpoint::failpoint;
use futures::StreamExt;
#[cfg(debug_assertions)]
use model::store::Object;
use model::store::{Event, Kind, Request};
use node::{EffectId, Input, WATCHED};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, mpsc};

/// How many requests are in flight at once.
const IN_FLIGHT: usize = 32;

/// Asks the API for the core, and watches it.
pub(crate) struct Api {
    client: Client,
    node: String,
    permits: Arc<Semaphore>,
    inbox: mpsc::Sender<Message>,
    /// How many watches fail now.
    failing: Arc<AtomicUsize>,
}

impl Api {
    pub fn new(client: Client, node: String, inbox: mpsc::Sender<Message>) -> Api {
        let permits = Arc::new(Semaphore::new(IN_FLIGHT));
        Api { client, node, permits, inbox, failing: Arc::new(AtomicUsize::new(0)) }
    }

    /// Asks; the answer comes as an input. The client has a deadline of its own.
    pub fn ask(&self, id: EffectId, request: Request) {
        let (client, permits, inbox) = (self.client.clone(), self.permits.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let _permit = permits.acquire_owned().await.expect("the semaphore is never closed");
            failpoint!("API: to be asked");
            #[cfg(debug_assertions)]
            let written = written(&request);
            let reply = client.request(request).await;
            #[cfg(debug_assertions)]
            written();
            // Without a core there is nobody to tell.
            let _ = inbox.send(Message::Input(Input::Answered { id, reply })).await;
        });
    }

    /// Starts a watch of each kind that is always followed. They never end; an outage is an event.
    pub fn watch_all(&self) {
        WATCHED.into_iter().for_each(|kind| self.watch(kind));
    }

    /// Starts a watch.
    pub fn watch(&self, kind: Kind) {
        let scope = if kind == Kind::Pod { Scope::OnNode(self.node.clone()) } else { Scope::All };
        let (events, inbox, failing) =
            (self.client.watch(kind, scope), self.inbox.clone(), self.failing.clone());
        tokio::spawn(async move {
            let mut events = pin!(events);
            let mut fails = false;
            while let Some(event) = events.next().await {
                fails = say(&event, fails, &failing);
                if inbox.send(Message::Input(Input::Api(event))).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// The place after a request, by what it wrote.
#[cfg(debug_assertions)]
fn written(request: &Request) -> fn() {
    match request {
        Request::Create(Object::IpamHandle(_)) => || {
            failpoint!("API: handle made");
        },
        Request::Delete { key, .. } if key.kind == Kind::IpamHandle => || {
            failpoint!("API: handle removed");
        },
        Request::Create(Object::BlockAffinity(_)) => || {
            failpoint!("API: affinity made");
        },
        Request::Update(Object::BlockAffinity(_)) => || {
            failpoint!("API: affinity written");
        },
        Request::Create(Object::IpamBlock(_)) => || {
            failpoint!("API: block made");
        },
        Request::Update(Object::IpamBlock(_)) => || {
            failpoint!("API: block written");
        },
        Request::Annotate { key, .. } if key.kind == Kind::Node => || {
            failpoint!("API: node written");
        },
        Request::Annotate { .. } => || {
            failpoint!("API: pod written");
        },
        Request::Condition { .. } => || {
            failpoint!("API: condition written");
        },
        _ => || (),
    }
}

/// Says when watches begin to fail and when all work again: an outage is two lines, whatever the number of kinds. Whether
/// this one fails now.
fn say(event: &Event, fails: bool, failing: &AtomicUsize) -> bool {
    match event {
        Event::Failed { kind, error } if !fails => {
            if failing.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!("the watch of {kind:?} fails: {error}; what is known stays in force");
            }
            true
        }
        Event::Failed { .. } => true,
        _ if fails => {
            if failing.fetch_sub(1, Ordering::Relaxed) == 1 {
                tracing::info!("the API server answers again");
            }
            false
        }
        _ => false,
    }
}
