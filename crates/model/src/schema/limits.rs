//! What the values of single fields may be, as in Calico's CRDs: one of some words, a range, a length.
//!
//! The table takes what any version of Calico's CRDs takes: a value that is refused here is refused by all of them.

use self::Limit::*;
use super::FieldError;
use crate::community::{Community, CommunityError};
use crate::selector::Selector;
use crate::{Duration, IfAddr};
use serde_json::Value;

/// What a value may be.
#[derive(Clone, Copy)]
enum Limit {
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words, and not the empty one either.
    Word(&'static [&'static str]),
    /// One of these words in any case.
    AnyCase(&'static [&'static str]),
    /// From the first to the second.
    Range(i64, i64),
    /// A list of at most so many.
    Items(usize),
    /// A text of at most so many bytes.
    Bytes(usize),
    /// An address, a slash and a prefix length.
    Network,
    /// Two or three numbers with colons between them.
    Colons,
    /// A selector; the word is Calico's name of the field.
    Selects(&'static str),
    /// A span of time as Go writes it, not negative.
    Time,
    /// The same, or `Auto`.
    TimeOrAuto,
    /// So many in a second, minute, hour or day: `10/minute`.
    Rate,
    /// An object whose fields have limits.
    Fields(&'static [(&'static str, Limit)]),
}

/// A path inside an object, where `[]` stands for every item of a list, and its limit.
type Row = (&'static str, Limit);

const ON_OFF: Limit = OneOf(&["Enabled", "Disabled"]);
const PRIORITY: Limit = Range(1, 2_147_483_646);

/// The tables that hold for a kind.
fn rows(kind: &str) -> &'static [&'static [Row]] {
    match kind {
        "BGPConfiguration" => &[BGP_CONFIGURATION],
        "BGPPeer" => &[BGP_PEER],
        "BlockAffinity" => &[&[("spec.state", OneOf(&["confirmed", "pending", "pendingDeletion"]))]],
        "CalicoNodeStatus" => &[CALICO_NODE_STATUS],
        "FelixConfiguration" => &[FELIX_CONFIGURATION],
        "GlobalNetworkPolicy" => &[POLICY, GLOBAL],
        "HostEndpoint" => &[&[("spec.node", Bytes(253)), ("spec.ports[].port", Range(1, 65_535))]],
        "IPAMConfiguration" => &[IPAM_CONFIGURATION],
        "IPPool" => &[IP_POOL],
        "KubeControllersConfiguration" => &[KUBE_CONTROLLERS_CONFIGURATION],
        "NetworkPolicy" => &[POLICY],
        "StagedGlobalNetworkPolicy" => &[POLICY, GLOBAL, STAGED],
        "StagedKubernetesNetworkPolicy" => &[STAGED],
        "StagedNetworkPolicy" => &[POLICY, STAGED],
        _ => &[],
    }
}

const IP_POOL: &[Row] = &[
    ("spec.allowedUses", Items(10)),
    ("spec.allowedUses[]", OneOf(&["Workload", "Tunnel", "LoadBalancer"])),
    ("spec.assignmentMode", OneOf(&["Automatic", "Manual"])),
    ("spec.ipipMode", OneOf(&["Never", "Always", "CrossSubnet"])),
    ("spec.vxlanMode", OneOf(&["Never", "Always", "CrossSubnet"])),
];

const IPAM_CONFIGURATION: &[Row] = &[
    ("spec.ipCooldownSeconds", Range(0, 1200)),
    ("spec.kubeVirtVMAddressPersistence", ON_OFF),
    ("spec.maxBlocksPerHost", Range(0, 1_000_000)),
];

const BGP_CONFIGURATION: &[Row] = &[
    ("spec.bindMode", Word(&["None", "NodeIP"])),
    ("spec.communities", Items(500)),
    ("spec.communities[].name", Bytes(253)),
    ("spec.communities[].value", Bytes(40)),
    ("spec.communities[].value", Colons),
    ("spec.ipv4NormalRoutePriority", PRIORITY),
    ("spec.ipv6NormalRoutePriority", PRIORITY),
    ("spec.listenPort", Range(1, 65_535)),
    ("spec.logSeverityScreen", LOG_LEVEL),
    ("spec.nodeMeshMaxRestartTime", Time),
    ("spec.prefixAdvertisements", Items(500)),
    ("spec.prefixAdvertisements[].cidr", Network),
    ("spec.prefixAdvertisements[].communities", Items(50)),
    ("spec.programClusterRoutes", Word(CLUSTER_ROUTES)),
    ("spec.serviceClusterIPs[].cidr", Network),
    ("spec.serviceExternalIPs[].cidr", Network),
    ("spec.serviceLoadBalancerAggregation", ON_OFF),
    ("spec.serviceLoadBalancerIPs[].cidr", Network),
];
const CLUSTER_ROUTES: &[&str] = &["Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"];

