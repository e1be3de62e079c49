//! The interface by which a node sends: it is down for a while, another takes its place, its MTU changes. Traffic is back as
//! soon as the interface is, and nothing is left as it was for the one before.

use super::{sample, sample_between};
use crate::suite::{allow_drops, expect_drops};
use crate::{Lab, PODS, within};
use std::thread::sleep;
use std::time::{Duration, Instant};
use testkit::leaks::Inventory;
use testkit::netns;
use testkit::process::Guard;
use testkit::sampler::{Place, Sampler};

/// How long after its carrier is back: the kernel asks again for the MAC of a neighbour that did not answer after a second.
const AFTER_CARRIER: Duration = Duration::from_millis(1200);
/// How long after another one has the node's address.
const AFTER_REPLACEMENT: Duration = Duration::from_secs(2);
const AS_BEFORE: Duration = Duration::from_secs(5);
/// How long after the uplink's MTU changed.
const FOLLOWED: Duration = Duration::from_secs(5);
/// Of a route that whoever configures the interface makes: it is not ours.
const WAY_OUT: &str = "ip route replace default via 192.168.50.1 dev";

/// A line of shell in a namespace of the lab. Faster than a verb of the lab.
fn run(lab: &Lab, place: &str, line: &str) {
    let ran = netns::command(&lab.netns(place), "sh").args(["-ec", line]).status();
    assert!(ran.is_ok_and(|status| status.success()), "{place}: {line}");
}

/// `cut` cuts a node off and joins it again; the pods of master1 and master2 must hear each other again within `limit` of that.
fn outage(lab: &Lab, node: &str, sampler: Sampler, limit: Duration, cut: impl FnOnce()) {
    // What is sent while there is no way, and what comes by a new interface before anything judges it.
    for of_node in ["ens192", "vxlan.calico", "tunl0 tx", "Ip.OutNoRoutes"] {
        allow_drops(&[&format!("{node}: {of_node}")]);
    }
    // What the others have from it with a source that it has for a moment only, or for an interface that was just taken down.
    allow_drops(&["fabric: port", "tunl0 rx drops", "nft ipip-refused", "the machine: softnet drops"]);
    // A way that was never seen cannot be seen cut.
    sleep(Duration::from_millis(200));
    let start = Instant::now();
    cut();
    let away = start.elapsed();
    // The stream sends again what was lost at growing intervals.
    sleep(away + limit * testkit::slowness());
    let report = sampler.stop();
    println!("away for {away:?}\n{report}");
    report.assert_one_outage(away + limit * testkit::slowness());
    lab.ping_all(&PODS);
}

