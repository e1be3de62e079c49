//! What the writer is given: after notices, after refusals, and behind a plan.

use super::*;
use kernel::addr::AddrScope;
use kernel::nft::{Element, Range, Set, Table, Type};
use kernel::route::{PROTO_CALICO, TABLE_MAIN};
use kernel::{
    AddrKey, AddrValue, LinkValue, NeighKey, NeighValue, RouteKey, RouteKind, RouteScope, RouteValue,
    rules_key,
};
use std::net::Ipv4Addr;

fn uplink(up: bool) -> (Key, Value) {
    let key = LinkKey { netns: Netns::Host, name: IfName::fixed("ens192") };
    let link = LinkValue { kind: LinkKind::Other(String::new()), mac: None, mtu: None, up, alias: None };
    (Key::Link(key), Value::Link(Box::new(link)))
}

fn address() -> (Key, Value) {
    let addr = "192.168.50.161/24".parse().expect("it is an address");
    let key = AddrKey { netns: Netns::Host, device: IfName::fixed("ens192"), addr };
    (Key::Addr(key), Value::Addr(AddrValue { scope: AddrScope::Global }))
}

fn direct_route() -> (Key, Value) {
    let dst = "6.2.180.0/26".parse().expect("it is a CIDR");
    let route = RouteValue {
        kind: RouteKind::Unicast,
        gateway: Some([192, 168, 50, 162].into()),
        device: Some(IfName::fixed("ens192")),
        scope: RouteScope::Universe,
        onlink: true,
        protocol: PROTO_CALICO,
        source: None,
        mtu: None,
        also: Vec::new(),
    };
    let key = RouteKey { netns: Netns::Host, table: TABLE_MAIN, dst, priority: 0 };
    (Key::Route(key), Value::Route(route))
}

#[test]
fn routes_that_the_kernel_takes_away_without_a_word_are_made_again() {
    let (down, (addr, _)) = (uplink(false), address());
    for notice in [Notice::Put(down.0, down.1), Notice::Gone(addr)] {
        let now = Instant::ZERO;
        let mut datapath = Datapath::default();
        datapath.want(Section::Routes, Objects::from([direct_route()]));
        datapath.dumped(now, Netns::Host, Objects::from([uplink(true), address(), direct_route()]));
        assert_eq!(datapath.plan(now, EffectId(1)), None, "all is as wanted");
        datapath.noticed(now, notice);
        let (key, value) = direct_route();
        assert_eq!(datapath.plan(now, EffectId(2)), Some(vec![Step::Create(key, value)]));
    }
}

/// A table that another process owned goes with it, and nobody is told.
#[test]
fn what_the_kernel_refuses_for_another_reason_than_before_is_read_again() {
    let (key, value) = direct_route();
    let mut datapath = Datapath::default();
    datapath.want(Section::Routes, Objects::from([(key.clone(), value)]));
    datapath.dumped(Instant::ZERO, Netns::Host, Objects::from([uplink(true), address()]));
    let mut now = Instant::ZERO;
    for (n, (errno, is_read_again)) in
        [(1, false), (2, true), (2, false), (1, false), (17, true)].into_iter().enumerate()
    {
        let id = EffectId(n as u64);
        datapath.plan(now, id).expect("it is tried");
        let refused = Err(ApplyError { errno, text: "no".into() });
        datapath.wrote(now, id, vec![Outcome { key: key.clone(), result: refused }]);
        assert_eq!(datapath.take_stale(), is_read_again, "try {n}");
        now = datapath.timeout().expect("it is tried again");
    }
}

#[test]
fn what_a_downed_interface_refused_is_tried_when_it_comes_up() {
    let (down, up) = (uplink(false), uplink(true));
    let mut datapath = Datapath::default();
    datapath.want(Section::Routes, Objects::from([direct_route()]));
    datapath.dumped(Instant::ZERO, Netns::Host, Objects::from([down, address()]));
    let mut now = Instant::ZERO;
    for id in 0..12 {
        datapath.plan(now, EffectId(id)).expect("it is tried");
        let error = ApplyError { errno: 100, text: "Network is down".into() };
        datapath.wrote(now, EffectId(id), vec![Outcome { key: direct_route().0, result: Err(error) }]);
        now = datapath.timeout().expect("it is tried again");
    }
    let soon = Instant::from_micros(now.micros() - 1_000_000);
    assert_eq!(datapath.plan(soon, EffectId(20)), None, "the pause is long by now");
    datapath.noticed(soon, Notice::Put(up.0, up.1));
    assert!(datapath.plan(soon, EffectId(21)).is_some());
}

/// The route of `direct_route`, to another destination.
fn another_route(dst: &str) -> (Key, Value) {
    let dst = dst.parse().expect("it is a CIDR");
    (Key::Route(RouteKey { netns: Netns::Host, table: TABLE_MAIN, dst, priority: 0 }), direct_route().1)
}

