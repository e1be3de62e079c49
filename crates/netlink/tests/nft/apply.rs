//! What is written is what the kernel holds.

use crate::example::{every_word, interface, net, nets, pod, source, table};
use crate::netns::{Netns, apply};
use kernel::nft::rule::set;
use kernel::nft::{
    Chain, ChainType, Element, Field, Hook, HookPoint, Range, Rule, Set, Table, TableKey, Type, Verdict,
    priority,
};
use netlink::nft::{Change, counters};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

#[test]
fn nft_reads_what_we_write_as_it_reads_our_text() {
    let (ours, theirs) = (Netns::new(), Netns::new());
    ours.write(&every_word());
    theirs.feed("nft -f -", &every_word().text(&TableKey::inet()));
    let list = "nft -s list table inet calico";
    assert_eq!(ours.sh(list), theirs.sh(list));
}

#[test]
fn a_dump_gives_what_was_written() {
    let netns = Netns::new();
    for wanted in [table(), every_word(), Table::default()] {
        netns.write(&wanted);
        let found = netns.found().unwrap();
        assert!(wanted.satisfied_by(&found), "{found:#?}");
        assert_eq!(wanted.sets, found.sets);
    }
    apply(&mut netns.socket(), &TableKey::inet(), Some(&Table::default()), None).unwrap();
    assert_eq!(netns.found(), None);
    assert_eq!(netns.sh("nft list ruleset"), "");
}

#[test]
fn the_arp_table_is_ours_too_and_others_are_not() {
    let netns = Netns::new();
    let arp = Table::default().chain("filter", Chain::regular([Rule::always().accept()]));
    apply(&mut netns.socket(), &TableKey::arp(), None, Some(&arp)).unwrap();
    netns.sh("nft add table ip calico; nft add table inet other; nft add chain inet other c");
    let found = netlink::nft::dump(&mut netns.socket()).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), [&TableKey::arp()]);
    assert!(arp.satisfied_by(&found[&TableKey::arp()]));
}

#[test]
fn two_tables_change_in_one_transaction_or_neither_does() {
    let netns = Netns::new();
    let (inet, arp) = (TableKey::inet(), TableKey::arp());
    let filters = Table::default()
        .set("sources", nets(["10.0.0.0/8"]))
        .chain("filter", Chain::regular([Rule::when([set([Field::Saddr], "sources")]).accept()]));
    let good = Table::default().chain("filter", Chain::regular([Rule::always().accept()]));
    let bad = Table::default().chain("filter", Chain::regular([Rule::always().jump("nowhere")]));
    let both = |arp_to| {
        let changes = [
            Change { key: &inet, from: None, to: Some(&filters) },
            Change { key: &arp, from: None, to: Some(arp_to) },
        ];
        netlink::nft::apply(&mut netns.socket(), &changes)
    };
    let error = both(&bad).unwrap_err();
    assert_eq!(
        error.text,
        "table arp calico: rule `jump nowhere` of chain filter: No such file or directory"
    );
    assert_eq!(netns.sh("nft list ruleset"), "");
    both(&good).unwrap();
    assert_eq!(netns.sh("nft list tables"), "table inet calico\ntable arp calico\n");
    assert!(filters.satisfied_by(&netns.found().unwrap()));
}

#[test]
fn one_element_that_changes_is_all_that_changes() {
    let netns = Netns::new();
    netns.write(&table());
    let mut wanted = table();
    let pods = &mut wanted.sets.get_mut("workload-sources").unwrap().elements;
    pods.remove(&pod("cali1", "10.244.0.5"));
    pods.insert(pod("cali1", "10.244.0.7"));
    wanted.sets.get_mut("all-hosts-net").unwrap().elements.insert(net("172.18.0.4/32"));
    let seen = netns.watched(|| netns.write(&wanted));
    assert_eq!(
        seen,
        [
            "delete element inet calico workload-sources { \"cali1\" . 10.244.0.5 }",
            "add element inet calico all-hosts-net { 172.18.0.4 }",
            "add element inet calico workload-sources { \"cali1\" . 10.244.0.7 }",
        ]
    );
    assert!(wanted.satisfied_by(&netns.found().unwrap()));
}

