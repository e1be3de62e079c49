//! The vocabulary of kernel objects: what identifies one (`Key`), what it should be or is (`Value`), whether it is ours,
//! how what is wanted differs from what is (`diff`), and in which order to make it so (`plan`).
//!
//! Pure: the `netlink` crate carries the steps out and reads the kernel back in the same words.
//!
//! ```text
//!  derive ── Objects (desired) ──►┐
//!                                 ├─► diff ─► Vec<Change> ─► plan ─► Vec<Step> ─► netlink
//!  netlink ─ Objects (actual) ───►┘
//! ```

pub mod addr;
#[cfg(test)]
mod any;
pub mod diff;
pub mod fdb;
pub mod filter;
pub mod link;
pub mod needs;
pub mod neigh;
pub mod nft;
pub mod object;
pub mod ours;
pub mod plan;
pub mod route;
pub mod sysctl;
pub mod text;

pub use addr::{AddrKey, AddrValue};
pub use diff::{Change, diff};
pub use fdb::{FdbKey, FdbValue};
pub use filter::{Direction, Filter, FilterKey};
pub use link::{LinkKey, LinkKind, LinkValue, VethPeer};
pub use needs::{Refused, rules_key};
pub use neigh::{NeighKey, NeighValue};
pub use object::{Key, Netns, Objects, PodNs, Value};
pub use ours::{IPIP_DEVICE, VXLAN_DEVICE, is_workload, may_be_birds, ours, stays};
pub use plan::{ApplyError, Outcome, Step, plan};
pub use route::{RouteKey, RouteKind, RouteScope, RouteValue, Way};
pub use sysctl::{SysctlKey, SysctlValue};
