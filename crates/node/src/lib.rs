//! The agent's deciding part, as a value that is driven: what happened goes in by [`Node::handle`], what to do comes out by
//! [`Node::poll`], when to call again is [`Node::poll_timeout`]. No clock, socket, file or task; the `agent` crate carries
//! effects out, the simulator does the same with fakes.
//!
//! ```text
//!  Input ─► cluster   watches folded into the World              ─┐
//!        ─► reading   what the kernel holds and tells, the uplink │
//!        ─► request   CNI commands ─► life: address, rivals,      ├─► decide ─► derive ─► datapath ─► plan ─► Effect
//!                                       leave, resize             │
//!        ─► adopt     attachments of the run before               │
//!        ─► identity  what our Node says of us                    │
//!        ─► speaker   best paths in, configuration out           ─┘
//! ```

mod address;
mod adopt;
mod annotate;
pub mod bgp_status;
mod cluster;
pub mod cni;
mod condition;
mod datapath;
mod decide;
pub mod effect;
mod facts;
mod identity;
mod idle;
mod impostors;
mod leave;
mod life;
mod node;
mod reading;
mod request;
mod resize;
mod rivals;
pub mod socket;
pub mod speaker;
mod status;

pub use cluster::{WATCHED, announcement, seen_from};
pub use condition::troubles;
pub use datapath::Applied;
pub use effect::{CniId, Effect, EffectId, FileOp, Input, Level, NotOpened, Notice, Report};
pub use node::{Config, Node, OWN_NETNS, Reason};
pub use speaker::SpeakerConfig;
