//! Addresses: which pod, tunnel or node has which address of which block, on Calico's objects.
//!
//! ```text
//!   watches ──observe──►┌───────────┐──poll──────► reads and compare-and-swap writes ──► API
//!   requests ─request──►│ Allocator │◄─handle──── replies
//!   (ADD, DEL, tunnels) └───────────┘──poll_done─► addresses, or why not
//! ```
//!
//! The block is the authority: one compare-and-swap of it gives or takes addresses, for all requests that wait for it.
//! Around it stand two indexes with a fixed order of writes, so that a crash between any two leaves nothing that cannot be
//! seen and mended: a handle names a block *before* the block holds its address and until *after* it no longer does; an
//! affinity is pending before its block exists and pending deletion until after it is gone.
//!
//! Each decision is made anew from the latest that the API said. So a conflict is a read and another decision; an answer
//! that was lost is the same; and nothing need be remembered over a crash.

pub mod affinity;
mod allocator;
pub mod block;
pub mod check;
pub mod collect;
pub mod cooldown;
mod error;
pub mod handle;
mod pool;
mod request;
mod snapshot;
mod split;
mod wall;

pub use allocator::Allocator;
pub use error::Error;
pub use pool::{Choice, block_size};
pub use request::{Assigned, CallId, RequestId, Tunnel, Want};
pub use snapshot::{Snapshot, WATCHED};
pub use split::split;
pub use wall::Wall;
