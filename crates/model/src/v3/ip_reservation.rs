//! IPReservation: addresses that are never assigned automatically.

use crate::Cidr;
use crate::meta::Resource;
use serde::{Deserialize, Serialize};

/// Addresses that are never assigned automatically.
pub type IpReservation = Resource<IpReservationSpec>;

/// Fields of an IPReservation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpReservationSpec {
    #[serde(rename = "reservedCIDRs", default)]
    pub reserved_cidrs: Vec<Cidr>,
}
