//! What runs on a machine of the address world: a node's allocator, or the collector.

use ipam::collect::{Collector, Patience};
use ipam::{Allocator, CallId};
use model::store::{Event, Kind, Reply, Request};
use model::{Duration, Instant};

/// Short ones, so that it collects while everybody is at work. An ADD lasts less than the first.
const PATIENCE: Patience =
    Patience { leak: Duration::from_millis(2_000), node: Duration::from_millis(1_000) };

#[expect(clippy::large_enum_variant, reason = "nearly all are allocators")]
pub(super) enum Mind {
    Allocator(Allocator),
    Collector(Box<Collector>),
}

impl Mind {
    pub fn allocator(node: &str) -> Mind {
        Mind::Allocator(Allocator::new(node))
    }

    pub fn collector() -> Mind {
        Mind::Collector(Box::new(Collector::new(PATIENCE)))
    }

    pub fn watches(&self) -> &'static [Kind] {
        match self {
            Mind::Allocator(_) => &ipam::WATCHED,
            Mind::Collector(_) => &ipam::collect::WATCHED,
        }
    }

    pub fn as_allocator(&mut self) -> Option<&mut Allocator> {
        match self {
            Mind::Allocator(allocator) => Some(allocator),
            Mind::Collector(_) => None,
        }
    }

    pub fn observe(&mut self, event: &Event) {
        match self {
            Mind::Allocator(allocator) => allocator.observe(event),
            Mind::Collector(collector) => collector.observe(event),
        }
    }

    pub fn handle(&mut self, now: Instant, call: CallId, reply: Reply) {
        match self {
            Mind::Allocator(allocator) => allocator.handle(now, call, reply),
            Mind::Collector(collector) => collector.handle(now, call, reply),
        }
    }

    pub fn wake(&mut self, now: Instant, wall: &str) {
        match self {
            Mind::Allocator(allocator) => allocator.wake(now),
            Mind::Collector(collector) => collector.wake(now, wall),
        }
    }

    /// Somebody else collects.
    pub fn stand_down(&mut self) {
        if let Mind::Collector(collector) = self {
            collector.stand_down();
        }
    }

    pub fn poll(&mut self) -> Option<(CallId, Request)> {
        match self {
            Mind::Allocator(allocator) => allocator.poll(),
            Mind::Collector(collector) => collector.poll(),
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Mind::Allocator(allocator) => allocator.poll_timeout(),
            Mind::Collector(collector) => collector.poll_timeout(),
        }
    }
}
