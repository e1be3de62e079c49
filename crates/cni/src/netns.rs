//! The pod's network namespace: opened once here, then known by its descriptor only. What happens to the path afterwards
//! changes nothing.

use crate::error::Error;
use netlink::Netns;
use std::path::Path;

/// Opens the namespace of an ADD or CHECK.
pub(crate) fn open(path: &str) -> Result<Netns, Error> {
    Netns::open(Path::new(path)).map_err(Error::Netns)
}

/// Opens the namespace of a DEL, for which one that is gone, or was never one, is no obstacle.
pub(crate) fn open_if_there(path: &str) -> Option<Netns> {
    Netns::open(Path::new(path)).ok()
}
