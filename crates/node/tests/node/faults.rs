//! Faults of the API and the kernel, one node against fakes of both: what is told twice, late or again, and what is refused.

use crate::rig::Rig;
use model::Duration;
use model::store::{Event, Kind, Object, Request as Ask};
use model::v3::EncapMode;
use node::cni::{Command, Reply};
use node::{Input, WATCHED};
use std::collections::BTreeSet;

/// A node with two pods.
fn running() -> Rig {
    let mut rig = Rig::new(EncapMode::Always);
    for pod in ["a", "b"] {
        rig.create_pod(pod);
        assert!(matches!(rig.cni(Command::Add, pod, pod), Some(Reply::Added(_))), "{:#?}", rig.reports);
    }
    rig.pass(Duration::from_secs(1));
    rig.steps.clear();
    rig
}

#[test]
fn f14_lists_that_begin_anew_write_nothing_to_the_kernel() {
    let mut rig = running();
    for _ in 0..10 {
        rig.list();
        rig.pass(Duration::from_secs(10));
    }
    assert_eq!(rig.steps, [] as [&str; 0]);
}

#[test]
fn f15_what_is_told_twice_or_in_any_order_writes_nothing_to_the_kernel() {
    let mut rig = running();
    let mut told: Vec<Object> = rig.api.objects().cloned().collect();
    for turn in 0..8 {
        for object in told.iter().chain(told.iter().rev()) {
            rig.node.handle(rig.now, Input::Api(Event::Put(object.clone())));
        }
        rig.settle();
        let middle = (turn * 3) % told.len();
        told.rotate_left(middle);
        assert_eq!(rig.steps, [] as [&str; 0]);
    }
}

#[test]
fn f15_the_order_of_events_does_not_show_in_the_end() {
    let listing = |reversed: bool| {
        let mut rig = running();
        let mut objects: Vec<Object> = rig.api.objects().cloned().collect();
        if reversed {
            objects.reverse();
        }
        rig.restart_silent();
        for kind in if reversed { WATCHED.iter().rev().collect::<Vec<_>>() } else { WATCHED.iter().collect() }
        {
            rig.node.handle(rig.now, Input::Api(Event::Listed(*kind, Vec::new())));
            for object in objects.iter().filter(|object| object.kind() == *kind) {
                rig.node.handle(rig.now, Input::Api(Event::Put(object.clone())));
            }
        }
        rig.settle();
        rig.listing()
    };
    assert_eq!(listing(false), listing(true));
}

#[test]
fn f24_what_was_deleted_while_the_agent_was_down_goes_once_all_is_listed_and_nothing_else() {
    let mut rig = running();
    let before = rig.listing();
    let Some(pool) = rig.get(Kind::IpPool, "pool") else { panic!("the pool is there") };
    let key = pool.key();
    let (uid, version) = (pool.metadata().uid.clone(), pool.metadata().resource_version.clone());
    rig.api.apply(&Ask::Delete { key, uid, resource_version: version }).unwrap();
    rig.restart();
    rig.pass(Duration::from_secs(2));
    let gone: Vec<&String> = before.iter().filter(|line| !rig.listing().contains(line)).collect();
    assert!(gone.iter().all(|line| line.contains("vxlan.calico")), "{gone:#?}");
    assert!(!gone.is_empty());
    assert_eq!(rig.in_use(), 2, "running pods keep their addresses");
}

/// A node with direct routes, and a pod that is not attached yet.
fn fresh() -> Rig {
    let mut rig = Rig::new(EncapMode::Never);
    rig.create_pod("a");
    rig
}

/// The pool gets a tunnel, and the pod is attached.
fn change(rig: &mut Rig, ipip: EncapMode, vxlan: EncapMode) -> Option<Reply> {
    let Some(Object::IpPool(mut pool)) = rig.get(Kind::IpPool, "pool") else { panic!("the pool is there") };
    (pool.spec.ipip_mode, pool.spec.vxlan_mode) = (ipip, vxlan);
    rig.api.apply(&Ask::Update(pool.into())).unwrap();
    rig.settle();
    rig.cni(Command::Add, "a", "a")
}

/// What a change makes, by the text of the key.
fn made(ipip: EncapMode, vxlan: EncapMode) -> (Vec<String>, usize) {
    let keys = |rig: &Rig| rig.kernel.keys().map(ToString::to_string).collect::<Vec<_>>();
    let (before, mut whole) = (keys(&fresh()), fresh());
    assert!(matches!(change(&mut whole, ipip, vxlan), Some(Reply::Added(_))));
    let made = keys(&whole).into_iter().filter(|key| !before.contains(key)).collect();
    (made, whole.listing().len())
}

/// Whether something leads to the pod.
fn is_reached(rig: &Rig) -> bool {
    rig.listing().iter().any(|line| line.starts_with("route 10.0.0.") && line.ends_with("/32"))
}

