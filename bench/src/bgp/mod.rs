//! The speaker against BIRD: routes from one peer to another, into the kernel, and a full mesh.

mod load;
mod mesh;
mod routed;
mod transit;

pub use mesh::{run as mesh, speak as speak_in_mesh};
pub use routed::run as routed;
pub use transit::{run as transit, speak};

/// The giver's and the receiver's systems.
const ASNS: [u16; 2] = [65001, 65002];
