//! IP prefixes: of a network (`Cidr`, no host bits) and of an interface (`IfAddr`, an address and its subnet).

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// A network: an address whose host bits are zero, and a prefix length. In order: IPv4 first, then by address, the shorter
/// prefix first.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
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

    /// The address at position `ordinal`, if there is one.
    pub fn nth(self, ordinal: u32) -> Option<IpAddr> {
        let addr = match self.addr() {
            IpAddr::V4(first) => IpAddr::V4(u32::from(first).checked_add(ordinal)?.into()),
            IpAddr::V6(first) => IpAddr::V6(u128::from(first).checked_add(ordinal.into())?.into()),
        };
        self.contains(addr).then_some(addr)
    }

    /// The position of `addr`, if it is inside and the position fits.
    pub fn ordinal(self, addr: IpAddr) -> Option<u32> {
        if !self.contains(addr) {
            return None;
        }
        match (self.addr(), addr) {
            (IpAddr::V4(first), IpAddr::V4(addr)) => Some(u32::from(addr) - u32::from(first)),
            (IpAddr::V6(first), IpAddr::V6(addr)) => u32::try_from(u128::from(addr) - u128::from(first)).ok(),
            _ => None,
        }
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

impl Ord for Cidr {
    /// Maps of many thousand prefixes do little else: a comparison of integers.
    #[inline]
    fn cmp(&self, other: &Cidr) -> Ordering {
        match (self.0, other.0) {
            (IpNet::V4(one), IpNet::V4(two)) => {
                let key = |net: Ipv4Net| u64::from(u32::from(net.addr())) << 8 | u64::from(net.prefix_len());
                key(one).cmp(&key(two))
            }
            (IpNet::V6(one), IpNet::V6(two)) => {
                let key = |net: Ipv6Net| (u128::from(net.addr()), net.prefix_len());
                key(one).cmp(&key(two))
            }
            (IpNet::V4(_), IpNet::V6(_)) => Ordering::Less,
            (IpNet::V6(_), IpNet::V4(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Cidr {
    #[inline]
    fn partial_cmp(&self, other: &Cidr) -> Option<Ordering> {
        Some(self.cmp(other))
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
        let net = parse_net(text).ok_or_else(|| CidrError::Malformed(text.to_owned()))?;
        if net.trunc() != net {
            return Err(CidrError::HostBits { text: text.to_owned(), masked: Cidr(net.trunc()) });
        }
        Ok(Cidr(net))
    }
}

impl FromStr for IfAddr {
    type Err = CidrError;
    fn from_str(text: &str) -> Result<IfAddr, CidrError> {
        let host = || text.parse::<IpAddr>().ok().map(IpNet::from);
        parse_net(text).or_else(host).map(IfAddr).ok_or_else(|| CidrError::Malformed(text.to_owned()))
    }
}

/// `ADDRESS/LENGTH`, with std's address parser: `IpNet`'s own takes 010.0.0.0 for 10.0.0.0, where others see 8.0.0.0.
fn parse_net(text: &str) -> Option<IpNet> {
    let (addr, len) = text.split_once('/')?;
    let len = len.bytes().all(|b| b.is_ascii_digit()).then(|| len.parse().ok())??;
    IpNet::new(addr.parse().ok()?, len).ok()
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_addr() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u16; 8]>().prop_map(IpAddr::from),
            Just(IpAddr::from([0u16; 8])),
        ]
    }

    proptest! {
        #[test]
        fn networks_are_in_the_order_of_their_addresses_and_then_lengths(
            (one, len) in (any_addr(), 0u8..=32),
            (two, other) in (any_addr(), 0u8..=32),
        ) {
            let [one, two] = [(one, len), (two, other)]
                .map(|(addr, len)| Cidr::containing(addr, len).expect("both families have 32 bits"));
            let key = |cidr: Cidr| (cidr.addr(), cidr.len());
            prop_assert_eq!(one.cmp(&two), key(one).cmp(&key(two)));
            prop_assert_eq!(one.cmp(&one), Ordering::Equal);
        }
    }

    #[test]
    fn host_bits_are_refused_and_the_network_is_offered() {
        let error = "10.0.0.1/8".parse::<Cidr>().expect_err("host bits");
        assert_eq!(error.to_string(), "`10.0.0.1/8` has host bits set: write 10.0.0.0/8");
    }

    #[test]
    fn what_is_ambiguous_or_no_network_is_refused() {
        for text in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "010.0.0.0/8",
            "10.0.0/8",
            " 10.0.0.0/8",
            "10.0.0.0/8 ",
            "fd00::/129",
            "fe80::1%eth0/64",
            "10.0.0.0/255.0.0.0",
        ] {
            assert!(matches!(text.parse::<Cidr>(), Err(CidrError::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn an_address_without_a_length_is_its_own_subnet() {
        assert_eq!(
            "10.0.0.1".parse(),
            Ok(IfAddr::new("10.0.0.1".parse().expect("an address"), 32).expect("fits"))
        );
    }

    proptest! {
        #[test]
        fn a_cidr_is_read_back(addr in any_addr(), len in 0u8..=128) {
            if let Some(cidr) = Cidr::containing(addr, len) {
                prop_assert_eq!(cidr.to_string().parse(), Ok(cidr));
                prop_assert!(cidr.contains(addr));
                prop_assert!(cidr.contains(cidr.last()) && cidr.covers(Cidr::host(addr)));
            }
        }

        #[test]
        fn an_interface_address_is_read_back(addr in any_addr(), len in 0u8..=128) {
            if let Some(address) = IfAddr::new(addr, len) {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
                prop_assert_eq!(address.subnet(), Cidr::containing(addr, len).expect("the length fits"));
            }
        }

        #[test]
        fn two_networks_overlap_only_if_one_covers_the_other(
            a in any::<[u8; 4]>(), b in any::<[u8; 4]>(), a_len in 0u8..=32, b_len in 0u8..=32,
        ) {
            let (a, b) = (Cidr::containing(a.into(), a_len), Cidr::containing(b.into(), b_len));
            let (a, b) = (a.expect("fits"), b.expect("fits"));
            prop_assert_eq!(a.overlaps(b), a.contains(b.addr()) || b.contains(a.addr()));
            prop_assert_eq!(a.overlaps(b), b.overlaps(a));
        }
    }
}