#[test]
fn nothing_is_sent_when_nothing_changes() {
    let netns = Netns::new();
    netns.write(&table());
    let seen = netns.watched(|| {
        netns.write(&table());
        netns.sh("nft add table inet other");
    });
    assert_eq!(seen, ["add table inet other"]);
}

#[test]
fn an_interval_shrinks_and_grows_in_one_transaction() {
    let netns = Netns::new();
    let with = |texts: &[&str]| Table::default().set("nets", nets(texts.iter().copied()));
    for texts in [
        &["10.0.0.0/8", "255.255.255.255/32"][..],
        &["10.0.0.0/9", "10.128.0.0/9"],
        &["10.0.0.0/10", "10.64.0.0/10", "10.128.0.0/9"],
        &["0.0.0.0/0"],
        &["10.0.0.0/8", "0.0.0.0/32"],
        &[],
    ] {
        netns.write(&with(texts));
        assert_eq!(netns.found().unwrap().sets, with(texts).sets, "{texts:?}");
    }
}

#[test]
fn an_object_of_another_kind_under_the_same_name_is_made_anew_with_all_that_refers_to_it() {
    let netns = Netns::new();
    let uses = |set_of: Set, fields: &[Field], hook: Option<Hook>| {
        let rules = [Rule::when([set(fields.iter().copied(), "s")]).accept()];
        let chain = Chain { hook, ..Chain::regular(rules) };
        Table::default().set("s", set_of).chain("c", chain).chain("kept", Chain::regular([]))
    };
    let hook = Hook::filter(HookPoint::Input, 0);
    let pair = Element::new([interface("a"), Range::from(Ipv4Addr::LOCALHOST)]);
    let tables = [
        uses(nets(["10.0.0.0/8"]), &[Field::Saddr], None),
        uses(Set::values([Type::Ipv4Addr], [net("10.0.0.1/32")]), &[Field::Saddr], Some(hook.clone())),
        uses(
            Set::values([Type::Ipv4Addr], [net("10.0.0.2/32")]),
            &[Field::Saddr],
            Some(Hook { priority: 5, ..hook }),
        ),
        uses(Set::values([Type::IfName, Type::Ipv4Addr], [pair]), &[Field::Iifname, Field::Saddr], None),
    ];
    for table in tables.iter().chain(tables.iter().rev()) {
        netns.write(table);
        assert!(table.satisfied_by(&netns.found().unwrap()));
    }
}

#[test]
fn chains_and_the_verdict_maps_that_lead_to_them_come_and_go_together() {
    let netns = Netns::new();
    let with = |pods: &[&str]| {
        let chain = |pod: &str| format!("pod-{pod}");
        let elements = pods.iter().map(|pod| Element::goes([interface(pod)], Verdict::Goto(chain(pod))));
        let dispatch = Rule::always().dispatch([Field::Iifname], "dispatch");
        let table = Table::default()
            .set("dispatch", Set::verdicts([Type::IfName], elements))
            .chain("forward", Chain::base(Hook::filter(HookPoint::Forward, priority::FILTER), [dispatch]));
        pods.iter()
            .fold(table, |table, pod| table.chain(&chain(pod), Chain::regular([Rule::always().drop()])))
    };
    for pods in [&["a", "b"][..], &["b", "c"], &[], &["a"]] {
        netns.write(&with(pods));
        assert!(with(pods).satisfied_by(&netns.found().unwrap()), "{pods:?}");
    }
    netns.write(&Table::default());
    assert_eq!(netns.sh("nft list table inet calico"), "table inet calico {\n}\n");
}

