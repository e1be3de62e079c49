//! One key and one value type over all kinds, so that diff, plan, progress and ownership are written once.

use crate::{
    AddrKey, AddrValue, FdbKey, FdbValue, Filter, FilterKey, LinkKey, LinkValue, NeighKey, NeighValue,
    RouteKey, RouteValue, SysctlKey, SysctlValue, nft,
};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A network namespace. The shell knows which file descriptor stands behind a pod's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Netns {
    /// The node's own.
    Host,
    /// A pod's.
    Pod(PodNs),
}

/// Numbers the pods' namespaces of one run of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodNs(pub u32);

/// Identifies a kernel object. In order: by kind, and then as its kind is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    Link(LinkKey),
    Sysctl(SysctlKey),
    Addr(AddrKey),
    Nft(nft::TableKey),
    /// The place for filters of an interface (`tc qdisc show`).
    Clsact(LinkKey),
    Filter(FilterKey),
    Fdb(FdbKey),
    Neigh(NeighKey),
    Route(RouteKey),
}

/// What a kernel object is or should be.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Link(Box<LinkValue>),
    Sysctl(SysctlValue),
    Addr(AddrValue),
    Nft(Box<nft::Table>),
    Clsact,
    Filter(Filter),
    Fdb(FdbValue),
    Neigh(NeighValue),
    Route(RouteValue),
}

/// A set of kernel objects, wanted or found.
pub type Objects = BTreeMap<Key, Value>;

impl Key {
    /// The place of its kind in the order of keys.
    pub fn kind(&self) -> u8 {
        match self {
            Key::Link(_) => 0,
            Key::Sysctl(_) => 1,
            Key::Addr(_) => 2,
            Key::Nft(_) => 3,
            Key::Clsact(_) => 4,
            Key::Filter(_) => 5,
            Key::Fdb(_) => 6,
            Key::Neigh(_) => 7,
            Key::Route(_) => 8,
        }
    }

    /// The namespace that the object lives in.
    pub fn netns(&self) -> Netns {
        match self {
            Key::Link(k) => k.netns,
            Key::Sysctl(k) => k.netns,
            Key::Addr(k) => k.netns,
            Key::Nft(_) => Netns::Host,
            Key::Clsact(k) => k.netns,
            Key::Filter(k) => k.netns,
            Key::Fdb(k) => k.netns,
            Key::Neigh(k) => k.netns,
            Key::Route(k) => k.netns,
        }
    }
}

impl Ord for Key {
    /// Most keys are routes', and there may be very many: their maps do little else.
    #[inline]
    fn cmp(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Route(one), Key::Route(two)) => one.cmp(two),
            (Key::Link(one), Key::Link(two)) => one.cmp(two),
            (Key::Sysctl(one), Key::Sysctl(two)) => one.cmp(two),
            (Key::Addr(one), Key::Addr(two)) => one.cmp(two),
            (Key::Nft(one), Key::Nft(two)) => one.cmp(two),
            (Key::Clsact(one), Key::Clsact(two)) => one.cmp(two),
            (Key::Filter(one), Key::Filter(two)) => one.cmp(two),
            (Key::Fdb(one), Key::Fdb(two)) => one.cmp(two),
            (Key::Neigh(one), Key::Neigh(two)) => one.cmp(two),
            _ => self.kind().cmp(&other.kind()),
        }
    }
}

impl PartialOrd for Key {
    #[inline]
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Value {
    /// Whether `actual` is as `self` demands. What `self` leaves open may be anything.
    ///
    /// # Panics
    /// If the two are of different kinds: keys of different kinds never compare equal.
    pub fn satisfied_by(&self, actual: &Value) -> bool {
        match (self, actual) {
            (Value::Link(a), Value::Link(b)) => a.satisfied_by(b),
            (Value::Sysctl(a), Value::Sysctl(b)) => a == b,
            (Value::Addr(a), Value::Addr(b)) => a == b,
            (Value::Nft(a), Value::Nft(b)) => a.satisfied_by(b),
            (Value::Clsact, Value::Clsact) => true,
            (Value::Filter(a), Value::Filter(b)) => a == b,
            (Value::Fdb(a), Value::Fdb(b)) => a == b,
            (Value::Neigh(a), Value::Neigh(b)) => a == b,
            (Value::Route(a), Value::Route(b)) => a.satisfied_by(b),
            _ => unreachable!("one key, two kinds: {self:?} and {actual:?}"),
        }
    }
}
