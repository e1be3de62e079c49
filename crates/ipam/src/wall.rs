//! The wall clock's time, as an input. Only labels and first sequence numbers are made of it; nothing is decided by it.

use jiff::Timestamp;

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
}