fn as_before(lab: &Lab, node: &str, before: &Inventory) {
    let mut changes = Vec::new();
    let start = Instant::now();
    while start.elapsed() < AS_BEFORE * testkit::slowness() {
        changes = Inventory::of([&lab.netns(node)]).changes_since(before);
        if changes.is_empty() {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("{node} is not as before:\n{}", changes.join("\n"));
}

/// The kernel takes the uplink's routes away; they are back from memory.
pub fn f45_after_the_uplink_was_down_traffic_flows_within_a_second_and_sessions_stay(lab: &Lab) {
    let sessions = || lab.exec("master1", "calicoctl node status");
    let since = |text: String| text.lines().find(|line| line.contains("192.168.50.162")).map(str::to_owned);
    let (before, session) = (Inventory::of([&lab.netns("master2")]), since(sessions()));
    let untouched = sample_between(lab, PODS[0], PODS[2]);
    outage(lab, "master2", sample(lab), AFTER_CARRIER, || {
        run(lab, "master2", "ip link set ens192 down");
        sleep(Duration::from_secs(2));
        run(lab, "master2", &format!("ip link set ens192 up; {WAY_OUT} ens192"));
    });
    as_before(lab, "master2", &before);
    let report = untouched.stop();
    println!("{report}");
    report.assert_nothing_lost();
    assert_eq!(since(sessions()), session, "the session outlives it");
}

/// A new interface of the same name, then a bridge that has it for a port; where the kernel has them, a VLAN of it, and a bond of
/// two, one of which fails.
pub fn f46_another_uplink_takes_the_place_of_the_first(lab: &Lab) {
    let before = Inventory::of([&lab.netns("master1")]);
    let joins = |device: &str| {
        format!("ip address add 192.168.50.161/24 dev {device}; ip link set {device} up; {WAY_OUT} {device}")
    };
    let replaced = |leave: &str, fabric: &str, join: &str| {
        outage(lab, "master1", sample(lab), AFTER_REPLACEMENT, || {
            run(lab, "master1", leave);
            run(lab, "fabric", fabric);
            run(lab, "master1", join);
        });
    };
    let netns = lab.netns("master1");
    let port = format!(
        "ip link add port0 type veth peer name ens192 netns {}; ip link set port0 master lan0 up",
        netns.display()
    );
    replaced("ip link del ens192", &port, &joins("ens192"));
    as_before(lab, "master1", &before);

    let leave = "ip address flush dev ens192";
    let bridge = "ip link add name br0 type bridge; ip link set ens192 master br0";
    replaced(leave, "true", &format!("{bridge}; {}", joins("br0")));
    replaced("ip link del br0", "true", &joins("ens192"));
    as_before(lab, "master1", &before);

    if knows(lab, "ip link add link lan0 name lan0.7 type vlan id 7 && ip link del lan0.7") {
        let vlan = |of: &str| format!("ip link add link {of} name {of}.7 type vlan id 7");
        let port =
            format!("{}; ip link set port0 nomaster; ip link set port0.7 master lan0 up", vlan("port0"));
        replaced(leave, &port, &format!("{}; {}", vlan("ens192"), joins("ens192.7")));
        let port = "ip link del port0.7; ip link set port0 master lan0";
        replaced("ip link del ens192.7", port, &joins("ens192"));
        as_before(lab, "master1", &before);
    }

    if knows(lab, "ip link add name bond9 type bond && ip link del bond9") {
        let port = format!(
            "ip link add port9 type veth peer name ens193 netns {}; ip link set port9 master lan0 up",
            netns.display()
        );
        let bond = "ip link add name bond0 type bond mode active-backup miimon 20; \
            for port in ens192 ens193; do ip link set $port down; ip link set $port master bond0; done";
        replaced(leave, &port, &format!("{bond}; {}", joins("bond0")));
        outage(lab, "master1", sample(lab), AFTER_REPLACEMENT, || {
            run(lab, "master1", "ip link set ens192 down");
        });
        replaced("ip link del bond0; ip link del ens193", "true", &joins("ens192"));
        as_before(lab, "master1", &before);
    }
}

/// Whether the kernel knows what this line of shell makes; one that does not proves nothing of it. A distribution's must.
fn knows(lab: &Lab, line: &str) -> bool {
    let ran = netns::command(&lab.netns("fabric"), "sh").args(["-c", line]).status();
    let knows = ran.is_ok_and(|status| status.success());
    if !knows {
        assert!(!crate::has_ipip_module(), "this kernel has the module ipip, and yet cannot: {line}");
        println!("not in this kernel: {line}");
    }
    knows
}

/// An iperf3 that listens there, until it is dropped.
fn takes_bytes(place: &Place) -> Guard {
    let server = Guard::spawn(netns::command(&place.netns, "iperf3").arg("-s"));
    let listens = ["-c", "ss -Htln sport = 5201 | grep -q 5201"];
    within(FOLLOWED, "iperf3 listens", || {
        netns::command(&place.netns, "sh").args(listens).status().is_ok_and(|status| status.success())
    });
    server
}

/// The tunnel that the lab's mode has, and what its header takes.
fn tunnel(lab: &Lab) -> Option<(&'static str, u32)> {
    let tunnels = lab.tunnels("master1");
    [("tunl0", 20), ("vxlan.calico", 50)].into_iter().find(|(device, _)| tunnels.contains(device))
}

pub fn f48_tunnels_and_pods_follow_the_mtu_of_the_uplink_and_streams_go_on(lab: &Lab) {
    let pod = format!("{}/{}", PODS[0].0, PODS[0].1);
    let tunnel = tunnel(lab);
    let set = |mtu: u32| {
        for node in lab.nodes() {
            run(lab, &node, &format!("ip link set ens192 mtu {mtu}"));
        }
        let largest = mtu - tunnel.map_or(0, |(_, header)| header) - 28;
        let passes = |size| {
            let ping = format!("ping -n -c 1 -W 1 -M do -s {size} {}", PODS[1].2);
            lab.try_exec(&pod, &ping).status.success()
        };
        let took = within(FOLLOWED, &format!("{largest} bytes and their headers are what passes"), || {
            // While one link is large already, a pod may hear that the way is smaller, which it believes for ten minutes
            // (ip-sysctl, `mtu_expires`).
            lab.exec(&pod, "ip route flush cache");
            passes(largest) && !passes(largest + 1)
        });
        println!("{mtu}: followed after {took:?}");
    };
    // Frames that are too large for the far end, which follows a moment later.
    allow_drops(&["ens192 rx drops", "fabric: port", "fabric: lan0 tx drops"]);
    run(lab, "fabric", "for link in lan0 port0 port1 port2; do ip link set $link mtu 9000; done");
    let (one, two) = (lab.place(PODS[0].0, PODS[0].1), lab.place(PODS[1].0, PODS[1].1));
    let _server = takes_bytes(&two);
    let sampler = sample(lab);
    let full = ["-t", "600", "-b", "50M", "-c", PODS[1].2];
    let _full = Guard::spawn(netns::command(&one.netns, "iperf3").args(full));
    let arrived = || {
        let shown = lab.exec(&pod, "ss -tinH dport = :5201");
        let counted = shown.split_whitespace().filter_map(|word| word.strip_prefix("bytes_acked:"));
        counted.map(|bytes| bytes.parse::<u64>().expect("a number")).sum::<u64>()
    };
    for mtu in [1500, 9000, 1500, 9000, 1500] {
        set(mtu);
        let before = arrived();
        within(FOLLOWED, "full segments go on", || arrived() > before + 1_000_000);
    }
    let report = sampler.stop();
    println!("{report}");
    report.assert_nothing_lost();
    run(lab, "fabric", "for link in port0 port1 port2 lan0; do ip link set $link mtu 1500; done");
}

/// The link behind the router takes less than the nodes' own links.
pub fn f48_a_smaller_mtu_on_the_way_is_told_to_the_pods(lab: &Lab) {
    let (far, near) = (lab.place("master4", "ping-test-4"), lab.place(PODS[0].0, PODS[0].1));
    // What is in VXLAN may be taken to pieces on the way.
    if matches!(tunnel(lab), Some(("tunl0", _))) {
        expect_drops(&["fabric: Ip.FragFails"]);
        // The kernel's own tunnel learns the size, and says so to the pods itself.
        allow_drops(&["Ip.FragFails", "tunl0 tx drops", "tunl0 tx errors"]);
    }
    run(lab, "fabric", "ip link set lan1 mtu 1400");
    let _server = takes_bytes(&far);
    for direction in ["", "-R"] {
        let line = format!("timeout 20 iperf3 -n 5M {direction} -c {}", far.addr);
        crate::good(&line, &netns::command(&near.netns, "sh").args(["-c", &line]).output().expect("sh runs"));
    }
    run(lab, "fabric", "ip link set lan1 mtu 1500");
}
