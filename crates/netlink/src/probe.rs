//! "What can this kernel do?", tried out in namespaces of their own, which are gone afterwards.

use crate::encode;
use crate::netns::{Netns, NetnsError};
use crate::socket::{Protocol, Socket};
use crate::writer::Writer;
use kernel::neigh::spelling;
use kernel::{ApplyError, Direction, Filter, FilterKey, Key, LinkKey, LinkKind, LinkValue, Step, Value};
use model::IfName;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Whether the kernel has IP in IP; its module is loaded by asking.
pub fn has_ipip() -> Result<bool, NetnsError> {
    Netns::scratch(|| {
        let mut socket = Socket::open(Protocol::Route).map_err(NetnsError::Enter)?;
        Ok(socket.request(encode::ipip_to(&IfName::fixed("probe"), Ipv4Addr::new(192, 0, 2, 1))).is_ok())
    })?
}

/// Whether the kernel takes the stand-in for it: its device and its filters.
pub fn takes_stand_in() -> Result<Result<(), ApplyError>, NetnsError> {
    Netns::scratch(|| {
        let mut writer = Writer::open().map_err(NetnsError::Enter)?;
        let (host, device, uplink) = (kernel::Netns::Host, IfName::fixed("probe"), IfName::fixed("lo"));
        let local = Ipv4Addr::new(192, 0, 2, 1);
        let link = LinkValue {
            kind: LinkKind::Ifb { mac: spelling(local) },
            mac: None,
            mtu: None,
            up: false,
            alias: None,
        };
        let send = Filter::Send { local, uplink: uplink.clone() };
        let accept = Filter::Accept { local, tunnel: Some(device.clone()), sources: BTreeMap::new() };
        let filter = |device, direction, filter| {
            Step::Create(Key::Filter(FilterKey { netns: host, device, direction }), Value::Filter(filter))
        };
        let outcomes = writer.apply(&[
            Step::Create(
                Key::Link(LinkKey { netns: host, name: device.clone() }),
                Value::Link(Box::new(link)),
            ),
            filter(device, Direction::Egress, send),
            filter(uplink, Direction::Ingress, accept),
        ]);
        Ok(outcomes.into_iter().try_for_each(|outcome| outcome.result))
    })?
}
