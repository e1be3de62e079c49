//! Connections that have not shown a good token yet. There is room for so many at a time; for one more, the one that has
//! waited longest is ended. So whoever opens thousands and says nothing keeps nobody else out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// How many there may be. A client shows its token some milliseconds after it has come.
const MOST: usize = 1_000;

/// Those that are there now, by the order in which they came.
#[derive(Default)]
pub struct Strangers(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    next: u64,
    ends: BTreeMap<u64, Arc<Notify>>,
}

/// One connection; a stranger until it is known or dropped.
pub struct Stranger {
    number: u64,
    ended: Arc<Notify>,
    among: Arc<Strangers>,
}

impl Strangers {
    /// A connection comes.
    pub fn admit(self: &Arc<Strangers>) -> Stranger {
        let mut waiting = self.0.lock().expect("no holder panics");
        let (number, ended) = (waiting.next, Arc::new(Notify::new()));
        waiting.next += 1;
        waiting.ends.insert(number, ended.clone());
        if waiting.ends.len() > MOST
            && let Some((_, oldest)) = waiting.ends.pop_first()
        {
            oldest.notify_one();
        }
        Stranger { number, ended, among: self.clone() }
    }
}

impl Stranger {
    /// It has shown a good token.
    pub fn is_known(&self) {
        self.among.0.lock().expect("no holder panics").ends.remove(&self.number);
    }

    /// Until it has to make room.
    pub async fn ended(&self) {
        self.ended.notified().await;
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.is_known();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn the_one_that_has_waited_longest_makes_room_and_who_is_known_does_not() {
        let strangers = Arc::new(Strangers::default());
        let all: Vec<Stranger> = (0..MOST).map(|_| strangers.admit()).collect();
        all[0].is_known();
        let another = strangers.admit();
        assert!(all.iter().all(|stranger| stranger.ended().now_or_never().is_none()), "there was room");
        let one_more = strangers.admit();
        assert!(all[0].ended().now_or_never().is_none(), "it is known");
        assert!(all[1].ended().now_or_never().is_some(), "it came first of those that are left");
        drop((all, another, one_more));
        assert!(strangers.0.lock().expect("no holder panics").ends.is_empty());
    }
}
