//! The rules for `metadata` that hold for every kind: names, label keys and values, annotation keys.

use super::FieldError;
use crate::dns::is_subdomain;
use serde_json::Value;

const NAME: &str = "name must consist of lower case alphanumeric characters, '-' or '.' (regex: [a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)";
const KEY: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const PREFIX: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// What is wrong with the metadata of `object`.
pub(super) fn errors(object: &Value) -> Vec<FieldError> {
    let metadata = &object["metadata"];
    let mut errors = Vec::new();
    let name = metadata["name"].as_str().unwrap_or_default();
    if name.len() > 253 {
        let reason = format!("name is too long by {} bytes", name.len() - 253);
        errors.push(FieldError::new("Metadata.Name", name, reason));
    } else if !is_subdomain(name) {
        errors.push(FieldError::new("Metadata.Name", name, NAME));
    }
    let map = |field: &str| metadata[field].as_object().into_iter().flatten();
    for (key, value) in map("labels") {
        let wrong = |reason| FieldError::new("Metadata.Labels (label)", key, reason);
        errors.extend(key_errors(key).into_iter().map(wrong));
        let value = value.as_str().unwrap_or_default();
        if let Some(reason) = label_value_error(value) {
            errors.push(FieldError::new("Metadata.Labels (value)", value, reason));
        }
    }
    for (key, _) in map("annotations") {
        let wrong = |reason| FieldError::new("Metadata.Annotations (key)", key, reason);
        errors.extend(key_errors(&key.to_ascii_lowercase()).into_iter().map(wrong));
    }
    errors
}

/// What is wrong with a key of a label or annotation: `name` or `dns.prefix/name`.
fn key_errors(key: &str) -> Vec<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if name.contains('/') {
        let optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
        return vec![format!("a valid label key {KEY} {optional}")];
    }
    let mut errors = Vec::new();
    match prefix {
        Some("") => errors.push("prefix part must be non-empty".to_owned()),
        Some(prefix) if prefix.len() > 253 => {
            errors.push("prefix part must be no more than 253 characters".to_owned());
        }
        Some(prefix) if !is_subdomain(prefix) => errors.push(format!("prefix part {PREFIX}")),
        _ => {}
    }
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    }
    if name.len() > 63 {
        errors.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_label_text(name) {
        errors.push(format!("name part {KEY}"));
    }
    errors
}

fn label_value_error(value: &str) -> Option<String> {
    if value.len() > 63 {
        return Some("must be no more than 63 bytes".to_owned());
    }
    (!value.is_empty() && !is_label_text(value)).then(|| VALUE.to_owned())
}

/// Letters, digits, `-`, `_` and `.`, the first and the last of them a letter or digit.
fn is_label_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}
