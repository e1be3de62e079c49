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
    pub singular: String,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    /// `spec` and `status` are written apart.
    pub status: bool,
    /// Calico's schema; `None` for Kubernetes' own kinds.
    pub calico: Option<&'static schema::Kind>,
    /// The place of the kind that is stored, of which this one is another form.
    view_of: Option<usize>,
    /// `ippools.projectcalico.org` or `pods`: the word in messages and the key in the store.
    pub resource: String,
    /// `projectcalico.org/v3` or `v1`.
    pub api_version: String,
}

impl Kind {
    /// The kind that is stored: itself, unless it is a view.
    pub fn stored(&'static self) -> &'static Kind {
        self.view_of.map_or(self, |id| &all()[id])
    }

    /// Whether its objects are another kind's in another form.
    pub fn is_view(&self) -> bool {
        self.view_of.is_some()
    }

    /// Whether `metadata.generation` counts changes of the spec.
    pub fn has_generation(&self) -> bool {
        self.calico.is_some() || matches!(self.plural, "pods" | "endpointslices" | "networkpolicies")
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

/// The group under which Calico's kinds are stored.
const CALICO: &str = "projectcalico.org";
/// The group under which clusters from before have them: see [`crate::view`].
const VIEWS: &str = "crd.projectcalico.org";

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
    ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", &[], &[], NAMESPACED, PLAIN),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", &["netpol"], &[], NAMESPACED, PLAIN),
];

static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let mut kinds = Vec::new();
    for &(api_version, kind, plural, short_names, categories, namespaced, status) in KUBERNETES {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        kinds.push(Kind {
            id: kinds.len(),
            group,
            version,
            kind,
            plural,
            singular: singular(plural),
            short_names,
            categories,
            namespaced,
            status,
            calico: None,
            view_of: None,
            resource,
            api_version: api_version.to_owned(),
        });
    }
    for kind in schema::KINDS {
        let id = kinds.len();
        kinds.push(calico(id, kind));
    }
    // After all that are stored: their places stay what they are, and `kubectl get ippools` means the group before.
    for kind in schema::KINDS {
        let (id, of) = (
            kinds.len(),
            kinds.iter().position(|stored| stored.kind == kind.kind && stored.calico.is_some()),
        );
        kinds.push(view(id, of, kind));
    }
    kinds
});

fn calico(id: usize, kind: &'static schema::Kind) -> Kind {
    Kind {
        id,
        group: CALICO,
        version: "v3",
        kind: kind.kind,
        plural: kind.plural,
        singular: kind.singular.to_owned(),
        short_names: kind.short_names,
        categories: &[],
        namespaced: kind.namespaced,
        status: kind.status,
        calico: Some(kind),
        view_of: None,
        resource: format!("{}.{CALICO}", kind.plural),
        api_version: format!("{CALICO}/v3"),
    }
}

/// The kind as `crd.projectcalico.org/v1` has it.
fn view(id: usize, of: Option<usize>, kind: &'static schema::Kind) -> Kind {
    let (name, plural) = match kind.kind {
        "IPAMConfiguration" => ("IPAMConfig", "ipamconfigs"),
        name => (name, kind.plural),
    };
    Kind {
        group: VIEWS,
        version: "v1",
        kind: name,
        plural,
        singular: singular(plural),
        short_names: &[],
        view_of: of,
        resource: format!("{plural}.{VIEWS}"),
        api_version: format!("{VIEWS}/v1"),
        ..calico(id, kind)
    }
}

fn singular(plural: &str) -> String {
    match plural.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None if plural.ends_with("statuses") => plural.trim_end_matches("es").to_owned(),
        None => plural.trim_end_matches('s').to_owned(),
    }
}
