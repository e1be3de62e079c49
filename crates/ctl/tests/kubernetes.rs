//! Nodes, WorkloadEndpoints and Profiles on Kubernetes: what a real `calicoctl` 3.32.1 showed and said of a real cluster
//! (`golden/kubernetes`, a file for each command), whose Nodes, Pods, Namespaces and ServiceAccounts lie beside it (`api`).
//!
//! What only reads runs against those very objects and must print the same octets. What writes runs in the order of the
//! recording against an API server that holds the Nodes, so that identities and versions are its own; between the recorded
//! commands stand those that the recording left out.
//!
//! Limits of a pod's traffic (`qosControls`) are not carried and not shown: they are taken out of what is compared.
//! Where we differ on purpose besides stands in `golden/kubernetes/differences.txt`; an entry that does not differ fails the test.

mod support;

use serde_json::{Value, json};
use support::differing::{Differing, without_list_version};
use support::{Cli, OWN, without_own};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/kubernetes");

const READING: &[&str] = &[
    "006-get-nodes-o-yaml",
    "008-get-node-node1-o-yaml-export",
    "010-get-nodes-o-name",
    "011-get-nodes-o-custom-columns-name-asn",
    "019-get-wep",
    "022-get-wep-a-o-wide",
    "024-get-wep-a-o-json",
    "025-get-wep-n-default-node1-k8s-hw-pod-eth0-o-yaml",
    "027-get-wep-nosuch",
    "028-get-profiles",
    "029-get-profiles-o-wide",
    "030-get-profiles-o-yaml",
];

#[tokio::test]
async fn what_only_reads_prints_the_same_octets() {
    let cli = Cli::of_objects(DIR).await;
    let mut differing = Differing::of(DIR);
    for name in READING {
        differing.replay(&cli, name, |text| without_list_version(&without_limits(text))).await;
    }
    differing.judge();
}

/// JSON without `qosControls`, which stand last in an endpoint.
fn without_limits(text: &str) -> String {
    let Some((before, limits)) = text.split_once(",\n        \"qosControls\": {") else {
        return text.to_owned();
    };
    let (_, after) = limits.split_once('}').expect("what is opened is closed");
    format!("{before}{after}")
}

/// A recorded command, or what happened between two of them.
enum Step {
    Recorded(&'static str),
    /// A command that was typed and not recorded.
    Typed(&'static str),
    /// The agent of `node2` announces its tunnel's address.
    Agent(&'static str),
}

use Step::{Agent, Recorded as Record, Typed};

const WRITING: &[Step] = &[
    Record("203-delete-node-node2"),
    Record("204-delete-node-nosuch"),
    Record("205-create-wep"),
    Record("206-apply-wep"),
    Record("208-delete-wep-n-default-node1-k8s-nosuch-eth0"),
    Record("210-apply-profile"),
    Record("211-delete-profile-kns-default"),
    Record("212-label-node-node2-lab-test-by-yes"),
    Record("213-label-node-node2-lab-test-by-no"),
    Record("214-label-node-node2-lab-test-by-no-overwrite"),
    Typed("label node node2 lab.test/by-calicoctl --remove"),
    Record("217-label-pod-hw-pod-a-b"),
    Typed("apply -f node2.yaml"),
    Record("219-get-node-node2-o-yaml"),
    Record("222-get-nodes-o-wide"),
    Agent("6.3.0.1"),
    Typed("patch node node2 -p '{\"spec\":{\"bgp\":{\"routeReflectorClusterID\":\"244.0.0.2\"}}}'"),
    Record("301-get-node-node2-o-yaml"),
    Typed("patch node node2 -p '{\"spec\":{\"bgp\":{\"asNumber\":64520}}}'"),
    Record("304-get-nodes-o-wide"),
    Record("305-patch-node-node2-p-spec-bgp-asnumber-null"),
    Record("306-patch-node-nosuch-p-spec"),
    Typed("patch node node2 -p '{\"spec\":{\"bgp\":{\"routeReflectorClusterID\":null}}}'"),
    Record("329-get-node-node2-o-yaml-export"),
];

/// What `node2.yaml` says: little of what the Node is.
const NODE2: &str = "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: node2}\n\
                     spec: {bgp: {ipv4Address: 10.0.2.12/24, routeReflectorClusterID: 244.0.0.1}}\n";

#[tokio::test]
async fn what_writes_says_and_leaves_the_same() {
    let cli = Cli::empty().await;
    for node in nodes() {
        cli.create("Node", node).await;
    }
    cli.file("node2.yaml", NODE2);
    let mut differing = Differing::of(DIR);
    for step in WRITING {
        match step {
            Record(name) => differing.replay(&cli, name, without_own).await,
            Typed(line) => {
                let got = cli.line(&line.replace("node2.yaml", &cli.path("node2.yaml"))).await;
                assert_eq!(got.status, 0, "{line}: {got}");
            }
            Agent(address) => {
                let annotations = json!({"projectcalico.org/IPv4VXLANTunnelAddr": address});
                cli.merge("Node", "node2", &json!({"metadata": {"annotations": annotations}})).await;
            }
        }
    }
    differing.judge();
}

/// The recorded Nodes, as somebody may create them.
fn nodes() -> Vec<Value> {
    let mut list: Value =
        serde_json::from_str(include_str!("golden/kubernetes/api/nodes.json")).expect("a list");
    let mut nodes = list["items"].as_array_mut().map(std::mem::take).expect("items");
    for node in &mut nodes {
        let metadata = node["metadata"].as_object_mut().expect("metadata");
        metadata.retain(|field, _| !OWN.contains(&field.as_str()));
    }
    nodes
}
