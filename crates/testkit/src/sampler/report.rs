//! What a run of the sampler saw, and what may be said of it.

use super::PERIOD;
use crate::slowness;
use std::fmt;
use std::time::Duration;

/// A connection that takes longer lost packets, or the machine stood still: then the senders were late, too.
const DIAL_LIMIT: Duration = Duration::from_secs(2);
/// Samples that a sender may owe at the end, however short the run was.
const OWED: u64 = 5;

/// What a run saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// From `a` to `b`, and back.
    pub forth: Direction,
    pub back: Direction,
    pub stream: Stream,
    /// Records of the stream that arrived.
    pub stream_read: u64,
    pub dialled: Dialled,
}

/// One direction of numbered UDP packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Direction {
    pub planned: u64,
    pub sent: u64,
    pub lost: u64,
    pub duplicated: u64,
    /// The longest time between two arrivals, from the beginning to the first and from the last to the end as well.
    pub longest_gap: Duration,
    /// The most that the sender was behind its schedule.
    pub slip: Duration,
    /// Sends that the sender's own kernel refused.
    pub refused: u64,
}

/// The long TCP connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    pub planned: u64,
    pub written: u64,
    /// The longest time that a write took.
    pub longest_write: Duration,
    pub error: Option<String>,
}

/// The short TCP connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialled {
    pub planned: u64,
    pub good: u64,
    pub failed: u64,
    pub longest: Duration,
}

impl Report {
    /// Packets lost and refused, both ways.
    pub fn lost(&self) -> u64 {
        [&self.forth, &self.back].map(|way| way.lost + way.refused).iter().sum()
    }

    /// Nothing was lost, refused or reset, and all four senders kept to their schedules, so that the run can say so.
    ///
    /// # Panics
    /// Otherwise, with the whole report.
    pub fn assert_nothing_lost(&self) {
        self.assert_dense();
        assert_eq!(self.lost(), 0, "packets were lost\n{self}");
        assert_eq!(self.stream.error, None, "the stream broke\n{self}");
        assert_eq!(self.stream.written, self.stream_read, "the stream lost data\n{self}");
        assert_eq!(self.dialled.failed, 0, "connections failed\n{self}");
        let limit = DIAL_LIMIT * slowness() + self.forth.slip.max(self.back.slip);
        assert!(self.dialled.longest < limit, "a connection took long\n{self}");
        assert!(is_dense(self.stream.written, self.stream.planned), "the stream wrote too little\n{self}");
        assert!(is_dense(self.dialled.good, self.dialled.planned), "too few connections were tried\n{self}");
    }

    /// Each way was cut once at most, no longer than this, and lost nothing at any other time; the stream outlived it, whole.
    ///
    /// # Panics
    /// Otherwise, with the whole report.
    pub fn assert_one_outage(&self, limit: Duration) {
        self.assert_dense();
        for way in [&self.forth, &self.back] {
            assert!(way.longest_gap <= limit + way.slip, "it was cut for longer than {limit:?}\n{self}");
            let in_the_gap = way.longest_gap.as_millis() / (PERIOD * slowness()).as_millis();
            let lost = u128::from(way.lost + way.refused);
            assert!(lost <= in_the_gap + u128::from(OWED), "it was cut more than once\n{self}");
        }
        assert_eq!(self.stream.error, None, "the stream broke\n{self}");
        assert_eq!(self.stream.written, self.stream_read, "the stream lost data\n{self}");
    }

    /// At least 99 % of the planned packets were sent, the stream carried something, and a connection came about. What waits
    /// for an answer falls behind when packets are lost: more can be said only of a run that lost none.
    ///
    /// # Panics
    /// Otherwise: the machine was too busy, or the places too far apart, for the run to prove anything.
    pub fn assert_dense(&self) {
        for way in [&self.forth, &self.back] {
            assert!(is_dense(way.sent + way.refused, way.planned), "too few samples were sent\n{self}");
        }
        assert!(self.stream_read > 0, "the stream carried nothing\n{self}");
        assert!(self.dialled.good > 0, "no connection came about\n{self}");
    }
}

/// Whether so many samples of those that were planned prove anything.
fn is_dense(done: u64, planned: u64) -> bool {
    done > 0 && done + (planned / 100).max(OWED) >= planned
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, way) in [("a→b", &self.forth), ("b→a", &self.back)] {
            writeln!(
                f,
                "{name}: {} of {} planned sent, {} lost, {} refused, {} doubled, longest gap {:?}, sender late by up to {:?}",
                way.sent, way.planned, way.lost, way.refused, way.duplicated, way.longest_gap, way.slip
            )?;
        }
        let stream = &self.stream;
        writeln!(
            f,
            "stream: {} of {} planned records written, {} read, longest write {:?}, {}",
            stream.written,
            stream.planned,
            self.stream_read,
            stream.longest_write,
            stream.error.as_deref().unwrap_or("whole")
        )?;
        let dialled = &self.dialled;
        write!(
            f,
            "connections: {} of {} planned good, {} failed, longest {:?}",
            dialled.good, dialled.planned, dialled.failed, dialled.longest
        )
    }
}
