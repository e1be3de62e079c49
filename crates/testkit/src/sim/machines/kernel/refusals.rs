//! What the kernel refuses, as the real one does: what the object needs is not there.

use super::{Answer, ENOENT, FakeKernel};
use kernel::{ApplyError, Key, LinkKey, LinkKind, RouteKey, RouteValue, Value};
use model::IfName;

pub(super) const EEXIST: i32 = 17;
pub(super) const ENODEV: i32 = 19;
pub(super) const EOPNOTSUPP: i32 = 95;
pub(super) const ENETDOWN: i32 = 100;
pub(super) const ENETUNREACH: i32 = 101;

pub(super) fn refuse(errno: i32, text: &str) -> Answer {
    Err(ApplyError { errno, text: text.to_owned() })
}

impl FakeKernel {
    /// Whether what the object needs is there.
    pub(super) fn admit(&self, key: &Key, value: &Value) -> Answer {
        let exists = |name: &IfName| {
            let link = LinkKey { netns: key.netns(), name: name.clone() };
            self.objects.contains_key(&Key::Link(link))
        };
        let needs = |name: &IfName| if exists(name) { Ok(()) } else { refuse(ENODEV, "No such device") };
        match (key, value) {
            (Key::Addr(key), _) => needs(&key.device),
            (Key::Neigh(key), _) => needs(&key.device),
            (Key::Fdb(key), _) => needs(&key.device),
            (Key::Clsact(key), _) => needs(&key.name),
            (Key::Filter(key), Value::Filter(filter)) => {
                needs(&key.device)?;
                filter.leads_to().map_or(Ok(()), needs)
            }
            (Key::Sysctl(key), _) => match key.path.split('/').collect::<Vec<_>>()[..] {
                ["net", _, "conf" | "neigh", device, _] if !exists(&IfName::fixed(device)) => {
                    refuse(ENOENT, "No such file or directory")
                }
                _ => Ok(()),
            },
            (Key::Route(key), Value::Route(route)) => self.admit_route(key, route),
            (Key::Link(_), Value::Link(link)) => match &link.kind {
                LinkKind::Vxlan { device, .. } => needs(device),
                LinkKind::Ipip if !self.has_ipip => refuse(EOPNOTSUPP, "Unknown device type"),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    pub(super) fn admit_route(&self, key: &RouteKey, route: &RouteValue) -> Answer {
        if let Some(name) = &route.device {
            let link = LinkKey { netns: key.netns, name: name.clone() };
            if !self.objects.contains_key(&Key::Link(link.clone())) {
                return refuse(ENODEV, "No such device");
            }
            if !self.is_up(&link) {
                return refuse(ENETDOWN, "Network is down");
            }
        }
        let Some(gateway) = route.gateway.filter(|_| !route.onlink) else { return Ok(()) };
        let connected = self.objects.iter().any(|(other, value)| match (other, value) {
            (Key::Route(other), Value::Route(near)) => {
                other.netns == key.netns && near.gateway.is_none() && other.dst.contains(gateway)
            }
            _ => false,
        });
        if connected { Ok(()) } else { refuse(ENETUNREACH, "Nexthop has invalid gateway") }
    }
}
