//! Kubernetes' protobuf encoding, read only, for the few kinds that `kubectl create` sends in it.
//!
//! A body is `k8s\0` and a `runtime.Unknown` around the object (`k8s.io/apimachinery/pkg/runtime/generated.proto`);
//! field numbers are those of `k8s.io/api/core/v1/generated.proto`. Output is the object as JSON. Answers are JSON: a
//! client that speaks protobuf takes that too.

use crate::kinds::Kind;
use serde_json::{Map, Value, json};

const MAGIC: &[u8] = b"k8s\0";

/// A message's fields: number, JSON name, shape.
type Fields = &'static [(u64, &'static str, Shape)];

enum Shape {
    Text,
    Int,
    Bool,
    /// `metav1.Time`: seconds since 1970.
    Time,
    IntOrText,
    Message(Fields),
    /// Repeated ones.
    Texts,
    Messages(Fields),
    /// Maps from text to text, and from text to bytes (base64 in JSON).
    TextMap,
    BytesMap,
}

use Shape::{Bool, BytesMap, Int, IntOrText, Message, Messages, Text, TextMap, Texts, Time};

const METADATA: Fields = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", Int),
    (8, "creationTimestamp", Time),
    (11, "labels", TextMap),
    (12, "annotations", TextMap),
    (14, "finalizers", Texts),
];
const REFERENCE: Fields = &[(1, "name", Text)];
const SERVICE_PORT: Fields = &[
    (1, "name", Text),
    (2, "protocol", Text),
    (3, "port", Int),
    (4, "targetPort", IntOrText),
    (5, "nodePort", Int),
    (6, "appProtocol", Text),
];
const SERVICE_SPEC: Fields = &[
    (1, "ports", Messages(SERVICE_PORT)),
    (2, "selector", TextMap),
    (3, "clusterIP", Text),
    (4, "type", Text),
    (5, "externalIPs", Texts),
    (7, "sessionAffinity", Text),
    (10, "externalName", Text),
    (18, "clusterIPs", Texts),
];

fn fields(kind: &Kind) -> Option<Fields> {
    Some(match kind.resource.as_str() {
        "namespaces" => {
            &[(1, "metadata", Message(METADATA)), (2, "spec", Message(&[(1, "finalizers", Texts)]))]
        }
        "configmaps" => &[
            (1, "metadata", Message(METADATA)),
            (2, "data", TextMap),
            (3, "binaryData", BytesMap),
            (4, "immutable", Bool),
        ],
        "secrets" => &[
            (1, "metadata", Message(METADATA)),
            (2, "data", BytesMap),
            (3, "type", Text),
            (4, "stringData", TextMap),
            (5, "immutable", Bool),
        ],
        "serviceaccounts" => &[
            (1, "metadata", Message(METADATA)),
            (3, "imagePullSecrets", Messages(REFERENCE)),
            (4, "automountServiceAccountToken", Bool),
        ],
        "services" => &[(1, "metadata", Message(METADATA)), (2, "spec", Message(SERVICE_SPEC))],
        _ => return None,
    })
}

/// Whether objects of `kind` may come in protobuf.
pub fn takes(kind: &Kind) -> bool {
    fields(kind).is_some()
}

/// The object in `body`.
///
/// # Errors
/// What is wrong with it, or which field we do not know although it says something.
pub fn decode(kind: &Kind, body: &[u8]) -> Result<Value, String> {
    let unknown = body.strip_prefix(MAGIC).ok_or("the body is not protobuf of Kubernetes")?;
    let fields = fields(kind).ok_or("this kind is taken as JSON only")?;
    let (mut object, mut type_meta) = (json!({}), json!({}));
    each(unknown, |number, field| {
        match (number, field) {
            (1, Wire::Bytes(bytes)) => {
                type_meta = message(&[(1, "apiVersion", Text), (2, "kind", Text)], bytes)?
            }
            (2, Wire::Bytes(bytes)) => object = message(fields, bytes)?,
            _ => {}
        }
        Ok(())
    })?;
    if let (Value::Object(object), Value::Object(types)) = (&mut object, type_meta) {
        object.extend(types);
    }
    Ok(object)
}

/// A field's value on the wire.
#[derive(Clone, Copy)]
enum Wire<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

impl Wire<'_> {
    /// Zero, false, or nothing: what a field without a value is sent as.
    fn is_empty(self) -> bool {
        match self {
            Wire::Number(number) => number == 0,
            Wire::Bytes(bytes) => bytes.is_empty(),
        }
    }
}

/// Calls `take` with each field of a message.
fn each<'b>(
    mut bytes: &'b [u8],
    mut take: impl FnMut(u64, Wire<'b>) -> Result<(), String>,
) -> Result<(), String> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let field = match tag & 7 {
            0 => Wire::Number(varint(&mut bytes)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| TRUNCATED)?;
                let (field, rest) = bytes.split_at_checked(length).ok_or(TRUNCATED)?;
                bytes = rest;
                Wire::Bytes(field)
            }
            other => return Err(format!("wire type {other} is not in use in Kubernetes")),
        };
        take(tag >> 3, field)?;
    }
    Ok(())
}

const TRUNCATED: &str = "the message is cut short";

fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or(TRUNCATED)?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a number is too long".to_owned())
}

