//! BGP-4 (RFC 4271) without input and output: bytes and the time go in, bytes and changes of best paths come out.
//!
//! Pure: no clock, socket, file or task; of the workspace it sees only `model`'s values.

pub mod config;
pub mod decision;
pub mod filter;
pub mod rib;
pub mod session;
pub mod speaker;
pub mod wire;

pub use config::{Config, NexthopMode, Origination, PeerConfig, PeerId};
pub use session::ConnId;
pub use speaker::{Input, Output, Paths, PeerStatus, RankedPath, Speaker};
