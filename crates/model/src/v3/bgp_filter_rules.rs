//! What a BGPFilter may be: validation over its JSON, in Calico's order and words.
//!
//! Calico judges a rule twice: its client by the values and their combinations (`CIDR = 'x' (Reason: …)`), the schema of its
//! CRD by the path (`spec.importV4[0].cidr (…)`). Both speak, the client first.

use super::normalise_asn;
use super::written::{Written, spec_mut};
use crate::field_error::FieldError;
use crate::{Cidr, Community};
use serde_json::Value;
use std::net::IpAddr;

const LISTS: [(&str, Family); 4] = [("exportV4", V4), ("importV4", V4), ("exportV6", V6), ("importV6", V6)];
const ACTIONS: &[&str] = &["Accept", "Reject"];
const OPERATORS: &[&str] = &["Equal", "NotEqual", "In", "NotIn"];
const PEER_TYPES: &[&str] = &["eBGP", "iBGP"];
const SOURCES: &[&str] = &["RemotePeers"];
const OPERATIONS: [&str; 3] = ["addCommunity", "prependASPath", "setPriority"];
const MOST_PRIORITY: i64 = 2_147_483_646;
/// Operations of a rule, and AS numbers of one operation.
const MOST_ITEMS: usize = 10;

/// What the lists of one family take.
#[derive(Clone, Copy)]
struct Family {
    net_tag: &'static str,
    length_tag: &'static str,
    bits: i64,
    /// The longest text of a CIDR.
    text: usize,
}

const V4: Family = Family { net_tag: "netv4", length_tag: "bgpFilterPrefixLengthV4", bits: 32, text: 18 };
const V6: Family = Family { net_tag: "netv6", length_tag: "bgpFilterPrefixLengthV6", bits: 128, text: 43 };

impl Family {
    /// A network of this family without host bits, or an address.
    fn is_net(self, text: &str) -> bool {
        let addr = text.parse().map(Cidr::addr).or_else(|_| text.parse::<IpAddr>());
        addr.is_ok_and(|addr| addr.is_ipv4() == (self.bits == 32))
    }
}

/// Writes AS numbers in the one form that is stored.
pub(super) fn set_defaults(object: &mut Value) {
    let Some(spec) = spec_mut(object) else { return };
    let rules =
        LISTS.iter().filter_map(|(list, _)| spec.get(*list)?.as_array().map(Vec::len).map(|n| (*list, n)));
    for (list, n) in rules.collect::<Vec<_>>() {
        for i in 0..n {
            let rule = &mut spec[list][i];
            normalise_all(rule.get_mut("asPathPrefix"));
            for operation in rule.get_mut("operations").and_then(Value::as_array_mut).into_iter().flatten() {
                normalise_all(operation.pointer_mut("/prependASPath/prefix"));
            }
        }
    }
}

fn normalise_all(numbers: Option<&mut Value>) {
    for number in numbers.and_then(Value::as_array_mut).into_iter().flatten() {
        normalise_asn(Some(number));
    }
}

/// What is wrong with the values of the rules and their combinations.
pub(super) fn errors(object: &Value) -> Vec<FieldError> {
    each(object, value_errors).into_iter().chain(each(object, combination_errors)).collect()
}

/// What the CRD's schema says to the rules.
pub(super) fn schema_errors(object: &Value) -> Vec<FieldError> {
    each(object, path_errors)
}

/// Asks about every rule.
fn each(object: &Value, ask: fn(Written, Family, &str) -> Vec<FieldError>) -> Vec<FieldError> {
    let spec = Written::spec(object);
    let rules = LISTS.into_iter().flat_map(|(list, family)| {
        spec.objects(list).enumerate().map(move |(i, rule)| (rule, family, format!("spec.{list}[{i}]")))
    });
    rules.flat_map(|(rule, family, path)| ask(rule, family, &path)).collect()
}

