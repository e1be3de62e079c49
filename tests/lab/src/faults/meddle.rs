//! Somebody deletes what is ours by hand. It is put back at once, and the log and the agent's status say so.

use super::namespaces;
use crate::{Lab, PODS, within};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use testkit::leaks::Inventory;
use testkit::netns;

pub(super) const AT_ONCE: Duration = Duration::from_millis(100);
pub(super) const DEVICE: Duration = Duration::from_secs(1);

/// Does `harm` on master1 and waits until everything is as before. The agent must say that it put `object` back, and that
/// this took no longer than `deadline` from the kernel's notice to the kernel's acknowledgement: at one of three times, for a
/// machine that is busy elsewhere makes each of them longer.
pub(super) fn repaired(lab: &Lab, object: &str, harm: &str, deadline: Duration) {
    let deadline = deadline * testkit::slowness();
    let mut taken = Vec::new();
    while taken.len() < 3 && taken.last().is_none_or(|took| *took > deadline) {
        taken.push(time_to_repair(lab, object, harm));
    }
    assert!(taken.last() <= Some(&deadline), "`{harm}`: mended after {taken:?}, not within {deadline:?}");
    assert!(lab.log("node-master1").contains(&format!("restored {object}, ")), "the log names {object}");
    lab.ping(&format!("{}/{}", PODS[1].0, PODS[1].1), PODS[0].2);
}

fn time_to_repair(lab: &Lab, object: &str, harm: &str) -> Duration {
    let node = lab.netns("master1");
    let before = Inventory::of([&node]);
    let counted = repair(lab, object).map_or(0, |(count, _)| count);
    let run = netns::command(&node, "sh").args(["-c", harm]).status().expect("sh runs");
    assert!(run.success(), "{harm}");
    // Looking takes longer than mending may: what counts is the agent's own measure.
    let seen = before_again(&before, [&node], harm);
    let mut took = Duration::MAX;
    within(
        Duration::from_secs(2),
        &format!("the agent says that it restored {object} after `{harm}`"),
        || {
            repair(lab, object).is_some_and(|(count, latest)| {
                took = latest;
                count > counted
            })
        },
    );
    println!("`{harm}`: seen mended after {seen:?}, the agent needed {took:?}");
    took
}

