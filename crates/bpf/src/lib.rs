//! The filters of IP in IP (`ipip.c`, compiled at build time) and their way into the kernel: loaded with their maps filled,
//! found again by number, their accepted sources changed in place.
//!
//! ```text
//!  kernel::Filter ─► load ─► Program (a descriptor) ─► netlink attaches it; from then on the interface holds it
//!  kernel::Filter ◄─ read ◄─ Number, of an attached filter
//!                  change ─► its map of sources
//!                  impostors ◄─ its map of those who did not keep to them
//! ```
//!
//! Nothing is pinned and no link is held: a filter of clsact outlives the process, and its maps with it. A program that was
//! found is ours only if the kernel's tag for it (a hash of its instructions) is the one that it gives ours.
#![deny(unsafe_op_in_unsafe_fn)]
#![warn(clippy::undocumented_unsafe_blocks)]

mod map;
mod program;
mod syscall;

pub use program::{Number, Program, change, impostors, load, read};

use std::io;

/// Why a filter could not be loaded, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot create the map `{map}`: {source}")]
    CreateMap { map: &'static str, source: io::Error },
    #[error("cannot write the map `{map}`: {source}")]
    WriteMap { map: &'static str, source: io::Error },
    #[error("cannot read filter {number}: {source}")]
    Read { number: u32, source: io::Error },
    #[error("this kernel refuses the filter {name}: {source}{}", if log.is_empty() { String::new() } else { format!(": {log}") })]
    Load { name: String, log: String, source: io::Error },
    #[error("there is no interface {device}")]
    NoDevice { device: model::IfName },
}

impl Error {
    /// The system's error number.
    pub fn errno(&self) -> i32 {
        match self {
            Error::CreateMap { source, .. }
            | Error::WriteMap { source, .. }
            | Error::Read { source, .. }
            | Error::Load { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
            Error::NoDevice { .. } => libc::ENODEV,
        }
    }
}
