//! Objects as trees of fields: which fields an object has, how two differ, how one is laid over another, and how fields
//! that nobody wants any more are taken out.

use super::fields::Fields;
use crate::kinds::Kind;
use crate::lists::{self, DEFAULT_KEY, Merge};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How two objects differ.
#[derive(Debug, Default)]
pub struct Changes {
    /// Added, or of another value.
    pub set: Fields,
    pub removed: Fields,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }
}

/// Fields that nobody manages: the server's own, and the object's name.
const SERVERS: [&[&str]; 11] = [
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:resourceVersion"],
    &["f:metadata", "f:generateName"],
];

fn without_servers(mut fields: Fields) -> Fields {
    for path in SERVERS {
        fields.remove(path);
    }
    fields
}

/// How a value is managed.
enum Shape<'v> {
    /// As one.
    Whole,
    Object(&'v Map<String, Value>),
    /// By element, each under its branch.
    List(Vec<(String, &'v Value)>),
}

fn shape<'v>(kind: &Kind, name: &str, value: &'v Value) -> Shape<'v> {
    match value {
        Value::Object(map) if !lists::is_whole_object(kind, name) => Shape::Object(map),
        Value::Array(items) => match lists::apply(kind, name, items) {
            Merge::Whole => Shape::Whole,
            merge => {
                let elements = items.iter().map(|item| Some((branch(merge, item)?, item)));
                elements.collect::<Option<_>>().map_or(Shape::Whole, Shape::List)
            }
        },
        _ => Shape::Whole,
    }
}

/// The branch of a list's element; `None` if it lacks its key.
fn branch(merge: Merge, item: &Value) -> Option<String> {
    match merge {
        Merge::Keys(keys) => {
            let (optional, default) = DEFAULT_KEY;
            let key = |key: &&str| match item.get(*key) {
                Some(value) => Some(((*key).to_owned(), value.clone())),
                None if *key == optional => Some(((*key).to_owned(), json!(default))),
                None => None,
            };
            let keys = keys.iter().map(key).collect::<Option<Map<_, _>>>()?;
            Some(format!("k:{}", Value::Object(keys)))
        }
        Merge::Set => Some(format!("v:{item}")),
        Merge::Whole => None,
    }
}

/// The fields that an object has.
pub fn fields(kind: &Kind, object: &Value) -> Fields {
    let mut found = Fields::default();
    collect(kind, "", object, &mut Vec::new(), &mut found);
    without_servers(found)
}

fn collect(kind: &Kind, name: &str, value: &Value, path: &mut Vec<String>, found: &mut Fields) {
    match shape(kind, name, value) {
        Shape::Object(map) if !map.is_empty() || path.is_empty() => {
            for (key, inner) in map {
                path.push(format!("f:{key}"));
                collect(kind, key, inner, path, found);
                path.pop();
            }
        }
        Shape::List(elements) => {
            for (branch, item) in elements {
                path.push(branch);
                found.insert(path);
                collect(kind, "", item, path, found);
                path.pop();
            }
        }
        Shape::Object(_) | Shape::Whole => found.insert(path),
    }
}

/// How `new` differs from `old`.
pub fn compare(kind: &Kind, old: &Value, new: &Value) -> Changes {
    let mut changes = Changes::default();
    differ(kind, "", Some(old), Some(new), &mut Vec::new(), &mut changes);
    Changes { set: without_servers(changes.set), removed: without_servers(changes.removed) }
}

fn differ(
    kind: &Kind,
    name: &str,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Vec<String>,
    changes: &mut Changes,
) {
    let (old, new) = (old.filter(|value| !value.is_null()), new.filter(|value| !value.is_null()));
    if old == new {
        return;
    }
    match (old.map(|old| shape(kind, name, old)), new.map(|new| shape(kind, name, new))) {
        (None | Some(Shape::Object(_)), None | Some(Shape::Object(_))) if !(is_void(old) && is_void(new)) => {
            let (before, after) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            let keys: BTreeSet<&String> = [before, after].into_iter().flatten().flat_map(Map::keys).collect();
            for key in keys {
                path.push(format!("f:{key}"));
                differ(kind, key, get(before, key), get(after, key), path, changes);
                path.pop();
            }
        }
        (before @ (None | Some(Shape::List(_))), after @ (None | Some(Shape::List(_)))) => {
            let (before, after) = (elements(before), elements(after));
            let branches: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for branch in branches {
                path.push(branch.clone());
                differ(kind, "", before.get(branch).copied(), after.get(branch).copied(), path, changes);
                path.pop();
            }
        }
        _ => {
            if new.is_some() {
                changes.set.insert(path)
            } else {
                changes.removed.insert(path)
            }
            return;
        }
    }
    match (old, new) {
        _ if path.is_empty() => {}
        (None, _) => changes.set.insert(path),
        (_, None) => changes.removed.insert(path),
        _ => {}
    }
}

