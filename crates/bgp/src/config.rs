//! What the speaker should do, as one value: who we are, whom we talk to, what we originate.
//!
//! A new `Config` replaces the old one whole. Sessions are reset only where `PeerConfig::needs_new_session` says so;
//! filters and originations take effect by evaluating the RIBs again.

use crate::filter::Filter;
use crate::wire::{Community, Family, HoldTime, LargeCommunity, RouterId};
use model::{Asn, Cidr, Duration, IfName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The name of a peer, chosen by whoever configures it; unique and stable, as in `Mesh_192_168_50_162`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(Arc<str>);

impl PeerId {
    /// A peer's name.
    pub fn new(name: &str) -> PeerId {
        PeerId(name.into())
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The whole configuration of a speaker.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Our autonomous system.
    pub asn: Asn,
    /// Our BGP identifier.
    pub router_id: RouterId,
    /// Our cluster, if we reflect routes (RFC 4456 §7).
    pub cluster_id: Option<Ipv4Addr>,
    /// The TCP port that the shell listens on; carried through.
    pub listen_port: u16,
    /// The restart time in seconds that we announce for graceful restart (RFC 4724), `None` to be without it.
    pub graceful_restart: Option<u16>,
    /// We started while the kernel kept our routes: the restart bits are set, and no route is selected before every
    /// peer's End-of-RIB or `graceful_restart` seconds. Read once, by the first configuration.
    pub restarting: bool,
    /// Whom to talk to.
    pub peers: BTreeMap<PeerId, PeerConfig>,
    /// What we announce as our own.
    pub originate: BTreeMap<Cidr, Origination>,
    /// Whether all paths that the import filters let pass are reported, by rank, in place of the best alone: for equal cost
    /// multipath, and for whoever does not believe every path.
    pub all_paths: bool,
    /// The subnets that we are connected to: for third-party next hops (RFC 4271 §5.1.3) and the interface of a path.
    pub connected: BTreeMap<Cidr, IfName>,
    /// Our own addresses: a path with one of them as its next hop is refused (RFC 4271 §6.3). The address of a session
    /// is always among them.
    pub addresses: BTreeSet<IpAddr>,
    /// Our IPv4 next hop in sessions that run over IPv6.
    pub nexthop_v4: Option<Ipv4Addr>,
    /// Our IPv6 next hop in sessions that run over IPv4.
    pub nexthop_v6: Option<Ipv6Addr>,
}

/// One neighbour.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerConfig {
    /// Its address.
    pub addr: IpAddr,
    /// The TCP port to dial; carried through.
    pub port: u16,
    /// Its autonomous system.
    pub remote_asn: Asn,
    /// Our autonomous system in this session, if not `Config::asn`.
    pub local_asn: Option<Asn>,
    /// The address to dial from; carried through.
    pub local_addr: Option<IpAddr>,
    /// Whether we only wait for it to dial.
    pub passive: bool,
    /// Hops that the generalised TTL security mechanism allows (RFC 5082); carried through.
    pub ttl_security: Option<u8>,
    /// A name for the TCP MD5 key that changes whenever the key does; never the key itself. Carried through.
    pub password_key: Option<String>,
    /// Whether it is a client of our route reflector.
    pub rr_client: bool,
    /// What it sees as the next hop of our routes.
    pub nexthop: NexthopMode,
    /// The hold time that we offer, zero for none.
    pub hold_time: HoldTime,
    /// The time between keepalives, if not a third of the negotiated hold time.
    pub keepalive: Option<Duration>,
    /// The longest time between two attempts to connect.
    pub connect_retry: Duration,
    /// The restart time in seconds that we announce to it, if not `Config::graceful_restart`.
    pub restart_time: Option<u16>,
    /// How often our own AS number may stand in the AS_PATH of its routes.
    pub num_allowed_local_as: u8,
    /// The address families to exchange.
    pub families: BTreeSet<Family>,
    /// The most prefixes that it may announce; one more ends the session (RFC 4271 §6.7).
    pub prefix_limit: Option<u32>,
    /// What we take from it.
    pub import: Filter,
    /// What we give to it.
    pub export: Filter,
}

/// What a peer sees as the next hop of our routes (Calico's `nextHopMode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NexthopMode {
    /// As RFC 4271 §5.1.3 says.
    #[default]
    Auto,
    /// Always us.
    SelfAlways,
    /// What the path came with, where there is one.
    Keep,
}

/// A prefix of our own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origination {
    /// Where to send packets, `None` for us.
    pub nexthop: Option<IpAddr>,
    /// Communities to attach.
    pub communities: BTreeSet<Community>,
    /// Large communities to attach.
    pub large: BTreeSet<LargeCommunity>,
    /// LOCAL_PREF inside our AS, 100 if not given.
    pub local_pref: Option<u32>,
    /// The interface that it lies behind, for filters that ask.
    pub interface: Option<IfName>,
}

impl PeerConfig {
    /// A neighbour as Calico's mesh has it: with the connect retry time that it sets, and the hold time of BIRD, which it leaves
    /// as it is.
    pub fn new(addr: IpAddr, remote_asn: Asn) -> PeerConfig {
        PeerConfig {
            addr,
            port: 179,
            remote_asn,
            local_asn: None,
            local_addr: None,
            passive: false,
            ttl_security: None,
            password_key: None,
            rr_client: false,
            nexthop: NexthopMode::Auto,
            hold_time: HoldTime::new(240).expect("neither 1 nor 2"),
            keepalive: None,
            connect_retry: Duration::from_secs(5),
            restart_time: None,
            num_allowed_local_as: 0,
            families: BTreeSet::from([if addr.is_ipv4() { Family::IPV4 } else { Family::IPV6 }]),
            prefix_limit: None,
            import: Filter::accept(),
            export: Filter::accept(),
        }
    }

    /// Whether a session under `self` cannot go on under `new`.
    pub(crate) fn needs_new_session(&self, new: &PeerConfig) -> bool {
        let relevant = |p: &PeerConfig| {
            let tcp = (p.addr, p.port, p.local_addr, p.ttl_security, p.password_key.clone());
            (tcp, p.remote_asn, p.local_asn, p.hold_time, p.keepalive, p.families.clone())
        };
        relevant(self) != relevant(new)
    }

    /// Whether what we take from it must be judged again under `new`.
    pub(crate) fn imports_differently(&self, new: &PeerConfig) -> bool {
        self.import != new.import || self.num_allowed_local_as != new.num_allowed_local_as
    }

    /// Whether what we give to it must be made again under `new`.
    pub(crate) fn exports_differently(&self, new: &PeerConfig) -> bool {
        (self.nexthop, self.rr_client) != (new.nexthop, new.rr_client) || self.export != new.export
    }
}
