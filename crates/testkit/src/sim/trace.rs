//! What happened, one line an event: the last lines for people, a hash of all of them to compare two runs.

use model::Instant;
use std::collections::VecDeque;
use std::fmt;

const KEPT: usize = 25;

/// The story of a run.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    last: VecDeque<String>,
    hash: u64,
    /// Prints each line as it comes.
    pub aloud: bool,
}

impl Trace {
    /// Adds a line.
    pub fn push(&mut self, now: Instant, line: impl fmt::Display) {
        let line = format!("{now} {line}");
        self.hash = line.bytes().fold(self.hash ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        if self.aloud {
            println!("{line}");
        }
        self.last.push_back(line);
        if self.last.len() > KEPT {
            self.last.pop_front();
        }
    }

    /// A hash of all lines (FNV-1a).
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines, oldest first.
    pub fn last(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }
}
