//! One entry by kind, over JSON, for whoever takes objects from users: the table of kinds, defaults, validation,
//! unknown fields.
//!
//! Input is a whole object as JSON; output is that object with Calico's defaults, or what is wrong with it, in Calico's
//! words. Rules of one kind stand with the kind in `crate::v3`; here stand the rules that hold for all.

mod felix;
mod fields;
mod kinds;
mod metadata;
mod types;
mod unknown;

pub use crate::field_error::{FieldError, FieldErrors};
pub use fields::{Field, Type};
pub use kinds::{Column, KINDS, Kind, VIEWS, find};
pub use unknown::unknown_fields;

use crate::v3;
use serde_json::Value;

/// Gives `new` its defaults and says whether it may be stored: in place of `old`, if the object exists.
///
/// A kind that is not in the table is taken as it comes. Whether a new pool overlaps another is not asked here but of
/// `v3::overlap`, by who knows the others.
pub fn validate(kind: &str, new: &Value, old: Option<&Value>) -> Result<Value, FieldErrors> {
    let Some(row) = find(kind) else { return Ok(new.clone()) };
    FieldErrors::check(types::errors(row, new))?;
    let mut object = new.clone();
    v3::set_defaults(kind, &mut object);
    FieldErrors::check(v3::first_errors(kind, &object, old))?;
    let mut errors = metadata::errors(&object);
    errors.extend(v3::errors(kind, &object));
    FieldErrors::check(errors)?;
    Ok(object)
}