fn value_errors(rule: Written, family: Family, _: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut tag = |wrong: bool, name: &str, value: &str, tag: &str| {
        if wrong {
            errors.push(FieldError::tag(name, value, tag));
        }
    };
    let word =
        |field: &str, words: &[&str]| !rule.text(field).is_empty() && !words.contains(&rule.text(field));
    let cidr = rule.text("cidr");
    tag(!cidr.is_empty() && !family.is_net(cidr), "CIDR", cidr, family.net_tag);
    for (end, name) in [("min", "Min"), ("max", "Max")] {
        if let Some(length) = rule.inside("prefixLength").get(end).as_i64() {
            tag(!(0..=family.bits).contains(&length), name, &length.to_string(), family.length_tag);
        }
    }
    tag(word("source", SOURCES), "Source", rule.text("source"), "oneof");
    let interface = rule.text("interface");
    tag(!interface.is_empty() && !is_interface(interface), "Interface", interface, "bgpFilterInterface");
    tag(word("matchOperator", OPERATORS), "MatchOperator", rule.text("matchOperator"), "matchOperator");
    tag(word("peerType", PEER_TYPES), "PeerType", rule.text("peerType"), "oneof");
    let communities = rule.inside("communities");
    tag(rule.has("communities") && !communities.is_list("values"), "Values", "[]", "required");
    if let Some(priority) = rule.get("priority").as_i64() {
        tag(priority < 1, "Priority", &priority.to_string(), "gte");
        tag(priority > MOST_PRIORITY, "Priority", &priority.to_string(), "lte");
    }
    let action = rule.text("action");
    tag(action.is_empty(), "Action", "", "required");
    tag(word("action", ACTIONS), "Action", action, "filterAction");
    for operation in rule.objects("operations") {
        let community = operation.inside("addCommunity");
        tag(
            operation.has("addCommunity") && !community.get("value").is_string(),
            "Value",
            "<nil>",
            "required",
        );
        let prepend = operation.inside("prependASPath");
        tag(operation.has("prependASPath") && !prepend.is_list("prefix"), "Prefix", "[]", "required");
        if let Some(value) = operation.inside("setPriority").get("value").as_i64() {
            tag(value < 1, "Value", &value.to_string(), "gte");
            tag(value > MOST_PRIORITY, "Value", &value.to_string(), "lte");
        }
    }
    errors
}

/// Letters, digits and `_.-*`, at most 15.
fn is_interface(text: &str) -> bool {
    text.len() <= 15 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-*".contains(&b))
}

fn combination_errors(rule: Written, _: Family, _: &str) -> Vec<FieldError> {
    let (cidr, operator) = (rule.text("cidr"), rule.text("matchOperator"));
    let mut errors = Vec::new();
    if !cidr.is_empty() && operator.is_empty() {
        errors.push(FieldError::new("CIDR", cidr, "MatchOperator cannot be empty when CIDR is not"));
    }
    if cidr.is_empty() && !operator.is_empty() {
        let reason = "CIDR cannot be empty when MatchOperator is not";
        errors.push(FieldError::new("MatchOperator", operator, reason));
    }
    if cidr.is_empty() && rule.has("prefixLength") {
        errors.push(FieldError::bare("PrefixLength", "CIDR cannot be empty when PrefixLength is not"));
    }
    for operation in rule.objects("operations") {
        let reason = "exactly one operation must be set";
        match OPERATIONS.iter().filter(|name| operation.has(name)).count() {
            1 => {}
            0 => errors.push(FieldError::new("BGPFilterOperation", "{<nil> <nil> <nil>}", reason)),
            _ => errors.push(FieldError::bare("BGPFilterOperation", reason)),
        }
    }
    errors
}

/// Complaints about one rule, collected under its path.
struct Complaints<'a> {
    path: &'a str,
    errors: Vec<FieldError>,
}

impl Complaints<'_> {
    fn at(&mut self, wrong: bool, field: &str, reason: impl FnOnce(&str) -> String) {
        if wrong {
            let path = format!("{}{field}", self.path);
            let reason = reason(&path);
            self.errors.push(FieldError::bare(path, reason));
        }
    }

    fn word(&mut self, field: &str, value: &str, words: &[&str]) {
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        self.at(!value.is_empty() && !words.contains(&value), field, |_| {
            format!("supported values: {}", quoted.join(", "))
        });
    }

    fn range(&mut self, field: &str, value: &Value, from: i64, to: i64) {
        let Some(n) = value.as_i64() else { return };
        self.at(n < from, field, |at| format!("{at} in body should be greater than or equal to {from}"));
        self.at(n > to, field, |at| format!("{at} in body should be less than or equal to {to}"));
    }

    /// A list that must be there, with at least one item and at most `most`.
    fn items(&mut self, field: &str, list: &Value, most: usize) {
        let Some(items) = list.as_array() else {
            return self.at(true, field, |at| format!("{at} in body must be of type array: \"null\""));
        };
        let plural = if most == 1 { "" } else { "s" };
        self.at(items.is_empty(), field, |at| format!("{at} in body should have at least 1 items"));
        self.at(items.len() > most, field, |_| format!("must have at most {most} item{plural}"));
    }

    fn community(&mut self, field: &str, value: &Value) {
        let Some(text) = value.as_str() else {
            return self.at(true, field, |at| format!("{at} in body must be of type string: \"null\""));
        };
        let is_plain = |part: &str| part == "0" || !part.starts_with('0');
        let valid = text.parse::<Community>().is_ok() && text.split(':').all(is_plain);
        self.at(!valid, field, |at| format!("{at} in body should match '{}'", community_pattern()));
    }
}

