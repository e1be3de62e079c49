//! Processes that are killed or cannot be reached, while pods talk.

use crate::{Lab, PODS, within};
use serde_json::{Value, json};
use std::thread::sleep;
use std::time::{Duration, Instant};
use testkit::leaks::Inventory;
use testkit::netns::Netns;
use testkit::sim::Rng;
use testkit::{at_length, length};

const MINUTE: Duration = Duration::from_secs(60);
/// How much of that time an agent has after it was killed and started. It asks less and less often, and `lab start` does
/// not wait for ever.
const RESTART: Duration = Duration::from_secs(5);
/// The longest pause between two tries of a watch, and some.
const WATCHES: Duration = Duration::from_secs(20);

/// At length a hundred times, at random moments of pods that come and go on that node.
pub fn f01_no_packet_is_lost_while_an_agent_is_killed_or_stopped_and_started(lab: &Lab) {
    let before = Inventory::of(&super::namespaces(lab));
    let ways = lab.sample_every_way();
    let mut rng = Rng::stream(1, "deaths");
    let deaths = [("kill", "master1"), ("kill", "master2"), ("stop", "master1"), ("stop", "master2")];
    for (n, (verb, node)) in (0..length(4, 100)).zip(deaths.into_iter().cycle()) {
        let agent = format!("node-{node}");
        std::thread::scope(|scope| {
            let churn = at_length().then(|| scope.spawn(move || come_and_go(lab, node, n)));
            sleep(Duration::from_millis(rng.between(0, 600)));
            lab.verb(&[verb, &agent]);
            if at_length() {
                is_refused(lab, node);
            }
            sleep(Duration::from_millis(rng.between(0, 600)));
            lab.verb(&["start", &agent]);
            churn.into_iter().for_each(|churn| churn.join().expect("no panic"));
        });
    }
    sleep(Duration::from_secs(1));
    ways.nothing_was_lost();
    lab.ping_all(&PODS);
    if at_length() {
        within(Duration::from_secs(30), "nothing of the pods that came and went is left", || {
            Inventory::of(&super::namespaces(lab)).changes_since(&before).is_empty()
        });
    }
}

/// While the agent is away, an ADD says so at once.
fn is_refused(lab: &Lab, node: &str) {
    let pod = Netns::new();
    let down = lab.cni(node, "ADD", "f01-down", pod.path());
    assert_eq!(down.code(), 11, "the agent is away: {}", down.body);
    assert!(down.took < Duration::from_secs(1) * testkit::slowness(), "{:?}", down.took);
    lab.cni(node, "DEL", "f01-down", pod.path()).expect("DEL");
}

/// A pod that is added and deleted: the one may fail when the agent dies, the other may not.
fn come_and_go(lab: &Lab, node: &str, n: u32) {
    let (pod, container) = (Netns::new(), format!("f01-{n}"));
    let added = lab.cni(node, "ADD", &container, pod.path());
    if !added.good {
        println!("ADD of {container}, while its agent dies: {}", added.body);
    }
    lab.cni(node, "DEL", &container, pod.path()).expect("DEL");
}

pub fn f11_no_packet_is_lost_while_the_api_is_a_black_hole_and_pods_can_be_added_afterwards(lab: &Lab) {
    let ways = lab.sample_every_way();
    let fabric = lab.netns("fabric");
    let nft = |script: &str| {
        let ran = testkit::netns::command(&fabric, "nft").arg(script).status().expect("nft runs");
        assert!(ran.success(), "{script}");
    };
    nft(
        "add table inet hole; add chain inet hole in { type filter hook input priority 0; }; add rule inet hole in tcp dport 6443 drop",
    );
    sleep(Duration::from_secs(length(10, 600).into()));
    nft("delete table inet hole");
    sleep(Duration::from_secs(1));
    ways.nothing_was_lost();
    lab.verb(&["pod", "add", "after-the-hole", "--node", "master3"]);
    lab.ping("master3/after-the-hole", PODS[0].2);
    lab.verb(&["pod", "delete", "after-the-hole"]);
}

pub fn f11_no_packet_is_lost_while_the_api_server_is_dead_for_a_minute(lab: &Lab) {
    without_an_api_server(lab, MINUTE);
}

pub fn f11_no_packet_is_lost_while_the_api_server_is_dead(lab: &Lab) {
    without_an_api_server(lab, Duration::from_secs(length(15, 60).into()));
}

