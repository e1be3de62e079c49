//! Interfaces: pairs come and go together, and what hangs on an interface goes with it.

use super::refusals::{EEXIST, ENODEV, refuse};
use super::{Answer, FakeKernel, leads_over};
use kernel::{Filter, Key, LinkKey, LinkKind, LinkValue, Netns, Value};
use node::Notice;

impl FakeKernel {
    pub(super) fn set_up(&mut self, key: LinkKey) -> Answer {
        let Some(Value::Link(link)) = self.objects.get_mut(&Key::Link(key.clone())) else {
            return refuse(ENODEV, "No such device");
        };
        link.up = true;
        let told = Value::Link(link.clone());
        if key.netns == Netns::Host {
            self.notices.push(Notice::Put(Key::Link(key), told));
        }
        Ok(())
    }

    pub(super) fn put_link(&mut self, key: &LinkKey, wanted: &LinkValue, replaces: bool) -> Answer {
        let found = match self.objects.get(&Key::Link(key.clone())) {
            Some(Value::Link(link)) => Some(link.clone()),
            _ => None,
        };
        let peer = match &wanted.kind {
            LinkKind::Veth { peer: Some(peer) } if !replaces => Some(peer.clone()),
            LinkKind::Veth { peer: None } if found.is_none() => return refuse(ENODEV, "No such device"),
            _ => None,
        };
        if let Some(peer) = peer {
            let end = LinkKey { netns: self.real(peer.key.netns)?, name: peer.key.name.clone() };
            if self.objects.contains_key(&Key::Link(end.clone())) {
                return refuse(EEXIST, "File exists");
            }
            let far = LinkValue {
                kind: LinkKind::Veth { peer: None },
                mac: peer.mac,
                mtu: peer.mtu,
                up: false,
                alias: None,
            };
            self.objects.insert(Key::Link(end.clone()), Value::Link(Box::new(far)));
            self.ends.extend([(key.clone(), end.clone()), (end, key.clone())]);
        }
        let kind = match &wanted.kind {
            LinkKind::Veth { .. } => LinkKind::Veth { peer: None },
            other => other.clone(),
        };
        let before = found.as_deref();
        let made = LinkValue {
            kind,
            mac: wanted.mac.or(before.and_then(|link| link.mac)),
            mtu: wanted.mtu.or(before.and_then(|link| link.mtu)),
            up: before.is_some_and(|link| link.up),
            alias: wanted.alias.clone().or(before.and_then(|link| link.alias.clone())),
        };
        let (key, value) = (Key::Link(key.clone()), Value::Link(Box::new(made)));
        if key.netns() == Netns::Host {
            self.notices.push(Notice::Put(key.clone(), value.clone()));
        }
        self.objects.insert(key, value);
        Ok(())
    }

    /// An interface goes: what is on it goes without a word, save for its addresses and, of a pair, the other end.
    pub(super) fn remove_link(&mut self, link: &LinkKey) {
        if self.objects.remove(&Key::Link(link.clone())).is_none() {
            return;
        }
        if link.netns == Netns::Host {
            self.notices.push(Notice::Gone(Key::Link(link.clone())));
        }
        let hangs = |key: &Key, value: &Value| {
            key.netns() == link.netns
                && match key {
                    Key::Addr(key) => key.device == link.name,
                    Key::Neigh(key) => key.device == link.name,
                    Key::Fdb(key) => key.device == link.name,
                    Key::Clsact(key) => key.name == link.name,
                    Key::Filter(key) => key.device == link.name,
                    Key::Sysctl(key) => key.path.split('/').any(|part| part == link.name.as_str()),
                    Key::Route(_) => leads_over(value, &link.name),
                    _ => false,
                }
        };
        self.objects.retain(|key, value| !hangs(key, value));
        for (key, value) in &mut self.objects {
            // It stays attached, and leads nowhere.
            if let Value::Filter(filter) = value
                && key.netns() == link.netns
                && filter.leads_to() == Some(&link.name)
            {
                *filter = Filter::Other(filter.name().to_owned());
            }
        }
        if let Some(end) = self.ends.remove(link) {
            self.remove_link(&end);
        }
    }
}
