//! The three kinds of patch: JSON merge patch (RFC 7386), JSON patch (RFC 6902), and Kubernetes' strategic merge patch.
//!
//! A strategic merge patch merges lists by a key where Kubernetes' types say so, and knows the directives `$patch`,
//! `$retainKeys`, `$setElementOrder/…` and `$deleteFromPrimitiveList/…`.

use crate::json::is_within;
use crate::kinds::Kind;
use crate::lists::{self, Merge};
use crate::status::Status;
use json_patch::PatchOperation;
use serde_json::{Map, Value};

/// Operations that one JSON patch may have, as in Kubernetes (CVE-2019-11253).
const OPERATIONS: usize = 10_000;
/// Bytes that one JSON patch may copy and move: a few copies of copies would fill the memory.
const COPIED: usize = 3 << 20;
/// Levels of an object while a JSON patch is at work; what is stored has fewer.
const LEVELS: usize = 128;

/// Server-side apply: see [`crate::managed`].
pub const APPLY: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A patch, read and ready to be applied.
#[derive(Debug)]
pub enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    /// Reads a patch for `kind` by its media type.
    pub fn parse(kind: &Kind, media_type: &str, body: &[u8]) -> Result<Patch, Status> {
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        let value = || {
            let (value, _) = crate::json::parse(body)
                .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
            match value {
                Value::Object(_) => Ok(value),
                _ => Err(Status::bad_request("error decoding patch: a JSON object is expected")),
            }
        };
        match media_type {
            JSON => {
                let patch: json_patch::Patch = serde_json::from_slice(body)
                    .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
                if patch.len() > OPERATIONS {
                    return Err(Status::too_large(format!(
                        "The allowed maximum operations in a JSON patch is {OPERATIONS}, got {}",
                        patch.len()
                    )));
                }
                Ok(Patch::Json(patch))
            }
            MERGE => value().map(Patch::Merge),
            STRATEGIC if kind.takes_strategic_patch() => value().map(Patch::Strategic),
            _ if kind.takes_strategic_patch() => {
                Err(Status::unsupported_media_type(&format!("{JSON}, {MERGE}, {STRATEGIC}, {APPLY}")))
            }
            _ => Err(Status::unsupported_media_type(&format!("{JSON}, {MERGE}, {APPLY}"))),
        }
    }

    /// The object after the patch.
    pub fn apply(&self, object: &Value) -> Result<Value, Status> {
        let mut object = object.clone();
        match self {
            Patch::Merge(patch) => json_patch::merge(&mut object, patch),
            Patch::Strategic(patch) => merge(&mut object, patch)?,
            Patch::Json(operations) => operate(&mut object, operations)?,
        }
        Ok(object)
    }
}

