//! The change of a pool's mode as people make it: asked first, refused where it cannot be, watched, taken back.
//! Three nodes on a subnet, and one behind a router that speaks no BGP. And the question to a far agent, on which it rests.

use lab_tests::{Lab, cases, suite, within};
use std::process::{ExitCode, Output};
use std::time::Duration;
use testkit::sampler::{Place, Sampler};

const POOL: &str = "default-ipv4-ippool";

fn main() -> ExitCode {
    suite::run(
        &["--mode", "ipip", "--router"],
        cases![
            a_plan_says_each_nodes_paths_and_mtu_and_changes_nothing,
            a_plan_that_cannot_be_says_what_is_in_the_way,
            a_change_is_shown_until_every_node_has_followed,
            an_interrupted_command_leaves_the_change_going_on,
            a_change_is_taken_back,
            another_nodes_agent_answers_through_the_api,
            node_status_needs_no_root,
            an_agent_that_is_away_is_said_to_be,
            a_plan_says_which_agent_is_not_heard,
            a_process_that_uses_the_tunnels_address_keeps_the_tunnel_until_it_ends,
            checksystem_and_diags_work_on_a_node,
        ],
    )
}

fn mode(lab: &Lab, words: &str) -> Output {
    lab.try_exec("master1", &format!("calicoctl mode {words}"))
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn modes(lab: &Lab) -> String {
    let pool = lab.json(&format!("kubectl get ippools.projectcalico.org {POOL} -o json"));
    let mode = |field: &str| pool["spec"][field].as_str().unwrap_or("Never").to_owned();
    format!("{} {}", mode("ipipMode"), mode("vxlanMode"))
}

fn a_plan_says_each_nodes_paths_and_mtu_and_changes_nothing(lab: &Lab) {
    // What a node can do is in its Node a moment after it is ready.
    let plan = || mode(lab, &format!("plan {POOL} --to vxlan-cross-subnet"));
    within(Duration::from_secs(10), "every node says what it can do", || plan().status.success());
    let (shown, _) = texts(&plan());
    let lines: Vec<String> =
        shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "IPPool default-ipv4-ippool: IPIP Always -> VXLAN CrossSubnet",
        "NODE TO NOW THEN MTU OF PODS",
        "master1 master2,master3 ipip direct 1480 -> 1450",
        "master4 ipip vxlan",
        "master4 master1,master2,master3 ipip vxlan 1480 -> 1450",
    ] {
        assert!(lines.iter().any(|shown| shown == line), "`{line}` is not in\n{shown}");
    }
    let json = lab.json(&format!("calicoctl mode plan {POOL} --ipip CrossSubnet -o json"));
    let nodes = json["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let master1 = nodes.iter().find(|node| node["node"] == "master1").expect("master1");
    assert_eq!(master1["paths"][0]["then"], "direct via 192.168.50.162", "{json:#}");
    assert_eq!(modes(lab), "Always Never");
}

fn a_plan_that_cannot_be_says_what_is_in_the_way(lab: &Lab) {
    for verb in ["plan", "apply"] {
        for (to, reason) in [
            (
                "--to direct",
                "master4 (192.168.60.164) is in another subnet and the pool wants no encapsulation",
            ),
            ("--vxlan Always", "Cannot enable both VXLAN and IPIP on the same IPPool"),
        ] {
            let output = mode(lab, &format!("{verb} {POOL} {to}"));
            let (shown, complaint) = texts(&output);
            assert_eq!(output.status.code(), Some(1), "{shown}{complaint}");
            assert!(shown.contains(reason), "{verb} {to}: {shown}");
            assert!(complaint.contains("in the way of changing IPPool default-ipv4-ippool"), "{complaint}");
        }
    }
    assert_eq!(modes(lab), "Always Never");
}

fn a_change_is_shown_until_every_node_has_followed(lab: &Lab) {
    let output = mode(lab, &format!("apply {POOL} --to vxlan"));
    let (shown, complaint) = texts(&output);
    assert!(output.status.success(), "{shown}{complaint}");
    for node in lab.nodes() {
        let last = shown.lines().rfind(|line| line.starts_with(&node)).expect("a line for each node");
        assert!(last.ends_with("retired"), "{shown}");
        assert_eq!(lab.tunnels(&node), ["vxlan.calico"], "{node}");
    }
    assert!(shown.ends_with("Every node has changed to VXLAN Always.\n"), "{shown}");
}

fn an_interrupted_command_leaves_the_change_going_on(lab: &Lab) {
    // An agent that is halted cannot follow, so that the command has something to wait for. Nor does it say that it lives, for
    // which the command gives it three seconds.
    let line = format!("timeout --signal INT 8 calicoctl mode apply {POOL} --to ipip-cross-subnet");
    let halted = lab.halt("node-master2");
    let output = lab.try_exec("master1", &line);
    drop(halted);
    let (shown, complaint) = texts(&output);
    assert!(complaint.contains("The change goes on without this command"), "{shown}{complaint}");
    assert_eq!(modes(lab), "CrossSubnet Never");
}

fn a_change_is_taken_back(lab: &Lab) {
    let output = mode(lab, &format!("apply {POOL} --abort"));
    let (shown, complaint) = texts(&output);
    assert!(output.status.success(), "{shown}{complaint}");
    assert!(shown.starts_with("IPPool default-ipv4-ippool: IPIP CrossSubnet -> VXLAN Always\n"), "{shown}");
    assert_eq!(modes(lab), "Never Always");
    let again = mode(lab, &format!("apply {POOL} --abort"));
    assert_eq!(again.status.code(), Some(1));
    assert!(texts(&again).1.contains("does not say what its modes were before"));
}

/// How many questions are left in the API.
fn questions(lab: &Lab) -> usize {
    let list = lab.json("kubectl get caliconodestatuses.projectcalico.org -o json");
    list["items"].as_array().map_or(0, Vec::len)
}

fn another_nodes_agent_answers_through_the_api(lab: &Lab) {
    lab_tests::bgp::mesh_is_up(lab);
    let shown = lab.exec("master1", "calicoctl node status --node master2 --agent-socket /nowhere");
    assert!(shown.starts_with("Calico process is running.\n\nIPv4 BGP status\n"), "{shown}");
    assert!(shown.contains("| 192.168.50.161 | node-to-node mesh | up "), "{shown}");
    let missing = lab.try_exec("master1", "calicoctl node status --node nobody");
    assert!(texts(&missing).1.contains("resource does not exist: Node(nobody)"));
    assert_eq!(questions(lab), 0);

    let question = r#"{"apiVersion":"projectcalico.org/v3","kind":"CalicoNodeStatus","metadata":{"name":"q"},
        "spec":{"node":"master3","classes":["Routes","Agent","BGP"],"updatePeriodSeconds":1}}"#;
    lab.exec("master1", &format!("echo '{question}' | calicoctl create -f -"));
    let answer = || lab.json("calicoctl get caliconodestatus q -o json")["status"].clone();
    lab_tests::within(std::time::Duration::from_secs(5), "it is answered", || {
        let answer = answer();
        answer["routes"]["routesV4"].as_array().is_some_and(|routes| routes.len() == 3)
            && answer["bgp"]["numberEstablishedV4"] == 3
    });
    let (agent, bgp) = (answer()["agent"].clone(), answer()["bgp"].clone());
    assert_eq!(agent["birdV4"]["state"], "Ready", "{agent}");
    assert_eq!(agent["birdV6"]["state"], "NotReady", "{agent}");
    assert_eq!(agent["birdV4"]["routerID"], "192.168.50.163", "{agent}");
    let peers = bgp["peersV4"].as_array().expect("sessions");
    let of_mesh = |addr: &str| {
        peers.iter().any(|peer| {
            peer["peerIP"] == addr && peer["type"] == "NodeMesh" && peer["state"] == "Established"
        })
    };
    assert!(of_mesh("192.168.50.161") && of_mesh("192.168.50.162") && peers.len() == 3, "{bgp}");
    let first = answer()["lastUpdated"].clone();
    lab_tests::within(std::time::Duration::from_secs(5), "the answer is renewed", || {
        answer()["lastUpdated"] != first
    });
    lab.exec("master1", "calicoctl delete caliconodestatus q");
}

