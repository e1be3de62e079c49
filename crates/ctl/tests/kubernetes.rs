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
use std::collections::BTreeSet;
use support::{Cli, OWN, Recorded, differences, first_lines_apart, without_own};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/kubernetes");

/// What differs from the recordings, by the name of the recording.
#[derive(Default)]
struct Differing(Vec<(String, String)>);

impl Differing {
    /// Runs a recorded command; `shown` takes out of both outputs what is not compared.
    async fn replay(&mut self, cli: &Cli, name: &str, shown: impl Fn(&str) -> String) {
        let recorded = Recorded::read(&format!("{DIR}/{name}.txt"));
        let got = cli.run_with(&recorded.args, &recorded.stdin).await;
        let ours = (got.status, shown(&got.stdout), got.stderr.trim_end().to_owned());
        let theirs = (recorded.exit, shown(&recorded.stdout), recorded.stderr.trim_end().to_owned());
        if ours != theirs {
            let all = |(exit, out, err): (u8, String, String)| format!("exit {exit}\n{err}\n{out}");
            self.0
                .push((name.to_owned(), format!("{name}\n{}", first_lines_apart(&all(ours), &all(theirs)))));
        }
    }

    /// Nothing differs but what is listed, and all of that does.
    fn judge(self, replayed: &[&str]) {
        let listed: BTreeSet<String> = differences(DIR).into_iter().map(|(name, _)| name).collect();
        let of_these: BTreeSet<&str> =
            listed.iter().map(String::as_str).filter(|name| replayed.contains(name)).collect();
        let differing: BTreeSet<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        let wrong: Vec<&str> =
            self.0.iter().filter(|(name, _)| !listed.contains(name)).map(|(_, how)| how.as_str()).collect();
        assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
        assert_eq!(differing, of_these, "these do not differ any more");
    }
}

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
    let mut differing = Differing::default();
    for name in READING {
        differing.replay(&cli, name, |text| without_list_version(&without_limits(text))).await;
    }
    differing.judge(READING);
}

/// The version of a list grew from one command to the next.
fn without_list_version(text: &str) -> String {
    let mut lines: Vec<&str> = text.trim_end().lines().collect();
    let is_list = lines.iter().any(|line| line.trim().trim_matches('"').starts_with("items"));
    let at = |line: &&str| {
        ["  resourceVersion", "    \"resourceVersion\""].iter().any(|key| line.starts_with(key))
    };
    if is_list && let Some(version) = lines.iter().position(at) {
        lines.remove(version);
    }
    lines.join("\n")
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
    let (mut differing, mut replayed) = (Differing::default(), Vec::new());
    for step in WRITING {
        match step {
            Record(name) => {
                differing.replay(&cli, name, without_own).await;
                replayed.push(*name);
            }
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
    differing.judge(&replayed);
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
