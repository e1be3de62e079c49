//! The table of kinds that are served: Kubernetes' own and Calico's.

use model::schema;
use std::sync::LazyLock;

/// A kind, as discovery describes it and as the verbs treat it.
#[derive(Debug)]
pub struct Kind {
    /// Its place in the table.
    pub id: usize,
    /// `""` for the core group.
    pub group: &'static str,
    pub version: &'static str,
    /// `IPPool`.
    pub kind: &'static str,
    /// `ippools`.
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    /// `spec` and `status` are written apart.
    pub status: bool,
    /// Calico's schema; `None` for Kubernetes' own kinds.
    pub calico: Option<&'static schema::Kind>,
    /// `ippools.projectcalico.org` or `pods`: the word in messages and the key in the store.
    pub resource: String,
    /// `projectcalico.org/v3` or `v1`.
    pub api_version: String,
}

impl Kind {
    /// Whether `metadata.generation` counts changes of the spec.
    pub fn has_generation(&self) -> bool {
        self.calico.is_some() || self.plural == "pods"
    }

    /// Custom resources are only replaced with a `resourceVersion`.
    pub fn needs_version(&self) -> bool {
        self.calico.is_some() || self.plural == "leases"
    }

    /// Custom resources know no strategic merge patch.
    pub fn takes_strategic_patch(&self) -> bool {
        self.calico.is_none()
    }

    /// The kind by name, for code that works on one.
    pub fn core(plural: &str) -> &'static Kind {
        find("", "v1", plural).expect("asked for kinds of the table")
    }
}

/// All kinds, in the order of discovery.
pub fn all() -> &'static [Kind] {
    &KINDS
}

/// The kind at `/apis/{group}/{version}/…/{plural}`.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|k| k.group == group && k.version == version && k.plural == plural)
}

/// Groups but the core one with their versions, each once, in the order of discovery.
pub fn groups() -> Vec<(&'static str, &'static str)> {
    let mut groups: Vec<_> =
        KINDS.iter().filter(|k| !k.group.is_empty()).map(|k| (k.group, k.version)).collect();
    groups.dedup();
    groups
}

const NAMESPACED: bool = true;
const CLUSTER: bool = false;
const STATUS: bool = true;
const PLAIN: bool = false;

type Row =
    (&'static str, &'static str, &'static str, &'static [&'static str], &'static [&'static str], bool, bool);

/// Group/version, kind, plural, short names, categories, scope, status.
const KUBERNETES: &[Row] = &[
    ("v1", "ConfigMap", "configmaps", &["cm"], &[], NAMESPACED, PLAIN),
    ("v1", "Event", "events", &["ev"], &[], NAMESPACED, PLAIN),
    ("v1", "Namespace", "namespaces", &["ns"], &[], CLUSTER, STATUS),
    ("v1", "Node", "nodes", &["no"], &[], CLUSTER, STATUS),
    ("v1", "Pod", "pods", &["po"], &["all"], NAMESPACED, STATUS),
    ("v1", "Secret", "secrets", &[], &[], NAMESPACED, PLAIN),
    ("v1", "Service", "services", &["svc"], &["all"], NAMESPACED, STATUS),
    ("v1", "ServiceAccount", "serviceaccounts", &["sa"], &[], NAMESPACED, PLAIN),
    ("coordination.k8s.io/v1", "Lease", "leases", &[], &[], NAMESPACED, PLAIN),
];

static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let kubernetes =
        KUBERNETES.iter().map(|&(api_version, kind, plural, short_names, categories, namespaced, status)| {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let singular = plural.strip_suffix('s').expect("each row's plural is a regular one");
            (group, version, kind, plural, singular, short_names, categories, namespaced, status, None)
        });
    let calico = schema::KINDS.iter().map(|k| {
        let categories: &[&str] = &[];
        (
            "projectcalico.org",
            "v3",
            k.kind,
            k.plural,
            k.singular,
            k.short_names,
            categories,
            k.namespaced,
            k.status,
            Some(k),
        )
    });
    kubernetes
        .chain(calico)
        .enumerate()
        .map(
            |(
                id,
                (group, version, kind, plural, singular, short_names, categories, namespaced, status, calico),
            )| {
                let (resource, api_version) = match group {
                    "" => (plural.to_owned(), version.to_owned()),
                    _ => (format!("{plural}.{group}"), format!("{group}/{version}")),
                };
                Kind {
                    id,
                    group,
                    version,
                    kind,
                    plural,
                    singular,
                    short_names,
                    categories,
                    namespaced,
                    status,
                    calico,
                    resource,
                    api_version,
                }
            },
        )
        .collect()
});
