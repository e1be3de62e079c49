//! The messages that make, change and remove objects. Layouts as in `parse`.

use crate::message::Message;
use crate::parse::{
    self, AF_BRIDGE, AF_INET, AF_INET6, NTF_SELF, NUD_PERMANENT, RTNH_F_ONLINK, RTNH_HEADER, attr, octets,
};
use crate::socket::Socket;
use kernel::addr::AddrScope;
use kernel::{
    AddrKey, AddrValue, FdbKey, FdbValue, LinkKind, LinkValue, NeighKey, NeighValue, RouteKey, RouteKind,
    RouteScope, RouteValue, VethPeer,
};
use model::IfName;
use std::net::{IpAddr, Ipv4Addr};

const CREATE: u16 = libc::NLM_F_CREATE as u16;
const EXCL: u16 = libc::NLM_F_EXCL as u16;
const REPLACE: u16 = libc::NLM_F_REPLACE as u16;
const IFF_UP: u32 = libc::IFF_UP as u32;

/// Whether the key must be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Create,
    Replace,
}

impl Write {
    fn flags(self) -> u16 {
        match self {
            Write::Create => CREATE | EXCL,
            Write::Replace => CREATE | REPLACE,
        }
    }
}

/// `struct ifinfomsg` with flags to set.
fn ifinfo(flags: u32, change: u32) -> [u8; 16] {
    let mut fixed = [0; 16];
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..].copy_from_slice(&change.to_ne_bytes());
    fixed
}

fn new_link(name: &IfName, wanted: &LinkValue) -> Message {
    Message::new(libc::RTM_NEWLINK, CREATE | EXCL, &ifinfo(0, 0))
        .text(attr::IFLA_IFNAME, name.as_str())
        .attr_opt(attr::IFLA_MTU, wanted.mtu.map(|mtu| mtu.0.to_ne_bytes()))
        .attr_opt(attr::IFLA_ADDRESS, wanted.mac.map(|mac| mac.0))
}

pub(crate) fn veth(name: &IfName, wanted: &LinkValue, peer: &VethPeer, netns: i32) -> Message {
    new_link(name, wanted).nest(attr::IFLA_LINKINFO, &[], |info| {
        info.attr(attr::IFLA_INFO_KIND, b"veth").nest(attr::IFLA_INFO_DATA, &[], |data| {
            data.nest(attr::VETH_INFO_PEER, &ifinfo(0, 0), |other| {
                other
                    .text(attr::IFLA_IFNAME, peer.key.name.as_str())
                    .attr(attr::IFLA_NET_NS_FD, &netns.to_ne_bytes())
                    .attr_opt(attr::IFLA_MTU, peer.mtu.map(|mtu| mtu.0.to_ne_bytes()))
                    .attr_opt(attr::IFLA_ADDRESS, peer.mac.map(|mac| mac.0))
            })
        })
    })
}

/// A device that has nothing but a kind to tell. Its queue is as long as the kernel's `tunl0` has it.
pub(crate) fn plain_link(name: &IfName, wanted: &LinkValue, kind: &str) -> Message {
    new_link(name, wanted).attr(attr::IFLA_TXQLEN, &1000_u32.to_ne_bytes()).nest(
        attr::IFLA_LINKINFO,
        &[],
        |info| info.attr(attr::IFLA_INFO_KIND, kind.as_bytes()),
    )
}

/// A tunnel of IP in IP with a far end.
pub(crate) fn ipip_to(name: &IfName, remote: Ipv4Addr) -> Message {
    Message::new(libc::RTM_NEWLINK, CREATE | EXCL, &ifinfo(0, 0)).text(attr::IFLA_IFNAME, name.as_str()).nest(
        attr::IFLA_LINKINFO,
        &[],
        |info| {
            info.attr(attr::IFLA_INFO_KIND, b"ipip")
                .nest(attr::IFLA_INFO_DATA, &[], |data| data.attr(attr::IFLA_IPTUN_REMOTE, &remote.octets()))
        },
    )
}

/// # Panics
/// If `wanted` is no VXLAN device.
pub(crate) fn vxlan(name: &IfName, wanted: &LinkValue, parent: u32) -> Message {
    let LinkKind::Vxlan { vni, port, local, .. } = &wanted.kind else { unreachable!("a VXLAN device") };
    let local_kind = if local.is_ipv4() { attr::IFLA_VXLAN_LOCAL } else { attr::IFLA_VXLAN_LOCAL6 };
    // A queue length of 0 is what Calico's device has.
    new_link(name, wanted).attr(attr::IFLA_TXQLEN, &0_u32.to_ne_bytes()).nest(
        attr::IFLA_LINKINFO,
        &[],
        |info| {
            info.attr(attr::IFLA_INFO_KIND, b"vxlan").nest(attr::IFLA_INFO_DATA, &[], |data| {
                data.attr(attr::IFLA_VXLAN_ID, &vni.0.to_ne_bytes())
                    .attr(attr::IFLA_VXLAN_LINK, &parent.to_ne_bytes())
                    .attr(local_kind, octets(*local).as_ref())
                    .attr(attr::IFLA_VXLAN_LEARNING, &[0])
                    .attr(attr::IFLA_VXLAN_PORT, &port.to_be_bytes())
            })
        },
    )
}

