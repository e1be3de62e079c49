//! A machine's own monotonic clock, which may run a little faster or slower than the world's.

use model::{Duration, Instant};

/// By it a machine measures all that it waits for.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnClock {
    /// By so many thousandths it is faster.
    faster: i64,
    /// When its rate was set, and what it said then.
    since: Instant,
    read: Instant,
}

impl OwnClock {
    /// Whole is a thousand.
    fn rate(self) -> u64 {
        u64::try_from(1_000 + self.faster).expect("no clock goes back")
    }

    /// What it says at a time of the world.
    pub fn at(self, now: Instant) -> Instant {
        self.read + Duration::from_micros(now.since(self.since).micros() * self.rate() / 1_000)
    }

    /// From now on it is faster by so many thousandths, or slower; not as slow as to stand.
    pub fn set(&mut self, now: Instant, faster: i64) {
        *self = OwnClock { faster: faster.max(-900), since: now, read: self.at(now) };
    }

    /// The world's time from now until it says `due`.
    pub fn until(self, now: Instant, due: Instant) -> Duration {
        let span = due.since(self.read).micros() * 1_000;
        (self.since + Duration::from_micros(span.div_ceil(self.rate()))).since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_due_when_the_clock_says_so_and_not_a_moment_before() {
        for faster in [-900, -37, 0, 1, 99] {
            let mut clock = OwnClock::default();
            let begin = Instant::from_micros(1_234_567);
            clock.set(begin, faster);
            assert_eq!(clock.at(begin), begin);
            for micros in [1, 999, 1_000_003] {
                let due = begin + Duration::from_micros(micros);
                let then = begin + clock.until(begin, due);
                assert!(clock.at(then) >= due, "{faster}: {due} at {then}");
                let before = Instant::from_micros(then.micros() - 1);
                assert!(clock.at(before) < due, "{faster}: {due} at {before}");
            }
        }
    }

    #[test]
    fn another_rate_moves_no_time_that_was_read() {
        let mut clock = OwnClock::default();
        clock.set(Instant::ZERO, 100);
        let now = Instant::from_micros(10_000_000);
        clock.set(now, -100);
        assert_eq!(clock.at(now), Instant::from_micros(11_000_000));
        assert_eq!(clock.at(now + Duration::from_secs(10)), Instant::from_micros(20_000_000));
    }
}
