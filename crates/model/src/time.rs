//! Time as a parameter: microseconds since an origin that the shell chooses, as an integer with a zero.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::ops::{Add, Sub};

/// A point in monotonic time, in microseconds since the process's own origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

/// A span of time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

impl Instant {
    /// The origin.
    pub const ZERO: Instant = Instant(0);

    /// The point `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Instant {
        Instant(micros)
    }

    /// Microseconds since the origin.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero if `earlier` is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl Duration {
    /// No time at all.
    pub const ZERO: Duration = Duration(0);

    /// `n` microseconds.
    pub const fn from_micros(n: u64) -> Duration {
        Duration(n)
    }

    /// `n` milliseconds.
    pub const fn from_millis(n: u64) -> Duration {
        Duration(n * 1_000)
    }

    /// `n` seconds.
    pub const fn from_secs(n: u64) -> Duration {
        Duration(n * 1_000_000)
    }

    /// The span in microseconds.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Twice as long, at most `limit`: the step of an exponential back-off.
    pub fn doubled(self, limit: Duration) -> Duration {
        Duration(self.0.saturating_mul(2)).min(limit)
    }
}

/// The text is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: write numbers with units h, m, s, ms or us, as in 1m30s")]
pub struct DurationError(String);

impl Duration {
    /// Reads a duration as Go writes it and Calico stores it: `90s`, `1m30s`, `1.5h`, `0`. Never negative.
    pub fn parse_go(text: &str) -> Result<Duration, DurationError> {
        let error = || DurationError(text.to_owned());
        if text == "0" {
            return Ok(Duration::ZERO);
        }
        let mut rest = text;
        let mut total = 0u64;
        while !rest.is_empty() || text.is_empty() {
            let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(error)?;
            let (number, tail) = rest.split_at(unit_at);
            let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            let unit: u64 = match unit {
                "h" => 3_600_000_000,
                "m" => 60_000_000,
                "s" => 1_000_000,
                "ms" => 1_000,
                "us" | "µs" => 1,
                _ => return Err(error()),
            };
            total = fixed_point(number, unit).and_then(|part| total.checked_add(part)).ok_or_else(error)?;
            rest = tail;
        }
        Ok(Duration(total))
    }

    /// The duration as Go writes it and Calico stores it: `1m30s`, `1.5s`, `2ms`, `0s`.
    pub fn to_go(self) -> String {
        let n = self.0;
        match n {
            0 => return "0s".to_owned(),
            1..1_000 => return format!("{n}µs"),
            1_000..1_000_000 => return format!("{}ms", point(n, 1_000)),
            _ => {}
        }
        let (minutes, seconds) = (n / 60_000_000, point(n % 60_000_000, 1_000_000));
        match (minutes / 60, minutes % 60) {
            (0, 0) => format!("{seconds}s"),
            (0, minutes) => format!("{minutes}m{seconds}s"),
            (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
        }
    }
}

/// `n` units of which `one` make a whole, with as many decimals as it needs.
fn point(n: u64, one: u64) -> String {
    let digits = one.ilog10() as usize;
    match n % one {
        0 => (n / one).to_string(),
        part => format!("{}.{part:0digits$}", n / one).trim_end_matches('0').to_owned(),
    }
}

/// As Go writes it.
impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.to_go())
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        Duration::parse_go(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}

/// `number` (digits, at most one point) times `unit`, without floats.
fn fixed_point(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits = fraction.bytes().take(9).map(|b| b.is_ascii_digit().then(|| u64::from(b - b'0')));
    let (mut part, mut scale) = (0, unit);
    for digit in digits {
        scale /= 10;
        part += digit? * scale;
    }
    whole.checked_mul(unit)?.checked_add(part)
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, span: Duration) -> Instant {
        Instant(self.0.saturating_add(span.0))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;
    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n % 1_000_000 == 0 => write!(f, "{} s", n / 1_000_000),
            n if n % 1_000 == 0 => write!(f, "{} ms", n / 1_000),
            n => write!(f, "{n} µs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read() {
        for (text, micros) in [
            ("0", 0),
            ("0s", 0),
            ("90s", 90_000_000),
            ("1m30s", 90_000_000),
            ("1h2m3s", 3_723_000_000),
            ("1.5h", 5_400_000_000),
            (".5s", 500_000),
            ("250ms", 250_000),
            ("7us", 7),
        ] {
            assert_eq!(Duration::parse_go(text), Ok(Duration::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn go_durations_are_written() {
        for (micros, text) in [
            (0, "0s"),
            (7, "7µs"),
            (1_500, "1.5ms"),
            (250_000, "250ms"),
            (1_500_000, "1.5s"),
            (90_000_000, "1m30s"),
            (3_600_000_000, "1h0m0s"),
        ] {
            assert_eq!(Duration::from_micros(micros).to_go(), text);
            assert_eq!(Duration::parse_go(text), Ok(Duration::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5", "-5s", "s", "1d", "1m30", "1..5s", ".s", "99999999999999999h", " 1s"] {
            assert!(Duration::parse_go(text).is_err(), "{text}");
        }
    }
}
