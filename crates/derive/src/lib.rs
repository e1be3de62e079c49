//! What the kernel should be, from what is known of the cluster: `World -> Objects`, and nothing else.
//!
//! `path` alone answers "how does this node reach that block?"; routes, forwarding entries, neighbours, the accept set,
//! `status` and `explain` all read that answer.

pub mod world;

pub use world::{Attachment, AttachmentId, Endpoint, Peer, Uplink, World};
