//! What a pool may be: defaults and validation over its JSON, in Calico's order and words.
//!
//! First come the rules about addresses and modes that must hold before anything else makes sense (`IPPool.Spec.…`), then
//! those about the values of single fields, about their combinations (`IPpool.…`) and those of the CRD's schema (`spec.…`).
//! Only one stage speaks: a pool with a wrong CIDR is told so and nothing more.

use super::ip_pool::default_block_size;
use super::written::{Written, default, go_list, spec_mut};
use crate::cidr::{Cidr, CidrError};
use crate::field_error::FieldError;
use crate::selector::Selector;
use serde_json::{Value, json};

const MODES: [&str; 3] = ["Never", "Always", "CrossSubnet"];
const USES: [&str; 3] = ["Workload", "Tunnel", "LoadBalancer"];
const ASSIGNMENT_MODES: [&str; 2] = ["Automatic", "Manual"];

/// Gives a pool its defaults, as far as its CIDR says them.
pub(crate) fn set_defaults(pool: &mut Value) {
    let cidr = parse_cidr(Written::spec(pool).text("cidr")).ok();
    let Some(spec) = spec_mut(pool) else { return };
    if let Some(cidr) = cidr {
        default(spec, "blockSize", default_block_size(cidr));
    }
    default(spec, "ipipMode", "Never");
    default(spec, "vxlanMode", "Never");
    default(spec, "nodeSelector", "all()");
    default(spec, "allowedUses", json!(["Workload", "Tunnel"]));
    default(spec, "assignmentMode", "Automatic");
}

/// What must hold before the rest makes sense: the CIDR, the block size, the two modes; and that neither CIDR nor block
/// size changes. `pool` has its defaults.
pub(crate) fn address_errors(pool: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let spec = Written::spec(pool);
    let text = spec.text("cidr");
    if text.is_empty() {
        return vec![FieldError::bare("IPPool.Spec.CIDR", "IPPool CIDR must be specified")];
    }
    let (cidr, is_masked) = match parse_cidr(text) {
        Ok(cidr) => (cidr, true),
        Err(CidrError::HostBits { masked, .. }) => (masked, false),
        Err(CidrError::Malformed(_)) => {
            return vec![FieldError::new("IPPool.Spec.CIDR", text, "IPPool CIDR must be a valid subnet")];
        }
    };
    let old = old.map(Written::spec);
    let mut errors = Vec::new();
    if !is_masked {
        errors.push(cidr_error(cidr, "IPPool CIDR is not strictly masked"));
    } else if old.is_some_and(|old| parse_cidr(old.text("cidr")) != Ok(cidr)) {
        errors.push(cidr_error(cidr, "IPPool CIDR cannot be modified"));
    }
    errors.extend(block_size_errors(spec, cidr, old));
    errors.extend(mode_errors(spec, cidr));
    if is_masked && i64::from(cidr.len()) > block_size(spec, cidr) && !spec.flag("disabled") {
        let reason = "IP pool size is too small for use with Calico IPAM. It must be equal to or greater than the block size.";
        errors.push(cidr_error(cidr, reason));
    }
    for (family, range) in [("IPv4", "169.254.0.0/16"), ("IPv6", "fe80::/10")] {
        if cidr.overlaps(range.parse().expect("a constant CIDR")) {
            let reason = format!("IPPool CIDR overlaps with {family} Link Local range {range}");
            errors.push(cidr_error(cidr, &reason));
        }
    }
    errors
}

fn cidr_error(cidr: Cidr, reason: &str) -> FieldError {
    FieldError::new("IPPool.Spec.CIDR", cidr, reason)
}

fn block_size(spec: Written, cidr: Cidr) -> i64 {
    match spec.int("blockSize") {
        0 => i64::from(default_block_size(cidr)),
        size => size,
    }
}

/// Differs from Calico: an IPv4 network in IPv6 form is refused.
fn parse_cidr(text: &str) -> Result<Cidr, CidrError> {
    match text.parse::<Cidr>()? {
        cidr if cidr.addr().to_canonical() != cidr.addr() => Err(CidrError::Malformed(text.to_owned())),
        cidr => Ok(cidr),
    }
}

fn block_size_errors(spec: Written, cidr: Cidr, old: Option<Written>) -> Vec<FieldError> {
    let size = block_size(spec, cidr);
    let error = |reason: &str| FieldError::new("IPPool.Spec.BlockSize", size, reason);
    let mut errors = Vec::new();
    if old.is_some_and(|old| block_size(old, cidr) != size) {
        errors.push(error("IPPool BlockSize cannot be modified"));
    }
    if cidr.is_ipv4() && !(20..=32).contains(&size) {
        errors.push(error("IPv4 block size must be between 20 and 32"));
    }
    if !cidr.is_ipv4() && !(116..=128).contains(&size) {
        errors.push(error("IPv6 block size must be between 116 and 128"));
    }
    errors
}

fn mode_errors(spec: Written, cidr: Cidr) -> Vec<FieldError> {
    let (ipip, vxlan) = (spec.text("ipipMode"), spec.text("vxlanMode"));
    let mut errors = Vec::new();
    if !cidr.is_ipv4() && is_on(ipip) {
        let reason = "IPIP is not supported on an IPv6 IP pool";
        errors.push(FieldError::new("IPPool.Spec.IPIPMode", ipip, reason));
    }
    if is_on(ipip) && is_on(vxlan) {
        let reason = "Cannot enable both VXLAN and IPIP on the same IPPool";
        errors.push(FieldError::new("IPPool.Spec.VXLANMode", vxlan, reason));
    }
    errors
}

