//! What people see, status and both streams: the commands that no recording covers, and every way in which they fail.

mod support;

use insta::assert_snapshot;
use serde_json::{Value, json};
use support::Cli;

const POOL: &str =
    "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.244.0.0/16}\n";

fn set(name: &str, net: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {{name: {name}}}\nspec: {{nets: [{net}]}}\n"
    )
}

#[tokio::test]
async fn node_status_says_whether_the_agent_runs() {
    let cli = Cli::of_kubeconfig("");
    let line = format!("node status --agent-socket {}", cli.path("agent.sock"));
    assert_snapshot!(cli.line(&line).await, @"
    exit: 1
    ----- stdout -----
    ----- stderr -----
    Calico process is not running.
    ");
    let answering = cli.agent(json!({"status": {"node": "master1", "ready": true}}));
    assert_eq!(
        cli.line(&line).await.stdout,
        "Calico process is running.\n\nNone of the BGP backend processes (BIRD or GoBGP) are running.\n\n"
    );
    answering.join().expect("answered");
}

#[tokio::test]
async fn node_run_says_what_to_run_instead() {
    let cli = Cli::of_kubeconfig("");
    for flags in ["", "--node-image=x --ip 10.0.0.1", "--backend bird --name n1"] {
        let got = cli.line(&format!("node run {flags}")).await;
        assert!(got.stderr.contains("run `tortie node` on the node"), "{got}");
        assert_eq!((got.status, got.stdout.as_str()), (1, ""), "{flags}");
    }
}

#[tokio::test]
async fn an_api_server_that_is_away_is_named_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let cli = Cli::of_kubeconfig(&format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: \"http://{port}\"}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
    ));
    let got = cli.line("get node").await;
    let wanted =
        format!("cannot reach the Kubernetes API at http://{port}: Connection refused (os error 111)\n");
    assert_eq!((got.status, got.stdout.as_str(), got.stderr), (1, "", wanted));
}

#[tokio::test]
async fn what_cannot_be_used_to_reach_the_api_is_named() {
    let cli = Cli::of_kubeconfig("nonsense: [");
    let got = cli.line("get node").await;
    assert!(
        got.stdout.starts_with("Failed to create Calico API client: cannot use kubeconfig kubeconfig: "),
        "{got}"
    );
    let run = async |line: &str| {
        let argv: Vec<_> = format!("calicoctl {line}").split(' ').map(Into::into).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let io = ctl::Io { stdin: &mut std::io::empty(), out: &mut out, err: &mut err, is_terminal: false };
        let status = ctl::execute(&argv, io).await;
        (status, String::from_utf8(out).expect("text"))
    };
    assert_eq!(
        run("get node -c /missing.cfg").await,
        (1, "Error reading config file: /missing.cfg\n".to_owned())
    );
    let file = cli.file("k.cfg", "apiVersion: projectcalico.org/v3\nkind: Other\n");
    let wanted = format!(
        "Failed to create Calico API client: syntax error in {file}: invalid config file: expected kind 'CalicoAPIConfig', got 'Other'\n"
    );
    assert_eq!(run(&format!("get node -c {file}")).await, (1, wanted));
}

