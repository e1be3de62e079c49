//! What the kernel should be, from what is known of the cluster: `World -> Objects`, and nothing else.
//!
//! ```text
//!            ┌─ host       vxlan.calico and tunl0, their addresses, settings of the node
//!            ├─ endpoint   each pod's pair, addresses, routes, settings
//!  World ────┼─ routes     block routes, forwarding entries and neighbours  ◄── path: how is a block reached?
//!            ├─ learnt     routes that BGP peers gave, outside the pools
//!            ├─ bgp        the node's address towards pods that are BGP peers of it
//!            └─ rules      the nftables table and the uplink's filter: NAT, what tunnels accept, what pods may not send
//! ```
//!
//! `path` alone answers "how does this node reach that block?"; everything else reads that answer. A section is derived
//! wholesale: equal worlds give equal sections, whatever came before. Those of endpoints, of which an ADD changes one, and of
//! what was learnt, which may be very much, also by what changed (`moved_endpoints`, `moved_learnt`): with the same outcome.
//! With whom the node speaks BGP, and what it tells them, is no matter of the kernel's: `bgp` plans it for the speaker.

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
mod sent;
pub mod world;

pub use bgp::{BgpNode, BgpPlan, BgpWorld};
pub use change::{Change, Modes, Progress, change};
pub use endpoint::{endpoint_keys, endpoint_objects, moved_endpoints};
pub use ipip::accepting_filter;
pub use kernel::{IPIP_DEVICE, VXLAN_DEVICE};
pub use learnt::{moved_learnt, refused};
pub use mode::{Able, Announcement, Encap, PoolVersion, Stand};
pub use path::{Path, Why, kept, lacks, path};
pub use routes::paths;
pub use sent::Sent;
pub use world::{Attachment, AttachmentId, Endpoint, IpipDriver, Learnt, Peer, Scope, Uplink, World};

use kernel::{Key, Objects, Value};
use std::collections::BTreeMap;

/// A part of what is wanted that is derived at once. Where two want the same key, the first of them in this order counts: a
/// pod's route before a block's, and both before what a BGP peer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Host,
    Endpoints,
    /// To blocks and borrowed addresses.
    Routes,
    /// To what BGP peers lead to outside the pools, and to peers behind gateways.
    Learnt,
    /// The node's address towards pods that are BGP peers of it.
    Peerings,
    Rules,
}

impl Section {
    /// All of them.
    pub const ALL: [Section; 6] = [
        Section::Host,
        Section::Endpoints,
        Section::Routes,
        Section::Learnt,
        Section::Peerings,
        Section::Rules,
    ];
}

/// What is wanted now under some keys of a section; nothing under those without a value.
pub type Part = BTreeMap<Key, Option<Value>>;

/// What the kernel should hold of one section.
pub fn section(world: &World, section: Section) -> Objects {
    match section {
        Section::Host => host::derive(world),
        Section::Endpoints => endpoint::derive(world),
        Section::Routes => routes::derive(world),
        Section::Learnt => learnt::derive(world),
        Section::Peerings => bgp::peerings(world),
        Section::Rules => rules::derive(world),
    }
}

/// All that the kernel should hold.
pub fn derive(world: &World) -> Objects {
    // Of equal keys the one that is put last stays.
    Section::ALL.into_iter().rev().flat_map(|s| section(world, s)).collect()
}
