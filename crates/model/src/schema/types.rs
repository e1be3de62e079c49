//! Fields whose JSON type is not the one that they have.

use super::{Field, FieldError, Kind, Place, Type};
use crate::Duration;
use serde_json::Value;

/// Every field of `spec` that has another type than the kind's. `null` counts as absent.
pub(super) fn errors(kind: &Kind, object: &Value) -> Vec<FieldError> {
    type_errors(&object["spec"], kind.spec, "spec")
}

/// Every field of `value`, which stands at `path`, that has another type than its own. `null` counts as absent.
pub fn type_errors(value: &Value, fields: &'static [Field], path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(value, Type::Object(fields), Place::Start(path), &mut errors);
    errors
}

fn check(value: &Value, wanted: Type, place: Place<'_>, errors: &mut Vec<FieldError>) {
    match (wanted, value) {
        (_, Value::Null) => {}
        (Type::Object(fields), Value::Object(_)) => check_fields(value, fields, place, errors),
        (Type::List(item), Value::Array(items)) => {
            for (i, value) in items.iter().enumerate() {
                check(value, *item, Place::Item(&place, i), errors);
            }
        }
        (Type::Bool, Value::Bool(_)) | (Type::Str, Value::String(_)) | (Type::Map, Value::Object(_)) => {}
        (Type::Duration, Value::String(text)) if is_duration(text) => {}
        (Type::Number, Value::Number(_)) | (Type::IntOrStr, Value::String(_)) => {}
        (Type::Int | Type::IntOrStr, Value::Number(n)) if n.is_i64() || n.is_u64() => {}
        (wanted, found) => {
            errors.push(FieldError::new(
                place.to_string(),
                found,
                format!("must be of type {}", name(wanted)),
            ));
        }
    }
}

fn check_fields(value: &Value, fields: &[Field], place: Place<'_>, errors: &mut Vec<FieldError>) {
    for (name, wanted) in fields {
        check(&value[name], *wanted, Place::Field(&place, name), errors);
    }
}

/// Whether Go reads a span of time there: also a negative one, but none that its nanoseconds cannot count.
fn is_duration(text: &str) -> bool {
    let span = Duration::parse_go(text.strip_prefix(['-', '+']).unwrap_or(text));
    span.is_ok_and(|span| span.micros() <= i64::MAX as u64 / 1_000)
}

/// The type as a CRD calls it.
fn name(wanted: Type) -> &'static str {
    match wanted {
        Type::Bool => "boolean",
        Type::Int => "integer",
        Type::Number => "number",
        Type::Str => "string",
        Type::Duration => "duration, as in 1m30s",
        Type::IntOrStr => "integer or string",
        Type::Map | Type::Object(_) => "object",
        Type::List(_) => "array",
    }
}

#[cfg(test)]
mod tests {
    use crate::schema::{find, types::errors};
    use serde_json::json;

    #[test]
    fn a_field_of_another_type_is_named() {
        let pool = json!({"spec": {
            "cidr": 5, "blockSize": 26.5, "disabled": null, "allowedUses": ["Workload", 1], "natOutgoing": "yes",
        }});
        let errors = errors(find("IPPool").expect("a kind"), &pool);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "spec.allowedUses[1] = '1' (must be of type string)",
                "spec.blockSize = '26.5' (must be of type integer)",
                "spec.cidr = '5' (must be of type string)",
                "spec.natOutgoing = '\"yes\"' (must be of type boolean)",
            ]
        );
    }
}
