//! One entry by kind, over JSON, for whoever takes objects from users: the table of kinds, defaults, validation,
//! unknown fields.
//!
//! Input is a whole object as JSON; output is that object with Calico's defaults, or what is wrong with it, in Calico's
//! words. Rules of one kind stand with the kind in `crate::v3`; here stand the rules that hold for all.

mod encode;
mod felix;
mod fields;
mod kinds;
mod limits;
mod metadata;
mod place;
mod types;
mod unknown;

pub use crate::field_error::{FieldError, FieldErrors};
pub use encode::encode;
pub use fields::{Field, Type};
pub use kinds::{Column, KINDS, Kind, VIEWS, find};
pub use place::Place;
pub use types::type_errors;
pub use unknown::{spell, unknown_fields, unknown_in};

use crate::v3;
use serde_json::Value;

/// Gives `object` its defaults and says whether it may be stored: in place of `old`, if the object exists.
///
/// ```
/// let pool = serde_json::json!({"metadata": {"name": "a"}, "spec": {"cidr": "10.0.0.0/16", "blockSize": 33}});
/// let error = model::schema::validate("IPPool", pool, None).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "error with field IPPool.Spec.BlockSize = '33' (IPv4 block size must be between 20 and 32)"
/// );
/// ```
///
/// A kind that is not in the table is taken as it comes. Whether a new pool overlaps another is not asked here but of
/// `v3::overlap`, by who knows the others.
pub fn validate(kind: &str, mut object: Value, old: Option<&Value>) -> Result<Value, FieldErrors> {
    let Some(row) = find(kind) else { return Ok(object) };
    FieldErrors::check(types::errors(row, &object))?;
    drop_nulls(&mut object);
    v3::set_defaults(kind, &mut object);
    FieldErrors::check(v3::first_errors(kind, &object, old))?;
    let mut errors = metadata::errors(&object);
    errors.extend(v3::errors(kind, &object));
    errors.extend(limits::errors(kind, &object));
    errors.extend(v3::schema_errors(kind, &object));
    FieldErrors::check(errors)?;
    FieldErrors::check(v3::last_errors(kind, &object))?;
    Ok(object)
}

/// A field that is null is a field that is absent, as in Kubernetes. Nulls in lists stay: blocks have them.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(kind: &str, name: &str, spec: Value) -> String {
        let object = json!({"metadata": {"name": name}, "spec": spec});
        validate(kind, object, None)
            .map_or_else(|error| error.to_string(), |object| object["spec"].to_string())
    }

    #[test]
    fn address_management_gets_its_defaults_and_keeps_its_rules() {
        let kind = "IPAMConfiguration";
        assert_eq!(
            said(kind, "default", json!({"strictAffinity": true})),
            r#"{"autoAllocateBlocks":true,"maxBlocksPerHost":0,"strictAffinity":true}"#
        );
        for (spec, field) in [
            (json!({"autoAllocateBlocks": false}), "spec (strictAffinity and"),
            (json!({"maxBlocksPerHost": 4}), "spec (maxBlocksPerHost needs strictAffinity"),
            (
                json!({"ipCooldownSeconds": 1201}),
                "spec.ipCooldownSeconds (spec.ipCooldownSeconds in body should be less than",
            ),
            (
                json!({"kubeVirtVMAddressPersistence": "on"}),
                "spec.kubeVirtVMAddressPersistence (supported values",
            ),
        ] {
            let said = said(kind, "default", spec);
            assert!(said.starts_with(&format!("error with field {field}")), "{said}");
        }
    }

    #[test]
    fn settings_that_the_agent_reads_are_looked_at() {
        let kind = "FelixConfiguration";
        for (spec, field) in [
            (
                json!({"vxlanVNI": 16777216}),
                "spec.vxlanVNI (spec.vxlanVNI in body should be less than or equal to 16777215)",
            ),
            (
                json!({"vxlanPort": -1}),
                "spec.vxlanPort (spec.vxlanPort in body should be greater than or equal to 0)",
            ),
            (
                json!({"routeRefreshInterval": "-5s"}),
                "spec.routeRefreshInterval (spec.routeRefreshInterval in body should match",
            ),
            (json!({"nodeSelector": "all()"}), "FelixConfiguration (nodeSelector must not be set on"),
            (json!({"vxlanMTU": "1400"}), "spec.vxlanMTU = '\"1400\"' (must be of type integer)"),
        ] {
            let said = said(kind, "node.n1", spec);
            assert!(said.starts_with(&format!("error with field {field}")), "{said}");
        }
    }

    #[test]
    fn an_object_that_cannot_be_read_back_is_not_stored() {
        let said =
            said("BlockAffinity", "a", json!({"cidr": "10.0.0.1/26", "node": "n", "state": "confirmed"}));
        assert!(said.contains("`10.0.0.1/26` has host bits set: write 10.0.0.0/26"), "{said}");
    }

    #[test]
    fn what_is_stored_can_be_read() {
        let spec = json!({"cidr": "10.0.0.0/16", "disabled": null, "namespaceSelector": null});
        let pool = json!({"metadata": {"name": "a", "labels": null}, "spec": spec});
        let stored = validate("IPPool", pool, None).expect("valid");
        assert!(serde_json::from_value::<v3::IpPool>(stored).is_ok());
    }

    #[test]
    fn a_kind_that_is_not_in_the_table_is_taken_as_it_comes() {
        assert_eq!(said("Widget", "", json!({"a": 1})), r#"{"a":1}"#);
    }
}
