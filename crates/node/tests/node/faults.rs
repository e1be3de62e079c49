//! Faults of the API and the kernel, one node against fakes of both: what is told twice, late or again, and what is refused.

use crate::rig::{KINDS, Rig};
use model::Duration;
use model::store::{Event, Kind, Object, Request as Ask};
use model::v3::EncapMode;
use node::Input;
use node::cni::{Command, Reply};

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
        for kind in if reversed { KINDS.iter().rev().collect::<Vec<_>>() } else { KINDS.iter().collect() } {
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

#[test]
fn f38_an_object_that_the_kernel_refuses_stops_no_other_and_is_said_and_tried_again() {
    let change = |rig: &mut Rig| {
        let Some(Object::IpPool(mut pool)) = rig.get(Kind::IpPool, "pool") else {
            panic!("the pool is there")
        };
        pool.spec.vxlan_mode = EncapMode::Always;
        rig.api.apply(&Ask::Update(pool.into())).unwrap();
        rig.settle();
        rig.cni(Command::Add, "a", "a")
    };
    let fresh = || {
        let mut rig = Rig::new(EncapMode::Never);
        rig.create_pod("a");
        rig
    };
    let keys = |rig: &Rig| rig.kernel.keys().map(ToString::to_string).collect::<Vec<_>>();
    let (before, mut whole) = (keys(&fresh()), fresh());
    assert!(matches!(change(&mut whole), Some(Reply::Added(_))));
    let made: Vec<String> = keys(&whole).into_iter().filter(|key| !before.contains(key)).collect();
    let sorts = ["link ", "address ", "route ", "neighbour ", "sysctl "];
    assert!(sorts.iter().all(|sort| made.iter().any(|key| key.contains(sort))), "{made:#?}");
    for object in &made {
        let mut rig = fresh();
        rig.refused.insert(object.clone());
        let answer = change(&mut rig);
        let said: Vec<String> = rig.node.status().problems.into_iter().chain(rig.reports.clone()).collect();
        assert!(
            said.iter().any(|text| text.contains(&format!("refuses {object}: Invalid argument"))),
            "{object}: {said:#?}"
        );
        match answer {
            // Every pod's ADD waits for its own objects only.
            Some(Reply::Added(_)) => assert_eq!(rig.in_use(), 1),
            Some(Reply::Failed(_)) => assert_eq!(rig.in_use(), 0, "{object}: the address is given back"),
            other => panic!("{object}: {other:?}"),
        }
        rig.refused.clear();
        rig.pass(Duration::from_secs(120));
        if rig.in_use() == 0 {
            let again = rig.cni(Command::Add, "a", "a");
            assert!(matches!(again, Some(Reply::Added(_))), "{object}: {again:?}");
        }
        rig.pass(Duration::from_secs(1));
        assert_eq!(rig.node.status().problems, [] as [&str; 0], "{object}");
        // Another try may give another address.
        assert_eq!(rig.listing().len(), whole.listing().len(), "{object}: {:#?}", rig.listing());
    }
}
