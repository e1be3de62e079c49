//! What has to go out of a table and come into it to make one state of another: chains whole, sets by element.

use kernel::nft::{Action, Chain, Condition, Element, Rule, Rules, Set, Table};

/// What differs between two states of a table.
#[derive(Default)]
pub(super) struct Difference<'a> {
    pub(super) chains_in: Vec<(&'a str, &'a Chain)>,
    pub(super) chains_out: Vec<&'a str>,
    pub(super) rules_in: Vec<(&'a str, &'a [Rule])>,
    pub(super) rules_out: Vec<&'a str>,
    pub(super) sets_in: Vec<(&'a str, &'a Set)>,
    pub(super) sets_out: Vec<&'a str>,
    pub(super) elements_in: Vec<(&'a str, &'a Set, Vec<&'a Element>)>,
    pub(super) elements_out: Vec<(&'a str, &'a Set, Vec<&'a Element>)>,
}

impl<'a> Difference<'a> {
    pub(super) fn between(from: &'a Table, to: &'a Table) -> Difference<'a> {
        let mut difference = Difference::default();
        difference.sets(from, to);
        difference.chains(from, to);
        difference
    }

    /// A set of another kind under the same name is made anew.
    fn sets(&mut self, from: &'a Table, to: &'a Table) {
        for (name, have) in &from.sets {
            let old: Vec<&Element> = match to.sets.get(name).filter(|want| same_kind(have, want)) {
                Some(want) => have.elements.difference(&want.elements).collect(),
                None => {
                    self.sets_out.push(name);
                    // A verdict map that goes must let go of the chains first.
                    have.elements.iter().filter(|element| element.verdict.is_some()).collect()
                }
            };
            self.elements_out.extend((!old.is_empty()).then_some((name.as_str(), have, old)));
        }
        for (name, want) in &to.sets {
            let kept = from.sets.get(name).filter(|have| same_kind(have, want));
            if kept.is_none() {
                self.sets_in.push((name, want));
            }
            let new: Vec<&Element> = match kept {
                Some(have) => want.elements.difference(&have.elements).collect(),
                None => want.elements.iter().collect(),
            };
            self.elements_in.extend((!new.is_empty()).then_some((name.as_str(), want, new)));
        }
    }

    /// A chain with another hook under the same name is made anew; one with other rules, or with rules that refer to a
    /// set that is made anew, gets its rules anew.
    fn chains(&mut self, from: &'a Table, to: &'a Table) {
        for (name, have) in &from.chains {
            let want = to.chains.get(name);
            let kept = want.is_some_and(|want| want.hook == have.hook);
            if !kept {
                self.chains_out.push(name);
            }
            if !want.is_some_and(|want| want == have && !self.refers_to_new_set(want)) {
                self.rules_out.push(name);
            }
        }
        for (name, want) in &to.chains {
            let have = from.chains.get(name);
            if have.is_none_or(|have| want.hook != have.hook) {
                self.chains_in.push((name, want));
            }
            let Rules::Written(rules) = &want.rules else {
                panic!("chain {name} is wanted as it was found, which has no rules")
            };
            if (have.is_none() || self.rules_out.contains(&name.as_str())) && !rules.is_empty() {
                self.rules_in.push((name, rules));
            }
        }
    }

    fn refers_to_new_set(&self, chain: &Chain) -> bool {
        let Rules::Written(rules) = &chain.rules else { return false };
        let new = |set: &String| self.sets_in.iter().any(|(name, _)| name == set);
        rules.iter().any(|rule| {
            let matches =
                rule.matches.iter().any(|m| matches!(&m.condition, Condition::In(_, set) if new(set)));
            matches || matches!(&rule.action, Action::Dispatch(_, map) if new(map))
        })
    }
}

/// Whether two sets differ in their elements at most.
fn same_kind(a: &Set, b: &Set) -> bool {
    (&a.key, a.interval, a.verdicts) == (&b.key, b.interval, b.verdicts)
}
