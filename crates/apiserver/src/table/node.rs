//! Nodes in `kubectl get` (`printNode`).

use super::{AGE, Head, NAME, age, column, name, or_none, wide};
use crate::json::text;
use serde_json::{Value, json};

pub const HEADS: &[Head] = &[
    NAME,
    column("Status"),
    column("Roles"),
    AGE,
    column("Version"),
    wide("Internal-IP"),
    wide("External-IP"),
    wide("OS-Image"),
    wide("Kernel-Version"),
    wide("Container-Runtime"),
];

const ROLE: &str = "node-role.kubernetes.io/";

/// A node's row.
pub fn cells(node: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let list = |field: &str| node["status"][field].as_array().map(Vec::as_slice).unwrap_or_default();
    let address = |wanted: &str| {
        list("addresses").iter().find(|a| a["type"] == wanted).map_or("", |a| text(a, &["address"]))
    };
    let ready = list("conditions").iter().find(|condition| condition["type"] == "Ready");
    let mut status = match ready.map(|condition| text(condition, &["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let software = |field: &str| {
        let text = text(node, &["status", "nodeInfo", field]);
        json!(if text.is_empty() { "<unknown>" } else { text })
    };
    vec![
        name(node),
        json!(status),
        or_none(&roles(node).join(",")),
        age(node, now),
        json!(text(node, &["status", "nodeInfo", "kubeletVersion"])),
        or_none(address("InternalIP")),
        or_none(address("ExternalIP")),
        software("osImage"),
        software("kernelVersion"),
        software("containerRuntimeVersion"),
    ]
}

fn roles(node: &Value) -> Vec<String> {
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let mut roles: Vec<String> = labels
        .filter_map(|(key, value)| match key.strip_prefix(ROLE) {
            Some("") | None if key == "kubernetes.io/role" => value.as_str().map(str::to_owned),
            Some("") | None => None,
            Some(role) => Some(role.to_owned()),
        })
        .collect();
    roles.sort();
    roles.dedup();
    roles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_row_is_the_articles() {
        let now = "2026-01-01T01:00:00Z".parse().expect("a time");
        let node = json!({"metadata": {"name": "master1", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"node-role.kubernetes.io/master": "", "x": "y"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "192.168.50.161"}],
                "nodeInfo": {"kubeletVersion": "v1.32.0", "osImage": "Linux", "kernelVersion": "6.1", "containerRuntimeVersion": "lab"}}});
        let expected = [
            "master1",
            "Ready",
            "master",
            "60m",
            "v1.32.0",
            "192.168.50.161",
            "<none>",
            "Linux",
            "6.1",
            "lab",
        ];
        assert_eq!(cells(&node, now), expected);
        let bare = cells(&json!({"metadata": {"name": "n"}, "spec": {"unschedulable": true}}), now);
        assert_eq!(bare[1..3], [json!("Unknown,SchedulingDisabled"), json!("<none>")]);
    }
}
