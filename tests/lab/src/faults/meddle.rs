//! Somebody deletes what is ours by hand. It is put back at once, and the log and the agent's status say so.

use super::namespaces;
use crate::{Lab, PODS, within};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testkit::leaks::Inventory;
use testkit::netns;

const AT_ONCE: Duration = Duration::from_millis(100);
const DEVICE: Duration = Duration::from_secs(1);
const TABLE: Duration = Duration::from_millis(200);

/// Does `harm` on master1 and waits until everything is as before; the agent must have counted a repair.
fn repaired(lab: &Lab, harm: &str, deadline: Duration) {
    let node = lab.netns("master1");
    let before = Inventory::of([&node]);
    let counted = repairs(lab);
    let run = netns::command(&node, "sh").args(["-c", harm]).status().expect("sh runs");
    assert!(run.success(), "{harm}");
    // Looking takes longer than mending may: what counts is the kernel's own time of the last change.
    let took = before_again(&before, [&node], harm);
    within(Duration::from_secs(2), &format!("the agent says that it mended `{harm}`"), || {
        repairs(lab) > counted
    });
    let said = latest_repair(lab);
    println!("`{harm}`: seen mended after {took:?}, the agent needed {said:?}");
    assert!(said <= deadline, "`{harm}`: mended after {said:?}, not within {deadline:?}");
    lab.ping(&format!("{}/{}", PODS[1].0, PODS[1].1), PODS[0].2);
}

/// Waits until namespaces look as before; how long that took.
fn before_again<'a>(
    before: &Inventory,
    namespaces: impl IntoIterator<Item = &'a PathBuf> + Clone,
    harm: &str,
) -> Duration {
    let start = Instant::now();
    loop {
        let now = Inventory::of(namespaces.clone());
        if now == *before {
            return start.elapsed();
        }
        let changes = now.changes_since(before).join("\n");
        assert!(start.elapsed() < Duration::from_secs(5), "`{harm}` is not mended:\n{changes}");
    }
}

fn repairs(lab: &Lab) -> u64 {
    let status = lab.agent("master1");
    status["repairs"].as_array().into_iter().flatten().filter_map(|repair| repair["count"].as_u64()).sum()
}

fn latest_repair(lab: &Lab) -> Duration {
    let status = lab.agent("master1");
    let last = status["repairs"].as_array().and_then(|repairs| repairs.last().cloned()).unwrap_or_default();
    Duration::from_micros(last["tookMicros"].as_u64().expect("a repair says how long it took"))
}

pub fn f40_a_deleted_route_comes_back(lab: &Lab) {
    repaired(lab, "ip route del 6.2.180.0/26", AT_ONCE);
    assert!(lab.log("node-master1").contains("6.2.180.0/26"), "the log names the route");
}

pub fn f40_a_changed_route_is_set_right(lab: &Lab) {
    repaired(lab, "ip route replace blackhole 6.2.180.0/26 proto 80", AT_ONCE);
}

pub fn f40_a_deleted_pod_route_comes_back(lab: &Lab) {
    repaired(lab, "ip route del 6.2.137.67", AT_ONCE);
}

pub fn f40_a_deleted_neighbour_comes_back(lab: &Lab) {
    repaired(lab, "ip neigh del 6.2.180.1 dev vxlan.calico", AT_ONCE);
}

pub fn f40_a_deleted_fdb_entry_comes_back(lab: &Lab) {
    repaired(
        lab,
        "bridge fdb del $(bridge fdb show dev vxlan.calico | grep 'dst 192.168.50.162' | cut -d' ' -f1) dev vxlan.calico dst 192.168.50.162",
        AT_ONCE,
    );
}

pub fn f40_a_deleted_tunnel_address_comes_back(lab: &Lab) {
    repaired(lab, "ip address del 6.2.137.65/32 dev vxlan.calico", AT_ONCE);
}

pub fn f40_a_deleted_tunnel_device_comes_back(lab: &Lab) {
    repaired(lab, "ip link del vxlan.calico", DEVICE);
}

pub fn f40_a_tunnel_device_that_was_set_down_comes_up(lab: &Lab) {
    repaired(lab, "ip link set vxlan.calico down", DEVICE);
}

pub fn f42_a_flushed_ruleset_comes_back(lab: &Lab) {
    repaired(lab, "nft flush ruleset", TABLE);
}

pub fn f42_an_emptied_chain_is_filled_again(lab: &Lab) {
    repaired(lab, "nft flush chain inet calico nat-POSTROUTING", TABLE);
}

pub fn f42_a_deleted_table_comes_back(lab: &Lab) {
    repaired(lab, "nft delete table inet calico", TABLE);
}

pub fn f40_a_foreign_route_is_left_alone(lab: &Lab) {
    lab.exec("master1", "ip route add 198.51.100.0/24 via 192.168.50.1");
    std::thread::sleep(Duration::from_millis(300));
    assert!(!lab.exec("master1", "ip route show 198.51.100.0/24").is_empty());
    lab.exec("master1", "ip route del 198.51.100.0/24");
}

pub fn f36_a_storm_of_foreign_routes_does_not_hide_a_deletion(lab: &Lab) {
    let before = Inventory::of(&namespaces(lab));
    let script = lab.root().join("storm");
    std::fs::write(&script, storm()).expect("the lab's directory");
    lab.exec("master1", "ip link add storm type bridge; ip link set storm up");
    let batch = |file: &Path| format!("ip -batch {}", file.display());
    let storm = testkit::process::Guard::spawn(
        netns::command(&lab.netns("master1"), "sh").args(["-c", &batch(&script)]),
    );
    std::thread::sleep(Duration::from_millis(50));
    lab.exec("master1", "ip route del 6.2.180.0/26");
    let (_, status) = storm.finish(Duration::from_secs(60));
    assert!(status.success());
    lab.exec("master1", "ip link del storm");
    before_again(&before, &namespaces(lab), "a storm");
}

/// 50 000 routes that come, and go in the same order.
fn storm() -> String {
    let route = |verb: &str, n: u32| {
        format!("route {verb} 172.{}.{}.{}/32 dev storm\n", 16 + (n >> 16), n >> 8 & 255, n & 255)
    };
    let verbs = ["add", "del"].into_iter();
    verbs.flat_map(|verb| (0..25_000).map(move |n| route(verb, n))).collect()
}
