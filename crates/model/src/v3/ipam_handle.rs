//! IPAMHandle: the index from an owner to the blocks that hold its addresses.

use crate::meta::Resource;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The blocks that hold an owner's addresses.
pub type IpamHandle = Resource<IpamHandleSpec>;

/// Fields of an IPAMHandle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamHandleSpec {
    #[serde(rename = "handleID")]
    pub handle_id: String,
    /// Block CIDR to the number of addresses in it.
    pub block: BTreeMap<String, u32>,
    #[serde(default)]
    pub deleted: bool,
}
