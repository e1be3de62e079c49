//! What the kernel sends about links, addresses, routes, neighbours and forwarding entries, in [`kernel`]'s words.
//! Layouts: `linux/if_link.h`, `linux/if_addr.h`, `linux/rtnetlink.h`, `linux/neighbour.h`, `linux/netconf.h`.
//! What is of another family (multicast routes, MPLS) or makes no sense is left out.

use crate::message::{Attributes, u16_at, u32_at};
use kernel::addr::AddrScope;
use kernel::{
    AddrKey, AddrValue, FdbKey, FdbValue, Key, LinkKey, LinkKind, LinkValue, NeighKey, NeighValue, Netns,
    RouteKey, RouteKind, RouteScope, RouteValue, SysctlKey, SysctlValue, Value, Way,
};
use model::{Cidr, IfAddr, IfName, Mac, Mtu, Vni};
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(crate) mod attr {
    pub const IFLA_ADDRESS: u16 = 1;
    pub const IFLA_IFNAME: u16 = 3;
    pub const IFLA_MTU: u16 = 4;
    pub const IFLA_TXQLEN: u16 = 13;
    pub const IFLA_LINKINFO: u16 = 18;
    pub const IFLA_IFALIAS: u16 = 20;
    pub const IFLA_GROUP: u16 = 27;
    pub const IFLA_NET_NS_FD: u16 = 28;
    pub const IFLA_INFO_KIND: u16 = 1;
    pub const IFLA_INFO_DATA: u16 = 2;
    pub const VETH_INFO_PEER: u16 = 1;
    pub const IFLA_IPTUN_LINK: u16 = 1;
    pub const IFLA_IPTUN_LOCAL: u16 = 2;
    pub const IFLA_IPTUN_REMOTE: u16 = 3;
    pub const IFLA_VXLAN_ID: u16 = 1;
    pub const IFLA_VXLAN_GROUP: u16 = 2;
    pub const IFLA_VXLAN_LINK: u16 = 3;
    pub const IFLA_VXLAN_LOCAL: u16 = 4;
    pub const IFLA_VXLAN_LEARNING: u16 = 7;
    pub const IFLA_VXLAN_PORT: u16 = 15;
    pub const IFLA_VXLAN_GROUP6: u16 = 16;
    pub const IFLA_VXLAN_LOCAL6: u16 = 17;
    pub const IFLA_VXLAN_COLLECT_METADATA: u16 = 25;
    pub const IFA_ADDRESS: u16 = 1;
    pub const IFA_LOCAL: u16 = 2;
    pub const RTA_DST: u16 = 1;
    pub const RTA_OIF: u16 = 4;
    pub const RTA_GATEWAY: u16 = 5;
    pub const RTA_PRIORITY: u16 = 6;
    pub const RTA_PREFSRC: u16 = 7;
    pub const RTA_METRICS: u16 = 8;
    pub const RTA_MULTIPATH: u16 = 9;
    pub const RTA_TABLE: u16 = 15;
    pub const RTAX_MTU: u16 = 2;
    pub const NDA_DST: u16 = 1;
    pub const NDA_LLADDR: u16 = 2;
    pub const NETCONFA_IFINDEX: u16 = 1;
    pub const NETCONFA_FORWARDING: u16 = 2;
    pub const NETCONFA_RP_FILTER: u16 = 3;
    pub const NETCONFA_PROXY_NEIGH: u16 = 5;
}

pub(crate) const AF_INET: u8 = libc::AF_INET as u8;
pub(crate) const AF_INET6: u8 = libc::AF_INET6 as u8;
pub(crate) const AF_BRIDGE: u8 = libc::AF_BRIDGE as u8;
const IFF_UP: u32 = libc::IFF_UP as u32;
pub(crate) const NTF_SELF: u8 = 2;
const NTF_PROXY: u8 = 8;
pub(crate) const NUD_PERMANENT: u16 = 0x80;
const RTM_F_CLONED: u32 = 0x200;
pub(crate) const RTNH_F_ONLINK: u32 = 4;
/// Metric of an IPv6 route that was made without one (`linux/ipv6_route.h`).
const IP6_RT_PRIO_USER: u32 = 1024;
/// `struct rtnexthop`.
pub(crate) const RTNH_HEADER: usize = 8;

/// Interface names by index, of one namespace.
pub(crate) type Names = BTreeMap<u32, IfName>;

