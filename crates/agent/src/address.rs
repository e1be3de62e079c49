//! Which address other nodes reach this one by: an answer from the interfaces and what was asked for.

use crate::method::Method;
use kernel::{Key, LinkValue, Objects, Value};
use model::{IfAddr, IfName};
use std::net::IpAddr;
use std::str::FromStr;

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

/// What `--ip` asks for.
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

impl FromStr for OwnAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<OwnAddress, String> {
        let wrong = || format!("`{text}` is neither an address nor `autodetect` nor `none`");
        match text {
            "" => Ok(OwnAddress::Stored),
            "autodetect" => Ok(OwnAddress::Autodetect),
            "none" => Ok(OwnAddress::None),
            _ => {
                let (addr, len) = match text.split_once('/') {
                    Some((addr, len)) => (addr, Some(len.parse().map_err(|_| wrong())?)),
                    None => (text, None),
                };
                let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
                let longest = if addr.is_ipv4() { 32 } else { 128 };
                if len.is_some_and(|len: u8| len > longest) {
                    return Err(format!("`{text}` has a prefix of more than {longest} bits"));
                }
                Ok(OwnAddress::Given(addr, len))
            }
        }
    }
}

/// Why there is no address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "no interface has the address {0} of --ip: give the prefix length too, as in {0}/24, or another address"
    )]
    NotHere(IpAddr),
    #[error("{0}")]
    BadPrefix(String),
    #[error(
        "no interface has a usable IPv4 address by the method `{method}` ({found}): set --ip to this node's address, or choose another --ip-autodetection-method"
    )]
    NoneFound { method: String, found: String },
}

/// Chooses from the interfaces of this node. `named` is the address that the method names, if it names one; `order` gives an
/// interface's index.
pub fn choose(
    wanted: OwnAddress,
    method: &Method,
    named: Option<IpAddr>,
    interfaces: &Objects,
    order: impl Fn(&IfName) -> u32,
) -> Result<Option<IfAddr>, Error> {
    let addrs = || {
        interfaces.keys().filter_map(|key| match key {
            Key::Addr(key) => Some((&key.device, key.addr)),
            _ => None,
        })
    };
    match wanted {
        OwnAddress::None => Ok(None),
        OwnAddress::Given(addr, Some(len)) => {
            IfAddr::new(addr, len).map(Some).ok_or_else(|| Error::BadPrefix(format!("{addr}/{len}")))
        }
        OwnAddress::Given(addr, None) => {
            let found = addrs().find(|(_, found)| found.addr() == addr);
            found.map(|(_, found)| Some(found)).ok_or(Error::NotHere(addr))
        }
        OwnAddress::Stored | OwnAddress::Autodetect => {
            let mut usable: Vec<_> = addrs()
                .filter(|(device, addr)| is_up(device, interfaces) && is_usable(addr.addr()))
                .filter(|(device, addr)| match method {
                    Method::FirstFound => !is_excluded(device),
                    Method::Inside(cidrs) => cidrs.iter().any(|cidr| cidr.contains(addr.addr())),
                    Method::Interface(names) => names.is_match(device.as_str()),
                    Method::SkipInterface(names) => !is_excluded(device) && !names.is_match(device.as_str()),
                    Method::CanReach(_) | Method::KubernetesInternalIp => Some(addr.addr()) == named,
                })
                .collect();
            usable.sort_by_key(|(device, _)| std::cmp::Reverse(order(device)));
            let found = || addrs().map(|(device, addr)| format!("{device} {addr}")).collect::<Vec<_>>();
            let first = usable.first().map(|(_, addr)| *addr);
            let none = || Error::NoneFound { method: method.to_string(), found: found().join(", ") };
            first.map(Some).ok_or_else(none)
        }
    }
}

fn is_up(device: &IfName, interfaces: &Objects) -> bool {
    let key = Key::Link(kernel::LinkKey { netns: kernel::Netns::Host, name: device.clone() });
    match interfaces.get(&key) {
        Some(Value::Link(link)) => {
            let link: &LinkValue = link;
            link.up
        }
        _ => true,
    }
}

fn is_excluded(device: &IfName) -> bool {
    EXCLUDED.iter().any(|prefix| device.as_str().starts_with(prefix))
}

