//! Commands of a real `calicoctl` 3.32.1 on a datastore of its own (`golden/alone`), one after the other on an embedded API
//! server: exit status and both streams, byte for byte.
//!
//! Recorded was etcd, so these are read as the same: the reason behind `with error:`, which an API server gives in its own
//! words and etcd never did; metadata that each store fills itself; the client's own version; and namespaces, which must
//! exist in Kubernetes before something is put into them. What differs besides stands in `golden/alone/differences.txt`; an
//! entry that does not differ fails the test.

mod support;

use node::bgp_status::{BgpStatus, PeerSort, SessionState, SessionStatus, SpeakerTimes};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};
use support::{Alone, Cli, differences};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/alone");

/// The recordings in an order in which each finds what it needs.
const STEPS: &[&str] = &[
    // Nothing is there yet.
    "001-empty-get-nodes",
    "002-empty-get-nodes-wide",
    "003-empty-get-nodes-yaml",
    "004-empty-get-nodes-json",
    "005-empty-get-ippool-wide",
    "007-empty-ipam-show-blocks",
    "008-empty-ipam-check",
    "009-empty-version",
    // What may not be typed.
    "1-apply-noargs",
    "2-get-noargs",
    "2-delete-noargs",
    "1-apply-nofile",
    "1-apply-bad-kind",
    "1-apply-bad-field",
    "1-apply-not-yaml",
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
    "023-get-ippool-json",
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
    // Of two documents one is bad.
    "1-apply-two",
    "2-get-multi",
    "2-delete-multi",
    "2-delete-noname",
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
    "2-get-np-yaml",
    "1-apply-gnp-bad",
    "2-apply-gnp",
    "2-apply-gnp-again",
    "2-get-gnp-yaml",
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
    "2-get-netset-wide",
    "2-apply-dummy-clean",
    "2-stdin",
    "2-delete-file",
    "2-get-wep-empty",
];

/// The recordings that need a host endpoint and a reservation.
const HOSTS: &[&str] = &["2-get-hep-wide", "2-delete-hep", "2-get-reservation-wide"];

/// The recordings that need the nodes n1 to n3.
const NODES: &[&str] = &[
    "010-create-node1",
    "012-apply-node2",
    "025-get-node-yaml",
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
    "2-label-bad",
    "2-apply-bgpconfig",
    "2-get-bgpconfig-yaml",
    "2-del-bgpconfig",
];

/// Documents that were applied between two recordings.
const HOST: &str = "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: n1-eth0, labels: {role: host}}\n\
    spec: {node: n1, interfaceName: eth0, expectedIPs: [10.0.2.15]}\n";
const RESERVATION: &str = "apiVersion: projectcalico.org/v3\nkind: IPReservation\nmetadata: {name: res1}\n\
    spec: {reservedCIDRs: [172.16.5.0/28]}\n";

/// The recordings that need addresses in use.
const ADDRESSES: &[&str] = &[
    "4-ipam-show-blocks",
    "4-ipam-show-borrowed",
    "4-ipam-show-configuration",
    "4-ipam-show-ip",
    "4-ipam-show-tunnel-ip",
    "4-ipam-check",
    "4-version",
    "4-wep",
    "4-wep-n",
    "4-wep-wide",
];

/// The recordings that need no datastore.
const NOWHERE: &[&str] = &[
    "2-convert-v3",
    "3-badcmd",
    "3-help-",
    "3-help-apply",
    "3-help-cluster",
    "3-help-cluster-diags",
    "3-help-create",
    "3-help-ipam",
    "3-help-ipam-release",
    "3-help-label",
    "3-help-node-checksystem",
    "3-help-node-diags",
    "3-help-node-run",
    "3-help-node-status",
    "3-help-patch",
    "3-help-replace",
    "3-help-validate",
    "3-ipam-configure-show",
    "3-nocmd",
    "3-node-checksystem",
];

/// The recordings that ask the node's agent.
const AGENT: &[&str] =
    &["5-node-status-bird", "5-node-status-bird2", "5-node-status-felix-nobird", "5-node-status-nx"];

