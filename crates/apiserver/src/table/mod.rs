//! Tables for people: the columns of `kubectl get`, per kind (`k8s.io/kubernetes/pkg/printers/internalversion`).
//!
//! Input is objects and the time, output a `meta.k8s.io/v1` Table. Columns of priority 1 are shown by `-o wide` only.

mod age;
mod network;
mod node;
mod path;
mod pod;

use crate::json::text;
use crate::kinds::Kind;
use crate::status::Status;
use age::since;
use model::schema::Column;
use serde_json::{Value, json};

/// What of the object each row carries along (`includeObject`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    /// Reads the query parameter.
    pub fn parse(text: Option<&str>) -> Result<Include, Status> {
        match text {
            None | Some("Metadata") => Ok(Include::Metadata),
            Some("None") => Ok(Include::None),
            Some("Object") => Ok(Include::Object),
            Some(other) => Err(Status::bad_request(format!(
                "unrecognized includeObject value {other:?}: use one of None, Metadata, Object"
            ))),
        }
    }
}

/// A column: name, type, format, priority.
type Head = (&'static str, &'static str, &'static str, u8);

/// How rows of a kind are made.
struct Layout {
    heads: &'static [Head],
    cells: fn(&Value, jiff::Timestamp) -> Vec<Value>,
}

const NAME: Head = ("Name", "string", "name", 0);
const AGE: Head = ("Age", "string", "", 0);

const fn column(name: &'static str) -> Head {
    (name, "string", "", 0)
}

const fn wide(name: &'static str) -> Head {
    (name, "string", "", 1)
}

/// The table of `objects`; `heads` says whether to tell the columns.
pub fn table(
    kind: &Kind,
    objects: &[Value],
    include: Include,
    now: jiff::Timestamp,
    meta: Value,
    heads: bool,
) -> Value {
    let layout = layout(kind);
    let definitions: Vec<Value> = match (&layout, heads) {
        (_, false) => Vec::new(),
        (Some(layout), true) => layout.heads.iter().map(|head| definition(*head)).collect(),
        (None, true) => calico_heads(kind)
            .map(|(name, column_type, format)| definition((name, column_type, format, 0)))
            .collect(),
    };
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells = match &layout {
                Some(layout) => (layout.cells)(object, now),
                None => calico_cells(kind, object, now),
            };
            let mut row = json!({ "cells": cells });
            match include {
                Include::None => {}
                Include::Object => row["object"] = object.clone(),
                Include::Metadata => {
                    row["object"] = json!({
                        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
                    });
                }
            }
            row
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
        "columnDefinitions": if heads { json!(definitions) } else { Value::Null }, "rows": rows,
    })
}

fn definition((name, column_type, format, priority): Head) -> Value {
    json!({ "name": name, "type": column_type, "format": format, "description": "", "priority": priority })
}

fn layout(kind: &Kind) -> Option<Layout> {
    Some(match kind.resource.as_str() {
        "pods" => Layout { heads: pod::HEADS, cells: pod::cells },
        "nodes" => Layout { heads: node::HEADS, cells: node::cells },
        "namespaces" => Layout { heads: const { &[NAME, column("Status"), AGE] }, cells: namespace },
        "services" => Layout {
            heads: const {
                &[
                    NAME,
                    column("Type"),
                    column("Cluster-IP"),
                    column("External-IP"),
                    column("Port(s)"),
                    AGE,
                    wide("Selector"),
                ]
            },
            cells: network::service,
        },
        "configmaps" => {
            Layout { heads: const { &[NAME, ("Data", "integer", "", 0), AGE] }, cells: config_map }
        }
        "secrets" => Layout {
            heads: const { &[NAME, column("Type"), ("Data", "integer", "", 0), AGE] },
            cells: secret,
        },
        "serviceaccounts" => {
            Layout { heads: const { &[NAME, ("Secrets", "integer", "", 0), AGE] }, cells: service_account }
        }
        "endpointslices.discovery.k8s.io" => Layout {
            heads: const { &[NAME, column("AddressType"), column("Ports"), column("Endpoints"), AGE] },
            cells: network::endpoint_slice,
        },
        "networkpolicies.networking.k8s.io" => {
            Layout { heads: const { &[NAME, column("Pod-Selector"), AGE] }, cells: network::policy }
        }
        "leases.coordination.k8s.io" => {
            Layout { heads: const { &[NAME, column("Holder"), AGE] }, cells: lease }
        }
        "events" => Layout {
            heads: const {
                &[
                    column("Last Seen"),
                    column("Type"),
                    column("Reason"),
                    column("Object"),
                    wide("Subobject"),
                    wide("Source"),
                    column("Message"),
                    wide("First Seen"),
                    wide("Count"),
                    ("Name", "string", "name", 1),
                ]
            },
            cells: event,
        },
        _ => return None,
    })
}

fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

fn age(object: &Value, now: jiff::Timestamp) -> Value {
    json!(since(text(object, &["metadata", "creationTimestamp"]), now))
}

fn or_none(text: &str) -> Value {
    json!(if text.is_empty() { "<none>" } else { text })
}

