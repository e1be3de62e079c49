//! JSON as `-o json` prints it: two spaces a level, fields in the order in which Calico declares them, no line end.

use serde_json::{Map, Value};

const TOP: &[&str] = &["kind", "apiVersion", "metadata", "items", "spec", "status"];
const METADATA: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
];
const POOL: &[&str] = &[
    "cidr",
    "vxlanMode",
    "ipipMode",
    "natOutgoing",
    "disabled",
    "disableBGPExport",
    "blockSize",
    "nodeSelector",
    "namespaceSelector",
    "allowedUses",
    "assignmentMode",
];
const BGP_CONFIGURATION: &[&str] = &[
    "logSeverityScreen",
    "nodeToNodeMeshEnabled",
    "asNumber",
    "serviceLoadBalancerIPs",
    "serviceExternalIPs",
    "serviceClusterIPs",
    "serviceLoadBalancerAggregation",
    "communities",
    "prefixAdvertisements",
    "listenPort",
    "nodeMeshPassword",
    "nodeMeshMaxRestartTime",
    "bindMode",
    "ignoredInterfaces",
    "localWorkloadPeeringIPV4",
    "localWorkloadPeeringIPV6",
    "programClusterRoutes",
    "ipv4NormalRoutePriority",
    "ipv6NormalRoutePriority",
];
const BGP_PEER: &[&str] = &[
    "node",
    "nodeSelector",
    "peerIP",
    "asNumber",
    "localASNumber",
    "peerSelector",
    "keepOriginalNextHop",
    "nextHopMode",
    "password",
    "sourceAddress",
    "maxRestartTime",
    "numAllowedLocalASNumbers",
    "ttlSecurity",
    "reachableBy",
    "filters",
    "reversePeering",
    "localWorkloadSelector",
    "keepaliveTime",
];
const BGP_FILTER: &[&str] = &[
    "exportV4",
    "importV4",
    "exportV6",
    "importV6",
    "cidr",
    "prefixLength",
    "source",
    "interface",
    "matchOperator",
    "peerType",
    "communities",
    "asPathPrefix",
    "priority",
    "action",
    "operations",
    "min",
    "max",
];
const POLICY: &[&str] = &[
    "stagedAction",
    "tier",
    "order",
    "defaultAction",
    "ingress",
    "egress",
    "action",
    "ipVersion",
    "protocol",
    "icmp",
    "notProtocol",
    "notICMP",
    "source",
    "destination",
    "http",
    "metadata",
    "nets",
    "selector",
    "types",
    "doNotTrack",
    "preDNAT",
    "applyOnForward",
    "serviceAccountSelector",
    "namespaceSelector",
    "services",
    "ports",
    "notNets",
    "notSelector",
    "notPorts",
    "serviceAccounts",
    "type",
    "code",
    "performanceHints",
];
const KUBERNETES_POLICY: &[&str] = &[
    "stagedAction",
    "podSelector",
    "ingress",
    "ports",
    "from",
    "egress",
    "to",
    "policyTypes",
    "protocol",
    "port",
    "endPort",
    "matchLabels",
    "matchExpressions",
];
const HOST_ENDPOINT: &[&str] =
    &["node", "interfaceName", "expectedIPs", "profiles", "ports", "name", "protocol", "port"];
const KUBE_CONTROLLERS_CONFIGURATION: &[&str] = &[
    "logSeverityScreen",
    "healthChecks",
    "etcdV3CompactionPeriod",
    "prometheusMetricsPort",
    "controllers",
    "node",
    "policy",
    "workloadEndpoint",
    "serviceAccount",
    "namespace",
    "reconcilerPeriod",
    "syncLabels",
    "hostEndpoint",
    "leakGracePeriod",
];
const SECRET: &[&str] = &["name", "key", "optional"];
const NODE: &[&str] = &[
    "bgp",
    "ipv4VXLANTunnelAddr",
    "vxlanTunnelMACAddr",
    "ipv6VXLANTunnelAddr",
    "vxlanTunnelMACAddrV6",
    "orchRefs",
    "wireguard",
    "addresses",
    "interfaces",
];
const WORKLOAD_ENDPOINT: &[&str] = &[
    "orchestrator",
    "workload",
    "node",
    "containerID",
    "pod",
    "endpoint",
    "serviceAccountName",
    "ipNetworks",
    "ipNATs",
    "ipv4Gateway",
    "ipv6Gateway",
    "profiles",
    "interfaceName",
    "mac",
    "ports",
    "allowSpoofedSourcePrefixes",
    "name",
    "protocol",
    "port",
    "hostPort",
    "hostIP",
    "internalIP",
    "externalIP",
];

