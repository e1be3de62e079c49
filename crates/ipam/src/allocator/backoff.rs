//! When an object may be tried again: at once after the first conflicts, later and later after more of them or while the
//! API does not answer. The jitter is a hash, so that a run can be repeated.

use crate::pool::fnv1;
use model::store::Key;
use model::{Duration, Instant};
use std::collections::BTreeMap;

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(5);
/// After a conflict: somebody got through, so that waiting long gains nobody anything.
const LONGEST_AFTER_CONFLICT: Duration = Duration::from_millis(160);
/// Conflicts that are answered by trying again at once.
const FREE_CONFLICTS: u32 = 3;

/// The objects that were tried in vain.
#[derive(Clone, Debug)]
pub struct Backoff {
    tries: BTreeMap<Key, Tries>,
    /// Nodes that meet at one object part again.
    seed: u32,
}

#[derive(Clone, Debug)]
struct Tries {
    count: u32,
    until: Instant,
}

impl Backoff {
    /// Nothing was tried yet.
    pub fn new(node: &str) -> Backoff {
        Backoff { tries: BTreeMap::new(), seed: fnv1(node.as_bytes()) }
    }

    /// Somebody else wrote first.
    pub fn conflicted(&mut self, key: &Key, now: Instant) {
        let count = self.put_off(key, now, LONGEST_AFTER_CONFLICT);
        if count <= FREE_CONFLICTS
            && let Some(tries) = self.tries.get_mut(key)
        {
            tries.until = now;
        }
    }

    /// No answer came. Returns how often in a row.
    pub fn failed(&mut self, key: &Key, now: Instant) -> u32 {
        self.put_off(key, now, LONGEST)
    }

    fn put_off(&mut self, key: &Key, now: Instant, longest: Duration) -> u32 {
        let tries = self.tries.entry(key.clone()).or_insert(Tries { count: 0, until: now });
        tries.count += 1;
        let span = (1..tries.count.min(16)).fold(FIRST, |span, _| span.doubled(longest));
        let jitter = u64::from(fnv1(format!("{}{}{}", self.seed, key.name, tries.count).as_bytes()))
            % (span.micros() / 2);
        tries.until = now + Duration::from_micros(span.micros() - jitter);
        tries.count
    }

    /// The server said no: it will say so again for a while.
    pub fn refused(&mut self, key: &Key, now: Instant) {
        self.tries.insert(key.clone(), Tries { count: 16, until: now + LONGEST });
    }

    /// A write went through.
    pub fn succeeded(&mut self, key: &Key) {
        self.tries.remove(key);
    }

    /// Whether it is too early to try an object again.
    pub fn holds(&self, key: &Key, now: Instant) -> bool {
        self.tries.get(key).is_some_and(|tries| tries.until > now)
    }

    /// The next time at which something may be tried again.
    pub fn next_after(&self, now: Instant) -> Option<Instant> {
        self.tries.values().map(|tries| tries.until).filter(|until| *until > now).min()
    }

    /// Forgets what is over.
    pub fn expire(&mut self, now: Instant) {
        self.tries.retain(|_, tries| tries.until > now);
    }
}
