//! The three RIBs of RFC 4271 §3.2, one `Table` a family.
//!
//! ```text
//!   Adj-RIB-In: every path that a peer gave ┐
//!   (also the refused ones, to judge again) ├─ Table: destination ─► [path, path, …], the best first: Loc-RIB
//!   our own destinations ───────────────────┘        │
//!                                                    └─ change ─► AdjRibOut of each peer: what it has yet to be told
//! ```
//!
//! A destination costs its prefix twice (in order, and by number) and 16 bytes a path; what was said of it is a `Route`
//! that it shares. Invariant: the flag `best` marks the first of the list of paths, or none.

mod bits;
mod index;
mod out;
mod route;
mod runs;

pub use bits::Bits;
pub use index::{DstId, Index};
pub use out::{AdjRibOut, Next, Serial};
pub use route::{Route, Routes, Said};
pub use runs::Runs;

use crate::decision;
use crate::wire::Family;
use model::{Asn, Cidr};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Who gave a path: a position in the speaker's list of peers, or we ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(pub u16);

impl Source {
    /// We originate it.
    pub const LOCAL: Source = Source(0);

    /// The position in a list of `Facts`.
    pub fn at(self) -> usize {
        self.0.into()
    }
}

/// What decision and export have to know of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Which sort of source.
    pub kind: Kind,
    /// The source's AS.
    pub asn: Asn,
    /// Its identifier, when it was last seen.
    pub router_id: Ipv4Addr,
    /// Its address.
    pub addr: IpAddr,
}

/// Sorts of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// We ourselves.
    Local,
    /// Another AS.
    External,
    /// Our AS.
    Internal,
    /// Our AS, and a client of our route reflector.
    Client,
}

impl Facts {
    /// Whether it is we ourselves.
    pub fn is_local(&self) -> bool {
        self.kind == Kind::Local
    }

    /// Whether it is in another AS.
    pub fn is_external(&self) -> bool {
        self.kind == Kind::External
    }
}

/// One way to a destination.
#[derive(Clone, Debug)]
pub struct Path {
    /// What its source says.
    pub route: Arc<Route>,
    /// The import rules refuse it.
    pub rejected: bool,
    /// Its source is restarting (RFC 4724 §4.2).
    pub stale: bool,
    /// The decision chose it.
    pub best: bool,
}

/// The paths of one destination. Nearly always one, which then costs no allocation.
#[derive(Debug, Default)]
enum Paths {
    #[default]
    None,
    One(Path),
    #[expect(clippy::box_collection, reason = "16 bytes instead of 24, and there are half a million")]
    Many(Box<Vec<Path>>),
}

impl Paths {
    fn slice(&self) -> &[Path] {
        match self {
            Paths::None => &[],
            Paths::One(path) => std::slice::from_ref(path),
            Paths::Many(paths) => paths,
        }
    }

    fn slice_mut(&mut self) -> &mut [Path] {
        match self {
            Paths::None => &mut [],
            Paths::One(path) => std::slice::from_mut(path),
            Paths::Many(paths) => paths,
        }
    }

    fn push(&mut self, path: Path) {
        *self = match std::mem::take(self) {
            Paths::None => Paths::One(path),
            Paths::One(first) => Paths::Many(Box::new(vec![first, path])),
            Paths::Many(mut paths) => {
                paths.push(path);
                Paths::Many(paths)
            }
        };
    }

    fn remove(&mut self, at: usize) -> Path {
        let (left, removed) = match std::mem::take(self) {
            Paths::One(path) => (Paths::None, path),
            Paths::Many(mut paths) => {
                let removed = paths.remove(at);
                match paths.len() {
                    1 => (Paths::One(paths.remove(0)), removed),
                    _ => (Paths::Many(paths), removed),
                }
            }
            Paths::None => panic!("no path to remove"),
        };
        *self = left;
        removed
    }
}

/// Destinations of one family and their paths.
#[derive(Debug)]
pub struct Table {
    index: Index,
    dests: Vec<Paths>,
    /// Lost their last path since the last sweep.
    emptied: Vec<DstId>,
    /// Paths of all destinations.
    count: usize,
}

/// What an insertion or removal did.
#[derive(Debug)]
pub struct Replaced {
    /// The best route before.
    pub old: Serial,
    /// The route that is gone, to be released.
    pub replaced: Option<Arc<Route>>,
}

/// The number of the best route; zero without one.
fn serial(paths: &[Path]) -> Serial {
    paths.first().filter(|path| path.best).map_or(0, |path| path.route.serial)
}

