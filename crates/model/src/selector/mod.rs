//! Calico's label selectors: `role == "db" && !has(retired)`.
//!
//! Text in, a `Selector` out; a `Selector` and labels in, yes or no out. `Display` gives Calico's canonical text, which
//! parses to the same `Selector`. Blank text selects everything.
//!
//! ```text
//! or    = and { "||" and }            and = not { "&&" not }            not = { "!" } term
//! term  = "(" or ")" | "all()" | "global()" | "has(" label ")" | label relation
//! relation = ("==" | "!=" | "contains" | "starts with" | "ends with") string | ("in" | "not in") "{" strings "}"
//! ```

mod parse;

pub use parse::SelectorError;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// A predicate over labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// `all()`
    #[default]
    All,
    /// `global()`: everything here; what it means for namespaces is for the rule that holds it.
    Global,
    /// `has(label)`
    Has(String),
    /// `label == "value"`
    Equals(String, String),
    /// `label != "value"`: also where the label is absent.
    NotEquals(String, String),
    /// `label contains "text"`
    Contains(String, String),
    /// `label starts with "text"`
    StartsWith(String, String),
    /// `label ends with "text"`
    EndsWith(String, String),
    /// `label in {"a", "b"}`
    In(String, BTreeSet<String>),
    /// `label not in {"a", "b"}`: also where the label is absent.
    NotIn(String, BTreeSet<String>),
    /// `!term`
    Not(Box<Selector>),
    /// `(a && b && …)`, two or more
    And(Vec<Selector>),
    /// `(a || b || …)`, two or more
    Or(Vec<Selector>),
}

impl Selector {
    /// Whether the labels are selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = |label: &String| labels.get(label).map(String::as_str);
        match self {
            Selector::All | Selector::Global => true,
            Selector::Has(label) => value(label).is_some(),
            Selector::Equals(label, wanted) => value(label) == Some(wanted),
            Selector::NotEquals(label, other) => value(label) != Some(other),
            Selector::Contains(label, text) => value(label).is_some_and(|v| v.contains(text.as_str())),
            Selector::StartsWith(label, text) => value(label).is_some_and(|v| v.starts_with(text.as_str())),
            Selector::EndsWith(label, text) => value(label).is_some_and(|v| v.ends_with(text.as_str())),
            Selector::In(label, set) => value(label).is_some_and(|v| set.contains(v)),
            Selector::NotIn(label, set) => value(label).is_none_or(|v| !set.contains(v)),
            Selector::Not(term) => !term.matches(labels),
            Selector::And(terms) => terms.iter().all(|term| term.matches(labels)),
            Selector::Or(terms) => terms.iter().any(|term| term.matches(labels)),
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;
    fn from_str(text: &str) -> Result<Selector, SelectorError> {
        parse::selector(text)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relation = |f: &mut fmt::Formatter<'_>, label: &str, operator: &str, text: &str| {
            write!(f, "{label} {operator} ")?;
            quoted(f, text)
        };
        match self {
            Selector::All => f.write_str("all()"),
            Selector::Global => f.write_str("global()"),
            Selector::Has(label) => write!(f, "has({label})"),
            Selector::Equals(label, text) => relation(f, label, "==", text),
            Selector::NotEquals(label, text) => relation(f, label, "!=", text),
            Selector::Contains(label, text) => relation(f, label, "contains", text),
            Selector::StartsWith(label, text) => relation(f, label, "starts with", text),
            Selector::EndsWith(label, text) => relation(f, label, "ends with", text),
            Selector::In(label, values) => set(f, label, "in", values),
            Selector::NotIn(label, values) => set(f, label, "not in", values),
            Selector::Not(term) => write!(f, "!{term}"),
            Selector::And(terms) => joined(f, terms, " && "),
            Selector::Or(terms) => joined(f, terms, " || "),
        }
    }
}

/// Text has no escapes: it is quoted with the mark that it does not contain.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mark = if text.contains('"') { '\'' } else { '"' };
    write!(f, "{mark}{text}{mark}")
}

fn set(f: &mut fmt::Formatter<'_>, label: &str, operator: &str, values: &BTreeSet<String>) -> fmt::Result {
    write!(f, "{label} {operator} {{")?;
    for (i, value) in values.iter().enumerate() {
        f.write_str(if i == 0 { "" } else { ", " })?;
        quoted(f, value)?;
    }
    f.write_str("}")
}

