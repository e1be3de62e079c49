//! A collector that dies at each place that the sources mark: the next one finishes what it began.

use apiserver::{Config, Server};
use datastore::{Client, Preconditions, Resource};
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

/// An API server with what a node left behind, and a folder for both.
struct Cluster {
    client: Client,
    server: Server,
    folder: tempfile::TempDir,
}

/// A collector; killed when dropped.
struct Collector(Child);

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Cluster {
    async fn start() -> Cluster {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config::new("127.0.0.1:0".parse().expect("an address"), folder.path().join("data"));
        let server = Server::start(config).await.expect("a server");
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, server.admin_kubeconfig()).expect("written");
        let client = Client::from_kubeconfig(&kubeconfig).await.expect("a client");
        let cluster = Cluster { client, server, folder };
        // Of a cluster without any Node the collector believes nothing.
        cluster.make("Node", "here", json!({})).await;
        cluster
    }

    /// A collector that dies at a place, or at none.
    fn collector(&self, place: &str) -> Collector {
        let tests = std::env::current_exe().expect("a program");
        let target =
            tests.parent().and_then(Path::parent).expect("tests lie in a folder of the target directory");
        let program: PathBuf = target.join("examples/controller");
        let child = Command::new(program)
            .arg("--kubeconfig")
            .arg(self.folder.path().join("kubeconfig"))
            .args(["--node-grace-period=1s", "--question-grace-period=1s", "--metrics=127.0.0.1:0"])
            .env(failpoint::VARIABLE, place)
            .spawn();
        Collector(child.expect("the example is built with the tests"))
    }

    /// What a node that is gone has left: a block with a pod's address and one without any, a claim to both. Nothing describes
    /// the cluster. A command that died has left a question.
    async fn fill(&self) {
        let cluster = Resource::of_kind("ClusterInformation").expect("a kind");
        let _ = self.client.delete_json(cluster, None, "default", &Preconditions::default()).await;
        for (net, allocated) in [("6-2-0-0-30", true), ("6-2-0-4-30", false)] {
            let cidr = net.replacen("-30", "/30", 1).replace('-', ".");
            let handle = json!({"handle_id": "k8s-pod-network.c1",
                "secondary": {"node": "gone", "namespace": "default", "pod": "p"}});
            let used = json!({"allocations": [null, 0, null, null], "unallocated": [0, 2, 3], "attributes": [handle],
                "sequenceNumberForAllocation": {"1": 1}});
            let empty = json!({"allocations": [null, null, null, null], "unallocated": [0, 1, 2, 3], "attributes": []});
            let mut spec = if allocated { used } else { empty };
            for (field, value) in
                [("cidr", json!(cidr)), ("affinity", json!("host:gone")), ("sequenceNumber", json!(1))]
            {
                spec[field] = value;
            }
            self.make("IPAMBlock", net, spec).await;
            let claim =
                json!({"cidr": cidr, "node": "gone", "state": "confirmed", "type": "host", "deleted": false});
            self.make("BlockAffinity", &format!("gone-{net}"), claim).await;
        }
        let spec = json!({"handleID": "k8s-pod-network.c1", "block": {"6.2.0.0/30": 1}, "deleted": false});
        self.make("IPAMHandle", "k8s-pod-network.c1", spec).await;
        let question = json!({"node": "gone", "classes": ["Agent"], "updatePeriodSeconds": 10});
        self.make("CalicoNodeStatus", "left", question).await;
    }

    async fn make(&self, kind: &str, name: &str, spec: Value) {
        let resource = Resource::of_kind(kind).expect("a kind");
        let mut object = json!({"apiVersion": resource.api_version(), "kind": kind, "metadata": {"name": name}, "spec": spec});
        if kind == "CalicoNodeStatus" {
            object["metadata"]["labels"] = json!({ model::v3::QUESTION: "node-status" });
        }
        self.client.create_json(resource, None, &object).await.expect("created");
    }

    /// How many objects of these kinds there are.
    async fn left(&self, kinds: &[&str]) -> usize {
        let mut left = 0;
        for kind in kinds {
            let list =
                self.client.list_json(Resource::of_kind(kind).expect("a kind"), None).await.expect("a list");
            left += list["items"].as_array().map_or(0, Vec::len);
        }
        left
    }

    /// A handle that counts no address any more has the time of a leak, which is longer than a test: it goes here.
    async fn forget_idle_handle(&self, place: &str) {
        let handles = Resource::of_kind("IPAMHandle").expect("a kind");
        let only = Preconditions::default();
        let deleted = self.client.delete_json(handles, None, "k8s-pod-network.c1", &only).await;
        // Questions are another task's: the collector may be anywhere meanwhile.
        let between = ["collector: to ask", "collector: block written", "question: removed"];
        assert!(deleted.is_err() || between.contains(&place), "after `{place}` the handle is left");
    }

    /// The Lease of one that died goes before its term is over, which spares the next one the wait.
    async fn end_of_term(&self) {
        let leases = Resource {
            kind: "Lease",
            plural: "leases",
            group: "coordination.k8s.io",
            version: "v1",
            namespaced: true,
        };
        let only = Preconditions::default();
        match self.client.delete_json(&leases, Some("kube-system"), "tortie-controller", &only).await {
            Err(e) if e.is_not_found() => {}
            deleted => drop(deleted.expect("the Lease goes")),
        }
    }
}

async fn within(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: not within 30 s");
}

#[tokio::test]
async fn f03_a_collector_that_dies_anywhere_is_followed_by_one_that_leaves_nothing() {
    let places =
        failpoint::names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("the sources are there");
    assert!(places.len() >= 9, "{places:?}");
    let cluster = Cluster::start().await;
    for place in &places {
        println!("  dying at `{place}`");
        cluster.fill().await;
        let mut dying = cluster.collector(place);
        within(&format!("it dies at `{place}`"), async || {
            let ended = dying.0.try_wait().expect("it is our child");
            ended.is_some_and(|status| {
                assert_eq!(status.signal(), Some(6), "`{place}`: {status}");
                true
            })
        })
        .await;
        cluster.end_of_term().await;
        let next = cluster.collector("");
        let kinds = ["IPAMBlock", "BlockAffinity", "CalicoNodeStatus"];
        within(&format!("after `{place}` nothing is left"), async || cluster.left(&kinds).await == 0).await;
        cluster.forget_idle_handle(place).await;
        drop(next);
        cluster.end_of_term().await;
    }
    cluster.server.stop().await;
}