const BGP_PEER: &[Row] = &[
    ("spec.keepaliveTime", Time),
    ("spec.localWorkloadSelector", Bytes(4096)),
    ("spec.maxRestartTime", Time),
    ("spec.nextHopMode", Word(&["Auto", "Self", "Keep"])),
    ("spec.node", Bytes(253)),
    ("spec.nodeSelector", Bytes(4096)),
    ("spec.numAllowedLocalASNumbers", Range(0, 2_147_483_647)),
    ("spec.peerIP", Bytes(64)),
    ("spec.peerSelector", Bytes(4096)),
    ("spec.reachableBy", Bytes(64)),
    ("spec.sourceAddress", OneOf(&["UseNodeIP", "None"])),
    ("spec.ttlSecurity", Range(0, 255)),
];

const CALICO_NODE_STATUS: &[Row] =
    &[("spec.classes[]", OneOf(&["Agent", "BGP", "Routes"])), ("spec.updatePeriodSeconds", Range(0, 86_400))];

const POLICY: &[Row] = &[
    ("spec.egress[]", Fields(RULE)),
    ("spec.ingress[]", Fields(RULE)),
    ("spec.performanceHints[]", OneOf(&["AssumeNeededOnEveryNode"])),
    ("spec.selector", Selects("Selector")),
    ("spec.serviceAccountSelector", Selects("ServiceAccountSelector")),
    ("spec.types", Items(2)),
    ("spec.types[]", OneOf(&["Ingress", "Egress"])),
];
const GLOBAL: &[Row] = &[("spec.namespaceSelector", Selects("NamespaceSelector"))];
const STAGED: &[Row] = &[("spec.stagedAction", OneOf(&["Set", "Delete", "Learn", "Ignore"]))];
const RULE: &[Row] = &[
    ("action", OneOf(&["Allow", "Deny", "Log", "Pass"])),
    ("destination", Fields(ENTITY)),
    ("icmp.code", Range(0, 255)),
    ("icmp.type", Range(0, 254)),
    ("notICMP.code", Range(0, 255)),
    ("notICMP.type", Range(0, 254)),
    ("source", Fields(ENTITY)),
];
const ENTITY: &[Row] = &[
    ("namespaceSelector", Selects("NamespaceSelector")),
    ("notSelector", Selects("NotSelector")),
    ("selector", Selects("Selector")),
    ("serviceAccounts.selector", Selects("Selector")),
];

const KUBE_CONTROLLERS_CONFIGURATION: &[Row] = &[
    ("spec.controllers.loadBalancer.assignIPs", OneOf(&["AllServices", "RequestedServicesOnly"])),
    ("spec.controllers.migration.policyNameMigrator", ON_OFF),
    ("spec.controllers.node.hostEndpoint.autoCreate", ON_OFF),
    ("spec.controllers.node.hostEndpoint.createDefaultHostEndpoint", ON_OFF),
    ("spec.controllers.node.syncLabels", ON_OFF),
    ("spec.debugProfilePort", Range(0, 65_535)),
    ("spec.healthChecks", ON_OFF),
    ("spec.prometheusMetricsPort", Range(0, 65_535)),
];

