//! "What can this kernel do?", tried out in namespaces of their own, which are gone afterwards.

use crate::encode;
use crate::netns::{Netns, NetnsError};
use crate::socket::{Protocol, Socket};
use crate::writer::Writer;
use kernel::neigh::spelling;
use kernel::{
    ApplyError, Direction, Filter, FilterKey, Key, LinkKey, LinkKind, LinkValue, Objects, PodNs, Step, Value,
    ours,
};
use model::IfName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;

/// The first object that the kernel refuses, and why.
pub type Refused = (Key, ApplyError);

/// Whether the kernel takes all of `wanted`, in a namespace whose only interface is `lo`; `pod` is another one.
pub fn takes(wanted: &Objects, pod: PodNs) -> Result<Result<(), Refused>, NetnsError> {
    let pods = Netns::scratch(Netns::own)??;
    Netns::scratch(|| {
        let mut writer = Writer::open().map_err(NetnsError::Enter)?;
        writer.open_pod(pod, pods)?;
        writer.apply(&[Step::Up(kernel::Netns::Host, IfName::fixed("lo"))]);
        // Some modules put interfaces of their own into every new namespace.
        let found = writer.dump(kernel::Netns::Host, &[]).and_then(Result::ok).unwrap_or_default();
        let outcomes = writer.apply(&kernel::plan(kernel::diff(wanted, &found, &BTreeSet::new(), ours)));
        Ok(outcomes.into_iter().try_for_each(|outcome| outcome.result.map_err(|error| (outcome.key, error))))
    })?
}

/// Whether TCP connections can be signed (RFC 2385).
pub fn signs_tcp() -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    crate::tcp::set_key(listener.as_fd(), Ipv4Addr::LOCALHOST.into(), b"probe")
}

/// Whether the kernel has IP in IP; its module is loaded by asking.
pub fn has_ipip() -> Result<bool, NetnsError> {
    Netns::scratch(|| {
        let mut socket = Socket::open(Protocol::Route).map_err(NetnsError::Enter)?;
        Ok(socket.request(encode::ipip_to(&IfName::fixed("probe"), Ipv4Addr::new(192, 0, 2, 1))).is_ok())
    })?
}

/// Whether the kernel takes the filter that judges what comes in by it.
pub fn takes_filters() -> Result<Result<(), ApplyError>, NetnsError> {
    Netns::scratch(|| {
        let mut writer = Writer::open().map_err(NetnsError::Enter)?;
        let local = Ipv4Addr::new(192, 0, 2, 1);
        let accept = Filter::Accept { local, tunnel: None, sources: BTreeMap::new() };
        let outcomes = writer.apply(&[attach(IfName::fixed("lo"), Direction::Ingress, accept)]);
        Ok(outcomes.into_iter().try_for_each(|outcome| outcome.result))
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
        let outcomes = writer.apply(&[
            Step::Create(
                Key::Link(LinkKey { netns: host, name: device.clone() }),
                Value::Link(Box::new(link)),
            ),
            attach(device, Direction::Egress, send),
            attach(uplink, Direction::Ingress, accept),
        ]);
        Ok(outcomes.into_iter().try_for_each(|outcome| outcome.result))
    })?
}

fn attach(device: IfName, direction: Direction, filter: Filter) -> Step {
    let key = FilterKey { netns: kernel::Netns::Host, device, direction };
    Step::Create(Key::Filter(key), Value::Filter(filter))
}
