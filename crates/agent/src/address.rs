//! Which address other nodes reach this one by: an answer from the interfaces and what was asked for.

use crate::method::Method;
use model::{IfAddr, IfName};
use netlink::addresses::{Address, State};
use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The families of addresses: a node has one of each at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn has(self, addr: IpAddr) -> bool {
        addr.is_ipv4() == (self == Family::V4)
    }

    pub fn unspecified(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// The argument that asks for an address of it.
    pub fn flag(self) -> &'static str {
        match self {
            Family::V4 => "--ip",
            Family::V6 => "--ip6",
        }
    }

    /// That argument's value. An empty one is none: a variable in a manifest may be there and empty.
    pub fn wish(self, text: &str) -> Result<OwnAddress, String> {
        let wrong = || format!("`{text}` is neither an {self} address nor `autodetect` nor `none`");
        match (self, text) {
            (Family::V4, "") => Ok(OwnAddress::Stored),
            (_, "autodetect") => Ok(OwnAddress::Autodetect),
            (_, "none" | "") => Ok(OwnAddress::None),
            _ => {
                let (addr, len) = match text.split_once('/') {
                    Some((addr, len)) => (addr, Some(len.parse().map_err(|_| wrong())?)),
                    None => (text, None),
                };
                let addr = addr.parse().ok().filter(|addr| self.has(*addr)).ok_or_else(wrong)?;
                let longest = if addr.is_ipv4() { 32 } else { 128 };
                if len.is_some_and(|len: u8| len > longest) {
                    return Err(format!("`{text}` has a prefix of more than {longest} bits"));
                }
                Ok(OwnAddress::Given(addr, len))
            }
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// Interfaces that are not towards other nodes (calico-node's built-in excludes): names that begin so.
const EXCLUDED: [&str; 21] = [
    "docker",
    "cbr",
    "dummy",
    "podman",
    "virbr",
    "lxcbr",
    "veth",
    "lo",
    "br-",
    "cali",
    "tunl",
    "flannel",
    "kube-ipvs",
    "cni",
    "vxlan.calico",
    "vxlan-v6.calico",
    "wireguard.cali",
    "wg-v6.cali",
    "nodelocaldns",
    "ifb",
    "gre",
];

/// What `--ip` or `--ip6` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnAddress {
    /// What the Node object says; where it says nothing, one is found.
    Stored,
    Autodetect,
    /// What the Node object says, or none.
    None,
    /// The prefix length is the interface's unless it is given.
    Given(IpAddr, Option<u8>),
}

/// Why there is no address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "no interface has the address {addr} of {}: give the prefix length too, as in {addr}/{}, or another address",
        family.flag(),
        if *family == Family::V4 { 24 } else { 64 }
    )]
    NotHere { family: Family, addr: IpAddr },
    #[error("{0}")]
    BadPrefix(String),
    #[error(
        "no interface has a usable {family} address by the method `{method}` ({found}): set {flag} to this node's address, \
         or choose another {flag}-autodetection-method",
        flag = family.flag()
    )]
    NoneFound { family: Family, method: String, found: String },
}

/// Chooses from what the interfaces of this node have. `named` is the address that the method names, if it names one.
pub fn choose(
    family: Family,
    wanted: OwnAddress,
    method: &Method,
    named: Option<IpAddr>,
    found: &[Address],
) -> Result<Option<IfAddr>, Error> {
    match wanted {
        OwnAddress::None => Ok(None),
        OwnAddress::Given(addr, Some(len)) => {
            IfAddr::new(addr, len).map(Some).ok_or_else(|| Error::BadPrefix(format!("{addr}/{len}")))
        }
        OwnAddress::Given(addr, None) => {
            let it = found.iter().find(|found| found.addr.addr() == addr);
            it.map(|it| Some(it.addr)).ok_or(Error::NotHere { family, addr })
        }
        OwnAddress::Stored | OwnAddress::Autodetect => {
            let found = || found.iter().filter(|found| family.has(found.addr.addr()));
            let is_meant = |Address { device, addr, .. }: &Address| match method {
                Method::FirstFound => !is_excluded(device),
                Method::Inside(cidrs) => cidrs.iter().any(|cidr| cidr.contains(addr.addr())),
                Method::Interface(names) => names.is_match(device.as_str()),
                Method::SkipInterface(names) => !is_excluded(device) && !names.is_match(device.as_str()),
                Method::CanReach(_) | Method::KubernetesInternalIp => Some(addr.addr()) == named,
            };
            let usable = found().filter(|it| it.is_up && is_usable(it) && is_meant(it));
            let first = usable.min_by_key(|it| (Reverse(it.index), it.addr)).map(|it| it.addr);
            let none = || Error::NoneFound {
                family,
                method: method.to_string(),
                found: found().map(shown).collect::<Vec<_>>().join(", "),
            };
            first.map(Some).ok_or_else(none)
        }
    }
}

