//! The form in which objects go back: as they are, as a table for people, or their metadata alone.

use crate::kinds::Kind;
use crate::status::Status;
use crate::store::{self, Revision, Version};
use crate::table::{self, Include};
use crate::view;
use serde_json::{Value, json};

/// The forms that a client may ask for with `Accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Object,
    Table(Include),
    Metadata,
}

impl Form {
    /// The first media type of `accept` that we can make.
    pub fn negotiate(accept: &str, include: Option<&str>) -> Result<Form, Status> {
        if accept.trim().is_empty() {
            return Ok(Form::Object);
        }
        for option in accept.split(',') {
            let mut parts = option.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            if !matches!(media_type, "application/json" | "application/*" | "*/*") {
                continue;
            }
            let parameters: Vec<&str> = parts.collect();
            let meta = parameters.contains(&"g=meta.k8s.io") && parameters.contains(&"v=v1");
            match parameters.iter().find_map(|parameter| parameter.strip_prefix("as=")) {
                None => return Ok(Form::Object),
                Some("Table") if meta => return Ok(Form::Table(Include::parse(include)?)),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") if meta => {
                    return Ok(Form::Metadata);
                }
                Some(_) => {}
            }
        }
        Err(Status::not_acceptable("application/json"))
    }

    /// One object.
    pub fn one(self, kind: &Kind, body: &str, now: jiff::Timestamp) -> String {
        match self {
            Form::Object => view::body(kind, body).into_owned(),
            Form::Table(include) => {
                let object = view::shown(kind, store::object(body));
                let version = object["metadata"]["resourceVersion"].clone();
                table::table(kind, &[object], include, now, json!({ "resourceVersion": version }), true)
                    .to_string()
            }
            Form::Metadata => metadata(kind, body).to_string(),
        }
    }

    /// A list.
    pub fn list(self, kind: &Kind, versions: &[Version], meta: Value, now: jiff::Timestamp) -> String {
        let items = match self {
            Form::Table(include) => {
                let objects: Vec<Value> = versions.iter().map(|v| view::shown(kind, v.object())).collect();
                return table::table(kind, &objects, include, now, meta, true).to_string();
            }
            Form::Object => {
                versions.iter().map(|v| view::body(kind, &v.body).into_owned()).collect::<Vec<_>>()
            }
            Form::Metadata => versions.iter().map(|v| metadata(kind, &v.body).to_string()).collect(),
        };
        let (api_version, kind) = match self {
            Form::Metadata => ("meta.k8s.io/v1", "PartialObjectMetadataList".to_owned()),
            _ => (kind.api_version.as_str(), format!("{}List", kind.kind)),
        };
        format!(
            r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{meta},"items":[{}]}}"#,
            items.join(",")
        )
    }

    /// One event of a watch, as a line.
    pub fn event(self, kind: &Kind, event: &str, body: &str, first: bool) -> String {
        let object = match self {
            Form::Table(include) => {
                let object = view::shown(kind, store::object(body));
                let version = object["metadata"]["resourceVersion"].clone();
                let meta = json!({ "resourceVersion": version });
                table::table(kind, &[object], include, jiff::Timestamp::now(), meta, first).to_string()
            }
            Form::Object => view::body(kind, body).into_owned(),
            Form::Metadata => metadata(kind, body).to_string(),
        };
        format!("{{\"type\":\"{event}\",\"object\":{object}}}\n")
    }

    /// A bookmark, as a line; `initial` ends the initial events of a streamed list.
    pub fn bookmark(self, kind: &Kind, revision: Revision, initial: bool) -> String {
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if initial {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let object = match self {
            Form::Table(_) => {
                json!({ "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": [], "rows": [] })
            }
            Form::Object => {
                json!({ "kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata })
            }
            Form::Metadata => {
                json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata })
            }
        };
        format!("{{\"type\":\"BOOKMARK\",\"object\":{object}}}\n")
    }
}

fn metadata(kind: &Kind, body: &str) -> Value {
    let object = view::shown(kind, store::object(body));
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_we_can_make_is_taken() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        for (accept, expected) in [
            ("", Some(Form::Object)),
            ("*/*", Some(Form::Object)),
            ("application/json", Some(Form::Object)),
            (table, Some(Form::Table(Include::Metadata))),
            ("application/vnd.kubernetes.protobuf,application/json", Some(Form::Object)),
            ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Some(Form::Metadata)),
            ("application/vnd.kubernetes.protobuf", None),
        ] {
            assert_eq!(Form::negotiate(accept, None).ok(), expected, "{accept}");
        }
    }
}
