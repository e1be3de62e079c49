//! Four nodes on two subnets in mode IPIP CrossSubnet: plain inside a subnet, in the tunnel across the router.

use lab_tests::faults::uplink::f48_a_smaller_mtu_on_the_way_is_told_to_the_pods;
use lab_tests::{Capture, Lab, PODS, cases, suite};
use std::process::ExitCode;

fn main() -> ExitCode {
    suite::run(
        &["--mode", "ipip-cross-subnet", "--router"],
        cases![
            every_pair_of_pods_talks,
            inside_the_subnet_packets_are_plain,
            across_the_router_packets_are_in_the_tunnel,
            routes_say_which_is_which,
            with_mode_always_every_pair_talks_too,
            f48_a_smaller_mtu_on_the_way_is_told_to_the_pods,
        ],
    )
}

fn every_pair_of_pods_talks(lab: &Lab) {
    let mut pods: Vec<_> = PODS.map(|(node, pod, address)| (node, pod, address.to_owned())).into();
    pods.push(("master4", "ping-test-4", lab.place("master4", "ping-test-4").addr.to_string()));
    let pods: Vec<(&str, &str, &str)> =
        pods.iter().map(|(node, pod, addr)| (*node, *pod, addr.as_str())).collect();
    lab.talk_all(&pods);
}

fn inside_the_subnet_packets_are_plain(lab: &Lab) {
    let capture = Capture::start(lab, "master1", "ens192", 2, "icmp or proto 4");
    lab.ping("master2/ping-test-fljwb", "6.2.137.67");
    let packets = capture.decode(&["frame.protocols", "ip.src"]);
    assert_eq!(packets[0], "eth:ethertype:ip:icmp:data\t6.2.180.2");
}

fn across_the_router_packets_are_in_the_tunnel(lab: &Lab) {
    let capture = Capture::start(lab, "master1", "ens192", 2, "icmp or proto 4");
    lab.ping("master4/ping-test-4", "6.2.137.67");
    let packets = capture.decode(&["frame.protocols", "ip.src"]);
    let source = lab.place("master4", "ping-test-4").addr;
    assert_eq!(packets[0], format!("eth:ethertype:ip:ip:icmp:data\t192.168.60.164,{source}"));
}

fn routes_say_which_is_which(lab: &Lab) {
    let routes = lab.exec("master1", "ip -4 route show proto 80");
    let by = |device: &str| routes.lines().filter(|route| route.contains(&format!("dev {device}"))).count();
    assert_eq!((by("ens192"), by("tunl0")), (2, 1), "{routes}");
    let routes = lab.exec("master4", "ip -4 route show proto 80");
    assert_eq!(routes.lines().filter(|route| route.contains("dev tunl0")).count(), 3, "{routes}");
}

fn with_mode_always_every_pair_talks_too(lab: &Lab) {
    lab.patch_pool(r#"{"ipipMode":"Always"}"#);
    lab.await_device("tunl0");
    every_pair_of_pods_talks(lab);
}
