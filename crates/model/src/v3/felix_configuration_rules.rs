//! What a FelixConfiguration may say: defaults and validation over its JSON, in Calico's order and words.
//!
//! Most settings are for Calico's own agent. They are held to its rules all the same: who writes them for it must be told
//! what it would tell them. The limits of Calico's CRD stand in `crate::schema`.

use super::written::{Written, go_list, spec_mut};
use crate::field_error::FieldError;
use crate::{Duration, IfAddr, IfName, PortRange};
use serde_json::{Value, json};
use std::net::IpAddr;

/// What a setting may be, if it is given.
#[derive(Clone, Copy)]
enum Rule {
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of networks or addresses.
    Networks,
    /// A list of names of interfaces; `+` at the end stands for anything.
    Interfaces,
    /// The name of an interface.
    Interface,
    /// A regular expression.
    Pattern,
    AtLeast(i64),
    AtMost(i64),
    Above(i64),
}

use Rule::{Above, AtLeast, AtMost, Interface, Interfaces, Networks, OneOf, Pattern};

const ALLOW: Rule = OneOf(&["Accept", "Return"]);
const DENY: Rule = OneOf(&["Drop", "Reject"]);
const LOG_LEVEL: Rule = OneOf(&["Trace", "Debug", "Info", "Warning", "Error", "Fatal"]);
const LAST_PRIORITY: i64 = 2_147_483_646;
const CLIENT_AUTH: &[&str] =
    &["RequireAndVerifyClientCert", "RequireAnyClientCert", "VerifyClientCertIfGiven", "NoClientCert"];