/// The pattern of the CRD: numbers of 16 or 32 bits without leading zeros.
fn community_pattern() -> String {
    const U16: &str =
        "([0-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
    const U32: &str = "([0-9]|[1-9][0-9]{1,8}|[1-3][0-9]{9}|4[0-1][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|\
                       4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[0-1][0-9]{2}|\
                       42949672[0-8][0-9]|429496729[0-5])";
    format!("^({U16}:{U16}|{U32}:{U32}:{U32})$")
}

fn path_errors(rule: Written, family: Family, path: &str) -> Vec<FieldError> {
    let mut said = Complaints { path, errors: Vec::new() };
    let (action, cidr, operator) = (rule.text("action"), rule.text("cidr"), rule.text("matchOperator"));
    said.at(!ACTIONS.contains(&action), ".action", |_| "supported values: \"Accept\", \"Reject\"".to_owned());
    said.at(!cidr.is_empty() && !is_schema_cidr(cidr), ".cidr", |at| {
        format!("{at} in body must be of type cidr: \"{cidr}\"")
    });
    said.at(cidr.len() > family.text, ".cidr", |_| format!("may not be more than {} bytes", family.text));
    if rule.has("communities") {
        let values = rule.inside("communities").get("values");
        said.items(".communities.values", values, 1);
        for (i, value) in values.as_array().into_iter().flatten().enumerate() {
            said.community(&format!(".communities.values[{i}]"), value);
        }
    }
    said.word(".matchOperator", operator, OPERATORS);
    said.at(rule.objects("operations").count() > MOST_ITEMS, ".operations", |_| {
        format!("must have at most {MOST_ITEMS} items")
    });
    for (i, operation) in rule.objects("operations").enumerate() {
        operation_errors(&mut said, operation, &format!(".operations[{i}]"));
    }
    said.word(".peerType", rule.text("peerType"), PEER_TYPES);
    for end in ["max", "min"] {
        let length = rule.inside("prefixLength").get(end);
        said.range(&format!(".prefixLength.{end}"), length, 0, family.bits);
    }
    said.range(".priority", rule.get("priority"), 1, MOST_PRIORITY);
    said.word(".source", rule.text("source"), SOURCES);
    said.at(cidr.is_empty() != operator.is_empty(), "", |_| {
        "cidr and matchOperator must both be set or both be empty".to_owned()
    });
    said.at(action == "Reject" && rule.objects("operations").next().is_some(), "", |_| {
        "operations may only be used with action Accept".to_owned()
    });
    said.errors
}

fn operation_errors(said: &mut Complaints, operation: Written, at: &str) {
    let set = OPERATIONS.iter().filter(|name| operation.has(name)).count();
    said.at(set == 0, at, |at| format!("{at} in body should have at least 1 properties"));
    said.at(set > 1, at, |_| "must have at most 1 item".to_owned());
    if operation.has("addCommunity") {
        let value = operation.inside("addCommunity").get("value");
        said.community(&format!("{at}.addCommunity.value"), value);
    }
    if operation.has("prependASPath") {
        let prefix = operation.inside("prependASPath").get("prefix");
        said.items(&format!("{at}.prependASPath.prefix"), prefix, MOST_ITEMS);
    }
    if operation.has("setPriority") {
        let value = operation.inside("setPriority").get("value");
        said.range(&format!("{at}.setPriority.value"), value, 1, MOST_PRIORITY);
    }
}

/// A network with its length; host bits may be set.
fn is_schema_cidr(text: &str) -> bool {
    text.contains('/') && text.parse::<crate::IfAddr>().is_ok()
}
