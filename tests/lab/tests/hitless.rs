//! The pool's mode changes from each to each other while pods of every pair of nodes talk: nothing is lost, nothing stalls.
//! Three nodes, and one behind a router that carries blocks by BGP where no tunnel does.

use lab_tests::{Halted, Lab, PODS, cases, suite, within};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use testkit::netns::{self, Netns};
use testkit::sampler::{Place, Sampler};
use testkit::slowness;

/// `ipipMode` and `vxlanMode`.
type Mode = (&'static str, &'static str);

const IPIP: Mode = ("Always", "Never");
const IPIP_CROSS: Mode = ("CrossSubnet", "Never");
const VXLAN: Mode = ("Never", "Always");
const VXLAN_CROSS: Mode = ("Never", "CrossSubnet");
const DIRECT: Mode = ("Never", "Never");

/// Every ordered pair of modes once, one after the other, beginning and ending with IPIP.
const ROUND: [Mode; 20] = [
    IPIP_CROSS,
    IPIP,
    VXLAN,
    IPIP,
    VXLAN_CROSS,
    IPIP,
    DIRECT,
    IPIP_CROSS,
    VXLAN,
    IPIP_CROSS,
    VXLAN_CROSS,
    IPIP_CROSS,
    DIRECT,
    VXLAN,
    VXLAN_CROSS,
    VXLAN,
    DIRECT,
    VXLAN_CROSS,
    DIRECT,
    IPIP,
];

/// The longest that nothing may arrive.
const STALL: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    suite::run(
        &["--mode", "ipip", "--router"],
        cases![
            a_running_pods_packets_are_as_large_as_every_way_takes,
            no_change_of_mode_loses_a_packet_between_near_and_far_nodes,
            a_change_that_is_taken_back_half_way_loses_nothing,
            a_node_that_is_slow_to_follow_loses_nothing_and_holds_nobody_up_for_ever,
            f01_an_agent_that_is_killed_in_the_middle_of_a_change_loses_nothing,
            f54_the_end_of_any_one_speaker_loses_nothing,
            a_mesh_that_gives_way_to_a_reflector_and_comes_back_loses_nothing,
        ],
    )
}

/// Samplers that run, and the machine that is no node, if one of them begins there.
type Running = (Vec<Sampler>, Option<Netns>);

/// Pods of two pairs of nodes, one on a subnet, one across the router; and one way more: from a node to another's pod and back,
/// from a pod to a node across the router, or from outside to a pod. Which, `turn` says.
fn samplers(lab: &Lab, turn: usize) -> Running {
    let [one, two, three] = &PODS.map(|(node, pod, _)| lab.place(node, pod));
    let far = &lab.place("master4", "ping-test-4");
    let (near_host, far_host) = (&lab.host("master2"), &lab.host("master4"));
    let start = |ways: [(&Place, &Place); 3]| {
        // Nodes that just came up ask for each other's MAC; an answer that is lost is asked for again a second later.
        for (a, b) in ways {
            let ping = ["-n", "-c", "1", "-W", "5", &b.addr.to_string()];
            let ran = netns::command(&a.netns, "ping").args(ping).output().expect("ping runs");
            assert!(ran.status.success(), "{} does not reach {}", a.addr, b.addr);
        }
        ways.map(|(a, b)| Sampler::start(a, b)).into()
    };
    match turn % 3 {
        0 => (start([(one, two), (three, far), (near_host, one)]), None),
        1 => (start([(two, three), (one, far), (three, far_host)]), None),
        _ => {
            let (netns, outside) = lab.outside(near_host, two);
            (start([(one, three), (two, far), (&outside, two)]), Some(netns))
        }
    }
}

fn nothing_was_lost((samplers, _outside): Running) {
    for report in Sampler::stop_all(samplers) {
        report.assert_nothing_lost();
        for way in [&report.forth, &report.back] {
            assert!(way.longest_gap < STALL + way.slip, "it stalled\n{report}");
        }
        assert!(report.stream.longest_write < STALL + report.forth.slip, "the stream stalled\n{report}");
    }
}

