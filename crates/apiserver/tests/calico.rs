//! Calico's kinds, and a node's rights to them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use client::{Client, Cluster, MERGE, STRATEGIC};
use serde_json::{Value, json};

const V3: &str = "/apis/projectcalico.org/v3";

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn block(affinity: &str) -> Value {
    object(
        "IPAMBlock",
        "10-0-0-0-30",
        json!({"cidr": "10.0.0.0/30", "affinity": affinity, "allocations": [null, null, null, null],
            "unallocated": [0, 1, 2, 3], "attributes": [], "strictAffinity": false, "deleted": false}),
    )
}

#[tokio::test]
async fn a_pool_gets_its_defaults_and_keeps_its_rules() {
    let cluster = Cluster::start().await;
    let api = &cluster.admin;
    let pools = format!("{V3}/ippools");
    let made = api.post(&pools, &object("IPPool", "a", json!({"cidr": "10.0.0.0/16"}))).await.ok();
    let spec = json!({"allowedUses": ["Workload", "Tunnel"], "assignmentMode": "Automatic", "blockSize": 26,
        "cidr": "10.0.0.0/16", "ipipMode": "Never", "nodeSelector": "all()", "vxlanMode": "Never"});
    assert_eq!((&made["spec"], &made["metadata"]["generation"]), (&spec, &json!(1)));
    for (name, spec, words) in [
        ("b", json!({"cidr": "10.0.1.0/24"}), "IPPool(b) CIDR overlaps with IPPool(a) CIDR 10.0.0.0/16"),
        ("b", json!({"cidr": "10.1.0.1/16"}), "is not strictly masked"),
        ("b", json!({"cidr": "10.1.0.0/16", "blockSize": 33}), "block size must be between 20 and 32"),
        ("b", json!({"cidr": "10.1.0.0/16", "blockSize": "26"}), "must be of type integer"),
        (
            "b",
            json!({"cidr": "10.1.0.0/16", "ipipMode": "Always", "vxlanMode": "Always"}),
            "Cannot enable both",
        ),
        ("b", json!({"cidr": "10.1.0.0/16", "vxlanMode": "Sometimes"}), "Sometimes"),
        ("b", json!({}), "CIDR"),
    ] {
        let reply = api.post(&pools, &object("IPPool", name, spec)).await;
        let (code, reason, message) = reply.failure();
        assert_eq!((code, reason), (422, "Invalid"), "{message}");
        assert!(message.starts_with("IPPool.projectcalico.org \"b\" is invalid: "), "{message}");
        assert!(message.contains(words), "{message}");
    }
    let moved = api.patch(&format!("{pools}/a"), MERGE, &json!({"spec": {"cidr": "10.2.0.0/16"}})).await;
    assert_eq!(moved.failure().0, 422, "a pool's CIDR stays");
    assert_eq!(api.patch(&format!("{pools}/a"), STRATEGIC, &json!({})).await.code, 415);
    let warned = api.patch(&format!("{pools}/a"), MERGE, &json!({"spec": {"typo": 1}})).await;
    assert_eq!(warned.warnings, [r#"299 - "unknown field \"spec.typo\"""#]);
    assert!(warned.ok()["spec"].get("typo").is_none());
}

#[tokio::test]
async fn generation_counts_the_spec_and_status_is_apart() {
    let cluster = Cluster::start().await;
    let api = &cluster.admin;
    let own = format!("{V3}/ippools/a");
    api.post(&format!("{V3}/ippools"), &object("IPPool", "a", json!({"cidr": "10.0.0.0/16"}))).await.ok();
    let generation = |object: Value| object["metadata"]["generation"].as_i64();
    let changed = api.patch(&own, MERGE, &json!({"spec": {"vxlanMode": "Always"}})).await.ok();
    assert_eq!(generation(changed), Some(2));
    let labelled = api.patch(&own, MERGE, &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
    assert_eq!(generation(labelled), Some(2));
    let condition = json!({"status": {"conditions": [{"type": "Allocatable", "status": "True"}]}, "spec": {"disabled": true}});
    let status = api.patch(&format!("{own}/status"), MERGE, &condition).await.ok();
    assert_eq!(status["status"]["conditions"][0]["status"], "True");
    assert!(status["spec"].get("disabled").is_none());
    assert_eq!(generation(status), Some(2));
}

#[tokio::test]
async fn bgp_kinds_get_their_defaults_and_keep_their_rules() {
    let cluster = Cluster::start().await;
    let (api, node) = (&cluster.admin, cluster.node("n1"));
    let made = |plural: &str, kind: &str, name: &str, spec: Value| {
        let (path, object) = (format!("{V3}/{plural}"), object(kind, name, spec));
        async move { api.post(&path, &object).await }
    };
    let default =
        made("bgpconfigurations", "BGPConfiguration", "default", json!({"asNumber": "1.10"})).await.ok();
    let spec =
        json!({"asNumber": 65546, "logSeverityScreen": "Info", "serviceLoadBalancerAggregation": "Enabled"});
    assert_eq!(default["spec"], spec);
    let peer =
        json!({"peerIP": "192.0.2.1:180", "asNumber": 64513, "filters": ["f"], "maxRestartTime": "90s"});
    let peer = made("bgppeers", "BGPPeer", "tor", peer).await.ok();
    assert_eq!(peer["spec"]["maxRestartTime"], "1m30s");
    let rules = json!({"importV4": [{"action": "Reject", "cidr": "10.0.0.0/8", "matchOperator": "In"}]});
    made("bgpfilters", "BGPFilter", "f", rules).await.ok();
    for (plural, kind, spec, words) in [
        ("bgppeers", "BGPPeer", json!({"peerIP": "x"}), "PeerIP because of Tag: IP:port"),
        ("bgpconfigurations", "BGPConfiguration", json!({"nodeToNodeMeshEnabled": true}), "non default"),
        ("bgpfilters", "BGPFilter", json!({"exportV6": [{"action": "Maybe"}]}), "filterAction"),
        ("caliconodestatuses", "CalicoNodeStatus", json!({"classes": ["Weather"]}), "supported values"),
    ] {
        let reply = made(plural, kind, "b", spec).await;
        let (code, reason, message) = reply.failure();
        assert_eq!((code, reason), (422, "Invalid"), "{message}");
        assert!(message.contains(words), "{message}");
    }
    let asked = json!({"node": "n1", "classes": ["BGP"], "updatePeriodSeconds": 10});
    made("caliconodestatuses", "CalicoNodeStatus", "a", asked.clone()).await.ok();
    made("caliconodestatuses", "CalicoNodeStatus", "b", json!({"node": "n2"})).await.ok();
    let answer = json!({"status": {"lastUpdated": "2026-11-23T03:22:38Z"}});
    let path = |name: &str, sub: &str| format!("{V3}/caliconodestatuses/{name}{sub}");
    let answered = node.patch(&path("a", "/status"), MERGE, &answer).await.ok();
    assert_eq!((&answered["spec"], &answered["status"]), (&asked, &answer["status"]));
    assert_eq!(node.patch(&path("b", "/status"), MERGE, &answer).await.code, 403);
    assert_eq!(node.patch(&path("a", ""), MERGE, &json!({"spec": {"node": "n2"}})).await.code, 403);
    assert_eq!(node.get(&format!("{V3}/bgppeers/tor")).await.code, 200);
}

#[tokio::test]
async fn a_block_is_a_compare_and_swap() {
    let cluster = Cluster::start().await;
    let api = &cluster.admin;
    let own = format!("{V3}/ipamblocks/10-0-0-0-30");
    let made = api.post(&format!("{V3}/ipamblocks"), &block("host:n1")).await.ok();
    let mut first = made.clone();
    first["spec"]["allocations"] = json!([0, null, null, null]);
    first["spec"]["unallocated"] = json!([1, 2, 3]);
    first["spec"]["attributes"] = json!([{"handle_id": "h"}]);
    let second = first.clone();
    let stored = api.put(&own, &first).await.ok();
    assert_eq!(stored["spec"]["allocations"], json!([0, null, null, null]), "nulls in lists stay");
    assert_eq!(api.put(&own, &second).await.failure().1, "Conflict");
    let mut blind = first;
    blind["metadata"]["resourceVersion"] = json!("");
    let (code, message) = (api.put(&own, &blind).await.code, api.put(&own, &blind).await);
    assert_eq!(code, 422);
    assert!(
        message
            .failure()
            .2
            .ends_with("metadata.resourceVersion: Invalid value: 0: must be specified for an update")
    );
    let old = json!({"preconditions": {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}});
    assert_eq!(api.delete(&own, &old).await.code, 409);
    let new = json!({"preconditions": {"uid": made["metadata"]["uid"], "resourceVersion": stored["metadata"]["resourceVersion"]}});
    api.delete(&own, &new).await.ok();
}

async fn code(client: &Client, verb: &str, path: &str, body: Value) -> u16 {
    match verb {
        "create" => client.post(path, &body).await.code,
        "patch" => client.patch(path, MERGE, &body).await.code,
        "delete" => client.delete(path, &json!({})).await.code,
        _ => client.get(path).await.code,
    }
}

#[tokio::test]
async fn s30_a_nodes_token_writes_its_own_objects_only() {
    let cluster = Cluster::start().await;
    let (admin, node) = (&cluster.admin, cluster.node("n1"));
    let core = "/api/v1";
    let pods = format!("{core}/namespaces/default/pods");
    for name in ["n1", "n2"] {
        admin.post(&format!("{core}/nodes"), &json!({"metadata": {"name": name}})).await.ok();
        let spec = json!({"nodeName": name, "containers": [{"name": "c", "image": "x"}]});
        admin.post(&pods, &json!({"metadata": {"name": format!("on-{name}")}, "spec": spec})).await.ok();
    }
    admin.post(&format!("{V3}/ippools"), &object("IPPool", "a", json!({"cidr": "10.0.0.0/16"}))).await.ok();
    let annotate = json!({"metadata": {"annotations": {"a": "b"}}});
    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": "n1"}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    for (verb, path, body, expected) in [
        ("get", format!("{core}/nodes/n2"), json!({}), 200),
        ("get", format!("{pods}/on-n2"), json!({}), 200),
        ("get", format!("{V3}/ippools"), json!({}), 200),
        ("get", format!("{core}/secrets"), json!({}), 403),
        ("get", format!("{core}/namespaces/default/secrets/bgp"), json!({}), 403),
        ("get", format!("{core}/namespaces/kube-system/secrets/bgp"), json!({}), 404),
        ("get", format!("{core}/namespaces/kube-system/secrets"), json!({}), 403),
        ("patch", format!("{core}/nodes/n1"), annotate.clone(), 200),
        ("patch", format!("{core}/nodes/n1/status"), annotate.clone(), 200),
        ("patch", format!("{core}/nodes/n2"), annotate.clone(), 403),
        ("patch", format!("{core}/nodes/n2/status"), annotate.clone(), 403),
        ("delete", format!("{core}/nodes/n1"), json!({}), 403),
        ("create", format!("{core}/nodes"), json!({"metadata": {"name": "n3"}}), 403),
        ("patch", format!("{pods}/on-n1/status"), annotate.clone(), 200),
        ("patch", format!("{pods}/on-n1"), annotate.clone(), 403),
        ("patch", format!("{pods}/on-n2/status"), annotate.clone(), 403),
        ("delete", format!("{pods}/on-n2"), json!({}), 403),
        ("delete", format!("{pods}/on-n1"), json!({}), 200),
        ("create", pods.clone(), json!({"metadata": {"name": "x"}}), 403),
        ("patch", format!("{V3}/ippools/a"), json!({"spec": {"disabled": true}}), 403),
        ("create", format!("{core}/namespaces"), json!({"metadata": {"name": "x"}}), 403),
        ("create", format!("{V3}/ipamblocks"), block("host:n1"), 201),
        ("create", leases.into(), lease("n1"), 201),
        ("create", leases.into(), lease("n2"), 403),
    ] {
        assert_eq!(code(&node, verb, &path, body).await, expected, "{verb} {path}");
    }
    let collection = node.call(http::Method::DELETE, &pods, &[], b"").await;
    assert_eq!(collection.code, 403);
}

#[tokio::test]
async fn a_pod_on_a_node_goes_in_two_steps() {
    let cluster = Cluster::start().await;
    let (admin, node) = (&cluster.admin, cluster.node("n1"));
    let pods = "/api/v1/namespaces/default/pods";
    let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]});
    let made = admin.post(pods, &json!({"metadata": {"name": "a"}, "spec": spec})).await.ok();
    let from = made["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut events =
        node.watch(&format!("{pods}?watch=1&resourceVersion={from}&fieldSelector=spec.nodeName%3Dn1")).await;
    let marked = admin.delete(&format!("{pods}/a"), &json!({})).await.ok();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(events.told().await, ("MODIFIED".into(), "a".into()));
    let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": made["metadata"]["uid"]}});
    node.delete(&format!("{pods}/a"), &options).await.ok();
    assert_eq!(events.told().await, ("DELETED".into(), "a".into()));
    assert_eq!(admin.get(&format!("{pods}/a")).await.code, 404);
}

