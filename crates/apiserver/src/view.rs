//! `crd.projectcalico.org/v1`: the objects of `projectcalico.org/v3` in the form in which clusters from before store them.
//!
//! There, an object's labels, annotations and time of birth stand as JSON in the annotation `projectcalico.org/metadata`
//! (`libcalico-go/lib/backend/k8s/resources`), its uid is another one (`ConvertUID`), `IPAMConfiguration` is called
//! `IPAMConfig`, and a block affinity's `deleted` is a text.
//!
//! Of an object that comes back, the annotation counts if the client wrote it, as Calico does; if it is as it was shown,
//! the object's own labels and annotations count, as `kubectl` writes them.

use crate::json::text;
use crate::kinds::Kind;
use crate::store::{self, Version};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

const V3: &str = "projectcalico.org/v3";
const V1: &str = "crd.projectcalico.org/v1";
/// The annotation with the metadata of the object as Calico's users know it.
const METADATA: &str = "projectcalico.org/metadata";
/// Labels and annotations of this prefix stand both in the annotation and on the object.
const OWNED: &str = "projectcalico.org/";

/// A stored body in the form of `kind`.
pub fn body<'b>(kind: &Kind, body: &'b str) -> Cow<'b, str> {
    if kind.is_view() {
        Cow::Owned(shown(kind, store::object(body)).to_string())
    } else {
        Cow::Borrowed(body)
    }
}

/// A stored object in the form of `kind`.
pub fn shown(kind: &Kind, mut object: Value) -> Value {
    if !kind.is_view() {
        return object;
    }
    let annotation = annotation(&object);
    object["kind"] = json!(kind.kind);
    rename(&mut object, V3, V1);
    object["metadata"]["annotations"][METADATA] = json!(annotation);
    if kind.kind == "BlockAffinity" {
        let deleted = object["spec"]["deleted"].as_bool().unwrap_or(false);
        object["spec"]["deleted"] = json!(deleted.to_string());
    }
    object
}

/// An object in the form of `kind` as it is to be stored, in place of `old` if there is one.
pub fn stored(kind: &Kind, mut object: Value, old: Option<&Version>) -> Value {
    if !kind.is_view() || !object.is_object() {
        return object;
    }
    if text(&object, &["kind"]) == kind.kind {
        object["kind"] = json!(kind.calico.map_or(kind.kind, |schema| schema.kind));
    }
    if matches!(text(&object, &["apiVersion"]), "" | V1) {
        rename(&mut object, V1, V3);
    }
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        settle(metadata, old.map(|old| annotation(&old.object())).as_deref());
    }
    if kind.kind == "BlockAffinity"
        && let deleted @ ("true" | "false") = text(&object, &["spec", "deleted"])
    {
        object["spec"]["deleted"] = json!(deleted == "true");
    }
    object
}

/// The uid that an object of `kind` has in the other form.
pub fn uid(kind: &Kind, uid: &str) -> String {
    if kind.is_view() { reversed(uid) } else { uid.to_owned() }
}

/// Each byte with its bits reversed, but for the two that say what sort of uid it is.
fn reversed(uid: &str) -> String {
    let Ok(parsed) = uuid::Uuid::parse_str(uid) else { return uid.to_owned() };
    let mut bytes = parsed.into_bytes();
    for (at, byte) in bytes.iter_mut().enumerate() {
        if at != 6 && at != 8 {
            *byte = byte.reverse_bits();
        }
    }
    uuid::Uuid::from_bytes(bytes).to_string()
}

/// Moves an object, those of its owners that are of Calico, and its managers from one API version to the other.
fn rename(object: &mut Value, from: &str, to: &str) {
    object["apiVersion"] = json!(to);
    let Some(metadata) = object.get_mut("metadata") else { return };
    reverse_uid(metadata);
    for list in ["ownerReferences", "managedFields"] {
        for item in metadata.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if text(item, &["apiVersion"]) == from {
                item["apiVersion"] = json!(to);
                reverse_uid(item);
            }
        }
    }
}

fn reverse_uid(holder: &mut Value) {
    if let Some(Value::String(uid)) = holder.get_mut("uid") {
        *uid = reversed(uid);
    }
}

/// The annotation of a stored object, its fields in Calico's order.
fn annotation(object: &Value) -> String {
    let metadata = &object["metadata"];
    let kind = text(object, &["kind"]);
    let mut fields = Vec::new();
    if kind.ends_with("NetworkPolicy") {
        fields.push(format!("\"name\":{}", metadata["name"]));
    }
    // What kubectl made has one when Calico writes it for the first time; only of these kubectl alone makes any.
    if kind == "CalicoNodeStatus" {
        fields.push(format!("\"generation\":{}", metadata["generation"]));
    }
    // Address management keeps none.
    let ageless = kind.starts_with("IPAM") || kind == "BlockAffinity";
    let born = if ageless { &Value::Null } else { &metadata["creationTimestamp"] };
    fields.push(format!("\"creationTimestamp\":{born}"));
    for field in ["labels", "annotations"] {
        if !metadata[field].is_null() {
            fields.push(format!("{field:?}:{}", metadata[field]));
        }
    }
    format!("{{{}}}", fields.join(","))
}

