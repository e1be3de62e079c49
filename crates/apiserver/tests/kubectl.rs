//! `kubectl`, the independent client: what people type, and what they see.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use client::{Cluster, MERGE, STRATEGIC};
use serde_json::json;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

/// `kubectl` with the admin's kubeconfig, and nothing of the machine's.
struct Kubectl {
    cluster: Cluster,
}

impl Kubectl {
    async fn start() -> Kubectl {
        let cluster = Cluster::start().await;
        let text = cluster.server.as_ref().unwrap().admin_kubeconfig();
        std::fs::write(cluster.dir.path().join("kubeconfig"), text).unwrap();
        Kubectl { cluster }
    }

    fn command(&self, line: &str) -> Command {
        let dir = self.cluster.dir.path();
        let mut command = Command::new("kubectl");
        command.args(line.split_whitespace()).env_clear().env("PATH", std::env::var("PATH").unwrap());
        command.env("HOME", dir).env("KUBECONFIG", dir.join("kubeconfig")).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Exit status, standard output and standard error, as one text.
    async fn run(&self, line: &str, input: &str) -> String {
        let mut child = self.command(line).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output =
            tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!(
            "{}{}{}",
            text(&output.stdout),
            text(&output.stderr),
            match output.status.code() {
                Some(0) => String::new(),
                code => format!("exit: {}\n", code.unwrap_or(-1)),
            }
        )
    }
}

/// Runs of blanks as one, ages as AGE: widths and seconds differ from run to run.
fn words(table: &str) -> Vec<String> {
    let line = |line: &str| {
        let words = line.split_whitespace().map(|word| {
            let number = word.strip_suffix('s').is_some_and(|digits| digits.parse::<u32>().is_ok());
            if number { "0s" } else { word }
        });
        words.collect::<Vec<_>>().join(" ")
    };
    table.lines().filter(|text| !text.is_empty()).map(line).collect()
}

const MANIFEST: &str = r#"
apiVersion: v1
kind: Node
metadata: {name: master1, labels: {node-role.kubernetes.io/master: ""}}
---
apiVersion: v1
kind: Pod
metadata: {name: ping-test-a}
spec: {nodeName: master1, containers: [{name: c, image: busybox}]}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: default-ipv4-ippool}
spec: {cidr: 6.2.0.0/16, vxlanMode: Always, natOutgoing: true}
"#;

#[tokio::test]
async fn apply_creates_then_changes_then_leaves_alone() {
    let kubectl = Kubectl::start().await;
    assert_eq!(
        kubectl.run("apply -f -", MANIFEST).await,
        "node/master1 created\npod/ping-test-a created\nippool.projectcalico.org/default-ipv4-ippool created\n"
    );
    assert_eq!(
        kubectl.run("apply -f -", MANIFEST).await,
        "node/master1 unchanged\npod/ping-test-a unchanged\nippool.projectcalico.org/default-ipv4-ippool unchanged\n"
    );
    let changed = MANIFEST.replace("busybox", "busybox:2").replace("Always", "CrossSubnet");
    assert_eq!(
        kubectl.run("apply -f -", &changed).await,
        "node/master1 unchanged\npod/ping-test-a configured\nippool.projectcalico.org/default-ipv4-ippool configured\n"
    );
    assert_eq!(
        kubectl.run("get ippool default-ipv4-ippool -o jsonpath={.spec.vxlanMode}", "").await,
        "CrossSubnet"
    );
    assert_eq!(
        kubectl.run("get pod ping-test-a -o jsonpath={.spec.containers[*].image}", "").await,
        "busybox:2"
    );
    assert_eq!(kubectl.run("diff -f -", &changed).await, "");
}

#[tokio::test]
async fn a_list_of_objects_is_created_as_if_each_stood_alone() {
    let kubectl = Kubectl::start().await;
    let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n\
                - {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p}, spec: {cidr: 10.0.0.0/16}}\n";
    let made = kubectl.run("create -f -", list).await;
    assert_eq!(made, "configmap/a created\nippool.projectcalico.org/p created\n");
}

