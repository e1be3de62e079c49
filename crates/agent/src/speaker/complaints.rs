//! How much is written of what a peer does wrong: it decides how often it does.

use bgp::PeerId;
use model::{Duration, Instant};
use std::collections::BTreeMap;

/// Lines about one peer within a span.
const LINES: u32 = 10;
const SPAN: Duration = Duration::from_secs(60);

/// What was written of each peer lately.
#[derive(Debug, Default)]
pub struct Complaints(BTreeMap<PeerId, Recent>);

#[derive(Debug)]
struct Recent {
    since: Instant,
    lines: u32,
}

/// What becomes of one line more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Written,
    /// Written, after so many that were not.
    After(u32),
    LeftOut,
}

impl Complaints {
    /// One line more about `peer`.
    pub fn of(&mut self, peer: &PeerId, now: Instant) -> Line {
        let recent = self.0.entry(peer.clone()).or_insert(Recent { since: now, lines: 0 });
        let left_out = if now >= recent.since + SPAN {
            let before = std::mem::replace(recent, Recent { since: now, lines: 0 });
            before.lines.saturating_sub(LINES)
        } else {
            0
        };
        recent.lines = recent.lines.saturating_add(1);
        match left_out {
            _ if recent.lines > LINES => Line::LeftOut,
            0 => Line::Written,
            left_out => Line::After(left_out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_does_wrong_all_the_time_is_written_of_ten_times_a_minute() {
        let (bad, other) = (PeerId::new("bad"), PeerId::new("other"));
        let (mut complaints, now) = (Complaints::default(), Instant::ZERO);
        let lines: Vec<Line> = (0..1000).map(|_| complaints.of(&bad, now)).collect();
        assert_eq!(lines.iter().filter(|line| **line == Line::Written).count(), 10);
        assert_eq!(complaints.of(&other, now), Line::Written, "another one has its own");
        assert_eq!(complaints.of(&bad, now + SPAN), Line::After(990));
        assert_eq!(complaints.of(&bad, now + SPAN), Line::Written);
    }
}
