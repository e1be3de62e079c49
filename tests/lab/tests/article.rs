//! The article's transcript, line by line, and the change of mode that it ends with.

use lab_tests::article::{
    a_pod_reaches_its_own_node_and_other_nodes, a_pod_reaches_the_world_with_its_nodes_address,
    ipam_check_is_clean,
};
use lab_tests::{Capture, Lab, PODS, cases, suite, within};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    suite::run(
        &["--mode", "vxlan"],
        cases![
            kubectl_shows_three_ready_masters,
            kubectl_shows_the_pods_with_their_addresses,
            calicoctl_shows_the_pool_in_vxlan_mode,
            calicoctl_node_status_says_that_no_bgp_runs,
            route_n_leads_to_the_other_blocks_through_the_tunnel,
            ifconfig_shows_the_tunnel_device,
            every_pair_of_pods_pings,
            every_pair_of_pods_carries_tcp,
            kubectl_exec_pings_as_in_the_article,
            kubectl_exec_has_input_exit_codes_and_a_terminal,
            kubectl_exec_leaves_nothing_in_a_pod_that_its_client_left,
            on_the_wire_five_layers_are_around_a_ping,
            a_pod_reaches_the_world_with_its_nodes_address,
            a_pod_reaches_its_own_node_and_other_nodes,
            ipam_check_is_clean,
            vxlan_mode_never_takes_the_tunnel_away_and_the_pods_still_talk,
        ],
    )
}

/// The words of a table's lines.
fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

fn kubectl_shows_three_ready_masters(lab: &Lab) {
    let text = lab.exec("master1", "kubectl get node -owide");
    let lines = words(&text);
    assert_eq!(
        lines[0].join(" "),
        "NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME"
    );
    assert_eq!(lines.len(), 4, "{text}");
    for (n, line) in lines[1..].iter().enumerate() {
        let name = format!("master{}", n + 1);
        assert_eq!(&line[..3], [name.as_str(), "Ready", "master"], "{text}");
        assert_eq!(line[5], format!("192.168.50.16{}", n + 1), "{text}");
    }
}

fn kubectl_shows_the_pods_with_their_addresses(lab: &Lab) {
    let text = lab.exec("master1", "kubectl get po -owide");
    let lines = words(&text);
    assert_eq!(lines[0].join(" "), "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES");
    for (node, pod, address) in PODS {
        let line =
            lines.iter().find(|line| line[0] == pod).unwrap_or_else(|| panic!("{pod} is not in\n{text}"));
        assert_eq!(&line[1..4], ["1/1", "Running", "0"], "{text}");
        assert_eq!(&line[5..], [address, node, "<none>", "<none>"], "{text}");
    }
}

fn calicoctl_shows_the_pool_in_vxlan_mode(lab: &Lab) {
    let text = lab.exec("master1", "calicoctl get ippool -o wide");
    assert_eq!(
        text,
        "NAME                  CIDR         NAT    IPIPMODE   VXLANMODE   DISABLED   DISABLEBGPEXPORT   SELECTOR   ASSIGNMENTMODE   \n\
         default-ipv4-ippool   6.2.0.0/16   true   Never      Always      false      false              all()      Automatic        \n\n"
    );
}

fn calicoctl_node_status_says_that_no_bgp_runs(lab: &Lab) {
    for node in ["master1", "master2", "master3"] {
        let text = lab.exec(node, "calicoctl node status");
        let said =
            "Calico process is running.\n\nNone of the BGP backend processes (BIRD or GoBGP) are running.\n";
        assert_eq!(text.trim_end(), said.trim_end(), "{node}");
    }
}

fn route_n_leads_to_the_other_blocks_through_the_tunnel(lab: &Lab) {
    let line = "route -n | egrep '(Destination|vxlan)'";
    let head = "Destination     Gateway         Genmask         Flags Metric Ref    Use Iface\n";
    let route = |block: &str, gateway: &str| {
        format!("{block:<15} {gateway:<15} 255.255.255.192 UG    0      0        0 vxlan.calico\n")
    };
    let to1 = route("6.2.137.64", "6.2.137.65");
    let to2 = route("6.2.180.0", "6.2.180.1");
    let to3 = route("6.2.136.0", "6.2.136.3");
    assert_eq!(lab.exec("master1", line), format!("{head}{to3}{to2}"));
    assert_eq!(lab.exec("master2", line), format!("{head}{to3}{to1}"));
    assert_eq!(lab.exec("master3", line), format!("{head}{to1}{to2}"));
}

