//! A pool of two blocks of eight for three nodes: one of them lives on what it borrows.

use crate::suite::Case;
use crate::{Lab, cases, suite, within};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

/// For which it matters how packets reach a borrowed address.
const CASES: &[Case] = cases![
    a_node_without_a_block_borrows_and_its_pods_talk_both_ways,
    reserved_addresses_are_never_given_and_the_others_all_are,
    what_a_deleted_node_had_is_collected_and_what_was_borrowed_of_it_stays,
];

const NODES: [&str; 3] = ["master1", "master2", "master3"];
/// The last two addresses of each block.
const RESERVED: [&str; 4] = ["10.55.0.6", "10.55.0.7", "10.55.0.14", "10.55.0.15"];

/// Runs the cases, and `others` after them, in a lab of this mode, through whose device packets between nodes go.
///
/// # Panics
/// If the topology cannot be written.
pub fn run(mode: &str, others: &[Case]) -> ExitCode {
    let file = std::env::temp_dir().join(format!("tortie-addresses-{}.yaml", std::process::id()));
    let nodes = NODES.iter().enumerate().map(|(n, node)| {
        format!("- {{name: {node}, address: 192.168.50.{}/24, pods: [{{name: p{}}}]}}\n", 161 + n, n + 1)
    });
    let topology = format!(
        "mode: {mode}\npool: {{name: tiny, cidr: 10.55.0.0/28, blockSize: 29}}\n\
         controller: [--node-grace-period=2s, --leak-grace-period=20s]\nnodes:\n{}",
        nodes.collect::<String>()
    );
    std::fs::write(&file, topology).expect("a temporary file");
    let path = file.display().to_string();
    let code = suite::run(&["--file", &path], &[CASES, others].concat());
    let _ = std::fs::remove_file(&file);
    code
}

/// Every running pod: node, name, address.
fn pods(lab: &Lab) -> Vec<(String, String, IpAddr)> {
    let list = lab.json("kubectl get pods -o json");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pods = list["items"].as_array().into_iter().flatten();
    let running = pods.filter(|pod| pod["status"]["phase"] == "Running");
    let pod = |pod: &Value| {
        let addr = text(&pod["status"]["podIP"]).parse().expect("a running pod has an address");
        (text(&pod["spec"]["nodeName"]), text(&pod["metadata"]["name"]), addr)
    };
    running.map(pod).collect()
}

fn ping_all(lab: &Lab, pods: &[(String, String, IpAddr)]) {
    let texts: Vec<String> = pods.iter().map(|(_, _, addr)| addr.to_string()).collect();
    let pods: Vec<(&str, &str, &str)> = pods
        .iter()
        .zip(&texts)
        .map(|((node, pod, _), addr)| (node.as_str(), pod.as_str(), addr.as_str()))
        .collect();
    lab.ping_all(&pods);
}

/// Who has which block: `host:NODE` or nobody.
fn owners(lab: &Lab) -> BTreeMap<String, Option<String>> {
    let list = lab.json("kubectl get ipamblocks -o json");
    let blocks = list["items"].as_array().into_iter().flatten();
    let owner = |block: &Value| block["spec"]["affinity"].as_str().map(str::to_owned);
    blocks
        .map(|block| (block["spec"]["cidr"].as_str().unwrap_or_default().to_owned(), owner(block)))
        .collect()
}

/// The node that has no block.
fn borrower(lab: &Lab) -> &'static str {
    let owners: BTreeSet<String> = owners(lab).into_values().flatten().collect();
    let without = NODES.into_iter().find(|node| !owners.contains(&format!("host:{node}")));
    without.expect("three nodes cannot have a block each of two")
}

fn expect_clean(lab: &Lab) {
    within(Duration::from_secs(30), "ipam check is clean", || {
        lab.exec("master1", "calicoctl ipam check").contains("found 0 problems")
    });
}

fn create_pod(lab: &Lab, name: &str, node: &str) {
    let pod = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"default"}},"spec":{{"nodeName":"{node}","terminationGracePeriodSeconds":1,"containers":[{{"name":"main","image":"pause"}}]}}}}"#
    );
    lab.exec("master1", &format!("echo '{pod}' | kubectl create -f -"));
}

fn a_node_without_a_block_borrows_and_its_pods_talk_both_ways(lab: &Lab) {
    let borrower = borrower(lab);
    let pods = pods(lab);
    assert_eq!(pods.len(), 3, "{pods:?}");
    ping_all(lab, &pods);
    let shown = lab.exec("master1", "calicoctl ipam show --show-borrowed");
    let (_, pod, addr) = pods.iter().find(|(node, ..)| node == borrower).expect("each node has a pod");
    assert!(
        shown.lines().any(|line| line.contains(&addr.to_string()) && line.contains(pod.as_str())),
        "{shown}"
    );
    // Its tunnel's address is borrowed, too: peers lead to it by a route of its own.
    let other = NODES.into_iter().find(|node| *node != borrower).expect("there are three");
    let routes = lab.exec(other, "ip -4 route show proto 80");
    assert!(routes.lines().any(|route| route.starts_with(&format!("{addr} via "))), "{routes}");
    expect_clean(lab);
}

