//! The kernel's side of the agent: netlink sockets, network namespaces, settings under `/proc/sys`. Carries out what
//! [`kernel`] describes and reads it back in the same words. With `bpf` the only crate with `unsafe` code.
//!
//! ```text
//!  kernel::Step ─► Writer ─► message ─► socket ─► kernel
//!  kernel::Objects ◄─ dump ◄─ parse ◄── socket ◄── kernel
//!  Event ◄───────── Monitor ◄─ parse ◄─ socket (multicast)
//! ```
#![deny(unsafe_op_in_unsafe_fn)]
#![warn(clippy::undocumented_unsafe_blocks)]

pub mod addresses;
pub mod dump;
mod encode;
mod filter;
pub mod memory;
pub mod message;
pub mod monitor;
pub mod netns;
pub mod nft;
mod parse;
pub mod probe;
pub mod socket;
pub mod sockets;
pub mod tcp;
pub mod writer;

pub use message::{Attributes, Message};
pub use monitor::{Event, Monitor, MonitorError};
pub use netns::{Netns, NetnsError};
pub use socket::{Protocol, Refusal, Socket};
pub use writer::{Ports, Writer};
