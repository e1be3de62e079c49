//! Filters of clsact (`linux/pkt_sched.h`, `linux/pkt_cls.h`): attached, changed, read, removed. The filter that [`bpf`] has
//! loaded is handed over as a descriptor; from then on the interface holds it.

use crate::encode;
use crate::message::{Attributes, Message, u32_at};
use crate::parse::Names;
use crate::socket::{Refusal, Socket};
use kernel::filter::{HANDLE, Impostor, NAMES, PRIORITY};
use kernel::{ApplyError, Direction, Filter, FilterKey, Key, LinkKey, Netns, Objects, Value, is_workload};
use model::IfName;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};

const CREATE: u16 = libc::NLM_F_CREATE as u16;
const EXCL: u16 = libc::NLM_F_EXCL as u16;
const DUMP: u16 = libc::NLM_F_DUMP as u16;

/// `TC_H_CLSACT`, and in it `TC_H_MIN_INGRESS` and `TC_H_MIN_EGRESS`.
const CLSACT: u32 = 0xffff_fff1;
const AT_INGRESS: u32 = 0xffff_fff2;
const AT_EGRESS: u32 = 0xffff_fff3;
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// `ETH_P_IP`: other packets do not even see the filter.
const ETH_P_IP: u16 = 0x0800;

mod attr {
    pub const TCA_KIND: u16 = 1;
    pub const TCA_OPTIONS: u16 = 2;
    pub const TCA_BPF_FD: u16 = 6;
    pub const TCA_BPF_NAME: u16 = 7;
    pub const TCA_BPF_FLAGS: u16 = 8;
    pub const TCA_BPF_ID: u16 = 11;
    /// `TCA_BPF_FLAG_ACT_DIRECT`: what the program returns is done.
    pub const DIRECT: u32 = 1;
}

/// Makes the place for filters be there, whoever made it.
pub(crate) fn prepare(socket: &mut Socket, device: &IfName) -> Result<(), ApplyError> {
    let index = index(socket, device)?;
    make_place(socket, index)
}

fn make_place(socket: &mut Socket, index: u32) -> Result<(), ApplyError> {
    let clsact = Message::new(libc::RTM_NEWQDISC, CREATE | EXCL, &tcmsg(index, CLSACT_HANDLE, CLSACT, 0))
        .text(attr::TCA_KIND, "clsact");
    match socket.request(clsact) {
        Err(refusal) if refusal.errno != libc::EEXIST => Err(refusal.into()),
        _ => Ok(()),
    }
}

/// Makes the filter be there. One of ours that is there already is replaced in one go, without a packet unjudged.
pub(crate) fn attach(socket: &mut Socket, key: &FilterKey, wanted: &Filter) -> Result<(), ApplyError> {
    let index = index(socket, &key.device)?;
    if let Some(Found { name, .. }) = find(socket, index, key.direction)
        && !name.starts_with(NAMES)
    {
        let text = format!("the filter {name} is in the way");
        return Err(ApplyError { errno: libc::EEXIST, text });
    }
    let program = bpf::load(wanted, |device| encode::query_index(socket, device)).map_err(refused)?;
    make_place(socket, index)?;
    let message = Message::new(libc::RTM_NEWTFILTER, CREATE, &ours(index, key.direction))
        .text(attr::TCA_KIND, "bpf")
        .nest(attr::TCA_OPTIONS, &[], |options| {
            options
                .attr(attr::TCA_BPF_FD, &program.as_fd().as_raw_fd().to_ne_bytes())
                .text(attr::TCA_BPF_NAME, wanted.name())
                .attr(attr::TCA_BPF_FLAGS, &attr::DIRECT.to_ne_bytes())
        });
    socket.request(message).map_err(ApplyError::from)
}

/// Changes the filter: where only the sources differ, entry by entry.
pub(crate) fn change(
    socket: &mut Socket,
    key: &FilterKey,
    from: &Filter,
    to: &Filter,
) -> Result<(), ApplyError> {
    if let (Filter::Accept { sources: before, .. }, Filter::Accept { sources: after, .. }) = (from, to)
        && to.differs_by_sources_only(from)
    {
        let index = index(socket, &key.device)?;
        if let Some(number) = find(socket, index, key.direction).and_then(|found| found.number) {
            return bpf::change(number, before, after).map_err(refused);
        }
    }
    attach(socket, key, to)
}

/// Who sent what the filter did not judge honest, and how many packets.
pub(crate) fn impostors(socket: &mut Socket, key: &FilterKey) -> Result<BTreeMap<Impostor, u64>, ApplyError> {
    let index = index(socket, &key.device)?;
    let number = find(socket, index, key.direction).and_then(|found| found.number);
    number.map_or_else(|| Ok(BTreeMap::new()), |number| bpf::impostors(number).map_err(refused))
}

/// Takes the filter away. Its absence is success.
pub(crate) fn detach(socket: &mut Socket, key: &FilterKey) -> Result<(), ApplyError> {
    let Some(index) = encode::query_index(socket, &key.device) else { return Ok(()) };
    let message =
        Message::new(libc::RTM_DELTFILTER, 0, &ours(index, key.direction)).text(attr::TCA_KIND, "bpf");
    match socket.request(message) {
        // No filter, or not even a place for one.
        Err(refusal) if ![libc::ENOENT, libc::EINVAL].contains(&refusal.errno) => Err(refusal.into()),
        _ => Ok(()),
    }
}

