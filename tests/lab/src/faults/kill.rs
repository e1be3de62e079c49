//! Processes that are killed or cannot be reached, while pods talk.

use super::sample;
use crate::{Lab, PODS, within};
use std::thread::sleep;
use std::time::Duration;

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