/// Sets what an existing link should have, by its name, and has not got yet. A link whose MAC is written forgets its neighbours,
/// permanent ones too, also where it is the MAC that it has (`neigh_changeaddr`).
pub(crate) fn link_settings(name: &IfName, found: Option<&LinkValue>, wanted: &LinkValue) -> Message {
    let mtu = wanted.mtu.filter(|_| wanted.mtu != found.and_then(|found| found.mtu));
    let mac = wanted.mac.filter(|_| wanted.mac != found.and_then(|found| found.mac));
    Message::new(libc::RTM_SETLINK, 0, &ifinfo(0, 0))
        .text(attr::IFLA_IFNAME, name.as_str())
        .attr_opt(attr::IFLA_MTU, mtu.map(|mtu| mtu.0.to_ne_bytes()))
        .attr_opt(attr::IFLA_ADDRESS, mac.map(|mac| mac.0))
}

pub(crate) fn alias(name: &IfName, alias: &str) -> Message {
    Message::new(libc::RTM_SETLINK, 0, &ifinfo(0, 0))
        .text(attr::IFLA_IFNAME, name.as_str())
        .attr(attr::IFLA_IFALIAS, alias.as_bytes())
}

pub(crate) fn link_up(name: &IfName) -> Message {
    Message::new(libc::RTM_SETLINK, 0, &ifinfo(IFF_UP, IFF_UP)).text(attr::IFLA_IFNAME, name.as_str())
}

pub(crate) fn del_link(name: &IfName) -> Message {
    Message::new(libc::RTM_DELLINK, 0, &ifinfo(0, 0)).text(attr::IFLA_IFNAME, name.as_str())
}

/// Puts an interface into a group.
pub(crate) fn link_group(name: &IfName, group: u32) -> Message {
    Message::new(libc::RTM_SETLINK, 0, &ifinfo(0, 0))
        .text(attr::IFLA_IFNAME, name.as_str())
        .attr(attr::IFLA_GROUP, &group.to_ne_bytes())
}

/// Removes every interface of a group (`rtnl_group_dellink`).
pub(crate) fn del_group(group: u32) -> Message {
    Message::new(libc::RTM_DELLINK, 0, &ifinfo(0, 0)).attr(attr::IFLA_GROUP, &group.to_ne_bytes())
}

/// The index of an interface.
pub(crate) fn query_index(socket: &mut Socket, name: &IfName) -> Option<u32> {
    let query = Message::new(libc::RTM_GETLINK, 0, &ifinfo(0, 0)).text(attr::IFLA_IFNAME, name.as_str());
    let found = socket.ask(query).ok()?;
    parse::link_name(&found).map(|(index, _)| index)
}

fn addr_message(kind: u16, flags: u16, key: &AddrKey, scope: u8, index: u32) -> Message {
    let mut fixed = [family(key.addr.addr()), key.addr.len(), 0, scope, 0, 0, 0, 0];
    fixed[4..].copy_from_slice(&index.to_ne_bytes());
    let octets = octets(key.addr.addr());
    Message::new(kind, flags, &fixed)
        .attr(attr::IFA_LOCAL, octets.as_ref())
        .attr(attr::IFA_ADDRESS, octets.as_ref())
}

pub(crate) fn addr(key: &AddrKey, wanted: AddrValue, index: u32) -> Message {
    let scope = match wanted.scope {
        AddrScope::Global => libc::RT_SCOPE_UNIVERSE,
        AddrScope::Link => libc::RT_SCOPE_LINK,
        AddrScope::Host => libc::RT_SCOPE_HOST,
    };
    addr_message(libc::RTM_NEWADDR, CREATE | EXCL, key, scope, index)
}

pub(crate) fn del_addr(key: &AddrKey, index: u32) -> Message {
    addr_message(libc::RTM_DELADDR, 0, key, 0, index)
}

/// `struct ndmsg`.
fn ndmsg(family: u8, index: u32, flags: u8) -> [u8; 12] {
    let mut fixed = [0; 12];
    fixed[0] = family;
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
    fixed[10] = flags;
    fixed
}

/// What the kernel learnt itself under the key gives way.
pub(crate) fn neigh(key: &NeighKey, wanted: NeighValue, index: u32) -> Message {
    Message::new(libc::RTM_NEWNEIGH, CREATE | REPLACE, &ndmsg(family(key.addr), index, 0))
        .attr(attr::NDA_DST, octets(key.addr).as_ref())
        .attr(attr::NDA_LLADDR, &wanted.mac.0)
}

pub(crate) fn del_neigh(key: &NeighKey, index: u32) -> Message {
    Message::new(libc::RTM_DELNEIGH, 0, &ndmsg(family(key.addr), index, 0))
        .attr(attr::NDA_DST, octets(key.addr).as_ref())
}

