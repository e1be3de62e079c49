//! The maps of the filters: one entry of parameters, and for `accept` the sources and those who did not keep to them.

use crate::Error;
use crate::syscall;
use kernel::filter::Impostor;
use model::Cidr;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// `BPF_MAP_TYPE_ARRAY`, `BPF_MAP_TYPE_LRU_HASH`, `BPF_MAP_TYPE_LPM_TRIE`, and the flag that the latter demands.
const ARRAY: u32 = 2;
const LRU_HASH: u32 = 9;
const LPM_TRIE: u32 = 11;
const NO_PREALLOC: u32 = 1;
/// Prefixes of a large cluster, many times over; they take memory when they are written.
const MOST_SOURCES: u32 = 1 << 20;
/// More than people read. They take their memory at once, some 20 KiB, and never more.
const MOST_IMPOSTORS: u32 = 256;

/// Which map an instruction wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Map {
    Parameters,
    Sources,
    Impostors,
}

impl Map {
    /// By its symbol in `ipip.c`.
    pub const fn of(symbol: &str) -> Map {
        match symbol.as_bytes() {
            b"parameters" => Map::Parameters,
            b"sources" => Map::Sources,
            b"impostors" => Map::Impostors,
            _ => panic!("a map that the loader does not know"),
        }
    }

    /// Its name in the kernel.
    pub fn name(self) -> &'static str {
        match self {
            Map::Parameters => "tortie_params",
            Map::Sources => "tortie_sources",
            Map::Impostors => "tortie_impostor",
        }
    }
}

/// `struct parameters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub local: Ipv4Addr,
    /// The number of an interface, or 0.
    pub device: u32,
}

pub(crate) type Sources = BTreeMap<Cidr, Ipv4Addr>;

impl Parameters {
    pub fn map(self) -> Result<OwnedFd, Error> {
        let name = Map::Parameters.name();
        let map = syscall::create_map(ARRAY, name, (4, 8), 1, 0)
            .map_err(|source| Error::CreateMap { map: name, source })?;
        let [a, b, c, d] = self.local.octets();
        let [e, f, g, h] = self.device.to_ne_bytes();
        let value = [a, b, c, d, e, f, g, h];
        syscall::update(map.as_fd(), &[0; 4], &value)
            .map_err(|source| Error::WriteMap { map: name, source })?;
        Ok(map)
    }

    pub fn read(map: BorrowedFd<'_>) -> io::Result<Parameters> {
        let [a, b, c, d, e, f, g, h] = syscall::lookup(map, &[0; 4])?;
        Ok(Parameters { local: Ipv4Addr::new(a, b, c, d), device: u32::from_ne_bytes([e, f, g, h]) })
    }
}

pub(crate) fn sources_map(sources: &Sources) -> Result<OwnedFd, Error> {
    let name = Map::Sources.name();
    let map = syscall::create_map(LPM_TRIE, name, (8, 4), MOST_SOURCES, NO_PREALLOC)
        .map_err(|source| Error::CreateMap { map: name, source })?;
    change_sources(map.as_fd(), &Sources::new(), sources)?;
    Ok(map)
}

/// What is new first, so that nothing that stays is refused meanwhile.
pub(crate) fn change_sources(map: BorrowedFd<'_>, from: &Sources, to: &Sources) -> Result<(), Error> {
    let failed = |source| Error::WriteMap { map: Map::Sources.name(), source };
    for (prefix, node) in to.iter().filter(|(prefix, node)| from.get(prefix) != Some(node)) {
        if let Some(key) = key(*prefix) {
            syscall::update(map, &key, &node.octets()).map_err(failed)?;
        }
    }
    for key in from.keys().filter(|prefix| !to.contains_key(prefix)).filter_map(|prefix| key(*prefix)) {
        match syscall::delete(map, &key) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            result => result.map_err(failed)?,
        }
    }
    Ok(())
}

pub(crate) fn read_sources(map: BorrowedFd<'_>) -> io::Result<Sources> {
    let mut sources = Sources::new();
    let mut key: Option<[u8; 8]> = None;
    while let Some(next) = syscall::next_key(map, key.as_ref())? {
        key = Some(next);
        let [l0, l1, l2, l3, a, b, c, d] = next;
        let length = u8::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok();
        let prefix = length.and_then(|length| Cidr::containing(Ipv4Addr::new(a, b, c, d).into(), length));
        match (prefix, syscall::lookup::<8, 4>(map, &next)) {
            (Some(prefix), Ok(node)) => {
                sources.insert(prefix, node.into());
            }
            // Deleted between the two questions.
            (_, Err(error)) if error.raw_os_error() == Some(libc::ENOENT) => {}
            (_, Err(error)) => return Err(error),
            (None, Ok(_)) => {}
        }
    }
    Ok(sources)
}

pub(crate) fn impostors_map() -> Result<OwnedFd, Error> {
    let name = Map::Impostors.name();
    syscall::create_map(LRU_HASH, name, (8, 8), MOST_IMPOSTORS, 0)
        .map_err(|source| Error::CreateMap { map: name, source })
}

/// How many packets each has sent. What goes while it is read is left out.
pub(crate) fn read_impostors(map: BorrowedFd<'_>) -> io::Result<BTreeMap<Impostor, u64>> {
    let mut impostors = BTreeMap::new();
    let mut key: Option<[u8; 8]> = None;
    // Behind a key that went the kernel begins again.
    for _ in 0..2 * MOST_IMPOSTORS {
        let Some(next) = syscall::next_key(map, key.as_ref())? else { break };
        key = Some(next);
        let [a, b, c, d, e, f, g, h] = next;
        let holder = Ipv4Addr::new(e, f, g, h);
        let holder = (!holder.is_unspecified()).then_some(holder);
        match syscall::lookup(map, &next) {
            Ok(packets) => {
                let sender = Ipv4Addr::new(a, b, c, d);
                impostors.insert(Impostor { sender, holder }, u64::from_ne_bytes(packets));
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(impostors)
}

/// `struct source`. IPv4 only: IP in IP carries nothing else.
fn key(prefix: Cidr) -> Option<[u8; 8]> {
    let IpAddr::V4(addr) = prefix.addr() else { return None };
    let mut key = [0; 8];
    key[..4].copy_from_slice(&u32::from(prefix.len()).to_ne_bytes());
    key[4..].copy_from_slice(&addr.octets());
    Some(key)
}
