//! Rules: conditions, a counter and an action. Written like this:
//!
//! ```
//! use kernel::nft::{Field, Rule, rule::{iifname, set, udp_dport}};
//! let drop = Rule::when([iifname("cali*"), udp_dport(4789)]).count("encapsulated-from-pod").drop();
//! assert_eq!(drop.to_string(), r#"iifname "cali*" udp dport 4789 counter name "encapsulated-from-pod" drop"#);
//! let masquerade = Rule::when([set([Field::Saddr], "pods"), !set([Field::Daddr], "pools")]).masquerade();
//! assert_eq!(masquerade.to_string(), "ip saddr @pods ip daddr != @pools masquerade fully-random");
//! ```

use super::Type;
use model::{Cidr, Vni};
use std::net::Ipv4Addr;
use std::ops::Not;

/// A rule: conditions that must all hold, then what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub matches: Vec<Match>,
    /// The named counter that counts the packet before the action.
    pub counter: Option<String>,
    pub action: Action,
}

/// A condition or, negated, its opposite. What a condition says about the protocol (`udp` in `udp dport 4789`, IPv4 in
/// `ip saddr`) holds in both cases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    pub negated: bool,
    pub condition: Condition,
}

/// What can be asked of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `ip saddr . ip daddr @set`: these fields, as one key, are in the set.
    In(Vec<Field>, String),
    /// `iifname "cali*"`: a name, or with `*` at its end the beginning of names.
    Iifname(String),
    /// As `Iifname`, of the interface that the packet leaves by.
    Oifname(String),
    /// `meta nfproto ipv4`.
    Ipv4,
    /// `meta l4proto N`: the protocol behind the IP header and its extensions.
    L4Proto(u8),
    UdpDport(u16),
    TcpDport(u16),
    /// `icmpv6 type N`.
    Icmpv6Type(u8),
    /// `ip saddr CIDR`, `ip6 saddr CIDR`.
    Saddr(Cidr),
    Daddr(Cidr),
    /// `@th,BITS,BITS 0x…`: these bytes stand `offset` bytes behind the start of the transport header.
    Transport {
        offset: u16,
        bytes: Vec<u8>,
    },
    /// `fib daddr type local`: the destination is an address of this host.
    DaddrLocal,
    /// `meta mark and MASK == VALUE`.
    Mark {
        value: u32,
        mask: u32,
    },
}

/// A field of a packet, part of a set's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Iifname,
    Oifname,
    /// IPv4.
    Saddr,
    Daddr,
    /// IPv6.
    Saddr6,
    Daddr6,
    /// The source of the IPv4 packet inside a VXLAN packet, see [`vxlan`].
    InnerSaddr,
    /// The address that an ARP packet says its sender has (RFC 826); of a table of the family `arp`.
    ArpSaddr,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Goes on with the next rule.
    Continue,
    Verdict(Verdict),
    /// `iifname vmap @map`: does what the verdict map says; goes on if it says nothing.
    Dispatch(Vec<Field>, String),
    /// Source NAT to an address of the outgoing interface, the source port any, or one in `ports` (inclusive), which needs a
    /// condition on the transport protocol. Ports are always drawn by lot (`fully-random`): where a flow keeps its own and that
    /// is taken, the kernel looks through a few ports beside a random one, and in a row of taken ones drops the packet
    /// (`nf_nat_l4proto_unique_tuple`).
    Masquerade {
        ports: Option<(u16, u16)>,
    },
    /// Source NAT to one address, as [`Action::Masquerade`] does it to the interface's.
    Snat {
        addr: Ipv4Addr,
        ports: Option<(u16, u16)>,
    },
    /// Not seen by connection tracking (at priority [`super::priority::RAW`]).
    Notrack,
    /// `meta mark set mark and ~MASK xor VALUE`: sets the bits of `mask` to those of `value`.
    SetMark {
        value: u32,
        mask: u32,
    },
}

/// Where a packet goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    /// To another chain, and back at its end.
    Jump(String),
    /// To another chain.
    Goto(String),
}

/// A VXLAN packet (RFC 7348 §5), seen from the start of the outer UDP header, in bytes. The inner frame carries no VLAN tag.
///
/// ```text
///  0     8      16                       30
///  UDP   VXLAN  inner Ethernet           inner IPv4
///        flags  dst 16 src 22 type 28    … source 42 destination 46
///        8  VNI 12
/// ```
pub mod vxlan {
    /// 3 bytes.
    pub const VNI: u16 = 12;
    pub const INNER_ETHERTYPE: u16 = 8 + 8 + 12;
    pub const INNER_IPV4_SOURCE: u16 = 8 + 8 + 14 + 12;
    pub const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
}

