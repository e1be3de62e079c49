//! Four nodes on two subnets in mode CrossSubnet: plain inside a subnet, in the tunnel between subnets.

use lab_tests::faults::uplink::f48_a_smaller_mtu_on_the_way_is_told_to_the_pods;
use lab_tests::{Capture, Lab, PODS, cases, suite};
use std::process::ExitCode;

fn main() -> ExitCode {
    suite::run(
        &["--mode", "vxlan-cross-subnet", "--router"],
        cases![
            every_pair_of_pods_talks,
            inside_the_subnet_packets_are_plain,
            across_the_router_packets_are_in_the_tunnel,
            routes_say_which_is_which,
            f48_a_smaller_mtu_on_the_way_is_told_to_the_pods,
            direct_mode_keeps_the_tunnel_where_no_router_carries_the_blocks,
        ],
    )
}

fn pods(lab: &Lab) -> Vec<(&str, &str, String)> {
    let mut pods: Vec<_> = PODS.map(|(node, pod, address)| (node, pod, address.to_owned())).into();
    pods.push(("master4", "ping-test-4", lab.place("master4", "ping-test-4").addr.to_string()));
    pods
}

fn every_pair_of_pods_talks(lab: &Lab) {
    let pods = pods(lab);
    let pods: Vec<(&str, &str, &str)> =
        pods.iter().map(|(node, pod, addr)| (*node, *pod, addr.as_str())).collect();
    lab.talk_all(&pods);
}

fn inside_the_subnet_packets_are_plain(lab: &Lab) {
    let capture = Capture::start(lab, "master1", "ens192", 2, "icmp or udp port 4789");
    lab.ping("master2/ping-test-fljwb", "6.2.137.67");
    let packets = capture.decode(&["frame.protocols", "ip.src"]);
    assert_eq!(packets[0], "eth:ethertype:ip:icmp:data\t6.2.180.2");
}

fn across_the_router_packets_are_in_the_tunnel(lab: &Lab) {
    let capture = Capture::start(lab, "master1", "ens192", 2, "icmp or udp port 4789");
    lab.ping("master4/ping-test-4", "6.2.137.67");
    let packets = capture.decode(&["frame.protocols", "ip.dst"]);
    let layers = "eth:ethertype:ip:udp:vxlan:eth:ethertype:ip:icmp:data";
    assert_eq!(packets[0], format!("{layers}\t192.168.50.161,6.2.137.67"));
}

fn routes_say_which_is_which(lab: &Lab) {
    let routes = lab.exec("master1", "ip -4 route show proto 80");
    let by = |device: &str| routes.lines().filter(|route| route.contains(&format!("dev {device}"))).count();
    assert_eq!((by("ens192"), by("vxlan.calico")), (2, 1), "{routes}");
    let routes = lab.exec("master4", "ip -4 route show proto 80");
    assert_eq!(routes.lines().filter(|route| route.contains("dev vxlan.calico")).count(), 3, "{routes}");
}

fn direct_mode_keeps_the_tunnel_where_no_router_carries_the_blocks(lab: &Lab) {
    lab.patch_mode("Never");
    let route = |to: &str| lab.exec("master1", &format!("ip route get {to}"));
    lab_tests::within(std::time::Duration::from_secs(10), "master1 routes plainly to its own subnet", || {
        route("6.2.180.2").contains("dev ens192")
    });
    let far = lab.place("master4", "ping-test-4").addr.to_string();
    assert!(route(&far).contains("dev vxlan.calico"), "{}", route(&far));
    every_pair_of_pods_talks(lab);
    lab.patch_mode("CrossSubnet");
    every_pair_of_pods_talks(lab);
}
