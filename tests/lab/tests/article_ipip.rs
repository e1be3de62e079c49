//! The article's transcript in IPIP mode, line by line, by whatever driver this kernel has.

use lab_tests::article::{
    a_pod_reaches_its_own_node_and_other_nodes, a_pod_reaches_the_world_with_its_nodes_address,
    ipam_check_is_clean,
};
use lab_tests::{Capture, Lab, PODS, cases, suite, within};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    suite::run(
        &[],
        cases![
            calicoctl_shows_the_pool_in_ipip_mode,
            the_agent_says_which_driver_it_uses,
            node_status_shows_each_nodes_mesh,
            node_status_tells_programs_of_sessions_and_routes_here_and_elsewhere,
            route_n_leads_to_the_other_blocks_through_tunl0,
            ifconfig_shows_tunl0,
            every_pair_of_pods_pings,
            on_the_wire_two_ip_headers_are_around_a_ping,
            a_pod_reaches_the_world_with_its_nodes_address,
            a_pod_reaches_its_own_node_and_other_nodes,
            ipam_check_is_clean,
            the_nodes_say_their_tunnel_addresses,
            ipip_mode_never_takes_the_tunnel_away_and_the_pods_still_talk,
        ],
    )
}

fn driver(lab: &Lab) -> String {
    lab.agent("master1")["ipip"].as_str().unwrap_or_default().to_owned()
}

fn calicoctl_shows_the_pool_in_ipip_mode(lab: &Lab) {
    let text = lab.exec("master1", "calicoctl get ippool -o wide");
    assert_eq!(
        text,
        "NAME                  CIDR         NAT    IPIPMODE   VXLANMODE   DISABLED   DISABLEBGPEXPORT   SELECTOR   ASSIGNMENTMODE   \n\
         default-ipv4-ippool   6.2.0.0/16   true   Always     Never       false      false              all()      Automatic        \n\n"
    );
}

fn the_agent_says_which_driver_it_uses(lab: &Lab) {
    let kind = match driver(lab).as_str() {
        "kernel" => "ipip",
        "stand-in" => "ifb",
        other => panic!("`{other}` is no driver"),
    };
    let links = lab.exec("master1", "ip -d link show tunl0");
    assert!(links.contains(&format!("\n    {kind} ")), "{links}");
    assert_eq!(lab.agent("master1")["accepts"], serde_json::json!(["ipip"]));
    let status = lab.exec("master1", "calicoctl status");
    assert!(status.contains("\n  tunnels that are let in: ipip\n"), "{status}");
}

/// The article's nodes, by their addresses.
const NODES: [(&str, &str); 3] =
    [("master1", "192.168.50.161"), ("master2", "192.168.50.162"), ("master3", "192.168.50.163")];

fn await_mesh(lab: &Lab, node: &str) {
    within(Duration::from_secs(20), &format!("both sessions of {node} are established"), || {
        lab.exec(node, "calicoctl node status").matches("Established").count() == 2
    });
}

/// A time of the day is whatever it is; it has the article's eight columns.
fn at_the_articles_time(text: &str) -> String {
    let since = |cell: &str| {
        let time = cell.trim();
        let is_time = time.len() == 8 && time.chars().all(|c| c.is_ascii_digit() || c == ':');
        if is_time { cell.replace(time, "02:07:01") } else { cell.to_owned() }
    };
    text.split('|').map(since).collect::<Vec<_>>().join("|")
}

fn node_status_shows_each_nodes_mesh(lab: &Lab) {
    for (node, own) in NODES {
        await_mesh(lab, node);
        let text = lab.exec(node, "calicoctl node status");
        let row = |peer: &str| format!("| {peer} | node-to-node mesh | up    | 02:07:01 | Established |\n");
        let rows: String = NODES.iter().filter(|(_, peer)| *peer != own).map(|(_, peer)| row(peer)).collect();
        let line = "+----------------+-------------------+-------+----------+-------------+\n";
        let head = "|  PEER ADDRESS  |     PEER TYPE     | STATE |  SINCE   |    INFO     |\n";
        assert_eq!(
            at_the_articles_time(&text),
            format!("Calico process is running.\n\nIPv4 BGP status\n{line}{head}{line}{rows}{line}\n"),
            "on {node}"
        );
    }
}

fn node_status_tells_programs_of_sessions_and_routes_here_and_elsewhere(lab: &Lab) {
    await_mesh(lab, "master1");
    let status = lab.json("calicoctl node status -o json");
    let session = &status["bgp"]["v4"][0];
    assert_eq!(session["name"], "Mesh_192_168_50_162", "{status}");
    assert_eq!(session["peerRouterID"], "192.168.50.162", "{status}");
    assert_eq!(session["peerASNumber"], 64512, "{status}");
    assert_eq!(session["localAddress"], "192.168.50.161", "{status}");
    assert_eq!(session["families"], serde_json::json!(["IPv4 unicast"]), "{status}");
    assert_eq!((&session["received"], &session["advertised"]), (&1.into(), &1.into()), "{status}");
    let to_master2 = serde_json::json!({"block": "6.2.180.0/26", "node": "master2",
        "path": "ipip via 192.168.50.162", "gateway": "192.168.50.162", "interface": "tunl0"});
    assert!(status["routes"].as_array().is_some_and(|routes| routes.contains(&to_master2)), "{status}");
    let yaml = lab.exec("master1", "calicoctl node status -o yaml");
    assert!(yaml.contains("peerRouterID: 192.168.50.162\n"), "{yaml}");

    let elsewhere = lab.json("calicoctl node status --node master2 -o json");
    assert_eq!(elsewhere["agent"]["birdV4"]["routerID"], "192.168.50.162", "{elsewhere}");
    assert_eq!(elsewhere["bgp"]["numberEstablishedV4"], 2, "{elsewhere}");
    let to_master1 = serde_json::json!({"destination": "6.2.137.64/26", "gateway": "192.168.50.161",
        "interface": "tunl0", "learnedFrom": {"sourceType": "Kernel"}, "type": "FIB"});
    let routes = elsewhere["routes"]["routesV4"].as_array();
    assert!(routes.is_some_and(|routes| routes.contains(&to_master1)), "{elsewhere}");
    let yaml = lab.exec("master1", "calicoctl node status --node master2 -o yaml");
    assert!(yaml.contains("interface: tunl0\n"), "{yaml}");
}

