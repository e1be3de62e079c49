//! What was said about a destination, by whom: one value for all destinations that it was said of.
//!
//! A `Route` is interned: two destinations with the same source, next hop and attributes share one. Its serial number
//! groups destinations into UPDATEs, in an order that is the same from run to run.

use super::Source;
use crate::wire::{Attributes, NextHop};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A source's next hop and attributes.
#[derive(Debug)]
pub struct Route {
    /// Tells it from every other route of this speaker.
    pub serial: u64,
    /// What it consists of.
    pub said: Said,
}

/// The contents of a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said {
    /// Who said it.
    pub source: Source,
    /// The next hop.
    pub nexthop: NextHop,
    /// Every attribute but the next hop.
    pub attrs: Arc<Attributes>,
    /// What the source had said, where an import filter rewrote it.
    pub received: Option<(NextHop, Arc<Attributes>)>,
}

impl Said {
    /// As it stood before the import filter.
    pub fn as_received(&self) -> (NextHop, &Arc<Attributes>) {
        match &self.received {
            Some((nexthop, attrs)) => (*nexthop, attrs),
            None => (self.nexthop, &self.attrs),
        }
    }
}

/// All routes that some destination has.
#[derive(Debug, Default)]
pub struct Routes {
    known: BTreeMap<Said, Arc<Route>>,
    last: u64,
}

impl Routes {
    /// The one route that says this.
    pub fn intern(&mut self, said: Said) -> Arc<Route> {
        if let Some(route) = self.known.get(&said) {
            return route.clone();
        }
        self.last += 1;
        let route = Arc::new(Route { serial: self.last, said: said.clone() });
        self.known.insert(said, route.clone());
        route
    }

    /// Lets go of one use of a route; the last use lets it be forgotten.
    pub fn release(&mut self, route: Arc<Route>) {
        // One count is ours, one is the argument's.
        if Arc::strong_count(&route) == 2 {
            self.known.remove(&route.said);
        }
    }
}