fn without_an_api_server(lab: &Lab, time: Duration) {
    let ways = lab.sample_every_way();
    lab.verb(&["kill", "apiserver"]);
    sleep(time - RESTART);
    // An agent that starts without an API server must leave what it finds.
    lab.verb(&["kill", "node-master1"]);
    let restart = std::thread::scope(|scope| {
        let start = scope.spawn(|| lab.try_verb(&["start", "node-master1"]));
        sleep(RESTART);
        lab.verb(&["start", "apiserver"]);
        start.join().expect("no panic")
    });
    assert!(restart.status.success(), "{}", String::from_utf8_lossy(&restart.stderr));
    for node in lab.nodes() {
        within(WATCHES, &format!("{node} hears of the API server again"), || {
            lab.agent(&node)["problems"].as_array().is_some_and(Vec::is_empty)
        });
    }
    ways.nothing_was_lost();
    lab.ping_all(&PODS);
}

/// While an agent is down, a pod of its node, a node that owns a block, and a pool go from the API.
pub fn f24_what_is_deleted_while_an_agent_is_down_goes_when_it_comes_back_and_nothing_else(lab: &Lab) {
    let before = Inventory::of([&lab.netns("master3")]);
    lab.verb(&["pod", "add", "f24", "--node", "master3"]);
    let pool = json!({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "f24"},
        "spec": {"cidr": "10.77.0.0/24", "natOutgoing": true}});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "f24", "annotations": {
        "projectcalico.org/IPv4Address": "192.168.50.170/24",
        "projectcalico.org/IPv4VXLANTunnelAddr": "6.2.9.0",
        "projectcalico.org/VXLANTunnelMACAddr": "66:00:00:00:00:24"}}});
    let block = json!({"apiVersion": "projectcalico.org/v3", "kind": "IPAMBlock", "metadata": {"name": "6-2-9-0-26"},
        "spec": {"cidr": "6.2.9.0/26", "affinity": "host:f24", "strictAffinity": false, "deleted": false,
            "attributes": [], "allocations": vec![Value::Null; 64], "unallocated": (0..64).collect::<Vec<_>>()}});
    for object in [pool, node, block] {
        lab.exec("master1", &format!("echo '{object}' | kubectl create -f -"));
    }
    let knows = |what: &str| {
        let look = "nft list table inet calico; ip route; ip neigh show nud permanent; bridge fdb";
        lab.exec("master3", look).contains(what)
    };
    let address = lab.place("master3", "f24").addr.to_string();
    let of_pod = format!("{address} dev ");
    let (of_pool, of_node) = ("10.77.0.0/24", ["6.2.9.0/26 via", "192.168.50.170", "66:00:00:00:00:24"]);
    let elsewhere = || of_node.into_iter().chain([of_pool]);
    within(Duration::from_secs(5), "the agent knows of all of it", || {
        elsewhere().chain([of_pod.as_str()]).all(knows)
    });
    let sampler = super::sample_between(lab, PODS[2], PODS[0]);
    lab.verb(&["kill", "node-master3"]);
    lab.exec("master1", "kubectl delete ippools.projectcalico.org f24; kubectl delete node f24");
    lab.exec("master1", "kubectl delete pod f24 --wait=false");
    sleep(Duration::from_secs(1));
    assert!(elsewhere().all(knows), "nobody has touched the kernel");
    lab.verb(&["start", "node-master3"]);
    let mut changes = Vec::new();
    let end = Instant::now() + Duration::from_secs(10) * testkit::slowness();
    while Instant::now() < end {
        changes = Inventory::of([&lab.netns("master3")]).changes_since(&before);
        if changes.is_empty() {
            break;
        }
    }
    assert!(
        changes.is_empty(),
        "what was deleted is gone from the kernel, and only that:\n{}",
        changes.join("\n")
    );
    within(Duration::from_secs(10), "and its address is free", || {
        lab.exec("master1", &format!("calicoctl ipam show --ip={address}")).contains("is not assigned")
    });
    let report = sampler.stop();
    println!("{report}");
    report.assert_nothing_lost();
    lab.exec("master1", "kubectl delete ipamblocks.projectcalico.org 6-2-9-0-26");
    lab.ping_all(&PODS);
}