#[test]
fn routes_to_add_wait_behind_a_plan_and_everything_else_waits_for_its_outcome() {
    let (now, id) = (Instant::ZERO, EffectId);
    let done = |(key, _): (Key, Value)| Outcome { key, result: Ok(()) };
    let [first, second, third] = [direct_route(), another_route("20.0.0.0/26"), another_route("20.0.1.0/26")];
    let with = |routes: &[&(Key, Value)]| routes.iter().copied().cloned().collect::<Objects>();
    let mut datapath = Datapath::default();
    datapath.dumped(now, Netns::Host, Objects::from([uplink(true), address()]));
    datapath.want(Section::Routes, with(&[&first]));
    assert!(datapath.plan(now, id(1)).is_some());

    datapath.want(Section::Learnt, with(&[&second]));
    let made = Step::Create(second.0.clone(), second.1.clone());
    assert_eq!(datapath.plan(now, id(2)), Some(vec![made]));
    datapath.want(Section::Learnt, with(&[&second, &third]));
    assert_eq!(datapath.plan(now, id(3)), None, "two are enough");

    datapath.wrote(now, id(1), vec![done(first.clone())]);
    assert_eq!(datapath.applied(&first.0), Applied::Yes);
    assert_eq!(datapath.applied(&second.0), Applied::Pending);
    datapath.want(Section::Routes, Objects::new());
    assert_eq!(datapath.plan(now, id(3)), None, "a removal must not come before what it should follow");
    datapath.wrote(now, id(2), vec![done(second)]);
    let (key, value) = third;
    let steps = vec![Step::Create(key, value), Step::Remove(first.0, first.1)];
    assert_eq!(datapath.plan(now, id(3)), Some(steps));
}

fn busy() -> ApplyError {
    ApplyError { errno: 16, text: "Device or resource busy".into() }
}

/// Rules that know these pods, by the last octets of their addresses.
fn rules(pods: &[u8]) -> (Key, Value) {
    let source =
        |n: &u8| Element::new([Range::from(IfName::fixed("calia")), Range::from(Ipv4Addr::new(6, 2, 1, *n))]);
    let set = Set::values([Type::IfName, Type::Ipv4Addr], pods.iter().map(source));
    (rules_key(), Value::Nft(Box::new(Table::default().set("sources", set))))
}

/// The route to one of them.
fn pod_route(n: u8) -> (Key, Value) {
    let (key, Value::Route(route)) = another_route(&format!("6.2.1.{n}/32")) else { unreachable!("a route") };
    let (device, scope) = (Some(IfName::fixed("calia")), RouteScope::Link);
    (key, Value::Route(RouteValue { gateway: None, device, scope, onlink: false, ..route }))
}

#[test]
fn what_leads_to_a_pod_waits_for_rules_that_are_refused_unless_they_know_it() {
    let id = EffectId;
    let refused = || vec![Outcome { key: rules_key(), result: Err(busy()) }];
    let mut now = Instant::ZERO;
    let mut datapath = Datapath::default();
    datapath.dumped(now, Netns::Host, Objects::from([rules(&[1])]));
    datapath.want(Section::Rules, Objects::from([rules(&[1, 2])]));
    assert!(datapath.plan(now, id(1)).is_some());
    datapath.want(Section::Endpoints, Objects::from([pod_route(1), pod_route(2)]));
    let create = |(key, value)| Step::Create(key, value);
    assert_eq!(
        datapath.plan(now, id(2)),
        Some(vec![create(pod_route(1))]),
        "the second waits for what is written"
    );
    datapath.wrote(now, id(1), refused());
    datapath.wrote(now, id(2), vec![Outcome { key: pod_route(1).0, result: Ok(()) }]);
    assert_eq!(datapath.plan(now, id(3)), None);
    assert!(matches!(datapath.applied(&pod_route(2).0), Applied::Failed(_)), "its ADD fails");

    now = datapath.timeout().expect("the rules are tried again");
    let steps = datapath.plan(now, id(4)).expect("with the route behind them");
    assert_eq!(steps.last(), Some(&create(pod_route(2))), "{steps:?}");
    datapath.wrote(
        now,
        id(4),
        [refused(), vec![Outcome { key: pod_route(2).0, result: Err(busy()) }]].concat(),
    );
    datapath.want(Section::Rules, Objects::from([rules(&[1, 2, 3])]));
    assert_eq!(datapath.plan(now, id(5)).map(|steps| steps.len()), Some(1), "other rules need not wait");
    datapath.wrote(now, id(5), vec![Outcome { key: rules_key(), result: Ok(()) }]);
    assert_eq!(datapath.timeout(), Some(now), "nor does the route when they are there");
}

fn tunnel() -> IfName {
    IfName::fixed("tunl0")
}