/// How the best path of a destination changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which destination.
    pub id: DstId,
    /// The best route before.
    pub old: Serial,
    /// The best route now.
    pub new: Serial,
}

impl Table {
    /// Without destinations. The secret keeps peers from choosing prefixes that are slow to find.
    pub fn new(family: Family, secret: u64) -> Table {
        Table { index: Index::new(family, secret), dests: Vec::new(), emptied: Vec::new(), count: 0 }
    }

    /// How many paths there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The prefix of a destination.
    pub fn dst(&self, id: DstId) -> Cidr {
        self.index.dst(id)
    }

    /// The number of a destination, if it has or had a path.
    pub fn get(&self, dst: Cidr) -> Option<DstId> {
        self.index.get(dst)
    }

    /// Every destination in order. Some may be without a path, until the peers know that.
    pub fn sorted(&self) -> Vec<(Cidr, DstId)> {
        self.index.sorted()
    }

    /// Every number that is or was in use.
    pub fn ids(&self) -> impl Iterator<Item = DstId> + use<> {
        (0..self.dests.len()).map(DstId::nth)
    }

    /// All paths, the best first.
    pub fn paths(&self, id: DstId) -> &[Path] {
        self.dests[id.at()].slice()
    }

    /// The best path.
    pub fn best(&self, id: DstId) -> Option<&Path> {
        self.paths(id).first().filter(|path| path.best)
    }

    /// The path that `source` gave.
    pub fn from(&self, id: DstId, source: Source) -> Option<&Path> {
        self.paths(id).iter().find(|path| path.route.said.source == source)
    }

    /// Puts a path in, in place of the one that its source gave before. The caller decides anew.
    pub fn insert(&mut self, dst: Cidr, mut path: Path) -> (DstId, Replaced) {
        let id = self.index.number(dst);
        if id.at() >= self.dests.len() {
            self.dests.push(Paths::None);
        }
        let paths = &mut self.dests[id.at()];
        let old = serial(paths.slice());
        let source = path.route.said.source;
        let known = paths.slice_mut().iter_mut().find(|known| known.route.said.source == source);
        let replaced = match known {
            Some(known) => {
                // Until the decision, the first place belongs to whoever had it.
                path.best = known.best;
                Some(std::mem::replace(known, path).route)
            }
            None => {
                paths.push(path);
                self.count += 1;
                None
            }
        };
        (id, Replaced { old, replaced })
    }

    /// Takes the path of `source` out, if there is one. The caller decides anew.
    pub fn remove(&mut self, id: DstId, source: Source) -> Option<Replaced> {
        let paths = &mut self.dests[id.at()];
        let old = serial(paths.slice());
        let at = paths.slice().iter().position(|path| path.route.said.source == source)?;
        let removed = paths.remove(at).route;
        self.count -= 1;
        if paths.slice().is_empty() {
            self.emptied.push(id);
        }
        Some(Replaced { old, replaced: Some(removed) })
    }

    /// Whether the path of `source` is stale from now on; `None` if there is no path.
    pub fn mark_stale(&mut self, id: DstId, source: Source) -> Option<bool> {
        let path = self.dests[id.at()].slice_mut().iter_mut().find(|p| p.route.said.source == source)?;
        Some(std::mem::replace(&mut path.stale, true))
    }

    /// Decides: the best path first, and flagged. `old` is the best route before the paths changed.
    pub fn decide(&mut self, id: DstId, facts: &[Facts], old: Serial) -> Change {
        let paths = self.dests[id.at()].slice_mut();
        if let [only] = paths {
            only.best = !only.rejected;
            return Change { id, old, new: serial(paths) };
        }
        let best = decision::best(paths, facts).first;
        for (nth, path) in paths.iter_mut().enumerate() {
            path.best = Some(nth) == best;
        }
        paths.sort_by_key(|path| (!path.best, path.route.said.source));
        Change { id, old, new: serial(paths) }
    }

    /// Whether destinations without a path wait for `sweep`.
    pub fn has_emptied(&self) -> bool {
        !self.emptied.is_empty()
    }

    /// Forgets destinations without a path. To be called when no queue and no Adj-RIB-Out names one.
    pub fn sweep(&mut self) {
        let mut emptied = std::mem::take(&mut self.emptied);
        emptied.sort();
        emptied.dedup();
        for id in emptied {
            if self.paths(id).is_empty() {
                self.index.free(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_with_one_path_costs_16_bytes() {
        assert_eq!(size_of::<Paths>(), 16);
    }
}
