//! What a real `calicoctl` 3.32.1 said of the addresses of a live cluster (`golden/checked`) whose objects were not recorded
//! with it. They are those of the same cluster built once more (`golden/api`), and what the recordings themselves say of the
//! rest: a fourth node with two pods, the load balancer's address, and, in the last of them, that the pool of most addresses
//! had been deleted.

mod support;

use serde_json::{Value, json};
use support::{Cli, Recorded, first_lines_apart};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
/// The pods of the fourth node: name, block, place in it, handle and time, as the last recording names them.
const PODS: [(&str, &str, usize, &str, &str); 2] = [
    (
        "fake-23",
        "6.2.3.64/26",
        25,
        "k8s-pod-network.f44f44f44f44f44f44f44f44f44f44f44f44f44f44f44f44f44f44f44f44f440",
        "2026-11-23 03:02:12.160082971 +0000 UTC",
    ),
    (
        "fake-28",
        "6.3.0.96/27",
        0,
        "k8s-pod-network.f49f49f49f49f49f49f49f49f49f49f49f49f49f49f49f49f49f49f49f49f490",
        "2026-11-23 03:02:13.180984764 +0000 UTC",
    ),
];
/// The fourth node's tunnel address is the first of its first block.
const TUNNEL: &str = "vxlan-tunnel-addr-node4";
const LOAD_BALANCER: (&str, &str) =
    ("lb-QcgoHbIsSQ1NPhF9nNxHaiXtGBLoLh0mLQxXmLzyY", "2026-11-23 02:57:15.191636695 +0000 UTC");

/// The objects of a cluster, kind by kind.
struct Cluster(tempfile::TempDir);

impl Cluster {
    /// With its fourth node.
    fn of_four() -> Cluster {
        let cluster = Cluster(tempfile::tempdir().expect("a folder"));
        std::fs::create_dir(cluster.0.path().join("api")).expect("a folder");
        for file in std::fs::read_dir(format!("{GOLDEN}/api")).expect("a folder") {
            let file = file.expect("a file");
            std::fs::copy(file.path(), cluster.0.path().join("api").join(file.file_name())).expect("copied");
        }
        let of_others = |kind: &str, name: &str| {
            let list = read(&format!("{GOLDEN}/live/api/{kind}.json"));
            list.into_iter().find(|item| item["metadata"]["name"] == name).expect("it was recorded")
        };
        cluster.amend("nodes", |nodes| nodes.push(of_others("nodes", "node4")));
        cluster.amend("pods", |pods| pods.extend(PODS.map(|(name, ..)| of_others("pods", name))));
        cluster.amend("ipamblocks", |blocks| {
            let balancer =
                blocks.iter_mut().find(|block| block["spec"]["cidr"] == "10.77.0.8/29").expect("it is there");
            let holder = &mut balancer["spec"]["attributes"][0];
            (holder["handle_id"], holder["secondary"]["timestamp"]) =
                (LOAD_BALANCER.0.into(), LOAD_BALANCER.1.into());
            blocks.extend([block("6.2.3.64/26", 64), block("6.3.0.96/27", 32)]);
        });
        cluster.amend("blockaffinities", |claims| claims.extend(PODS.map(|(_, block, ..)| claim(block))));
        cluster.amend("ipamhandles", |handles| {
            handles.retain(|handle| {
                !handle["spec"]["handleID"].as_str().is_some_and(|id| id.starts_with("lb-"))
            });
            handles.push(handle(LOAD_BALANCER.0, "10.77.0.8/29"));
            handles.push(handle(TUNNEL, PODS[0].1));
            handles.extend(PODS.map(|(_, block, _, id, _)| handle(id, block)));
        });
        cluster
    }

    /// Two pods are gone without a word to Calico. The pool of most addresses was deleted: its blocks are no node's, and two
    /// nodes have given their tunnel addresses back.
    fn forsake(&self) {
        self.amend("pods", |pods| {
            pods.retain(|pod| !PODS.iter().any(|(name, ..)| pod["metadata"]["name"] == *name))
        });
        self.amend("ippools", |pools| pools.retain(|pool| pool["metadata"]["name"] != "default-ipv4-ippool"));
        let was_of_pool = |cidr: &Value| cidr.as_str().is_some_and(|cidr| cidr.starts_with("6.2."));
        self.amend("blockaffinities", |claims| claims.retain(|claim| !was_of_pool(&claim["spec"]["cidr"])));
        self.amend("ipamblocks", |blocks| {
            for block in blocks.iter_mut().filter(|block| was_of_pool(&block["spec"]["cidr"])) {
                let spec = block["spec"].as_object_mut().expect("a spec");
                let affinity = spec.remove("affinity");
                if affinity.is_some_and(|affinity| affinity == "host:node1" || affinity == "host:node4") {
                    spec["allocations"][0] = Value::Null;
                }
            }
        });
        self.amend("ipamhandles", |handles| {
            let is_given_back = |id: &Value| id == TUNNEL || id == "vxlan-tunnel-addr-node1";
            handles.retain(|handle| !is_given_back(&handle["spec"]["handleID"]));
        });
    }

