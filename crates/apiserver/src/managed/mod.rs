//! Server-side apply: who manages which field, as `metadata.managedFields` keeps it, and what an apply makes of it.
//!
//! ```text
//!   applied object ──► fields ─┐
//!   stored object ─────────────┴─► tree::merge ─► prune ─► tree::compare ─► conflicts, or the new object
//!   stored managedFields ─► entries ─────────────────────────────────────► the new managedFields
//! ```
//!
//! Rules are those of `sigs.k8s.io/structured-merge-diff`: an apply manages what it names; what it named before, does not
//! name any more and nobody else manages is removed; what it changes and somebody else manages is a conflict, unless it
//! forces. Any other write manages what it changed. An object without `managedFields` is not tracked until the first
//! apply, which gives what it finds to `before-first-apply`.

mod entries;
mod fields;
mod tree;

use crate::kinds::Kind;
use crate::object::Part;
use crate::status::Status;
use entries::{Entries, Manager, Operation};
use fields::Fields;
use serde_json::{Value, json};

/// Who writes, and when.
#[derive(Clone, Debug)]
pub struct Author {
    /// `fieldManager` of the query, or the name of the program.
    pub name: String,
    pub part: Part,
    /// RFC 3339, whole seconds.
    pub now: String,
}

impl Author {
    fn manager(&self, kind: &Kind, operation: Operation) -> Manager {
        Manager {
            name: self.name.clone(),
            operation,
            api_version: kind.api_version.clone(),
            subresource: if self.part == Part::Status { "status".to_owned() } else { String::new() },
        }
    }
}

/// Whether fields of new objects of `kind` are tracked from the beginning. Of those that programs alone write, many and
/// often, they are not until somebody applies one.
fn is_tracked(kind: &Kind) -> bool {
    !matches!(kind.plural, "events" | "leases" | "ipamblocks" | "ipamhandles" | "blockaffinities")
}

/// Takes the client's own `managedFields` out of what it sent.
pub fn take(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove("managedFields")
}

/// Gives `new`, which is about to be stored in place of `old`, its `managedFields`; `sent` are those that came with it.
pub fn track(kind: &Kind, author: &Author, old: Option<&Value>, new: &mut Value, sent: Option<Value>) {
    // One empty entry: the client wants them forgotten.
    if sent.as_ref().is_some_and(|sent| *sent == json!([{}]) || *sent == json!([])) && old.is_some() {
        take(new);
        return;
    }
    let kept = sent.as_ref().map(Entries::read).filter(|sent| old.is_some() && !sent.is_empty());
    let mut entries = match (kept, old) {
        (Some(sent), _) => sent,
        (None, Some(old)) => Entries::read(&old["metadata"]["managedFields"]),
        (None, None) => Entries::default(),
    };
    let begins = old.is_none() && is_tracked(kind);
    if entries.is_empty() && !begins {
        return;
    }
    let changes = match old {
        Some(old) => tree::compare(kind, old, new),
        None => tree::compare(kind, &blank(kind), &without_status(kind, new)),
    };
    entries.changed(author.manager(kind, Operation::Update), &changes, &author.now);
    entries.write(new);
}

/// What an apply asks for.
pub struct Applied {
    pub object: Value,
    pub force: bool,
}

/// The object after an apply on `live` (`None` if there is none yet), without `managedFields`, and the entries that it
/// gets once it is stored.
///
/// # Errors
/// 409 with one cause for each field that another manager holds.
pub fn apply(
    kind: &Kind,
    author: &Author,
    live: Option<&Value>,
    applied: &Applied,
) -> Result<(Value, Pending), Status> {
    let mut wanted = applied.object.clone();
    if take(&mut wanted).is_some_and(|fields| !fields.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let skipped = if author.part == Part::Status { "spec" } else { "status" };
    if kind.status
        && let Value::Object(fields) = &mut wanted
    {
        fields.remove(skipped);
    }
    tree::drop_nulls(&mut wanted);
    let own = author.manager(kind, Operation::Apply);
    let names = tree::fields(kind, &wanted);
    let Some(live) = live else {
        let mut entries = Entries::default();
        entries.apply(own, names, &author.now, true);
        return Ok((wanted, Pending(entries)));
    };
    let mut entries = Entries::read(&live["metadata"]["managedFields"]);
    if entries.is_empty() {
        let before = Author { name: "before-first-apply".into(), part: Part::Main, now: author.now.clone() };
        let found = tree::fields(kind, &without_status(kind, live));
        entries.apply(before.manager(kind, Operation::Update), found, &author.now, true);
    }
    let mut merged = live.clone();
    tree::merge(kind, &mut merged, &wanted);
    let abandoned = entries.of(&own).map_or_else(Fields::default, |last| last.minus(&names));
    let held = entries.others(&own).fold(names.clone(), |all, other| all.plus(other));
    tree::prune(&mut merged, &abandoned, &held);
    let changes = tree::compare(kind, live, &merged);
    let conflicts = entries.conflicts(&own, &changes);
    if !applied.force && !conflicts.is_empty() {
        return Err(entries::refusal(&conflicts));
    }
    entries.yielded(&own, &changes);
    entries.apply(own, names, &author.now, !changes.is_empty());
    Ok((merged, Pending(entries)))
}

/// The `managedFields` of an object that is not stored yet.
pub struct Pending(Entries);

impl Pending {
    /// Gives them to it.
    pub fn write(&self, object: &mut Value) {
        self.0.write(object);
    }
}

/// What every new object of `kind` has before anybody has written anything: Go's structs without pointers.
fn blank(kind: &Kind) -> Value {
    match (kind.calico, kind.resource.as_str()) {
        (Some(_), _) => json!({"metadata": {}}),
        (None, "pods") => json!({"metadata": {}, "spec": {"containers": []}}),
        (None, _) => json!({"metadata": {}, "spec": {}, "status": {}}),
    }
}

/// The status of a new object is not its creator's, where it is a part of its own.
fn without_status(kind: &Kind, object: &Value) -> Value {
    let mut object = object.clone();
    if kind.status
        && let Value::Object(fields) = &mut object
    {
        fields.remove("status");
    }
    object
}

#[cfg(test)]
mod tests;
