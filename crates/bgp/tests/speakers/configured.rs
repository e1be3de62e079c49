//! A configuration that changes under running sessions.

use crate::net::*;
use bgp::config::Origination;
use bgp::filter::{Action, Filter, MatchOperator, Matcher, Operation, Rule};
use model::Asn;

#[test]
fn a_filter_that_changes_is_applied_without_a_new_session() {
    let mut configs = mesh(&[64512, 64513]);
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    let since = net.speaker(0).status()[0].since;
    let block = Matcher { cidr: Some((MatchOperator::In, cidr("10.0.0.0/26"))), ..Matcher::default() };
    let mark = vec![Operation::PrependAsPath(vec![Asn(7)])];
    let rules = vec![
        Rule { matcher: block.clone(), action: Action::Accept, operations: mark },
        Rule { matcher: Matcher::default(), action: Action::Reject, operations: Vec::new() },
    ];
    configs[0].peers.get_mut(&id(1)).unwrap().export = Filter { rules, default: Action::Accept };
    net.configure(0, configs[0].clone());
    net.assert_agreement();
    assert_eq!(net.nexthop(1, "10.0.0.64/26"), None);
    assert_eq!(net.best(1)[&cidr("10.0.0.0/26")][0].attrs.as_path.to_string(), "64512 7");

    let priority = vec![Operation::SetPriority(1024)];
    let rules = vec![Rule { matcher: block, action: Action::Accept, operations: priority }];
    configs[1].peers.get_mut(&id(0)).unwrap().import = Filter { rules, default: Action::Reject };
    net.configure(1, configs[1].clone());
    assert_eq!(net.best(1)[&cidr("10.0.0.0/26")][0].attrs.local_pref, Some(2_147_482_623));
    configs[1].peers.get_mut(&id(0)).unwrap().import = Filter::reject();
    net.configure(1, configs[1].clone());
    assert_eq!(net.nexthop(1, "10.0.0.0/26"), None);
    configs[1].peers.get_mut(&id(0)).unwrap().import = Filter::accept();
    net.configure(1, configs[1].clone());
    assert_eq!(net.best(1)[&cidr("10.0.0.0/26")][0].attrs.local_pref, None);
    net.assert_agreement();
    assert_eq!(net.speaker(0).status()[0].since, since);
}

#[test]
fn what_is_originated_changes_without_a_new_session() {
    let mut configs = mesh(&[64512, 64512]);
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    configs[0].originate.remove(&cidr("10.0.0.0/26"));
    let via = Origination { nexthop: Some(addr(7)), local_pref: Some(300), ..Origination::default() };
    configs[0].originate.insert(cidr("10.9.0.0/26"), via);
    net.configure(0, configs[0].clone());
    net.assert_agreement();
    assert_eq!(net.nexthop(1, "10.0.0.0/26"), None);
    assert_eq!(net.nexthop(1, "10.9.0.0/26"), Some(addr(7)));
    assert_eq!(net.best(1)[&cidr("10.9.0.0/26")][0].attrs.local_pref, Some(300));
}

#[test]
fn only_the_session_whose_terms_changed_is_reset() {
    let mut configs = mesh(&[64512; 3]);
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    let since = |net: &Net, peer| net.speaker(0).status().iter().find(|s| s.id == id(peer)).unwrap().since;
    let before = [since(&net, 1), since(&net, 2)];
    configs[0].peers.get_mut(&id(1)).unwrap().password_key = Some("mesh/2".to_owned());
    net.configure(0, configs[0].clone());
    net.run(secs(20));
    assert!(since(&net, 1) > before[0] && since(&net, 2) == before[1]);
    assert!(net.log(1).iter().any(|line| line.contains("other configuration change")), "{:?}", net.log(1));
    assert_eq!(net.state(0, 1), "Established");
    net.assert_agreement();
    configs[0].peers.remove(&id(1));
    net.configure(0, configs[0].clone());
    net.run(secs(1));
    assert_eq!(net.nexthop(0, "10.1.0.0/26"), None);
    assert_ne!(net.state(1, 0), "Established");
}