#[tokio::test]
async fn words_that_mean_nothing_get_a_sentence_and_the_usage() {
    let cli = Cli::of_kubeconfig("");
    assert_snapshot!(cli.line("apply --bogus -f x").await, @r#"
    exit: 1
    ----- stdout -----
    ----- stderr -----
    unknown flag: "--bogus"
    Usage:
      calicoctl apply --filename=<FILENAME> [--recursive] [--skip-empty]
                      [--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch]
    "#);
    let got = cli.line("frobnicate").await;
    assert!(got.stderr.starts_with("unknown command: \"frobnicate\"\nUsage:\n  calicoctl"), "{got}");
    let got = cli.line("-l loud get node").await;
    assert_eq!(
        got.stdout,
        "Unknown log level: loud, expected one of: \npanic, fatal, error, warn, info, debug.\n"
    );
    assert_eq!(cli.line("get --help").await.status, 0);
}

#[tokio::test]
async fn good_documents_are_written_although_a_bad_one_stands_between() {
    let cli = Cli::empty().await;
    let file =
        cli.file("m.yaml", &[set("a", "10.0.0.0/8"), set("B", "10.0.0.0/8"), set("c", "")].join("---\n"));
    let got = cli.line(&format!("apply -f {file}")).await;
    assert_eq!(got.stdout, "Partial success: applied 2 out of 3 'GlobalNetworkSet' resources:\n");
    assert!(
        got.stderr.starts_with("hit error(s): [error with field Metadata.Name = 'B' (name must "),
        "{got}"
    );
    assert_snapshot!(cli.line("get globalnetworkset -o wide").await, @"
    exit: 0
    ----- stdout -----
    NAME   NETS         
    a      10.0.0.0/8   
    c                   

    ----- stderr -----
    ");
    let none = cli.file("e.yaml", "# nothing\n");
    let got = cli.line(&format!("apply -f {none}")).await;
    assert_eq!((got.status, got.stderr.as_str()), (1, "no resources specified in file e.yaml\n"));
    assert_eq!(cli.line(&format!("apply --skip-empty -f {none}")).await.stdout, "No resources specified\n");
}

#[tokio::test]
async fn a_folder_is_read_by_name_and_to_its_depth_if_asked() {
    let cli = Cli::empty().await;
    std::fs::create_dir_all(cli.path("d/inner")).expect("a folder");
    cli.file("d/b.yaml", &set("b", ""));
    cli.file("d/a.json", r#"{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkSet","metadata":{"name":"a"},"spec":{}}"#);
    cli.file("d/ignored.txt", "not yaml: [");
    cli.file("d/inner/c.yml", &set("c", ""));
    let folder = cli.path("d");
    let count = async |flags: &str| cli.line(&format!("apply -f {folder}{flags}")).await.stdout;
    assert_eq!(count("").await, "Successfully applied 2 'GlobalNetworkSet' resource(s)\n");
    assert_eq!(count(" -R").await, "Successfully applied 3 'GlobalNetworkSet' resource(s)\n");
    let got = cli.run_with(&["delete".into(), "-f".into(), "-".into()], &set("c", "")).await;
    assert_eq!(got.stdout, "Successfully deleted 1 'GlobalNetworkSet' resource(s)\n");
}

#[tokio::test]
async fn a_namespace_is_the_documents_or_the_flags_and_never_both() {
    let cli = Cli::empty().await;
    cli.create("Namespace", json!({"metadata": {"name": "ns1"}})).await;
    let policy = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: p, namespace: ns1}\nspec: {selector: all()}\n";
    let (file, pool) = (cli.file("np.yaml", policy), cli.file("pool.yaml", POOL));
    let said = async |line: String| cli.line(&line).await.stderr;
    assert_eq!(
        said(format!("create -n ns2 -f {file}")).await,
        "failed to create 'NetworkPolicy' resource: [resource namespace does not match client namespace. ns1 != ns2]\n"
    );
    assert_eq!(
        said(format!("create -n ns2 -f {pool}")).await,
        "failed to create 'IPPool' resource: [IPPool is not namespaced]\n"
    );
    assert_eq!(said(format!("create -f {file}")).await, "");
    assert_eq!(cli.line("get np").await.stdout, "NAME   TIER   \n\n");
    assert_eq!(
        cli.line("get np -A").await.stdout,
        "NAMESPACE   NAME   TIER      \nns1         p      default   \n\n"
    );
    assert_eq!(
        said("get np -A -n ns1".to_owned()).await,
        "cannot use both --namespace and --all-namespaces flags at the same time\n"
    );
}

#[tokio::test]
async fn chosen_columns_and_exports_leave_the_rest_out() {
    let cli = Cli::empty().await;
    cli.line(&format!("apply -f {}", cli.file("pool.yaml", POOL))).await;
    assert_eq!(
        cli.line("get ippool -o custom-columns=CIDR,NAME").await.stdout,
        "CIDR            NAME   \n10.244.0.0/16   p      \n\n"
    );
    let got = cli.line("get ippool -o custom-columns=NAME,BOGUS").await;
    assert_eq!(
        got.stderr,
        "unknown heading BOGUS, valid values are: NAME, CIDR, NAT, IPIPMODE, VXLANMODE, DISABLED, DISABLEBGPEXPORT, SELECTOR, ASSIGNMENTMODE\n"
    );
    assert_snapshot!(cli.line("get ippool p -o yaml --export").await, @"
    exit: 0
    ----- stdout -----
    apiVersion: projectcalico.org/v3
    kind: IPPool
    metadata:
      name: p
    spec:
      allowedUses:
      - Workload
      - Tunnel
      assignmentMode: Automatic
      blockSize: 26
      cidr: 10.244.0.0/16
      ipipMode: Never
      nodeSelector: all()
      vxlanMode: Never
    ----- stderr -----
    ");
}

#[tokio::test]
async fn a_node_is_changed_in_its_annotations_and_neither_made_nor_deleted() {
    let cli = Cli::empty().await;
    let annotations = json!({
        "projectcalico.org/IPv4Address": "10.0.2.15/24",
        "projectcalico.org/IPv4VXLANTunnelAddr": "10.244.0.1",
    });
    cli.create("Node", json!({"metadata": {"name": "n1", "annotations": annotations}})).await;
    let said = cli.line(r#"patch node n1 -p '{"spec":{"bgp":{"asNumber":64520}}}'"#).await;
    assert_eq!(said.stdout, "Successfully patched 1 'Node' resource\n", "{said}");
    let node = "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: NAME}\nspec: {bgp: {ipv4Address: 10.0.2.16/24}}\n";
    let known = cli.file("n1.yaml", &node.replace("NAME", "n1"));
    let new = cli.file("n2.yaml", &node.replace("NAME", "n2"));
    assert_eq!(
        cli.line(&format!("apply -f {known}")).await.stdout,
        "Successfully applied 1 'Node' resource(s)\n"
    );
    let shown = cli.line("get node n1 -o yaml").await.stdout;
    assert!(shown.contains("ipv4Address: 10.0.2.16/24"), "{shown}");
    assert!(shown.contains("ipv4VXLANTunnelAddr: 10.244.0.1"), "what the agent wrote is kept: {shown}");
    assert_snapshot!(cli.line(&format!("create -f {new}")).await, @"
    exit: 1
    ----- stdout -----
    ----- stderr -----
    failed to create 'Node' resource: [operation Create is not supported on Node(n2): nodes are made in Kubernetes]
    ");
    assert_snapshot!(cli.line("delete node n1").await, @"
    exit: 1
    ----- stdout -----
    ----- stderr -----
    Failed to delete 'Node' resource: operation Delete is not supported on Node(n1): delete the Kubernetes Node
    ");
}

#[tokio::test]
async fn an_endpoint_is_shown_and_not_written() {
    let cli = Cli::empty().await;
    cli.create("Node", json!({"metadata": {"name": "n1"}})).await;
    let pod = json!({
        "metadata": {"name": "web-1", "namespace": "default", "annotations": {"cni.projectcalico.org/podIP": "10.244.0.5/32"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "c"}]},
    });
    cli.create("Pod", pod).await;
    assert_snapshot!(cli.line("get wep").await, @"
    exit: 0
    ----- stdout -----
    WORKLOAD   NODE   NETWORKS        INTERFACE         
    web-1      n1     10.244.0.5/32   cali0761ccbeace   

    ----- stderr -----
    ");
    let said = async |line: &str| cli.line(line).await.stderr;
    assert_eq!(
        said("delete wep n1-k8s-web--1-eth0").await,
        "Failed to delete 'WorkloadEndpoint' resource: operation Delete is not supported on WorkloadEndpoint(default/n1-k8s-web--1-eth0): a workload endpoint goes with its Pod\n\n"
    );
    assert_eq!(
        said("get wep nonsense").await,
        "resource does not exist: WorkloadEndpoint(default/nonsense) with error: malformed WorkloadEndpoint name - unable to determine Pod name\n"
    );
}

#[tokio::test]
async fn an_address_is_released_from_its_block_and_its_handle() {
    let cli = Cli::empty().await;
    let attribute =
        json!({"handle_id": "h", "secondary": {"node": "n1", "pod": "a", "namespace": "default"}});
    let block = json!({
        "metadata": {"name": "10-244-0-0-30"},
        "spec": {"cidr": "10.244.0.0/30", "affinity": "host:n1", "strictAffinity": false, "allocations": [null, 0, 0, null],
                 "unallocated": [0, 3], "attributes": [attribute]},
    });
    cli.create("IPAMBlock", block).await;
    let handle = json!({"metadata": {"name": "h"}, "spec": {"handleID": "h", "block": {"10.244.0.0/30": 2}}});
    cli.create("IPAMHandle", handle).await;
    assert_snapshot!(cli.line("ipam show --ip 10.244.0.1").await, @"
    exit: 0
    ----- stdout -----
    IP 10.244.0.1 is in use
    Handle ID: h
    Active Owner Attributes:
      namespace: default
      node: n1
      pod: a
    ----- stderr -----
    ");
    let got = cli.line("ipam check --show-problem-ips").await.stdout;
    assert!(
        got.contains("  10.244.0.1 leaked; attrs Main:h Extra:namespace=default,node=n1,pod=a\n"),
        "{got}"
    );
    assert!(got.contains("  block 10.244.0.0/30 is in no IP pool\n"), "{got}");
    assert!(got.ends_with("Check complete; found 4 problems.\n"), "{got}");
    for addr in ["10.244.0.1", "10.244.0.2"] {
        let got = cli.line(&format!("ipam release --ip={addr}")).await;
        assert_eq!(got.stdout, format!("Successfully released IP address {addr}\n"), "{got}");
    }
    let got = cli.line("ipam release --ip=10.244.0.1").await;
    assert_eq!((got.status, got.stdout.as_str()), (0, "IP address 10.244.0.1 is not assigned\n"));
    let got = cli.line("ipam check").await.stdout;
    assert!(got.contains("Found 0 handles with no matching IPs (and 0 handles with matches)."), "{got}");
}

#[tokio::test]
async fn strict_affinity_is_configured_before_a_limit_of_blocks() {
    let cli = Cli::empty().await;
    let got = cli.line("ipam configure --max-blocks-per-host=4").await;
    assert_eq!(
        (got.status, got.stderr.as_str()),
        (1, "error: MaxBlocksPerHost requires StrictAffinity to be enabled\n")
    );
    let got = cli.line("ipam configure --strictaffinity=maybe").await;
    assert_eq!(got.stderr, "invalid value. Use true or false to set strictaffinity\n");
    let got = cli.line("ipam configure --strictaffinity=true").await;
    assert_eq!(got.stdout, "Successfully set StrictAffinity to: true\n", "{got}");
    let got = cli.line("ipam configure --max-blocks-per-host=4").await;
    assert_eq!(got.stdout, "Successfully set MaxBlocksPerHost to: 4\n", "{got}");
    assert!(
        cli.line("ipam show --show-configuration")
            .await
            .stdout
            .contains("| StrictAffinity               | true      |")
    );
}

#[tokio::test]
async fn another_version_of_the_cluster_stops_every_command_but_version() {
    let cli = Cli::empty().await;
    let info = json!({"metadata": {"name": "default"}, "spec": {"calicoVersion": "v3.20.0-x", "clusterType": "k8s"}});
    cli.create("ClusterInformation", info).await;
    let got = cli.line("get ippool").await;
    assert!(got.stderr.starts_with("version mismatch.\nClient Version:   v3.32.1-tortie-"), "{got}");
    assert!(
        got.stderr.ends_with("Cluster Version:  3.20.0\nUse --allow-version-mismatch to override\n"),
        "{got}"
    );
    assert_eq!(cli.line("get ippool --allow-version-mismatch").await.status, 0);
    assert!(
        cli.line("version").await.stdout.ends_with("Cluster Version:   v3.20.0-x\nCluster Type:      k8s\n")
    );
}

#[tokio::test]
async fn status_shows_nodes_pools_and_what_the_agent_says() {
    let cli = Cli::empty().await;
    let conditions = json!([{"type": "NetworkUnavailable", "status": "False", "reason": "CalicoIsUp"}]);
    for (name, conditions) in [("n1", conditions), ("n2", json!([]))] {
        let annotations = json!({"projectcalico.org/IPv4Address": "10.0.2.15/24"});
        let node = json!({"metadata": {"name": name, "annotations": annotations}, "status": {"conditions": conditions}});
        cli.create("Node", node).await;
    }
    let pool = POOL.replace("cidr: 10.244.0.0/16", "cidr: 10.244.0.0/16, vxlanMode: Always");
    cli.line(&format!("apply -f {}", cli.file("pool.yaml", &pool))).await;
    let answering = cli.agent(json!({"status": {
        "node": "n1", "ready": true, "endpoints": 2, "mtu": 1450, "ipip": "stand-in", "accepts": ["vxlan"],
        "paths": [{"block": "10.244.1.0/26", "node": "n2", "path": "vxlan via 10.244.1.0"}],
        "problems": ["route 10.244.1.0/26: Network is unreachable"],
        "repairs": [{"object": "route 10.244.1.0/26", "count": 2, "tookMicros": 900}],
    }}));
    assert_snapshot!(cli.line(&format!("status --agent-socket {}", cli.path("agent.sock"))).await, @"
    exit: 0
    ----- stdout -----
    NODE   ADDRESS        TUNNEL   NETWORK   BLOCKS   PODS   
    n1     10.0.2.15/24   -        ok        0        0      
    n2     10.0.2.15/24   -        unknown   0        0      

    POOL   CIDR            MODE           NATOUTGOING   DISABLED   
    p      10.244.0.0/16   VXLAN Always   false         false      

    Agent of n1: ready, 2 endpoints, MTU 1450
      IPIP by the stand-in for the kernel's module
      tunnels that are let in: vxlan
      10.244.1.0/26 on n2: vxlan via 10.244.1.0
      problem: route 10.244.1.0/26: Network is unreachable
      repaired 2 times: route 10.244.1.0/26, last in 900 µs
    ----- stderr -----
    ");
    answering.join().expect("answered");
    let got = cli.line(&format!("status -o json --agent-socket {}", cli.path("none.sock"))).await.stdout;
    let status: Value = serde_json::from_str(&got).expect("JSON");
    assert_eq!((status["nodes"][0]["network"].as_str(), status["agent"].is_null()), (Some("ok"), true));
}

#[tokio::test]
async fn a_cluster_that_nobody_has_described_is_locked_and_unlocked() {
    let cli = Cli::empty().await;
    for (verb, ready) in [("lock", false), ("unlock", true)] {
        let got = cli.line(&format!("datastore migrate {verb}")).await;
        assert_eq!((got.status, got.stdout), (0, format!("Datastore {verb}ed.\n")), "{}", got.stderr);
        let cluster = cli.line("get clusterinformation default -o json").await;
        let cluster: serde_json::Value = serde_json::from_str(&cluster.stdout).expect("JSON");
        assert_eq!(cluster["spec"]["datastoreReady"], ready, "{cluster}");
        assert_eq!(cluster["spec"]["clusterGUID"].as_str().map(str::len), Some(32), "{cluster}");
    }
}