/// A link's index and name, if the message is about a link itself (bridge ports send messages of their own family).
pub(crate) fn link_name(body: &[u8]) -> Option<(u32, IfName)> {
    if *body.first()? != 0 {
        return None;
    }
    let name = Attributes::after(body, 16).text(attr::IFLA_IFNAME)?.parse().ok()?;
    Some((u32_at(body, 4)?, name))
}

/// `struct ifinfomsg` and attributes.
pub(crate) fn link(netns: Netns, names: &Names, body: &[u8]) -> Option<(Key, Value)> {
    let (_, name) = link_name(body)?;
    let attributes = Attributes::after(body, 16);
    let value = LinkValue {
        kind: link_kind(attributes, names),
        mac: mac(attributes, attr::IFLA_ADDRESS),
        mtu: attributes.number(attr::IFLA_MTU).map(Mtu),
        up: u32_at(body, 8)? & IFF_UP != 0,
        alias: attributes.text(attr::IFLA_IFALIAS).map(str::to_owned),
    };
    Some((Key::Link(LinkKey { netns, name }), Value::Link(Box::new(value))))
}

fn link_kind(attributes: Attributes<'_>, names: &Names) -> LinkKind {
    let info = attributes.nested(attr::IFLA_LINKINFO);
    let kind = info.and_then(|info| info.text(attr::IFLA_INFO_KIND)).unwrap_or_default();
    let data = info.and_then(|info| info.nested(attr::IFLA_INFO_DATA));
    let vxlan = |data: Attributes<'_>| {
        let flag = |kind| data.get(kind).is_some_and(|value| value != [0]);
        let grouped =
            [attr::IFLA_VXLAN_GROUP, attr::IFLA_VXLAN_GROUP6].iter().any(|kind| data.get(*kind).is_some());
        if grouped || flag(attr::IFLA_VXLAN_LEARNING) || flag(attr::IFLA_VXLAN_COLLECT_METADATA) {
            return None;
        }
        let local = data.get(attr::IFLA_VXLAN_LOCAL).or(data.get(attr::IFLA_VXLAN_LOCAL6));
        Some(LinkKind::Vxlan {
            vni: Vni(data.number(attr::IFLA_VXLAN_ID)?),
            port: u16::from_be_bytes(data.get(attr::IFLA_VXLAN_PORT)?.try_into().ok()?),
            local: address(local?)?,
            device: names.get(&data.number(attr::IFLA_VXLAN_LINK)?)?.clone(),
        })
    };
    // With both ends and the uplink open: what the route says decides.
    let open = |data: Attributes<'_>| {
        [attr::IFLA_IPTUN_LINK, attr::IFLA_IPTUN_LOCAL, attr::IFLA_IPTUN_REMOTE]
            .iter()
            .all(|kind| data.number(*kind).unwrap_or_default() == 0)
    };
    match kind {
        "veth" => LinkKind::Veth { peer: None },
        "ipip" if data.is_some_and(open) => LinkKind::Ipip,
        "ifb" => match mac(attributes, attr::IFLA_ADDRESS) {
            Some(mac) => LinkKind::Ifb { mac },
            None => LinkKind::Other(kind.to_owned()),
        },
        "vxlan" => data.and_then(vxlan).unwrap_or_else(|| LinkKind::Other(kind.to_owned())),
        kind => LinkKind::Other(kind.to_owned()),
    }
}

/// `struct ifaddrmsg` and attributes.
pub(crate) fn addr(netns: Netns, names: &Names, body: &[u8]) -> Option<(Key, Value)> {
    is_ip(*body.first()?).then_some(())?;
    let attributes = Attributes::after(body, 8);
    let bytes = attributes.get(attr::IFA_LOCAL).or(attributes.get(attr::IFA_ADDRESS))?;
    let addr = IfAddr::new(address(bytes)?, *body.get(1)?)?;
    let scope = match *body.get(3)? {
        0 => AddrScope::Global,
        libc::RT_SCOPE_LINK => AddrScope::Link,
        libc::RT_SCOPE_HOST => AddrScope::Host,
        _ => return None,
    };
    let device = names.get(&u32_at(body, 4)?)?.clone();
    Some((Key::Addr(AddrKey { netns, device, addr }), Value::Addr(AddrValue { scope })))
}

