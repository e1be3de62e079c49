//! The fields of Kubernetes' own kinds (`k8s.io/api`, 1.37) and their JSON types: what strict field validation goes by.
//!
//! Where nobody here reads what is inside (`affinity`, a volume's source), an object of any content is taken.

use crate::kinds::Kind;
use model::schema::{Field, Type, Type::*};

const TEXTS: Type = List(&Str);
const MAPS: Type = List(&Map);

const METADATA: &[Field] = &[
    ("annotations", Map),
    ("creationTimestamp", Str),
    ("deletionGracePeriodSeconds", Int),
    ("deletionTimestamp", Str),
    ("finalizers", TEXTS),
    ("generateName", Str),
    ("generation", Int),
    ("labels", Map),
    ("managedFields", MAPS),
    ("name", Str),
    ("namespace", Str),
    ("ownerReferences", MAPS),
    ("resourceVersion", Str),
    ("selfLink", Str),
    ("uid", Str),
];

const CONDITIONS: Type = List(&Object(&[
    ("lastHeartbeatTime", Str),
    ("lastProbeTime", Str),
    ("lastTransitionTime", Str),
    ("message", Str),
    ("observedGeneration", Int),
    ("reason", Str),
    ("status", Str),
    ("type", Str),
]));

const CONFIG_MAP: &[Field] = &[("binaryData", Map), ("data", Map), ("immutable", Bool)];

const SECRET: &[Field] = &[("data", Map), ("immutable", Bool), ("stringData", Map), ("type", Str)];

const NAMESPACE: &[Field] = &[
    ("spec", Object(&[("finalizers", TEXTS)])),
    ("status", Object(&[("conditions", CONDITIONS), ("phase", Str)])),
];

const SERVICE_ACCOUNT: &[Field] =
    &[("automountServiceAccountToken", Bool), ("imagePullSecrets", MAPS), ("secrets", MAPS)];

const LEASE: &[Field] = &[(
    "spec",
    Object(&[
        ("acquireTime", Str),
        ("holderIdentity", Str),
        ("leaseDurationSeconds", Int),
        ("leaseTransitions", Int),
        ("preferredHolder", Str),
        ("renewTime", Str),
        ("strategy", Str),
    ]),
)];

const REFERENCE: Type = Object(&[
    ("apiVersion", Str),
    ("fieldPath", Str),
    ("kind", Str),
    ("name", Str),
    ("namespace", Str),
    ("resourceVersion", Str),
    ("uid", Str),
]);

const EVENT: &[Field] = &[
    ("action", Str),
    ("count", Int),
    ("eventTime", Str),
    ("firstTimestamp", Str),
    ("involvedObject", REFERENCE),
    ("lastTimestamp", Str),
    ("message", Str),
    ("reason", Str),
    ("related", REFERENCE),
    ("reportingComponent", Str),
    ("reportingInstance", Str),
    ("series", Object(&[("count", Int), ("lastObservedTime", Str)])),
    ("source", Object(&[("component", Str), ("host", Str)])),
    ("type", Str),
];

const NODE: &[Field] = &[
    (
        "spec",
        Object(&[
            ("configSource", Map),
            ("externalID", Str),
            ("podCIDR", Str),
            ("podCIDRs", TEXTS),
            ("providerID", Str),
            ("taints", List(&Object(&[("effect", Str), ("key", Str), ("timeAdded", Str), ("value", Str)]))),
            ("unschedulable", Bool),
        ]),
    ),
    (
        "status",
        Object(&[
            ("addresses", List(&Object(&[("address", Str), ("type", Str)]))),
            ("allocatable", Map),
            ("capacity", Map),
            ("conditions", CONDITIONS),
            ("config", Map),
            ("daemonEndpoints", Map),
            ("declaredFeatures", TEXTS),
            ("features", Map),
            ("images", MAPS),
            ("nodeInfo", NODE_INFO),
            ("phase", Str),
            ("runtimeHandlers", MAPS),
            ("volumesAttached", MAPS),
            ("volumesInUse", TEXTS),
        ]),
    ),
];