/// Does `operations` one after the other, as long as the object stays within bounds.
fn operate(object: &mut Value, operations: &[PatchOperation]) -> Result<(), Status> {
    let mut copied = 0;
    for (at, operation) in operations.iter().enumerate() {
        let placed = match operation {
            PatchOperation::Add(add) => Some(&add.value),
            PatchOperation::Replace(replace) => Some(&replace.value),
            PatchOperation::Copy(copy) => object.pointer(copy.from.as_str()),
            PatchOperation::Move(r#move) => object.pointer(r#move.from.as_str()),
            PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
        };
        if let Some(placed) = placed {
            let above = operation.path().as_str().matches('/').count();
            if above > LEVELS || !is_within(placed, LEVELS - above) {
                return Err(Status::too_large(format!(
                    "operation '/{at}' nests deeper than {LEVELS} levels"
                )));
            }
            if matches!(operation, PatchOperation::Copy(_) | PatchOperation::Move(_)) {
                copied += placed.to_string().len();
            }
            if copied > COPIED {
                return Err(Status::too_large(format!("a JSON patch may copy and move {COPIED} bytes")));
            }
        }
        json_patch::patch_unsafe(object, std::slice::from_ref(operation)).map_err(|mut error| {
            error.operation = at;
            Status::unprocessable(format!(
                "the server rejected our request due to an error in our request: {error}"
            ))
        })?;
    }
    Ok(())
}

/// Merges `patch` into `target`.
fn merge(target: &mut Value, patch: &Value) -> Result<(), Status> {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *target = Value::Object(without_directives(patch));
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(Status::bad_request(format!("invalid $patch directive {other:?}"))),
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { unreachable!("made an object above") };
    if let Some(Value::Array(kept)) = patch.get("$retainKeys") {
        fields.retain(|key, _| kept.iter().any(|k| k == key));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(Value::Array(items)) = fields.get_mut(list) {
                items.retain(|item| !gone.contains(item));
            }
        }
    }
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        match value {
            Value::Null => {
                fields.remove(key);
            }
            Value::Object(_) => merge(fields.entry(key).or_insert(Value::Null), value)?,
            Value::Array(patches) => merge_list(fields.entry(key).or_insert(Value::Null), key, patches)?,
            _ => {
                fields.insert(key.clone(), value.clone());
            }
        }
    }
    for (key, order) in patch {
        if let Some(list) = key.strip_prefix("$setElementOrder/")
            && let (Some(Value::Array(items)), Value::Array(order)) = (fields.get_mut(list), order)
        {
            set_order(items, list, order);
        }
    }
    Ok(())
}