const FELIX_CONFIGURATION: &[Row] = &[
    ("spec.bpfAttachType", OneOf(&["TC", "TCX", "Netkit"])),
    ("spec.bpfConnectTimeLoadBalancing", OneOf(&["TCP", "Enabled", "Disabled"])),
    ("spec.bpfConntrackTimeouts.creationGracePeriod", TimeOrAuto),
    ("spec.bpfConntrackTimeouts.genericTimeout", TimeOrAuto),
    ("spec.bpfConntrackTimeouts.icmpTimeout", TimeOrAuto),
    ("spec.bpfConntrackTimeouts.tcpEstablished", TimeOrAuto),
    ("spec.bpfConntrackTimeouts.tcpFinsSeen", TimeOrAuto),
    ("spec.bpfConntrackTimeouts.tcpResetSeen", TimeOrAuto),
    ("spec.bpfConntrackTimeouts.tcpSynSent", TimeOrAuto),
    ("spec.bpfConntrackTimeouts.udpTimeout", TimeOrAuto),
    ("spec.bpfConntrackLogLevel", OneOf(&["Off", "Debug"])),
    ("spec.bpfConntrackMode", OneOf(&["Auto", "Userspace", "BPFProgram"])),
    ("spec.bpfEnforceRPF", AnyCase(&["Disabled", "Strict", "Loose"])),
    ("spec.bpfExternalServiceMode", AnyCase(&["Tunnel", "DSR"])),
    ("spec.bpfHostNetworkedNATWithoutCTLB", ON_OFF),
    ("spec.bpfLogLevel", AnyCase(&["Off", "Info", "Debug"])),
    ("spec.bpfMapSizeConntrackCleanupQueue", Range(1, i64::MAX)),
    ("spec.bpfMapSizeConntrackScaling", AnyCase(&["Disabled", "DoubleIfFull"])),
    ("spec.bpfProfiling", ON_OFF),
    ("spec.bpfRedirectToPeer", OneOf(&["Enabled", "Disabled", "L2Only"])),
    ("spec.chainInsertMode", AnyCase(&["Insert", "Append"])),
    ("spec.defaultEndpointToHostAction", AnyCase(&["Drop", "Accept", "Return"])),
    ("spec.debugSimulateCalcGraphHangAfter", Time),
    ("spec.debugSimulateDataplaneApplyDelay", Time),
    ("spec.debugSimulateDataplaneHangAfter", Time),
    ("spec.endpointReportingDelay", Time),
    ("spec.failsafeInboundHostPorts[].port", Range(0, 65_535)),
    ("spec.failsafeOutboundHostPorts[].port", Range(0, 65_535)),
    ("spec.floatingIPs", ON_OFF),
    ("spec.flowLogsFlushInterval", Time),
    ("spec.flowLogsLocalReporter", OneOf(&["Disabled", "Enabled"])),
    ("spec.flowLogsPolicyEvaluationMode", OneOf(&["None", "Continuous"])),
    ("spec.interfaceRefreshInterval", Time),
    ("spec.ipForwarding", ON_OFF),
    // Differs from Calico, as below.
    ("spec.ipipMTU", Range(0, 65_535)),
    ("spec.ipsetsRefreshInterval", Time),
    ("spec.iptablesBackend", AnyCase(&["Auto", "Legacy", "NFT"])),
    ("spec.iptablesBackend", OneOf(&["Legacy", "NFT", "Auto"])),
    ("spec.iptablesFilterAllowAction", AnyCase(&["Accept", "Return"])),
    ("spec.iptablesFilterDenyAction", AnyCase(&["Drop", "Reject"])),
    ("spec.iptablesMangleAllowAction", AnyCase(&["Accept", "Return"])),
    ("spec.iptablesMarkMask", Range(0, 0xffff_ffff)),
    ("spec.iptablesLockProbeInterval", Time),
    ("spec.iptablesPostWriteCheckInterval", Time),
    ("spec.iptablesRefreshInterval", Time),
    ("spec.liveMigrationRouteConvergenceTime", Time),
    ("spec.logActionRateLimit", Rate),
    ("spec.logSeverityFile", LOG_LEVEL),
    ("spec.logSeverityScreen", LOG_LEVEL),
    ("spec.logSeveritySys", LOG_LEVEL),
    ("spec.natOutgoingExclusions", OneOf(&["IPPoolsOnly", "IPPoolsAndHostIPs"])),
    ("spec.netlinkTimeout", Time),
    ("spec.nftablesFilterAllowAction", AnyCase(&["Accept", "Return"])),
    ("spec.nftablesFilterDenyAction", AnyCase(&["Drop", "Reject"])),
    ("spec.nftablesFlowTableOffload", OneOf(&["All", "Disabled"])),
    ("spec.nftablesMangleAllowAction", AnyCase(&["Accept", "Return"])),
    ("spec.nftablesMarkMask", Range(0, 0xffff_ffff)),
    ("spec.nftablesMode", OneOf(&["Disabled", "Enabled", "Auto"])),
    ("spec.nftablesRefreshInterval", Time),
    ("spec.programClusterRoutes", OneOf(CLUSTER_ROUTES)),
    ("spec.reportingInterval", Time),
    ("spec.reportingTTL", Time),
    ("spec.routeRefreshInterval", Time),
    ("spec.usageReportingInitialDelay", Time),
    ("spec.usageReportingInterval", Time),
    ("spec.routeSource", OneOf(&["CalicoIPAM", "WorkloadIPs"])),
    // Differs from Calico, which takes any number here and fails in the kernel.
    ("spec.vxlanMTU", Range(0, 65_535)),
    ("spec.vxlanMTUV6", Range(0, 65_535)),
    ("spec.vxlanPort", Range(0, 65_535)),
    ("spec.vxlanVNI", Range(0, 16_777_215)),
    ("spec.windowsManageFirewallRules", ON_OFF),
    ("spec.wireguardKeepAlive", Time),
    ("spec.xdpRefreshInterval", Time),
];
const LOG_LEVEL: Limit = AnyCase(&["Trace", "Debug", "Info", "Warning", "Error", "Fatal"]);