fn node_status_needs_no_root(lab: &Lab) {
    lab_tests::bgp::mesh_is_up(lab);
    // What anybody may read and run.
    let folder = std::env::temp_dir().join(format!("tortie-anybody-{}", std::process::id()));
    let kubeconfig = folder.join("kubeconfig");
    lab.exec(
        "master1",
        &format!(
            "mkdir -m 755 {0}; cp $(readlink -f $(which calicoctl)) {0}/calicoctl; install -m 644 $KUBECONFIG {0}/kubeconfig",
            folder.display()
        ),
    );
    let ask = |kubeconfig: &std::path::Path| {
        let user = "setpriv --reuid=1000 --regid=1000 --clear-groups";
        let line = format!(
            "{user} env KUBECONFIG={} {}/calicoctl node status",
            kubeconfig.display(),
            folder.display()
        );
        lab.try_exec("master1", &line)
    };
    let (told, barred) = (ask(&kubeconfig), ask("/nowhere".as_ref()));
    std::fs::remove_dir_all(&folder).expect("it was just made");
    assert!(told.status.success(), "{:?}", texts(&told));
    assert_eq!(texts(&told).0, lab.exec("master1", "calicoctl node status"));
    assert_eq!(barred.status.code(), Some(1));
    assert!(texts(&barred).1.starts_with("only root may ask the agent on"), "{:?}", texts(&barred));
    assert_eq!(questions(lab), 0);
}