const NODE_INFO: Type = Object(&[
    ("architecture", Str),
    ("bootID", Str),
    ("containerRuntimeVersion", Str),
    ("kernelVersion", Str),
    ("kubeProxyVersion", Str),
    ("kubeletVersion", Str),
    ("machineID", Str),
    ("operatingSystem", Str),
    ("osImage", Str),
    ("swap", Map),
    ("systemUUID", Str),
]);

const CONTAINERS: Type = List(&Object(&[
    ("args", TEXTS),
    ("command", TEXTS),
    ("env", List(&Object(&[("name", Str), ("value", Str), ("valueFrom", Map)]))),
    ("envFrom", MAPS),
    ("image", Str),
    ("imagePullPolicy", Str),
    ("lifecycle", Map),
    ("livenessProbe", Map),
    ("name", Str),
    (
        "ports",
        List(&Object(&[
            ("containerPort", Int),
            ("hostIP", Str),
            ("hostPort", Int),
            ("name", Str),
            ("protocol", Str),
        ])),
    ),
    ("readinessProbe", Map),
    ("resizePolicy", MAPS),
    ("resources", Map),
    ("restartPolicy", Str),
    ("restartPolicyRules", MAPS),
    ("securityContext", Map),
    ("startupProbe", Map),
    ("stdin", Bool),
    ("stdinOnce", Bool),
    ("targetContainerName", Str),
    ("terminationMessagePath", Str),
    ("terminationMessagePolicy", Str),
    ("tty", Bool),
    ("volumeDevices", MAPS),
    ("volumeMounts", MAPS),
    ("workingDir", Str),
]));

const POD: &[Field] = &[("spec", Object(POD_SPEC)), ("status", Object(POD_STATUS))];

const POD_SPEC: &[Field] = &[
    ("activeDeadlineSeconds", Int),
    ("affinity", Map),
    ("automountServiceAccountToken", Bool),
    ("containers", CONTAINERS),
    ("dnsConfig", Map),
    ("dnsPolicy", Str),
    ("enableServiceLinks", Bool),
    ("ephemeralContainers", CONTAINERS),
    ("hostAliases", MAPS),
    ("hostIPC", Bool),
    ("hostNetwork", Bool),
    ("hostPID", Bool),
    ("hostUsers", Bool),
    ("hostname", Str),
    ("hostnameOverride", Str),
    ("imagePullSecrets", MAPS),
    ("initContainers", CONTAINERS),
    ("nodeName", Str),
    ("nodeSelector", Map),
    ("os", Map),
    ("overhead", Map),
    ("preemptionPolicy", Str),
    ("priority", Int),
    ("priorityClassName", Str),
    ("readinessGates", MAPS),
    ("resourceClaims", MAPS),
    ("resources", Map),
    ("restartPolicy", Str),
    ("runtimeClassName", Str),
    ("schedulerName", Str),
    ("schedulingGates", MAPS),
    ("securityContext", Map),
    ("serviceAccount", Str),
    ("serviceAccountName", Str),
    ("setHostnameAsFQDN", Bool),
    ("shareProcessNamespace", Bool),
    ("subdomain", Str),
    ("terminationGracePeriodSeconds", Int),
    ("tolerations", MAPS),
    ("topologySpreadConstraints", MAPS),
    ("volumes", MAPS),
    ("workloadRef", Map),
];

const POD_STATUS: &[Field] = &[
    ("allocatedResources", Map),
    ("conditions", CONDITIONS),
    ("containerStatuses", MAPS),
    ("ephemeralContainerStatuses", MAPS),
    ("extendedResourceClaimStatus", Map),
    ("hostIP", Str),
    ("hostIPs", MAPS),
    ("initContainerStatuses", MAPS),
    ("message", Str),
    ("nominatedNodeName", Str),
    ("observedGeneration", Int),
    ("phase", Str),
    ("podIP", Str),
    ("podIPs", List(&Object(&[("ip", Str)]))),
    ("qosClass", Str),
    ("reason", Str),
    ("resize", Str),
    ("resourceClaimStatuses", MAPS),
    ("resources", Map),
    ("startTime", Str),
];

