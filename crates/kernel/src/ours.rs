//! Which kernel objects are ours. The answer comes from the object alone, so that a restarted agent, or another version of
//! it, gives the same.

use crate::{Filter, Key, LinkKind, RouteKind, Value, filter, nft, route};
use model::IfName;

/// How the names of pods' host interfaces begin.
const WORKLOAD_PREFIX: &str = "cali";
/// The VXLAN device of IPv4, by Calico's name.
pub const VXLAN_DEVICE: &str = "vxlan.calico";
/// The device of IP in IP, by the kernel's own name for it.
pub const IPIP_DEVICE: &str = "tunl0";
/// VXLAN devices that are ours by name.
const VXLAN: [&str; 2] = [VXLAN_DEVICE, "vxlan-v6.calico"];

/// Whether we may change or remove the object.
///
/// | kind | ours if |
/// |---|---|
/// | link | a VXLAN device by one of our names, a veth whose name begins with `cali`; `tunl0`, the kernel's (which [`stays`]) or our ifb |
/// | address | on one of our links, except link-local IPv6 (the kernel's) |
/// | neighbour, forwarding entry | permanent and unicast, on one of our links |
/// | route | protocol 80, or directly connected on a `cali…` device; and what Calico leaves on our tunnels |
/// | place for filters | never: others' filters may be in it |
/// | filter | a name of ours, at our priority and handle |
/// | rules | table `inet calico` or `arp calico` |
/// | setting | always: only settings that are wanted are ever looked at |
///
/// In a pod's namespace everything that is wanted is ours, and nothing else is looked at.
pub fn ours(key: &Key, value: &Value) -> bool {
    if key.netns() != crate::Netns::Host {
        return true;
    }
    match (key, value) {
        (Key::Link(key), Value::Link(link)) => match link.kind {
            LinkKind::Vxlan { .. } => is_vxlan(&key.name),
            LinkKind::Ipip | LinkKind::Ifb { .. } => key.name.as_str() == IPIP_DEVICE,
            LinkKind::Veth { .. } => is_workload(&key.name),
            // With settings that ours never has: a device of our name all the same.
            LinkKind::Other(ref kind) => kind == "vxlan" && is_vxlan(&key.name),
        },
        (Key::Addr(key), _) => is_ours(&key.device) && !is_link_local(key.addr.addr()),
        (Key::Neigh(key), Value::Neigh(neigh)) => {
            neigh.permanent && neigh.mac.is_unicast() && is_ours(&key.device)
        }
        (Key::Fdb(key), Value::Fdb(fdb)) => fdb.permanent && key.mac.is_unicast() && is_ours(&key.device),
        (Key::Route(_), Value::Route(found)) => {
            let on = |test: fn(&IfName) -> bool| found.device.as_ref().is_some_and(test);
            found.protocol == route::PROTO_CALICO
                || on(is_workload)
                    && found.scope == crate::RouteScope::Link
                    && found.protocol != route::PROTO_KERNEL
                || on(is_vxlan) && found.protocol == route::PROTO_BOOT
        }
        (Key::Nft(key), _) => key.name == nft::TABLE_CALICO,
        (Key::Clsact(_), _) => false,
        (Key::Filter(_), Value::Filter(Filter::Other(name))) => name.starts_with(filter::NAMES),
        (Key::Filter(_), _) => true,
        (Key::Sysctl(_), _) => true,
        (key, value) => unreachable!("a key and a value of different kinds: {key:?}, {value:?}"),
    }
}

/// Whether it is a route as Calico's BIRD makes it for a pool: to another node, through `tunl0` or an `uplink`, or the blackhole
/// of a block of this node. Anybody's BIRD makes such routes: whose it is the object alone does not tell.
pub fn may_be_birds(value: &Value, uplink: impl Fn(&IfName) -> bool) -> bool {
    let Value::Route(route) = value else { return false };
    let leads_there = match (&route.kind, &route.device) {
        (RouteKind::Unicast, Some(device)) => {
            route.gateway.is_some() && (device.as_str() == IPIP_DEVICE || uplink(device))
        }
        (RouteKind::Blackhole, _) => true,
        _ => false,
    };
    route.protocol == route::PROTO_BIRD && leads_there
}