/// The kernel refuses one object in a change, and takes it later; `total` objects are there in the end.
fn refused(object: &str, refusal: (i32, &'static str), (ipip, vxlan): (EncapMode, EncapMode), total: usize) {
    let mut rig = fresh();
    rig.refused.insert(object.to_owned());
    rig.refusal = refusal;
    let answer = change(&mut rig, ipip, vxlan);
    let what = format!("{object}: {}", refusal.1);
    let said: Vec<String> = rig.node.status().problems.into_iter().chain(rig.reports.clone()).collect();
    let sentence = format!("refuses {object}: {} (errno {})", refusal.1, refusal.0);
    assert!(said.iter().any(|text| text.contains(&sentence)), "{what}: {said:#?}");
    match answer {
        // Every pod's ADD waits for its own objects only.
        Some(Reply::Added(_)) => assert_eq!(rig.in_use(), 1),
        Some(Reply::Failed(_)) => {
            assert_eq!(rig.in_use(), 0, "{what}: the address is given back");
            assert!(!is_reached(&rig), "{what}: {:#?}", rig.listing());
        }
        other => panic!("{what}: {other:?}"),
    }
    rig.refused.clear();
    rig.pass(Duration::from_secs(120));
    if rig.in_use() == 0 {
        let again = rig.cni(Command::Add, "a", "a");
        assert!(matches!(again, Some(Reply::Added(_))), "{what}: {again:?}");
    }
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.node.status().problems, [] as [&str; 0], "{what}");
    // Another try may give another address.
    assert_eq!(rig.listing().len(), total, "{what}: {:#?}", rig.listing());
}

const VXLAN: (EncapMode, EncapMode) = (EncapMode::Never, EncapMode::Always);
const IPIP: (EncapMode, EncapMode) = (EncapMode::Always, EncapMode::Never);

#[test]
fn f38_an_object_that_the_kernel_refuses_stops_no_other_and_is_said_and_tried_again() {
    for tunnel in [VXLAN, IPIP] {
        let (made, total) = made(tunnel.0, tunnel.1);
        for object in &made {
            refused(object, (22, "Invalid argument"), tunnel, total);
        }
    }
}

const RULES: &str = "nftables inet calico";

/// Whether something led to a pod, be it for a moment, since the steps were forgotten.
fn was_reached(rig: &Rig) -> bool {
    rig.steps.iter().any(|step| step.starts_with("+ route 10.0.0.") && step.ends_with("/32"))
}

#[test]
fn f38_nothing_ever_leads_to_a_pod_whose_rules_the_kernel_refuses() {
    let mut rig = running();
    rig.create_pod("c");
    rig.refused.insert(RULES.to_owned());
    rig.refusal = (1, "Operation not permitted");
    let Some(Reply::Failed(failure)) = rig.cni(Command::Add, "c", "c") else { panic!("{:#?}", rig.reports) };
    assert_eq!(failure.msg, format!("the kernel refuses {RULES}: Operation not permitted (errno 1)"));
    assert!(!was_reached(&rig), "{:#?}", rig.steps);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.in_use(), 2, "its address is given back");
    assert_eq!(rig.kernel.keys().filter(|key| key.to_string().starts_with("link cali")).count(), 2);
}

#[test]
fn f38_a_pod_that_the_rules_know_gets_its_route_back_while_they_are_refused() {
    let mut rig = running();
    let Some(Object::IpPool(mut pool)) = rig.get(Kind::IpPool, "pool") else { panic!("the pool is there") };
    pool.spec.nat_outgoing = false;
    rig.refused.insert(RULES.to_owned());
    rig.api.apply(&Ask::Update(pool.into())).unwrap();
    rig.settle();
    assert_ne!(rig.node.status().problems, [] as [&str; 0]);
    let listing = rig.listing();
    let route = listing.iter().find(|line| line.starts_with("route 10.0.0.") && line.ends_with("/32"));
    rig.meddle(route.expect("a pod has a route"));
    assert_eq!(rig.listing(), listing);
}

#[test]
fn f38_whatever_the_kernel_says_and_of_whatever_kind() {
    let mut kinds = BTreeSet::new();
    for tunnel in [VXLAN, IPIP] {
        let (mut made, total) = made(tunnel.0, tunnel.1);
        made.push(RULES.into());
        made.push("nftables arp calico".into());
        // Of each kind the first, in the node's namespace and in the pod's.
        let kind = |object: &String| {
            object
                .split(' ')
                .take_while(|word| !word.contains(['.', '/']))
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        };
        made.retain(|object| kinds.insert(kind(object)));
        for object in &made {
            for refusal in [
                (95, "Operation not supported"),
                (1, "Operation not permitted"),
                (2, "No such file or directory"),
                (12, "Cannot allocate memory"),
                (17, "File exists"),
            ] {
                refused(object, refusal, tunnel, total);
            }
        }
    }
    let sorts = ["link", "address", "route", "neighbour", "sysctl", "filter", "nftables"];
    assert!(sorts.iter().all(|sort| kinds.iter().any(|kind| kind.contains(sort))), "{kinds:#?}");
}