/// Field, Calico's name of it, Calico's name of the rule, and the rule; in the order in which Calico looks at them.
const RULES: &[(&str, &str, &str, Rule)] = &[
    ("iptablesBackend", "IptablesBackend", "iptablesBackend", OneOf(&["Legacy", "NFT", "Auto"])),
    (
        "defaultEndpointToHostAction",
        "DefaultEndpointToHostAction",
        "dropAcceptReturn",
        OneOf(&["Drop", "Accept", "Return"]),
    ),
    ("iptablesFilterAllowAction", "IptablesFilterAllowAction", "acceptReturn", ALLOW),
    ("iptablesMangleAllowAction", "IptablesMangleAllowAction", "acceptReturn", ALLOW),
    ("iptablesFilterDenyAction", "IptablesFilterDenyAction", "dropReject", DENY),
    ("nftablesFilterAllowAction", "NftablesFilterAllowAction", "acceptReturn", ALLOW),
    ("nftablesMangleAllowAction", "NftablesMangleAllowAction", "acceptReturn", ALLOW),
    ("nftablesFilterDenyAction", "NftablesFilterDenyAction", "dropReject", DENY),
    ("logSeverityFile", "LogSeverityFile", "logLevel", LOG_LEVEL),
    ("logSeverityScreen", "LogSeverityScreen", "logLevel", LOG_LEVEL),
    ("logSeveritySys", "LogSeveritySys", "logLevel", LOG_LEVEL),
    ("prometheusMetricsClientAuth", "PrometheusMetricsClientAuth", "oneof", OneOf(CLIENT_AUTH)),
    ("natOutgoingExclusions", "NATOutgoingExclusions", "oneof", OneOf(&["IPPoolsOnly", "IPPoolsAndHostIPs"])),
    ("bpfLogLevel", "BPFLogLevel", "bpfLogLevel", OneOf(&["Off", "Info", "Debug"])),
    ("bpfConntrackLogLevel", "BPFConntrackLogLevel", "oneof", OneOf(&["Off", "Debug"])),
    ("bpfConntrackMode", "BPFConntrackCleanupMode", "oneof", OneOf(&["Auto", "Userspace", "BPFProgram"])),
    ("bpfDataIfacePattern", "BPFDataIfacePattern", "regexp", Pattern),
    ("bpfL3IfacePattern", "BPFL3IfacePattern", "regexp", Pattern),
    (
        "bpfConnectTimeLoadBalancing",
        "BPFConnectTimeLoadBalancing",
        "oneof",
        OneOf(&["TCP", "Enabled", "Disabled"]),
    ),
    ("bpfExternalServiceMode", "BPFExternalServiceMode", "bpfServiceMode", OneOf(&["Tunnel", "DSR"])),
    ("bpfDSROptoutCIDRs", "BPFDSROptoutCIDRs", "cidrs", Networks),
    ("bpfExtToServiceConnmark", "BPFExtToServiceConnmark", "gte", AtLeast(0)),
    ("bpfExtToServiceConnmark", "BPFExtToServiceConnmark", "lte", AtMost(0xffff_ffff)),
    ("bpfMapSizeConntrackCleanupQueue", "BPFMapSizeConntrackCleanupQueue", "gte", AtLeast(1)),
    ("bpfMaglevMaxServices", "BPFMaglevMaxServices", "lte", AtMost(3000)),
    ("bpfForceTrackPacketsFromIfaces", "BPFForceTrackPacketsFromIfaces", "ifaceFilterSlice", Interfaces),
    ("bpfExcludeCIDRsFromNAT", "BPFExcludeCIDRsFromNAT", "cidrs", Networks),
    ("bpfAttachType", "BPFAttachType", "oneof", OneOf(&["TC", "TCX", "Netkit"])),
    ("mtuIfacePattern", "MTUIfacePattern", "regexp", Pattern),
    ("wireguardRoutingRulePriority", "WireguardRoutingRulePriority", "gt", Above(0)),
    ("wireguardInterfaceName", "WireguardInterfaceName", "interface", Interface),
    ("wireguardInterfaceNameV6", "WireguardInterfaceNameV6", "interface", Interface),
    ("workloadSourceSpoofing", "WorkloadSourceSpoofing", "oneof", OneOf(&["Disabled", "Any"])),
    ("goMaxProcs", "GoMaxProcs", "gte", AtLeast(-1)),
    ("ipv4NormalRoutePriority", "IPv4NormalRoutePriority", "gte", AtLeast(1)),
    ("ipv4NormalRoutePriority", "IPv4NormalRoutePriority", "lte", AtMost(LAST_PRIORITY)),
    ("ipv4ElevatedRoutePriority", "IPv4ElevatedRoutePriority", "gte", AtLeast(1)),
    ("ipv4ElevatedRoutePriority", "IPv4ElevatedRoutePriority", "lte", AtMost(LAST_PRIORITY)),
    ("ipv6NormalRoutePriority", "IPv6NormalRoutePriority", "gte", AtLeast(1)),
    ("ipv6NormalRoutePriority", "IPv6NormalRoutePriority", "lte", AtMost(LAST_PRIORITY)),
    ("ipv6ElevatedRoutePriority", "IPv6ElevatedRoutePriority", "gte", AtLeast(1)),
    ("ipv6ElevatedRoutePriority", "IPv6ElevatedRoutePriority", "lte", AtMost(LAST_PRIORITY)),
];

/// Gives a configuration its defaults, and a DSCP mark that was written as text its number.
pub(super) fn set_defaults(object: &mut Value) {
    let Some(spec) = spec_mut(object) else { return };
    // The flag is the older form of the two words.
    let (balancing, nat) = match spec.get("bpfConnectTimeLoadBalancingEnabled").and_then(Value::as_bool) {
        None => ("TCP", "Enabled"),
        Some(true) => ("Enabled", "Disabled"),
        Some(false) => ("Disabled", "Enabled"),
    };
    spec.entry("bpfConnectTimeLoadBalancing").or_insert_with(|| json!(balancing));
    spec.entry("bpfHostNetworkedNATWithoutCTLB").or_insert_with(|| json!(nat));
    spec.entry("bpfLogLevel").or_insert_with(|| json!(""));
    spec.entry("floatingIPs").or_insert_with(|| json!("Disabled"));
    spec.entry("nftablesMode").or_insert_with(|| json!("Auto"));
    if let Some(mark) = spec.get_mut("istioDSCPMark")
        && let Some(Ok(number)) = mark.as_str().map(str::parse::<u8>)
    {
        *mark = number.into();
    }
}