#[tokio::test]
async fn a_namespace_waits_for_its_pods_and_takes_nothing_new() {
    let cluster = Cluster::start().await;
    let (admin, node) = (&cluster.admin, cluster.node("n1"));
    let own = "/api/v1/namespaces/web";
    let finalizers = json!(["example.com/hold"]);
    admin
        .post("/api/v1/namespaces", &json!({"metadata": {"name": "web", "finalizers": finalizers}}))
        .await
        .ok();
    let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]});
    admin.post(&format!("{own}/pods"), &json!({"metadata": {"name": "a"}, "spec": spec})).await.ok();
    let ending = admin.delete(own, &json!({})).await.ok();
    assert_eq!(ending["status"]["phase"], "Terminating");
    let late = admin.post(&format!("{own}/configmaps"), &json!({"metadata": {"name": "c"}})).await;
    assert_eq!(
        late.failure(),
        (
            403,
            "Forbidden",
            "configmaps is forbidden: unable to create new content in namespace web because it is being terminated"
        )
    );
    assert!(admin.get(&format!("{own}/pods/a")).await.ok()["metadata"]["deletionTimestamp"].is_string());
    node.delete(&format!("{own}/pods/a"), &json!({"gracePeriodSeconds": 0})).await.ok();
    assert_eq!(admin.get(own).await.code, 200, "its finalizer holds it");
    admin.patch(own, MERGE, &json!({"metadata": {"finalizers": null}})).await.ok();
    assert_eq!(admin.get(own).await.code, 404);
}
