//! History that is gone: a watch that begins again hears 410 Gone, and what it had must not go while it is listed again.

use crate::{Lab, at_length, within};
use serde_json::json;
use std::fmt::Write as _;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;
use testkit::netns;
use testkit::process::Guard;

/// More writes than those after which the server forgets.
const WRITES: usize = 220;
/// At length. In each the watches find the server again after a while that grows.
const ROUNDS: usize = 3;

/// The API server, which keeps no more of its history than the latest revision.
fn forgetful(lab: &Lab, line: &[String]) -> Guard {
    let log = std::fs::File::options().append(true).open(lab.root().join("logs/apiserver"));
    let mut command = netns::command(&lab.netns("fabric"), &line[0]);
    command.args(&line[1..]).arg("--history=1").stderr(log.expect("the lab made it"));
    let server = Guard::spawn(&mut command);
    within(Duration::from_secs(10), "it serves", || {
        lab.try_exec("master1", "kubectl get nodes --request-timeout=1s").status.success()
    });
    server
}

pub fn f14_watches_whose_history_is_gone_begin_again_and_no_route_goes_meanwhile(lab: &Lab) {
    let line = std::fs::read(format!("/proc/{}/cmdline", lab.pid("apiserver"))).expect("it runs");
    let line = String::from_utf8(line).expect("text");
    let line: Vec<String> = line.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
    let sets = lab.root().join("sets.yaml");
    let mut text = String::new();
    for n in 0..WRITES / 2 {
        let _ = write!(
            text,
            "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {{name: f14-{n}}}\nspec: {{}}\n"
        );
    }
    std::fs::write(&sets, text).expect("the lab's folder can be written");
    let seen = lab.root().join("f14.routes");
    let mut monitor = netns::command(&lab.netns("master1"), "ip");
    monitor.args(["-4", "monitor", "route"]).stdout(std::fs::File::create(&seen).expect("the lab's folder"));
    let mut monitor = monitor.stdin(Stdio::null()).spawn().expect("ip is there");
    let ways = lab.sample_pods_and_nodes();

    lab.verb(&["kill", "apiserver"]);
    let mut server = forgetful(lab, &line);
    for round in 0..if at_length() { ROUNDS } else { 1 } {
        let nodes = lab.json("kubectl get --raw /api/v1/nodes");
        let version = nodes["metadata"]["resourceVersion"].as_str().expect("a list has a version");
        for verb in ["create", "delete --wait=false"] {
            lab.exec("master1", &format!("kubectl {verb} -f {}", sets.display()));
        }
        server.kill().expect("it runs");
        server = forgetful(lab, &line);
        let again = format!("/api/v1/nodes?watch=1&timeoutSeconds=1&resourceVersion={version}");
        let heard = lab.try_exec("master1", &format!("kubectl get --raw '{again}' 2>&1"));
        let heard = String::from_utf8_lossy(&heard.stdout).into_owned();
        assert!(heard.contains("too old"), "history is gone: {heard}");
        // What is new is heard once all is listed again.
        let (pool, cidr) = (format!("f14-{round}"), format!("10.78.{round}.0/24"));
        let spec = json!({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": pool},
            "spec": {"cidr": cidr, "natOutgoing": true}});
        lab.exec("master1", &format!("echo '{spec}' | kubectl create -f -"));
        for node in lab.nodes() {
            within(Duration::from_secs(20), &format!("{node} hears of the pool"), || {
                lab.exec(&node, "nft list table inet calico").contains(&cidr)
            });
        }
        lab.exec("master1", &format!("kubectl delete ippools.projectcalico.org {pool}"));
    }
    drop(server);
    lab.verb(&["start", "apiserver"]);
    for node in lab.nodes() {
        within(Duration::from_secs(20), &format!("{node} hears of the API server again"), || {
            lab.agent(&node)["problems"].as_array().is_some_and(Vec::is_empty)
        });
    }
    sleep(Duration::from_secs(1));
    ways.nothing_was_lost();
    monitor.kill().expect("it runs");
    monitor.wait().expect("it ends");
    let seen = std::fs::read_to_string(&seen).expect("ip wrote it");
    assert!(!seen.contains("Deleted"), "{seen}");
}
