//! What of the kernel decides how packets may travel: how our routes lead to other nodes, and which tunnels stand.

use derive::{Encap, IPIP_DEVICE, VXLAN_DEVICE};
use kernel::route::TABLE_MAIN;
use kernel::{Direction, Filter, Key, Netns, Value, ours};
use model::{Cidr, IfName};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Of our routes that have a gateway.
    pub sent: BTreeMap<Cidr, Encap>,
    /// The tunnels that stand, with their addresses.
    pub carried: BTreeSet<Encap>,
    /// A filter lets IP in IP in, whether or not its tunnel has an address.
    pub admits_ipip: bool,
}

impl Facts {
    /// The kernel holds this now, or nothing, under `key`; whether that changes anything.
    pub fn learn(&mut self, key: &Key, value: Option<&Value>) -> bool {
        match key {
            Key::Route(route) if route.netns == Netns::Host && route.table == TABLE_MAIN => {
                let encap = value.filter(|value| ours(key, value)).and_then(encap_of);
                let before = match encap {
                    Some(encap) => self.sent.insert(route.dst, encap),
                    None => self.sent.remove(&route.dst),
                };
                before != encap
            }
            Key::Addr(addr) if addr.netns == Netns::Host => match (tunnel(&addr.device), value) {
                (Some(encap), Some(_)) => self.carried.insert(encap),
                (Some(encap), None) => self.carried.remove(&encap),
                (None, _) => false,
            },
            Key::Filter(filter) if filter.netns == Netns::Host && filter.direction == Direction::Ingress => {
                let admits = matches!(value, Some(Value::Filter(Filter::Accept { .. })));
                std::mem::replace(&mut self.admits_ipip, admits) != admits
            }
            _ => false,
        }
    }
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