#[test]
fn counters_keep_their_counts_when_rules_change() {
    let netns = Netns::new();
    let counting = |extra: Vec<Rule>| {
        let rules = std::iter::once(Rule::always().count("seen")).chain(extra);
        Table::default().chain("output", Chain::base(Hook::filter(HookPoint::Output, 0), rules))
    };
    netns.write(&counting(vec![]));
    netns.sh("ping -c 3 -i 0.01 -q 127.0.0.1");
    netns.write(&counting(vec![Rule::always().accept()]));
    let counts = counters(&mut netns.socket(), &TableKey::inet()).unwrap();
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["seen"]);
    assert_eq!(
        (counts["seen"].packets, counts["seen"].bytes),
        (6, 6 * 84),
        "three requests and three answers"
    );
}

#[test]
fn a_set_of_many_elements_takes_several_messages() {
    let netns = Netns::new();
    let elements = (0..10_000_u32).map(|i| {
        let name = format!("cali{i:011}").parse().unwrap();
        Element::new([Range::IfName(name), Range::from(Ipv4Addr::from_bits(0x0af4_0000 + i))])
    });
    let many = Table::default().set("many", Set::values([Type::IfName, Type::Ipv4Addr], elements));
    netns.write(&many);
    assert!(netns.found().unwrap().sets == many.sets, "not all 10 000 elements are there");
    netns.write(&Table::default().set("many", Set::values([Type::IfName, Type::Ipv4Addr], [])));
    assert!(netns.found().unwrap().sets["many"].elements.is_empty());
}

#[test]
fn a_refusal_names_what_was_refused_and_leaves_everything_as_it_was() {
    let before = Netns::new();
    before.write(&table());
    let listing = before.sh("nft list ruleset");
    let base = |chain_type, rules: Vec<Rule>| {
        let hook = Hook { chain_type, point: HookPoint::Input, priority: 0 };
        table().chain("extra", Chain::base(hook, rules))
    };
    let mut overlapping = table();
    let sources = overlapping.sets.get_mut("vxlan-sources").unwrap();
    sources.elements.insert(source("172.18.0.3", "10.244.1.64/26"));
    sources.elements.insert(source("172.18.0.3", "10.244.1.4/30"));
    let loops = base(ChainType::Filter, vec![Rule::always().jump("a")])
        .chain("a", Chain::regular([Rule::always().accept(), Rule::always().jump("b")]))
        .chain("b", Chain::regular([Rule::always().jump("a")]));
    let mut text = String::new();
    for wanted in [
        base(ChainType::Filter, vec![Rule::always().accept(), Rule::always().jump("nowhere")]),
        base(ChainType::Filter, vec![Rule::when([set([Field::Saddr], "no-such-set")]).accept()]),
        base(ChainType::Filter, vec![Rule::always().masquerade()]),
        base(ChainType::Other("flter".to_owned()), vec![]),
        overlapping,
        loops,
    ] {
        let found = before.found();
        match apply(&mut before.socket(), &TableKey::inet(), found.as_ref(), Some(&wanted)) {
            Err(error) => writeln!(text, "{error}").unwrap(),
            Ok(()) => panic!("{:?} is taken", wanted.chains.keys()),
        }
        assert_eq!(before.sh("nft list ruleset"), listing);
    }
    let error = apply(&mut before.socket(), &TableKey::inet(), None, Some(&table())).unwrap_err();
    writeln!(text, "{error}").unwrap();
    assert_eq!(
        text,
        "\
table inet calico: rule `jump nowhere` of chain extra: No such file or directory (errno 2)
table inet calico: rule `ip saddr @no-such-set accept` of chain extra: No such file or directory (errno 2)
table inet calico: rule `masquerade fully-random` of chain extra: Operation not supported (errno 95)
table inet calico: chain extra: No such file or directory (errno 2)
table inet calico: element 172.18.0.3 . 10.244.1.4/30 of set vxlan-sources: File exists (errno 17)
table inet calico: rule `jump a` of chain extra: Too many links (errno 31)
table inet calico: the table itself: File exists (errno 17)
"
    );
}
