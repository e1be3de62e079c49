//! Many pods at once.

use lab_tests::{Lab, cases, suite, within};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;
use testkit::leaks::{Inventory, open_files};

const PODS: usize = 200;

fn main() -> ExitCode {
    suite::run(&[], cases![two_hundred_pods_come_and_go_without_a_trace])
}

/// A manifest of pods, spread over the nodes.
fn manifest(count: usize) -> String {
    let pod = |n: usize| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: crowd-{n}, namespace: default, labels: {{app: crowd}}}}\n\
             spec: {{nodeName: master{}, terminationGracePeriodSeconds: 1, containers: [{{name: main, image: pause}}]}}\n",
            n % 3 + 1
        )
    };
    (0..count).map(pod).collect::<Vec<_>>().join("---\n")
}

fn two_hundred_pods_come_and_go_without_a_trace(lab: &Lab) {
    let namespaces: Vec<_> = lab.nodes().iter().map(|node| lab.netns(node)).collect();
    let before = Inventory::of(&namespaces);
    let files: Vec<usize> =
        lab.nodes().iter().map(|node| open_files(lab.pid(&format!("node-{node}")))).collect();

    let file = lab.root().join("crowd.yaml");
    std::fs::write(&file, manifest(PODS)).expect("the lab's directory");
    lab.exec("master1", &format!("kubectl create -f {}", file.display()));
    let phases = "kubectl get pods -l app=crowd -o jsonpath='{range .items[*]}{.status.phase} {.status.podIP}{\"\\n\"}{end}'";
    let mut running = String::new();
    within(Duration::from_secs(60), "200 pods run", || {
        running = lab.exec("master1", phases);
        running.lines().filter(|line| line.starts_with("Running ")).count() == PODS
    });
    let addresses: BTreeSet<&str> = running.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(addresses.len(), PODS, "an address was given twice");
    let check = lab.exec("master1", "calicoctl ipam check");
    assert!(check.contains("found 0 problems"), "{check}");
    lab.ping("master1/crowd-0", &lab.place("master2", "crowd-1").addr.to_string());

    lab.exec("master1", "kubectl delete pods -l app=crowd --wait=false");
    within(Duration::from_secs(60), "200 pods are gone", || {
        lab.exec("master1", "kubectl get pods -l app=crowd -o name").is_empty()
    });
    let check = lab.exec("master1", "calicoctl ipam check");
    assert!(check.contains("found 0 problems"), "{check}");
    let mut changes = Inventory::of(&namespaces).changes_since(&before);
    changes.retain(|line| !is_of_a_block(line));
    assert!(changes.is_empty(), "left behind:\n{}", changes.join("\n"));
    let after: Vec<usize> =
        lab.nodes().iter().map(|node| open_files(lab.pid(&format!("node-{node}")))).collect();
    // Idle connections to the API stay open for a while; a leak would be one file a pod.
    let kept = files.iter().zip(&after).all(|(before, after)| *after <= before + 16);
    assert!(kept, "agents keep files open: {files:?}, then {after:?}");
}

/// Blocks that were claimed for the crowd stay claimed: their routes and sets are no leak.
fn is_of_a_block(line: &str) -> bool {
    line.contains("/26")
}