/// The filters under our keys in the node's own namespace, whoever's they are. Pods' interfaces have none of ours.
pub(crate) fn dump(socket: &mut Socket, names: &Names) -> Result<Objects, Refusal> {
    let places = Message::new(libc::RTM_GETQDISC, DUMP, &tcmsg(0, 0, 0, 0));
    let places = socket.dump(places, Vec::new, |places, message| {
        places.extend(is_clsact(message.body).then(|| u32_at(message.body, 4)).flatten());
    })?;
    let mut objects = Objects::new();
    for index in places {
        let Some(device) = names.get(&index).filter(|name| !is_workload(name)) else { continue };
        objects.insert(place(device), Value::Clsact);
        for direction in [Direction::Ingress, Direction::Egress] {
            let ask = Message::new(libc::RTM_GETTFILTER, DUMP, &tcmsg(index, 0, parent(direction), 0));
            let found = socket.dump(ask, Vec::new, |found, message| found.extend(parse(message.body)))?;
            objects.extend(found.into_iter().filter_map(|found| found.object(names)));
        }
    }
    Ok(objects)
}

/// What a notification says is there now.
pub(crate) fn put(names: &Names, body: &[u8]) -> Option<(Key, Value)> {
    parse(body)?.object(names)
}

/// What a notification says is gone. With all filters of a priority or of a direction, ours goes unnamed.
pub(crate) fn gone(names: &Names, body: &[u8]) -> Option<Key> {
    let (handle, info) = (u32_at(body, 8)?, u32_at(body, 16)?);
    let device = names.get(&u32_at(body, 4)?)?.clone();
    let direction = direction(u32_at(body, 12)?)?;
    let concerns_ours = [0, HANDLE].contains(&handle) && [0, u32::from(PRIORITY)].contains(&(info >> 16));
    concerns_ours.then_some(Key::Filter(FilterKey { netns: Netns::Host, device, direction }))
}

/// The place for filters that a message is about.
pub(crate) fn place_of(names: &Names, body: &[u8]) -> Option<Key> {
    u32_at(body, 4).and_then(|index| names.get(&index)).filter(|_| is_clsact(body)).map(place)
}

/// What goes with a place for filters, itself as well.
pub(crate) fn gone_with(place: Key) -> [Key; 3] {
    let Key::Clsact(LinkKey { netns, name }) = &place else { unreachable!("a place for filters: {place}") };
    let [ingress, egress] = [Direction::Ingress, Direction::Egress]
        .map(|direction| Key::Filter(FilterKey { netns: *netns, device: name.clone(), direction }));
    [ingress, egress, place]
}

fn place(device: &IfName) -> Key {
    Key::Clsact(LinkKey { netns: Netns::Host, name: device.clone() })
}

/// A filter at our priority and handle.
struct Found {
    index: u32,
    direction: Direction,
    name: String,
    /// Classic filters have none.
    number: Option<bpf::Number>,
}

impl Found {
    /// `None`: it went while it was read.
    fn object(self, names: &Names) -> Option<(Key, Value)> {
        let device = names.get(&self.index)?.clone();
        let key = FilterKey { netns: Netns::Host, device, direction: self.direction };
        let value = match self.number.map(|number| bpf::read(number, &self.name, names)) {
            Some(Ok(filter)) => filter,
            Some(Err(error)) if error.errno() == libc::ENOENT => return None,
            Some(Err(_)) | None => Filter::Other(self.name),
        };
        Some((Key::Filter(key), Value::Filter(value)))
    }
}

fn find(socket: &mut Socket, index: u32, direction: Direction) -> Option<Found> {
    let ask = Message::new(libc::RTM_GETTFILTER, 0, &ours(index, direction)).text(attr::TCA_KIND, "bpf");
    parse(&socket.ask(ask).ok()?)
}

fn parse(body: &[u8]) -> Option<Found> {
    let (index, handle, parent) = (u32_at(body, 4)?, u32_at(body, 8)?, u32_at(body, 12)?);
    if handle != HANDLE || u32_at(body, 16)? >> 16 != u32::from(PRIORITY) {
        return None;
    }
    let attributes = Attributes::after(body, 20);
    let options = attributes.nested(attr::TCA_OPTIONS)?;
    let name = options.text(attr::TCA_BPF_NAME).unwrap_or_default().to_owned();
    // A filter of another kind has other options under these numbers; the kernel refuses ours beside it.
    if attributes.text(attr::TCA_KIND)? != "bpf" {
        return None;
    }
    let number = options.number(attr::TCA_BPF_ID).map(bpf::Number);
    Some(Found { index, direction: direction(parent)?, name, number })
}

fn is_clsact(body: &[u8]) -> bool {
    Attributes::after(body, 20).text(attr::TCA_KIND) == Some("clsact")
}

/// `struct tcmsg`.
fn tcmsg(index: u32, handle: u32, parent: u32, info: u32) -> [u8; 20] {
    let mut fixed = [0; 20];
    for (place, number) in [(4, index), (8, handle), (12, parent), (16, info)] {
        fixed[place..place + 4].copy_from_slice(&number.to_ne_bytes());
    }
    fixed
}

fn ours(index: u32, direction: Direction) -> [u8; 20] {
    let info = u32::from(PRIORITY) << 16 | u32::from(ETH_P_IP.to_be());
    tcmsg(index, HANDLE, parent(direction), info)
}

fn parent(direction: Direction) -> u32 {
    match direction {
        Direction::Ingress => AT_INGRESS,
        Direction::Egress => AT_EGRESS,
    }
}

fn direction(parent: u32) -> Option<Direction> {
    [Direction::Ingress, Direction::Egress].into_iter().find(|direction| self::parent(*direction) == parent)
}

fn index(socket: &mut Socket, device: &IfName) -> Result<u32, ApplyError> {
    encode::query_index(socket, device)
        .ok_or_else(|| ApplyError { errno: libc::ENODEV, text: format!("there is no interface {device}") })
}

fn refused(error: bpf::Error) -> ApplyError {
    ApplyError { errno: error.errno(), text: error.to_string() }
}
