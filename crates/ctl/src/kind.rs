//! The kinds that `get` and its sisters know: their names on the command line and the columns of their tables.

use crate::cells::{self, Row};
use model::schema;

/// A kind of resource.
pub struct Kind {
    /// As in documents: `IPPool`.
    pub kind: &'static str,
    /// Words for it on the command line, in lower case.
    pub names: &'static [&'static str],
    pub columns: &'static [Column],
    /// Columns of `-o wide`.
    pub wide: &'static [Column],
    /// How the kind is stored.
    pub storage: Storage,
}

/// How a kind is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// As itself.
    Resource,
    /// As a Kubernetes Node with annotations.
    Node,
    /// As a Pod: read only.
    Pod,
    /// As a Namespace or ServiceAccount: read only.
    Profile,
}

/// A column: its heading and what stands under it.
#[derive(Clone, Copy)]
pub struct Column {
    pub heading: &'static str,
    pub cell: Cell,
}

/// What stands in a cell.
#[derive(Clone, Copy)]
pub enum Cell {
    /// The text, number or boolean at a path; empty if there is none.
    Path(&'static str),
    /// The same, or this word.
    Or(&'static str, &'static str),
    /// A list's items, joined by commas.
    List(&'static str),
    /// Anything else.
    Made(fn(&Row<'_>) -> String),
}

use Cell::{List, Made, Or, Path};

const fn col(heading: &'static str, cell: Cell) -> Column {
    Column { heading, cell }
}

const NAME: Column = col("NAME", Path("metadata.name"));
const ONLY_NAME: &[Column] = &[NAME];
const TIER: Column = col("TIER", Or("spec.tier", "default"));
const ORDER: Column = col("ORDER", Made(cells::order));
const SELECTOR: Column = col("SELECTOR", Path("spec.selector"));
const POLICY: &[Column] = &[NAME, TIER];
const POLICY_WIDE: &[Column] = &[NAME, TIER, ORDER, SELECTOR];
const NETS: &[Column] = &[NAME, col("NETS", Made(cells::nets))];
const NETWORKS: Column = col("NETWORKS", List("spec.ipNetworks"));
const ASN: Column = col("ASN", Made(cells::node_asn));

const PEER: &[Column] = &[
    NAME,
    col("PEERIP", Path("spec.peerIP")),
    col("NODE", Made(cells::peer_node)),
    col("ASN", Path("spec.asNumber")),
];
const BGP: &[Column] = &[
    NAME,
    col("LOGSEVERITY", Path("spec.logSeverityScreen")),
    col("MESHENABLED", Or("spec.nodeToNodeMeshEnabled", "-")),
    col("ASNUMBER", Or("spec.asNumber", "-")),
];
const FILTER: &[Column] = &[
    NAME,
    col("NUMEXPORTV4", Made(|row| row.count("spec.exportV4"))),
    col("NUMIMPORTV4", Made(|row| row.count("spec.importV4"))),
    col("NUMEXPORTV6", Made(|row| row.count("spec.exportV6"))),
    col("NUMIMPORTV6", Made(|row| row.count("spec.importV6"))),
];
const CLUSTER: &[Column] = &[
    NAME,
    col("CLUSTERGUID", Path("spec.clusterGUID")),
    col("CLUSTERTYPE", Path("spec.clusterType")),
    col("CALICOVERSION", Path("spec.calicoVersion")),
    col("DATASTOREREADY", Or("spec.datastoreReady", "false")),
];
const TIERS: &[Column] = &[NAME, ORDER];

const fn resource(
    kind: &'static str,
    names: &'static [&'static str],
    columns: &'static [Column],
    wide: &'static [Column],
) -> Kind {
    Kind { kind, names, columns, wide, storage: Storage::Resource }
}

/// Every kind, in alphabetical order.
pub const KINDS: &[Kind] = &[
    resource(
        "BGPConfiguration",
        &["bgpconfiguration", "bgpconfigurations", "bgpconfig", "bgpconfigs"],
        BGP,
        BGP,
    ),
    resource("BGPFilter", &["bgpfilter", "bgpfilters", "bgpf", "bgpfs", "bf", "bfs"], FILTER, FILTER),
    resource("BGPPeer", &["bgppeer", "bgppeers", "bgpp", "bgpps", "bp", "bps"], PEER, PEER),
    resource(
        "CalicoNodeStatus",
        &["caliconodestatus", "caliconodestatuses", "nodestatus", "nodestatuses"],
        &[NAME, col("NODE", Path("spec.node"))],
        &[NAME, col("NODE", Path("spec.node")), col("CLASSES", List("spec.classes"))],
    ),
    resource(
        "ClusterInformation",
        &["clusterinformation", "clusterinformations", "clusterinfo", "clusterinfos"],
        CLUSTER,
        CLUSTER,
    ),
    resource(
        "FelixConfiguration",
        &["felixconfiguration", "felixconfigurations", "felixconfig", "felixconfigs"],
        ONLY_NAME,
        ONLY_NAME,
    ),
    resource(
        "GlobalNetworkPolicy",
        &["globalnetworkpolicy", "globalnetworkpolicies", "gnp", "gnps"],
        POLICY,
        POLICY_WIDE,
    ),
    resource("GlobalNetworkSet", &["globalnetworkset", "globalnetworksets", "gnetsets"], ONLY_NAME, NETS),
    resource(
        "HostEndpoint",
        &["hostendpoint", "hostendpoints", "hep", "heps"],
        &[NAME, col("NODE", Path("spec.node"))],
        &[
            NAME,
            col("NODE", Path("spec.node")),
            col("INTERFACE", Path("spec.interfaceName")),
            col("IPS", List("spec.expectedIPs")),
            col("PROFILES", List("spec.profiles")),
        ],
    ),
    resource(
        "IPAMConfiguration",
        &["ipamconfiguration", "ipamconfigurations", "ipamconfig", "ipamconfigs"],
        &[
            NAME,
            col("STRICTAFFINITY", Or("spec.strictAffinity", "false")),
            col("AUTOALLOCATEBLOCKS", Or("spec.autoAllocateBlocks", "false")),
        ],
        &[
            NAME,
            col("STRICTAFFINITY", Or("spec.strictAffinity", "false")),
            col("AUTOALLOCATEBLOCKS", Or("spec.autoAllocateBlocks", "false")),
            col("MAXBLOCKSPERHOST", Or("spec.maxBlocksPerHost", "0")),
        ],
    ),
    resource(
        "IPPool",
        &["ippool", "ippools", "ipp", "ipps", "pool", "pools"],
        &[NAME, col("CIDR", Path("spec.cidr")), col("SELECTOR", Path("spec.nodeSelector"))],
        &[
            NAME,
            col("CIDR", Path("spec.cidr")),
            col("NAT", Or("spec.natOutgoing", "false")),
            col("IPIPMODE", Or("spec.ipipMode", "Never")),
            col("VXLANMODE", Or("spec.vxlanMode", "Never")),
            col("DISABLED", Or("spec.disabled", "false")),
            col("DISABLEBGPEXPORT", Or("spec.disableBGPExport", "false")),
            col("SELECTOR", Path("spec.nodeSelector")),
            col("ASSIGNMENTMODE", Or("spec.assignmentMode", "Automatic")),
        ],
    ),
    resource(
        "IPReservation",
        &["ipreservation", "ipreservations", "reservation", "reservations"],
        ONLY_NAME,
        &[NAME, col("CIDRS", List("spec.reservedCIDRs"))],
    ),
    resource(
        "KubeControllersConfiguration",
        &[
            "kubecontrollersconfiguration",
            "kubecontrollersconfigurations",
            "kubecontrollersconfig",
            "kubecontrollersconfigs",
        ],
        ONLY_NAME,
        ONLY_NAME,
    ),
    resource(
        "NetworkPolicy",
        &["networkpolicy", "networkpolicies", "policy", "policies", "np", "nps", "pol", "pols"],
        POLICY,
        POLICY_WIDE,
    ),
    resource("NetworkSet", &["networkset", "networksets", "netsets"], ONLY_NAME, NETS),
    Kind {
        storage: Storage::Node,
        ..resource(
            "Node",
            &["node", "nodes", "no", "nos"],
            ONLY_NAME,
            &[
                NAME,
                ASN,
                col("IPV4", Path("spec.bgp.ipv4Address")),
                col("IPV6", Path("spec.bgp.ipv6Address")),
            ],
        )
    },
    Kind {
        storage: Storage::Profile,
        ..resource(
            "Profile",
            &["profile", "profiles", "pro", "pros"],
            ONLY_NAME,
            &[NAME, col("LABELS", Made(cells::labels_to_apply))],
        )
    },
    resource(
        "StagedGlobalNetworkPolicy",
        &["stagedglobalnetworkpolicy", "stagedglobalnetworkpolicies", "sgnp", "sgnps"],
        POLICY,
        POLICY_WIDE,
    ),
    resource(
        "StagedKubernetesNetworkPolicy",
        &[
            "stagedkubernetesnetworkpolicy",
            "stagedkubernetesnetworkpolicies",
            "stagedkubernetespolicy",
            "stagedkubernetespolicies",
            "sknp",
            "sknps",
            "skpol",
            "skpols",
        ],
        ONLY_NAME,
        &[NAME, col("PODSELECTOR", Made(cells::pod_selector))],
    ),
    resource(
        "StagedNetworkPolicy",
        &[
            "stagednetworkpolicy",
            "stagednetworkpolicies",
            "stagedpolicy",
            "stagedpolicies",
            "snp",
            "spol",
            "spols",
        ],
        POLICY,
        POLICY_WIDE,
    ),
    resource("Tier", &["tier", "tiers"], TIERS, TIERS),
    Kind {
        storage: Storage::Pod,
        ..resource(
            "WorkloadEndpoint",
            &["workloadendpoint", "workloadendpoints", "wep", "weps"],
            &[
                col("WORKLOAD", Made(cells::workload)),
                col("NODE", Path("spec.node")),
                NETWORKS,
                col("INTERFACE", Path("spec.interfaceName")),
            ],
            &[
                NAME,
                col("WORKLOAD", Made(cells::workload)),
                col("NODE", Path("spec.node")),
                NETWORKS,
                col("INTERFACE", Path("spec.interfaceName")),
                col("PROFILES", List("spec.profiles")),
                col("NATS", Made(cells::nats)),
            ],
        )
    },
];

impl Kind {
    /// The kind that a word of the command line names, in any case.
    pub fn named(word: &str) -> Option<&'static Kind> {
        let word = word.to_lowercase();
        KINDS.iter().find(|kind| kind.names.contains(&word.as_str()))
    }

    /// The kind of a document.
    pub fn of_document(kind: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|known| known.kind == kind)
    }

    /// Whether its objects live in namespaces.
    pub fn namespaced(&self) -> bool {
        schema::find(self.kind).is_some_and(|kind| kind.namespaced)
    }

    /// `Kind(name)` or `Kind(namespace/name)`.
    pub fn object(&self, namespace: Option<&str>, name: &str) -> String {
        match namespace.filter(|_| self.namespaced()) {
            Some(namespace) => format!("{}({namespace}/{name})", self.kind),
            None => format!("{}({name})", self.kind),
        }
    }

    /// The column of a heading, of the narrow table or the wide one.
    pub fn column(&self, heading: &str) -> Option<Column> {
        self.wide.iter().chain(self.columns).find(|column| column.heading == heading).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_the_schema_and_no_word_names_two() {
        let mut words = std::collections::BTreeSet::new();
        for kind in KINDS {
            assert!(schema::find(kind.kind).is_some(), "{}", kind.kind);
            for name in kind.names {
                assert!(words.insert(name), "{name} names two kinds");
            }
        }
    }

    #[test]
    fn the_case_of_a_word_does_not_matter() {
        assert_eq!(Kind::named("IPPOOLS").map(|k| k.kind), Some("IPPool"));
        assert!(Kind::named("ippool.projectcalico.org").is_none());
    }
}