/// Global unicast, IPv4.
fn is_usable(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => {
            !(v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_unspecified())
        }
        IpAddr::V6(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::addr::AddrScope;
    use kernel::{AddrKey, AddrValue, Netns};

    #[test]
    fn the_own_address_is_given_found_or_stored() {
        let addr = "192.168.50.161".parse().unwrap();
        for (text, expected) in [
            ("", OwnAddress::Stored),
            ("autodetect", OwnAddress::Autodetect),
            ("none", OwnAddress::None),
            ("192.168.50.161", OwnAddress::Given(addr, None)),
            ("192.168.50.161/24", OwnAddress::Given(addr, Some(24))),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for bad in ["eth0", "192.168.50.161/33", "192.168.50.161/", "192.168.50.256", "auto"] {
            assert!(bad.parse::<OwnAddress>().is_err(), "{bad}");
        }
    }

    fn node(addrs: &[(&str, &str)]) -> Objects {
        let object = |(device, addr): &(&str, &str)| {
            let key =
                AddrKey { netns: Netns::Host, device: IfName::fixed(device), addr: addr.parse().unwrap() };
            (Key::Addr(key), Value::Addr(AddrValue { scope: AddrScope::Global }))
        };
        addrs.iter().map(object).collect()
    }

    fn chosen(wanted: OwnAddress, method: &str, addrs: &[(&str, &str)]) -> Result<Option<String>, Error> {
        chosen_of(wanted, method, None, addrs)
    }

    fn chosen_of(
        wanted: OwnAddress,
        method: &str,
        named: Option<&str>,
        addrs: &[(&str, &str)],
    ) -> Result<Option<String>, Error> {
        let order =
            |device: &IfName| addrs.iter().position(|(name, _)| *name == device.as_str()).unwrap() as u32;
        let named = named.map(|addr| addr.parse().unwrap());
        let found = choose(wanted, &method.parse().unwrap(), named, &node(addrs), order)?;
        Ok(found.map(|addr| addr.to_string()))
    }

    #[test]
    fn the_newest_interface_towards_others_is_taken() {
        let addrs = [
            ("lo", "127.0.0.1/8"),
            ("eth0", "10.0.0.5/24"),
            ("eth1", "192.168.50.161/24"),
            ("docker0", "172.17.0.1/16"),
            ("cali123", "169.254.1.1/32"),
        ];
        let found = |method| chosen(OwnAddress::Autodetect, method, &addrs);
        assert_eq!(found("first-found"), Ok(Some("192.168.50.161/24".into())));
        assert_eq!(found("cidr=10.0.0.0/8"), Ok(Some("10.0.0.5/24".into())));
        let none = found("cidr=11.0.0.0/8").unwrap_err().to_string();
        assert!(none.contains("eth0 10.0.0.5/24"), "{none}");
    }

    #[test]
    fn each_method_takes_what_it_says() {
        let addrs = [
            ("lo", "127.0.0.1/8"),
            ("eth0", "10.0.0.5/24"),
            ("bond0", "10.1.0.5/24"),
            ("docker0", "172.17.0.1/16"),
        ];
        let found = |method, named| {
            chosen_of(OwnAddress::Autodetect, method, named, &addrs).ok().flatten().unwrap_or_default()
        };
        for (method, named, expected) in [
            ("", None, "10.1.0.5/24"),
            // Who names an interface means it, whatever it is; part of the name is enough.
            ("interface=docker0", None, "172.17.0.1/16"),
            ("interface=wg.*, ^eth[0-9]$", None, "10.0.0.5/24"),
            ("interface=th", None, "10.0.0.5/24"),
            ("interface=lo", None, ""),
            // What is passed over by default is passed over besides.
            ("skip-interface=bond.*", None, "10.0.0.5/24"),
            ("skip-interface=bond.*,eth.*", None, ""),
            ("cidr=172.17.0.0/16", None, "172.17.0.1/16"),
            ("can-reach=192.0.2.1", Some("10.0.0.5"), "10.0.0.5/24"),
            ("can-reach=192.0.2.1", None, ""),
            ("kubernetes-internal-ip", Some("10.0.0.5"), "10.0.0.5/24"),
            ("kubernetes-internal-ip", Some("10.0.0.6"), ""),
        ] {
            assert_eq!(found(method, named), expected, "{method} {named:?}");
        }
    }

    #[test]
    fn a_given_address_takes_the_prefix_of_its_interface() {
        let addrs = [("eth0", "10.0.0.5/24")];
        let given =
            |text: &str, len| chosen(OwnAddress::Given(text.parse().unwrap(), len), "first-found", &addrs);
        assert_eq!(given("10.0.0.5", None), Ok(Some("10.0.0.5/24".into())));
        assert_eq!(given("10.0.0.5", Some(16)), Ok(Some("10.0.0.5/16".into())));
        assert_eq!(given("10.0.0.6", None), Err(Error::NotHere("10.0.0.6".parse().unwrap())));
    }
}