/// What is wrong with single settings, and with some together.
pub(super) fn errors(object: &Value) -> Vec<FieldError> {
    let spec = Written::spec(object);
    let mut errors: Vec<FieldError> = RULES
        .iter()
        .filter_map(|(field, name, tag, rule)| {
            broken(spec.get(field), *rule).map(|value| FieldError::tag(name, value, tag))
        })
        .collect();
    errors.extend(address_errors(spec));
    errors.extend(table_errors(spec));
    errors.extend(list_errors(spec));
    errors
}

/// The value, if it breaks the rule; an empty text is none.
fn broken(value: &Value, rule: Rule) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty());
    let number = |is_broken: fn(i64, i64) -> bool, limit| value.as_i64().filter(|n| is_broken(*n, limit));
    let number = match rule {
        OneOf(words) => return text.filter(|text| !words.contains(text)).map(str::to_owned),
        Interface => return text.filter(|text| !is_interface(text)).map(str::to_owned),
        Pattern => return text.filter(|text| regex_syntax::parse(text).is_err()).map(str::to_owned),
        Networks => return broken_list(value, |text| text.parse::<IfAddr>().is_ok()),
        Interfaces => return broken_list(value, |text| is_interface(text.trim_end_matches('+'))),
        AtLeast(limit) => number(|n, limit| n < limit, limit),
        AtMost(limit) => number(|n, limit| n > limit, limit),
        Above(limit) => number(|n, limit| n <= limit, limit),
    };
    number.map(|n| n.to_string())
}

fn broken_list(value: &Value, is_right: fn(&str) -> bool) -> Option<String> {
    let texts: Vec<&str> = value.as_array()?.iter().map(|item| item.as_str().unwrap_or_default()).collect();
    texts.iter().any(|text| !is_right(text)).then(|| go_list(&texts))
}

fn is_interface(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    text == "*" || ((1..=15).contains(&text.len()) && text.bytes().all(is_plain))
}

fn address_errors(spec: Written) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let source = spec.text("natOutgoingAddress");
    if !source.is_empty() && !source.parse().is_ok_and(|addr: IpAddr| addr.is_ipv4()) {
        errors.push(FieldError::new("NATOutgoingAddress", source, "is not a valid IPv4 address"));
    }
    let range = spec.get("natPortRange");
    let text = range.as_str().map_or_else(|| range.to_string(), str::to_owned);
    if !range.is_null()
        && !text.is_empty()
        && let Err(error) = text.parse::<PortRange>()
    {
        errors.push(FieldError::new("NATPortRange", &text, error.to_string()));
    }
    let filter = spec.text("iptablesNATOutgoingInterfaceFilter");
    if !filter.is_empty()
        && let Err(error) = filter.parse::<IfName>()
    {
        errors.push(FieldError::new("IptablesNATOutgoingInterfaceFilter", filter, error.to_string()));
    }
    let externals = spec.texts("externalNodesList");
    if let Some(wrong) = externals.iter().find(|text| text.parse::<IfAddr>().is_err()) {
        errors.push(FieldError::new("ExternalNodesCIDRList", wrong, "has invalid CIDR(s)"));
    }
    errors
}

/// The number of routing tables that Calico may use at most.
const MOST_TABLES: i64 = 65_535;

fn table_errors(spec: Written) -> Vec<FieldError> {
    let range = |range: Written| (range.int("min"), range.int("max"));
    let error = |field: &str, value: String, reason: &str| FieldError::new(field, value, reason);
    let mut errors = Vec::new();
    if spec.has("routeTableRange") {
        let (min, max) = range(spec.inside("routeTableRange"));
        if min < 1 || max < min || max > 250 {
            let reason = "must be a range of route table indices within 1..250";
            errors.push(error("RouteTableRange", format!("{{{min} {max}}}"), reason));
        }
        if spec.is_list("routeTableRanges") {
            let reason = "cannot be set when `RouteTableRanges` is also set";
            errors.push(error("RouteTableRange", format!("&{{{min} {max}}}"), reason));
        }
    }
    let ranges: Vec<(i64, i64)> = spec.objects("routeTableRanges").map(range).collect();
    for (min, max) in &ranges {
        let reason = match (min, max) {
            (min, max) if min > max => "min value cannot be greater than max value",
            (min, _) if *min < 1 => "cannot target indices < 1",
            (_, max) if *max > i64::from(u32::MAX) => "max index too high",
            _ => continue,
        };
        errors.push(error("RouteTableRange", format!("{{{min} {max}}}"), reason));
    }
    let tables = ranges.iter().map(|(min, max)| max.saturating_sub(*min).saturating_add(1).max(0));
    if tables.fold(0_i64, i64::saturating_add) > MOST_TABLES {
        let shown: Vec<String> = ranges.iter().map(|(min, max)| format!("{{{min} {max}}}")).collect();
        errors.push(error("RouteTableRanges", format!("&{}", go_list(&shown)), "targets too many tables"));
    }
    errors
}