/// What differs from the recordings, by their names.
#[derive(Default)]
struct Differing(BTreeMap<&'static str, String>);

impl Differing {
    async fn replay(&mut self, cli: &Cli, names: &[&'static str]) {
        for name in names {
            if let Some(how) = Alone::read(name).differs(cli, &[]).await {
                self.0.insert(name, how);
            }
        }
    }

    /// Nothing of these differs but what is listed, and all of that does.
    fn judge(self, replayed: &[&[&str]]) {
        let replayed: BTreeSet<&str> = replayed.concat().into_iter().collect();
        let listed: BTreeSet<String> = differences(DIR).into_iter().map(|(name, _)| name).collect();
        let wrong: Vec<String> = self
            .0
            .iter()
            .filter(|(name, _)| !listed.contains(**name))
            .map(|(name, how)| format!("{name}: {how}\n"))
            .collect();
        assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
        let same: Vec<&String> = listed
            .iter()
            .filter(|name| replayed.contains(name.as_str()) && !self.0.contains_key(name.as_str()))
            .collect();
        assert!(same.is_empty(), "these do not differ any more: {same:?}");
    }
}

#[tokio::test]
async fn the_recorded_commands_print_the_same() {
    let cli = Cli::empty().await;
    cli.create("Namespace", json!({"metadata": {"name": "production"}})).await;
    let mut differing = Differing::default();
    differing.replay(&cli, STEPS).await;
    for document in [HOST, RESERVATION] {
        let applied = cli.run_with(&["apply".into(), "-f".into(), "-".into()], document).await;
        assert_eq!(applied.status, 0, "{applied}");
    }
    differing.replay(&cli, HOSTS).await;
    for (name, address) in [("n1", "10.0.2.15/24"), ("n2", "10.0.2.9/24"), ("n3", "10.0.2.5/24")] {
        let annotations = json!({"projectcalico.org/IPv4Address": address});
        cli.create("Node", json!({"metadata": {"name": name, "annotations": annotations}})).await;
    }
    differing.replay(&cli, NODES).await;
    differing.judge(&[STEPS, HOSTS, NODES]);
}

/// A block of 64 addresses, the first `used` of which `handle` holds.
fn block(cidr: &str, node: &str, used: usize, handle: &str, kind: &str) -> Value {
    let mut attributes = json!({"node": node});
    match kind {
        "" => attributes["timestamp"] = json!("2026-11-23 01:51:41.52097833 +0000 UTC"),
        kind => attributes["type"] = json!(kind),
    }
    let allocations: Vec<Option<u8>> = (0..64).map(|ordinal| (ordinal < used).then_some(0)).collect();
    json!({
        "metadata": {"name": cidr.replace(['.', '/'], "-")},
        "spec": {
            "cidr": cidr, "affinity": format!("host:{node}"), "strictAffinity": false, "allocations": allocations,
            "unallocated": (used..64).collect::<Vec<_>>(), "sequenceNumber": 1, "sequenceNumberForAllocation": {},
            "attributes": [{"handle_id": handle, "secondary": attributes}],
        },
    })
}

#[tokio::test]
async fn addresses_in_use_print_the_same() {
    let cli = Cli::empty().await;
    let spec = json!({"cidr": "172.16.0.0/16", "vxlanMode": "Always", "natOutgoing": true});
    cli.create("IPPool", json!({"metadata": {"name": "default-ipv4-ippool"}, "spec": spec})).await;
    let spec = json!({"calicoVersion": "v3.32.1", "clusterType": "k8s,bgp", "datastoreReady": true});
    cli.create("ClusterInformation", json!({"metadata": {"name": "default"}, "spec": spec})).await;
    for (cidr, node, used, handle, kind) in [
        ("172.16.217.0/26", "n2", 3, "cninet.q-00000-n2", ""),
        ("172.16.40.128/26", "n1", 64, "vxlan-tunnel-addr-n1", "vxlanTunnelAddress"),
        ("172.16.40.192/26", "n1", 64, "cninet.p-00100-n1", ""),
        ("172.16.41.0/26", "n1", 64, "cninet.p-00200-n1", ""),
        ("172.16.41.64/26", "n1", 9, "cninet.p-00300-n1", ""),
        ("172.16.98.0/26", "n3", 1, "cninet.r-00000-n3", ""),
    ] {
        cli.create("IPAMBlock", block(cidr, node, used, handle, kind)).await;
    }
    let mut differing = Differing::default();
    differing.replay(&cli, ADDRESSES).await;
    differing.judge(&[ADDRESSES]);
}

#[tokio::test]
async fn what_needs_no_datastore_prints_the_same() {
    let cli = Cli::of_kubeconfig("");
    let mut differing = Differing::default();
    differing.replay(&cli, NOWHERE).await;
    differing.judge(&[NOWHERE]);
}

/// The speaker of a node that reaches one of its two peers, and `info` about the other.
fn speaker(info: &str) -> BgpStatus {
    // A time that is still to come is told by the clock, as one that is not long ago.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let midnight = now - now % 86_400 + 86_400;
    let session = |address: &str, state, since, info: &str| SessionStatus {
        address: address.parse().expect("an address"),
        port: None,
        sort: PeerSort::Mesh,
        state,
        since: midnight + since,
        info: info.into(),
        detail: None,
    };
    BgpStatus {
        asn: model::Asn(64512),
        router_id: Ipv4Addr::new(10, 0, 2, 15),
        v4: Some(vec![
            session("10.0.2.5", SessionState::Start, 8_517, info),
            session("10.0.2.4", SessionState::Up, 8_519, "Established"),
        ]),
        v6: None,
        times: SpeakerTimes::default(),
        complaints: Vec::new(),
    }
}

/// Go's line about its log, and the one about a process that we do not have, are left out.
#[tokio::test]
async fn what_the_agent_says_prints_the_same() {
    let mut differing = Differing::default();
    for (name, bgp) in AGENT.iter().zip([
        Some(speaker("Idle Socket: Connection refused")),
        Some(speaker("Active Socket: Connection refused")),
        None,
        Some(speaker("Active Socket: Connection refused")),
    ]) {
        let cli = Cli::of_kubeconfig("");
        let answering = cli.agent(json!({"status": {"node": "n1", "ready": true, "bgp": bgp}}));
        let recorded = Alone::read(name).without_lines("INFO: BIRDv6").without_lines("time=");
        if let Some(how) = recorded.differs(&cli, &["--agent-socket".into(), cli.path("agent.sock")]).await {
            differing.0.insert(name, how);
        }
        answering.join().expect("answered");
    }
    differing.judge(&[AGENT]);
}

#[test]
fn every_recording_is_compared() {
    let compared = [STEPS, HOSTS, NODES, ADDRESSES, NOWHERE, AGENT].concat();
    for entry in std::fs::read_dir(DIR).expect("a folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        let name = name.trim_end_matches(".txt");
        assert!(name == "differences" || compared.contains(&name), "{name} is not compared");
    }
    for (name, _) in differences(DIR) {
        assert!(compared.contains(&&*name), "{name} is no recording");
    }
}
