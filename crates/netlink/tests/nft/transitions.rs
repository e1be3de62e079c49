//! Any table becomes any other in one transaction.

use crate::example::{interface, pod};
use crate::netns::{Netns, apply};
use kernel::nft::rule::{saddr, set, udp_dport};
use kernel::nft::{Chain, Element, Field, Hook, HookPoint, Range, Rule, Set, Table, TableKey, Type, Verdict};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const SETS: usize = 3;
const CHAINS: usize = 4;

type SketchedChain = (u8, Vec<(u8, u8)>);

/// What a table holds, in numbers: of each set its kind and elements, of each chain its hook and rules, and where the
/// verdict map leads. What refers to something that is not there is left out.
#[derive(Clone, Debug)]
struct Sketch {
    sets: [Option<(u8, Vec<u8>)>; SETS],
    chains: [Option<SketchedChain>; CHAINS],
    map: Option<Vec<(u8, u8)>>,
}

fn sketch() -> impl Strategy<Value = Sketch> {
    use prop::array::uniform4;
    use prop::collection::vec;
    let set = || prop::option::of((0..4_u8, vec(0..12_u8, 0..5)));
    let chain = || prop::option::of((0..4_u8, vec((0..5_u8, 0..4_u8), 0..4)));
    let map = prop::option::of(vec((0..4_u8, 0..CHAINS as u8), 0..4));
    (prop::array::uniform3(set()), uniform4(chain()), map).prop_map(|(sets, chains, map)| Sketch {
        sets,
        chains,
        map,
    })
}

impl Sketch {
    fn table(&self) -> Table {
        let mut table = Table::default();
        for (i, (kind, elements)) in
            self.sets.iter().enumerate().filter_map(|(i, set)| Some((i, set.as_ref()?)))
        {
            table = table.set(&format!("s{i}"), set_of(*kind, elements));
        }
        if let Some(elements) = &self.map {
            let goes = elements
                .iter()
                .filter(|(_, to)| self.is_regular(*to))
                .map(|(pod, to)| (pod, format!("c{to}")));
            let unique: std::collections::BTreeMap<_, _> = goes.collect();
            let elements = unique.into_iter().map(|(pod, to)| Element::goes([name(*pod)], Verdict::Goto(to)));
            table = table.set("map", Set::verdicts([Type::IfName], elements));
        }
        for (i, (kind, rules)) in
            self.chains.iter().enumerate().filter_map(|(i, chain)| Some((i, chain.as_ref()?)))
        {
            let rules = rules.iter().filter_map(|rule| self.rule(i, *rule));
            table = table.chain(&format!("c{i}"), Chain { hook: hook(*kind), ..Chain::regular(rules) });
        }
        table
    }

    fn is_regular(&self, chain: u8) -> bool {
        self.chains[usize::from(chain)].as_ref().is_some_and(|(kind, _)| hook(*kind).is_none())
    }

    /// A rule of a chain; jumps lead to later chains only.
    fn rule(&self, chain: usize, (kind, what): (u8, u8)) -> Option<Rule> {
        match kind {
            0 => Some(Rule::when([udp_dport(u16::from(what))]).count(&format!("n{what}")).drop()),
            1 => Some(Rule::when([saddr("10.0.0.0/8".parse().unwrap())]).accept()),
            2 => {
                let (kind, _) = self.sets.get(usize::from(what))?.as_ref()?;
                Some(Rule::when([!set(fields(*kind).iter().copied(), &format!("s{what}"))]).drop())
            }
            3 => (usize::from(what) > chain && self.is_regular(what))
                .then(|| Rule::always().jump(&format!("c{what}"))),
            _ => {
                let base = self.chains[chain].as_ref().is_some_and(|(kind, _)| hook(*kind).is_some());
                (base && self.map.is_some()).then(|| Rule::always().dispatch([Field::Iifname], "map"))
            }
        }
    }
}

fn hook(kind: u8) -> Option<Hook> {
    match kind {
        0 => Some(Hook::filter(HookPoint::Input, 0)),
        1 => Some(Hook::filter(HookPoint::Forward, 5)),
        _ => None,
    }
}

fn name(number: u8) -> Range {
    interface(&format!("cali{number}"))
}

fn fields(kind: u8) -> &'static [Field] {
    match kind {
        0 | 1 => &[Field::Saddr],
        2 => &[Field::Iifname, Field::Saddr],
        _ => &[Field::Saddr, Field::Daddr],
    }
}

fn set_of(kind: u8, elements: &[u8]) -> Set {
    let addr = |number: &u8| Range::Ipv4([10, 0, 0, *number].into(), [10, 0, 0, *number].into());
    let range = |number: &u8| Range::Ipv4([10, 0, 0, *number].into(), [10, 0, 0, number + number % 3].into());
    let elements = elements.iter();
    match kind {
        0 => Set::values([Type::Ipv4Addr], elements.map(|n| Element::new([addr(n)]))),
        1 => Set::ranges([Type::Ipv4Addr], elements.map(|n| Element::new([range(n)]))),
        2 => Set::values(
            [Type::IfName, Type::Ipv4Addr],
            elements.map(|n| pod(&format!("cali{n}"), "10.0.0.1")),
        ),
        _ => Set::ranges(
            [Type::Ipv4Addr, Type::Ipv4Addr],
            elements.map(|n| Element::new([addr(&(n % 2)), range(n)])),
        ),
    }
}

#[test]
fn any_table_becomes_any_other() {
    let netns = Netns::new();
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let pairs = (prop::option::of(sketch()), prop::option::of(sketch()));
    let law = |(from, to): (Option<Sketch>, Option<Sketch>)| {
        let [from, to] = [from, to].map(|sketch| sketch.map(|sketch| sketch.table()));
        let (mut socket, key) = (netns.socket(), TableKey::inet());
        let before = netns.found();
        for (have, want) in [(before.as_ref(), from.as_ref()), (from.as_ref(), to.as_ref())] {
            apply(&mut socket, &key, have, want).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let found = netns.found();
            prop_assert_eq!(found.as_ref(), want);
        }
        Ok(())
    };
    runner.run(&pairs, law).unwrap_or_else(|error| panic!("{error}"));
}
