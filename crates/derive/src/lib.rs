//! What the kernel should be, from what is known of the cluster: `World -> Objects`, and nothing else.
//!
//! ```text
//!            ┌─ host       vxlan.calico and tunl0, their addresses, settings of the node
//!  World ────┼─ routes     block routes, forwarding entries and neighbours  ◄── path: how is a block reached?
//!            ├─ endpoint   each pod's pair, addresses, routes, settings
//!            └─ rules      the nftables table and the uplink's filter: NAT, what tunnels accept, what pods may not send
//! ```
//!
//! `path` alone answers "how does this node reach that block?"; everything else reads that answer. A section is derived
//! wholesale: equal worlds give equal sections, whatever came before. That of endpoints, of which an ADD changes one, also by
//! what changed (`moved_endpoints`): with the same outcome. With whom the node speaks BGP, and what it tells
//! them, is no matter of the kernel's: `bgp` plans it for the speaker.

mod accept;
pub mod bgp;
pub mod change;
mod endpoint;
pub mod example;
mod host;
mod ipip;
mod learnt;
pub mod mode;
pub mod mtu;
pub mod path;
mod routes;
mod rules;
pub mod world;

pub use bgp::{BgpNode, BgpPlan, BgpWorld};
pub use change::{Change, Modes, Progress, change};
pub use endpoint::{endpoint_keys, endpoint_objects, moved_endpoints};
pub use kernel::{IPIP_DEVICE, VXLAN_DEVICE};
pub use learnt::refused;
pub use mode::{Able, Announcement, Encap, PoolVersion, Stand};
pub use path::{Path, Why, kept, path};
pub use routes::paths;
pub use rules::rules_key;
pub use world::{Attachment, AttachmentId, Endpoint, IpipDriver, Learnt, Peer, Scope, Uplink, World};

use kernel::Objects;

/// A part of what is wanted that is derived at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Host,
    Routes,
    Endpoints,
    Rules,
}

impl Section {
    /// All of them.
    pub const ALL: [Section; 4] = [Section::Host, Section::Routes, Section::Endpoints, Section::Rules];
}

/// What the kernel should hold of one section. The sections' keys are disjoint.
pub fn section(world: &World, section: Section) -> Objects {
    match section {
        Section::Host => host::derive(world),
        Section::Routes => routes::derive(world),
        Section::Endpoints => endpoint::derive(world),
        Section::Rules => rules::derive(world),
    }
}

/// All that the kernel should hold.
pub fn derive(world: &World) -> Objects {
    Section::ALL.into_iter().flat_map(|s| section(world, s)).collect()
}
