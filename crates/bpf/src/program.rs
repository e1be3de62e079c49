//! Programs: loaded, found again, changed.

use crate::Error;
use crate::map::{self, Map, Parameters, Sources};
use crate::syscall::{self, Tag};
use kernel::Filter;
use kernel::filter::Impostor;
use model::IfName;
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

/// `BPF_PSEUDO_MAP_FD`, in the source register of a 64-bit load.
const MAP_DESCRIPTOR: u8 = 1;

/// What clang made of one program.
struct Code {
    /// 8 bytes each (`struct bpf_insn`).
    instructions: &'static [u8],
    /// Which instruction loads the address of which map.
    maps: &'static [(usize, Map)],
}

include!(concat!(env!("OUT_DIR"), "/programs.rs"));

/// A loaded program. It lives as long as this, or as long as an interface holds it.
#[derive(Debug)]
pub struct Program(OwnedFd);

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The kernel's number of a program that is loaded (`bpftool prog show id …`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub u32);

/// Loads the filter, its maps filled. `index` knows interfaces by name.
///
/// # Panics
/// If it is none of ours ([`Filter::Other`]).
pub fn load(filter: &Filter, index: impl FnOnce(&IfName) -> Option<u32>) -> Result<Program, Error> {
    let device = match filter.leads_to() {
        None => 0,
        Some(device) => index(device).ok_or_else(|| Error::NoDevice { device: device.clone() })?,
    };
    match filter {
        Filter::Accept { local, sources, .. } => {
            ACCEPT.load(filter.name(), Parameters { local: *local, device }, sources)
        }
        Filter::Send { local, .. } => {
            SEND.load(filter.name(), Parameters { local: *local, device }, &Sources::new())
        }
        Filter::Other(name) => unreachable!("a filter that is not ours is never loaded: {name}"),
    }
}

/// What program `number`, attached under `name`, is. One that the kernel does not find the same as ours is
/// [`Filter::Other`]; so is one whose interface is gone.
pub fn read(number: Number, name: &str, names: &BTreeMap<u32, IfName>) -> Result<Filter, Error> {
    let failed = |source| Error::Read { number: number.0, source };
    let other = || Filter::Other(name.to_owned());
    let program = syscall::program_by_id(number.0).map_err(failed)?;
    let Some(tags) = tags() else { return Ok(other()) };
    let tag = syscall::tag(program.as_fd()).map_err(failed)?;
    if tag != tags.accept && tag != tags.send {
        return Ok(other());
    }
    let maps = syscall::maps(program.as_fd()).map_err(failed)?;
    let Some(parameters) = find(&maps, Map::Parameters) else { return Ok(other()) };
    let Parameters { local, device } = Parameters::read(parameters).map_err(failed)?;
    let device = match device {
        0 => None,
        index => match names.get(&index) {
            Some(device) => Some(device.clone()),
            None => return Ok(other()),
        },
    };
    Ok(match (device, find(&maps, Map::Sources)) {
        (tunnel, Some(sources)) => {
            let sources = map::read_sources(sources).map_err(failed)?;
            Filter::Accept { local, tunnel, sources }
        }
        (Some(uplink), None) => Filter::Send { local, uplink },
        (None, None) => other(),
    })
}

/// Changes what the attached program `number` accepts, entry by entry.
pub fn change(number: Number, from: &Sources, to: &Sources) -> Result<(), Error> {
    let failed = |source| Error::Read { number: number.0, source };
    let program = syscall::program_by_id(number.0).map_err(failed)?;
    let maps = syscall::maps(program.as_fd()).map_err(failed)?;
    let sources =
        find(&maps, Map::Sources).ok_or_else(|| failed(io::Error::from_raw_os_error(libc::ENOENT)))?;
    map::change_sources(sources, from, to)
}

/// Who sent what the attached program `number` did not judge honest, and how many packets: of the latest, since it was loaded.
/// Of a program that is not ours, nobody.
pub fn impostors(number: Number) -> Result<BTreeMap<Impostor, u64>, Error> {
    let failed = |source| Error::Read { number: number.0, source };
    let program = syscall::program_by_id(number.0).map_err(failed)?;
    let maps = syscall::maps(program.as_fd()).map_err(failed)?;
    let Some(map) = find(&maps, Map::Impostors) else { return Ok(BTreeMap::new()) };
    map::read_impostors(map).map_err(failed)
}

fn find(maps: &[(String, OwnedFd)], map: Map) -> Option<BorrowedFd<'_>> {
    maps.iter().find(|(name, _)| name == map.name()).map(|(_, fd)| fd.as_fd())
}

struct Tags {
    accept: Tag,
    send: Tag,
}

/// How the kernel knows our programs, from loading each once. `None`: it does not take them.
fn tags() -> Option<&'static Tags> {
    static TAGS: OnceLock<Option<Tags>> = OnceLock::new();
    let tag = |code: &Code| {
        let nothing = Parameters { local: Ipv4Addr::UNSPECIFIED, device: 0 };
        let program = code.load("tortie_tag", nothing, &Sources::new()).ok()?;
        syscall::tag(program.as_fd()).ok()
    };
    TAGS.get_or_init(|| Some(Tags { accept: tag(&ACCEPT)?, send: tag(&SEND)? })).as_ref()
}

impl Code {
    fn load(&self, name: &str, parameters: Parameters, sources: &Sources) -> Result<Program, Error> {
        let wants = |wanted: Map| self.maps.iter().any(|(_, map)| *map == wanted);
        let parameters = parameters.map()?;
        let sources = wants(Map::Sources).then(|| map::sources_map(sources)).transpose()?;
        let impostors = wants(Map::Impostors).then(map::impostors_map).transpose()?;
        let mut instructions = self.instructions.to_vec();
        for (place, map) in self.maps {
            let fd = match map {
                Map::Parameters => Some(&parameters),
                Map::Sources => sources.as_ref(),
                Map::Impostors => impostors.as_ref(),
            };
            let fd = fd.expect("made above for a program that has it");
            let instruction = &mut instructions[place * 8..place * 8 + 8];
            // The upper half of the second byte is the source register, the last four bytes are the immediate value.
            instruction[1] = instruction[1] & 0x0f | MAP_DESCRIPTOR << 4;
            instruction[4..].copy_from_slice(&fd.as_raw_fd().to_ne_bytes());
        }
        let loaded = syscall::load_program(name, &instructions);
        loaded.map(Program).map_err(|(source, log)| Error::Load { name: name.to_owned(), log, source })
    }
}