fn is_excluded(device: &IfName) -> bool {
    EXCLUDED.iter().any(|prefix| device.as_str().starts_with(prefix))
}

/// Global unicast, and there to stay.
///
/// Differs from Calico: there an IPv6 address may be one that is about to go, or that somebody else has.
fn is_usable(found: &Address) -> bool {
    let addr = found.addr.addr();
    let is_global = match addr {
        IpAddr::V4(v4) => !(v4.is_link_local() || v4.is_broadcast()),
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    let is_unicast = !(addr.is_loopback() || addr.is_multicast() || addr.is_unspecified());
    is_global && is_unicast && found.state == State::Preferred
}

fn shown(found: &Address) -> String {
    let Address { device, addr, state, .. } = found;
    match state {
        State::Preferred => format!("{device} {addr}"),
        _ => format!("{device} {addr}, {state}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTO: OwnAddress = OwnAddress::Autodetect;

    #[test]
    fn the_own_address_is_given_found_or_stored() {
        let given = |addr: &str, len| OwnAddress::Given(addr.parse().unwrap(), len);
        for (text, v4, v6) in [
            ("", Some(OwnAddress::Stored), Some(OwnAddress::None)),
            ("autodetect", Some(AUTO), Some(AUTO)),
            ("none", Some(OwnAddress::None), Some(OwnAddress::None)),
            ("192.168.50.161", Some(given("192.168.50.161", None)), None),
            ("192.168.50.161/24", Some(given("192.168.50.161", Some(24))), None),
            ("fd00:50::161", None, Some(given("fd00:50::161", None))),
            ("fd00:50::161/64", None, Some(given("fd00:50::161", Some(64)))),
            ("192.168.50.161/33", None, None),
            ("192.168.50.161/", None, None),
            ("192.168.50.256", None, None),
            ("fd00:50::161/129", None, None),
            ("fd00:50::161/", None, None),
            ("fd00:50::g", None, None),
            ("eth0", None, None),
            ("auto", None, None),
        ] {
            assert_eq!(Family::V4.wish(text).ok(), v4, "--ip={text}");
            assert_eq!(Family::V6.wish(text).ok(), v6, "--ip6={text}");
        }
    }

    /// Interfaces from the oldest to the newest, each up, with an address and, after it, what is the matter with that.
    fn node(addrs: &[(&str, &str)]) -> Vec<Address> {
        let mut devices: Vec<&str> = addrs.iter().map(|(device, _)| *device).collect();
        devices.dedup();
        let address = |(device, text): &(&str, &str)| {
            let (addr, state) = text.split_once(' ').unwrap_or((text, "preferred"));
            let states =
                [State::Preferred, State::Temporary, State::Deprecated, State::Tentative, State::Duplicate];
            Address {
                device: IfName::fixed(device),
                index: devices.iter().position(|one| one == device).unwrap() as u32,
                is_up: state != "down",
                addr: addr.parse().unwrap(),
                state: states.into_iter().find(|s| s.to_string() == state).unwrap_or(State::Preferred),
            }
        };
        addrs.iter().map(address).collect()
    }

    fn chosen(
        family: Family,
        method: &str,
        named: Option<&str>,
        addrs: &[(&str, &str)],
    ) -> Result<String, Error> {
        let named = named.map(|addr| addr.parse().unwrap());
        let found = choose(family, AUTO, &method.parse().unwrap(), named, &node(addrs))?;
        Ok(found.expect("one is found, or there is an error").to_string())
    }

    const ADDRS: [(&str, &str); 13] = [
        ("lo", "127.0.0.1/8"),
        ("lo", "::1/128"),
        ("eth0", "10.0.0.5/24"),
        ("eth0", "fd00::5/64"),
        ("eth0", "fe80::5/64"),
        ("bond0", "10.1.0.5/24"),
        ("bond0", "fd00:1::5/64"),
        ("bond0", "fe80::1:5/64"),
        ("docker0", "172.17.0.1/16"),
        ("docker0", "fd00:17::1/64"),
        ("cali123", "169.254.1.1/32"),
        ("cali123", "fe80::ecee:eeff:feee:eeee/64"),
        ("nodelocaldns", "fd00:53::1/128"),
    ];

    #[test]
    fn each_method_takes_what_it_says() {
        for (method, named, v4, v6) in [
            // The newest interface that is towards others.
            ("", [None, None], "10.1.0.5/24", "fd00:1::5/64"),
            ("first-found", [None, None], "10.1.0.5/24", "fd00:1::5/64"),
            // Who names an interface means it, whatever it is; part of the name is enough.
            ("interface=docker0", [None, None], "172.17.0.1/16", "fd00:17::1/64"),
            ("interface=wg.*, ^eth[0-9]$", [None, None], "10.0.0.5/24", "fd00::5/64"),
            ("interface=th", [None, None], "10.0.0.5/24", "fd00::5/64"),
            ("interface=^lo$", [None, None], "", ""),
            ("interface=cali", [None, None], "", ""),
            // What is passed over by default is passed over besides.
            ("skip-interface=bond.*", [None, None], "10.0.0.5/24", "fd00::5/64"),
            ("skip-interface=bond.*,eth.*", [None, None], "", ""),
            ("cidr=172.17.0.0/16", [None, None], "172.17.0.1/16", ""),
            ("cidr=10.0.0.0/8,fd00:17::/64", [None, None], "10.1.0.5/24", "fd00:17::1/64"),
            ("cidr=fe80::/10", [None, None], "", ""),
            ("cidr=11.0.0.0/8", [None, None], "", ""),
            ("can-reach=host", [Some("10.0.0.5"), Some("fd00::5")], "10.0.0.5/24", "fd00::5/64"),
            ("can-reach=host", [None, None], "", ""),
            ("can-reach=host", [Some("127.0.0.1"), Some("::1")], "", ""),
            ("kubernetes-internal-ip", [Some("10.0.0.5"), Some("fd00::5")], "10.0.0.5/24", "fd00::5/64"),
            ("kubernetes-internal-ip", [Some("10.0.0.6"), Some("fd00::6")], "", ""),
        ] {
            for (family, named, expected) in [(Family::V4, named[0], v4), (Family::V6, named[1], v6)] {
                let found = chosen(family, method, named, &ADDRS).unwrap_or_default();
                assert_eq!(found, expected, "{method} {named:?} {family}");
            }
        }
    }

    #[test]
    fn an_address_that_does_not_stay_or_is_not_the_nodes_alone_is_not_chosen() {
        let found = |addrs: &[&str]| {
            let addrs: Vec<_> = addrs.iter().map(|addr| ("eth0", *addr)).collect();
            chosen(Family::V6, "", None, &addrs).unwrap_or_default()
        };
        for bad in [
            "fd00::1/64 temporary",
            "fd00::1/64 deprecated",
            "fd00::1/64 tentative",
            "fd00::1/64 duplicate",
            "fd00::1/64 down",
            "fe80::1/64",
            "febf::1/64",
            "ff02::1/128",
            "::1/128",
            "10.0.0.1/24",
        ] {
            assert_eq!(found(&[bad]), "", "{bad}");
            for both in [[bad, "fd00::2/64"], ["fd00::2/64", bad]] {
                assert_eq!(found(&both), "fd00::2/64", "{both:?}");
            }
        }
        assert_eq!(found(&["2001:db8::3/128", "2001:db8::2/64"]), "2001:db8::2/64", "whichever comes first");
    }

    #[test]
    fn where_none_is_found_it_says_what_there_is_and_what_to_do() {
        for (family, method, expected) in [
            (
                Family::V4,
                "cidr=11.0.0.0/8",
                "no interface has a usable IPv4 address by the method `cidr=11.0.0.0/8` (eth0 10.0.0.5/24): set --ip to this \
                 node's address, or choose another --ip-autodetection-method",
            ),
            (
                Family::V6,
                "first-found",
                "no interface has a usable IPv6 address by the method `first-found` (eth0 fe80::1/64, eth0 fd00::5/64, \
                 tentative): set --ip6 to this node's address, or choose another --ip6-autodetection-method",
            ),
        ] {
            let addrs = [("eth0", "10.0.0.5/24"), ("eth0", "fe80::1/64"), ("eth0", "fd00::5/64 tentative")];
            assert_eq!(chosen(family, method, None, &addrs).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_given_address_takes_the_prefix_of_its_interface() {
        let method = "first-found".parse().unwrap();
        for (family, text, expected) in [
            (Family::V4, "10.0.0.5", Ok("10.0.0.5/24")),
            (Family::V4, "10.0.0.5/16", Ok("10.0.0.5/16")),
            (
                Family::V4,
                "10.0.0.6",
                Err("the address 10.0.0.6 of --ip: give the prefix length too, as in 10.0.0.6/24"),
            ),
            (Family::V6, "fd00::5", Ok("fd00::5/64")),
            (Family::V6, "fd00::5/48", Ok("fd00::5/48")),
            (
                Family::V6,
                "fd00::6",
                Err("the address fd00::6 of --ip6: give the prefix length too, as in fd00::6/64"),
            ),
        ] {
            let found = choose(family, family.wish(text).unwrap(), &method, None, &node(&ADDRS));
            match (found, expected) {
                (Ok(Some(found)), Ok(expected)) => assert_eq!(found.to_string(), expected),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }
}