#[tokio::test]
async fn nodes_and_pods_have_the_articles_columns() {
    let kubectl = Kubectl::start().await;
    kubectl.run("apply -f -", MANIFEST).await;
    let api = &kubectl.cluster.admin;
    let node = json!({"status": {"addresses": [{"type": "InternalIP", "address": "192.168.50.161"}],
        "conditions": [{"type": "Ready", "status": "True"}],
        "nodeInfo": {"kubeletVersion": "v1.32.0", "osImage": "Linux", "kernelVersion": "6.1", "containerRuntimeVersion": "lab://1"}}});
    api.patch("/api/v1/nodes/master1/status", STRATEGIC, &node).await.ok();
    let pod = json!({"status": {"phase": "Running", "podIP": "6.2.137.66", "podIPs": [{"ip": "6.2.137.66"}],
        "containerStatuses": [{"name": "c", "ready": true, "restartCount": 0, "state": {"running": {}}}]}});
    api.patch("/api/v1/namespaces/default/pods/ping-test-a/status", STRATEGIC, &pod).await.ok();
    assert_eq!(
        words(&kubectl.run("get node -owide", "").await),
        [
            "NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME",
            "master1 Ready master 0s v1.32.0 192.168.50.161 <none> Linux 6.1 lab://1",
        ]
    );
    assert_eq!(
        words(&kubectl.run("get po -owide", "").await),
        [
            "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES",
            "ping-test-a 1/1 Running 0 0s 6.2.137.66 master1 <none> <none>",
        ]
    );
    assert_eq!(
        words(&kubectl.run("get ippool", "").await),
        ["NAME CIDR VXLAN IPIP NAT ALLOCATABLE AGE", "default-ipv4-ippool 6.2.0.0/16 Always Never true 0s",]
    );
}

#[tokio::test]
async fn a_watch_prints_each_change_as_a_row() {
    let kubectl = Kubectl::start().await;
    kubectl.run("apply -f -", MANIFEST).await;
    let mut child = kubectl.command("get pods --watch --output-watch-events").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line =
            tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await.unwrap().unwrap().unwrap();
        words(&line).remove(0)
    };
    assert_eq!(next().await, "EVENT NAME READY STATUS RESTARTS AGE");
    assert_eq!(next().await, "ADDED ping-test-a 0/1 Pending 0 0s");
    let api = &kubectl.cluster.admin;
    let running = json!({"status": {"phase": "Running"}});
    let own = "/api/v1/namespaces/default/pods/ping-test-a";
    api.patch(&format!("{own}/status"), MERGE, &running).await.ok();
    assert_eq!(next().await, "MODIFIED ping-test-a 0/1 Running 0 0s");
    api.delete(own, &json!({"gracePeriodSeconds": 0})).await.ok();
    assert_eq!(next().await, "DELETED ping-test-a 0/1 Running 0 0s");
    child.kill().await.unwrap();
}

#[tokio::test]
async fn create_edit_label_and_delete_work_as_typed() {
    let kubectl = Kubectl::start().await;
    kubectl.run("apply -f -", MANIFEST).await;
    for (line, expected) in [
        ("create namespace web", "namespace/web created\n"),
        ("create configmap c --from-literal=a=b", "configmap/c created\n"),
        ("get configmap c -o jsonpath={.data.a}", "b"),
        ("create secret generic s --from-literal=a=b -n web", "secret/s created\n"),
        ("get secret s -n web -o jsonpath={.data.a}", "Yg=="),
        ("create serviceaccount robot", "serviceaccount/robot created\n"),
        ("create service clusterip svc --tcp=80:8080", "service/svc created\n"),
        ("get service svc -o jsonpath={.spec.ports[0].targetPort}", "8080"),
        ("run lone --image=busybox", "pod/lone created\n"),
        ("label node master1 rack=r1", "node/master1 labeled\n"),
        ("get nodes -l rack=r1 -o name", "node/master1\n"),
        ("annotate pod ping-test-a x=y", "pod/ping-test-a annotated\n"),
        ("cordon master1", "node/master1 cordoned\n"),
        (
            "patch ippool default-ipv4-ippool --type=merge -p {\"spec\":{\"vxlanMode\":\"Never\"}}",
            "ippool.projectcalico.org/default-ipv4-ippool patched\n",
        ),
        ("delete pod lone", "pod \"lone\" deleted\n"),
        ("delete namespace web", "namespace \"web\" deleted\n"),
        ("delete ippool --all", "ippool.projectcalico.org \"default-ipv4-ippool\" deleted\n"),
        ("get ippool", "No resources found\n"),
    ] {
        assert_eq!(kubectl.run(line, "").await, expected, "kubectl {line}");
    }
}

