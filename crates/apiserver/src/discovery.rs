//! What is served: discovery documents, old and aggregated, and the version.

use crate::kinds::{self, Kind};
use serde_json::{Value, json};

/// The Kubernetes whose conventions we keep.
pub const KUBERNETES: (&str, &str) = ("1", "32");

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

/// Kinds of a group and version.
pub fn of<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = &'static Kind> + use<'a> {
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
}
