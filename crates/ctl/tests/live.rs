//! Every other kind and command against Kubernetes: what a real `calicoctl` 3.32.1 showed and said of a live cluster
//! (`golden/live`, a file for each command), whose objects lie beside it (`api`, in the form of `projectcalico.org/v3`).
//!
//! They were dumped from the same cluster built a second time: what each store fills in its own way is not compared. What
//! writes runs in the order of the recording against an API server that holds them; between the recorded commands stand
//! those that the recording left out. What depends on a state that was not recorded is in `checked.rs`; the files of
//! `cluster diags`, which is not there, are not replayed.
//!
//! Where we differ on purpose stands in `golden/live/differences.txt`; an entry that does not differ fails the test.

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use support::differing::{Differing, without_list_version};
use support::{Cli, OWN, without_own};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/live");

/// The first of the recorded commands that write.
const WRITES_FROM: &str = "218";

fn recorded() -> BTreeSet<String> {
    let files = std::fs::read_dir(DIR).expect("a folder").map(|file| file.expect("a file").file_name());
    let names = files.filter_map(|name| name.into_string().ok()?.strip_suffix(".txt").map(str::to_owned));
    names.filter(|name| name != "differences").collect()
}

fn shown(text: &str) -> String {
    without_own(&without_list_version(text))
}

#[tokio::test]
async fn what_only_reads_prints_the_same() {
    let cli = Cli::of_objects(DIR).await;
    let mut differing = Differing::of(DIR);
    for name in recorded().iter().filter(|name| name.as_str() < WRITES_FROM) {
        differing.replay(&cli, name, shown).await;
    }
    differing.judge();
}

/// Lines that were typed between the recorded ones, each before the recording of that number.
const TYPED: &[(&str, &str)] = &[
    ("236", "delete ippool default-ipv4-ippool"),
    ("247", "create -f policies.yaml"),
    ("257", "ipam check -o /tmp/ipam-report2.json"),
    ("261", "ipam configure --strictaffinity=false"),
    ("276", "delete felixconfig default"),
    ("316", "create -f felix.yaml"),
];

/// What those files say.
const FILES: [(&str, &str); 2] = [
    (
        "policies.yaml",
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: default.gnp1}\n\
         spec: {selector: all()}\n---\n\
         apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: plat2}\n\
         spec: {selector: all(), tier: platform}\n",
    ),
    (
        "felix.yaml",
        "apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: node.node1}\n\
         spec: {bpfConnectTimeLoadBalancing: TCP, bpfHostNetworkedNATWithoutCTLB: Enabled, bpfLogLevel: \"\", \
         floatingIPs: Disabled, logSeverityScreen: Warning, nftablesMode: Auto}\n",
    ),
];

#[tokio::test]
async fn what_writes_says_and_leaves_the_same() {
    let cli = Cli::empty().await;
    fill(&cli).await;
    for (name, text) in FILES {
        cli.file(name, text);
    }
    let mut differing = Differing::of(DIR);
    for name in recorded().iter().filter(|name| name.as_str() >= WRITES_FROM) {
        for (_, line) in TYPED.iter().filter(|(before, _)| name.starts_with(before)) {
            let got = cli.run_here(&words(&cli, line), "").await;
            assert_eq!(got.status, 0, "{line}: {got}");
        }
        differing.replay(&cli, name, shown).await;
    }
    differing.judge();
}

fn words(cli: &Cli, line: &str) -> Vec<String> {
    line.split(' ').map(|word| word.replace("/tmp/", &cli.path(""))).collect()
}

/// Puts the recorded objects into an empty server, those first that others need.
async fn fill(cli: &Cli) {
    let mut files: Vec<String> = std::fs::read_dir(format!("{DIR}/api"))
        .expect("a folder")
        .map(|file| file.expect("a file").file_name().into_string().expect("text"))
        .collect();
    // A namespace has a service account of its own accord; pods and services are not what is written here.
    files.retain(|file| {
        !["namespaces", "serviceaccounts", "services", "pods"].iter().any(|k| file.starts_with(k))
    });
    files.sort_by_key(|file| (file != "tiers.json", file.clone()));
    for file in files {
        let text = std::fs::read_to_string(format!("{DIR}/api/{file}")).expect("text");
        let list: Value = serde_json::from_str(&text).expect("a list");
        let kind = |item: &Value| item["kind"].as_str().unwrap_or("Node").to_owned();
        for item in list["items"].as_array().expect("items") {
            let mut item = item.clone();
            let metadata = item["metadata"].as_object_mut().expect("metadata");
            metadata.retain(|field, _| !OWN.contains(&field.as_str()));
            let (kind, name) = (kind(&item), item["metadata"]["name"].as_str().expect("a name").to_owned());
            let status = item["status"].clone();
            cli.create(&kind, item).await;
            if kind == "KubeControllersConfiguration" {
                cli.merge_part(&kind, &name, Some("status"), &serde_json::json!({"status": status})).await;
            }
        }
    }
}