#[tokio::test]
async fn mistakes_are_named_in_the_real_servers_words() {
    let kubectl = Kubectl::start().await;
    kubectl.run("apply -f -", MANIFEST).await;
    let pool = |name: &str, spec: &str| {
        format!(
            "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
        )
    };
    for (line, input, expected) in [
        (
            "get pod nosuch",
            String::new(),
            "Error from server (NotFound): pods \"nosuch\" not found\nexit: 1\n",
        ),
        (
            "create -f -",
            pool("default-ipv4-ippool", "cidr: 7.0.0.0/16"),
            "Error from server (AlreadyExists): error when creating \"STDIN\": ippools.projectcalico.org \"default-ipv4-ippool\" already exists\nexit: 1\n",
        ),
        (
            "apply -f -",
            pool("p", "cidr: 7.0.0.0/16, typo: 1"),
            "Error from server (BadRequest): error when creating \"STDIN\": IPPool in version \"v3\" cannot be handled as a IPPool: strict decoding error: unknown field \"spec.typo\"\nexit: 1\n",
        ),
        (
            "create -f -",
            pool("p", "cidr: 6.2.0.0/17"),
            "The IPPool \"p\" is invalid: IPPool.Spec.CIDR: Invalid value: \"6.2.0.0/17\": IPPool(p) CIDR overlaps with IPPool(default-ipv4-ippool) CIDR 6.2.0.0/16\nexit: 1\n",
        ),
    ] {
        assert_eq!(kubectl.run(line, &input).await, expected, "kubectl {line}");
    }
    let exec = kubectl.run("exec ping-test-a -- ping -c1 6.2.137.67", "").await;
    assert!(exec.contains("this API server was started without --kubelets"), "{exec}");
    let both =
        kubectl.run("create -f -", &pool("p", "cidr: 7.0.0.0/16, ipipMode: Always, vxlanMode: Always")).await;
    assert!(both.starts_with("The IPPool \"p\" is invalid: ") && both.ends_with("exit: 1\n"), "{both}");
}

#[tokio::test]
async fn server_side_apply_tells_conflicts_and_takes_over_when_forced() {
    let kubectl = Kubectl::start().await;
    let map =
        |data: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata: {{{data}}}\n");
    for (line, input, expected) in [
        ("apply --server-side -f -", map("a: '1', b: '1'"), "configmap/c serverside-applied\n"),
        ("apply --server-side -f - --field-manager=other", map("c: '1'"), "configmap/c serverside-applied\n"),
        ("apply --server-side -f -", map("a: '2'"), "configmap/c serverside-applied\n"),
        ("get configmap c -o jsonpath={.data}", String::new(), r#"{"a":"2","c":"1"}"#),
        (
            "patch configmap c --type=merge -p {\"data\":{\"a\":\"3\"}}",
            String::new(),
            "configmap/c patched\n",
        ),
    ] {
        assert_eq!(kubectl.run(line, &input).await, expected, "kubectl {line}");
    }
    let conflict = kubectl.run("apply --server-side -f -", &map("a: '4'")).await;
    let expected = "error: Apply failed with 1 conflict: conflict with \"kubectl-patch\" using v1: .data.a\n";
    assert!(conflict.starts_with(expected), "{conflict}");
    assert!(conflict.contains("Please review the fields above"), "{conflict}");
    let forced = kubectl.run("apply --server-side --force-conflicts -f -", &map("a: '4'")).await;
    assert_eq!(forced, "configmap/c serverside-applied\n");
    let shown = kubectl.run("get configmap c -o yaml --show-managed-fields", "").await;
    assert!(shown.contains("manager: other") && shown.contains("operation: Apply"), "{shown}");
    let moved = kubectl.run("apply -f -", MANIFEST).await;
    assert!(moved.contains("ippool.projectcalico.org/default-ipv4-ippool created"), "{moved}");
    let moved = kubectl.run("apply --server-side -f -", MANIFEST).await;
    assert_eq!(
        moved,
        "node/master1 serverside-applied\npod/ping-test-a serverside-applied\nippool.projectcalico.org/default-ipv4-ippool serverside-applied\n",
        "what kubectl applied by itself it may apply by the server"
    );
}

#[tokio::test]
async fn describe_edit_wait_and_explain_work_as_typed() {
    let kubectl = Kubectl::start().await;
    kubectl.run("apply -f -", MANIFEST).await;
    for (line, parts) in [
        (
            "describe node master1",
            &["Name:               master1", "Roles:              master", "ping-test-a"][..],
        ),
        (
            "describe pod ping-test-a",
            &["Node:             master1", "Image:        busybox", "Status:           Pending"],
        ),
        (
            "describe ippool default-ipv4-ippool",
            &["API Version:  projectcalico.org/v3", "Vxlan Mode:       Always"],
        ),
        ("explain ippool.spec.vxlanMode", &["FIELD: vxlanMode <string>"]),
        ("explain pod.spec.containers", &["image\t<string>"]),
        ("api-resources", &["networking.k8s.io/v1", "discovery.k8s.io/v1", "crd.projectcalico.org/v1"]),
        ("scale deployment x --replicas=1", &["the server doesn't have a resource type \"deployment\""]),
        ("logs ping-test-a", &["this API server was started without --kubelets"]),
    ] {
        let said = kubectl.run(line, "").await;
        for part in parts {
            assert!(said.contains(part), "kubectl {line}: {part:?} is not in\n{said}");
        }
    }
    let mut edit = kubectl.command("edit ippool default-ipv4-ippool");
    let edited = edit.env("KUBE_EDITOR", "sed -i s/Always/CrossSubnet/").output().await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&edited.stdout),
        "ippool.projectcalico.org/default-ipv4-ippool edited\n",
        "{}",
        String::from_utf8_lossy(&edited.stderr)
    );
    let mut wait =
        kubectl.command("wait --for=condition=Ready pod/ping-test-a --timeout=20s").spawn().unwrap();
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    kubectl
        .cluster
        .admin
        .patch("/api/v1/namespaces/default/pods/ping-test-a/status", STRATEGIC, &ready)
        .await
        .ok();
    assert!(wait.wait().await.unwrap().success());
    let mut gone =
        kubectl.command("wait --for=delete ippool/default-ipv4-ippool --timeout=20s").spawn().unwrap();
    kubectl.run("delete ippool default-ipv4-ippool", "").await;
    assert!(gone.wait().await.unwrap().success());
}

