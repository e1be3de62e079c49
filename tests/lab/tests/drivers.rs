//! Two nodes whose agents carry IP in IP differently: one by the stand-in, one by the module where the kernel has it.

use lab_tests::{Lab, cases, has_ipip_module, suite};
use std::process::ExitCode;

const TOPOLOGY: &str = "
mode: ipip
nodes:
- {name: master1, address: 192.168.50.161/24, ipipDriver: stand-in, pods: [{name: a}]}
- {name: master2, address: 192.168.50.162/24, pods: [{name: b}]}
";

fn main() -> ExitCode {
    let file = std::env::temp_dir().join(format!("tortie-drivers-{}.yaml", std::process::id()));
    std::fs::write(&file, TOPOLOGY).expect("a place for files");
    let code = suite::run(
        &["--file", file.to_str().expect("a plain path")],
        cases![
            each_node_says_its_driver,
            the_pods_ping,
            tcp_with_large_segments_goes_both_ways,
            the_stand_in_stays_over_a_restart_of_the_agent,
        ],
    );
    let _ = std::fs::remove_file(&file);
    code
}

fn address(lab: &Lab, node: &str, pod: &str) -> String {
    lab.place(node, pod).addr.to_string()
}

fn each_node_says_its_driver(lab: &Lab) {
    assert_eq!(lab.agent("master1")["ipip"], "stand-in");
    assert_eq!(lab.agent("master2")["ipip"], if has_ipip_module() { "kernel" } else { "stand-in" });
}

fn the_pods_ping(lab: &Lab) {
    let (a, b) = (address(lab, "master1", "a"), address(lab, "master2", "b"));
    lab.ping_all(&[("master1", "a", &a), ("master2", "b", &b)]);
}

fn tcp_with_large_segments_goes_both_ways(lab: &Lab) {
    let place = lab.place("master1", "a");
    let _server =
        testkit::process::Guard::spawn(testkit::netns::command(&place.netns, "iperf3").args(["-s"]));
    for direction in ["", "-R"] {
        lab_tests::within(std::time::Duration::from_secs(30), "a megabyte arrives", || {
            let line = format!("iperf3 -n 20M -c {} {direction}", place.addr);
            lab.try_exec("master2/b", &line).status.success()
        });
    }
}

fn the_stand_in_stays_over_a_restart_of_the_agent(lab: &Lab) {
    let show = "ip -o link show tunl0 | cut -d: -f1; tc filter show dev ens192 ingress; tc filter show dev tunl0 egress";
    let before = lab.exec("master1", show);
    lab.verb(&["kill", "node-master1"]);
    lab.verb(&["start", "node-master1"]);
    the_pods_ping(lab);
    assert_eq!(lab.exec("master1", show), before, "the same interface and the same programs");
}