fn count(object: &Value, fields: &[&str]) -> Value {
    let length = |field: &&str| {
        object[*field]
            .as_object()
            .map_or_else(|| object[*field].as_array().map_or(0, Vec::len), serde_json::Map::len)
    };
    json!(fields.iter().map(length).sum::<usize>())
}

fn namespace(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(object), json!(text(object, &["status", "phase"])), age(object, now)]
}

fn config_map(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(object), count(object, &["data", "binaryData"]), age(object, now)]
}

fn secret(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(object), object["type"].clone(), count(object, &["data"]), age(object, now)]
}

fn service_account(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(object), count(object, &["secrets"]), age(object, now)]
}

fn lease(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(object), json!(text(object, &["spec", "holderIdentity"])), age(object, now)]
}

fn event(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let first_of = |fields: &[&str]| {
        let given = fields.iter().map(|field| text(object, &[field])).find(|time| !time.is_empty());
        given.unwrap_or_else(|| text(object, &["metadata", "creationTimestamp"])).to_owned()
    };
    let involved = &object["involvedObject"];
    let about = format!("{}/{}", text(involved, &["kind"]).to_ascii_lowercase(), text(involved, &["name"]));
    let source = [text(object, &["source", "component"]), text(object, &["source", "host"])];
    vec![
        json!(since(&first_of(&["lastTimestamp", "eventTime", "firstTimestamp"]), now)),
        json!(text(object, &["type"])),
        json!(text(object, &["reason"])),
        json!(about),
        json!(text(involved, &["fieldPath"])),
        json!(source.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(", ")),
        json!(text(object, &["message"]).trim()),
        json!(since(&first_of(&["firstTimestamp", "eventTime"]), now)),
        json!(object["count"].as_u64().unwrap_or(1).to_string()),
        name(object),
    ]
}

/// Columns that Calico's CRDs give; a CRD without any has its age.
fn calico_columns(kind: &Kind) -> &'static [Column] {
    const AGE_ALONE: &[Column] =
        &[Column { name: "Age", json_path: ".metadata.creationTimestamp", column_type: "date" }];
    match kind.calico.filter(|_| !kind.is_view()).map(|schema| schema.columns) {
        Some(columns) if !columns.is_empty() => columns,
        _ => AGE_ALONE,
    }
}

fn calico_heads(kind: &Kind) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    std::iter::once(("Name", "string", "name"))
        .chain(calico_columns(kind).iter().map(|c| (c.name, c.column_type, "")))
}

fn calico_cells(kind: &Kind, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let cell = |column: &Column| match (path::find(object, column.json_path), column.column_type) {
        (None, "date") => json!("<unknown>"),
        (None, _) => Value::Null,
        (Some(value), "date") => json!(since(value.as_str().unwrap_or_default(), now)),
        (Some(value @ (Value::Object(_) | Value::Array(_))), _) => json!(value.to_string()),
        (Some(value), _) => value.clone(),
    };
    std::iter::once(name(object)).chain(calico_columns(kind).iter().map(cell)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> jiff::Timestamp {
        "2026-01-01T01:00:00Z".parse().expect("a time")
    }

    fn cells(kind: &Kind, object: Value) -> Value {
        table(kind, &[object], Include::None, now(), json!({}), true)["rows"][0]["cells"].clone()
    }

    #[test]
    fn every_kind_has_as_many_cells_as_columns() {
        for kind in crate::kinds::all() {
            let table =
                table(kind, &[json!({"metadata": {"name": "a"}})], Include::Metadata, now(), json!({}), true);
            let count = |value: &Value| value.as_array().map(Vec::len);
            assert_eq!(
                count(&table["columnDefinitions"]),
                count(&table["rows"][0]["cells"]),
                "{}",
                kind.kind
            );
        }
    }

    #[test]
    fn a_pool_has_the_columns_of_its_crd() {
        let pool = crate::kinds::find("projectcalico.org", "v3", "ippools").expect("a kind");
        let object = json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"cidr": "6.2.0.0/16", "vxlanMode": "Always", "ipipMode": "Never", "natOutgoing": true},
            "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Allocatable", "status": "True"}]}});
        assert_eq!(cells(pool, object), json!(["p", "6.2.0.0/16", "Always", "Never", true, "True", "60m"]));
    }

    #[test]
    fn services_and_events_read_as_in_kubectl() {
        let service = json!({"metadata": {"name": "s", "creationTimestamp": "2026-01-01T00:59:00Z"}, "spec": {
            "type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}, {"port": 53, "protocol": "UDP"}],
            "selector": {"app": "web"}}});
        assert_eq!(
            cells(Kind::core("services"), service),
            json!(["s", "NodePort", "<none>", "<none>", "80:30000/TCP,53/UDP", "60s", "app=web"])
        );
        let event = json!({"metadata": {"name": "e"}, "type": "Warning", "reason": "Failed", "message": "no\n",
            "involvedObject": {"kind": "Pod", "name": "a"}, "lastTimestamp": "2026-01-01T00:58:30Z",
            "source": {"component": "kubelet", "host": "n1"}});
        let cells = cells(Kind::core("events"), event);
        assert_eq!(
            (&cells[0], &cells[3], &cells[5]),
            (&json!("90s"), &json!("pod/a"), &json!("kubelet, n1"))
        );
    }
}