fn reserved_addresses_are_never_given_and_the_others_all_are(lab: &Lab) {
    let reservation = r#"{"apiVersion":"projectcalico.org/v3","kind":"IPReservation","metadata":{"name":"last"},"spec":{"reservedCIDRs":["10.55.0.6/31","10.55.0.14/31"]}}"#;
    lab.exec("master1", &format!("echo '{reservation}' | calicoctl create -f -"));
    // Twelve addresses, of which the tunnels have three and the first pods three; there is none for the last pod.
    for n in 0..7 {
        create_pod(lab, &format!("q{n}"), NODES[n % 3]);
    }
    within(Duration::from_secs(30), "nine pods run", || pods(lab).len() == 9);
    std::thread::sleep(Duration::from_secs(2));
    let pods = pods(lab);
    let addresses: BTreeSet<String> = pods.iter().map(|(_, _, addr)| addr.to_string()).collect();
    assert_eq!((pods.len(), addresses.len()), (9, 9), "{pods:?}");
    assert!(RESERVED.iter().all(|addr| !addresses.contains(*addr)), "{addresses:?}");
    ping_all(lab, &pods);
    expect_clean(lab);
}

fn what_a_deleted_node_had_is_collected_and_what_was_borrowed_of_it_stays(lab: &Lab) {
    let borrower = borrower(lab);
    let lender = NODES.into_iter().find(|node| *node != borrower && *node != "master1");
    let lender = lender.unwrap_or("master2");
    for process in [format!("kubelet-{lender}"), format!("node-{lender}")] {
        lab.verb(&["kill", &process]);
    }
    let waiting = lab.exec("master1", "kubectl get pods --field-selector=status.phase=Pending -o name");
    let theirs: Vec<String> =
        pods(lab).into_iter().filter(|(node, ..)| node == lender).map(|(_, name, _)| name).collect();
    lab.exec("master1", &format!("kubectl delete node {lender}"));
    for pod in &theirs {
        lab.exec("master1", &format!("kubectl delete pod {pod} --force --grace-period=0 --wait=false"));
    }
    within(Duration::from_secs(30), "no block is the deleted node's", || {
        !owners(lab).values().flatten().any(|owner| *owner == format!("host:{lender}"))
    });
    if !waiting.is_empty() && !waiting.contains(lender) {
        within(Duration::from_secs(30), "the waiting pod gets an address", || {
            lab.exec("master1", "kubectl get pods --field-selector=status.phase=Pending -o name").is_empty()
        });
    }
    let left = pods(lab);
    assert!(left.iter().all(|(node, ..)| node != lender), "{left:?}");
    assert!(left.iter().any(|(node, ..)| node == borrower), "{left:?}");
    ping_all(lab, &left);
    expect_clean(lab);
}

pub fn what_a_force_deleted_pod_had_is_collected(lab: &Lab) {
    let (node, pod, addr) = pods(lab).into_iter().next().expect("a pod runs");
    lab.verb(&["kill", &format!("kubelet-{node}")]);
    lab.exec("master1", &format!("kubectl delete pod {pod} --force --grace-period=0 --wait=false"));
    let shows = || lab.exec("master1", &format!("calicoctl ipam show --ip {addr}"));
    assert!(shows().contains("is in use"), "nobody has deleted its sandbox: {}", shows());
    let check = || lab.exec("master1", "calicoctl ipam check");
    within(Duration::from_secs(20), "the collector says until when it waits", || {
        let text = check();
        let line = text.lines().find(|line| line.starts_with(&format!("  {addr} is allocated to ")));
        line.is_some_and(|line| line.contains("and not in use: given back if it stays so until 20"))
    });
    within(Duration::from_secs(60), "the address is given back", || shows().contains("is not assigned"));
    within(Duration::from_secs(10), "the collector says that it gave it back", || {
        check().lines().any(|line| line.contains(&format!("gave back {addr} of k8s-pod-network.")))
    });
    lab.verb(&["kill", "controller"]);
    within(Duration::from_secs(20), "it is missed", || check().contains("\nNo collector works: "));
    lab.verb(&["start", "controller"]);
    expect_clean(lab);
    lab.verb(&["start", &format!("kubelet-{node}")]);
}
