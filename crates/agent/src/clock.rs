//! Monotonic time in the deciding part's own type.

use model::Instant;
use std::time::{SystemTime, UNIX_EPOCH};

/// Counts from its making.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { origin: tokio::time::Instant::now() }
    }

    pub fn now(self) -> Instant {
        Instant::from_micros(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The runtime's name for a time; a millisecond from now at the earliest, so that a wrong deadline costs no whole
    /// processor.
    pub fn wake_at(self, at: Instant) -> tokio::time::Instant {
        let at = self.origin + std::time::Duration::from_micros(at.micros());
        at.max(tokio::time::Instant::now() + std::time::Duration::from_millis(1))
    }

    /// Microseconds of the wall clock since 1970 now. Only people read what is made of it.
    pub fn wall_micros() -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or_default()
    }
}

/// Waits for a time; `None`: for ever.
pub(crate) async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