/// How often the agent of master1 put an object back, and how long the latest time took.
fn repair(lab: &Lab, object: &str) -> Option<(u64, Duration)> {
    let status = lab.agent("master1");
    let repair = status["repairs"].as_array()?.iter().find(|repair| repair["object"] == object)?;
    let number = |key: &str| repair[key].as_u64().unwrap_or_else(|| panic!("a repair has {key}: {repair}"));
    Some((number("count"), Duration::from_micros(number("tookMicros"))))
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

/// The block route of master2, as the agent calls it.
const ROUTE: &str = "route 6.2.180.0/26";
const DEVICE_LINK: &str = "link vxlan.calico";
const RULES: &str = "nftables inet calico";

pub fn f40_a_deleted_route_comes_back(lab: &Lab) {
    repaired(lab, ROUTE, "ip route del 6.2.180.0/26", AT_ONCE);
}

pub fn f40_a_changed_route_is_set_right(lab: &Lab) {
    repaired(lab, ROUTE, "ip route replace blackhole 6.2.180.0/26 proto 80", AT_ONCE);
}

pub fn f40_a_deleted_pod_route_comes_back(lab: &Lab) {
    repaired(lab, "route 6.2.137.67/32", "ip route del 6.2.137.67", AT_ONCE);
}

pub fn f40_a_deleted_neighbour_comes_back(lab: &Lab) {
    let object = "neighbour 6.2.180.1 dev vxlan.calico";
    repaired(lab, object, "ip neigh del 6.2.180.1 dev vxlan.calico", AT_ONCE);
}

pub fn f40_a_deleted_fdb_entry_comes_back(lab: &Lab) {
    let entries = lab.exec("master1", "bridge fdb show dev vxlan.calico | grep 'dst 192.168.50.162'");
    let mac = entries.split(' ').next().unwrap_or_default();
    let harm = format!("bridge fdb del {mac} dev vxlan.calico dst 192.168.50.162");
    repaired(lab, &format!("fdb {mac} dev vxlan.calico"), &harm, AT_ONCE);
}

pub fn f40_a_deleted_tunnel_address_comes_back(lab: &Lab) {
    let object = "address 6.2.137.65/32 dev vxlan.calico";
    repaired(lab, object, "ip address del 6.2.137.65/32 dev vxlan.calico", AT_ONCE);
}

pub fn f40_a_deleted_tunnel_device_comes_back(lab: &Lab) {
    repaired(lab, DEVICE_LINK, "ip link del vxlan.calico", DEVICE);
}

pub fn f40_a_tunnel_device_that_was_set_down_comes_up(lab: &Lab) {
    repaired(lab, DEVICE_LINK, "ip link set vxlan.calico down", DEVICE);
}

pub fn f42_a_flushed_ruleset_comes_back(lab: &Lab) {
    repaired(lab, RULES, "nft flush ruleset", AT_ONCE);
}

pub fn f42_an_emptied_chain_is_filled_again(lab: &Lab) {
    repaired(lab, RULES, "nft flush chain inet calico nat-POSTROUTING", AT_ONCE);
}

pub fn f42_a_deleted_table_comes_back(lab: &Lab) {
    repaired(lab, RULES, "nft delete table inet calico", AT_ONCE);
}

pub fn f40_a_foreign_route_under_our_key_is_left_alone_and_said(lab: &Lab) {
    let route = "ip -4 route show exact 6.2.180.0/26";
    let ours = lab.exec("master1", route);
    lab.exec("master1", "ip route replace 6.2.180.0/26 via 192.168.50.162 dev ens192 proto static");
    let said = || {
        let status = lab.agent("master1");
        let problems = status["problems"].as_array().into_iter().flatten();
        problems.filter_map(|problem| problem.as_str()).any(|text| {
            text.starts_with(&format!("{ROUTE} is somebody else's")) && text.contains("remove it")
        })
    };
    within(Duration::from_secs(2), "the agent says that the route is somebody else's", said);
    let left = lab.exec("master1", route);
    assert!(left.contains("via 192.168.50.162 dev ens192 proto static"), "{left}");

    // Whatever makes the agent look again must not make it forget whose the route is.
    lab.exec("master1", "ip route add 198.51.100.0/24 via 192.168.50.1 proto static");
    lab.exec("master1", "ip route del 198.51.100.0/24");
    repaired(lab, "route 6.2.137.67/32", "ip route del 6.2.137.67", AT_ONCE);
    assert_eq!(lab.exec("master1", route), left, "it is left as it is");
    assert!(said(), "it is said as long as it is so");

    lab.exec("master1", "ip route del 6.2.180.0/26 proto static");
    within(Duration::from_secs(1), "ours is back", || lab.exec("master1", route) == ours);
    within(Duration::from_secs(2), "nothing is said any more", || !said());
}

pub fn f36_a_storm_of_foreign_routes_does_not_hide_a_deletion(lab: &Lab) {
    let before = Inventory::of(&namespaces(lab));
    let overruns = || lab.log("node-master1").matches("kernel notifications were lost").count();
    let earlier = overruns();
    let script = lab.root().join("storm");
    std::fs::write(&script, storm()).expect("the lab's directory");
    lab.exec("master1", "ip link add storm type bridge; ip link set storm up");
    // Slower than any storm.
    let halted = lab.halt("node-master1");
    lab.exec("master1", &format!("ip -batch {}", script.display()));
    lab.exec("master1", "ip route del 6.2.180.0/26");
    drop(halted);
    within(Duration::from_secs(10), "the agent says that notifications were lost", || overruns() > earlier);
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