fn route_n_leads_to_the_other_blocks_through_tunl0(lab: &Lab) {
    let line = "route -n | egrep '(Destination|tunl0)'";
    let head = "Destination     Gateway         Genmask         Flags Metric Ref    Use Iface\n";
    let route = |block: &str, gateway: &str| {
        format!("{block:<15} {gateway:<15} 255.255.255.192 UG    0      0        0 tunl0\n")
    };
    let to1 = route("6.2.137.64", "192.168.50.161");
    let to2 = route("6.2.180.0", "192.168.50.162");
    let to3 = route("6.2.136.0", "192.168.50.163");
    assert_eq!(lab.exec("master1", line), format!("{head}{to3}{to2}"));
    assert_eq!(lab.exec("master2", line), format!("{head}{to3}{to1}"));
    assert_eq!(lab.exec("master3", line), format!("{head}{to1}{to2}"));
}

/// The stand-in differs where the device's type is named: it counts as one that could broadcast, and shows a MAC.
fn ifconfig_shows_tunl0(lab: &Lab) {
    for (node, addr) in [("master1", "6.2.137.65"), ("master2", "6.2.180.1"), ("master3", "6.2.136.2")] {
        let text = lab.exec(node, "ifconfig tunl0");
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        if driver(lab) == "kernel" {
            assert_eq!(lines[0], "tunl0: flags=193<UP,RUNNING,NOARP>  mtu 1480", "{text}");
            assert_eq!(lines[1], format!("inet {addr}  netmask 255.255.255.255"), "{text}");
            assert_eq!(lines[2], "tunnel   txqueuelen 1000  (IPIP Tunnel)", "{text}");
        } else {
            assert_eq!(lines[0], "tunl0: flags=195<UP,BROADCAST,RUNNING,NOARP>  mtu 1480", "{text}");
            assert_eq!(
                lines[1],
                format!("inet {addr}  netmask 255.255.255.255  broadcast 0.0.0.0"),
                "{text}"
            );
            assert!(lines[2].ends_with("txqueuelen 1000  (Ethernet)"), "{text}");
        }
        assert!(!text.contains("inet6"), "{text}");
    }
}

fn every_pair_of_pods_pings(lab: &Lab) {
    lab.ping_all(&PODS);
}

fn on_the_wire_two_ip_headers_are_around_a_ping(lab: &Lab) {
    let capture = Capture::start(lab, "master1", "ens192", 4, "proto 4");
    lab.exec("master2/ping-test-fljwb", "ping -n -c2 -i0.2 -W2 6.2.137.67");
    let packets = capture.decode(&["frame.protocols", "ip.proto", "ip.src", "ip.dst"]);
    let packet = |src: &str, dst: &str| format!("eth:ethertype:ip:ip:icmp:data\t4,1\t{src}\t{dst}");
    let there = packet("192.168.50.162,6.2.180.2", "192.168.50.161,6.2.137.67");
    let back = packet("192.168.50.161,6.2.137.67", "192.168.50.162,6.2.180.2");
    assert_eq!(packets, [there.clone(), back.clone(), there, back]);
}

fn the_nodes_say_their_tunnel_addresses(lab: &Lab) {
    let node = lab.json("kubectl get node master3 -o json");
    let annotations = &node["metadata"]["annotations"];
    assert_eq!(annotations["projectcalico.org/IPv4IPIPTunnelAddr"], "6.2.136.2");
    assert!(annotations["projectcalico.org/IPv4VXLANTunnelAddr"].is_null(), "{annotations}");
}

fn ipip_mode_never_takes_the_tunnel_away_and_the_pods_still_talk(lab: &Lab) {
    lab.patch_pool(r#"{"ipipMode":"Never"}"#);
    lab.await_device("ens192");
    for node in ["master1", "master2", "master3"] {
        within(Duration::from_secs(10), &format!("the tunnel of {node} is gone"), || {
            !lab.exec(node, "ip -o address show").contains("tunl0")
                && !lab.exec(node, "tc filter show dev ens192 ingress").contains("tortie")
        });
    }
    assert_eq!(lab.agent("master1")["accepts"], serde_json::json!([]));
    lab.talk_all(&PODS);
    lab.patch_pool(r#"{"ipipMode":"Always"}"#);
    lab.await_device("tunl0");
    lab.talk_all(&PODS);
    lab.patch_pool(r#"{"ipipMode":"Never","vxlanMode":"Always"}"#);
    lab.await_device("vxlan.calico");
    lab.talk_all(&PODS);
    lab.patch_pool(r#"{"ipipMode":"Always","vxlanMode":"Never"}"#);
    lab.await_device("tunl0");
    lab.talk_all(&PODS);
}