fn joined(f: &mut fmt::Formatter<'_>, terms: &[Selector], operator: &str) -> fmt::Result {
    f.write_str("(")?;
    for (i, term) in terms.iter().enumerate() {
        write!(f, "{}{term}", if i == 0 { "" } else { operator })?;
    }
    f.write_str(")")
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Selector, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    fn selects(selector: &str, pairs: &[(&str, &str)]) -> bool {
        selector.parse::<Selector>().expect(selector).matches(&labels(pairs))
    }

    #[test]
    fn relations_want_the_label_to_be_there() {
        for selector in
            ["a == 'x'", "a contains 'x'", "a starts with 'x'", "a ends with 'x'", "a in {'x'}", "has(a)"]
        {
            assert!(selects(selector, &[("a", "x")]), "{selector}");
            assert!(!selects(selector, &[("b", "x")]), "{selector}");
        }
    }

    #[test]
    fn negated_relations_hold_where_the_label_is_absent() {
        for selector in ["a != 'x'", "a not in {'x'}", "!has(a)", "!a == 'x'"] {
            assert!(!selects(selector, &[("a", "x")]), "{selector}");
            assert!(selects(selector, &[]), "{selector}");
        }
    }

    #[test]
    fn and_binds_tighter_than_or() {
        assert!(selects("a == '1' || b == '1' && c == '1'", &[("a", "1")]));
        assert!(!selects("(a == '1' || b == '1') && c == '1'", &[("a", "1")]));
    }

    #[test]
    fn the_canonical_text_is_calicos() {
        for (text, canonical) in [
            ("", "all()"),
            (" \t ", "all()"),
            ("global( )", "global()"),
            ("a=='b'", "a == \"b\""),
            ("a == '\"'", "a == '\"'"),
            ("a in{'c','b',\"b\",}", "a in {\"b\", \"c\"}"),
            ("a notin {}", "a not in {}"),
            ("a startswith 'b'&&a ends  with 'c'", "(a starts with \"b\" && a ends with \"c\")"),
            ("a=='b'||c=='d'&&e!='f'", "(a == \"b\" || (c == \"d\" && e != \"f\"))"),
            ("!!has( x )", "has(x)"),
            ("! (has(x)||has(y))", "!(has(x) || has(y))"),
        ] {
            assert_eq!(text.parse::<Selector>().expect(text).to_string(), canonical);
        }
    }

    fn term() -> impl Strategy<Value = Selector> {
        let label = || "[a-c]|in|not|has|all|starts|contains|x\\.y/z-_";
        let text = || "[ab ']{0,4}|[ab \"]{0,4}|\\{\\}\\(\\)&&\\|\\|";
        let values = || proptest::collection::btree_set(text(), 0..4);
        prop_oneof![
            Just(Selector::All),
            Just(Selector::Global),
            label().prop_map(Selector::Has),
            (label(), text()).prop_map(|(l, v)| Selector::Equals(l, v)),
            (label(), text()).prop_map(|(l, v)| Selector::NotEquals(l, v)),
            (label(), text()).prop_map(|(l, v)| Selector::Contains(l, v)),
            (label(), text()).prop_map(|(l, v)| Selector::StartsWith(l, v)),
            (label(), text()).prop_map(|(l, v)| Selector::EndsWith(l, v)),
            (label(), values()).prop_map(|(l, v)| Selector::In(l, v)),
            (label(), values()).prop_map(|(l, v)| Selector::NotIn(l, v)),
        ]
    }

    fn not(term: Selector) -> Selector {
        match term {
            Selector::Not(term) => *term,
            term => Selector::Not(Box::new(term)),
        }
    }

    fn selector() -> impl Strategy<Value = Selector> {
        term().prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                inner.clone().prop_map(not),
                proptest::collection::vec(inner.clone(), 2..4).prop_map(Selector::And),
                proptest::collection::vec(inner, 2..4).prop_map(Selector::Or),
            ]
        })
    }

    fn any_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
        proptest::collection::btree_map("[a-c]|in|not", "[ab ]{0,3}", 0..4)
    }

    proptest! {
        #[test]
        fn the_canonical_text_parses_to_the_same_selector(selector in selector()) {
            prop_assert_eq!(selector.to_string().parse(), Ok(selector));
        }

        #[test]
        fn parsing_never_panics(text in ".{0,40}|[ab ()!&|='\"{},]{0,40}") {
            if let Ok(selector) = text.parse::<Selector>() {
                prop_assert_eq!(selector.to_string().parse(), Ok(selector));
            }
        }

        #[test]
        fn de_morgans_laws_hold(a in selector(), b in selector(), labels in any_labels()) {
            let and = not(Selector::And(vec![a.clone(), b.clone()]));
            let or = Selector::Or(vec![not(a), not(b)]);
            prop_assert_eq!(and.matches(&labels), or.matches(&labels));
        }

        #[test]
        fn the_negated_relations_are_negations(label in "[a-c]", text in "[ab]{0,2}", labels in any_labels()) {
            let set = BTreeSet::from([text.clone()]);
            let equals = Selector::Equals(label.clone(), text.clone());
            prop_assert_ne!(Selector::NotEquals(label.clone(), text).matches(&labels), equals.matches(&labels));
            let within = Selector::In(label.clone(), set.clone());
            prop_assert_ne!(Selector::NotIn(label, set).matches(&labels), within.matches(&labels));
            prop_assert_eq!(within.matches(&labels), equals.matches(&labels));
        }
    }
}
