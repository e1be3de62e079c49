//! IP prefixes: of a network (`Cidr`, no host bits) and of an interface (`IfAddr`, an address and its subnet).

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// A network: an address whose host bits are zero, and a prefix length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(IpNet);

/// An interface's address with the prefix length of its subnet, such as `192.168.50.161/24`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfAddr(IpNet);

/// The text is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Not `ADDRESS/LENGTH`.
    #[error("`{0}` is not a CIDR: write an address, a slash and a prefix length, as in 10.244.0.0/16")]
    Malformed(String),
    /// Bits right of the prefix are set.
    #[error("`{text}` has host bits set: write {masked}")]
    HostBits {
        /// What was given.
        text: String,
        /// The network that contains it.
        masked: Cidr,
    },
}

impl Cidr {
    /// The network of `len` bits that contains `addr`, if `len` fits the family.
    pub fn containing(addr: IpAddr, len: u8) -> Option<Cidr> {
        IpNet::new(addr, len).ok().map(|net| Cidr(net.trunc()))
    }

    /// The network of one address: /32 or /128.
    pub fn host(addr: IpAddr) -> Cidr {
        Cidr(IpNet::from(addr))
    }

    /// The first address.
    pub fn addr(self) -> IpAddr {
        self.0.addr()
    }

    /// The prefix length.
    #[expect(clippy::len_without_is_empty, reason = "a prefix length, not a count of members")]
    pub fn len(self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether it is the default route, `/0`.
    pub fn is_default(self) -> bool {
        self.len() == 0
    }

    /// Whether it is one address.
    pub fn is_host(self) -> bool {
        self.0.prefix_len() == self.0.max_prefix_len()
    }

    /// Whether `addr` is inside.
    pub fn contains(self, addr: IpAddr) -> bool {
        self.0.contains(&addr)
    }

    /// Whether all of `other` is inside.
    pub fn covers(self, other: Cidr) -> bool {
        self.0.contains(&other.0)
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Cidr) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Whether it is an IPv4 network.
    pub fn is_ipv4(self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    /// The dotted netmask of an IPv4 network.
    pub fn netmask(self) -> IpAddr {
        self.0.netmask()
    }

    /// The last address.
    pub fn last(self) -> IpAddr {
        self.0.broadcast()
    }
}

impl IfAddr {
    /// An address in a subnet of `len` bits, if `len` fits the family.
    pub fn new(addr: IpAddr, len: u8) -> Option<IfAddr> {
        IpNet::new(addr, len).ok().map(IfAddr)
    }

    /// The address alone.
    pub fn addr(self) -> IpAddr {
        self.0.addr()
    }

    /// The prefix length of the subnet.
    #[expect(clippy::len_without_is_empty, reason = "a prefix length, not a count of members")]
    pub fn len(self) -> u8 {
        self.0.prefix_len()
    }

    /// The subnet.
    pub fn subnet(self) -> Cidr {
        Cidr(self.0.trunc())
    }
}

impl From<Ipv4Addr> for Cidr {
    fn from(addr: Ipv4Addr) -> Cidr {
        Cidr(IpNet::V4(Ipv4Net::from(addr)))
    }
}

impl FromStr for Cidr {
    type Err = CidrError;
    fn from_str(text: &str) -> Result<Cidr, CidrError> {
        let net: IpNet = text.parse().map_err(|_| CidrError::Malformed(text.to_owned()))?;
        if net.trunc() != net {
            return Err(CidrError::HostBits { text: text.to_owned(), masked: Cidr(net.trunc()) });
        }
        Ok(Cidr(net))
    }
}

impl FromStr for IfAddr {
    type Err = CidrError;
    fn from_str(text: &str) -> Result<IfAddr, CidrError> {
        text.parse()
            .map(IfAddr)
            .or_else(|_| text.parse::<IpAddr>().map(|addr| IfAddr(IpNet::from(addr))))
            .map_err(|_| CidrError::Malformed(text.to_owned()))
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<$type, D::Error> {
                String::deserialize(d)?.parse().map_err(D::Error::custom)
            }
        }
    };
}
as_text!(Cidr);
as_text!(IfAddr);
