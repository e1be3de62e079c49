//! How `--ip=autodetect` and `--ip6=autodetect` choose, by calico-node's words; and for those methods that name an address, which it is now.

use crate::address::Family;
use datastore::Client;
use model::store::{Key, Kind, Object, Request};
use model::{Cidr, k8s};
use regex::RegexSet;
use std::fmt;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::str::FromStr;
use tokio::net::UdpSocket;

/// `--ip-autodetection-method` and `--ip6-autodetection-method`. Of several addresses the first on the newest interface is taken.
#[derive(Clone, Debug)]
pub enum Method {
    /// Of any interface that is not known to be for something else.
    FirstFound,
    /// Inside one of these.
    Inside(Vec<Cidr>),
    /// By which packets to this host leave, an address or a name.
    CanReach(String),
    /// Of interfaces whose name one of these matches, somewhere.
    Interface(RegexSet),
    /// As `FirstFound`, and of none whose name one of these matches.
    SkipInterface(RegexSet),
    /// The `InternalIP` of the Node.
    KubernetesInternalIp,
}

/// A port for a socket that sends nothing.
const ANY_PORT: u16 = 80;

impl Method {
    /// The address of this family that the method names; `None`: it names none, or there is none.
    pub async fn named(&self, family: Family, client: &Client, node: &str) -> Option<IpAddr> {
        match self {
            Method::CanReach(host) => match source_towards(host, family).await {
                Ok(addr) => Some(addr),
                Err(error) => {
                    let flag = family.flag();
                    tracing::warn!(
                        "cannot tell how {host} of {flag}-autodetection-method is reached: {error}"
                    );
                    None
                }
            },
            Method::KubernetesInternalIp => {
                match client.request(Request::Get(Key::cluster(Kind::Node, node))).await {
                    Ok(Some(Object::Node(node))) => internal_ip(&node, family),
                    Ok(_) => None,
                    Err(error) => {
                        tracing::warn!("cannot read the InternalIP of node {node}: {error}");
                        None
                    }
                }
            }
            _ => None,
        }
    }
}

/// The source that the kernel chooses for packets to `host`. Nothing is sent.
async fn source_towards(host: &str, family: Family) -> std::io::Result<IpAddr> {
    let mut addrs = tokio::net::lookup_host((host, ANY_PORT)).await?;
    let addr = addrs.find(|addr| family.has(addr.ip()));
    let addr = addr.ok_or_else(|| std::io::Error::other(format!("it has no {family} address")))?;
    let socket = UdpSocket::bind((family.unspecified(), 0)).await?;
    if family == Family::V6 {
        netlink::addresses::prefer_public(socket.as_fd())?;
    }
    socket.connect(addr).await?;
    Ok(socket.local_addr()?.ip())
}

fn internal_ip(node: &k8s::Node, family: Family) -> Option<IpAddr> {
    let internal = node.status.addresses.iter().filter(|address| address.address_type == "InternalIP");
    internal.filter_map(|address| address.address.parse().ok()).find(|addr| family.has(*addr))
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Method, String> {
        // A variable in a manifest may be there and empty.
        match text {
            "" | "first-found" => return Ok(Method::FirstFound),
            "kubernetes-internal-ip" => return Ok(Method::KubernetesInternalIp),
            _ => {}
        }
        match text.split_once('=') {
            Some(("cidr", list)) => {
                let cidrs: Result<Vec<Cidr>, _> = list.split(',').map(|cidr| cidr.trim().parse()).collect();
                cidrs.map(Method::Inside).map_err(|e| e.to_string())
            }
            Some(("can-reach", host)) if !host.is_empty() => Ok(Method::CanReach(host.to_owned())),
            Some(("interface", list)) => patterns(list).map(Method::Interface),
            Some(("skip-interface", list)) => patterns(list).map(Method::SkipInterface),
            _ => Err(format!(
                "`{text}` is no method: use `first-found`, `cidr=CIDR,…`, `can-reach=HOST`, `interface=REGEX,…`, \
                 `skip-interface=REGEX,…` or `kubernetes-internal-ip`, or give --ip or --ip6 an address"
            )),
        }
    }
}

fn patterns(list: &str) -> Result<RegexSet, String> {
    let words: Vec<&str> = list.split(',').map(str::trim).collect();
    match words.iter().find(|word| word.is_empty()) {
        // It would match every interface.
        Some(_) => Err(format!("`{list}` has an empty part: give regular expressions of interfaces' names")),
        None => RegexSet::new(words).map_err(|e| e.to_string()),
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |words: Vec<String>| words.join(",");
        match self {
            Method::FirstFound => f.write_str("first-found"),
            Method::Inside(cidrs) => {
                write!(f, "cidr={}", list(cidrs.iter().map(Cidr::to_string).collect()))
            }
            Method::CanReach(host) => write!(f, "can-reach={host}"),
            Method::Interface(names) => write!(f, "interface={}", list(names.patterns().to_vec())),
            Method::SkipInterface(names) => write!(f, "skip-interface={}", list(names.patterns().to_vec())),
            Method::KubernetesInternalIp => f.write_str("kubernetes-internal-ip"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_read_as_it_is_written() {
        for text in [
            "first-found",
            "cidr=10.0.0.0/8,192.168.0.0/16",
            "can-reach=www.example.com",
            "interface=eth0,^bond.*",
            "skip-interface=eth.*",
            "kubernetes-internal-ip",
        ] {
            let method: Method = text.parse().expect("it is a method");
            assert_eq!(method.to_string(), text);
        }
        for bad in
            ["last-found", "cidr=10.0.0.1/8", "can-reach=", "interface=", "interface=eth[", "interface=a,,b"]
        {
            assert!(bad.parse::<Method>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn the_way_to_a_host_is_the_kernels() {
        for (host, v4, v6) in [("127.0.0.2", Some("127.0.0.1"), None), ("::1", None, Some("::1"))] {
            for (family, expected) in [(Family::V4, v4), (Family::V6, v6)] {
                let expected = expected.map(|addr| addr.parse().unwrap());
                assert_eq!(source_towards(host, family).await.ok(), expected, "{host} by {family}");
            }
        }
    }

    #[test]
    fn of_a_nodes_addresses_the_internal_one_of_the_family_is_meant() {
        let node = serde_json::json!({"status": {"addresses": [
            {"type": "Hostname", "address": "n1"}, {"type": "ExternalIP", "address": "203.0.113.1"},
            {"type": "ExternalIP", "address": "2001:db8::1"}, {"type": "InternalIP", "address": "fd00::1"},
            {"type": "InternalIP", "address": "10.0.0.5"}]}});
        let node: k8s::Node = serde_json::from_value(node).expect("a Node");
        assert_eq!(internal_ip(&node, Family::V4), Some([10, 0, 0, 5].into()));
        assert_eq!(internal_ip(&node, Family::V6), Some("fd00::1".parse().unwrap()));
        assert_eq!(internal_ip(&k8s::Node::default(), Family::V4), None);
    }
}
