//! The agent's deciding part, as a value that is driven: what happened goes in by [`Node::handle`], what to do comes out by
//! [`Node::poll`], when to call again is [`Node::poll_timeout`]. No clock, socket, file or task; the `agent` crate carries
//! effects out, the simulator does the same with fakes.

pub mod cni;
pub mod effect;
pub mod socket;

pub use effect::{CniId, Effect, EffectId, FileOp, Input, Notice, Report};
