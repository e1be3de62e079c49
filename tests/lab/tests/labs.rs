//! Labs as things that come and go: two at once, and nothing left behind.

use lab_tests::{Lab, PODS, cases, suite};
use std::process::ExitCode;
use testkit::leaks::Inventory;

fn main() -> ExitCode {
    suite::run(
        &[],
        cases![
            two_labs_run_at_once_with_the_same_addresses,
            a_lab_that_is_up_is_not_started_again,
            down_leaves_nothing,
            down_leaves_nothing_after_everything_was_killed,
            exec_passes_the_status_through,
            an_unknown_node_or_pod_is_named,
        ],
    )
}

fn two_labs_run_at_once_with_the_same_addresses(first: &Lab) {
    let second = Lab::up(&[]);
    second.ping_all(&PODS);
    first.ping_all(&PODS);
    second.verb(&["pod", "add", "only-in-the-second", "--node", "master1"]);
    let pods = first.exec("master1", "kubectl get pods -o name");
    assert!(!pods.contains("only-in-the-second"), "{pods}");
}

fn a_lab_that_is_up_is_not_started_again(lab: &Lab) {
    let again = lab.try_verb(&["up"]);
    assert_eq!(again.status.code(), Some(1));
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(said.contains("is there already"), "{said}");
}

/// What the names of this process's labs begin with.
fn ours() -> String {
    format!("t{}-", std::process::id())
}

fn down_leaves_nothing(_: &Lab) {
    let before = Inventory::of_machine(&ours());
    let lab = Lab::up(&[]);
    lab.verb(&["pod", "add", "one-more", "--node", "master2"]);
    lab.verb(&["down"]);
    assert!(!lab.root().exists());
    Inventory::of_machine(&ours()).assert_as_before(&before);
}

fn down_leaves_nothing_after_everything_was_killed(_: &Lab) {
    let before = Inventory::of_machine(&ours());
    let lab = Lab::up(&[]);
    for process in std::fs::read_dir(lab.root().join("processes")).expect("the lab is up").flatten() {
        lab.verb(&["kill", &process.file_name().to_string_lossy()]);
    }
    lab.verb(&["down"]);
    assert!(!lab.root().exists());
    Inventory::of_machine(&ours()).assert_as_before(&before);
}

fn exec_passes_the_status_through(lab: &Lab) {
    assert_eq!(lab.try_exec("master1", "exit 7").status.code(), Some(7));
    assert_eq!(lab.try_exec("master1/ping-test-rfwx9", "exit 9").status.code(), Some(9));
}

fn an_unknown_node_or_pod_is_named(lab: &Lab) {
    for (place, said) in [("nowhere", "no node `nowhere`"), ("master1/nobody", "no pod `nobody`")] {
        let output = lab.try_exec(place, "true");
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(said), "{text}");
    }
}