fn merge_list(target: &mut Value, name: &str, patches: &[Value]) -> Result<(), Status> {
    let replaces = |p: &Value| {
        p.get("$patch").and_then(Value::as_str) == Some("replace")
            && p.as_object().is_some_and(|o| o.len() == 1)
    };
    let rule = match (lists::patch(name, patches), &*target) {
        (Merge::Whole, Value::Array(items)) => lists::patch(name, items),
        (rule, _) => rule,
    };
    let (Merge::Keys(_) | Merge::Set, Value::Array(items), false) =
        (rule, &mut *target, patches.iter().any(replaces))
    else {
        let kept = patches.iter().filter(|p| !replaces(p)).filter(|p| p.get("$patch").is_none());
        *target = Value::Array(kept.cloned().collect());
        return Ok(());
    };
    match rule {
        Merge::Whole => unreachable!("told apart above"),
        Merge::Set => {
            for patch in patches {
                if !items.contains(patch) {
                    items.push(patch.clone());
                }
            }
        }
        Merge::Keys(keys) => {
            let key = keys[0];
            for patch in patches {
                let Some(id) = patch.get(key) else {
                    return Err(Status::bad_request(format!(
                        "map: {patch} does not contain declared merge key: {key}"
                    )));
                };
                let found = items.iter().position(|item| item.get(key) == Some(id));
                match (found, patch.get("$patch").and_then(Value::as_str)) {
                    (Some(at), Some("delete")) => {
                        items.remove(at);
                    }
                    (None, Some("delete")) => {}
                    (Some(at), _) => merge(&mut items[at], patch)?,
                    (None, _) => {
                        let mut item = Value::Null;
                        merge(&mut item, patch)?;
                        items.push(item);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Elements in the order that the patch gives; those that it does not name keep their order behind.
fn set_order(items: &mut [Value], name: &str, order: &[Value]) {
    let key = match lists::patch(name, items) {
        Merge::Keys(keys) => Some(keys[0]),
        Merge::Set | Merge::Whole => None,
    };
    items.sort_by_key(|item| {
        order
            .iter()
            .position(|wanted| match key {
                Some(key) => wanted.get(key) == item.get(key),
                None => wanted == item,
            })
            .unwrap_or(usize::MAX)
    });
}

fn without_directives(object: &Map<String, Value>) -> Map<String, Value> {
    object.iter().filter(|(key, _)| !key.starts_with('$')).map(|(k, v)| (k.clone(), v.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn strategic(target: Value, patch: Value) -> Value {
        Patch::Strategic(patch).apply(&target).expect("a good patch")
    }

    #[test]
    fn a_strategic_patch_merges_lists_by_key() {
        let pod = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}});
        let patch = json!({"spec": {"containers": [{"name": "b", "image": "2"}, {"name": "c"}]}});
        let expected = json!({"spec": {"containers":
            [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c"}]}});
        assert_eq!(strategic(pod, patch), expected);
    }

    #[test]
    fn strategic_directives_delete_replace_retain_and_order() {
        for (target, patch, expected) in [
            (
                json!({"env": [{"name": "a"}, {"name": "b"}]}),
                json!({"env": [{"name": "a", "$patch": "delete"}]}),
                json!({"env": [{"name": "b"}]}),
            ),
            (
                json!({"env": [{"name": "a"}]}),
                json!({"env": [{"name": "z"}, {"$patch": "replace"}]}),
                json!({"env": [{"name": "z"}]}),
            ),
            (
                json!({"m": {"a": 1, "b": 2}}),
                json!({"m": {"$patch": "replace", "c": 3}}),
                json!({"m": {"c": 3}}),
            ),
            (json!({"m": {"a": 1, "b": 2}}), json!({"m": {"$retainKeys": ["b"]}}), json!({"m": {"b": 2}})),
            (
                json!({"finalizers": ["a", "b"]}),
                json!({"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}),
                json!({"finalizers": ["b", "c"]}),
            ),
            (
                json!({"conditions": [{"type": "A"}, {"type": "B"}]}),
                json!({"$setElementOrder/conditions": [{"type": "B"}, {"type": "A"}]}),
                json!({"conditions": [{"type": "B"}, {"type": "A"}]}),
            ),
            (json!({"args": [1, 2]}), json!({"args": [3]}), json!({"args": [3]})),
            (json!({"a": 1, "b": 1}), json!({"a": null}), json!({"b": 1})),
        ] {
            assert_eq!(strategic(target, patch.clone()), expected, "{patch}");
        }
    }

    #[test]
    fn ports_merge_by_what_their_elements_have() {
        let pod = json!({"ports": [{"containerPort": 80, "name": "x"}]});
        assert_eq!(
            strategic(pod, json!({"ports": [{"containerPort": 80, "name": "y"}]})),
            json!({"ports": [{"containerPort": 80, "name": "y"}]})
        );
        let service = json!({"ports": [{"port": 80, "targetPort": 1}]});
        assert_eq!(
            strategic(service, json!({"ports": [{"port": 80, "targetPort": 2}]})),
            json!({"ports": [{"port": 80, "targetPort": 2}]})
        );
    }

    #[test]
    fn custom_resources_take_no_strategic_patch() {
        let pool = crate::kinds::find("projectcalico.org", "v3", "ippools").expect("a kind");
        let error = Patch::parse(pool, STRATEGIC, b"{}").expect_err("unsupported");
        assert_eq!(error.code, 415);
        assert!(Patch::parse(pool, "application/merge-patch+json; charset=utf-8", b"{}").is_ok());
    }

    #[test]
    fn a_json_patch_whose_test_fails_changes_nothing() {
        let patch = br#"[{"op":"test","path":"/a","value":2},{"op":"remove","path":"/a"}]"#;
        let patch = Patch::parse(Kind::core("pods"), JSON, patch).expect("a patch");
        assert_eq!(patch.apply(&json!({"a": 1})).expect_err("test fails").code, 422);
    }

    #[test]
    fn s44_a_json_patch_has_a_limit() {
        let operation = r#"{"op":"remove","path":"/a"}"#;
        let many = format!("[{}]", vec![operation; OPERATIONS + 1].join(","));
        let error = Patch::parse(Kind::core("pods"), JSON, many.as_bytes()).expect_err("too many");
        assert_eq!(error.code, 413);
    }
}
