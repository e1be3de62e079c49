//! Server-side apply: a PATCH of the fields that a manager wants, which makes the object if there is none.

use super::write::{Done, Write, birth, with_warnings};
use super::{Api, Body, Call, collect, json, namespace};
use crate::admit;
use crate::json::{parse_yaml, text};
use crate::managed::{self, Applied};
use crate::object::{self, Part};
use crate::status::{Cause, Status};
use crate::store::{Tx, Version};
use crate::view;
use http::Response;
use serde_json::{Value, json};

impl Api {
    pub(super) async fn apply(&self, call: Call, write: Write) -> Result<Response<Body>, Status> {
        let form = call.form()?;
        if call.query.get("fieldManager").is_none() {
            let cause = Cause::required("fieldManager", "is required for apply patch");
            return Err(Status::bad_option("PatchOptions", &cause));
        }
        let (namespace, name) = (call.target.namespace.clone(), call.name().to_owned());
        let force = call.query.flag("force");
        let mut object = parse_yaml(&collect(call.body).await?)
            .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
        complete(&mut object, &namespace, &name)?;
        object = view::stored(call.view, object, None);
        let warnings = admit::prune(write.kind, &mut object, &[], write.validation)?;
        let applied = Applied { object, force };
        let (kind, view) = (write.kind, call.view);
        let (code, version) = self
            .store
            .write(write.dry, move |tx| match tx.get(kind, &namespace, &name)? {
                Some(old) => Ok((200, write.apply(tx, &old, &applied)?.version().clone())),
                None if write.part == Part::Status => Err(Status::not_found(kind, &name)),
                None => Ok((201, write.create(tx, &namespace, &applied)?)),
            })
            .await?;
        let body = form.one(view, &version.body, jiff::Timestamp::now());
        Ok(with_warnings(json(code, body), &warnings))
    }
}

impl Write {
    fn apply(&self, tx: &mut Tx<'_>, old: &Version, applied: &Applied) -> Result<Done, Status> {
        let before = old.object();
        let (mut merged, fields) = managed::apply(self.kind, &self.author, Some(&before), applied)?;
        managed::take(&mut merged);
        self.replace(tx, old, merged, |_, after| fields.write(after))
    }

    fn create(&self, tx: &mut Tx<'_>, namespace: &str, applied: &Applied) -> Result<Version, Status> {
        namespace::check_place(tx, self.kind, namespace)?;
        let (object, fields) = managed::apply(self.kind, &self.author, None, applied)?;
        let mut object = object::create(self.kind, namespace, object, &birth())?;
        fields.write(&mut object);
        self.admit(tx, &object)?;
        Ok(tx.put(self.kind, object)?)
    }
}

/// What a PATCH takes from its URL where the object does not say it, and what it must say.
fn complete(object: &mut Value, namespace: &str, name: &str) -> Result<(), Status> {
    let (api_version, kind) = (text(object, &["apiVersion"]), text(object, &["kind"]));
    if api_version.is_empty() || kind.is_empty() {
        let version = if api_version.is_empty() { "/" } else { api_version };
        return Err(Status::bad_request(format!(
            "invalid object type: {version}, Kind={kind}: an apply says its apiVersion and kind"
        )));
    }
    let metadata = &mut object["metadata"];
    match metadata {
        Value::Object(_) => {}
        Value::Null => *metadata = json!({}),
        _ => return Err(Status::bad_request("error decoding YAML: metadata must be an object")),
    }
    let given = metadata["name"].as_str().unwrap_or_default();
    if !given.is_empty() && given != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    metadata["name"] = json!(name);
    if !namespace.is_empty() && metadata["namespace"].is_null() {
        metadata["namespace"] = json!(namespace);
    }
    Ok(())
}
