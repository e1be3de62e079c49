//! NetworkSet and GlobalNetworkSet: networks under one name.

use super::written::Written;
use crate::IfAddr;
use crate::field_error::FieldError;
use serde_json::Value;

/// What is wrong with a set: every member is an address or a network, host bits or not.
pub(super) fn errors(object: &Value) -> Vec<FieldError> {
    let nets = Written::spec(object).texts("nets");
    let wrong = nets.iter().enumerate().filter(|(_, text)| text.parse::<IfAddr>().is_err());
    wrong.map(|(i, text)| FieldError::tag(&format!("Nets[{i}]"), text, "cidr")).collect()
}