/// `struct rtmsg` and attributes. Only the main table (the local one is the kernel's) and only routes for every type of
/// service: a route for one is never ours, and its key would be taken for that of another.
pub(crate) fn route(netns: Netns, names: &Names, body: &[u8]) -> Option<(Key, Value)> {
    let family = *body.first()?;
    is_ip(family).then_some(())?;
    let attributes = Attributes::after(body, 12);
    let table = attributes.number(attr::RTA_TABLE).unwrap_or(u32::from(*body.get(4)?));
    let flags = u32_at(body, 8)?;
    let type_of_service = *body.get(3)?;
    if table != kernel::route::TABLE_MAIN || flags & RTM_F_CLONED != 0 || type_of_service != 0 {
        return None;
    }
    let addr = match attributes.get(attr::RTA_DST) {
        Some(bytes) => address(bytes)?,
        None if family == AF_INET => IpAddr::from([0; 4]),
        None => IpAddr::from([0; 16]),
    };
    let dst = Cidr::containing(addr, *body.get(1)?)?;
    let kind = match *body.get(7)? {
        libc::RTN_UNICAST => RouteKind::Unicast,
        libc::RTN_BLACKHOLE => RouteKind::Blackhole,
        other => RouteKind::Other(other),
    };
    let device = attributes.number(attr::RTA_OIF).and_then(|index| names.get(&index)).cloned();
    let mut also = ways(names, attributes.get(attr::RTA_MULTIPATH).unwrap_or_default()).unwrap_or_default();
    let first = (!also.is_empty()).then(|| also.remove(0));
    let (gateway, device, onlink) = match first {
        Some((way, onlink)) => (Some(way.gateway), Some(way.device), onlink),
        None => (attributes.get(attr::RTA_GATEWAY).and_then(address), device, flags & RTNH_F_ONLINK != 0),
    };
    let value = RouteValue {
        kind,
        gateway,
        // IPv6 says `lo` of a black hole.
        device: device.filter(|_| kind != RouteKind::Blackhole),
        scope: match *body.get(6)? {
            libc::RT_SCOPE_UNIVERSE => RouteScope::Universe,
            libc::RT_SCOPE_LINK => RouteScope::Link,
            libc::RT_SCOPE_HOST => RouteScope::Host,
            other => RouteScope::Other(other),
        },
        onlink,
        protocol: *body.get(5)?,
        source: attributes.get(attr::RTA_PREFSRC).and_then(address),
        mtu: attributes.nested(attr::RTA_METRICS).and_then(|metrics| metrics.number(attr::RTAX_MTU)).map(Mtu),
        also: also.into_iter().map(|(way, _)| way).collect(),
    };
    let is_default = |metric: &u32| family == AF_INET6 && *metric == IP6_RT_PRIO_USER;
    let priority = attributes.number(attr::RTA_PRIORITY).filter(|metric| !is_default(metric)).unwrap_or(0);
    Some((Key::Route(RouteKey { netns, table, dst, priority }), Value::Route(value)))
}