/// IP in IP (RFC 2003).
pub const PROTO_IPIP: u8 = 4;
pub const PROTO_TCP: u8 = 6;
pub const PROTO_UDP: u8 = 17;
/// RFC 2784.
pub const PROTO_GRE: u8 = 47;
pub const PROTO_ICMPV6: u8 = 58;
/// RFC 4861 §4.2.
pub const ICMPV6_ROUTER_ADVERTISEMENT: u8 = 134;

impl Rule {
    /// A rule for packets for which all the matches hold; it does nothing until an action is given.
    pub fn when(matches: impl IntoIterator<Item = Match>) -> Rule {
        Rule { matches: matches.into_iter().collect(), counter: None, action: Action::Continue }
    }

    /// A rule for every packet.
    pub fn always() -> Rule {
        Rule::when([])
    }

    /// Counts under a name.
    pub fn count(self, counter: &str) -> Rule {
        Rule { counter: Some(counter.to_owned()), ..self }
    }

    pub fn action(self, action: Action) -> Rule {
        Rule { action, ..self }
    }

    pub fn accept(self) -> Rule {
        self.action(Action::Verdict(Verdict::Accept))
    }

    pub fn drop(self) -> Rule {
        self.action(Action::Verdict(Verdict::Drop))
    }

    pub fn jump(self, chain: &str) -> Rule {
        self.action(Action::Verdict(Verdict::Jump(chain.to_owned())))
    }

    pub fn goto(self, chain: &str) -> Rule {
        self.action(Action::Verdict(Verdict::Goto(chain.to_owned())))
    }

    pub fn masquerade(self) -> Rule {
        self.action(Action::Masquerade { ports: None })
    }

    /// Masquerades with a source port from `first` to `last`.
    pub fn masquerade_to(self, first: u16, last: u16) -> Rule {
        self.action(Action::Masquerade { ports: Some((first, last)) })
    }

    pub fn dispatch(self, fields: impl IntoIterator<Item = Field>, map: &str) -> Rule {
        self.action(Action::Dispatch(fields.into_iter().collect(), map.to_owned()))
    }
}

impl From<Condition> for Match {
    fn from(condition: Condition) -> Match {
        Match { negated: false, condition }
    }
}

impl Not for Match {
    type Output = Match;
    fn not(self) -> Match {
        Match { negated: !self.negated, ..self }
    }
}

impl Field {
    /// The type of a set's key for it.
    pub fn key_type(self) -> Type {
        match self {
            Field::Iifname | Field::Oifname => Type::IfName,
            Field::Saddr | Field::Daddr | Field::InnerSaddr | Field::ArpSaddr => Type::Ipv4Addr,
            Field::Saddr6 | Field::Daddr6 => Type::Ipv6Addr,
        }
    }
}

/// [`Condition::In`].
pub fn set(fields: impl IntoIterator<Item = Field>, name: &str) -> Match {
    Condition::In(fields.into_iter().collect(), name.to_owned()).into()
}

/// [`Condition::Iifname`].
pub fn iifname(name: &str) -> Match {
    Condition::Iifname(name.to_owned()).into()
}

/// [`Condition::Oifname`].
pub fn oifname(name: &str) -> Match {
    Condition::Oifname(name.to_owned()).into()
}

/// [`Condition::Ipv4`].
pub fn ipv4() -> Match {
    Condition::Ipv4.into()
}

/// [`Condition::L4Proto`].
pub fn l4proto(protocol: u8) -> Match {
    Condition::L4Proto(protocol).into()
}

/// [`Condition::UdpDport`].
pub fn udp_dport(port: u16) -> Match {
    Condition::UdpDport(port).into()
}

/// [`Condition::TcpDport`].
pub fn tcp_dport(port: u16) -> Match {
    Condition::TcpDport(port).into()
}

/// [`Condition::Icmpv6Type`].
pub fn icmpv6_type(number: u8) -> Match {
    Condition::Icmpv6Type(number).into()
}

/// [`Condition::Saddr`].
pub fn saddr(net: Cidr) -> Match {
    Condition::Saddr(net).into()
}

/// [`Condition::Daddr`].
pub fn daddr(net: Cidr) -> Match {
    Condition::Daddr(net).into()
}

/// [`Condition::DaddrLocal`].
pub fn daddr_local() -> Match {
    Condition::DaddrLocal.into()
}

/// The packet, already known to be VXLAN, belongs to this network.
pub fn vxlan_vni(vni: Vni) -> Match {
    Condition::Transport { offset: vxlan::VNI, bytes: vni.0.to_be_bytes()[1..].to_vec() }.into()
}

/// The packet, already known to be VXLAN, carries an IPv4 packet.
pub fn vxlan_carries_ipv4() -> Match {
    Condition::Transport { offset: vxlan::INNER_ETHERTYPE, bytes: vxlan::ETHERTYPE_IPV4.to_vec() }.into()
}
