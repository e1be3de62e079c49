//! What is taken from a peer and what is told to one: the rules of the protocol, before and after the filters.
//!
//! Import: RFC 4271 §6.3 and §9.1.2 (loops, next hops), RFC 4456 §8 (loops of reflection). Export: RFC 4271 §5.1 and
//! §9.2, RFC 1997 (well-known communities), RFC 4456 §6 (what a reflector passes on).

use crate::config::{Config, NexthopMode};
use crate::filter::{Operation, PeerType, Subject};
use crate::rib::{Facts, Kind, Said};
use crate::session::Local;
use crate::wire::{Attributes, Community, NextHop, RouterId};
use crate::{config::PeerConfig, decision::DEFAULT_LOCAL_PREF};
use model::{Asn, Cidr};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a path is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Our AS is in the AS_PATH more often than allowed.
    AsLoop,
    /// We brought it into the AS ourselves (RFC 4456 §8).
    OwnOriginator,
    /// It was in our cluster before (RFC 4456 §8).
    ClusterLoop,
    /// Its next hop is one of our addresses.
    OwnNexthop,
    /// Its next hop is no address of a router.
    MartianNexthop,
    /// Nobody can be at this destination.
    MartianDst,
    /// The import filter says so.
    Filter,
}

impl Reason {
    /// Whether people should know: loops and filters are as they should be.
    pub(super) fn is_news(self) -> bool {
        matches!(self, Reason::OwnNexthop | Reason::MartianNexthop | Reason::MartianDst)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::AsLoop => "our AS is in its AS path",
            Reason::OwnOriginator => "we are its originator",
            Reason::ClusterLoop => "our cluster is in its cluster list",
            Reason::OwnNexthop => "its next hop is our own address",
            Reason::MartianNexthop => "its next hop is no address that a router can have",
            Reason::MartianDst => "nobody can be at this destination",
            Reason::Filter => "the import filter rejects it",
        })
    }
}

/// One session's view of the two ends.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// Everything.
    pub config: &'a Config,
    /// The peer.
    pub peer: &'a PeerConfig,
    /// What we are to it.
    pub local: &'a Local,
    /// Our address in the session.
    pub local_addr: IpAddr,
}

