//! What is to happen, in virtual time. Events of one time come in an order that the seed draws.

use super::Rng;
use model::{Duration, Instant};
use std::collections::BTreeMap;

/// A queue of events.
#[derive(Debug)]
pub struct Queue<E> {
    events: BTreeMap<(Instant, u64, u64), E>,
    ties: Rng,
    pushed: u64,
    now: Instant,
}

impl<E> Queue<E> {
    /// An empty queue at time zero.
    pub fn new(ties: Rng) -> Queue<E> {
        Queue { events: BTreeMap::new(), ties, pushed: 0, now: Instant::ZERO }
    }

    /// Draws the order of simultaneous events from another stream.
    pub fn reseed(&mut self, ties: Rng) {
        self.ties = ties;
    }

    /// The time of the latest event.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Lets an event happen `span` from now.
    pub fn push(&mut self, span: Duration, event: E) {
        self.pushed += 1;
        self.events.insert((self.now + span, self.ties.draw(), self.pushed), event);
    }

    /// The next event; time moves on to it.
    pub fn pop(&mut self) -> Option<E> {
        let ((at, _, _), event) = self.events.pop_first()?;
        assert!(at >= self.now, "time does not go back");
        self.now = at;
        Some(event)
    }

    /// Lets time pass up to `at`, before which nothing may be left to happen.
    pub fn advance(&mut self, at: Instant) {
        assert!(self.next_at().is_none_or(|next| next >= at), "no event is passed over");
        self.now = self.now.max(at);
    }

    /// The time of the next event.
    pub fn next_at(&self) -> Option<Instant> {
        self.events.first_key_value().map(|((at, _, _), _)| *at)
    }

    /// What is to happen, in its order.
    pub fn events(&self) -> impl Iterator<Item = &E> {
        self.events.values()
    }

    /// How much is to happen.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing is to happen.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}
