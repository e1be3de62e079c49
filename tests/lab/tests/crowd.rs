//! Many pods at once.

use lab_tests::{Lab, cases, suite, within};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;
use testkit::at_length;
use testkit::leaks::{Inventory, open_files, resident_kib};

const PODS: usize = 200;
/// How often they come and go, after the first time, which fills what is kept for the next.
const ROUNDS: u32 = 5;

fn main() -> ExitCode {
    let mut cases = cases![two_hundred_pods_come_and_go_without_a_trace].to_vec();
    if at_length() {
        cases.extend(cases![r10_agents_do_not_grow_with_a_thousand_pods_that_were]);
    }
    suite::run(&[], &cases)
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
    let first = block_routes_are_the_blocks(lab);
    let files: Vec<usize> =
        lab.nodes().iter().map(|node| open_files(lab.pid(&format!("node-{node}")))).collect();

    let running = come(lab, PODS);
    let addresses: BTreeSet<&str> = running.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(addresses.len(), PODS, "an address was given twice");
    let check = lab.exec("master1", "calicoctl ipam check");
    assert!(check.contains("found 0 problems"), "{check}");
    let during = block_routes_are_the_blocks(lab);
    lab.ping("master1/crowd-0", &lab.place("master2", "crowd-1").addr.to_string());

    go(lab);
    let check = lab.exec("master1", "calicoctl ipam check");
    assert!(check.contains("found 0 problems"), "{check}");
    let blocks = block_routes_are_the_blocks(lab);
    assert_eq!(blocks, during, "blocks stay claimed");
    let mut changes = Inventory::of(&namespaces).changes_since(&before);
    let claimed: Vec<&String> = blocks.difference(&first).collect();
    changes.retain(|line| !claimed.iter().any(|block| line.contains(block.as_str())));
    assert!(changes.is_empty(), "left behind:\n{}", changes.join("\n"));
    let after: Vec<usize> =
        lab.nodes().iter().map(|node| open_files(lab.pid(&format!("node-{node}")))).collect();
    // Idle connections to the API stay open for a while; a leak would be one file a pod.
    let kept = files.iter().zip(&after).all(|(before, after)| *after <= before + 16);
    assert!(kept, "agents keep files open: {files:?}, then {after:?}");
}

/// Makes pods; their phases and addresses when all run.
fn come(lab: &Lab, count: usize) -> String {
    let file = lab.root().join("crowd.yaml");
    std::fs::write(&file, manifest(count)).expect("the lab's directory");
    lab.exec("master1", &format!("kubectl create -f {}", file.display()));
    let phases = "kubectl get pods -l app=crowd -o jsonpath='{range .items[*]}{.status.phase} {.status.podIP}{\"\\n\"}{end}'";
    let mut running = String::new();
    within(Duration::from_secs(60), &format!("{count} pods run"), || {
        running = lab.exec("master1", phases);
        running.lines().filter(|line| line.starts_with("Running ")).count() == count
    });
    running
}

fn go(lab: &Lab) {
    lab.exec("master1", "kubectl delete pods -l app=crowd --wait=false");
    within(Duration::from_secs(60), "the pods are gone", || {
        lab.exec("master1", "kubectl get pods -l app=crowd -o name").is_empty()
    });
}

fn r10_agents_do_not_grow_with_a_thousand_pods_that_were(lab: &Lab) {
    let size = || -> Vec<u64> {
        lab.nodes().iter().map(|node| resident_kib(lab.pid(&format!("node-{node}")))).collect()
    };
    let round = || {
        come(lab, PODS);
        go(lab);
        size()
    };
    let before = round();
    let mut after = before.clone();
    (0..ROUNDS).for_each(|_| after = round());
    println!("resident memory of the agents in KiB: {before:?}, then {after:?}");
    for (before, after) in before.iter().zip(&after) {
        assert!(*after <= before + before / 10, "{before} KiB became {after} KiB");
    }
}

/// The blocks that `calicoctl` shows. Every node must have a route to each of them, and to nothing else of that length:
/// a blackhole for its own, a way to its owner for the others.
fn block_routes_are_the_blocks(lab: &Lab) -> BTreeSet<String> {
    let shown = lab.exec("master1", "calicoctl ipam show --show-blocks");
    let rows = shown.lines().filter(|line| line.starts_with("| Block"));
    let blocks: BTreeSet<String> =
        rows.filter_map(|row| Some(row.split('|').nth(2)?.trim().to_owned())).collect();
    assert!(blocks.len() >= lab.nodes().len(), "{shown}");
    for node in lab.nodes() {
        within(Duration::from_secs(2), &format!("the block routes of {node} are those of\n{shown}"), || {
            let routes = lab.exec(&node, "ip -4 route show table all");
            let words = routes.split_whitespace().filter(|word| word.ends_with("/26"));
            words.map(str::to_owned).collect::<BTreeSet<_>>() == blocks
        });
    }
    blocks
}
