//! The Kubernetes API as the datastore: typed requests and watches for the agent, JSON for the command line.
//!
//! ```text
//!   node::Node ──store::Request──► Client::request ──HTTPS──► API server
//!              ◄──store::Reply───
//!   node::Node ◄──store::Event──── Client::watch   ◄─list, watch─ API server
//!   ctl        ◄──serde_json───►   Client::{get,list,create,replace,patch,delete}_json
//! ```
//!
//! Where each kind lives in the API stands in one table ([`path`]). What nobody reads is dropped while an answer is
//! decoded, so that a watch costs what `model`'s structs cost and not what the objects weigh on the wire.

mod client;
mod cluster;
mod decode;
mod error;
mod json;
pub mod path;
mod request;
mod watch;

pub use client::{Client, Source};
pub use error::Error;
pub use json::{Patch, Preconditions};
pub use path::Resource;
pub use watch::Scope;
