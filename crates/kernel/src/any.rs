//! For the laws: objects out of a universe so small that what is wanted and what is found often meet.

use crate::addr::AddrScope;
use crate::filter::{Direction, Filter, FilterKey};
use crate::link::VethPeer;
use crate::{
    AddrKey, AddrValue, FdbKey, FdbValue, Key, LinkKey, LinkKind, LinkValue, NeighKey, NeighValue, Netns,
    Objects, PodNs, RouteKey, RouteKind, RouteScope, RouteValue, SysctlKey, SysctlValue, Value, nft,
};
use model::{IfName, Mac, Mtu, Vni};
use proptest::prelude::*;
use std::net::IpAddr;

const PODS: Netns = Netns::Pod(PodNs(1));

pub fn objects() -> impl Strategy<Value = Objects> {
    prop::collection::btree_map(0..70_u8, any::<u64>(), 0..70).prop_map(|picks| {
        // A key decides its kind, so that a value of that kind follows from the same pick.
        picks.into_iter().map(|(key, seed)| object(key, seed)).collect()
    })
}

/// The `which`-th key of the universe, with a value that `seed` chooses.
fn object(which: u8, seed: u64) -> (Key, Value) {
    let mut seed = seed;
    let mut pick = |n: u64| {
        let picked = seed % n;
        seed /= n;
        picked as usize
    };
    let (kind, place) = (which / 10, usize::from(which % 10));
    let (netns, device) = device(place % 6);
    let addr = |n: usize| IpAddr::from([10, 0, 0, n as u8]);
    match kind {
        0 => (Key::Link(LinkKey { netns, name: device }), link(netns, place, &mut pick)),
        1 => {
            let path = format!("net/ipv4/conf/{device}/{}", ["forwarding", "proxy_arp"][place / 6]);
            (Key::Sysctl(SysctlKey { netns, path }), Value::Sysctl(SysctlValue(pick(2).to_string())))
        }
        2 => {
            let addr = ["10.0.0.1/32", "fe80::1/64"][place / 6].parse().unwrap();
            let scope = [AddrScope::Global, AddrScope::Link][pick(2)];
            (Key::Addr(AddrKey { netns, device, addr }), Value::Addr(AddrValue { scope }))
        }
        3 => {
            let mac = Mac([2, 0, 0, 0, 0, place as u8 / 6]);
            let value = FdbValue { dst: addr(pick(2)), permanent: pick(2) == 0 };
            (Key::Fdb(FdbKey { netns, device, mac }), Value::Fdb(value))
        }
        4 => {
            let value = NeighValue { mac: Mac([2, 0, 0, 0, 0, pick(2) as u8]), permanent: pick(2) == 0 };
            (Key::Neigh(NeighKey { netns, device, addr: addr(place / 6) }), Value::Neigh(value))
        }
        5 => {
            let direction = [Direction::Ingress, Direction::Egress][place / 6];
            let (local, at) = ([10, 0, 0, 1].into(), |n: usize| [10, 0, 0, n as u8].into());
            let filter = match pick(4) {
                0 => Filter::Send { local, uplink: IfName::fixed("ens192") },
                1 => Filter::Other(["tortie_ipip_old", "cil_from_netdev"][pick(2)].to_owned()),
                n => Filter::Accept {
                    local,
                    tunnel: (n == 2).then(|| IfName::fixed("tunl0")),
                    sources: [("10.1.0.0/26".parse().unwrap(), at(pick(2)))].into(),
                },
            };
            (Key::Filter(FilterKey { netns, device, direction }), Value::Filter(filter))
        }
        _ if place == 9 => {
            let mut table = nft::Table::EMPTY;
            table.counters.extend((0..pick(3)).map(|n| n.to_string()));
            (Key::Nft(nft::TableKey::inet()), Value::Nft(Box::new(table)))
        }
        _ => route(place, &mut pick),
    }
}

fn device(n: usize) -> (Netns, IfName) {
    let (netns, name) = [
        (Netns::Host, "vxlan.calico"),
        (Netns::Host, "cali1"),
        (Netns::Host, "ens192"),
        (PODS, "eth0"),
        (PODS, "lo"),
        (Netns::Host, "tunl0"),
    ][n];
    (netns, IfName::fixed(name))
}

fn link(netns: Netns, place: usize, pick: &mut impl FnMut(u64) -> usize) -> Value {
    let peer = VethPeer { key: LinkKey { netns: PODS, name: IfName::fixed("eth0") }, mac: None, mtu: None };
    let kind = match (place % 6, pick(3)) {
        (0, n @ 0..2) => LinkKind::Vxlan {
            vni: Vni(n as u32),
            port: 4789,
            local: [10, 0, 0, 1].into(),
            device: IfName::fixed("ens192"),
        },
        (1 | 3, 0..2) => LinkKind::Veth { peer: (netns == Netns::Host).then_some(peer) },
        (5, n @ 0..2) => [LinkKind::Ipip, LinkKind::Ifb { mac: Mac([2; 6]) }][n].clone(),
        _ => LinkKind::Other(["dummy", "vxlan"][pick(2)].to_owned()),
    };
    Value::Link(Box::new(LinkValue {
        kind,
        mac: [None, Some(Mac([2; 6]))][pick(2)],
        mtu: [None, Some(Mtu(1450)), Some(Mtu(1500))][pick(3)],
        up: pick(2) == 0,
        alias: [None, Some("cni a b c".to_owned())][pick(2)].clone(),
    }))
}

fn route(place: usize, pick: &mut impl FnMut(u64) -> usize) -> (Key, Value) {
    let (netns, device) = device(pick(6));
    let netns = if place < 4 { netns } else { Netns::Host };
    let dst = ["10.1.0.0/26", "10.1.0.64/26", "10.0.0.9/32"][place % 3].parse().unwrap();
    let via = [None, Some(IpAddr::from([10, 0, 0, 1]))][pick(2)];
    let value = RouteValue {
        kind: [RouteKind::Unicast, RouteKind::Blackhole][pick(2)],
        gateway: via,
        device: Some(device),
        scope: [RouteScope::Universe, RouteScope::Link][pick(2)],
        onlink: false,
        protocol: [80, 2, 3, 12][pick(4)],
        source: None,
        mtu: None,
        also: Vec::new(),
    };
    (Key::Route(RouteKey { netns, table: 254, dst, priority: 0 }), Value::Route(value))
}

/// The interface that the object cannot be without.
pub fn device_of(key: &Key, value: &Value) -> Option<LinkKey> {
    let netns = key.netns();
    let name = match (key, value) {
        (Key::Addr(key), _) => key.device.clone(),
        (Key::Neigh(key), _) => key.device.clone(),
        (Key::Clsact(key), _) => key.name.clone(),
        (Key::Filter(key), _) => key.device.clone(),
        (Key::Fdb(key), _) => key.device.clone(),
        (Key::Sysctl(key), _) => key.path.split('/').nth(3)?.parse().ok()?,
        (Key::Route(_), Value::Route(route)) => route.device.clone()?,
        (Key::Link(_), Value::Link(link)) => match &link.kind {
            LinkKind::Vxlan { device, .. } => device.clone(),
            _ => return None,
        },
        _ => return None,
    };
    Some(LinkKey { netns, name })
}
