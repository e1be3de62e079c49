//! The table of kinds: names, scope, printed columns and fields.

use super::fields::{self, Field};

/// What `kubectl` and the API server know of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// `IPPool`.
    pub kind: &'static str,
    /// `ippools`: the name in URLs.
    pub plural: &'static str,
    /// `ippool`.
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub namespaced: bool,
    /// Whether `status` is written through a subresource.
    pub status: bool,
    /// Columns after the name in `kubectl get`; without any, `AGE` alone.
    pub columns: &'static [Column],
    /// The fields of `spec`.
    pub spec: &'static [Field],
}

/// A column of `kubectl get`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    /// As in a CRD's `additionalPrinterColumns`: `.spec.cidr`.
    pub json_path: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    pub column_type: &'static str,
}

const fn column(name: &'static str, json_path: &'static str, column_type: &'static str) -> Column {
    Column { name, json_path, column_type }
}

const AGE: Column = column("Age", ".metadata.creationTimestamp", "date");
const TIER: &[Column] = &[column("Tier", ".spec.tier", "string"), column("Order", ".spec.order", "integer")];

/// A cluster-wide kind without short names, status and columns: what the rows of the table start from.
const fn kind(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    spec: &'static [Field],
) -> Kind {
    Kind { kind, plural, singular, short_names: &[], namespaced: false, status: false, columns: &[], spec }
}