/// Every value of the object that its limit refuses, in the order of the tables.
pub(super) fn errors(kind: &str, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    rows(kind).iter().for_each(|rows| check_rows(object, "", rows, &mut errors));
    errors
}

fn check_rows(object: &Value, at: &str, rows: &[Row], errors: &mut Vec<FieldError>) {
    for (path, limit) in rows {
        each(object, at.to_owned(), path, &mut |value, at| check(value, at, *limit, errors));
    }
}

/// Calls `visit` for every value that `path` leads to from `value`, which stands at `at`.
fn each(value: &Value, at: String, path: &str, visit: &mut dyn FnMut(&Value, &str)) {
    if let Some(rest) = path.strip_prefix("[]") {
        for (i, item) in value.as_array().into_iter().flatten().enumerate() {
            each(item, format!("{at}[{i}]"), rest, visit);
        }
        return;
    }
    let path = path.strip_prefix('.').unwrap_or(path);
    if path.is_empty() {
        return visit(value, &at);
    }
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (name, rest) = path.split_at(end);
    if let Some(inner) = value.get(name) {
        let dot = if at.is_empty() { "" } else { "." };
        each(inner, format!("{at}{dot}{name}"), rest, visit);
    }
}

fn check(value: &Value, at: &str, limit: Limit, errors: &mut Vec<FieldError>) {
    // An empty field is an absent one; an empty item of a list is not.
    let text = value.as_str().filter(|text| !text.is_empty() || at.ends_with(']'));
    let reason = match limit {
        Fields(rows) => return check_rows(value, at, rows, errors),
        Selects(name) => {
            let wrong = text.filter(|text| text.parse::<Selector>().is_err());
            return errors.extend(wrong.map(|text| FieldError::tag(name, text, "selector")));
        }
        OneOf(words) => supported(text, words),
        Word(words) => supported(value.as_str(), words),
        Network => text
            .is_some_and(|t| !t.contains('/') || t.parse::<IfAddr>().is_err())
            .then(|| format!("{at} in body must be of type cidr: \"{}\"", text.unwrap_or_default())),
        Colons => text
            .is_some_and(|t| matches!(t.parse::<Community>(), Err(CommunityError::Malformed(_))))
            .then(|| format!("{at} in body should match '^(\\d+):(\\d+)$|^(\\d+):(\\d+):(\\d+)$'")),
        AnyCase(words) => text
            .is_some_and(|t| !words.iter().any(|word| word.eq_ignore_ascii_case(t)))
            .then(|| format!("{at} in body should match '^(?i)({})?$'", words.join("|"))),
        Range(from, to) => value.as_i64().and_then(|n| match n {
            n if n < from => Some(format!("{at} in body should be greater than or equal to {from}")),
            n if n > to => Some(format!("{at} in body should be less than or equal to {to}")),
            _ => None,
        }),
        Items(most) => {
            let plural = if most == 1 { "" } else { "s" };
            let many = value.as_array().is_some_and(|items| items.len() > most);
            many.then(|| format!("must have at most {most} item{plural}"))
        }
        Bytes(most) => {
            text.is_some_and(|t| t.len() > most).then(|| format!("may not be more than {most} bytes"))
        }
        Time => text.is_some_and(|t| Duration::parse_go(t).is_err()).then(|| {
            format!("{at} in body should match '^([0-9]+({}.[0-9]+)?(ms|s|m|h))*$'", backslashes(at))
        }),
        TimeOrAuto => text
            .is_some_and(|t| t != "Auto" && Duration::parse_go(t).is_err())
            .then(|| format!("{at} in body should match '^(([0-9]*(\\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$'")),
        Rate => text
            .is_some_and(|t| !is_rate(t))
            .then(|| format!("{at} in body should match '^[1-9]\\d{{0,3}}/(?:second|minute|hour|day)$'")),
    };
    errors.extend(reason.map(|reason| FieldError::bare(at, reason)));
}