impl Ends<'_> {
    fn peer_type(&self) -> PeerType {
        if self.local.is_internal(self.peer) { PeerType::Internal } else { PeerType::External }
    }

    /// Why none of the destinations that a peer says this of is believed; the filter is not asked.
    pub fn unbelievable(&self, nexthop: NextHop, attrs: &Attributes) -> Option<Reason> {
        let addr = nexthop.addr();
        let loops = attrs.as_path.count(self.local.asn) > self.peer.num_allowed_local_as.into();
        let checks = [
            (loops, Reason::AsLoop),
            (attrs.originator_id == Some(self.local.router_id), Reason::OwnOriginator),
            (self.config.cluster_id.is_some_and(|id| attrs.cluster_list.contains(&id)), Reason::ClusterLoop),
            (addr == self.local_addr || self.config.addresses.contains(&addr), Reason::OwnNexthop),
            (is_martian(addr), Reason::MartianNexthop),
        ];
        checks.into_iter().find_map(|(holds, reason)| holds.then_some(reason))
    }

    /// Why what a peer says of a destination cannot be, if people should know.
    pub fn impossible(&self, dst: Cidr, nexthop: NextHop, attrs: &Attributes) -> Option<Reason> {
        let reason = self.unbelievable(nexthop, attrs).or(is_martian_dst(dst).then_some(Reason::MartianDst));
        reason.filter(|why| why.is_news())
    }

    /// What the import filter makes of a path: `None` if it is refused, else what is to be changed.
    pub fn import<'f>(&'f self, dst: Cidr, said: &Said) -> Option<&'f [Operation]> {
        if let Some(verdict) = self.peer.import.unconditional() {
            return verdict;
        }
        let (nexthop, attrs) = said.as_received();
        let interface = interface(self.config, nexthop.addr());
        let peer_type = self.peer_type();
        self.peer.import.judge(&Subject { dst, attrs, from_peer: true, interface, peer_type })
    }

    /// Whether a path may be told to the peer at all, whatever its destination.
    pub fn may_tell(&self, said: &Said, from: &Facts) -> bool {
        let internal = self.local.is_internal(self.peer);
        let communities = &said.attrs.communities;
        match from.kind {
            // A community of our own is for others to read.
            Kind::Local => true,
            _ if communities.contains(&Community::NO_ADVERTISE) => false,
            _ if !internal => {
                !communities.contains(&Community::NO_EXPORT)
                    && !communities.contains(&Community::NO_EXPORT_SUBCONFED)
            }
            Kind::External => true,
            // RFC 4456 §6: from clients to everybody, from others to clients.
            Kind::Client => self.config.cluster_id.is_some(),
            Kind::Internal => self.config.cluster_id.is_some() && self.peer.rr_client,
        }
    }

    /// What the export filter makes of a path: `None` if it is not to be told, else what is to be changed.
    pub fn export<'f>(&'f self, dst: Cidr, said: &Said, from: &Facts) -> Option<&'f [Operation]> {
        if let Some(verdict) = self.peer.export.unconditional() {
            return verdict;
        }
        let origination = if from.is_local() { self.config.originate.get(&dst) } else { None };
        let own = origination.and_then(|o| o.interface.as_ref()).map(|name| name.as_str());
        let interface = own.or_else(|| interface(self.config, said.nexthop.addr()));
        let (attrs, peer_type) = (&said.attrs, self.peer_type());
        self.peer.export.judge(&Subject { dst, attrs, from_peer: !from.is_local(), interface, peer_type })
    }

    /// The attributes as the peer is to see them.
    pub fn attributes(&self, said: &Said, from: &Facts, operations: &[Operation]) -> Attributes {
        let mut attrs = (*said.attrs).clone();
        operations.iter().for_each(|operation| operation.apply(&mut attrs));
        if self.local.is_internal(self.peer) {
            attrs.local_pref.get_or_insert(DEFAULT_LOCAL_PREF);
            if let (Kind::Internal | Kind::Client, Some(cluster)) = (from.kind, self.config.cluster_id) {
                attrs.originator_id = attrs.originator_id.or(Some(RouterId(from.router_id)));
                attrs.cluster_list.insert(0, cluster);
            }
        } else {
            attrs.as_path.prepend(self.local.asn);
            attrs.local_pref = None;
            attrs.originator_id = None;
            attrs.cluster_list.clear();
            attrs.ext_communities.retain(|community| community.is_transitive());
            // RFC 4271 §5.1.4: what a neighbour says of its links concerns nobody beyond us.
            if !from.is_local() {
                attrs.med = None;
            }
        }
        attrs
    }

    /// The next hop that the peer is to see (RFC 4271 §5.1.3); `None` if there is none that it could use.
    pub fn nexthop(&self, said: &Said, from: &Facts) -> Option<NextHop> {
        let theirs = said.nexthop;
        let unusable = theirs.addr().is_unspecified() || theirs.addr() == self.peer.addr;
        let internal = self.local.is_internal(self.peer);
        let keep = match self.peer.nexthop {
            _ if unusable => false,
            NexthopMode::SelfAlways => false,
            NexthopMode::Keep => true,
            NexthopMode::Auto => {
                internal || (from.is_external() || from.is_local()) && self.shares_link(theirs.addr())
            }
        };
        if keep { Some(theirs) } else { self.nexthop_self(theirs) }
    }

    fn shares_link(&self, nexthop: IpAddr) -> bool {
        let subnets = self.config.connected.keys();
        subnets.into_iter().any(|s| s.contains(nexthop) && s.contains(self.peer.addr))
    }

    /// Ourselves, in the family of `like`.
    fn nexthop_self(&self, like: NextHop) -> Option<NextHop> {
        match (like, self.local_addr) {
            (NextHop::V4(_), IpAddr::V4(addr)) => Some(NextHop::V4(addr)),
            (NextHop::V4(_), IpAddr::V6(_)) => self.config.nexthop_v4.map(NextHop::V4),
            (NextHop::V6 { .. }, IpAddr::V6(addr)) if is_link_local(addr) => {
                let global = self.config.nexthop_v6.unwrap_or(addr);
                Some(NextHop::V6 { global, link_local: Some(addr) })
            }
            (NextHop::V6 { .. }, IpAddr::V6(global)) => Some(NextHop::V6 { global, link_local: None }),
            (NextHop::V6 { .. }, IpAddr::V4(_)) => {
                self.config.nexthop_v6.map(|global| NextHop::V6 { global, link_local: None })
            }
        }
    }
}

/// The interface of the smallest connected subnet that an address lies in.
fn interface(config: &Config, addr: IpAddr) -> Option<&str> {
    // The smaller of two that overlap comes later.
    config.connected.iter().rev().find(|(subnet, _)| subnet.contains(addr)).map(|(_, name)| name.as_str())
}

fn is_link_local(addr: Ipv6Addr) -> bool {
    addr.segments()[0] & 0xffc0 == 0xfe80
}

/// An address that no router has.
fn is_martian(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => {
            addr.octets()[0] == 0 || addr.is_loopback() || addr >= Ipv4Addr::new(224, 0, 0, 0)
        }
        IpAddr::V6(addr) => addr.is_unspecified() || addr.is_loopback() || addr.is_multicast(),
    }
}

/// A destination that nobody can be at. The default route is not among them: whether to take it is for the filter.
pub fn is_martian_dst(dst: Cidr) -> bool {
    match dst.addr() {
        IpAddr::V6(addr) if is_link_local(addr) => true,
        addr => !dst.is_default() && is_martian(addr),
    }
}

/// The AS numbers of the two ends are one.
pub fn kind(local: Asn, peer: &PeerConfig) -> Kind {
    match (local == peer.remote_asn, peer.rr_client) {
        (false, _) => Kind::External,
        (true, true) => Kind::Client,
        (true, false) => Kind::Internal,
    }
}
