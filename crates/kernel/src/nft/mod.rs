//! nftables: what a table of ours holds, when a table that was found is as wanted, and how it reads as text.
//!
//! A table is one compound object, replaced in one transaction: sets by element, chains whole, named counters kept.
//! A rule that was found is not decoded: it carries the [`Fingerprint`] of the rule that was written (in its userdata), so
//! a chain is as wanted if its fingerprints, in order, are those of the wanted rules. Whatever somebody adds, removes or
//! rewrites by hand has no fingerprint or leaves a gap.
//!
//! ```text
//!  derive ──► Table (rules written) ──┐
//!                                     ├─► satisfied_by ─► netlink::nft::apply
//!  netlink ─► Table (rules found) ────┘
//! ```
//!
//! The text form is `nft`'s, and `nft -f` reads it, save for a set of inner sources ([`Field::InnerSaddr`]): for `nft` such
//! bytes have no type of their own.

pub mod chain;
pub mod rule;
pub mod set;
pub mod text;

pub use chain::{Chain, ChainType, Fingerprint, Hook, HookPoint, Rules, priority};
pub use rule::{Action, Condition, Field, Match, Rule, Verdict};
pub use set::{Element, Range, Set, Type};

use std::collections::{BTreeMap, BTreeSet};

/// The name of Calico's table, and ours.
pub const TABLE_CALICO: &str = "calico";

/// Identifies a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableKey {
    pub family: Family,
    pub name: String,
}

impl TableKey {
    /// Sorts before every table.
    pub const FIRST: TableKey = TableKey { family: Family::Inet, name: String::new() };

    /// `inet calico`.
    pub fn inet() -> TableKey {
        TableKey { family: Family::Inet, name: TABLE_CALICO.to_owned() }
    }

    /// `arp calico`.
    pub fn arp() -> TableKey {
        TableKey { family: Family::Arp, name: TABLE_CALICO.to_owned() }
    }
}

/// Address family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    Arp,
}

/// A table: named counters, sets and chains, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Switched off as a whole (`flags dormant`); never wanted.
    pub dormant: bool,
    /// Their counts are no part of what is wanted: they survive every change of the rules that count.
    pub counters: BTreeSet<String>,
    pub sets: BTreeMap<String, Set>,
    pub chains: BTreeMap<String, Chain>,
}

impl Table {
    /// A table that holds nothing.
    pub const EMPTY: Table =
        Table { dormant: false, counters: BTreeSet::new(), sets: BTreeMap::new(), chains: BTreeMap::new() };

    /// Adds a set or verdict map.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn set(mut self, name: &str, set: Set) -> Table {
        assert!(self.sets.insert(name.to_owned(), set).is_none(), "two sets are named {name}");
        self
    }

    /// Adds a chain, and the named counters that its rules count under.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn chain(mut self, name: &str, chain: Chain) -> Table {
        if let Rules::Written(rules) = &chain.rules {
            self.counters.extend(rules.iter().filter_map(|rule| rule.counter.clone()));
        }
        assert!(self.chains.insert(name.to_owned(), chain).is_none(), "two chains are named {name}");
        self
    }

    /// Whether the table that was found is as `self` demands: nothing missing, nothing else, nothing different.
    /// See [`crate::Value::satisfied_by`].
    pub fn satisfied_by(&self, actual: &Table) -> bool {
        self == actual
    }
}