fn get<'v>(map: Option<&'v Map<String, Value>>, key: &str) -> Option<&'v Value> {
    map.and_then(|map| map.get(key))
}

fn elements(shape: Option<Shape<'_>>) -> BTreeMap<String, &Value> {
    match shape {
        Some(Shape::List(elements)) => elements.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}

fn is_void(value: Option<&Value>) -> bool {
    value.and_then(Value::as_object).is_none_or(Map::is_empty)
}

/// Lays `wanted` over `target`.
pub fn merge(kind: &Kind, target: &mut Value, wanted: &Value) {
    lay(kind, "", target, wanted);
}

fn lay(kind: &Kind, name: &str, target: &mut Value, wanted: &Value) {
    let all = wanted.as_array().map(Vec::as_slice).unwrap_or_default();
    match (shape(kind, name, wanted), &mut *target) {
        (Shape::Object(wanted), Value::Object(fields)) => {
            for (key, inner) in wanted {
                lay(kind, key, fields.entry(key).or_insert(Value::Null), inner);
            }
        }
        (Shape::List(wanted), Value::Array(items)) => {
            let merge = lists::apply(kind, name, all);
            for (name, item) in &wanted {
                match items.iter().position(|found| branch(merge, found).as_ref() == Some(name)) {
                    Some(at) => lay(kind, "", &mut items[at], item),
                    None => items.push((*item).clone()),
                }
            }
            let place = |item: &Value| {
                let own = branch(merge, item);
                wanted.iter().position(|(name, _)| Some(name) == own.as_ref())
            };
            order(items, place);
        }
        _ => *target = wanted.clone(),
    }
}

/// Elements that have a place take it among each other; the rest stay where they are.
fn order(items: &mut [Value], place: impl Fn(&Value) -> Option<usize>) {
    let at: Vec<usize> = (0..items.len()).filter(|at| place(&items[*at]).is_some()).collect();
    let mut placed: Vec<Value> = at.iter().map(|at| items[*at].clone()).collect();
    placed.sort_by_key(&place);
    for (at, item) in at.into_iter().zip(placed) {
        items[at] = item;
    }
}

/// Takes out of `object` what is in `abandoned` and, with all below it, not in `held`.
pub fn prune(object: &mut Value, abandoned: &Fields, held: &Fields) {
    for (name, inner) in abandoned.branches() {
        let kept = held.branch(name);
        if inner.is_member() && kept.is_none_or(Fields::is_empty) {
            remove(object, name);
        } else if let Some(value) = at(object, name) {
            prune(value, inner, kept.unwrap_or(&Fields::default()));
            // What its manager made by naming something in it goes with the last thing in it.
            if kept.is_none_or(Fields::is_empty) && (*value == json!({}) || *value == json!([])) {
                remove(object, name);
            }
        }
    }
}

/// The value at a branch.
fn at<'v>(value: &'v mut Value, branch: &str) -> Option<&'v mut Value> {
    match value {
        Value::Object(fields) => fields.get_mut(branch.strip_prefix("f:")?),
        Value::Array(items) => items.iter_mut().find(|item| is_at(item, branch)),
        _ => None,
    }
}

fn remove(value: &mut Value, branch: &str) {
    match (value, branch.strip_prefix("f:")) {
        (Value::Object(fields), Some(name)) => drop(fields.remove(name)),
        (Value::Array(items), None) => items.retain(|item| !is_at(item, branch)),
        _ => {}
    }
}

/// Whether an element is the one of this branch.
fn is_at(item: &Value, branch: &str) -> bool {
    let (optional, default) = DEFAULT_KEY;
    match branch.split_once(':') {
        Some(("v", value)) => format!("{item}").as_str() == value,
        Some(("k", keys)) => serde_json::from_str::<Map<String, Value>>(keys).is_ok_and(|keys| {
            keys.iter().all(|(key, value)| match item.get(key) {
                Some(found) => found == value,
                None => key == optional && value == default,
            })
        }),
        _ => false,
    }
}

/// A field that is null is one that is not named.
pub fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, inner| !inner.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().filter(|item| item.is_object()).for_each(drop_nulls),
        _ => {}
    }
}