fn is_on(mode: &str) -> bool {
    !matches!(mode, "" | "Never")
}

/// What is wrong with the values of the fields, alone and together. `pool` has its defaults.
pub(crate) fn field_errors(pool: &Value) -> Vec<FieldError> {
    let spec = Written::spec(pool);
    let mut errors = value_errors(spec);
    errors.extend(use_errors(spec));
    errors.extend(selector_errors(spec));
    errors.extend(schema_errors(spec));
    errors
}

fn value_errors(spec: Written) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (field, name, tag) in [("vxlanMode", "VXLANMode", "vxlanMode"), ("ipipMode", "IPIPMode", "ipIpMode")]
    {
        let mode = spec.text(field);
        if !MODES.contains(&mode) {
            errors.push(FieldError::tag(name, mode, tag));
        }
    }
    for (field, name) in [("nodeSelector", "NodeSelector"), ("namespaceSelector", "NamespaceSelector")] {
        let selector = spec.text(field);
        if selector.parse::<Selector>().is_err() {
            errors.push(FieldError::tag(name, selector, "selector"));
        }
    }
    let mode = spec.text("assignmentMode");
    if !ASSIGNMENT_MODES.contains(&mode) {
        errors.push(FieldError::tag("AssignmentMode", mode, "assignmentMode"));
    }
    errors
}

fn use_errors(spec: Written) -> Vec<FieldError> {
    let uses = spec.texts("allowedUses");
    let wrong_use = |reason: String| FieldError::new("IPpool.AllowedUses", go_list(&uses), reason);
    let unknown = uses.iter().filter(|u| !USES.contains(u)).map(|u| wrong_use(format!("unknown use: {u}")));
    let mut errors: Vec<FieldError> = unknown.collect();
    if !uses.contains(&"LoadBalancer") {
        return errors;
    }
    let others = ["Workload", "Tunnel"].into_iter().filter(|other| uses.contains(other));
    errors.extend(others.map(|u| wrong_use(format!("LoadBalancer cannot be used at the same time as: {u}"))));
    for (field, name) in [("ipipMode", "IPpool.IPIPMode"), ("vxlanMode", "IPpool.VXLANMode")] {
        let reason = "Neither IPIPMode nor VXLANMode can be enabled on AllowedUses LoadBalancer IP pool";
        if is_on(spec.text(field)) {
            errors.push(FieldError::new(name, spec.text(field), reason));
        }
    }
    if spec.flag("disableBGPExport") {
        // Calico's sentence says the opposite of its rule.
        let reason = "IP Pool with AllowedUse LoadBalancer must have DisableBGPExport set to true";
        errors.push(FieldError::new("IPpool.DisableBGPExport", spec.text("cidr"), reason));
    }
    if spec.text("nodeSelector") != "all()" {
        let reason = "IP Pool with AllowedUse LoadBalancer must have node selector set to all()";
        errors.push(FieldError::new("IPpool.NodeSelector", spec.text("cidr"), reason));
    }
    errors
}

fn selector_errors(spec: Written) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let namespaces = spec.text("namespaceSelector");
    if !namespaces.is_empty() && spec.texts("allowedUses").contains(&"Tunnel") {
        let reason = "IP Pool with AllowedUse Tunnel cannot have namespaceSelector specified - tunnel IPs are not namespaced resources";
        errors.push(FieldError::new("IPpool.NamespaceSelector", namespaces, reason));
    }
    for (field, name) in
        [("nodeSelector", "IPpool.NodeSelector"), ("namespaceSelector", "IPpool.NamespaceSelector")]
    {
        let selector = spec.text(field);
        // Also inside a quoted text, as Calico does.
        if selector.parse::<Selector>().is_ok_and(|s| s.to_string().contains("global()")) {
            let reason = format!("global() selector is not valid for IPPool {field} - use all() instead");
            errors.push(FieldError::new(name, selector, reason));
        }
    }
    errors
}

/// Calico's CRD says these again.
fn schema_errors(spec: Written) -> Vec<FieldError> {
    let uses = spec.texts("allowedUses");
    let mut errors = Vec::new();
    if uses.contains(&"LoadBalancer") {
        if uses.contains(&"Workload") || uses.contains(&"Tunnel") {
            let reason = "LoadBalancer cannot be combined with Workload or Tunnel allowed uses";
            errors.push(FieldError::bare("spec", reason));
        }
        if is_on(spec.text("ipipMode")) || is_on(spec.text("vxlanMode")) {
            let reason = "LoadBalancer IP pool cannot have IPIP or VXLAN enabled";
            errors.push(FieldError::bare("spec", reason));
        }
    }
    errors
}

/// The error of a new pool `name` whose CIDR shares addresses with one of the pools that exist (name, CIDR).
pub fn overlap<'a>(
    name: &str,
    cidr: Cidr,
    pools: impl IntoIterator<Item = (&'a str, Cidr)>,
) -> Option<FieldError> {
    let (other, theirs) =
        pools.into_iter().find(|(other, theirs)| *other != name && theirs.overlaps(cidr))?;
    let reason = format!("IPPool({name}) CIDR overlaps with IPPool({other}) CIDR {theirs}");
    Some(FieldError::new("IPPool.Spec.CIDR", cidr, reason))
}