/// The ways of `RTA_MULTIPATH`, and whether each is on the link although no address says so. `None`: one is of a sort that
/// no route of ours has.
fn ways(names: &Names, mut rest: &[u8]) -> Option<Vec<(Way, bool)>> {
    let mut ways = Vec::new();
    while rest.len() >= RTNH_HEADER {
        let length = usize::from(u16_at(rest, 0)?);
        let way = rest.get(..length).filter(|way| way.len() >= RTNH_HEADER)?;
        let device = names.get(&u32_at(way, 4)?)?.clone();
        let gateway = address(Attributes::after(way, RTNH_HEADER).get(attr::RTA_GATEWAY)?)?;
        ways.push((Way { gateway, device }, u32::from(way[2]) & RTNH_F_ONLINK != 0));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(ways)
}

/// `struct ndmsg` and attributes: a neighbour whose MAC is known, or of family bridge a forwarding entry of a VXLAN device.
pub(crate) fn neigh(netns: Netns, names: &Names, body: &[u8]) -> Option<(Key, Value)> {
    let key = neigh_key(netns, names, body)?;
    let attributes = Attributes::after(body, 12);
    let permanent = u16_at(body, 8)? & NUD_PERMANENT != 0;
    let value = match key {
        Key::Fdb(_) => {
            let dst = attributes.get(attr::NDA_DST).and_then(address)?;
            Value::Fdb(FdbValue { dst, permanent })
        }
        _ => Value::Neigh(NeighValue { mac: mac(attributes, attr::NDA_LLADDR)?, permanent }),
    };
    Some((key, value))
}

/// The key of a neighbour or forwarding entry. A neighbour that is gone, or whose MAC is not known, has no more than that.
pub(crate) fn neigh_key(netns: Netns, names: &Names, body: &[u8]) -> Option<Key> {
    let (family, flags) = (*body.first()?, *body.get(10)?);
    let attributes = Attributes::after(body, 12);
    let device = names.get(&u32_at(body, 4)?)?.clone();
    if family == AF_BRIDGE && flags & NTF_SELF != 0 {
        return Some(Key::Fdb(FdbKey { netns, device, mac: mac(attributes, attr::NDA_LLADDR)? }));
    }
    (is_ip(family) && flags & NTF_PROXY == 0).then_some(())?;
    let addr = attributes.get(attr::NDA_DST).and_then(address)?;
    Some(Key::Neigh(NeighKey { netns, device, addr }))
}

/// `struct netconfmsg` and attributes of IPv4: the settings of a device, of `all` or of `default` that the message tells of.
pub(crate) fn settings(netns: Netns, names: &Names, body: &[u8]) -> Vec<(Key, Value)> {
    let attributes = Attributes::after(body, 4);
    let (Some(&AF_INET), Some(place)) = (body.first(), place(names, attributes)) else { return Vec::new() };
    let setting = |path: String, value: u32| {
        // The kernel's numbers are signed.
        let text = (value as i32).to_string();
        (Key::Sysctl(SysctlKey { netns, path }), Value::Sysctl(SysctlValue(text)))
    };
    let told = SETTINGS.iter().filter_map(|(attribute, name)| {
        let value = attributes.number(*attribute)?;
        Some(setting(format!("net/ipv4/conf/{place}/{name}"), value))
    });
    let everywhere = attributes.number(attr::NETCONFA_FORWARDING).filter(|_| place == ALL);
    told.chain(everywhere.map(|value| setting("net/ipv4/ip_forward".into(), value))).collect()
}

/// The keys of [`settings`] of a device that is gone.
pub(crate) fn settings_keys(netns: Netns, names: &Names, body: &[u8]) -> Vec<Key> {
    let place = place(names, Attributes::after(body, 4)).filter(|_| body.first() == Some(&AF_INET));
    let path = |name| place.as_ref().map(|place| format!("net/ipv4/conf/{place}/{name}"));
    let paths = SETTINGS.iter().filter_map(|(_, name)| path(name));
    paths.map(|path| Key::Sysctl(SysctlKey { netns, path })).collect()
}

/// What the kernel tells of, and its name under `/proc/sys/net/ipv4/conf/…` (`inet_netconf_fill_devconf`).
const SETTINGS: [(u16, &str); 3] = [
    (attr::NETCONFA_FORWARDING, "forwarding"),
    (attr::NETCONFA_RP_FILTER, "rp_filter"),
    (attr::NETCONFA_PROXY_NEIGH, "proxy_arp"),
];
const ALL: &str = "all";

fn place(names: &Names, attributes: Attributes<'_>) -> Option<String> {
    const IFINDEX_ALL: i32 = -1;
    const IFINDEX_DEFAULT: i32 = -2;
    let index = attributes.number(attr::NETCONFA_IFINDEX)?;
    match index as i32 {
        IFINDEX_ALL => Some(ALL.to_owned()),
        IFINDEX_DEFAULT => Some("default".to_owned()),
        _ => names.get(&index).map(IfName::to_string),
    }
}

fn is_ip(family: u8) -> bool {
    matches!(family, AF_INET | AF_INET6)
}

fn mac(attributes: Attributes<'_>, attribute: u16) -> Option<Mac> {
    Some(Mac(attributes.get(attribute)?.try_into().ok()?))
}

/// An address by its length.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// An address as bytes.
pub(crate) enum Octets {
    V4([u8; 4]),
    V6([u8; 16]),
}

pub(crate) fn octets(addr: IpAddr) -> Octets {
    match addr {
        IpAddr::V4(addr) => Octets::V4(addr.octets()),
        IpAddr::V6(addr) => Octets::V6(addr.octets()),
    }
}

impl AsRef<[u8]> for Octets {
    fn as_ref(&self) -> &[u8] {
        match self {
            Octets::V4(bytes) => bytes,
            Octets::V6(bytes) => bytes,
        }
    }
}
