//! Streams that give and take few octets at a time: sockets whose buffers are as small as the kernel lets them be.

use crate::{Lab, PODS, within};
use serde_json::json;
use std::time::Duration;
use testkit::netns::command;

/// `net.ipv4.tcp_rmem` and `tcp_wmem`: what a socket is given at least, at first and at most.
const SETTINGS: [&str; 2] = ["tcp_rmem", "tcp_wmem"];
const SMALL: &str = "4096 4096 4096";

/// What the namespaces of a lab's processes had before; given back when this is dropped.
struct SmallBuffers<'a> {
    lab: &'a Lab,
    before: Vec<(String, &'static str, String)>,
}

impl<'a> SmallBuffers<'a> {
    fn new(lab: &'a Lab) -> SmallBuffers<'a> {
        let places = std::iter::once("fabric".to_owned()).chain(lab.nodes());
        let each = places.flat_map(|place| SETTINGS.map(|setting| (place.clone(), setting)));
        let before: Vec<_> = each
            .map(|(place, setting)| {
                let was = sh(lab, &place, &format!("cat /proc/sys/net/ipv4/{setting}"));
                (place, setting, was.trim().to_owned())
            })
            .collect();
        before.iter().for_each(|(place, setting, _)| set(lab, place, setting, SMALL));
        SmallBuffers { lab, before }
    }
}

impl Drop for SmallBuffers<'_> {
    fn drop(&mut self) {
        self.before.iter().for_each(|(place, setting, was)| set(self.lab, place, setting, was));
    }
}

fn set(lab: &Lab, place: &str, setting: &str, value: &str) {
    sh(lab, place, &format!("echo '{value}' > /proc/sys/net/ipv4/{setting}"));
}

fn sh(lab: &Lab, place: &str, line: &str) -> String {
    let ran = command(&lab.netns(place), "sh").args(["-c", line]).output().expect("sh runs");
    crate::good(line, &ran)
}

/// All that the agents, the API server, the runtimes and the commands read and write over TCP comes and goes in pieces.
pub fn f37_with_buffers_of_a_page_everything_is_read_and_written_whole_and_no_packet_is_lost(lab: &Lab) {
    let small = SmallBuffers::new(lab);
    let ways = lab.sample_pods_and_nodes();
    // A list that no buffer holds.
    let text = "x".repeat(2_000);
    let map = |n| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("f37-{n}")},
            "data": {"text": text}})
    };
    let maps = json!({"apiVersion": "v1", "kind": "List", "items": (0..100).map(map).collect::<Vec<_>>()});
    let file = lab.root().join("f37.json");
    std::fs::write(&file, maps.to_string()).expect("the lab's folder can be written");
    lab.exec("master1", &format!("kubectl create -f {} > /dev/null", file.display()));
    let mut processes = vec!["apiserver".to_owned()];
    processes.extend(lab.nodes().iter().flat_map(|node| [format!("node-{node}"), format!("kubelet-{node}")]));
    for process in &processes {
        lab.verb(&["kill", process]);
        lab.verb(&["start", process]);
    }
    let maps = lab.json("kubectl get configmaps -o json");
    let ours = maps["items"].as_array().expect("a list").iter();
    let ours = ours.filter(|map| map["data"]["text"] == text.as_str()).count();
    assert_eq!(ours, 100, "each is there, and whole");
    for node in lab.nodes() {
        within(Duration::from_secs(10), &format!("{node} has nothing to complain of"), || {
            lab.agent(&node)["problems"].as_array().is_some_and(Vec::is_empty)
        });
    }
    within(Duration::from_secs(20), "the sessions are up", || {
        let status = lab.exec("master1", "calicoctl node status");
        status.matches("Established").count() == lab.nodes().len() - 1
    });
    lab.verb(&["pod", "add", "f37", "--node", "master3"]);
    lab.ping("master3/f37", PODS[0].2);
    lab.verb(&["pod", "delete", "f37"]);
    lab.exec("master1", "kubectl delete configmaps --all --wait=false > /dev/null");
    ways.nothing_was_lost();
    let check = lab.exec("master1", "calicoctl ipam check");
    assert!(check.contains("found 0 problems"), "{check}");
    drop(small);
    lab.ping_all(&PODS);
}
