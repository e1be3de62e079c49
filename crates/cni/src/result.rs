//! Results, printed in each version's form and read back from `prevResult` (specification §5 "Success").
//!
//! Up to 0.2.0 a result is `ip4` and `ip6`; from 0.3.0 lists of interfaces and addresses, each address with its family in
//! `version` until 1.0.0 dropped that; interfaces carry their MTU from 1.0.0 on, and until then there is a `dns` of which
//! nothing is said, as Calico's plugin prints it.

use crate::error::Error;
use crate::version::Version;
use model::{Cidr, IfName};
use node::cni::Added;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

/// Prints what a pod got.
pub(crate) fn print(added: &Added, version: Version) -> String {
    if version <= Version::V0_2_0 {
        pretty(&Old::of(added, version))
    } else {
        pretty(&New::of(added, version))
    }
}

/// JSON as Calico's plugin indents it.
pub(crate) fn pretty(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, format);
    value.serialize(&mut serializer).expect("texts and numbers can always be written");
    String::from_utf8(out).expect("JSON is UTF-8")
}

#[derive(Serialize)]
struct Old {
    #[serde(rename = "cniVersion")]
    cni_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip4: Option<OldIp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6: Option<OldIp>,
    dns: Dns,
}

#[derive(Serialize)]
struct OldIp {
    ip: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
}

#[derive(Serialize, Deserialize)]
struct New {
    #[serde(rename = "cniVersion", default)]
    cni_version: String,
    #[serde(default)]
    interfaces: Vec<Interface>,
    #[serde(default)]
    ips: Vec<Ip>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    dns: Option<Dns>,
}

/// Pods' name servers are the kubelet's to choose.
#[derive(Serialize)]
struct Dns {}

#[derive(Serialize, Deserialize)]
struct Interface {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    mac: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(default)]
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    sandbox: String,
}

#[derive(Serialize, Deserialize)]
struct Ip {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interface: Option<usize>,
}

#[derive(Serialize, Deserialize)]
struct Route {
    dst: String,
}

impl Old {
    fn of(added: &Added, version: Version) -> Old {
        let family = |v4: bool| {
            let addr = added.addresses.iter().find(|addr| addr.is_ipv4() == v4)?;
            let routes = added.routes.iter().filter(|cidr| cidr.addr().is_ipv4() == v4);
            Some(OldIp { ip: host_prefix(addr), routes: routes.map(Route::of).collect() })
        };
        Old { cni_version: version.as_str(), ip4: family(true), ip6: family(false), dns: Dns {} }
    }
}

impl New {
    fn of(added: &Added, version: Version) -> New {
        let since_1_0 = version >= Version::V1_0_0;
        let host = Interface {
            mac: String::new(),
            mtu: None,
            name: added.host_interface.clone(),
            sandbox: String::new(),
        };
        let pod = Interface {
            mac: added.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            mtu: added.mtu.map(|mtu| mtu.0).filter(|_| since_1_0),
            name: added.interface.clone(),
            sandbox: added.netns.clone(),
        };
        let ip = |addr: &IpAddr| Ip {
            version: (!since_1_0).then(|| if addr.is_ipv4() { "4".into() } else { "6".into() }),
            address: host_prefix(addr),
            interface: Some(1),
        };
        New {
            cni_version: version.as_str().to_owned(),
            interfaces: vec![host, pod],
            ips: added.addresses.iter().map(ip).collect(),
            routes: added.routes.iter().map(Route::of).collect(),
            dns: (!since_1_0).then_some(Dns {}),
        }
    }
}

impl Route {
    fn of(cidr: &Cidr) -> Route {
        Route { dst: cidr.to_string() }
    }
}

fn host_prefix(addr: &IpAddr) -> String {
    format!("{addr}/{}", if addr.is_ipv4() { 32 } else { 128 })
}

/// What of a `prevResult` is this plugin's: the pod's interface of that name, its other end, and the addresses of either.
/// A plugin further down the chain may have added the rest.
pub(crate) fn previous(value: &Value, interface: &IfName) -> Result<Added, Error> {
    let bad = |why: String| Error::PreviousResult(why);
    let result = New::deserialize(value).map_err(|e| bad(e.to_string()))?;
    let is_pods = |i: &Interface| !i.sandbox.is_empty() && i.name == interface.as_str();
    let index = result.interfaces.iter().position(is_pods);
    let index = index.ok_or_else(|| bad(format!("it has no interface {interface} of the pod")))?;
    let pod = &result.interfaces[index];
    let host = result.interfaces.iter().find(|i| i.sandbox.is_empty());
    let mac = Some(pod.mac.as_str()).filter(|mac| !mac.is_empty());
    let addresses = result.ips.iter().filter(|ip| ip.interface.is_none_or(|i| i == index));
    let addresses = addresses.map(|ip| {
        let addr = ip.address.split_once('/').map_or(ip.address.as_str(), |(addr, _)| addr);
        addr.parse().map_err(|_| bad(format!("`{}` is no address", ip.address)))
    });
    Ok(Added {
        host_interface: host.map(|host| host.name.clone()).unwrap_or_default(),
        interface: pod.name.clone(),
        mac: mac.map(str::parse).transpose().map_err(|e: model::mac::MacError| bad(e.to_string()))?,
        mtu: pod.mtu.map(model::Mtu),
        netns: pod.sandbox.clone(),
        addresses: addresses.collect::<Result<_, _>>()?,
        // Routes of the pod are the agent's to know: the list may hold what Calico's IPAM wrote there, with host bits set.
        routes: Vec::new(),
    })
}