#[tokio::test]
async fn calicos_older_group_is_another_view_of_the_same_objects() {
    let kubectl = Kubectl::start().await;
    kubectl.run("apply -f -", MANIFEST).await;
    let old = "ippools.crd.projectcalico.org";
    for (line, expected) in [
        ("get ippools.crd.projectcalico.org -o name", "ippool.crd.projectcalico.org/default-ipv4-ippool\n"),
        ("get ippools.crd.projectcalico.org -o jsonpath={.items[0].apiVersion}", "crd.projectcalico.org/v1"),
        (
            "label ippools.crd.projectcalico.org default-ipv4-ippool a=b",
            "ippool.crd.projectcalico.org/default-ipv4-ippool labeled\n",
        ),
        ("get ippools.projectcalico.org -l a=b -o name", "ippool.projectcalico.org/default-ipv4-ippool\n"),
        (
            "patch ippools.crd.projectcalico.org default-ipv4-ippool --type=merge -p {\"spec\":{\"vxlanMode\":\"Never\"}}",
            "ippool.crd.projectcalico.org/default-ipv4-ippool patched\n",
        ),
        ("get ippools.projectcalico.org default-ipv4-ippool -o jsonpath={.spec.vxlanMode}", "Never"),
        (
            "get ippools.crd.projectcalico.org nosuch",
            "Error from server (NotFound): ippools.crd.projectcalico.org \"nosuch\" not found\nexit: 1\n",
        ),
    ] {
        assert_eq!(kubectl.run(line, "").await, expected, "kubectl {line}");
    }
    let manifest = "apiVersion: crd.projectcalico.org/v1\nkind: GlobalNetworkSet\nmetadata: {name: s, labels: {role: blocked}}\nspec: {nets: [10.0.0.0/8]}\n";
    let made = "globalnetworkset.crd.projectcalico.org/s";
    assert_eq!(kubectl.run("apply -f -", manifest).await, format!("{made} created\n"));
    assert_eq!(kubectl.run("apply -f -", manifest).await, format!("{made} unchanged\n"));
    assert_eq!(
        kubectl.run("apply --server-side --force-conflicts -f -", &manifest.replace("10.0", "11.0")).await,
        format!("{made} serverside-applied\n")
    );
    assert_eq!(kubectl.run("get globalnetworkset s -o jsonpath={.spec.nets[0]}", "").await, "11.0.0.0/8");
    let mut child = kubectl.command(&format!("get {old} --watch -o name")).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await.unwrap().unwrap();
    assert_eq!(first.unwrap(), "ippool.crd.projectcalico.org/default-ipv4-ippool");
    child.kill().await.unwrap();
    assert_eq!(
        kubectl.run(&format!("delete {old} --all"), "").await,
        "ippool.crd.projectcalico.org \"default-ipv4-ippool\" deleted\n"
    );
    assert_eq!(kubectl.run("get ippools.projectcalico.org", "").await, "No resources found\n");
}
