//! Commands of a real `calicoctl` 3.32.1 on a datastore of its own (`golden/alone`), one after the other on an embedded API
//! server: exit status and both streams, byte for byte.
//!
//! Recorded was etcd, so two things are read as the same: the reason behind `with error:`, which an API server gives in its
//! own words and etcd never did, and namespaces, which must exist in Kubernetes before something is put into them.

mod support;

use serde_json::json;
use support::{Alone, Cli};

/// The recordings in an order in which each finds what it needs.
const STEPS: &[&str] = &[
    // Nothing is there yet.
    "001-empty-get-nodes",
    "002-empty-get-nodes-wide",
    "005-empty-get-ippool-wide",
    "007-empty-ipam-show-blocks",
    // What may not be typed.
    "1-apply-noargs",
    "2-get-noargs",
    "2-delete-noargs",
    "1-apply-nofile",
    "1-apply-bad-kind",
    "1-apply-bad-field",
    "2-get-nosuch",
    "2-get-badformat",
    "3-ipam-release-badip",
    // A pool comes.
    "1-validate-ok",
    "014-create-pool",
    "015-create-pool-again",
    "2-create-skip-exists",
    "017-replace-pool",
    "020-get-ippool",
    "2-get-from-file",
    "2-get-nosuch-name",
    "3-ipam-show-ip-unalloc",
    // Pools that may not be.
    "1-apply-bad-blocksize-small",
    "1-apply-bad-blocksize",
    "1-apply-bad-cidr-hostbits",
    "1-apply-bad-cidr",
    "1-apply-bad-mode",
    "1-apply-both-encap",
    "1-create-both-encap",
    "1-apply-change-cidr",
    "1-apply-no-name",
    "1-apply-overlap",
    "1-apply-pool-stale-rv",
    // It is changed.
    "2-patch",
    "2-patch-back",
    "2-patch-badfield",
    "2-patch-badjson",
    "2-patch-badval",
    "2-delete-missing",
    "2-delete-missing-skip",
    // Other kinds.
    "2-apply-tier",
    "2-apply-np",
    "2-get-np-n",
    "2-apply-gnp",
    "2-apply-gnp-again",
    "2-get-gnp",
    "2-get-gnp-wide",
    "2-delete-gnp",
    "2-delete-tier",
    "2-delete-default-tier",
    "2-apply-bgppeer",
    "2-get-bgppeer-wide",
    "2-del-bgppeer",
    "2-apply-felixconfig",
    "2-get-felixconfig-wide",
    "2-get-kcc",
    "2-stdin",
    "2-apply-dummy-clean",
    "2-get-wep-empty",
];

/// The recordings that need the nodes n1 to n3.
const NODES: &[&str] = &[
    "018-get-nodes",
    "2-get-ps",
    "019-get-nodes-wide",
    "2-get-gotemplate",
    "2-get-nosuch-node",
    "2-label",
    "2-label-again",
    "2-label-conflict",
    "2-label-overwrite",
    "2-label-remove",
    "2-label-remove-missing",
    "2-apply-bgpconfig",
    "2-del-bgpconfig",
];

#[tokio::test]
async fn the_recorded_commands_print_the_same() {
    let cli = Cli::empty().await;
    cli.create("Namespace", json!({"metadata": {"name": "production"}})).await;
    for name in STEPS {
        Alone::read(name).compare(&cli, name).await;
    }
    for (name, address) in [("n1", "10.0.2.15/24"), ("n2", "10.0.2.4/24"), ("n3", "10.0.2.5/24")] {
        let annotations = json!({"projectcalico.org/IPv4Address": address});
        cli.create("Node", json!({"metadata": {"name": name, "annotations": annotations}})).await;
    }
    for name in NODES {
        Alone::read(name).compare(&cli, name).await;
    }
}

#[test]
fn every_recording_is_compared() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/alone");
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        let name = name.trim_end_matches(".txt");
        assert!(STEPS.contains(&name) || NODES.contains(&name), "{name} is not compared");
    }
}
