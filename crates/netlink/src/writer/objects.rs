//! By what message an object is made, changed and removed.

use super::run::{Run, Tolerance};
use super::{Writer, closed};
use crate::encode;
use crate::message::Message;
use kernel::{ApplyError, Key, LinkKey, LinkKind, LinkValue, Netns, RouteValue, Value};
use model::IfName;
use std::os::fd::{AsFd, AsRawFd};

impl Writer {
    pub(super) fn write(&mut self, run: &mut Run<'_>, key: &Key, value: &Value, how: encode::Write) {
        if let (Key::Link(link), Value::Link(wanted)) = (key, value) {
            return self.make_link(run, link, wanted);
        }
        match self.object(run, key, value, how) {
            Ok(message) => self.enqueue(run, key.netns(), message, Tolerance::None),
            Err(error) => run.record(run.step, Err(error)),
        }
    }

    /// The message that makes an object on a device.
    fn object(
        &mut self,
        run: &mut Run<'_>,
        key: &Key,
        value: &Value,
        how: encode::Write,
    ) -> Result<Message, ApplyError> {
        let netns = key.netns();
        Ok(match (key, value) {
            (Key::Addr(addr), Value::Addr(wanted)) => {
                encode::addr(addr, *wanted, self.index(run, netns, &addr.device)?)
            }
            (Key::Neigh(neigh), Value::Neigh(wanted)) => {
                encode::neigh(neigh, *wanted, self.index(run, netns, &neigh.device)?)
            }
            (Key::Fdb(fdb), Value::Fdb(wanted)) => {
                encode::fdb(fdb, *wanted, self.index(run, netns, &fdb.device)?)
            }
            (Key::Route(route), Value::Route(wanted)) => {
                let devices = devices(wanted).map(|device| self.index(run, netns, device));
                encode::route(route, wanted, &devices.collect::<Result<Vec<_>, _>>()?, how)
            }
            _ => unreachable!("a step whose key and value are of different kinds: {key:?}, {value:?}"),
        })
    }

    fn make_link(&mut self, run: &mut Run<'_>, link: &LinkKey, wanted: &LinkValue) {
        let made = match &wanted.kind {
            LinkKind::Veth { peer: Some(peer) } => {
                run.pairs.insert(peer.key.netns, run.step);
                self.descriptor(peer.key.netns).map(|fd| encode::veth(&link.name, wanted, peer, fd))
            }
            // The other end made it already; it is only set up here.
            LinkKind::Veth { peer: None } => Ok(encode::link_settings(&link.name, None, wanted)),
            LinkKind::Vxlan { device, .. } => {
                self.index(run, link.netns, device).map(|parent| encode::vxlan(&link.name, wanted, parent))
            }
            LinkKind::Ipip => Ok(encode::plain_link(&link.name, wanted, "ipip")),
            LinkKind::Ifb { mac } => {
                let wanted = LinkValue { mac: Some(*mac), ..wanted.clone() };
                Ok(encode::plain_link(&link.name, &wanted, "ifb"))
            }
            LinkKind::Other(kind) => {
                let text = format!("interfaces of kind `{kind}` are not made here");
                Err(ApplyError { errno: libc::EOPNOTSUPP, text })
            }
        };
        match made {
            Ok(message) => {
                run.forget_index(link);
                self.enqueue_link(run, link, message, Tolerance::None);
                self.enqueue_alias(run, link, wanted);
            }
            Err(error) => run.record(run.step, Err(error)),
        }
    }

    /// The kernel takes no alias with the message that makes the interface.
    fn enqueue_alias(&mut self, run: &mut Run<'_>, link: &LinkKey, wanted: &LinkValue) {
        if let Some(alias) = &wanted.alias {
            self.enqueue_link(run, link, encode::alias(&link.name, alias), Tolerance::None);
        }
    }

    /// A namespace as the kernel takes it from us.
    fn descriptor(&self, netns: Netns) -> Result<i32, ApplyError> {
        let Netns::Pod(id) = netns else { return Err(closed(netns)) };
        let pod = self.pods.get(&id).ok_or_else(|| closed(netns))?;
        Ok(pod.netns.as_fd().as_raw_fd())
    }

    pub(super) fn replace(&mut self, run: &mut Run<'_>, key: &Key, from: &Value, to: &Value) {
        match (key, from, to) {
            (Key::Link(link), Value::Link(before), Value::Link(wanted))
                if wanted.kind.compatible_with(&before.kind) =>
            {
                let settings = encode::link_settings(&link.name, Some(before), wanted);
                self.enqueue_link(run, link, settings, Tolerance::None);
                self.enqueue_alias(run, link, wanted);
            }
            (Key::Link(_) | Key::Addr(_), ..) => {
                self.remove(run, key, from);
                self.write(run, key, to, encode::Write::Create);
            }
            _ => self.write(run, key, to, encode::Write::Replace),
        }
    }

    pub(super) fn remove(&mut self, run: &mut Run<'_>, key: &Key, value: &Value) {
        let message = self.removal(run, key, value);
        match (key, message) {
            (Key::Link(link), Some(message)) => {
                run.forget_index(link);
                self.enqueue_link(run, link, message, Tolerance::Absent);
            }
            (_, Some(message)) => self.enqueue(run, key.netns(), message, Tolerance::Absent),
            (_, None) => {}
        }
    }

    /// The message that removes an object; `None` if its device is gone, and the object with it.
    fn removal(&mut self, run: &mut Run<'_>, key: &Key, value: &Value) -> Option<Message> {
        let netns = key.netns();
        Some(match (key, value) {
            (Key::Link(link), _) => encode::del_link(&link.name),
            (Key::Route(route), Value::Route(found)) => {
                let devices = devices(found).map(|device| self.index_of(run, netns, device));
                encode::del_route(route, found, &devices.collect::<Option<Vec<_>>>()?)
            }
            (Key::Addr(addr), _) => encode::del_addr(addr, self.index_of(run, netns, &addr.device)?),
            (Key::Neigh(neigh), _) => encode::del_neigh(neigh, self.index_of(run, netns, &neigh.device)?),
            (Key::Fdb(fdb), Value::Fdb(found)) => {
                encode::del_fdb(fdb, *found, self.index_of(run, netns, &fdb.device)?)
            }
            _ => unreachable!("a removal whose key and value are of different kinds: {key:?}, {value:?}"),
        })
    }
}

/// The devices of a route's ways.
fn devices(route: &RouteValue) -> impl Iterator<Item = &IfName> {
    route.device.iter().chain(route.also.iter().map(|way| &way.device))
}