/// Every kind that is stored under `projectcalico.org/v3`, in alphabetical order.
pub const KINDS: &[Kind] = &[
    Kind {
        short_names: &["bgpconfig", "bgpconfigs"],
        ..kind("BGPConfiguration", "bgpconfigurations", "bgpconfiguration", fields::BGP_CONFIGURATION)
    },
    kind("BGPFilter", "bgpfilters", "bgpfilter", fields::BGP_FILTER),
    Kind {
        columns: &[
            column("Node Selector", ".spec.nodeSelector", "string"),
            column("Node", ".spec.node", "string"),
            column("Local ASN", ".spec.localASNumber", "string"),
            column("Peer Selector", ".spec.peerSelector", "string"),
            column("Peer IP", ".spec.peerIP", "string"),
            column("Peer ASN", ".spec.asNumber", "string"),
        ],
        ..kind("BGPPeer", "bgppeers", "bgppeer", fields::BGP_PEER)
    },
    Kind {
        short_names: &["affinity", "affinities"],
        columns: &[
            column("CIDR", ".spec.cidr", "string"),
            column("Node", ".spec.node", "string"),
            column("Type", ".spec.type", "string"),
        ],
        ..kind("BlockAffinity", "blockaffinities", "blockaffinity", fields::BLOCK_AFFINITY)
    },
    Kind {
        status: true,
        columns: &[column("Node", ".spec.node", "string"), column("Classes", ".spec.classes", "string")],
        ..kind("CalicoNodeStatus", "caliconodestatuses", "caliconodestatus", fields::CALICO_NODE_STATUS)
    },
    Kind {
        short_names: &["clusterinfo", "clusterinfos"],
        columns: &[
            column("Version", ".spec.calicoVersion", "string"),
            column("Ready", ".spec.datastoreReady", "boolean"),
            column("Types", ".spec.clusterType", "string"),
        ],
        ..kind("ClusterInformation", "clusterinformations", "clusterinformation", fields::CLUSTER_INFORMATION)
    },
    kind("FelixConfiguration", "felixconfigurations", "felixconfiguration", super::felix::SPEC),
    Kind {
        short_names: &["gnp", "cgnp"],
        columns: &[TIER[0], TIER[1], AGE],
        ..kind(
            "GlobalNetworkPolicy",
            "globalnetworkpolicies",
            "globalnetworkpolicy",
            fields::GLOBAL_NETWORK_POLICY,
        )
    },
    Kind {
        short_names: &["gns"],
        columns: &[AGE],
        ..kind("GlobalNetworkSet", "globalnetworksets", "globalnetworkset", fields::NETWORK_SET)
    },
    Kind {
        short_names: &["hep", "heps"],
        columns: &[
            column("Node", ".spec.node", "string"),
            column("Interface", ".spec.interfaceName", "string"),
        ],
        ..kind("HostEndpoint", "hostendpoints", "hostendpoint", fields::HOST_ENDPOINT)
    },
    Kind {
        columns: &[
            column("CIDR", ".spec.cidr", "string"),
            column("Affinity", ".spec.affinity", "string"),
            column("ClaimTime", ".spec.affinityClaimTime", "string"),
        ],
        ..kind("IPAMBlock", "ipamblocks", "ipamblock", fields::IPAM_BLOCK)
    },
    Kind {
        short_names: &["ipamconfig", "ipamconfigs"],
        columns: &[
            column("StrictAffinity", ".spec.strictAffinity", "boolean"),
            column("MaxBlocksPerHost", ".spec.maxBlocksPerHost", "integer"),
            column("AutoAllocateBlocks", ".spec.autoAllocateBlocks", "boolean"),
        ],
        ..kind("IPAMConfiguration", "ipamconfigurations", "ipamconfiguration", fields::IPAM_CONFIGURATION)
    },
    Kind {
        columns: &[column("ID", ".spec.handleID", "string")],
        ..kind("IPAMHandle", "ipamhandles", "ipamhandle", fields::IPAM_HANDLE)
    },
    Kind {
        status: true,
        columns: &[
            column("CIDR", ".spec.cidr", "string"),
            column("VXLAN", ".spec.vxlanMode", "string"),
            column("IPIP", ".spec.ipipMode", "string"),
            column("NAT", ".spec.natOutgoing", "boolean"),
            column("Allocatable", ".status.conditions[?(@.type=='Allocatable')].status", "string"),
            AGE,
        ],
        ..kind("IPPool", "ippools", "ippool", fields::IP_POOL)
    },
    kind("IPReservation", "ipreservations", "ipreservation", fields::IP_RESERVATION),
    Kind {
        short_names: &["kcc", "kccs"],
        status: true,
        ..kind(
            "KubeControllersConfiguration",
            "kubecontrollersconfigurations",
            "kubecontrollersconfiguration",
            fields::KUBE_CONTROLLERS_CONFIGURATION,
        )
    },
    Kind {
        short_names: &["cnp", "caliconetworkpolicy"],
        namespaced: true,
        columns: TIER,
        ..kind("NetworkPolicy", "networkpolicies", "networkpolicy", fields::NETWORK_POLICY)
    },
    Kind { namespaced: true, ..kind("NetworkSet", "networksets", "networkset", fields::NETWORK_SET) },
    Kind {
        short_names: &["sgnp"],
        columns: TIER,
        ..kind(
            "StagedGlobalNetworkPolicy",
            "stagedglobalnetworkpolicies",
            "stagedglobalnetworkpolicy",
            fields::STAGED_GLOBAL_NETWORK_POLICY,
        )
    },
    Kind {
        short_names: &["sknp"],
        namespaced: true,
        ..kind(
            "StagedKubernetesNetworkPolicy",
            "stagedkubernetesnetworkpolicies",
            "stagedkubernetesnetworkpolicy",
            fields::STAGED_KUBERNETES_NETWORK_POLICY,
        )
    },
    Kind {
        short_names: &["scnp", "snp"],
        namespaced: true,
        columns: TIER,
        ..kind(
            "StagedNetworkPolicy",
            "stagednetworkpolicies",
            "stagednetworkpolicy",
            fields::STAGED_NETWORK_POLICY,
        )
    },
    Kind {
        status: true,
        columns: &[
            column("Order", ".spec.order", "integer"),
            column("DefaultAction", ".spec.defaultAction", "string"),
            column("Status", ".status.conditions[?(@.type=='Ready')].reason", "string"),
        ],
        ..kind("Tier", "tiers", "tier", fields::TIER)
    },
];

/// Kinds that users write and read but nobody stores: made from Nodes, Pods, Namespaces and ServiceAccounts.
pub const VIEWS: &[Kind] = &[
    kind("Node", "nodes", "node", fields::NODE),
    kind("Profile", "profiles", "profile", fields::PROFILE),
    Kind {
        namespaced: true,
        ..kind("WorkloadEndpoint", "workloadendpoints", "workloadendpoint", fields::WORKLOAD_ENDPOINT)
    },
];

/// The row of a kind (`IPPool`), stored or not.
pub fn find(kind: &str) -> Option<&'static Kind> {
    KINDS.iter().chain(VIEWS).find(|row| row.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_is_in_alphabetical_order() {
        assert!(KINDS.is_sorted_by_key(|row| row.kind.to_lowercase()));
    }

    #[test]
    fn no_two_kinds_share_a_name() {
        let rows = KINDS.iter().chain(VIEWS);
        let names = |row: &Kind| [&[row.plural, row.singular], row.short_names].concat();
        let names: Vec<&str> = rows.flat_map(names).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }
}
