//! Objects of real Calico v3.32.1 clusters, of both API groups (`fixtures/calico-objects.jsonl`): what we read, we write
//! back whole, and what Calico shows of Nodes and Pods we show too.

use model::selector::Selector;
use model::{k8s, v3};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn objects(kind: &str) -> Vec<Value> {
    let lines = include_str!("fixtures/calico-objects.jsonl").lines();
    let objects = lines.map(|line| serde_json::from_str(line).expect("an object"));
    let objects: Vec<Value> = objects.filter(|object: &Value| object["kind"] == kind).collect();
    assert!(!objects.is_empty(), "no {kind} was recorded");
    objects
}

fn named(kind: &str, name: &str) -> Value {
    objects(kind).into_iter().find(|object| object["metadata"]["name"] == name).expect(name)
}

fn read<T: DeserializeOwned>(object: &Value) -> T {
    serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}"))
}

/// Reads and writes every object of a kind. Type and status are the datastore's to keep.
fn survives<T: DeserializeOwned + Serialize>(kind: &str) {
    for mut object in objects(kind) {
        let written = serde_json::to_value(read::<T>(&object)).expect("JSON");
        let fields = object.as_object_mut().expect("an object");
        fields.retain(|field, _| field == "metadata" || field == "spec");
        if object["spec"]["deleted"] == "false" {
            object["spec"]["deleted"] = false.into();
        }
        // A selector has one form in which it is written.
        if let Some(selector) = object["spec"]["nodeSelector"].as_str() {
            object["spec"]["nodeSelector"] = read::<Selector>(&selector.into()).to_string().into();
        }
        assert_eq!(written, object);
    }
}

#[test]
fn what_is_read_is_written_back_whole() {
    survives::<v3::BgpConfiguration>("BGPConfiguration");
    survives::<v3::BgpFilter>("BGPFilter");
    survives::<v3::BgpPeer>("BGPPeer");
    survives::<v3::BlockAffinity>("BlockAffinity");
    survives::<v3::ClusterInformation>("ClusterInformation");
    survives::<v3::FelixConfiguration>("FelixConfiguration");
    survives::<v3::IpPool>("IPPool");
    survives::<v3::IpReservation>("IPReservation");
    survives::<v3::IpamBlock>("IPAMBlock");
    survives::<v3::IpamHandle>("IPAMHandle");
    survives::<v3::IpamConfiguration>("IPAMConfiguration");
}

#[test]
fn a_nodes_own_account_is_read_and_written_back_whole() {
    for mut object in objects("CalicoNodeStatus") {
        let written = serde_json::to_value(read::<v3::CalicoNodeStatus>(&object)).expect("JSON");
        object
            .as_object_mut()
            .expect("an object")
            .retain(|field, _| field != "apiVersion" && field != "kind");
        assert_eq!(written, object);
    }
}

