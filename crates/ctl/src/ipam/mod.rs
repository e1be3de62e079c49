//! `ipam`: how full the pools are, who has an address, whether all is consistent, and the few changes that people may make.

pub mod check;
mod collector;
pub mod configure;
pub mod release;
mod report;
pub mod show;
pub mod split;
mod world;

use crate::failure::{Failure, Fault};
use crate::store::{Store, parts};
use datastore::Resource;
use serde::de::DeserializeOwned;
use std::net::IpAddr;

/// All objects of a kind; one that cannot be read is an error that names it.
pub(crate) async fn all<T: DeserializeOwned>(store: &Store, kind: &str) -> Result<Vec<T>, Failure> {
    let resource = Resource::of_kind(kind).expect("the kind is in the table");
    let list = store.client.list_json(resource, None).await.map_err(|e| Fault::of(kind, e))?;
    let read = |value: serde_json::Value| {
        let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        serde_json::from_value(value).map_err(|e| Failure::new(format!("{kind} {name} cannot be read: {e}")))
    };
    parts(list).1.into_iter().map(read).collect()
}

/// An address of a flag.
fn address(text: &str) -> Result<IpAddr, Failure> {
    let invalid =
        |_| Failure::on_stdout(format!("Error executing command: invalid IP address specified: {text}"));
    text.parse().map_err(invalid)
}
