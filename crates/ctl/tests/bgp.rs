//! BGP's kinds on the command line: what a real `calicoctl` 3.32.1 printed to the same commands (`golden/bgp.jsonl`).
//!
//! Recorded was etcd, so a few things are read as the same: the reason behind `with error:`, and the lines of the metadata
//! that each store fills in its own way.

mod support;

use serde::Deserialize;
use std::collections::BTreeMap;
use support::Cli;

#[derive(Deserialize)]
struct Record {
    id: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    args: Vec<String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    exit: u8,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
}

/// Where we differ on purpose: the one document of a failed `replace` was not replaced.
const NOT_REPLACED: &str = "Partial success: replaced the first 1 out of 1";

#[tokio::test]
async fn the_recorded_commands_print_the_same() {
    for line in include_str!("golden/bgp.jsonl").lines() {
        let record: Record = serde_json::from_str(line).expect("a record");
        let cli = Cli::empty().await;
        for (i, step) in record.steps.iter().enumerate() {
            for (name, text) in &step.files {
                cli.file(name, text);
            }
            let is_file = |arg: &str| arg.ends_with(".yaml");
            let args = step.args.iter().map(|arg| if is_file(arg) { cli.path(arg) } else { arg.clone() });
            let got = cli.run(&args.collect::<Vec<_>>()).await;
            let at = format!("{} step {i}: {}", record.id, step.args.join(" "));
            assert_eq!(got.status, step.exit, "{at}: {got}");
            if !step.stdout.starts_with(NOT_REPLACED) {
                assert_eq!(plain(&got.stdout), plain(&step.stdout), "{at}");
                assert_eq!(plain(&got.stderr), plain(&step.stderr), "{at}");
            }
        }
    }
}

/// Without what each store says in its own words.
fn plain(text: &str) -> String {
    const OWN: [&str; 4] = ["uid", "resourceVersion", "creationTimestamp", "generation"];
    let is_own = |line: &&str| {
        let key = line.trim_start().split(':').next().unwrap_or_default().trim_matches('"');
        !OWN.contains(&key)
    };
    let reason = |line: &str| match line.split_once(" with error:") {
        Some((object, rest)) => format!("{object}{}", if rest.ends_with(']') { "]" } else { "" }),
        None => line.to_owned(),
    };
    text.lines().filter(is_own).map(|line| reason(line) + "\n").collect()
}

const PEER: &str = "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: tor}\n\
    spec: {nodeSelector: rack == '1', peerIP: 192.0.2.1:180, asNumber: 64513, filters: [f1]}\n";
const FILTER: &str = "apiVersion: projectcalico.org/v3\nkind: BGPFilter\nmetadata: {name: f1}\n\
    spec: {importV4: [{action: Reject}]}\n";

#[tokio::test]
async fn a_peer_waits_for_its_filters() {
    let cli = Cli::empty().await;
    let (peer, filter) = (cli.file("peer.yaml", PEER), cli.file("filter.yaml", FILTER));
    let refused = cli.line(&format!("apply -f {peer}")).await;
    assert_eq!(
        refused.stderr,
        "failed to apply 'BGPPeer' resource: [error with field BGPPeer.Spec.Filters = '[f1]' (BGPFilter(s) not found)]\n"
    );
    assert_eq!(cli.line(&format!("apply -f {filter}")).await.status, 0);
    assert_eq!(cli.line(&format!("apply -f {peer}")).await.status, 0);
    assert_eq!(
        cli.line("get bgppeer -o wide").await.stdout,
        "NAME   PEERIP          NODE          ASN     \ntor    192.0.2.1:180   rack == '1'   64513   \n\n"
    );
}

#[tokio::test]
async fn a_nodes_own_account_is_asked_for_and_listed() {
    let cli = Cli::empty().await;
    let asked = "apiVersion: projectcalico.org/v3\nkind: CalicoNodeStatus\nmetadata: {name: a}\n\
        spec: {node: n1, classes: [Agent, BGP], updatePeriodSeconds: 10}\n";
    let file = cli.file("status.yaml", asked);
    assert_eq!(
        cli.line(&format!("create -f {file}")).await.stdout,
        "Successfully created 1 'CalicoNodeStatus' resource(s)\n"
    );
    assert_eq!(
        cli.line("get caliconodestatus -o wide").await.stdout,
        "NAME   NODE   CLASSES     \na      n1     Agent,BGP   \n\n"
    );
    let patched = cli.line("patch nodestatus a -p '{\"spec\":{\"updatePeriodSeconds\":86401}}'").await;
    assert!(patched.stderr.contains("should be less than or equal to 86400"), "{patched}");
}