#[test]
fn what_calico_stored_is_valid() {
    const KINDS: [&str; 10] = [
        "BGPConfiguration",
        "BGPFilter",
        "BGPPeer",
        "BlockAffinity",
        "CalicoNodeStatus",
        "FelixConfiguration",
        "IPAMBlock",
        "IPAMHandle",
        "IPPool",
        "IPReservation",
    ];
    for kind in KINDS {
        for object in objects(kind).iter().filter(|object| object["apiVersion"] == "projectcalico.org/v3") {
            assert_eq!(model::schema::unknown_fields(kind, object), Vec::<String>::new());
            model::schema::validate(kind, object.clone(), Some(object))
                .unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn a_node_is_shown_as_calico_shows_it() {
    let node = v3::Node::from(&read::<k8s::Node>(&named("Node", "node1")));
    let mut shown = serde_json::to_value(node).expect("JSON");
    let labels = json!({
        "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": "node1", "kubernetes.io/os": "linux", "rack": "r1",
    });
    let metadata = shown.as_object_mut().expect("an object").remove("metadata").expect("metadata");
    assert_eq!(metadata["labels"], labels);
    assert_eq!(metadata["annotations"], json!({"projectcalico.org/kube-labels": labels.to_string()}));
    assert_eq!(
        shown,
        json!({
            "spec": {
                "addresses": [
                    {"address": "10.0.2.11/24", "type": "CalicoNodeIP"},
                    {"address": "10.0.2.11", "type": "InternalIP"},
                ],
                "bgp": {"ipv4Address": "10.0.2.11/24"},
                "interfaces": [{"addresses": ["10.0.2.11"], "name": "eth0"}],
                "ipv4VXLANTunnelAddr": "6.2.166.128",
                "orchRefs": [{"nodeName": "node1", "orchestrator": "k8s"}],
            },
            "status": {"podCIDRs": ["6.2.1.0/24"]},
        })
    );
}

#[test]
fn a_pod_is_shown_as_calico_shows_it() {
    let pod: k8s::Pod = read(&named("Pod", "hw-pod"));
    let shown = serde_json::to_value(pod.endpoint().expect("an endpoint")).expect("JSON");
    assert_eq!(shown["metadata"]["name"], "node1-k8s-hw--pod-eth0");
    assert_eq!(
        shown["spec"],
        json!({
            "containerID": "bd265827fe0dd5f4a9e59233760e6204f6791b5e9ae64a3b2cbd668b2338d558",
            "endpoint": "eth0",
            "interfaceName": "cali80a25219aeb",
            "ipNetworks": ["6.2.166.156/32"],
            "node": "node1",
            "orchestrator": "k8s",
            "pod": "hw-pod",
            "ports": [
                {"hostIP": "", "hostPort": 18080, "name": "web", "port": 8080, "protocol": "TCP"},
                {"hostIP": "", "hostPort": 0, "name": "dns", "port": 5353, "protocol": "UDP"},
            ],
            "profiles": ["kns.default", "ksa.default.default"],
            "serviceAccountName": "default",
        })
    );
}

#[test]
fn a_job_that_is_done_keeps_its_endpoint_without_addresses() {
    let pod: k8s::Pod = read(&named("Pod", "done-9s9fv"));
    let endpoint = pod.endpoint().expect("an endpoint");
    assert_eq!(endpoint.spec.ip_networks, []);
    assert_eq!(endpoint.metadata.rest["generateName"], "done-");
}

#[test]
fn an_address_that_was_asked_for_is_read() {
    let pod: k8s::Pod = read(&named("Pod", "sts-0"));
    let asked = pod.requested_addresses(k8s::pod_annotation::IP_ADDRS).expect("addresses");
    assert_eq!(asked, ["6.2.77.5".parse::<std::net::IpAddr>().expect("an address")]);
    let pod: k8s::Pod = read(&named("Pod", "hw-pod"));
    assert_eq!(pod.requested_mac().expect("a MAC").expect("asked for").to_string(), "02:aa:bb:cc:dd:01");
}

#[test]
fn affinities_blocks_and_handles_are_named_as_calico_names_them() {
    for object in objects("BlockAffinity") {
        let affinity: v3::BlockAffinity = read(&object);
        let ours = v3::BlockAffinity::of_host(&affinity.spec.node, affinity.spec.cidr, affinity.spec.state);
        assert_eq!(affinity.metadata.name, ours.metadata.name);
        if affinity.spec.affinity_type.as_deref() == Some("host") {
            assert_eq!((affinity.metadata.labels, affinity.spec), (ours.metadata.labels, ours.spec));
        }
    }
    for object in objects("IPAMBlock") {
        let block: v3::IpamBlock = read(&object);
        assert_eq!(block.metadata.name, model::names::block(block.spec.cidr));
    }
    for object in objects("IPAMHandle") {
        let handle: v3::IpamHandle = read(&object);
        assert_eq!(handle.metadata.name, model::names::handle(&handle.spec.handle_id));
    }
}
