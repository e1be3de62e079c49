//! What of the kernel decides how packets may travel: how our routes lead to other nodes, which tunnels stand, and which
//! subnets we are on.

use derive::{Encap, IPIP_DEVICE, VXLAN_DEVICE};
use kernel::addr::AddrScope;
use kernel::route::TABLE_MAIN;
use kernel::{Direction, Filter, FilterKey, Key, Netns, Value, ours};
use model::{Cidr, IfAddr, IfName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Of our routes that have a gateway.
    pub sent: BTreeMap<Cidr, Encap>,
    /// The gateways of those that lead without encapsulation.
    pub hops: BTreeMap<Cidr, Vec<IpAddr>>,
    /// The addresses of the tunnels that stand. While one moves, it has two.
    tunnels: BTreeMap<Encap, BTreeSet<IfAddr>>,
    /// The filters that let IP in IP in: while the uplink moves, there are two.
    ipip_filters: BTreeSet<FilterKey>,
    /// Addresses of our interfaces that others can reach, and the interfaces; tunnels aside.
    pub addresses: BTreeSet<(IfAddr, IfName)>,
}

impl Facts {
    /// The tunnels that stand, with an address.
    pub fn carried(&self) -> BTreeSet<Encap> {
        self.tunnels.keys().copied().collect()
    }

    /// Whether a filter lets IP in IP in, though its tunnel may have no address.
    pub fn admits_ipip(&self) -> bool {
        !self.ipip_filters.is_empty()
    }

    /// The kernel holds this now, or nothing, under `key`; whether that changes anything.
    pub fn learn(&mut self, key: &Key, value: Option<&Value>) -> bool {
        match key {
            Key::Route(route) if route.netns == Netns::Host && route.table == TABLE_MAIN => {
                let encap = value.filter(|value| ours(key, value)).and_then(encap_of);
                let hops = value.and_then(gateways_of).filter(|_| encap == Some(Encap::Direct));
                let sent = put(&mut self.sent, route.dst, encap);
                let hops = put(&mut self.hops, route.dst, hops);
                sent || hops
            }
            Key::Addr(addr) if addr.netns == Netns::Host => {
                let Some(encap) = tunnel(&addr.device) else {
                    let address = (addr.addr, addr.device.clone());
                    let global =
                        matches!(value, Some(Value::Addr(value)) if value.scope == AddrScope::Global);
                    return if global {
                        self.addresses.insert(address)
                    } else {
                        self.addresses.remove(&address)
                    };
                };
                let before = self.tunnels.contains_key(&encap);
                let addrs = self.tunnels.entry(encap).or_default();
                match value {
                    Some(_) => addrs.insert(addr.addr),
                    None => addrs.remove(&addr.addr),
                };
                self.tunnels.retain(|_, addrs| !addrs.is_empty());
                self.tunnels.contains_key(&encap) != before
            }
            Key::Filter(filter) if filter.netns == Netns::Host && filter.direction == Direction::Ingress => {
                let before = self.admits_ipip();
                if matches!(value, Some(Value::Filter(Filter::Accept { .. }))) {
                    self.ipip_filters.insert(filter.clone());
                } else {
                    self.ipip_filters.remove(filter);
                }
                self.admits_ipip() != before
            }
            _ => false,
        }
    }

    /// The subnets that we are on, each with an interface there.
    pub fn connected(&self) -> BTreeMap<Cidr, IfName> {
        // Of several interfaces the first by name: collected in reverse, it is the last to be put.
        self.addresses.iter().rev().map(|(addr, on)| (addr.subnet(), on.clone())).collect()
    }
}

/// Whether that changes anything.
fn put<T: PartialEq>(map: &mut BTreeMap<Cidr, T>, dst: Cidr, value: Option<T>) -> bool {
    let changes = map.get(&dst) != value.as_ref();
    match value {
        Some(value) if changes => _ = map.insert(dst, value),
        None if changes => _ = map.remove(&dst),
        _ => {}
    }
    changes
}

fn gateways_of(route: &Value) -> Option<Vec<IpAddr>> {
    let Value::Route(route) = route else { return None };
    let gateway = route.gateway?;
    Some(std::iter::once(gateway).chain(route.also.iter().map(|way| way.gateway)).collect())
}

/// How a route to another node leads there.
fn encap_of(route: &Value) -> Option<Encap> {
    match route {
        Value::Route(route) if route.gateway.is_some() => {
            Some(route.device.as_ref().and_then(tunnel).unwrap_or(Encap::Direct))
        }
        _ => None,
    }
}

fn tunnel(device: &IfName) -> Option<Encap> {
    match device.as_str() {
        IPIP_DEVICE => Some(Encap::Ipip),
        VXLAN_DEVICE => Some(Encap::Vxlan),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::addr::AddrScope;
    use kernel::{AddrKey, AddrValue};

    #[test]
    fn a_tunnel_whose_address_moves_stands_all_the_while() {
        let mut facts = Facts::default();
        let key = |addr: &str| {
            let addr = addr.parse().expect("it is an address");
            Key::Addr(AddrKey { netns: Netns::Host, device: IfName::fixed(VXLAN_DEVICE), addr })
        };
        let there = Value::Addr(AddrValue { scope: AddrScope::Global });
        assert!(facts.learn(&key("10.1.0.8/32"), Some(&there)));
        assert!(!facts.learn(&key("10.0.0.8/32"), Some(&there)));
        assert!(!facts.learn(&key("10.1.0.8/32"), None));
        assert_eq!(facts.carried(), [Encap::Vxlan].into());
        assert!(facts.learn(&key("10.0.0.8/32"), None));
        assert_eq!(facts.carried(), [].into());
    }

    #[test]
    fn ip_in_ip_is_let_in_as_long_as_one_uplink_does() {
        let mut facts = Facts::default();
        let key = |device: &str| {
            let (device, direction) = (IfName::fixed(device), Direction::Ingress);
            Key::Filter(FilterKey { netns: Netns::Host, device, direction })
        };
        let accept = Filter::Accept { local: [10, 0, 0, 1].into(), tunnel: None, sources: BTreeMap::new() };
        let accept = Value::Filter(accept);
        assert!(facts.learn(&key("eth0"), Some(&accept)));
        assert!(!facts.learn(&key("eth1"), Some(&accept)));
        assert!(!facts.learn(&key("eth0"), None) && facts.admits_ipip());
        assert!(facts.learn(&key("eth1"), None) && !facts.admits_ipip());
    }
}