fn patch(lab: &Lab, (ipip, vxlan): Mode) {
    lab.patch_pool(&format!(r#"{{"ipipMode":"{ipip}","vxlanMode":"{vxlan}"}}"#));
}

/// Waits until every node says that it has switched, and no tunnel stands that nobody wants.
fn settled(lab: &Lab, mode: Mode) {
    let start = Instant::now();
    for node in lab.nodes() {
        while let Some(lag) = lag(lab, &node, mode) {
            assert!(
                start.elapsed() < Duration::from_secs(30) * slowness(),
                "{node} does not follow to {mode:?}: {lag}"
            );
        }
    }
}

/// What a node has yet to do.
fn lag(lab: &Lab, node: &str, (ipip, vxlan): Mode) -> Option<String> {
    let pool = lab.json("kubectl get ippools.projectcalico.org default-ipv4-ippool -o json");
    let generation = pool["metadata"]["generation"].as_i64().unwrap_or_default();
    let tunnels = lab.tunnels(node);
    let of = lab.json(&format!("kubectl get node {node} -o json"));
    let said = of["metadata"]["annotations"]["tortie/encapsulation"].as_str().unwrap_or_default();
    let follows = tunnels.contains(&"tunl0") == (ipip != "Never")
        && tunnels.contains(&"vxlan.calico") == (vxlan != "Never")
        && said.contains(&format!(r#""switched":{generation}"#));
    (!follows).then(|| format!("generation {generation}, it says {said}; status {}", lab.agent(node)))
}

fn no_change_of_mode_loses_a_packet_between_near_and_far_nodes(lab: &Lab) {
    let router = lab.start_router();
    // Where all takes longer, one round has to do.
    for turn in 0..if slowness() == 1 { 3 } else { 1 } {
        let running = samplers(lab, turn);
        for mode in ROUND {
            patch(lab, mode);
            settled(lab, mode);
        }
        nothing_was_lost(running);
    }
    drop(router);
}

fn a_running_pods_packets_are_as_large_as_every_way_takes(lab: &Lab) {
    let router = lab.start_router();
    let (pod, peer) = ("master1/ping-test-rfwx9", PODS[1].2);
    let shown = |line: &str, words: &str| {
        within(Duration::from_secs(10), &format!("`{line}` shows {words}"), || {
            lab.exec(pod, line).contains(words)
        });
    };
    let passes =
        |size: u32| lab.try_exec(pod, &format!("ping -c 1 -W 2 -M do -s {size} {peer}")).status.success();
    patch(lab, DIRECT);
    settled(lab, DIRECT);
    shown("ip link show eth0", "mtu 1500");
    assert!(passes(1472), "1500 bytes with headers");
    patch(lab, IPIP);
    settled(lab, IPIP);
    shown("ip route show default", "mtu 1480");
    shown("ip link show eth0", "mtu 1500");
    assert!(passes(1452) && !passes(1453), "1480 bytes with headers");
    drop(router);
}

fn a_change_that_is_taken_back_half_way_loses_nothing(lab: &Lab) {
    let router = lab.start_router();
    let running = samplers(lab, 0);
    for (there, device) in [(VXLAN, "vxlan.calico"), (DIRECT, "ens192")] {
        for hears_when_all_is_over in [true, false] {
            let late = half_way(lab, there, device);
            patch(lab, IPIP);
            if hears_when_all_is_over {
                within(Duration::from_secs(10), "the others go back without who is late", || {
                    device_towards(lab, "master1", PODS[2].2) == "tunl0"
                });
            }
            drop(late);
            settled(lab, IPIP);
        }
    }
    nothing_was_lost(running);
    drop(router);
}

/// Begins a change from IPIP and waits until it is half-way: who is near each other sends by `device`, but for master2, which
/// stands still, sends by IPIP, and is sent to by it.
fn half_way(lab: &Lab, mode: Mode, device: &str) -> Halted {
    let [one, two, three] = PODS.map(|(_, _, addr)| addr);
    let late = lab.halt("node-master2");
    patch(lab, mode);
    for (node, pod) in [("master1", three), ("master3", one)] {
        within(Duration::from_secs(10), &format!("{node} sends to {pod} by {device}"), || {
            device_towards(lab, node, pod) == device
        });
    }
    for (node, pod) in [("master1", two), ("master3", two), ("master2", one), ("master2", three)] {
        assert_eq!(device_towards(lab, node, pod), "tunl0", "{node} to {pod}");
    }
    late
}

/// The interface by which a node sends to an address.
fn device_towards(lab: &Lab, node: &str, addr: &str) -> String {
    let route = lab.exec(node, &format!("ip -4 route get {addr}"));
    let device = route.split_whitespace().skip_while(|word| *word != "dev").nth(1);
    device.unwrap_or_else(|| panic!("{node} sends by no interface: {route}")).to_owned()
}

fn a_node_that_is_slow_to_follow_loses_nothing_and_holds_nobody_up_for_ever(lab: &Lab) {
    let running = samplers(lab, 1);
    let slow = half_way(lab, VXLAN, "vxlan.calico");
    std::thread::sleep(Duration::from_secs(2));
    // However long that takes, it gets what it can take.
    assert_eq!(device_towards(lab, "master1", PODS[1].2), "tunl0");
    drop(slow);
    settled(lab, VXLAN);
    patch(lab, IPIP);
    settled(lab, IPIP);
    nothing_was_lost(running);
}

fn f01_an_agent_that_is_killed_in_the_middle_of_a_change_loses_nothing(lab: &Lab) {
    let running = samplers(lab, 2);
    for (node, mode) in [("master1", VXLAN), ("master4", IPIP), ("master3", IPIP_CROSS), ("master2", IPIP)] {
        patch(lab, mode);
        lab.verb(&["kill", &format!("node-{node}")]);
        lab.verb(&["start", &format!("node-{node}")]);
        settled(lab, mode);
    }
    nothing_was_lost(running);
}

/// Without a tunnel the far node is reached by what BGP says alone.
fn f54_the_end_of_any_one_speaker_loses_nothing(lab: &Lab) {
    let mut router = lab.start_router();
    patch(lab, DIRECT);
    settled(lab, DIRECT);
    let running = samplers(lab, 0);
    for verb in ["kill", "stop"] {
        for node in lab.nodes() {
            lab.verb(&[verb, &format!("node-{node}")]);
            std::thread::sleep(Duration::from_secs(1));
            lab.verb(&["start", &format!("node-{node}")]);
        }
    }
    router.crash_and_start(Duration::from_secs(2));
    // A second time, as soon as it is back (RFC 4724 lets go of what is stale then).
    router.crash_and_start(Duration::ZERO);
    std::thread::sleep(Duration::from_secs(1));
    nothing_was_lost(running);
    patch(lab, IPIP);
    settled(lab, IPIP);
    drop(router);
}

fn a_mesh_that_gives_way_to_a_reflector_and_comes_back_loses_nothing(lab: &Lab) {
    let router = lab.start_router();
    patch(lab, DIRECT);
    settled(lab, DIRECT);
    let running = samplers(lab, 1);
    for mesh in [false, true] {
        let spec = format!(
            "apiVersion: projectcalico.org/v3\nkind: BGPConfiguration\nmetadata: {{name: default}}\n\
             spec: {{nodeToNodeMeshEnabled: {mesh}}}\n"
        );
        let file = lab.root().join("mesh.yaml");
        std::fs::write(&file, spec).expect("the lab's folder can be written");
        lab.exec("master1", &format!("calicoctl apply -f {}", file.display()));
        for node in lab.nodes() {
            within(Duration::from_secs(60), &format!("{node} follows to a mesh: {mesh}"), || {
                let status = lab.exec(&node, "calicoctl node status");
                let of_mesh = status.lines().filter(|line| line.contains("node-to-node mesh"));
                of_mesh.filter(|line| line.contains("Established")).count() == if mesh { 3 } else { 0 }
                    && status.contains("Established")
            });
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    nothing_was_lost(running);
    patch(lab, IPIP);
    settled(lab, IPIP);
    drop(router);
}