/// A document, a list document, or an array of them.
pub fn render(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, Place::Document, 0);
    out
}

/// Where a value stands, which decides the order of its fields.
#[derive(Clone, Copy)]
enum Place<'a> {
    Document,
    Metadata,
    /// The specification of a kind, or what is inside of it.
    Spec(&'a str),
    Secret,
    Elsewhere,
}

impl<'a> Place<'a> {
    fn order(self) -> &'static [&'static str] {
        match self {
            Place::Document => TOP,
            Place::Metadata => METADATA,
            Place::Spec("BGPConfiguration") => BGP_CONFIGURATION,
            Place::Spec("BGPFilter") => BGP_FILTER,
            Place::Spec("BGPPeer") => BGP_PEER,
            Place::Spec("HostEndpoint") => HOST_ENDPOINT,
            Place::Spec("IPPool") => POOL,
            Place::Spec("KubeControllersConfiguration") => KUBE_CONTROLLERS_CONFIGURATION,
            Place::Spec("Node") => NODE,
            Place::Spec("StagedKubernetesNetworkPolicy") => KUBERNETES_POLICY,
            Place::Spec("WorkloadEndpoint") => WORKLOAD_ENDPOINT,
            Place::Spec(kind) if kind.ends_with("Policy") || kind == "Tier" || kind == "Profile" => POLICY,
            Place::Secret => SECRET,
            Place::Spec(_) | Place::Elsewhere => &[],
        }
    }

    fn inside(self, field: &str, object: &'a Map<String, Value>) -> Place<'a> {
        match (self, field) {
            (Place::Document, "metadata") => Place::Metadata,
            (Place::Document, "spec") => {
                Place::Spec(object.get("kind").and_then(Value::as_str).unwrap_or_default())
            }
            (Place::Document, "items") => Place::Document,
            (_, "secretKeyRef") => Place::Secret,
            // Keys of the user's own.
            (_, "annotations" | "matchLabels" | "labelsToApply") => Place::Elsewhere,
            (Place::Spec(kind), _) => Place::Spec(kind),
            _ => Place::Elsewhere,
        }
    }
}

fn write(out: &mut String, value: &Value, place: Place<'_>, depth: usize) {
    match value {
        Value::Object(object) if object.is_empty() => out.push_str("{}"),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Object(object) => {
            let order = place.order();
            let mut fields: Vec<(&String, &Value)> = object.iter().collect();
            fields.sort_by_key(|(name, _)| {
                (order.iter().position(|known| known == name).unwrap_or(order.len()), *name)
            });
            out.push('{');
            for (i, (name, value)) in fields.into_iter().enumerate() {
                out.push_str(if i == 0 { "\n" } else { ",\n" });
                indent(out, depth + 1);
                out.push_str(&text(name));
                out.push_str(": ");
                write(out, value, place.inside(name, object), depth + 1);
            }
            out.push('\n');
            indent(out, depth);
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "\n" } else { ",\n" });
                indent(out, depth + 1);
                write(out, item, place, depth + 1);
            }
            out.push('\n');
            indent(out, depth);
            out.push(']');
        }
        Value::String(string) => out.push_str(&text(string)),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Go escapes what could close a script element, too.
fn text(string: &str) -> String {
    let quoted = Value::String(string.to_owned()).to_string();
    quoted.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_stand_in_calicos_order() {
        let pool = json!({
            "apiVersion": "projectcalico.org/v3", "kind": "IPPool",
            "metadata": {"uid": "u", "name": "p", "creationTimestamp": "t", "resourceVersion": "1"},
            "spec": {"blockSize": 26, "cidr": "10.0.0.0/16", "allowedUses": ["Workload"], "nodeSelector": "a && b"},
        });
        let wanted = r#"{
  "kind": "IPPool",
  "apiVersion": "projectcalico.org/v3",
  "metadata": {
    "name": "p",
    "uid": "u",
    "resourceVersion": "1",
    "creationTimestamp": "t"
  },
  "spec": {
    "cidr": "10.0.0.0/16",
    "blockSize": 26,
    "nodeSelector": "a \u0026\u0026 b",
    "allowedUses": [
      "Workload"
    ]
  }
}"#;
        assert_eq!(render(&pool), wanted);
    }
}
