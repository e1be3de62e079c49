//! Outer headers: how a node puts them on and takes them off.

use super::kernel::{FakeKernel, UPLINK, host_link};
use super::packet::{Load, Packet};
use derive::mtu::{IPIP_OVERHEAD, VXLAN_OVERHEAD};
use kernel::filter::ACCEPTED;
use kernel::{Direction, FdbKey, Filter, FilterKey, Key, LinkKind, NeighKey, Netns, Value};
use model::IfName;
use std::net::{IpAddr, Ipv4Addr};

pub(super) fn is_vxlan(kind: &LinkKind, vni: model::Vni, at: Ipv4Addr) -> bool {
    matches!(kind, LinkKind::Vxlan { vni: own, local, .. } if *own == vni && *local == IpAddr::V4(at))
}

/// The uplink's filter. `Some`: the stand-in took the outer header off.
pub(super) fn ingress(kernel: &FakeKernel, packet: &mut Packet) -> Option<Packet> {
    let Load::Ipip(inner) = &packet.load else { return None };
    let device = IfName::fixed(UPLINK);
    let key = Key::Filter(FilterKey { netns: Netns::Host, device, direction: Direction::Ingress });
    let Some(Value::Filter(Filter::Accept { local, tunnel, sources })) = kernel.objects().get(&key) else {
        return None;
    };
    let inside = sources.iter().filter(|(cidr, _)| cidr.contains(inner.src.into()));
    let (_, outer) = inside.max_by_key(|(cidr, _)| cidr.len())?;
    if *outer != packet.src || *local != packet.dst {
        return None;
    }
    packet.mark |= ACCEPTED;
    tunnel.as_ref().map(|_| Packet { mark: ACCEPTED, ..(**inner).clone() })
}

pub(super) fn encapsulate_ipip(
    kernel: &FakeKernel,
    packet: Packet,
    gateway: Ipv4Addr,
) -> Result<Packet, String> {
    let device = IfName::fixed("tunl0");
    let size = packet.size + IPIP_OVERHEAD;
    let outer = |src, dst| Packet { src, dst, mark: 0, size, load: Load::Ipip(Box::new(packet)) };
    match kernel.objects().get(&Key::Link(host_link("tunl0"))) {
        Some(Value::Link(link)) if link.kind == LinkKind::Ipip => match kernel.addr().addr() {
            IpAddr::V4(local) => Ok(outer(local, gateway)),
            IpAddr::V6(_) => unreachable!("uplinks are IPv4 here"),
        },
        _ => {
            let key = NeighKey { netns: Netns::Host, device: device.clone(), addr: gateway.into() };
            let send = FilterKey { netns: Netns::Host, device, direction: Direction::Egress };
            match (kernel.objects().get(&Key::Neigh(key)), kernel.objects().get(&Key::Filter(send))) {
                (None, _) => Err(format!("tunl0 has no neighbour {gateway}")),
                (Some(Value::Neigh(neigh)), Some(Value::Filter(Filter::Send { local, .. }))) => {
                    let [_, _, a, b, c, d] = neigh.mac.0;
                    Ok(outer(*local, Ipv4Addr::new(a, b, c, d)))
                }
                _ => Err("tunl0 has no filter that encapsulates".to_owned()),
            }
        }
    }
}

pub(super) fn encapsulate_vxlan(
    kernel: &FakeKernel,
    packet: Packet,
    gateway: Ipv4Addr,
) -> Result<Packet, String> {
    let device = IfName::fixed("vxlan.calico");
    let link = kernel.objects().get(&Key::Link(host_link("vxlan.calico")));
    let Some(Value::Link(link)) = link else { return Err("vxlan.calico is absent".to_owned()) };
    let LinkKind::Vxlan { vni, port, local: IpAddr::V4(src), .. } = link.kind else {
        return Err("vxlan.calico is not of our kind".to_owned());
    };
    let key = NeighKey { netns: Netns::Host, device: device.clone(), addr: gateway.into() };
    let Some(Value::Neigh(neigh)) = kernel.objects().get(&Key::Neigh(key)) else {
        return Err(format!("vxlan.calico has no neighbour {gateway}"));
    };
    let key = FdbKey { netns: Netns::Host, device, mac: neigh.mac };
    match kernel.objects().get(&Key::Fdb(key)) {
        Some(Value::Fdb(fdb)) => match fdb.dst {
            IpAddr::V4(dst) => {
                let size = packet.size + VXLAN_OVERHEAD;
                let load = Load::Vxlan { port, vni, mac: neigh.mac, inner: Box::new(packet) };
                Ok(Packet { src, dst, mark: 0, size, load })
            }
            IpAddr::V6(_) => Err("the far end is IPv6".to_owned()),
        },
        _ => Err(format!("vxlan.calico knows no host behind {}", neigh.mac)),
    }
}
