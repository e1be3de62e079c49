//! DEL and GC: nothing is left, whenever they come.

use crate::rig::Rig;
use crate::{add, direct, failure};
use model::Duration;
use model::store::{Kind, Object};
use node::Input;
use node::cni::{Command, Reply, code};

#[test]
fn del_leaves_nothing_and_may_be_sent_again() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    for _ in 0..2 {
        assert_eq!(rig.cni(Command::Del, "c1", "a"), Some(Reply::Done));
        assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
        let leads = |line: &String| line.contains("10.0.0.") && !line.ends_with("/28");
        assert!(!rig.listing().iter().any(leads), "{:#?}", rig.listing());
    }
    rig.pass(Duration::from_secs(1));
    // The block stays with the node.
    assert_eq!(rig.listing(), ["nftables inet calico", "nftables arp calico", "route 10.0.0.32/28"]);
}

#[test]
fn interfaces_of_pods_that_went_one_after_the_other_go_together() {
    let mut rig = direct();
    for n in 0..3 {
        rig.create_pod(&format!("p{n}"));
        add(&mut rig, &format!("c{n}"), &format!("p{n}"));
    }
    rig.steps.clear();
    for n in 0..3 {
        assert_eq!(rig.cni(Command::Del, &format!("c{n}"), &format!("p{n}")), Some(Reply::Done));
        rig.pass(Duration::from_millis(100));
    }
    let links = |rig: &Rig| rig.steps.iter().filter(|step| step.starts_with("- link")).count();
    assert_eq!(links(&rig), 0);
    rig.pass(Duration::from_millis(200));
    assert_eq!(links(&rig), 3, "the first one was due");
}

#[test]
fn a_sandbox_in_the_namespace_of_one_that_just_went_waits_until_its_interface_is_gone() {
    let mut rig = direct();
    rig.create_pod("b");
    rig.inode = Some(7);
    add(&mut rig, "c1", "a");
    assert_eq!(rig.cni(Command::Del, "c1", "a"), Some(Reply::Done));
    rig.steps.clear();
    add(&mut rig, "c2", "b");
    let place = |text: String| rig.steps.iter().position(|step| *step == text);
    let [old, new] = ["a", "b"].map(|pod| model::names::host_interface("default", pod));
    let (removed, made) = (place(format!("- link {old}")), place(format!("+ link {new}")));
    assert!(removed.is_some() && removed < made, "{:#?}", rig.steps);
}

#[test]
fn f32_a_del_while_the_api_is_away_is_answered_and_finished_later_even_by_another_process() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    rig.api_is_up = false;
    assert_eq!(rig.cni(Command::Del, "c1", "a"), None);
    rig.pass(Duration::from_secs(3));
    assert_eq!(rig.replies.values().last(), Some(&Reply::Done));
    assert!(rig.files.values().all(|file| file.deleted));
    rig.api_is_up = true;
    rig.restart();
    rig.pass(Duration::from_secs(60));
    assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
}

#[test]
fn a_late_del_of_an_old_sandbox_touches_nothing_of_the_new_one() {
    let mut rig = direct();
    let old = add(&mut rig, "c1", "a");
    let new = add(&mut rig, "c2", "a");
    assert_ne!(old, new, "the old sandbox still has its address");
    let before = rig.listing();
    assert_eq!(rig.cni(Command::Del, "c1", "a"), Some(Reply::Done));
    assert_eq!(rig.listing(), before);
    assert_eq!((rig.files.len(), rig.in_use()), (1, 1));
    let Some(Object::Pod(pod)) = rig.get(Kind::Pod, "a") else { panic!("the pod is there") };
    assert_eq!(pod.metadata.annotations["cni.projectcalico.org/podIP"], format!("{new}/32"));
}

#[test]
fn gc_removes_what_is_not_valid() {
    let mut rig = direct();
    rig.create_pod("b");
    add(&mut rig, "c1", "a");
    add(&mut rig, "c2", "b");
    let valid = rig.files.keys().filter(|id| id.container_id == "c2").cloned().collect();
    assert_eq!(rig.cni(Command::Gc { valid }, "", ""), Some(Reply::Done));
    assert_eq!((rig.files.len(), rig.in_use()), (1, 1));
}

#[test]
fn gc_waits_until_the_attachments_of_the_run_before_are_known() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    rig.begin_anew();
    assert_eq!(failure(rig.cni(Command::Gc { valid: vec![] }, "", "")).0, code::TRY_AGAIN_LATER);
    assert_eq!(rig.files.len(), 1);
}

#[test]
fn del_hears_that_it_is_done_though_the_add_before_it_failed() {
    let mut rig = direct();
    rig.hold = true;
    let added = rig.request(Command::Add, "c1", "a");
    rig.settle();
    rig.node.handle(rig.now, Input::CniGone(added));
    let deleted = rig.request(Command::Del, "c1", "a");
    rig.settle();
    rig.go_on();
    assert_eq!(rig.replies.remove(&deleted), Some(Reply::Done));
}

#[test]
fn f32_a_second_del_while_the_api_is_away_is_answered_at_once() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    rig.api_is_up = false;
    rig.cni(Command::Del, "c1", "a");
    rig.pass(Duration::from_secs(3));
    assert_eq!(rig.cni(Command::Del, "c1", "a"), Some(Reply::Done));
}

#[test]
fn f32_gc_while_the_api_is_away_does_not_wait_for_what_is_written_down() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    rig.api_is_up = false;
    rig.cni(Command::Del, "c1", "a");
    rig.pass(Duration::from_secs(3));
    assert_eq!(rig.cni(Command::Gc { valid: vec![] }, "", ""), Some(Reply::Done));
}

#[test]
fn f32_del_is_answered_by_an_agent_that_started_while_the_api_is_away() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    rig.begin_anew();
    let id = rig.request(Command::Del, "c1", "a");
    rig.settle_alone();
    rig.pass_alone(Duration::from_secs(3));
    assert_eq!(rig.replies.remove(&id), Some(Reply::Done));
    assert_eq!(rig.steps, Vec::<String>::new(), "nothing is written before the first in-sync");
    assert!(rig.files.values().all(|file| file.deleted));
    rig.list();
    rig.settle();
    assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
}

#[test]
fn f32_a_del_that_comes_before_the_kernel_was_read_is_carried_out() {
    for file_is_lost in [false, true] {
        let mut rig = direct();
        add(&mut rig, "c1", "a");
        if file_is_lost {
            // The run before ended when the kernel had all of it, and the disk nothing yet.
            rig.files.clear();
        }
        rig.begin_anew();
        let id = rig.request(Command::Del, "c1", "a");
        rig.settle_alone();
        rig.list();
        rig.settle();
        assert_eq!(rig.replies.remove(&id), Some(Reply::Done));
        assert_eq!((rig.files.len(), rig.in_use()), (0, 0), "file lost: {file_is_lost}");
        rig.pass(Duration::from_secs(1));
        let is_pods = |line: &String| line.contains(" cali") && !line.starts_with("nftables");
        assert_eq!(rig.listing().into_iter().find(is_pods), None);
    }
}