/// Takes the annotation out of `metadata`, and labels and annotations from it unless it is as it was `shown`.
fn settle(metadata: &mut Map<String, Value>, shown: Option<&str>) {
    let annotations = metadata.get_mut("annotations").and_then(Value::as_object_mut);
    let Some(Value::String(given)) = annotations.and_then(|map| map.remove(METADATA)) else { return };
    let parsed: Value = serde_json::from_str(&given).unwrap_or_default();
    if shown == Some(given.as_str()) || !parsed.is_object() {
        return;
    }
    for field in ["labels", "annotations"] {
        let own = metadata.get(field).and_then(Value::as_object).into_iter().flatten();
        let mut settled: Map<String, Value> = own
            .filter(|(key, _)| key.starts_with(OWNED))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        settled.extend(parsed[field].as_object().cloned().unwrap_or_default());
        metadata.insert(field.to_owned(), Value::Object(settled));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::find;

    fn view(plural: &str) -> &'static Kind {
        find("crd.projectcalico.org", "v1", plural).expect("a view")
    }

    fn version(object: &Value) -> Version {
        Version {
            revision: 1,
            namespace: String::new(),
            name: String::new(),
            body: object.to_string().into(),
        }
    }

    fn set() -> Value {
        json!({"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet", "metadata": {
            "name": "blocked", "uid": "258a6c04-12ce-449e-af9e-184962ecea48", "creationTimestamp": "2026-11-23T03:11:18Z",
            "labels": {"role": "blocked"}}, "spec": {"nets": ["203.0.113.0/24"]}})
    }

    #[test]
    fn an_object_is_shown_with_its_metadata_as_an_annotation_and_another_uid() {
        let shown = shown(view("globalnetworksets"), set());
        assert_eq!(
            shown["metadata"]["annotations"][METADATA],
            r#"{"creationTimestamp":"2026-11-23T03:11:18Z","labels":{"role":"blocked"}}"#
        );
        assert_eq!(shown["metadata"]["uid"], "a4513620-4873-4479-af79-189246375712");
        assert_eq!(shown["apiVersion"], "crd.projectcalico.org/v1");
        assert_eq!(stored(view("globalnetworksets"), shown, Some(&version(&set()))), {
            let mut set = set();
            set["metadata"]["annotations"] = json!({});
            set
        });
    }

    #[test]
    fn whoever_writes_the_annotation_speaks_through_it_and_others_through_the_object() {
        let view = view("globalnetworksets");
        let old = version(&set());
        let mut by_kubectl = shown(view, set());
        by_kubectl["metadata"]["labels"]["more"] = json!("yes");
        let labels = |object: Value| stored(view, object, Some(&old))["metadata"]["labels"].clone();
        assert_eq!(labels(by_kubectl), json!({"role": "blocked", "more": "yes"}));
        let mut by_calico = shown(view, set());
        by_calico["metadata"]["annotations"][METADATA] = json!(r#"{"labels":{"role":"open"}}"#);
        by_calico["metadata"]["labels"] = json!({"projectcalico.org/tier": "default"});
        assert_eq!(labels(by_calico), json!({"role": "open", "projectcalico.org/tier": "default"}));
    }

    #[test]
    fn names_and_types_that_differ_are_put_right_both_ways() {
        let config = json!({"apiVersion": V3, "kind": "IPAMConfiguration", "metadata": {"name": "default"}, "spec": {}});
        let shown_config = shown(view("ipamconfigs"), config.clone());
        assert_eq!(shown_config["kind"], "IPAMConfig");
        assert_eq!(shown_config["metadata"]["annotations"][METADATA], r#"{"creationTimestamp":null}"#);
        assert_eq!(
            stored(view("ipamconfigs"), shown_config, Some(&version(&config)))["kind"],
            "IPAMConfiguration"
        );
        let affinity =
            json!({"apiVersion": V3, "kind": "BlockAffinity", "metadata": {"name": "a"}, "spec": {}});
        let shown_affinity = shown(view("blockaffinities"), affinity);
        assert_eq!(shown_affinity["spec"]["deleted"], "false");
        assert_eq!(stored(view("blockaffinities"), shown_affinity, None)["spec"]["deleted"], false);
    }
}
