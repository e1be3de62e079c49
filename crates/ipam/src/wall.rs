//! The wall clock's time, as an input. Labels and first sequence numbers are made of it, and what nodes must agree on over
//! restarts is decided by it: whether an address has cooled down, whether a claim is old. A clock that is wrong makes that
//! too early or too late, and gives no address twice.

use jiff::{SignedDuration, Timestamp};
use model::Duration;

/// A time of the wall clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wall(Timestamp);

impl Wall {
    /// Reads RFC 3339. The text is the shell's own, not a user's.
    pub fn parse(rfc3339: &str) -> Wall {
        Wall(rfc3339.parse().expect("the shell gives the time as RFC 3339"))
    }

    /// RFC 3339 with whole seconds, as Kubernetes writes it.
    pub fn seconds(&self) -> String {
        Timestamp::from_second(self.0.as_second()).expect("a part of a timestamp is one").to_string()
    }

    /// Nanoseconds since 1970.
    pub fn nanoseconds(&self) -> u64 {
        u64::try_from(self.0.as_nanosecond()).unwrap_or(0)
    }

    /// The time after a span.
    #[must_use]
    pub fn plus(&self, span: Duration) -> Wall {
        let span = SignedDuration::from_micros(i64::try_from(span.micros()).unwrap_or(i64::MAX));
        Wall(self.0.saturating_add(span).unwrap_or(self.0))
    }

    /// Whether `span` has passed since a time that somebody wrote. What cannot be read is long past.
    pub fn is_after(&self, rfc3339: &str, span: Duration) -> bool {
        let Ok(begin) = rfc3339.parse::<Timestamp>() else { return true };
        self.0 >= Wall(begin).plus(span).0
    }
}
