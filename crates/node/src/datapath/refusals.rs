//! What the kernel refuses, and when each is tried again.

use crate::effect::Report;
use kernel::{ApplyError, Key, Netns, PodNs};
use model::{Duration, Instant};
use std::collections::BTreeMap;

/// First and longest pause between tries; each is twice as long as the one before.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<Key, Refusal>);

#[derive(Debug)]
struct Refusal {
    error: ApplyError,
    pause: Duration,
    retry_at: Instant,
}

impl Refusals {
    pub fn get(&self, key: &Key) -> Option<&ApplyError> {
        self.0.get(key).map(|refusal| &refusal.error)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &ApplyError)> {
        self.0.iter().map(|(key, refusal)| (key, &refusal.error))
    }

    /// The kernel refused `key`. The first time is worth a word, the same again is not.
    pub fn record(&mut self, now: Instant, key: Key, error: ApplyError) -> Option<Report> {
        let before = self.0.remove(&key);
        let known = before.as_ref().is_some_and(|refusal| refusal.error == error);
        let pause = before.map_or(PAUSE.0, |refusal| refusal.pause.doubled(PAUSE.1));
        // What was not even tried has its cause reported.
        let worth_a_word = !known && error.errno != ApplyError::NOT_TRIED;
        let report = worth_a_word.then(|| Report::warn(format!("the kernel refuses {key}: {error}")));
        self.0.insert(key, Refusal { error, pause, retry_at: now + pause });
        report
    }

    /// `key` is as wanted, or something else is wanted of it.
    pub fn forget(&mut self, key: &Key) {
        self.0.remove(key);
    }

    /// A pod's namespace is out of reach.
    pub fn forget_all(&mut self, netns: PodNs) {
        self.0.retain(|key, _| key.netns() != Netns::Pod(netns));
    }

    /// Whether `key` is to be left alone now.
    pub fn pauses(&self, now: Instant, key: &Key) -> bool {
        self.0.get(key).is_some_and(|refusal| refusal.retry_at > now)
    }

    /// What is to be tried now.
    pub fn due(&self, now: Instant) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(move |(_, refusal)| refusal.retry_at <= now).map(|(key, _)| key)
    }

    /// Has those tried now that `may_succeed`.
    pub fn hurry(&mut self, now: Instant, may_succeed: impl Fn(&Key) -> bool) {
        for (_, refusal) in self.0.iter_mut().filter(|(key, _)| may_succeed(key)) {
            refusal.retry_at = now;
        }
    }

    /// When the next is to be tried.
    pub fn timeout(&self) -> Option<Instant> {
        self.0.values().map(|refusal| refusal.retry_at).min()
    }
}