/// A peer behind the tunnel.
fn neighbour() -> (Key, Value) {
    let addr = Ipv4Addr::new(192, 168, 50, 162);
    let key = NeighKey { netns: Netns::Host, device: tunnel(), addr: addr.into() };
    (Key::Neigh(key), Value::Neigh(NeighValue::spelling(addr)))
}

/// The route of `direct_route`, through the tunnel.
fn tunnelled() -> (Key, Value) {
    let (key, Value::Route(route)) = direct_route() else { unreachable!("a route") };
    (key, Value::Route(RouteValue { device: Some(tunnel()), ..route }))
}

#[test]
fn a_route_waits_for_a_neighbour_that_is_refused_and_comes_with_it() {
    let (now, id) = (Instant::ZERO, EffectId);
    let create = |(key, value)| Step::Create(key, value);
    let (near, far) = (neighbour(), tunnelled());
    let mut datapath = Datapath::default();
    datapath.dumped(now, Netns::Host, Objects::from([uplink(true), address()]));
    datapath.want(Section::Host, Objects::from([near.clone()]));
    assert_eq!(datapath.plan(now, id(1)), Some(vec![create(near.clone())]));
    datapath.want(Section::Routes, Objects::from([far.clone()]));
    assert_eq!(datapath.plan(now, id(2)), None, "it may be refused");
    datapath.wrote(now, id(1), vec![Outcome { key: near.0.clone(), result: Err(busy()) }]);
    assert_eq!(datapath.plan(now, id(2)), None, "it was refused");
    assert!(
        matches!(datapath.applied(&far.0), Applied::Failed(_)),
        "whoever waits for the route hears of it"
    );

    let soon = datapath.timeout().expect("both are tried again");
    assert_eq!(datapath.plan(soon, id(3)), Some(vec![create(near.clone()), create(far.clone())]));
    let left_out = ApplyError::not_tried("it needs the neighbour");
    let outcomes = [(near.0.clone(), Err(busy())), (far.0.clone(), Err(left_out))];
    datapath.wrote(soon, id(3), outcomes.map(|(key, result)| Outcome { key, result }).into());
    datapath.noticed(soon, Notice::Put(near.0, near.1));
    let later = datapath.timeout().expect("the route is tried again");
    assert_eq!(datapath.plan(later, id(4)), Some(vec![create(far)]), "somebody else made the neighbour");
}

#[test]
fn what_a_route_leads_through_stays_while_its_replacement_is_refused() {
    let (now, id) = (Instant::ZERO, EffectId);
    let (near, (key, from)) = (neighbour(), tunnelled());
    let (_, to) = direct_route();
    let mut datapath = Datapath::default();
    datapath.dumped(
        now,
        Netns::Host,
        [uplink(true), address(), near.clone(), (key.clone(), from.clone())].into(),
    );
    datapath.want(Section::Host, Objects::from([near.clone()]));
    datapath.want(Section::Routes, Objects::from([(key.clone(), to.clone())]));
    assert_eq!(
        datapath.plan(now, id(1)),
        Some(vec![Step::Replace { key: key.clone(), from: from.clone(), to: to.clone() }])
    );
    datapath.wrote(now, id(1), vec![Outcome { key: key.clone(), result: Err(busy()) }]);
    datapath.take_stale();
    datapath.want(Section::Host, Objects::new());
    assert_eq!(datapath.plan(now, id(2)), None, "the old way is still gone");

    let soon = datapath.timeout().expect("both are tried again");
    let steps = vec![Step::Replace { key: key.clone(), from, to }, Step::Remove(near.0, near.1)];
    assert_eq!(datapath.plan(soon, id(3)), Some(steps));
}

#[test]
fn a_pair_that_cannot_be_removed_is_tried_again_after_a_pause_however_much_its_name_is_needed() {
    let (now, id) = (Instant::ZERO, EffectId);
    let (name, kind) = (IfName::fixed("cali182c452fe96"), LinkKind::Veth { peer: None });
    let pair = Key::Link(LinkKey { netns: Netns::Host, name });
    let link = Value::Link(Box::new(LinkValue {
        kind,
        mac: None,
        mtu: None,
        up: true,
        alias: Some("cni net c1 eth0".into()),
    }));
    let mut datapath = Datapath::default();
    datapath.dumped(now, Netns::Host, Objects::from([(pair.clone(), link.clone())]));
    datapath.hurry(&pair);
    assert_eq!(datapath.plan(now, id(1)), Some(vec![Step::Remove(pair.clone(), link.clone())]));
    datapath.wrote(now, id(1), vec![Outcome { key: pair.clone(), result: Err(busy()) }]);
    datapath.hurry(&pair);
    assert_eq!(datapath.plan(now, id(2)), None);
    let soon = datapath.timeout().expect("it is tried again");
    assert!(soon > now, "and not at once, for ever");
    assert_eq!(datapath.plan(soon, id(3)), Some(vec![Step::Remove(pair, link)]));
}
