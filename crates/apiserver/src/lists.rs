//! How lists of Kubernetes' own kinds are merged: element by element, where its types say so, else as one.
//!
//! A list is known by its name and, where one name has two meanings, by a look at its elements. The strategic merge patch
//! goes by `patchStrategy` and `patchMergeKey` of `k8s.io/api`, server-side apply by `x-kubernetes-list-type` and
//! `x-kubernetes-list-map-keys` of the OpenAPI schema; the two differ here and there.

use crate::kinds::Kind;
use serde_json::Value;

/// What makes two elements the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// These fields of it.
    Keys(&'static [&'static str]),
    /// All of it.
    Set,
    /// Nothing: the list is replaced.
    Whole,
}

/// A field that a key may leave out, with its default.
pub const DEFAULT_KEY: (&str, &str) = ("protocol", "TCP");

struct List {
    names: &'static [&'static str],
    /// A field that tells this list from another one of the name.
    having: Option<&'static str>,
    patch: Merge,
    apply: Merge,
}

const fn keyed(names: &'static [&'static str], keys: &'static [&'static str]) -> List {
    List { names, having: None, patch: Merge::Keys(keys), apply: Merge::Keys(keys) }
}

const METADATA: &[List] = &[
    keyed(&["ownerReferences"], &["uid"]),
    List { names: &["finalizers"], having: None, patch: Merge::Set, apply: Merge::Set },
];

const KUBERNETES: &[List] = &[
    keyed(
        &[
            "containers",
            "initContainers",
            "ephemeralContainers",
            "volumes",
            "env",
            "imagePullSecrets",
            "secrets",
            "resourceClaims",
            "resourceClaimStatuses",
        ],
        &["name"],
    ),
    List {
        having: Some("containerPort"),
        apply: Merge::Keys(&["containerPort", "protocol"]),
        ..keyed(&["ports"], &["containerPort"])
    },
    List { having: Some("port"), apply: Merge::Keys(&["port", "protocol"]), ..keyed(&["ports"], &["port"]) },
    keyed(&["volumeMounts"], &["mountPath"]),
    keyed(&["volumeDevices"], &["devicePath"]),
    List { having: Some("type"), ..keyed(&["conditions", "addresses"], &["type"]) },
    keyed(&["podIPs", "hostAliases"], &["ip"]),
    List { apply: Merge::Whole, ..keyed(&["hostIPs"], &["ip"]) },
    List {
        apply: Merge::Keys(&["topologyKey", "whenUnsatisfiable"]),
        ..keyed(&["topologySpreadConstraints"], &["topologyKey"])
    },
    List { apply: Merge::Whole, ..keyed(&["taints"], &["key"]) },
    List { names: &["podCIDRs"], having: None, patch: Merge::Set, apply: Merge::Set },
];

/// How a strategic merge patch merges the list `name`, which has or gets these elements.
pub fn patch(name: &str, elements: &[Value]) -> Merge {
    find(&[METADATA, KUBERNETES], name, elements).map_or(Merge::Whole, |list| list.patch)
}

/// How server-side apply merges the list `name` of `kind`. Calico's lists are merged as one.
pub fn apply(kind: &Kind, name: &str, elements: &[Value]) -> Merge {
    // Of these the schema has no merged list.
    let plain = kind.calico.is_some() || matches!(kind.group, "discovery.k8s.io" | "networking.k8s.io");
    let tables: &[&'static [List]] = if plain { &[METADATA] } else { &[METADATA, KUBERNETES] };
    find(tables, name, elements).map_or(Merge::Whole, |list| list.apply)
}

fn find(tables: &[&'static [List]], name: &str, elements: &[Value]) -> Option<&'static List> {
    let has =
        |field: &str| elements.is_empty() || elements.iter().any(|element| element.get(field).is_some());
    tables
        .iter()
        .flat_map(|table| table.iter())
        .find(|list| list.names.contains(&name) && list.having.is_none_or(has))
}

/// Objects of Kubernetes' own kinds that server-side apply takes as one (`x-kubernetes-map-type: atomic`).
pub fn is_whole_object(kind: &Kind, name: &str) -> bool {
    kind.calico.is_none()
        && (name.ends_with("KeyRef")
            || matches!(
                name,
                "nodeSelector"
                    | "selector"
                    | "podSelector"
                    | "namespaceSelector"
                    | "labelSelector"
                    | "fieldRef"
                    | "resourceFieldRef"
                    | "involvedObject"
                    | "related"
            ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_is_known_by_its_name_and_elements() {
        let pods = Kind::core("pods");
        let pool = crate::kinds::find("projectcalico.org", "v3", "ippools").expect("a kind");
        let port = [json!({"containerPort": 80})];
        for (name, elements, patched, applied) in [
            (
                "ports",
                &port[..],
                Merge::Keys(&["containerPort"]),
                Merge::Keys(&["containerPort", "protocol"]),
            ),
            ("taints", &[], Merge::Keys(&["key"]), Merge::Whole),
            ("finalizers", &[], Merge::Set, Merge::Set),
            ("ports", &[], Merge::Keys(&["containerPort"]), Merge::Keys(&["containerPort", "protocol"])),
            ("args", &[], Merge::Whole, Merge::Whole),
            ("addresses", &[json!("10.0.0.1")], Merge::Whole, Merge::Whole),
        ] {
            assert_eq!((patch(name, elements), apply(pods, name, elements)), (patched, applied), "{name}");
        }
        assert_eq!(apply(pool, "containers", &[]), Merge::Whole);
        assert_eq!(apply(pool, "finalizers", &[]), Merge::Set);
    }
}