fn ifconfig_shows_the_tunnel_device(lab: &Lab) {
    let text = lab.exec("master1", "ifconfig vxlan.calico");
    for part in [
        "vxlan.calico: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 1450",
        "inet 6.2.137.65  netmask 255.255.255.255  broadcast 0.0.0.0",
        "inet6 fe80::",
        "ether 66:",
        "txqueuelen 0  (Ethernet)",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
}

fn every_pair_of_pods_pings(lab: &Lab) {
    lab.ping_all(&PODS);
}

fn kubectl_exec_pings_as_in_the_article(lab: &Lab) {
    let text = lab.exec("master1", "kubectl exec ping-test-fljwb -- ping -c 2 6.2.137.67");
    assert!(text.contains("2 packets transmitted, 2 received, 0% packet loss"), "{text}");
}

fn kubectl_exec_has_input_exit_codes_and_a_terminal(lab: &Lab) {
    let pod = "kubectl exec -i ping-test-fljwb --";
    assert_eq!(
        lab.exec("master1", &format!("seq 100000 | {pod} md5sum")),
        lab.exec("master1", "seq 100000 | md5sum")
    );
    for (command, code, said) in [
        ("sh -c 'echo out; echo err >&2; exit 7'", 7, "out\nerr\ncommand terminated with exit code 7\n"),
        (
            "nosuch",
            127,
            "cannot run \"nosuch\": No such file or directory (os error 2)\ncommand terminated with exit code 127\n",
        ),
    ] {
        let output = lab.try_exec("master1", &format!("{pod} {command} </dev/null"));
        let text = [output.stdout, output.stderr].concat();
        assert_eq!(
            (output.status.code(), String::from_utf8_lossy(&text).as_ref()),
            (Some(code), said),
            "{command}"
        );
    }
    // script(1) gives kubectl the terminal that it wants.
    let line = "script -qec 'stty rows 33 cols 101; kubectl exec -it ping-test-fljwb -- sh -c \"sleep 1; tty; stty size\"' /dev/null";
    let text = lab.exec("master1", line);
    assert!(text.contains("/dev/pts/") && text.contains("33 101"), "{text}");
    let refused = lab.try_exec("master1", "kubectl logs ping-test-fljwb");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("has no log, for no program of its image runs"), "{said}");
}

fn kubectl_exec_leaves_nothing_in_a_pod_that_its_client_left(lab: &Lab) {
    lab.try_exec("master1", "timeout -s INT 2 kubectl exec ping-test-fljwb -- sleep 4711");
    within(Duration::from_secs(5), "the command ends with its client", || {
        lab.exec("master1", "ps -eo args | grep -c '^sleep 4711' || true").trim() == "0"
    });
}

fn every_pair_of_pods_carries_tcp(lab: &Lab) {
    lab.talk_all(&PODS);
}

/// What is on master1's uplink while a pod of master2 pings a pod of master1 twice.
fn seen(lab: &Lab, filter: &str, fields: &[&str]) -> Vec<String> {
    let capture = Capture::start(lab, "master1", "ens192", 4, filter);
    lab.exec("master2/ping-test-fljwb", "ping -n -c2 -i0.2 -W2 6.2.137.67");
    capture.decode(fields)
}

fn on_the_wire_five_layers_are_around_a_ping(lab: &Lab) {
    let fields = ["frame.protocols", "ip.src", "ip.dst", "udp.dstport", "vxlan.vni"];
    let packets = seen(lab, "udp port 4789", &fields);
    let (there, back) = (
        "192.168.50.162,6.2.180.2\t192.168.50.161,6.2.137.67",
        "192.168.50.161,6.2.137.67\t192.168.50.162,6.2.180.2",
    );
    let layers = "eth:ethertype:ip:udp:vxlan:eth:ethertype:ip:icmp:data";
    let packet = |addresses: &str| format!("{layers}\t{addresses}\t4789\t4096");
    assert_eq!(packets, [packet(there), packet(back), packet(there), packet(back)]);
}

fn vxlan_mode_never_takes_the_tunnel_away_and_the_pods_still_talk(lab: &Lab) {
    lab.change_mode("Never", "ens192");
    for node in ["master1", "master2", "master3"] {
        within(Duration::from_secs(10), &format!("the tunnel device of {node} is gone"), || {
            !lab.exec(node, "ip -o link show").contains("vxlan.calico")
        });
    }
    lab.talk_all(&PODS);
    let packets = seen(lab, "icmp or udp port 4789", &["frame.protocols", "ip.src", "ip.dst"]);
    let packet = |src: &str, dst: &str| format!("eth:ethertype:ip:icmp:data\t{src}\t{dst}");
    assert_eq!(packets[0], packet("6.2.180.2", "6.2.137.67"));
    assert_eq!(packets[1], packet("6.2.137.67", "6.2.180.2"));
    let route = lab.exec("master1", "route -n | grep 6.2.180.0");
    assert_eq!(words(&route)[0].join(" "), "6.2.180.0 192.168.50.162 255.255.255.192 UG 0 0 0 ens192");

    lab.change_mode("Always", "vxlan.calico");
    lab.talk_all(&PODS);
}