/// Calico's patterns escape the point twice, but for the newest.
fn backslashes(at: &str) -> &'static str {
    if at == "spec.liveMigrationRouteConvergenceTime" { "\\" } else { "\\\\" }
}

fn is_rate(text: &str) -> bool {
    let Some((count, unit)) = text.split_once('/') else { return false };
    let digits = count.bytes().all(|b| b.is_ascii_digit()) && !count.starts_with('0');
    digits && (1..=4).contains(&count.len()) && ["second", "minute", "hour", "day"].contains(&unit)
}

fn supported(text: Option<&str>, words: &[&str]) -> Option<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    text.is_some_and(|t| !words.contains(&t)).then(|| format!("supported values: {}", quoted.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{KINDS, Type, find};
    use serde_json::json;

    fn said(kind: &str, object: &Value) -> Vec<String> {
        errors(kind, object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_limit_says_where_and_what() {
        let policy = json!({"spec": {
            "types": ["Ingress", "Sideways", "Egress"],
            "ingress": [{"action": "Allow"}, {"action": "Permit", "icmp": {"type": 255, "code": -1}}],
        }});
        assert_eq!(
            said("NetworkPolicy", &policy),
            [
                "spec.ingress[1].action (supported values: \"Allow\", \"Deny\", \"Log\", \"Pass\")",
                "spec.ingress[1].icmp.code (spec.ingress[1].icmp.code in body should be greater than or equal to 0)",
                "spec.ingress[1].icmp.type (spec.ingress[1].icmp.type in body should be less than or equal to 254)",
                "spec.types (must have at most 2 items)",
                "spec.types[1] (supported values: \"Ingress\", \"Egress\")",
            ]
        );
        let felix =
            json!({"spec": {"chainInsertMode": "append", "iptablesBackend": "x", "reportingTTL": "-5s"}});
        assert_eq!(
            said("FelixConfiguration", &felix),
            [
                "spec.iptablesBackend (spec.iptablesBackend in body should match '^(?i)(Auto|Legacy|NFT)?$')",
                "spec.iptablesBackend (supported values: \"Legacy\", \"NFT\", \"Auto\")",
                "spec.reportingTTL (spec.reportingTTL in body should match '^([0-9]+(\\\\.[0-9]+)?(ms|s|m|h))*$')",
            ]
        );
        let set =
            json!({"spec": {"egress": [{"destination": {"notSelector": "a =="}}], "selector": "all()"}});
        let reason = "Reason: failed to validate Field: NotSelector because of Tag: selector ";
        assert_eq!(said("NetworkPolicy", &set), [format!("NotSelector = 'a ==' ({reason})")]);
        let peer = json!({"spec": {"peerIP": "1".repeat(65)}});
        assert_eq!(said("BGPPeer", &peer), ["spec.peerIP (may not be more than 64 bytes)"]);
    }

    /// Whether the path of a row leads to a field of the kind, of a type that the limit can look at.
    fn fits(fields: Type, path: &str, limit: Limit) -> bool {
        let path = path.trim_start_matches('.');
        match (fields, limit) {
            (Type::List(item), _) if path.starts_with("[]") => fits(*item, &path[2..], limit),
            (Type::Object(_), Fields(rows)) if path.is_empty() => {
                rows.iter().all(|(path, limit)| fits(fields, path, *limit))
            }
            (Type::Object(fields), _) if !path.is_empty() => {
                let end = path.find(['.', '[']).unwrap_or(path.len());
                let field = fields.iter().find(|(name, _)| *name == &path[..end]);
                field.is_some_and(|(_, inner)| fits(*inner, &path[end..], limit))
            }
            (
                Type::Str,
                OneOf(_) | Word(_) | AnyCase(_) | Bytes(_) | Time | TimeOrAuto | Rate | Selects(_) | Network
                | Colons,
            )
            | (Type::Duration, Time)
            | (Type::Int, Range(..)) => path.is_empty(),
            (Type::List(_), Items(_)) => path.is_empty(),
            _ => false,
        }
    }

    #[test]
    fn every_limit_is_about_a_field_of_its_kind() {
        for kind in KINDS {
            for (path, limit) in rows(kind.kind).concat() {
                let spec = Type::Object(find(kind.kind).expect("a kind").spec);
                let path = path.strip_prefix("spec").expect("limits are about the spec");
                assert!(fits(spec, path, limit), "{} {path}", kind.kind);
            }
        }
    }
}