/// Whether the object stays when it is no longer wanted: the kernel's own `tunl0`, which nobody can remove.
pub fn stays(value: &Value) -> bool {
    matches!(value, Value::Link(link) if link.kind == LinkKind::Ipip)
}

/// Whether a pod's host interface has this name, or could have.
pub fn is_workload(name: &IfName) -> bool {
    name.as_str().starts_with(WORKLOAD_PREFIX)
}

fn is_vxlan(name: &IfName) -> bool {
    VXLAN.contains(&name.as_str())
}

fn is_tunnel(name: &IfName) -> bool {
    is_vxlan(name) || name.as_str() == IPIP_DEVICE
}

fn is_ours(name: &IfName) -> bool {
    is_workload(name) || is_tunnel(name)
}

fn is_link_local(addr: std::net::IpAddr) -> bool {
    matches!(addr, std::net::IpAddr::V6(addr) if addr.segments()[0] & 0xffc0 == 0xfe80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::AddrScope;
    use crate::{
        AddrKey, AddrValue, FdbKey, FdbValue, LinkKey, LinkValue, NeighKey, NeighValue, Netns, PodNs,
        RouteKey, RouteScope, RouteValue, SysctlKey, SysctlValue,
    };
    use model::{Mac, Vni};

    const HOST: Netns = Netns::Host;
    const UNICAST: Mac = Mac([0x66, 1, 2, 3, 4, 5]);
    const MULTICAST: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);

    #[test]
    fn links_are_ours_by_name_and_kind() {
        let vxlan = LinkKind::Vxlan {
            vni: Vni(4096),
            port: 4789,
            local: [192, 168, 50, 161].into(),
            device: IfName::fixed("ens192"),
        };
        let veth = LinkKind::Veth { peer: None };
        let other = |kind: &str| LinkKind::Other(kind.to_owned());
        for (name, kind, expected) in [
            ("vxlan.calico", vxlan.clone(), true),
            ("vxlan-v6.calico", vxlan.clone(), true),
            ("vxlan.calico", other("vxlan"), true),
            ("vxlan.calico", other("dummy"), false),
            ("flannel.1", vxlan.clone(), false),
            ("flannel.1", other("vxlan"), false),
            ("cali7f94ce7c295", veth.clone(), true),
            ("cali7f94ce7c295", other("dummy"), false),
            ("cali7f94ce7c295", vxlan, false),
            ("veth0", veth, false),
            ("tunl0", LinkKind::Ipip, true),
            ("tunl0", LinkKind::Ifb { mac: UNICAST }, true),
            ("tunl0", other("ipip"), false),
            ("tunl1", LinkKind::Ipip, false),
            ("ifb0", LinkKind::Ifb { mac: UNICAST }, false),
            ("eth0", other(""), false),
        ] {
            let key = Key::Link(LinkKey { netns: HOST, name: IfName::fixed(name) });
            let link = LinkValue { kind, mac: None, mtu: None, up: true, alias: None };
            let shown = format!("{key} {link}");
            assert_eq!(ours(&key, &Value::Link(Box::new(link))), expected, "{shown}");
        }
    }

    #[test]
    fn addresses_neighbours_and_forwarding_entries_are_ours_on_our_links() {
        for (device, addr, expected) in [
            ("vxlan.calico", "6.2.137.65/32", true),
            ("cali7f94ce7c295", "169.254.1.1/32", true),
            ("vxlan.calico", "fd00::1/128", true),
            ("vxlan.calico", "fe80::1/64", false),
            ("ens192", "192.168.50.161/24", false),
        ] {
            let addr = addr.parse().unwrap();
            let key = Key::Addr(AddrKey { netns: HOST, device: IfName::fixed(device), addr });
            assert_eq!(ours(&key, &Value::Addr(AddrValue { scope: AddrScope::Global })), expected, "{key}");
        }
        for (device, mac, permanent, expected) in [
            ("vxlan.calico", UNICAST, true, true),
            ("cali7f94ce7c295", UNICAST, true, true),
            ("vxlan.calico", UNICAST, false, false),
            ("vxlan.calico", MULTICAST, true, false),
            ("ens192", UNICAST, true, false),
        ] {
            let device = IfName::fixed(device);
            let dst = [192, 168, 50, 162].into();
            let neigh = Key::Neigh(NeighKey { netns: HOST, device: device.clone(), addr: dst });
            assert_eq!(ours(&neigh, &Value::Neigh(NeighValue { mac, permanent })), expected, "{neigh} {mac}");
            let fdb = Key::Fdb(FdbKey { netns: HOST, device, mac });
            assert_eq!(ours(&fdb, &Value::Fdb(FdbValue { dst, permanent })), expected, "{fdb}");
        }
    }

    #[test]
    fn routes_are_ours_by_protocol_and_what_calico_left_by_its_device() {
        use RouteScope::{Link, Universe};
        for (device, scope, protocol, expected) in [
            ("ens192", Universe, 80, true),
            ("vxlan.calico", Universe, 80, true),
            ("cali7f94ce7c295", Link, 80, true),
            // Calico's CNI plugin.
            ("cali7f94ce7c295", Link, 3, true),
            // The kernel's, for an address.
            ("cali7f94ce7c295", Link, 2, false),
            ("cali7f94ce7c295", Universe, 3, false),
            ("vxlan.calico", Universe, 3, true),
            ("vxlan.calico", Link, 2, false),
            // BIRD's, and an administrator's.
            ("ens192", Universe, 12, false),
            ("ens192", Universe, 4, false),
        ] {
            let key = RouteKey { netns: HOST, table: 254, dst: "6.2.180.0/26".parse().unwrap(), priority: 0 };
            let route = RouteValue {
                kind: RouteKind::Unicast,
                gateway: None,
                device: Some(IfName::fixed(device)),
                scope,
                onlink: false,
                protocol,
                source: None,
                mtu: None,
                also: Vec::new(),
            };
            let shown = route.to_string();
            assert_eq!(ours(&Key::Route(key), &Value::Route(route)), expected, "{shown}");
        }
    }

    #[test]
    fn routes_of_calicos_bird_are_known_by_where_they_lead() {
        use RouteKind::{Blackhole, Other, Unicast};
        for (kind, via, device, protocol, expected) in [
            (Unicast, true, Some("tunl0"), 12, true),
            (Unicast, true, Some("ens192"), 12, true),
            (Blackhole, false, None, 12, true),
            // What the uplink's subnet is, some other interface's, and what is no route to anywhere.
            (Unicast, false, Some("ens192"), 12, false),
            (Unicast, true, Some("wg0"), 12, false),
            (Other(7), false, None, 12, false),
            // An administrator's.
            (Unicast, true, Some("tunl0"), 4, false),
            (Blackhole, false, None, 4, false),
        ] {
            let route = RouteValue {
                kind,
                gateway: via.then_some([192, 168, 50, 162].into()),
                device: device.map(IfName::fixed),
                scope: RouteScope::Universe,
                onlink: false,
                protocol,
                source: None,
                mtu: None,
                also: Vec::new(),
            };
            let shown = route.to_string();
            let is = may_be_birds(&Value::Route(route), |device| device.as_str() == "ens192");
            assert_eq!(is, expected, "{shown}");
        }
    }

    #[test]
    fn what_is_looked_at_is_ours_in_a_pod_and_among_settings() {
        let sysctl = |netns| Key::Sysctl(SysctlKey { netns, path: "net/ipv4/ip_forward".into() });
        let one = Value::Sysctl(SysctlValue("1".into()));
        assert!(ours(&sysctl(HOST), &one));
        assert!(ours(&sysctl(Netns::Pod(PodNs(7))), &one));
        let eth0 = LinkKey { netns: Netns::Pod(PodNs(7)), name: IfName::fixed("eth0") };
        let link =
            LinkValue { kind: LinkKind::Other("dummy".into()), mac: None, mtu: None, up: true, alias: None };
        assert!(ours(&Key::Link(eth0), &Value::Link(Box::new(link))));
        let table = |name: &str| Key::Nft(nft::TableKey { family: nft::Family::Inet, name: name.into() });
        assert!(ours(&table("calico"), &Value::Nft(Box::new(nft::Table::EMPTY))));
        assert!(!ours(&table("firewalld"), &Value::Nft(Box::new(nft::Table::EMPTY))));
    }
}