fn list_errors(spec: Written) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let ports = spec.get("kubeNodePortRanges").as_array().map(Vec::as_slice).unwrap_or_default();
    if ports.len() > 7 {
        let shown: Vec<String> =
            ports.iter().map(|port| port.as_str().map_or_else(|| port.to_string(), str::to_owned)).collect();
        let reason = "node port ranges list is too long (max 7)";
        errors.push(FieldError::new("KubeNodePortRanges", go_list(&shown), reason));
    }
    for health in spec.objects("healthTimeoutOverrides") {
        let name = health.text("name");
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_ -".contains(&b);
        if name.is_empty() || !name.bytes().all(is_plain) {
            let timeout = Duration::parse_go(health.text("timeout")).unwrap_or_default().to_go();
            let reason = "name should match regex ^[a-zA-Z0-9_ -]+$";
            errors.push(FieldError::new(
                "HealthTimeoutOverride.Name",
                format!("{{{name} {{{timeout}}}}}"),
                reason,
            ));
        }
    }
    if spec.get("istioDSCPMark").as_i64().is_some_and(|mark| !(0..=255).contains(&mark)) {
        errors.push(FieldError::bare("spec.istioDSCPMark", "must be a number from 0 to 255"));
    }
    errors
}

/// What Calico's CRD says to the whole.
pub(super) fn schema_errors(object: &Value) -> Vec<FieldError> {
    let spec = Written::spec(object);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let mut errors = Vec::new();
    if spec.has("routeTableRange") && spec.is_list("routeTableRanges") {
        errors.push(FieldError::bare("spec", "routeTableRange and routeTableRanges cannot both be set"));
    }
    if !spec.text("nodeSelector").is_empty() && (name == "default" || name.starts_with("node.")) {
        let reason =
            "nodeSelector must not be set on the 'default' or per-node ('node.*') FelixConfiguration";
        errors.push(FieldError::bare("FelixConfiguration", reason));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Type, find};

    #[test]
    fn every_rule_is_about_a_setting_of_a_fitting_type() {
        let fields = find("FelixConfiguration").expect("a kind").spec;
        for (field, _, _, rule) in RULES {
            let (_, wanted) = fields.iter().find(|(name, _)| name == field).expect(field);
            let fits = match rule {
                OneOf(_) | Interface | Pattern => matches!(wanted, Type::Str),
                Networks | Interfaces => matches!(wanted, Type::List(_)),
                AtLeast(_) | AtMost(_) | Above(_) => matches!(wanted, Type::Int),
            };
            assert!(fits, "{field}");
        }
    }

    #[test]
    fn tables_of_routes_are_few_and_in_order() {
        let said = |spec: Value| {
            let errors = errors(&json!({"spec": spec}));
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            said(json!({"routeTableRanges": [{"min": 10, "max": 5}]})),
            ["RouteTableRange = '{10 5}' (min value cannot be greater than max value)"]
        );
        assert_eq!(
            said(json!({"routeTableRanges": [{"min": 1, "max": 65535}, {"min": 70000, "max": 70010}]})),
            ["RouteTableRanges = '&[{1 65535} {70000 70010}]' (targets too many tables)"]
        );
        assert_eq!(said(json!({"routeTableRange": {"min": 1, "max": 250}})), [""; 0]);
    }
}
