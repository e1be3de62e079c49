//! Which of several collectors works: the Lease as `controllers::lead` keeps it, with short terms. It is for thrift, not for
//! safety: one that was paused, or has a slow clock, collects on though another does so already, and the laws hold.

use super::simulation::Happening;
use super::{Broken, Sim};
use model::{Duration, Instant};

/// How long a holder is believed, and how often it says so.
const TERM: Duration = Duration::from_millis(900);
const RENEWAL: Duration = Duration::from_millis(300);

/// The Lease, as the API server has it.
#[derive(Debug, Default)]
pub(super) struct Lease {
    holder: Option<usize>,
    version: u64,
}

/// What a collector knows of it.
#[derive(Debug, Default)]
pub(super) struct Claim {
    /// The version that it saw last, and since when, by its own clock.
    seen: Option<(u64, Instant)>,
    pub leads: bool,
}

impl Claim {
    /// Of one that is alone.
    pub fn always() -> Claim {
        Claim { seen: None, leads: true }
    }
}

impl Sim {
    /// A turn: the Lease is read, and taken or renewed if it may be.
    pub(super) fn turn(&mut self, index: usize, life: u64) {
        if self.alive(index, life).is_none() {
            return;
        }
        let node = &mut self.nodes[index];
        let now = node.clock.at(self.queue.now());
        let lease = self.lease.as_mut().expect("who takes turns has one");
        let seen = node.claim.seen.filter(|(version, _)| *version == lease.version);
        let (_, since) = *node.claim.seen.insert(seen.unwrap_or((lease.version, now)));
        let holds = lease.holder.is_none_or(|holder| holder == index) || now.since(since) >= TERM;
        if holds {
            *lease = Lease { holder: Some(index), version: lease.version + 1 };
        }
        let span = self.span(self.faults.pace.latency);
        self.queue.push(span, Happening::Turned { node: index, life, holds });
    }

    /// The answer to a turn.
    pub(super) fn turned(&mut self, index: usize, life: u64, holds: bool) -> Result<(), Broken> {
        if self.alive(index, life).is_none() {
            return Ok(());
        }
        let now = self.queue.now();
        let node = &mut self.nodes[index];
        let again = node.clock.until(now, node.clock.at(now) + RENEWAL);
        self.queue.push(again, Happening::Turn { node: index, life });
        if std::mem::replace(&mut node.claim.leads, holds) != holds {
            let word = if holds { "collects" } else { "watches" };
            self.say(format!("{} {word}", self.nodes[index].name));
        }
        self.drain(index)
    }
}