fn an_agent_that_is_away_is_said_to_be(lab: &Lab) {
    lab.verb(&["kill", "node-master2"]);
    let asked = lab.try_exec("master1", "calicoctl node status --node master2");
    lab.verb(&["start", "node-master2"]);
    assert_eq!(asked.status.code(), Some(1));
    assert!(texts(&asked).1.contains("the agent of node master2 does not answer"), "{:?}", texts(&asked));
    assert_eq!(questions(lab), 0);
}

fn a_plan_says_which_agent_is_not_heard(lab: &Lab) {
    lab.verb(&["kill", "node-master3"]);
    let output = mode(lab, &format!("plan {POOL} --to ipip"));
    lab.verb(&["start", "node-master3"]);
    let (shown, complaint) = texts(&output);
    assert!(output.status.success(), "{shown}{complaint}");
    let heard: Vec<&str> = shown.lines().filter(|line| line.contains("has not been heard")).collect();
    assert!(heard.len() == 1 && heard[0].starts_with("master3 has not been heard for 3 s"), "{shown}");
    assert!(heard[0].ends_with("the change will wait for it"), "{shown}");
    assert_eq!(questions(lab), 0);
}

fn a_process_that_uses_the_tunnels_address_keeps_the_tunnel_until_it_ends(lab: &Lab) {
    lab.patch_pool(r#"{"ipipMode":"Never","vxlanMode":"Always"}"#);
    lab.await_device("vxlan.calico");
    let links = || lab.exec("master1", "ip -br address show");
    let shown = links();
    let tunnel = shown.lines().find(|line| line.starts_with("vxlan.calico")).expect("it is there");
    let address = tunnel.split_whitespace().nth(2).and_then(|address| address.split('/').next());
    // The route's device gives the source of what a process of the node sends to a pod of another node.
    let process = Place {
        netns: lab.netns("master1"),
        addr: address.and_then(|address| address.parse().ok()).expect("the tunnel has an address"),
    };
    let sampler = Sampler::start(&process, &lab.place("master2", "ping-test-fljwb"));
    lab.patch_pool(r#"{"ipipMode":"Always","vxlanMode":"Never"}"#);
    within(Duration::from_secs(20), "the other nodes have retired their tunnels", || {
        ["master2", "master3"].iter().all(|node| !lab.tunnels(node).contains(&"vxlan.calico"))
    });
    assert!(links().contains("vxlan.calico"), "{}", links());
    let problems = lab.agent("master1")["problems"].to_string();
    assert!(problems.contains("stays while a process of this node uses its address"), "{problems}");
    let report = sampler.stop();
    println!("{report}");
    report.assert_nothing_lost();
    within(Duration::from_secs(10), "the tunnel goes with its last user", || {
        !links().contains("vxlan.calico")
    });
}

fn checksystem_and_diags_work_on_a_node(lab: &Lab) {
    let shown = lab.exec("master1", "calicoctl node checksystem");
    assert!(shown.starts_with("Checking kernel version...\n\t\t"), "{shown}");
    assert!(shown.contains("need Linux 5.15; IPIP without"), "{shown}");
    assert!(shown.ends_with("System meets minimum system requirements to run Calico!\n"), "{shown}");
    let folder = lab.root().join("diags");
    std::fs::create_dir(&folder).expect("a folder");
    let state = lab.node_file("master1", "state");
    let shown = lab.exec(
        "master1",
        &format!(
            "calicoctl node diags --output-dir {} --state-dir {} --log-dir {}",
            folder.display(),
            state.display(),
            lab.root().join("logs").display()
        ),
    );
    let path = shown.lines().find_map(|line| line.strip_prefix("Diags saved to ")).expect("it says where");
    let listed = lab.exec("master1", &format!("tar -tzf {path}"));
    for part in ["versions.txt", "agent.json", "kernel.txt", "resources/IPPool.json", "logs/node-master1"] {
        assert!(listed.lines().any(|line| line == format!("diags/{part}")), "{part}: {listed}{shown}");
    }
    let kernel = lab.exec("master1", &format!("tar -xzOf {path} diags/kernel.txt"));
    assert!(kernel.contains("link ens192") && kernel.contains("table inet calico"), "{kernel}");
    let rights = lab.exec("master1", &format!("stat -c %a {path}"));
    assert_eq!(rights.trim(), "600");
}
