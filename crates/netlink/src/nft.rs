//! The seam to the rules.

use crate::socket::{Refusal, Socket};
use kernel::ApplyError;
use kernel::nft::{Table, TableKey};
use std::collections::BTreeMap;

pub fn apply(_: &mut Socket, _: &TableKey, _: Option<&Table>, _: Option<&Table>) -> Result<(), ApplyError> {
    Ok(())
}

pub fn dump(_: &mut Socket) -> Result<BTreeMap<TableKey, Table>, Refusal> {
    Ok(BTreeMap::new())
}
