//! Calico's vocabulary: resources, values, selectors, names, and the events and writes of the datastore.
//!
//! Pure: no clock, socket, file or task. Everything else in the workspace speaks in these types.

pub mod cidr;
pub mod community;
pub mod dns;
pub mod field_error;
pub mod ifname;
pub mod k8s;
pub mod mac;
pub mod meta;
pub mod names;
pub mod number;
pub mod schema;
pub mod selector;
pub mod store;
pub mod time;
pub mod v3;

pub use cidr::{Cidr, IfAddr};
pub use community::Community;
pub use ifname::IfName;
pub use mac::Mac;
pub use meta::{Metadata, Resource};
pub use number::{Asn, Mtu, PortRange, Vni};
pub use time::{Duration, Instant};
