//! nftables: a table is one compound object. Chains are replaced whole (a fingerprint in their userdata tells whether
//! they differ), sets by element.

use std::collections::{BTreeMap, BTreeSet};

/// Identifies a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableKey {
    pub family: Family,
    pub name: String,
}

impl TableKey {
    /// Sorts before every table.
    pub const FIRST: TableKey = TableKey { family: Family::Inet, name: String::new() };
}

/// Address family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    Inet,
    Arp,
}

/// A table with its sets and chains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub sets: BTreeMap<String, Set>,
    pub chains: BTreeMap<String, Chain>,
}

/// A set or verdict map; its elements in the kernel's byte order, already encoded by type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The concatenated types of an element, such as `[Ipv4]` or `[Ipv4, Ipv4]`.
    pub key: Vec<Type>,
    /// Elements are intervals.
    pub interval: bool,
    pub elements: BTreeSet<Element>,
}

/// A type of a set's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    Ipv4Addr,
    IfName,
}

/// An element: one range (`from..=to`, equal for a single value) for each type of the key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    pub key: Vec<(Field, Field)>,
    /// For verdict maps: where to go.
    pub verdict: Option<Verdict>,
}

/// One value of an element's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    Ipv4(std::net::Ipv4Addr),
    IfName(model::IfName),
}

/// A chain: a base chain if it has a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub hook: Option<Hook>,
    pub rules: Vec<Rule>,
    /// Found in the kernel: the fingerprint that was stored with it. Wanted: made from the rules.
    pub fingerprint: u64,
}

/// Where a base chain hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    pub chain_type: ChainType,
    pub point: HookPoint,
    pub priority: i32,
}

/// `filter`, `nat` or `route`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainType {
    Filter,
    Nat,
}

/// Hook of netfilter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// A rule: matches that must all hold, then what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub matches: Vec<Match>,
    pub action: Action,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// `iifname "cali*"` with `prefix`, else the whole name.
    InterfaceIn {
        name: String,
        prefix: bool,
        negate: bool,
    },
    InterfaceOut {
        name: String,
        prefix: bool,
        negate: bool,
    },
    /// `ip saddr @set`.
    SourceIn {
        set: String,
        negate: bool,
    },
    /// `ip daddr @set`.
    DestinationIn {
        set: String,
        negate: bool,
    },
    /// `meta l4proto N`.
    Protocol {
        protocol: u8,
        negate: bool,
    },
    /// `udp dport N`.
    UdpDestinationPort(u16),
    /// Source address and a field at a byte offset behind the transport header start, as one concatenation in a set:
    /// the outer source and the inner source of a VXLAN packet.
    SourceAndPayloadIn {
        offset: u32,
        set: String,
        negate: bool,
    },
    /// `fib saddr . iif oif` missing: no route back through the interface it came by.
    ReversePathFails,
    /// `fib daddr type local`.
    DestinationLocal,
    /// `fib saddr type local`.
    SourceLocal,
    /// `ip saddr CIDR` / `ip daddr CIDR`
    SourceNet(model::Cidr),
    DestinationNet(model::Cidr),
    /// Connection tracking state established or related.
    Established,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Verdict(Verdict),
    /// Source NAT to the outgoing interface's address; `ports` keeps the source port in a range.
    Masquerade {
        ports: Option<(u16, u16)>,
    },
    /// Count under a named counter, then go on or decide.
    Count {
        counter: String,
        verdict: Option<Verdict>,
    },
}

/// Where a packet goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
}

impl Table {
    /// See [`crate::Value::satisfied_by`].
    pub fn satisfied_by(&self, actual: &Table) -> bool {
        self == actual
    }
}
