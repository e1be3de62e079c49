//! What was said about a destination, by whom: one value for all destinations that it was said of.
//!
//! A `Route` is interned: two destinations with the same source, next hop and attributes share one. Its serial number
//! groups destinations into UPDATEs, in an order that is the same from run to run.

use super::Source;
use crate::wire::{Attributes, NextHop};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
#[derive(Debug)]
pub struct Routes {
    known: HashTable<Arc<Route>>,
    last: u64,
    /// What peers would have to know to choose routes that are all in one place.
    secret: u64,
}

impl Routes {
    /// No route.
    pub fn new(secret: u64) -> Routes {
        Routes { known: HashTable::new(), last: 0, secret }
    }

    /// The one route that says this.
    pub fn intern(&mut self, said: Said) -> Arc<Route> {
        let secret = self.secret;
        let known = self.known.entry(
            hash(&said, secret),
            |known| known.said == said,
            |known| hash(&known.said, secret),
        );
        match known {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => {
                self.last += 1;
                let route = Arc::new(Route { serial: self.last, said });
                place.insert(route.clone());
                route
            }
        }
    }

    /// Lets go of one use of a route; the last use lets it be forgotten.
    pub fn release(&mut self, route: Arc<Route>) {
        // One count is ours, one is the argument's.
        if Arc::strong_count(&route) == 2 {
            let known =
                self.known.find_entry(hash(&route.said, self.secret), |known| Arc::ptr_eq(known, &route));
            known.expect("a route in use is known").remove();
        }
    }
}

fn hash(said: &Said, secret: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (secret, said).hash(&mut hasher);
    hasher.finish()
}
