//! Reading JSON as Kubernetes does: a key given twice is found, the last one counts.

use model::schema::Place;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::{Entry, Map};
use serde_json::{Number, Value};
use std::fmt;

/// The value of `text`, and the paths of keys that an object gives twice (`spec.cidr`).
pub fn parse(text: &[u8]) -> serde_json::Result<(Value, Vec<String>)> {
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value =
        Seed { place: Place::Start(""), duplicates: &mut duplicates }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, duplicates))
}

/// The value of a YAML document, which JSON is too.
///
/// # Errors
/// What is wrong with it: also a key given twice, several documents, aliases that would grow beyond measure.
pub fn parse_yaml(text: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    // The first line says what and where, the others draw it.
    let words =
        |error: String| error.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    serde_saphyr::from_str(text).map_err(|error: serde_saphyr::Error| words(error.to_string()))
}

/// A text at a path of object keys, empty if there is none.
pub fn text<'v>(value: &'v Value, path: &[&str]) -> &'v str {
    path.iter().try_fold(value, |value, key| value.get(key)).and_then(Value::as_str).unwrap_or_default()
}

/// Whether objects and lists are nested in no more than `levels`.
pub fn is_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Object(fields) => levels > 0 && fields.values().all(|value| is_within(value, levels - 1)),
        Value::Array(items) => levels > 0 && items.iter().all(|value| is_within(value, levels - 1)),
        _ => true,
    }
}

struct Seed<'s> {
    place: Place<'s>,
    duplicates: &'s mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let place = Place::Item(&self.place, items.len());
            match seq.next_element_seed(Seed { place, duplicates: self.duplicates })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let place = Place::Field(&self.place, &key);
            let value = map.next_value_seed(Seed { place, duplicates: self.duplicates })?;
            match object.entry(key) {
                Entry::Vacant(entry) => _ = entry.insert(value),
                Entry::Occupied(mut entry) => {
                    self.duplicates.push(Place::Field(&self.place, entry.key()).to_string());
                    entry.insert(value);
                }
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_given_twice_is_found_and_the_last_counts() {
        let (value, duplicates) = parse(br#"{"a":{"b":1,"b":2},"c":[{"d":1,"d":1}]}"#).expect("JSON");
        assert_eq!(value, json!({"a": {"b": 2}, "c": [{"d": 1}]}));
        assert_eq!(duplicates, ["a.b", "c[0].d"]);
    }

    #[test]
    fn levels_are_counted_where_they_are_most() {
        for (value, levels) in [(json!(1), 0), (json!([]), 1), (json!({"a": 1, "b": [{"c": []}]}), 4)] {
            assert!(is_within(&value, levels), "{value}");
            assert!(levels == 0 || !is_within(&value, levels - 1), "{value}");
        }
    }

    #[test]
    fn garbage_and_bottomless_nesting_are_errors() {
        assert!(parse(b"{").is_err());
        assert!(parse(b"{} {}").is_err());
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
