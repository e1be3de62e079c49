//! The allocator of one node, as a value that is driven: watches go in by `observe`, requests by `request`, the API's
//! replies by `handle`; calls of the API come out by `poll`, results by `poll_done`.

use crate::{Assigned, CallId, Error, RequestId, Want};
use model::{Instant, store};
use std::collections::{BTreeMap, VecDeque};

/// Gives and takes the addresses of one node. Drive it so: one mutation, then drain `poll` and `poll_done`.
#[derive(Debug)]
pub struct Allocator {
    node: String,
    requests: BTreeMap<RequestId, (Want, String)>,
    calls: VecDeque<(CallId, store::Request)>,
    done: VecDeque<(RequestId, Result<Vec<Assigned>, Error>)>,
}

impl Allocator {
    /// The allocator of the node named `node`. It writes nothing before pools, blocks, affinities, the IPAM configuration,
    /// reservations and its own Node have been listed to it.
    pub fn new(node: &str) -> Allocator {
        Allocator {
            node: node.to_owned(),
            requests: BTreeMap::new(),
            calls: VecDeque::new(),
            done: VecDeque::new(),
        }
    }

    /// A watch spoke. Kinds that do not matter here are ignored, so everything may be passed on.
    pub fn observe(&mut self, event: &store::Event) {
        let _ = event;
    }

    /// Somebody wants something. `wall` is the wall clock's time as RFC 3339: it becomes a block's claim time.
    pub fn request(&mut self, now: Instant, wall: &str, id: RequestId, want: Want) {
        let _ = now;
        self.requests.insert(id, (want, wall.to_owned()));
    }

    /// Nobody waits for the request any more. What it got or gets is released; nothing is reported of it.
    pub fn cancel(&mut self, now: Instant, id: RequestId) {
        let _ = now;
        self.requests.remove(&id);
    }

    /// The API answered a call.
    pub fn handle(&mut self, now: Instant, call: CallId, reply: store::Reply) {
        let _ = (now, call, reply);
    }

    /// The time of `poll_timeout` has come.
    pub fn wake(&mut self, now: Instant) {
        let _ = now;
    }

    /// The next call to make. Several may be in flight.
    pub fn poll(&mut self) -> Option<(CallId, store::Request)> {
        self.calls.pop_front()
    }

    /// The next request that is finished: what it has now (nothing after a release), or why not.
    pub fn poll_done(&mut self) -> Option<(RequestId, Result<Vec<Assigned>, Error>)> {
        self.done.pop_front()
    }

    /// When to call `wake`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// What an unfinished request waits for, in words.
    pub fn waiting_for(&self, id: RequestId) -> Option<String> {
        self.requests.contains_key(&id).then(|| format!("{} has not listed yet", self.node))
    }
}
