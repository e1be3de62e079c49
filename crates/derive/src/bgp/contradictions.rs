//! Rules of BGPFilters that can never decide, because an earlier one that says the opposite decides everything that they are
//! for: one of the two is not what its writer meant.

use model::v3::{BgpFilterRule, MatchOperator};
use std::fmt;

/// Where a rule stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RulePlace {
    pub filter: String,
    /// `exportV4` and so on.
    pub list: &'static str,
    pub index: usize,
}

impl fmt::Display for RulePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}[{}]", self.filter, self.list, self.index)
    }
}

/// Pairs of rules of which the first leaves nothing to the second and says the opposite. In the order of asking.
pub(super) fn find(rules: &[(RulePlace, BgpFilterRule)]) -> impl Iterator<Item = (RulePlace, RulePlace)> {
    rules.iter().enumerate().filter_map(|(at, (place, rule))| {
        let first = rules[..at].iter().find(|(_, earlier)| covers(earlier, rule))?;
        (first.1.action != rule.action).then(|| (first.0.clone(), place.clone()))
    })
}

/// Whether everything that `b` is for is something that `a` is for.
fn covers(a: &BgpFilterRule, b: &BgpFilterRule) -> bool {
    fn wider<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
        a.is_none() || a == b
    }
    covers_dst(a, b)
        && b.as_path_prefix.starts_with(&a.as_path_prefix)
        && wider(&a.communities, &b.communities)
        && wider(&a.priority, &b.priority)
        && wider(&a.source, &b.source)
        && wider(&a.peer_type, &b.peer_type)
        && (a.interface.is_empty()
            || a.interface == "*" && !b.interface.is_empty()
            || a.interface == b.interface)
}

fn covers_dst(a: &BgpFilterRule, b: &BgpFilterRule) -> bool {
    let same = (a.cidr, a.match_operator, a.prefix_length) == (b.cidr, b.match_operator, b.prefix_length);
    let anything = a.cidr.is_none() && a.prefix_length.is_none();
    let inside = a.match_operator == Some(MatchOperator::In)
        && a.prefix_length.is_none()
        && matches!(b.match_operator, Some(MatchOperator::In | MatchOperator::Equal))
        && a.cidr.zip(b.cidr).is_some_and(|(a, b)| a.covers(b));
    same || anything || inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn contradictions(rules: Value) -> Vec<String> {
        let rules: Vec<BgpFilterRule> = serde_json::from_value(rules).expect("rules");
        let place = |index| RulePlace { filter: "f".into(), list: "exportV4", index };
        let rules: Vec<_> = rules.into_iter().enumerate().map(|(at, rule)| (place(at), rule)).collect();
        find(&rules).map(|(first, second)| format!("{first} > {second}")).collect()
    }

    #[test]
    fn a_rule_contradicts_one_that_leaves_it_nothing() {
        let inside =
            |action: &str, cidr: &str| json!({"action": action, "cidr": cidr, "matchOperator": "In"});
        for (rules, found) in [
            (json!([{"action": "Accept"}, {"action": "Reject"}]), &["f exportV4[0] > f exportV4[1]"][..]),
            (
                json!([inside("Accept", "10.0.0.0/8"), inside("Reject", "10.1.0.0/16")]),
                &["f exportV4[0] > f exportV4[1]"],
            ),
            (json!([inside("Accept", "10.1.0.0/16"), inside("Reject", "10.0.0.0/8")]), &[]),
            (json!([inside("Accept", "10.0.0.0/8"), inside("Accept", "10.1.0.0/16")]), &[]),
            (json!([{"action": "Accept", "peerType": "eBGP"}, {"action": "Reject"}]), &[]),
            (
                json!([{"action": "Reject", "asPathPrefix": [1]}, {"action": "Accept", "asPathPrefix": [1, 2]}]),
                &["f exportV4[0] > f exportV4[1]"],
            ),
        ] {
            assert_eq!(contradictions(rules.clone()), found, "{rules}");
        }
    }
}
