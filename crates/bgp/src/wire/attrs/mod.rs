//! Path attributes (RFC 4271 §5): what is said about all destinations of an announcement.

mod as_path;
pub(crate) mod code;
mod community;
mod decode;
mod encode;

pub use as_path::{AsPath, Segment};
pub use community::{Community, ExtCommunity, LargeCommunity};
pub(crate) use decode::Found;

use super::open::RouterId;
use model::Asn;
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

/// How the route came into BGP. The lower is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// From within the AS.
    Igp,
    /// From EGP (RFC 904).
    Egp,
    /// In some other way.
    Incomplete,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Igp => "IGP",
            Origin::Egp => "EGP",
            Origin::Incomplete => "incomplete",
        })
    }
}

/// Who made one route of several (RFC 4271 §5.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Aggregator {
    /// Its AS.
    pub asn: Asn,
    /// Its router ID.
    pub addr: Ipv4Addr,
}

/// An attribute that is not known here and wants to be passed on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnknownAttr {
    /// Its type code.
    pub code: u8,
    /// Its flags: optional, transitive and, since somebody did not know it, partial.
    pub flags: u8,
    /// Its value, as it came.
    pub value: Vec<u8>,
}

/// What is said of a route besides its destination and its next hop. Equal ones can share a message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attributes {
    /// How it came into BGP.
    pub origin: Origin,
    /// The systems that it came through, AS numbers of four octets restored (RFC 6793 §4.2.3).
    pub as_path: AsPath,
    /// Which of several links to the neighbouring AS is preferred: the lowest.
    pub med: Option<u32>,
    /// How much the AS prefers it: the highest. From and for internal peers only.
    pub local_pref: Option<u32>,
    /// Some of the path was left out.
    pub atomic_aggregate: bool,
    /// Who aggregated it.
    pub aggregator: Option<Aggregator>,
    /// RFC 1997.
    pub communities: BTreeSet<Community>,
    /// RFC 4360.
    pub ext_communities: BTreeSet<ExtCommunity>,
    /// RFC 8092.
    pub large_communities: BTreeSet<LargeCommunity>,
    /// Who brought it into the AS, where it was reflected (RFC 4456 §8).
    pub originator_id: Option<RouterId>,
    /// The clusters that it was reflected through, last one first (RFC 4456 §8).
    pub cluster_list: Vec<Ipv4Addr>,
    /// Codes of known attributes that somebody on the way did not know; the mark stays (RFC 4271 §5).
    pub partial: BTreeSet<u8>,
    /// Attributes that are passed on unread, by code.
    pub unknown: Vec<UnknownAttr>,
}

impl Attributes {
    /// The least that a route has.
    pub fn new(origin: Origin, as_path: AsPath) -> Attributes {
        Attributes {
            origin,
            as_path,
            med: None,
            local_pref: None,
            atomic_aggregate: false,
            aggregator: None,
            communities: BTreeSet::new(),
            ext_communities: BTreeSet::new(),
            large_communities: BTreeSet::new(),
            originator_id: None,
            cluster_list: Vec::new(),
            partial: BTreeSet::new(),
            unknown: Vec::new(),
        }
    }
}
