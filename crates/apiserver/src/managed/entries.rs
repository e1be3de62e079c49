//! `metadata.managedFields`: one entry for each manager, what it did (`Apply` or `Update`) and the API version and part of
//! the object that it wrote through.

use super::fields::Fields;
use super::tree::Changes;
use crate::status::Status;
use serde_json::{Value, json};

/// How a manager came to its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

/// A manager: entries of the same one are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    pub name: String,
    pub operation: Operation,
    pub api_version: String,
    /// Empty for the object without its status.
    pub subresource: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    manager: Manager,
    /// RFC 3339; empty where an entry had none.
    time: String,
    fields: Fields,
}

/// All entries of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries(Vec<Entry>);

/// Entries of programs that wrote without applying; older ones become one, as in Kubernetes.
const UPDATES: usize = 10;
const ANCIENT: &str = "ancient-changes";

impl Entries {
    /// Reads an object's entries; what is none is left out.
    pub fn read(value: &Value) -> Entries {
        let entries = value.as_array().into_iter().flatten();
        Entries(entries.filter_map(entry).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes them into an object, in Kubernetes' order.
    pub fn write(&self, object: &mut Value) {
        let mut entries: Vec<&Entry> = self.0.iter().collect();
        entries.sort_by_key(|entry| {
            let Manager { name, operation, api_version, subresource } = &entry.manager;
            (*operation, &entry.time, name, api_version, subresource)
        });
        if entries.is_empty() {
            super::take(object);
        } else {
            object["metadata"]["managedFields"] = entries.into_iter().map(Entry::to_json).collect();
        }
    }

    /// The fields of a manager.
    pub fn of(&self, manager: &Manager) -> Option<&Fields> {
        self.0.iter().find(|entry| entry.manager == *manager).map(|entry| &entry.fields)
    }

    /// The fields of all but one.
    pub fn others(&self, manager: &Manager) -> impl Iterator<Item = &Fields> {
        self.0.iter().filter(move |entry| entry.manager != *manager).map(|entry| &entry.fields)
    }

    /// A write that is no apply: what it changed becomes `by`'s alone.
    pub fn changed(&mut self, by: Manager, changes: &Changes, now: &str) {
        for entry in &mut self.0 {
            entry.fields = entry.fields.minus(&changes.set).minus(&changes.removed);
        }
        if !changes.set.is_empty() {
            let fields = self.of(&by).cloned().unwrap_or_default().plus(&changes.set);
            self.set(by, fields, now);
        }
        self.tidy();
    }

    /// An apply by `by`: it manages `fields` now.
    pub fn apply(&mut self, by: Manager, fields: Fields, now: &str, changed: bool) {
        let found = self.0.iter().find(|entry| entry.manager == by);
        let same = found.filter(|entry| !changed && entry.fields == fields).map(|entry| entry.time.clone());
        self.set(by, fields, &same.unwrap_or_else(|| now.to_owned()));
        self.tidy();
    }

    /// What an apply by `by` changed is no longer the others'.
    pub fn yielded(&mut self, by: &Manager, changes: &Changes) {
        for entry in self.0.iter_mut().filter(|entry| entry.manager != *by) {
            entry.fields = entry.fields.minus(&changes.set).minus(&changes.removed);
        }
    }

    /// Who else manages what `by` is about to change.
    pub fn conflicts(&self, by: &Manager, changes: &Changes) -> Vec<Conflict> {
        let others = self.0.iter().filter(|entry| entry.manager != *by);
        others
            .flat_map(|entry| {
                let held = entry.fields.shared(&changes.set).paths();
                held.into_iter().map(|path| Conflict { holder: entry.spelled(), path })
            })
            .collect()
    }

    fn set(&mut self, manager: Manager, fields: Fields, time: &str) {
        self.0.retain(|entry| entry.manager != manager);
        self.0.push(Entry { manager, time: time.to_owned(), fields });
    }

    fn tidy(&mut self) {
        self.0.retain(|entry| !entry.fields.is_empty());
        let update = |entry: &Entry| entry.manager.operation == Operation::Update;
        while self.0.iter().filter(|entry| update(entry)).count() > UPDATES {
            self.0.sort_by(|a, b| a.time.cmp(&b.time));
            let mut oldest = self.0.iter().enumerate().filter(|(_, entry)| update(entry)).map(|(at, _)| at);
            let (Some(first), Some(second)) = (oldest.next(), oldest.next()) else { return };
            let old = self.0.remove(first);
            let into = &mut self.0[second - 1];
            into.fields = std::mem::take(&mut into.fields).plus(&old.fields);
            ANCIENT.clone_into(&mut into.manager.name);
        }
    }
}

fn entry(value: &Value) -> Option<Entry> {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let operation = match value["operation"].as_str()? {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    let manager = Manager {
        name: text("manager"),
        operation,
        api_version: text("apiVersion"),
        subresource: text("subresource"),
    };
    Some(Entry { manager, time: text("time"), fields: Fields::read(&value["fieldsV1"]) })
}

impl Entry {
    fn to_json(&self) -> Value {
        let Manager { name, operation, api_version, subresource } = &self.manager;
        let operation = match operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        let mut entry = json!({
            "manager": name, "operation": operation, "apiVersion": api_version,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.to_json(),
        });
        for (field, text) in [("time", &self.time), ("subresource", subresource)] {
            if !text.is_empty() {
                entry[field] = json!(text);
            }
        }
        entry
    }

    /// The manager in a conflict's words.
    fn spelled(&self) -> String {
        let Manager { name, operation, api_version, subresource } = &self.manager;
        let mut text = format!("{name:?}");
        if !subresource.is_empty() {
            text += &format!(" with subresource {subresource:?}");
        }
        if *operation == Operation::Update {
            text += &format!(" using {api_version}");
        }
        text
    }
}

/// A field that an apply would take from another manager.
#[derive(Debug, PartialEq, Eq)]
pub struct Conflict {
    holder: String,
    path: String,
}

/// 409 in Kubernetes' words, of which `kubectl` makes its advice.
pub fn refusal(conflicts: &[Conflict]) -> Status {
    let causes: Vec<Value> = conflicts
        .iter()
        .map(|Conflict { holder, path }| {
            json!({ "reason": "FieldManagerConflict", "message": format!("conflict with {holder}"), "field": path })
        })
        .collect();
    let message = match conflicts {
        [Conflict { holder, path }] => {
            format!("Apply failed with 1 conflict: conflict with {holder}: {path}")
        }
        many => {
            let mut holders: Vec<&str> = many.iter().map(|conflict| conflict.holder.as_str()).collect();
            holders.sort_unstable();
            holders.dedup();
            let lines = holders.into_iter().flat_map(|holder| {
                let paths = many.iter().filter(move |conflict| conflict.holder == holder);
                let paths = paths.map(|conflict| format!("- {}", conflict.path));
                std::iter::once(format!("conflicts with {holder}:")).chain(paths)
            });
            format!("Apply failed with {} conflicts: {}", many.len(), lines.collect::<Vec<_>>().join("\n"))
        }
    };
    Status::apply_conflict(message, causes)
}