pub(crate) fn fdb(key: &FdbKey, wanted: FdbValue, index: u32) -> Message {
    Message::new(libc::RTM_NEWNEIGH, CREATE | REPLACE, &ndmsg(AF_BRIDGE, index, NTF_SELF))
        .attr(attr::NDA_LLADDR, &key.mac.0)
        .attr(attr::NDA_DST, octets(wanted.dst).as_ref())
}

pub(crate) fn del_fdb(key: &FdbKey, found: FdbValue, index: u32) -> Message {
    Message::new(libc::RTM_DELNEIGH, 0, &ndmsg(AF_BRIDGE, index, NTF_SELF))
        .attr(attr::NDA_LLADDR, &key.mac.0)
        .attr(attr::NDA_DST, octets(found.dst).as_ref())
}

fn route_message(kind: u16, flags: u16, key: &RouteKey, value: &RouteValue, scope: u8) -> Message {
    let kind_of_route = match value.kind {
        RouteKind::Unicast => libc::RTN_UNICAST,
        RouteKind::Blackhole => libc::RTN_BLACKHOLE,
        RouteKind::Other(other) => other,
    };
    let (table, large) = match u8::try_from(key.table) {
        Ok(table) => (table, None),
        Err(_) => (libc::RT_TABLE_COMPAT, Some(key.table.to_ne_bytes())),
    };
    let mut fixed = [
        family(key.dst.addr()),
        key.dst.len(),
        0,
        0,
        table,
        value.protocol,
        scope,
        kind_of_route,
        0,
        0,
        0,
        0,
    ];
    if value.onlink && value.also.is_empty() && kind == libc::RTM_NEWROUTE {
        fixed[8..].copy_from_slice(&RTNH_F_ONLINK.to_ne_bytes());
    }
    let dst = (!key.dst.is_default()).then(|| octets(key.dst.addr()));
    let priority = (key.priority != 0).then(|| key.priority.to_ne_bytes());
    Message::new(kind, flags, &fixed)
        .attr_opt(attr::RTA_DST, dst)
        .attr_opt(attr::RTA_TABLE, large)
        .attr_opt(attr::RTA_PRIORITY, priority)
}

/// Where a route leads: `indexes` are of its device, if it has one, and of the devices of its further ways.
fn ways(message: Message, value: &RouteValue, indexes: &[u32]) -> Message {
    if value.also.is_empty() {
        return message
            .attr_opt(attr::RTA_GATEWAY, value.gateway.map(octets))
            .attr_opt(attr::RTA_OIF, indexes.first().map(|index| index.to_ne_bytes()));
    }
    let gateways = value.gateway.into_iter().chain(value.also.iter().map(|way| way.gateway));
    let mut ways = Vec::new();
    for (gateway, index) in gateways.zip(indexes) {
        let gateway = octets(gateway);
        let gateway: &[u8] = gateway.as_ref();
        // A header, then one attribute; both are multiples of four octets.
        let attribute = u16::try_from(4 + gateway.len()).expect("an address is short");
        let length = attribute + u16::try_from(RTNH_HEADER).expect("a header is short");
        ways.extend(length.to_ne_bytes());
        ways.extend([if value.onlink { RTNH_F_ONLINK as u8 } else { 0 }, 0]);
        ways.extend(index.to_ne_bytes());
        ways.extend(attribute.to_ne_bytes());
        ways.extend(attr::RTA_GATEWAY.to_ne_bytes());
        ways.extend(gateway);
    }
    message.attr(attr::RTA_MULTIPATH, &ways)
}

pub(crate) fn route(key: &RouteKey, wanted: &RouteValue, indexes: &[u32], how: Write) -> Message {
    let scope = match wanted.scope {
        RouteScope::Universe => libc::RT_SCOPE_UNIVERSE,
        RouteScope::Link => libc::RT_SCOPE_LINK,
        RouteScope::Host => libc::RT_SCOPE_HOST,
        RouteScope::Other(other) => other,
    };
    let message = route_message(libc::RTM_NEWROUTE, how.flags(), key, wanted, scope);
    let message = ways(message, wanted, indexes).attr_opt(attr::RTA_PREFSRC, wanted.source.map(octets));
    match wanted.mtu {
        None => message,
        Some(mtu) => {
            message.nest(attr::RTA_METRICS, &[], |metrics| metrics.attr(attr::RTAX_MTU, &mtu.0.to_ne_bytes()))
        }
    }
}

/// Only a route of the same protocol and kind that leads the same way goes. Of several metrics a request for metric 0
/// means any: the way is what tells another's route from ours.
pub(crate) fn del_route(key: &RouteKey, found: &RouteValue, indexes: &[u32]) -> Message {
    let message = route_message(libc::RTM_DELROUTE, 0, key, found, libc::RT_SCOPE_NOWHERE);
    ways(message, found, indexes)
}

fn family(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { AF_INET } else { AF_INET6 }
}
