//! What of the kernel decides how packets may travel: which tunnels stand, which subnets we are on, and how our routes lead
//! elsewhere. Of routes, which may be very many, only those that changed are told.

use derive::{Encap, IPIP_DEVICE, VXLAN_DEVICE};
use kernel::addr::AddrScope;
use kernel::route::TABLE_MAIN;
use kernel::{Direction, Filter, FilterKey, Key, Netns, RouteKey, Value};
use model::{Cidr, IfAddr, IfName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The addresses of the tunnels that stand. While one moves, it has two.
    tunnels: BTreeMap<Encap, BTreeSet<IfAddr>>,
    /// The filters that let IP in IP in: while the uplink moves, there are two.
    ipip_filters: BTreeSet<FilterKey>,
    /// Destinations of routes that lead elsewhere now than before, or not at all, in the order of the changes. `None`: what
    /// counts is the best of the routes that are left.
    moved: Vec<(Cidr, Option<Lead>)>,
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

    /// Under `key` the kernel holds this now, and held that `before`; whether that changes anything but how routes lead. Of
    /// routes only those count that are `ours`.
    pub fn learn(
        &mut self,
        key: &Key,
        before: Option<&Value>,
        value: Option<&Value>,
        ours: impl Fn(&Value) -> bool,
    ) -> bool {
        match key {
            Key::Route(route) if route.netns == Netns::Host && route.table == TABLE_MAIN => {
                let lead = |value: Option<&Value>| value.filter(|value| ours(value)).and_then(Lead::of);
                let (before, now) = (lead(before), lead(value));
                if before != now {
                    self.leads(route, now);
                }
                false
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

    /// A route of ours leads this way now, or not at all.
    pub fn leads(&mut self, route: &RouteKey, lead: Option<Lead>) {
        // Nothing comes before a metric of 0.
        self.moved.push((route.dst, lead.filter(|_| route.priority == 0)));
    }

    /// How routes lead that changed since this was asked last; `None`: look at what is left.
    pub fn take_moved(&mut self) -> Vec<(Cidr, Option<Lead>)> {
        std::mem::take(&mut self.moved)
    }

    /// The subnets that we are on, each with an interface there.
    pub fn connected(&self) -> BTreeMap<Cidr, IfName> {
        // Of several interfaces the first by name: collected in reverse, it is the last to be put.
        self.addresses.iter().rev().map(|(addr, on)| (addr.subnet(), on.clone())).collect()
    }
}

/// How a route of ours leads to another node, or to a router; by its first gateway if it has several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lead {
    pub encap: Encap,
    pub gateway: IpAddr,
    /// Those that are as good.
    also: Vec<IpAddr>,
}

impl Lead {
    pub fn of(value: &Value) -> Option<Lead> {
        let Value::Route(route) = value else { return None };
        let gateway = route.gateway?;
        let encap = route.device.as_ref().and_then(tunnel).unwrap_or(Encap::Direct);
        Some(Lead { encap, gateway, also: route.also.iter().map(|way| way.gateway).collect() })
    }

    /// All its gateways.
    pub fn gateways(&self) -> Vec<IpAddr> {
        [&[self.gateway], &self.also[..]].concat()
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
        let mut learn = |addr: &str, is_there: bool| {
            let addr = addr.parse().expect("it is an address");
            let key = Key::Addr(AddrKey { netns: Netns::Host, device: IfName::fixed(VXLAN_DEVICE), addr });
            let value = Value::Addr(AddrValue { scope: AddrScope::Global });
            let (before, now) = if is_there { (None, Some(&value)) } else { (Some(&value), None) };
            (facts.learn(&key, before, now, |_| true), facts.carried())
        };
        let carried = BTreeSet::from([Encap::Vxlan]);
        assert_eq!(learn("10.1.0.8/32", true), (true, carried.clone()));
        assert_eq!(learn("10.0.0.8/32", true), (false, carried.clone()));
        assert_eq!(learn("10.1.0.8/32", false), (false, carried));
        assert_eq!(learn("10.0.0.8/32", false), (true, BTreeSet::new()));
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
        let ours = |_: &Value| true;
        assert!(facts.learn(&key("eth0"), None, Some(&accept), ours));
        assert!(!facts.learn(&key("eth1"), None, Some(&accept), ours));
        assert!(!facts.learn(&key("eth0"), Some(&accept), None, ours) && facts.admits_ipip());
        assert!(facts.learn(&key("eth1"), Some(&accept), None, ours) && !facts.admits_ipip());
    }
}
