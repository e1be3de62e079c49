//! `patch` and `label`: one resource, read, changed and written back.

use crate::cli::{LabelArgs, PatchArgs};
use crate::document::Document;
use crate::failure::{Failure, Fault};
use crate::kind::Kind;
use crate::namespace;
use crate::session::Session;
use crate::store::Write;
use serde_json::Value;

/// Changes fields. Calico's kinds have no lists that merge by key, so a strategic patch is a merge patch (RFC 7386).
pub async fn patch(session: &mut Session<'_>, args: &PatchArgs) -> Result<(), Failure> {
    let hit = |text: String| Failure::new(format!("hit error: {text}"));
    let unsupported = || Failure::new(format!("resource type '{}' is not supported", args.kind));
    let kind = Kind::named(&args.kind).ok_or_else(unsupported)?;
    let namespace = namespace::of(kind, None, args.namespace.as_deref())?;
    let store = session.store().await?;
    let old = store.get(kind, namespace.as_deref(), &args.name).await.map_err(|e| hit(e.to_string()))?;
    let new = patched(old, &args.patch, &args.patch_type).map_err(hit)?;
    let document = Document::new(new).map_err(|failure| match failure.text.strip_prefix(UNREADABLE) {
        Some(why) => hit(format!("creating resource from patched data: {why}")),
        None => failure,
    })?;
    let written = store.write(document.kind, namespace.as_deref(), &document.value, Write::Patch).await;
    written.map_err(|e| hit(format!("updating existing resource: {e}")))?;
    session.print(&format!("Successfully patched 1 '{}' resource\n", kind.kind))
}

/// What stands before the reason why a text is no resource.
const UNREADABLE: &str = "failed to execute command: ";

fn patched(mut value: Value, patch: &str, patch_type: &str) -> Result<Value, String> {
    let invalid = |kind: &str| format!("performing {kind} patch: invalid JSON document");
    match patch_type {
        "json" => {
            let patch: json_patch::Patch = serde_json::from_str(patch).map_err(|_| invalid("JSON"))?;
            json_patch::patch(&mut value, &patch).map_err(|e| format!("performing JSON patch: {e}"))?;
        }
        "strategic" | "merge" => {
            let kind = if patch_type == "merge" { "merge" } else { "strategic merge" };
            let patch: Value = serde_json::from_str(patch).map_err(|_| invalid(kind))?;
            if !patch.is_object() {
                return Err(invalid(kind));
            }
            json_patch::merge(&mut value, &patch);
        }
        other => return Err(format!("unknown patch type '{other}': use strategic, merge or json")),
    }
    Ok(value)
}

/// Sets or removes a label.
pub async fn label(session: &mut Session<'_>, args: &LabelArgs) -> Result<(), Failure> {
    let (word, name) = (&args.kind, &args.name);
    let failed = |why: String| Failure::new(format!("failed to get {word} {name}, error {why}"));
    let kind = Kind::named(word).ok_or_else(|| failed(format!("resource type '{word}' is not supported")))?;
    let (key, value) = match args.label.split_once('=') {
        Some((key, value)) if !args.remove => (key, value),
        None if args.remove => (args.label.as_str(), ""),
        _ => {
            let text = "invalid label: write key=value to set a label, or key --remove to remove one";
            return Err(Failure::new(text));
        }
    };
    let namespace = namespace::of(kind, None, args.namespace.as_deref())?;
    let store = session.store().await?;
    let found = store.get(kind, namespace.as_deref(), name).await;
    let mut document = found.map_err(|fault| match fault {
        Fault::NotFound { .. } => Failure::new(format!("{word} {name} not found")),
        fault => failed(fault.to_string()),
    })?;
    let old = document["metadata"]["labels"][key].as_str().map(str::to_owned);
    let said = match (&old, args.remove) {
        (None, true) => {
            return Err(Failure::new(format!(
                "cannot remove label of {word} {name}, key {key} does not exist"
            )));
        }
        (Some(_), true) => format!("Successfully removed label {key} from {word} {name}\n"),
        (Some(old), false) if old != value && !args.overwrite => {
            return Err(Failure::new(format!(
                "failed to update label of {word} {name}, key {key} is already present. please use '--overwrite' to set a new value"
            )));
        }
        (Some(_), false) => format!("Successfully updated label {key} on {word} {name}\n"),
        (None, false) => format!("Successfully set label {key} on {word} {name}\n"),
    };
    if args.remove {
        if let Some(labels) = document["metadata"]["labels"].as_object_mut() {
            labels.remove(key);
        }
    } else {
        if document["metadata"]["labels"].is_null() {
            document["metadata"]["labels"] = Value::Object(serde_json::Map::new());
        }
        document["metadata"]["labels"][key] = value.into();
    }
    let written = store.write(kind, namespace.as_deref(), &document, Write::Patch).await;
    written.map_err(|e| Failure::new(format!("failed to update {word} {name}, label not changed: {e}")))?;
    session.print(&said)
}
