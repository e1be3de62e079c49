//! IPReservation: addresses that are never assigned automatically.

use super::written::{Written, go_list};
use crate::field_error::FieldError;
use crate::meta::Resource;
use crate::{Cidr, IfAddr};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

/// Addresses that are never assigned automatically.
pub type IpReservation = Resource<IpReservationSpec>;

/// Fields of an IPReservation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpReservationSpec {
    #[serde(rename = "reservedCIDRs", default, deserialize_with = "networks")]
    pub reserved_cidrs: Vec<Cidr>,
}

/// Single addresses and host bits are allowed here: the network is meant.
fn networks<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Cidr>, D::Error> {
    let texts = Option::<Vec<Option<String>>>::deserialize(d)?.unwrap_or_default();
    let texts = texts.iter().flatten().filter(|text| !text.is_empty());
    texts.map(|text| network(text).map_err(D::Error::custom)).collect()
}

fn network(text: &str) -> Result<Cidr, crate::cidr::CidrError> {
    text.parse().map(IfAddr::subnet)
}

/// What is wrong with a reservation.
pub(super) fn errors(object: &Value) -> Vec<FieldError> {
    let cidrs = Written::spec(object).texts("reservedCIDRs");
    let wrong = cidrs.iter().any(|text| !text.is_empty() && network(text).is_err());
    wrong.then(|| FieldError::tag("ReservedCIDRs", go_list(&cidrs), "cidrs")).into_iter().collect()
}