const SERVICE: &[Field] = &[
    (
        "spec",
        Object(&[
            ("allocateLoadBalancerNodePorts", Bool),
            ("clusterIP", Str),
            ("clusterIPs", TEXTS),
            ("externalIPs", TEXTS),
            ("externalName", Str),
            ("externalTrafficPolicy", Str),
            ("healthCheckNodePort", Int),
            ("internalTrafficPolicy", Str),
            ("ipFamilies", TEXTS),
            ("ipFamilyPolicy", Str),
            ("loadBalancerClass", Str),
            ("loadBalancerIP", Str),
            ("loadBalancerSourceRanges", TEXTS),
            (
                "ports",
                List(&Object(&[
                    ("appProtocol", Str),
                    ("name", Str),
                    ("nodePort", Int),
                    ("port", Int),
                    ("protocol", Str),
                    ("targetPort", IntOrStr),
                ])),
            ),
            ("publishNotReadyAddresses", Bool),
            ("selector", Map),
            ("sessionAffinity", Str),
            ("sessionAffinityConfig", Map),
            ("trafficDistribution", Str),
            ("type", Str),
        ]),
    ),
    ("status", Object(&[("conditions", CONDITIONS), ("loadBalancer", Map)])),
];

const ENDPOINT_SLICE: &[Field] = &[
    ("addressType", Str),
    (
        "endpoints",
        List(&Object(&[
            ("addresses", TEXTS),
            ("conditions", Object(&[("ready", Bool), ("serving", Bool), ("terminating", Bool)])),
            ("deprecatedTopology", Map),
            ("hints", Map),
            ("hostname", Str),
            ("nodeName", Str),
            ("targetRef", REFERENCE),
            ("zone", Str),
        ])),
    ),
    ("ports", List(&Object(&[("appProtocol", Str), ("name", Str), ("port", Int), ("protocol", Str)]))),
];

const PEERS: Type = List(&Object(&[
    ("ipBlock", Object(&[("cidr", Str), ("except", TEXTS)])),
    ("namespaceSelector", LABEL_SELECTOR),
    ("podSelector", LABEL_SELECTOR),
]));
const POLICY_PORTS: Type = List(&Object(&[("endPort", Int), ("port", IntOrStr), ("protocol", Str)]));
const LABEL_SELECTOR: Type = Object(&[
    ("matchExpressions", List(&Object(&[("key", Str), ("operator", Str), ("values", TEXTS)]))),
    ("matchLabels", Map),
]);

const NETWORK_POLICY: &[Field] = &[(
    "spec",
    Object(&[
        ("egress", List(&Object(&[("ports", POLICY_PORTS), ("to", PEERS)]))),
        ("ingress", List(&Object(&[("from", PEERS), ("ports", POLICY_PORTS)]))),
        ("podSelector", LABEL_SELECTOR),
        ("policyTypes", TEXTS),
    ]),
)];

/// The fields of `kind` besides `apiVersion`, `kind` and `metadata`; `None` for Calico's kinds.
pub fn fields(kind: &Kind) -> Option<&'static [Field]> {
    Some(match kind.resource.as_str() {
        "configmaps" => CONFIG_MAP,
        "endpointslices.discovery.k8s.io" => ENDPOINT_SLICE,
        "events" => EVENT,
        "leases.coordination.k8s.io" => LEASE,
        "namespaces" => NAMESPACE,
        "networkpolicies.networking.k8s.io" => NETWORK_POLICY,
        "nodes" => NODE,
        "pods" => POD,
        "secrets" => SECRET,
        "serviceaccounts" => SERVICE_ACCOUNT,
        "services" => SERVICE,
        _ => return None,
    })
}

/// The fields that every kind begins with.
pub const HEAD: &[Field] = &[("apiVersion", Str), ("kind", Str), ("metadata", Object(METADATA))];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_kubernetes_has_its_fields() {
        for kind in crate::kinds::all() {
            assert_eq!(fields(kind).is_some(), kind.calico.is_none(), "{}", kind.kind);
        }
    }
}
