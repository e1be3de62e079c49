//! What is served: discovery documents, old and aggregated, the version, OpenAPI.

use crate::kinds::{self, Kind};
use serde_json::{Value, json};

/// The Kubernetes whose conventions we keep.
const KUBERNETES: (&str, &str) = ("1", "32");

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

/// `/version`.
pub fn version() -> Value {
    let (major, minor) = KUBERNETES;
    json!({
        "major": major, "minor": minor, "gitVersion": format!("v{major}.{minor}.0+tortie-{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "rustc",
        "platform": format!("linux/{}", std::env::consts::ARCH),
    })
}

/// `/api`.
pub fn core_versions() -> Value {
    json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })
}

/// `/apis`.
pub fn groups() -> Value {
    let groups: Vec<Value> =
        kinds::groups().into_iter().map(|(group, version)| group_entry(group, version)).collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `/apis/{group}`.
pub fn group(name: &str) -> Value {
    let version =
        kinds::groups().into_iter().find(|(group, _)| *group == name).map_or("", |(_, version)| version);
    let mut group = group_entry(name, version);
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    group
}

fn group_entry(group: &str, version: &str) -> Value {
    let version = json!({ "groupVersion": format!("{group}/{version}"), "version": version });
    json!({ "name": group, "versions": [version], "preferredVersion": version })
}

fn of<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = &'static Kind> + use<'a> {
    kinds::all().iter().filter(move |kind| kind.group == group && kind.version == version)
}

/// `/api/v1` and `/apis/{group}/{version}`.
pub fn resources(group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    for kind in of(group, version) {
        resources.push(json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
            "verbs": VERBS, "shortNames": kind.short_names, "categories": kind.categories,
        }));
        if kind.status {
            resources.push(json!({
                "name": format!("{}/status", kind.plural), "singularName": "", "namespaced": kind.namespaced,
                "kind": kind.kind, "verbs": STATUS_VERBS,
            }));
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources })
}

/// `/api` (`core`) or `/apis` in one document.
pub fn aggregated(core: bool) -> Value {
    let groups = if core { vec![("", "v1")] } else { kinds::groups() };
    let items: Vec<Value> = groups
        .into_iter()
        .map(|(group, version)| {
            let resources: Vec<Value> = of(group, version).map(aggregated_resource).collect();
            json!({
                "metadata": { "name": group, "creationTimestamp": null },
                "versions": [{ "version": version, "resources": resources, "freshness": "Current" }],
            })
        })
        .collect();
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items })
}

fn aggregated_resource(kind: &Kind) -> Value {
    let response = json!({ "group": kind.group, "version": kind.version, "kind": kind.kind });
    let mut resource = json!({
        "resource": kind.plural, "responseKind": response, "singularResource": kind.singular,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "verbs": VERBS, "shortNames": kind.short_names, "categories": kind.categories,
    });
    if kind.status {
        resource["subresources"] =
            json!([{ "subresource": "status", "responseKind": response, "verbs": STATUS_VERBS }]);
    }
    resource
}

/// `/openapi/v3`.
pub fn openapi() -> Value {
    let mut paths = serde_json::Map::new();
    for (group, version) in std::iter::once(("", "v1")).chain(kinds::groups()) {
        let path =
            if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        let url = format!("/openapi/v3/{path}?hash={}", env!("CARGO_PKG_VERSION"));
        paths.insert(path, json!({ "serverRelativeURL": url }));
    }
    json!({ "paths": paths })
}

/// `/openapi/v3/apis/{group}/{version}`: as much as tells `kubectl` that the server validates fields itself.
pub fn openapi_of(group: &str, version: &str) -> Value {
    let (mut paths, mut schemas) = (serde_json::Map::new(), serde_json::Map::new());
    for kind in of(group, version) {
        let root =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let gvk = json!({ "group": group, "version": version, "kind": kind.kind });
        let operation = |action: &str, media_types: &[&str]| {
            let content: serde_json::Map<String, Value> =
                media_types.iter().map(|media_type| ((*media_type).to_owned(), json!({}))).collect();
            let parameter =
                |name: &str| json!({ "name": name, "in": "query", "schema": { "type": "string" } });
            json!({
                "x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk,
                "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
                "requestBody": { "content": content }, "responses": { "200": { "description": "OK" } },
            })
        };
        // Strategic merge patch is understood but not told of: `kubectl` would look for merge keys in the schemas here
        // instead of its own types.
        let patches = ["application/json-patch+json", "application/merge-patch+json"];
        let collection = format!("{root}{scope}/{}", kind.plural);
        paths.insert(collection.clone(), json!({ "post": operation("post", &["application/json"]) }));
        paths.insert(
            format!("{collection}/{{name}}"),
            json!({ "put": operation("put", &["application/json"]), "patch": operation("patch", &patches) }),
        );
        schemas.insert(schema_name(kind), schema(kind, gvk.clone()));
    }
    json!({
        "openapi": "3.0.0", "info": { "title": "Kubernetes", "version": "v1.32.0" },
        "paths": paths, "components": { "schemas": schemas },
    })
}

fn schema_name(kind: &Kind) -> String {
    let domain: Vec<&str> = kind.group.split('.').rev().filter(|part| !part.is_empty()).collect();
    format!(
        "{}.{}.{}",
        if domain.is_empty() { "io.k8s.api.core".into() } else { domain.join(".") },
        kind.version,
        kind.kind
    )
}

fn schema(kind: &Kind, gvk: Value) -> Value {
    let text = json!({ "type": "string" });
    let open = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({
        "type": "object", "x-kubernetes-group-version-kind": [gvk], "x-kubernetes-preserve-unknown-fields": kind.calico.is_none(),
        "properties": { "apiVersion": text, "kind": text, "metadata": open, "spec": open, "status": open },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_aggregated_discovery_say_the_same() {
        for (group, version) in std::iter::once(("", "v1")).chain(kinds::groups()) {
            let old: Vec<Value> =
                resources(group, version)["resources"].as_array().cloned().unwrap_or_default();
            let old: Vec<&Value> =
                old.iter().map(|r| &r["name"]).filter(|n| !n.to_string().contains('/')).collect();
            let new = aggregated(group.is_empty());
            let items = new["items"].as_array().cloned().unwrap_or_default();
            let item = items.iter().find(|item| item["metadata"]["name"] == group).expect("the group");
            let new: Vec<&Value> = item["versions"][0]["resources"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|r| &r["resource"])
                .collect();
            assert_eq!(old, new, "{group}");
        }
    }

    #[test]
    fn openapi_tells_that_fields_are_validated_here() {
        let document = openapi_of("projectcalico.org", "v3");
        let patch = &document["paths"]["/apis/projectcalico.org/v3/ippools/{name}"]["patch"];
        assert!(
            patch["parameters"]
                .as_array()
                .is_some_and(|list| list.iter().any(|p| p["name"] == "fieldValidation"))
        );
        assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_none());
    }
}