fn message(fields: Fields, bytes: &[u8]) -> Result<Value, String> {
    let mut object = Map::new();
    each(bytes, |number, wire| {
        let Some((_, name, shape)) = fields.iter().find(|(known, ..)| *known == number) else {
            // The status that a client sends says nothing, even where it is not empty.
            let says_nothing = wire.is_empty() || matches!(wire, Wire::Bytes(bytes) if is_hollow(bytes));
            return if says_nothing {
                Ok(())
            } else {
                Err(format!("field {number} is not known here: send JSON"))
            };
        };
        field(&mut object, name, shape, wire)
    })?;
    Ok(Value::Object(object))
}

/// Whether a message has empty fields only, all the way down.
fn is_hollow(bytes: &[u8]) -> bool {
    let mut hollow = true;
    let read = each(bytes, |_, wire| {
        hollow &= wire.is_empty() || matches!(wire, Wire::Bytes(bytes) if is_hollow(bytes));
        Ok(())
    });
    read.is_ok() && hollow
}

fn field(object: &mut Map<String, Value>, name: &str, shape: &Shape, wire: Wire<'_>) -> Result<(), String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| format!("{name} is no UTF-8"));
    let value = match (shape, wire) {
        (Texts, Wire::Bytes(bytes)) => {
            push(object, name, json!(text(bytes)?));
            return Ok(());
        }
        (Messages(fields), Wire::Bytes(bytes)) => {
            push(object, name, message(fields, bytes)?);
            return Ok(());
        }
        (TextMap, Wire::Bytes(bytes)) => {
            let (key, value) = entry(bytes)?;
            let value = json!(text(value)?);
            object.entry(name).or_insert_with(|| json!({}))[text(key)?] = value;
            return Ok(());
        }
        (BytesMap, Wire::Bytes(bytes)) => {
            let (key, value) = entry(bytes)?;
            let value = json!(data_encoding::BASE64.encode(value));
            object.entry(name).or_insert_with(|| json!({}))[text(key)?] = value;
            return Ok(());
        }
        (_, wire) if wire.is_empty() => return Ok(()),
        (Text, Wire::Bytes(bytes)) => json!(text(bytes)?),
        (Message(fields), Wire::Bytes(bytes)) => message(fields, bytes)?,
        (Int, Wire::Number(number)) => json!(number.cast_signed()),
        (Bool, Wire::Number(number)) => json!(number != 0),
        (Time, Wire::Bytes(bytes)) => time(bytes)?,
        (IntOrText, Wire::Bytes(bytes)) => int_or_text(bytes)?,
        _ => return Err(format!("{name} has a wrong wire type")),
    };
    object.insert(name.to_owned(), value);
    Ok(())
}

fn push(object: &mut Map<String, Value>, name: &str, value: Value) {
    if let Value::Array(list) = object.entry(name).or_insert_with(|| json!([])) {
        list.push(value);
    }
}

fn entry(bytes: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    each(bytes, |number, wire| {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => key = bytes,
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, value))
}

fn time(bytes: &[u8]) -> Result<Value, String> {
    let mut seconds = 0;
    each(bytes, |number, wire| {
        if let (1, Wire::Number(n)) = (number, wire) {
            seconds = n.cast_signed();
        }
        Ok(())
    })?;
    let time = jiff::Timestamp::from_second(seconds).map_err(|error| error.to_string())?;
    Ok(json!(crate::object::timestamp(time)))
}

/// `intstr.IntOrString`: type (0 is a number), number, text.
fn int_or_text(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    each(bytes, |field, wire| {
        match (field, wire) {
            (1, Wire::Number(n)) => is_text = n != 0,
            (2, Wire::Number(n)) => number = n,
            (3, Wire::Bytes(bytes)) => text = String::from_utf8_lossy(bytes).into_owned(),
            _ => {}
        }
        Ok(())
    })?;
    Ok(if is_text { json!(text) } else { json!(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of bytes.
    fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).expect("a short field");
        [&[number << 3 | 2, length][..], value].concat()
    }

    fn wrapped(object: &[u8]) -> Vec<u8> {
        let types = [bytes(1, b"v1"), bytes(2, b"ConfigMap")].concat();
        [MAGIC.to_vec(), bytes(1, &types), bytes(2, object), bytes(3, b""), bytes(4, b"")].concat()
    }

    #[test]
    fn a_config_map_is_read() {
        let metadata = [bytes(1, b"a"), bytes(3, b""), bytes(8, b""), vec![7 << 3, 0]].concat();
        let entry = [bytes(1, b"key"), bytes(2, b"value")].concat();
        let body = wrapped(&[bytes(1, &metadata), bytes(2, &entry)].concat());
        assert_eq!(
            decode(Kind::core("configmaps"), &body),
            Ok(
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"key": "value"}})
            )
        );
    }

    #[test]
    fn a_field_that_would_be_lost_is_refused() {
        let body = wrapped(&bytes(9, b"x"));
        assert_eq!(
            decode(Kind::core("configmaps"), &body),
            Err("field 9 is not known here: send JSON".to_owned())
        );
        let hollow = wrapped(&bytes(9, &bytes(1, b"")));
        assert!(decode(Kind::core("configmaps"), &hollow).is_ok());
    }

    #[test]
    fn every_truncation_is_an_error_or_less() {
        let metadata = bytes(1, b"name");
        let body = wrapped(&bytes(1, &metadata));
        for end in 0..body.len() {
            if let Ok(object) = decode(Kind::core("configmaps"), &body[..end]) {
                assert_ne!(object["metadata"]["name"], "nam", "{end}");
            }
        }
        assert!(decode(Kind::core("configmaps"), &wrapped(&[0x80; 20])).is_err());
    }
}
