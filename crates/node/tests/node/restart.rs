//! What a process takes up of what the one before it left.

use crate::rig::Rig;
use crate::{add, direct};
use kernel::{Key, LinkKind, Netns, Step, Value};
use model::Duration;
use model::store::{Kind, Object, Request as Ask};
use model::v3::EncapMode;
use node::cni::{Command, Reply};
use node::{Effect, FileOp};

#[test]
fn an_add_that_the_run_before_did_not_answer_is_undone() {
    let mut rig = direct();
    rig.api_is_up = false;
    assert_eq!(rig.cni(Command::Add, "c1", "a"), None);
    assert_eq!(rig.files.len(), 1);
    rig.api_is_up = true;
    rig.restart();
    rig.pass(Duration::from_secs(5));
    assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
    assert_eq!(rig.listing(), ["nftables inet calico", "nftables arp calico"]);
}

#[test]
fn a_restart_changes_nothing_in_the_kernel() {
    for mode in [EncapMode::Never, EncapMode::Always] {
        let mut rig = Rig::new(mode);
        rig.create_pod("a");
        add(&mut rig, "c1", "a");
        rig.restart();
        assert_eq!(rig.steps, Vec::<String>::new(), "{mode:?}");
        assert_eq!(rig.cni(Command::Del, "c1", "a"), Some(Reply::Done));
        assert_eq!(rig.in_use(), 0);
    }
}

#[test]
fn a_lost_file_is_made_anew_from_the_kernel() {
    let mut rig = direct();
    let addr = add(&mut rig, "c1", "a");
    let file = rig.files.values().next().unwrap().clone();
    rig.files.clear();
    rig.restart();
    assert_eq!(rig.steps, Vec::<String>::new());
    let again = rig.files.get(&file.id).expect("made anew");
    assert_eq!((again.addresses.clone(), again.pod_mac()), (vec![addr], file.pod_mac()));
}

#[test]
fn after_a_reboot_the_addresses_are_given_back() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    rig.kernel.retain(|key, _| !key.to_string().contains("cali"));
    rig.boot_id = "boot-2";
    rig.restart();
    assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
}

#[test]
fn a_namespace_that_cannot_be_opened_now_is_no_reason_to_release_its_pod() {
    let mut rig = direct();
    let addr = add(&mut rig, "c1", "a");
    rig.netns_fail = true;
    rig.meddle(&format!("link {}", model::names::host_interface("default", "a")));
    assert_eq!((rig.files.len(), rig.in_use()), (1, 1));
    rig.netns_fail = false;
    rig.pass(Duration::from_secs(100));
    assert!(rig.listing().contains(&format!("route {addr}/32")), "{:#?}", rig.listing());
}

#[test]
fn annotations_that_the_run_before_did_not_get_to_write_are_written() {
    let mut rig = direct();
    let addr = add(&mut rig, "c1", "a");
    let Some(Object::Pod(mut pod)) = rig.get(Kind::Pod, "a") else { panic!("the pod is there") };
    pod.metadata.annotations.clear();
    rig.api.apply(&Ask::Update(pod.into())).unwrap();
    rig.restart();
    let Some(Object::Pod(pod)) = rig.get(Kind::Pod, "a") else { panic!("the pod is there") };
    assert_eq!(pod.metadata.annotations["cni.projectcalico.org/podIP"], format!("{addr}/32"));
}

#[test]
fn after_a_restart_the_newer_sandbox_keeps_the_interface() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    let new = add(&mut rig, "c0", "a");
    let before = rig.listing();
    rig.restart();
    assert_eq!((rig.listing(), rig.steps.len()), (before.clone(), 0));
    assert_eq!(rig.cni(Command::Del, "c1", "a"), Some(Reply::Done));
    assert_eq!(rig.listing(), before);
    assert!(rig.listing().contains(&format!("route {new}/32")));
}

#[test]
fn a_larger_interface_that_the_file_does_not_know_of_yet_stays_large_and_is_finished() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    let file = rig.files.values_mut().next().unwrap();
    let large = std::mem::replace(&mut file.mtu, model::Mtu(1450));
    assert_eq!(large, model::Mtu(1500));
    rig.restart();
    let smaller = rig.steps.iter().find(|step| step.contains("1450"));
    assert_eq!(smaller, None, "{:#?}", rig.steps);
    assert_eq!(rig.files.values().next().unwrap().mtu, large);
}

#[test]
fn an_interface_that_the_run_before_was_making_anew_is_finished() {
    let mut rig = direct();
    let addr = add(&mut rig, "c1", "a");
    let host = model::names::host_interface("default", "a");
    let whole = rig.listing();
    rig.hold = true;
    rig.meddle(&format!("link {host}"));
    // The file says so before the kernel is asked for anything.
    let says =
        |effect: &Effect| matches!(effect, Effect::File { op: FileOp::Write(file), .. } if file.restoring);
    let is_pair = |step: &Step| match step {
        Step::Create(_, Value::Link(link)) => matches!(link.kind, LinkKind::Veth { peer: Some(_) }),
        _ => false,
    };
    let makes = |effect: &Effect| matches!(effect, Effect::Kernel { steps, .. } if steps.iter().any(is_pair));
    assert!(rig.held.iter().any(says) && !rig.held.iter().any(makes), "{:#?}", rig.held);
    rig.go_on();
    assert_eq!((rig.listing(), rig.files.values().next().unwrap().restoring), (whole.clone(), false));
    // The pair is there, and nothing in the pod.
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    rig.files.values_mut().next().unwrap().restoring = true;
    rig.kernel.retain(|key, _| key.netns() == Netns::Host || matches!(key, Key::Link(_)));
    rig.restart();
    assert!(
        rig.steps.iter().any(|step| step.contains(&format!("address {addr}/32 dev eth0"))),
        "{:#?}",
        rig.steps
    );
    assert!(!rig.steps.iter().any(|step| step.contains(&format!("link {host}"))), "{:#?}", rig.steps);
    assert_eq!((rig.listing(), rig.files.values().next().unwrap().restoring), (whole, false));
}
