//! A spec as its writer wrote it: JSON, read by type, where what is missing or of another type counts as empty.

use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::{Map, Value};
use std::fmt::Display;

/// The fields of a `spec` or of an object inside it.
#[derive(Clone, Copy)]
pub(crate) struct Written<'a>(&'a Value);

impl<'a> Written<'a> {
    /// The `spec` of an object.
    pub fn spec(object: &'a Value) -> Written<'a> {
        Written(&object["spec"])
    }

    /// The `status` of an object.
    pub fn status(object: &'a Value) -> Written<'a> {
        Written(&object["status"])
    }

    pub fn inside(self, field: &str) -> Written<'a> {
        Written(&self.0[field])
    }

    /// A field as it is, null if it is missing.
    pub fn get(self, field: &str) -> &'a Value {
        &self.0[field]
    }

    /// The items of a list of objects.
    pub fn objects(self, field: &str) -> impl Iterator<Item = Written<'a>> + use<'a> {
        self.0[field].as_array().into_iter().flatten().map(Written)
    }

    /// Whether the field is a list, be it an empty one.
    pub fn is_list(self, field: &str) -> bool {
        self.0[field].is_array()
    }

    pub fn text(self, field: &str) -> &'a str {
        self.0[field].as_str().unwrap_or_default()
    }

    pub fn int(self, field: &str) -> i64 {
        self.0[field].as_i64().unwrap_or_default()
    }

    pub fn flag(self, field: &str) -> bool {
        self.0[field].as_bool().unwrap_or_default()
    }

    pub fn texts(self, field: &str) -> Vec<&'a str> {
        let items = self.0[field].as_array().into_iter().flatten();
        items.map(|item| item.as_str().unwrap_or_default()).collect()
    }

    /// Whether every field is null or empty text.
    pub fn is_blank(self) -> bool {
        let mut fields = self.0.as_object().into_iter().flatten();
        fields.all(|(_, value)| value.is_null() || value.as_str() == Some(""))
    }

    /// Whether the field is an object.
    pub fn has(self, field: &str) -> bool {
        self.0[field].is_object()
    }
}

/// The `spec` of an object, made if it is missing.
pub(crate) fn spec_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let spec = object.as_object_mut()?.entry("spec").or_insert_with(|| Value::Object(Map::new()));
    spec.as_object_mut()
}

/// Puts a default in place of what is missing or empty.
pub(crate) fn default(spec: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(_) | Value::Object(_) => false,
    };
    if spec.get(field).is_none_or(empty) {
        spec.insert(field.to_owned(), value.into());
    }
}

/// Reads a value where an empty text says that there is none.
pub(crate) fn unless_empty<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    d: D,
) -> Result<Option<T>, D::Error> {
    match Value::deserialize(d)? {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        value => T::deserialize(value).map(Some).map_err(D::Error::custom),
    }
}

/// A list as Calico prints it: `[a b]`.
pub(crate) fn go_list(items: &[impl Display]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    format!("[{}]", items.join(" "))
}