    /// Changes the objects of a kind.
    fn amend(&self, kind: &str, change: impl FnOnce(&mut Vec<Value>)) {
        let path = self.0.path().join("api").join(format!("{kind}.json"));
        let mut items = read(&path.display().to_string());
        change(&mut items);
        // As a server lists them.
        items.sort_by_key(|item| {
            ["namespace", "name"].map(|part| item["metadata"][part].as_str().map(str::to_owned))
        });
        std::fs::write(path, json!({ "items": items }).to_string()).expect("written");
    }

    /// Types a recorded command; how what it prints up to `end` differs from what was recorded up to `their_end`.
    async fn differs(&self, name: &str, (end, their_end): (&str, &str)) -> Option<String> {
        let cli = Cli::of_objects(&self.0.path().display().to_string()).await;
        let recorded = Recorded::read(&format!("{GOLDEN}/checked/{name}.txt"));
        let args: Vec<String> = recorded.args.iter().map(|arg| arg.replace("/tmp/", &cli.path(""))).collect();
        let got = cli.run(&args).await;
        assert_eq!((got.status, &got.stderr), (recorded.exit, &recorded.stderr), "{name}");
        let until = |text: &str, end| text.split_once(end).expect("it ends so").0.to_owned();
        let (ours, theirs) = (until(&got.stdout, end), until(&recorded.stdout, their_end));
        (ours != theirs).then(|| format!("{name}\n{}", first_lines_apart(&ours, &theirs)))
    }
}

fn read(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("text");
    let list: Value = serde_json::from_str(&text).expect("a list");
    list["items"].as_array().expect("items").clone()
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn handle(id: &str, block: &str) -> Value {
    object("IPAMHandle", &id.to_lowercase(), json!({"handleID": id, "block": {block: 1}, "deleted": false}))
}

fn claim(block: &str) -> Value {
    let name = format!("node4-{}", block.replace(['.', '/'], "-"));
    let spec =
        json!({"cidr": block, "node": "node4", "type": "host", "state": "confirmed", "deleted": false});
    object("BlockAffinity", &name, spec)
}

/// A block of the fourth node, with what it has there.
fn block(cidr: &str, size: usize) -> Value {
    let mut allocations = vec![Value::Null; size];
    let mut attributes = Vec::new();
    let tunnel = json!({"handle_id": TUNNEL, "secondary": {"node": "node4", "type": "vxlanTunnelAddress"}});
    let pods = PODS.iter().filter(|(_, block, ..)| *block == cidr).map(|(name, _, place, id, time)| {
        let holder = json!({"namespace": "default", "node": "node4", "pod": name, "timestamp": time});
        (*place, json!({"handle_id": id, "secondary": holder}))
    });
    let tunnel = (cidr == PODS[0].1).then_some((0, tunnel));
    for (place, holder) in tunnel.into_iter().chain(pods) {
        allocations[place] = attributes.len().into();
        attributes.push(holder);
    }
    let unallocated: Vec<usize> = (0..size).filter(|place| allocations[*place].is_null()).collect();
    let spec = json!({"cidr": cidr, "affinity": "host:node4", "strictAffinity": false, "deleted": false,
        "allocations": allocations, "attributes": attributes, "unallocated": unallocated});
    object("IPAMBlock", &cidr.replace(['.', '/'], "-"), spec)
}

#[tokio::test]
async fn the_addresses_of_a_live_cluster_are_told_as_calico_told_them() {
    let cluster = Cluster::of_four();
    const END: &str = "Check complete; found 0 problems.\n";
    for name in ["082-ipam-check", "084-ipam-check-show-problem-ips", "085-ipam-check-o-tmp-ipam-report-json"]
    {
        assert_eq!(cluster.differs(name, (END, END)).await, None);
    }
    const LAST: &str = "type: LoadBalancer\n";
    assert_eq!(cluster.differs("078-ipam-show-ip-10-77-0-8", (LAST, LAST)).await, None);
    cluster.forsake();
    // Blocks of no pool are a sort of problem more, which Calico does not look for.
    let ends = ("\nScanning for other inconsistencies...", "Check complete; found 4 problems.");
    assert_eq!(cluster.differs("256-ipam-check-show-problem-ips-o-tmp-ipam-report2-json", ends).await, None);
}
