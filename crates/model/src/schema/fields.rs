//! The fields of every kind's `spec` and their JSON types, as in Calico's CRDs.

use self::Type::*;

/// A field's name and type.
pub type Field = (&'static str, Type);

/// The JSON type of a field.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    Bool,
    Int,
    Number,
    Str,
    /// A span of time as Go writes it: `1m30s`.
    Duration,
    /// A port, protocol or AS number: a number or a text.
    IntOrStr,
    /// An object with keys of the user's own.
    Map,
    List(&'static Type),
    Object(&'static [Field]),
}

pub(super) const STRINGS: Type = List(&Str);
pub(super) const PORTS: Type = List(&IntOrStr);

pub(super) const IP_POOL: &[Field] = &[
    ("allowedUses", STRINGS),
    ("assignmentMode", Str),
    ("blockSize", Int),
    ("cidr", Str),
    ("disableBGPExport", Bool),
    ("disabled", Bool),
    ("ipipMode", Str),
    ("namespaceSelector", Str),
    ("natOutgoing", Bool),
    ("nodeSelector", Str),
    ("vxlanMode", Str),
];

pub(super) const IP_RESERVATION: &[Field] = &[("reservedCIDRs", STRINGS)];

pub(super) const IPAM_BLOCK: &[Field] = &[
    ("affinity", Str),
    ("affinityClaimTime", Str),
    ("allocations", List(&Int)),
    (
        "attributes",
        List(&Object(&[
            ("alternateOwnerAttrs", Map),
            ("handle_id", Str),
            ("releasedAt", Str),
            ("secondary", Map),
        ])),
    ),
    ("cidr", Str),
    ("deleted", Bool),
    ("sequenceNumber", Int),
    ("sequenceNumberForAllocation", Map),
    ("strictAffinity", Bool),
    ("unallocated", List(&Int)),
];

pub(super) const BLOCK_AFFINITY: &[Field] =
    &[("cidr", Str), ("deleted", Bool), ("node", Str), ("state", Str), ("type", Str)];

pub(super) const IPAM_HANDLE: &[Field] = &[("block", Map), ("deleted", Bool), ("handleID", Str)];

pub(super) const IPAM_CONFIGURATION: &[Field] = &[
    ("autoAllocateBlocks", Bool),
    ("ipCooldownSeconds", Int),
    ("kubeVirtVMAddressPersistence", Str),
    ("maxBlocksPerHost", Int),
    ("strictAffinity", Bool),
];

pub(super) const CLUSTER_INFORMATION: &[Field] = &[
    ("calicoVersion", Str),
    ("clusterGUID", Str),
    ("clusterType", Str),
    ("datastoreReady", Bool),
    ("variant", Str),
];

const SECRET: Type = Object(&[("secretKeyRef", Object(&[("key", Str), ("name", Str), ("optional", Bool)]))]);
const CIDR_ITEMS: Type = List(&Object(&[("cidr", Str)]));

pub(super) const BGP_CONFIGURATION: &[Field] = &[
    ("asNumber", IntOrStr),
    ("bindMode", Str),
    ("communities", List(&Object(&[("name", Str), ("value", Str)]))),
    ("ignoredInterfaces", STRINGS),
    ("ipv4NormalRoutePriority", Int),
    ("ipv6NormalRoutePriority", Int),
    ("listenPort", Int),
    ("localWorkloadPeeringIPV4", Str),
    ("localWorkloadPeeringIPV6", Str),
    ("logSeverityScreen", Str),
    ("nodeMeshMaxRestartTime", Str),
    ("nodeMeshPassword", SECRET),
    ("nodeToNodeMeshEnabled", Bool),
    ("prefixAdvertisements", List(&Object(&[("cidr", Str), ("communities", STRINGS)]))),
    ("programClusterRoutes", Str),
    ("serviceClusterIPs", CIDR_ITEMS),
    ("serviceExternalIPs", CIDR_ITEMS),
    ("serviceLoadBalancerAggregation", Str),
    ("serviceLoadBalancerIPs", CIDR_ITEMS),
];

pub(super) const BGP_PEER: &[Field] = &[
    ("asNumber", IntOrStr),
    ("filters", STRINGS),
    ("keepOriginalNextHop", Bool),
    ("keepaliveTime", Str),
    ("localASNumber", IntOrStr),
    ("localWorkloadSelector", Str),
    ("maxRestartTime", Str),
    ("nextHopMode", Str),
    ("node", Str),
    ("nodeSelector", Str),
    ("numAllowedLocalASNumbers", Int),
    ("password", SECRET),
    ("peerIP", Str),
    ("peerSelector", Str),
    ("reachableBy", Str),
    ("reversePeering", Str),
    ("sourceAddress", Str),
    ("ttlSecurity", Int),
];

const FILTER_RULES: Type = List(&Object(&[
    ("action", Str),
    ("asPathPrefix", PORTS),
    ("cidr", Str),
    ("communities", Object(&[("values", STRINGS)])),
    ("interface", Str),
    ("matchOperator", Str),
    (
        "operations",
        List(&Object(&[
            ("addCommunity", Object(&[("value", Str)])),
            ("prependASPath", Object(&[("prefix", PORTS)])),
            ("setPriority", Object(&[("value", Int)])),
        ])),
    ),
    ("peerType", Str),
    ("prefixLength", Object(&[("max", Int), ("min", Int)])),
    ("priority", Int),
    ("source", Str),
]));

pub(super) const BGP_FILTER: &[Field] = &[
    ("exportV4", FILTER_RULES),
    ("exportV6", FILTER_RULES),
    ("importV4", FILTER_RULES),
    ("importV6", FILTER_RULES),
];

pub(super) const CALICO_NODE_STATUS: &[Field] =
    &[("classes", STRINGS), ("node", Str), ("updatePeriodSeconds", Int)];

pub(super) const HOST_ENDPOINT: &[Field] = &[
    ("expectedIPs", STRINGS),
    ("interfaceName", Str),
    ("node", Str),
    ("ports", List(&Object(&[("name", Str), ("port", Int), ("protocol", IntOrStr)]))),
    ("profiles", STRINGS),
];

pub(super) const NETWORK_SET: &[Field] = &[("nets", STRINGS)];

pub(super) const TIER: &[Field] = &[("defaultAction", Str), ("order", Number)];

const ENTITY: Type = Object(&[
    ("namespaceSelector", Str),
    ("nets", STRINGS),
    ("notNets", STRINGS),
    ("notPorts", PORTS),
    ("notSelector", Str),
    ("ports", PORTS),
    ("selector", Str),
    ("serviceAccounts", Object(&[("names", STRINGS), ("selector", Str)])),
    ("services", Object(&[("name", Str), ("namespace", Str)])),
]);
const ICMP: Type = Object(&[("code", Int), ("type", Int)]);
const RULES: Type = List(&Object(&[
    ("action", Str),
    ("destination", ENTITY),
    ("http", Object(&[("methods", STRINGS), ("paths", List(&Object(&[("exact", Str), ("prefix", Str)])))])),
    ("icmp", ICMP),
    ("ipVersion", Int),
    ("metadata", Object(&[("annotations", Map)])),
    ("notICMP", ICMP),
    ("notProtocol", IntOrStr),
    ("protocol", IntOrStr),
    ("source", ENTITY),
]));

pub(super) const NETWORK_POLICY: &[Field] = &[
    ("egress", RULES),
    ("ingress", RULES),
    ("order", Number),
    ("performanceHints", STRINGS),
    ("selector", Str),
    ("serviceAccountSelector", Str),
    ("tier", Str),
    ("types", STRINGS),
];

pub(super) const GLOBAL_NETWORK_POLICY: &[Field] = &[
    ("applyOnForward", Bool),
    ("doNotTrack", Bool),
    ("egress", RULES),
    ("ingress", RULES),
    ("namespaceSelector", Str),
    ("order", Number),
    ("performanceHints", STRINGS),
    ("preDNAT", Bool),
    ("selector", Str),
    ("serviceAccountSelector", Str),
    ("tier", Str),
    ("types", STRINGS),
];

pub(super) const STAGED_NETWORK_POLICY: &[Field] = &[
    ("egress", RULES),
    ("ingress", RULES),
    ("order", Number),
    ("performanceHints", STRINGS),
    ("selector", Str),
    ("serviceAccountSelector", Str),
    ("stagedAction", Str),
    ("tier", Str),
    ("types", STRINGS),
];

pub(super) const STAGED_GLOBAL_NETWORK_POLICY: &[Field] = &[
    ("applyOnForward", Bool),
    ("doNotTrack", Bool),
    ("egress", RULES),
    ("ingress", RULES),
    ("namespaceSelector", Str),
    ("order", Number),
    ("performanceHints", STRINGS),
    ("preDNAT", Bool),
    ("selector", Str),
    ("serviceAccountSelector", Str),
    ("stagedAction", Str),
    ("tier", Str),
    ("types", STRINGS),
];

const LABEL_SELECTOR: Type = Object(&[
    ("matchExpressions", List(&Object(&[("key", Str), ("operator", Str), ("values", STRINGS)]))),
    ("matchLabels", Map),
]);
const KUBERNETES_PORTS: Type = List(&Object(&[("endPort", Int), ("port", IntOrStr), ("protocol", Str)]));
const KUBERNETES_PEERS: Type = List(&Object(&[
    ("ipBlock", Object(&[("cidr", Str), ("except", STRINGS)])),
    ("namespaceSelector", LABEL_SELECTOR),
    ("podSelector", LABEL_SELECTOR),
]));

pub(super) const STAGED_KUBERNETES_NETWORK_POLICY: &[Field] = &[
    ("egress", List(&Object(&[("ports", KUBERNETES_PORTS), ("to", KUBERNETES_PEERS)]))),
    ("ingress", List(&Object(&[("from", KUBERNETES_PEERS), ("ports", KUBERNETES_PORTS)]))),
    ("podSelector", LABEL_SELECTOR),
    ("policyTypes", STRINGS),
    ("stagedAction", Str),
];

const PERIODIC: Type = Object(&[("reconcilerPeriod", Duration)]);

pub(super) const KUBE_CONTROLLERS_CONFIGURATION: &[Field] = &[
    (
        "controllers",
        Object(&[
            ("loadBalancer", Object(&[("assignIPs", Str)])),
            ("migration", Object(&[("policyNameMigrator", Str)])),
            ("namespace", PERIODIC),
            ("node", NODE_CONTROLLER),
            ("policy", PERIODIC),
            ("policyMigration", Object(&[("enabled", Str)])),
            ("serviceAccount", PERIODIC),
            ("workloadEndpoint", PERIODIC),
        ]),
    ),
    ("debugProfilePort", Int),
    ("etcdV3CompactionPeriod", Duration),
    ("healthChecks", Str),
    ("logSeverityScreen", Str),
    ("prometheusMetricsPort", Int),
];

const NODE_CONTROLLER: Type = Object(&[
    (
        "hostEndpoint",
        Object(&[
            ("autoCreate", Str),
            ("createDefaultHostEndpoint", Str),
            (
                "templates",
                List(&Object(&[
                    ("annotations", Map),
                    ("generateName", Str),
                    ("interfaceCIDRs", STRINGS),
                    ("interfacePattern", Str),
                    ("labels", Map),
                    ("nodeSelector", Str),
                ])),
            ),
        ]),
    ),
    ("leakGracePeriod", Duration),
    ("reconcilerPeriod", Duration),
    ("syncLabels", Str),
]);

pub(super) const PROFILE: &[Field] = &[("egress", RULES), ("ingress", RULES), ("labelsToApply", Map)];

pub(super) const NODE: &[Field] = &[
    ("addresses", List(&Object(&[("address", Str), ("type", Str)]))),
    (
        "bgp",
        Object(&[
            ("asNumber", IntOrStr),
            ("ipv4Address", Str),
            ("ipv4IPIPTunnelAddr", Str),
            ("ipv6Address", Str),
            ("routeReflectorClusterID", Str),
        ]),
    ),
    ("interfaces", List(&Object(&[("addresses", STRINGS), ("name", Str)]))),
    ("ipv4VXLANTunnelAddr", Str),
    ("ipv6VXLANTunnelAddr", Str),
    ("orchRefs", List(&Object(&[("nodeName", Str), ("orchestrator", Str)]))),
    ("vxlanTunnelMACAddr", Str),
    ("vxlanTunnelMACAddrV6", Str),
    ("wireguard", Object(&[("interfaceIPv4Address", Str), ("interfaceIPv6Address", Str)])),
];

pub(super) const WORKLOAD_ENDPOINT: &[Field] = &[
    ("allowSpoofedSourcePrefixes", STRINGS),
    ("containerID", Str),
    ("endpoint", Str),
    ("interfaceName", Str),
    ("ipNATs", List(&Object(&[("externalIP", Str), ("internalIP", Str)]))),
    ("ipNetworks", STRINGS),
    ("ipv4Gateway", Str),
    ("ipv6Gateway", Str),
    ("mac", Str),
    ("node", Str),
    ("orchestrator", Str),
    ("pod", Str),
    (
        "ports",
        List(&Object(&[
            ("hostIP", Str),
            ("hostPort", Int),
            ("name", Str),
            ("port", Int),
            ("protocol", IntOrStr),
        ])),
    ),
    ("profiles", STRINGS),
    ("qosControls", Map),
    ("serviceAccountName", Str),
    ("workload", Str),
];
