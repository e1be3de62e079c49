//! Processes that are killed or cannot be reached, while pods talk.

use super::sample;
use crate::{Lab, PODS, within};
use std::thread::sleep;
use std::time::Duration;
use testkit::leaks::Inventory;

const MINUTE: Duration = Duration::from_secs(60);
/// How much of that minute an agent has after it was killed and started. It asks less and less often, and `lab start` does
/// not wait for ever.
const RESTART: Duration = Duration::from_secs(5);
/// The longest pause between two tries of a watch, and some.
const WATCHES: Duration = Duration::from_secs(20);

pub fn f01_no_packet_is_lost_while_an_agent_is_killed_and_started(lab: &Lab) {
    let sampler = sample(lab);
    for node in ["master1", "master2", "master1"] {
        sleep(Duration::from_millis(300));
        lab.verb(&["kill", &format!("node-{node}")]);
        sleep(Duration::from_millis(500));
        lab.verb(&["start", &format!("node-{node}")]);
    }
    sleep(Duration::from_secs(1));
    let report = sampler.stop();
    println!("{report}");
    report.assert_nothing_lost();
    lab.ping_all(&PODS);
}

pub fn f11_no_packet_is_lost_while_the_api_is_a_black_hole_and_pods_can_be_added_afterwards(lab: &Lab) {
    let sampler = sample(lab);
    let fabric = lab.netns("fabric");
    let nft = |script: &str| {
        let ran = testkit::netns::command(&fabric, "nft").arg(script).status().expect("nft runs");
        assert!(ran.success(), "{script}");
    };
    nft(
        "add table inet hole; add chain inet hole in { type filter hook input priority 0; }; add rule inet hole in tcp dport 6443 drop",
    );
    sleep(Duration::from_secs(10));
    nft("delete table inet hole");
    sleep(Duration::from_secs(1));
    let report = sampler.stop();
    println!("{report}");
    report.assert_nothing_lost();
    lab.verb(&["pod", "add", "after-the-hole", "--node", "master3"]);
    lab.ping("master3/after-the-hole", PODS[0].2);
    lab.verb(&["pod", "delete", "after-the-hole"]);
}

pub fn f11_no_packet_is_lost_while_the_api_server_is_dead_for_a_minute(lab: &Lab) {
    let sampler = sample(lab);
    lab.verb(&["kill", "apiserver"]);
    sleep(MINUTE - RESTART);
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
    let report = sampler.stop();
    println!("{report}");
    report.assert_nothing_lost();
    lab.ping_all(&PODS);
}

/// While an agent is down, a pod of its node, a block's owner, a node and a pool go from the API.
pub fn f24_what_is_deleted_while_an_agent_is_down_goes_when_it_comes_back_and_nothing_else(lab: &Lab) {
    lab.verb(&["pod", "add", "f24", "--node", "master3"]);
    let extra = r#"{"apiVersion":"projectcalico.org/v3","kind":"IPPool","metadata":{"name":"f24"},"spec":{"cidr":"10.77.0.0/24","natOutgoing":true}}"#;
    lab.exec("master1", &format!("echo '{extra}' | calicoctl create -f -"));
    let rules = || lab.exec("master3", "nft list table inet calico");
    within(Duration::from_secs(5), "the agent knows of the pool", || rules().contains("10.77.0.0/24"));
    let address = lab.place("master3", "f24").addr.to_string();
    let sampler = super::sample_between(lab, PODS[2], PODS[0]);
    lab.verb(&["kill", "node-master3"]);
    lab.exec("master1", "calicoctl delete ippool f24");
    lab.exec("master1", "kubectl delete pod f24 --wait=false");
    sleep(Duration::from_secs(1));
    assert!(rules().contains("10.77.0.0/24"), "nobody has touched the kernel");
    lab.verb(&["start", "node-master3"]);
    within(Duration::from_secs(10), "what was deleted is gone from the kernel", || {
        !rules().contains("10.77.0.0/24")
            && !lab.exec("master3", "ip route").contains(&format!("{address} dev "))
    });
    within(Duration::from_secs(10), "and its address is free", || {
        lab.exec("master1", &format!("calicoctl ipam show --ip={address}")).contains("is not assigned")
    });
    let report = sampler.stop();
    println!("{report}");
    report.assert_nothing_lost();
    lab.ping_all(&PODS);
}

/// The kernel takes the uplink's routes away; they are back from memory.
pub fn f45_after_the_uplink_was_down_traffic_flows_within_a_second_and_sessions_stay(lab: &Lab) {
    let node = lab.netns("master2");
    let sessions = || lab.exec("master1", "calicoctl node status");
    let since = |text: String| text.lines().find(|line| line.contains("192.168.50.162")).map(str::to_owned);
    let (before, session) = (Inventory::of([&node]), since(sessions()));
    let untouched = super::sample_between(lab, PODS[0], PODS[2]);
    let run = |line: &str| {
        let ran = testkit::netns::command(&node, "sh").args(["-c", line]).status();
        assert!(ran.is_ok_and(|status| status.success()), "{line}");
    };
    run("ip link set ens192 down");
    sleep(Duration::from_secs(2));
    run("ip link set ens192 up");
    let back = within(Duration::from_secs(3), "pods reach each other again", || {
        let ping = format!("ping -n -c1 -W1 {}", PODS[1].2);
        lab.try_exec(&format!("{}/{}", PODS[0].0, PODS[0].1), &ping).status.success()
    });
    println!("traffic again {back:?} after the carrier");
    within(Duration::from_secs(5), "all is as before", || {
        sleep(Duration::from_millis(50));
        // The way out of the cluster is not ours: whoever made it makes it anew.
        let changes = Inventory::of([&node]).changes_since(&before);
        changes.iter().all(|line| line.contains("route default via"))
    });
    run("ip route replace default via 192.168.50.1 dev ens192");
    let report = untouched.stop();
    println!("{report}");
    report.assert_nothing_lost();
    assert_eq!(since(sessions()), session, "the session outlives it");
}
