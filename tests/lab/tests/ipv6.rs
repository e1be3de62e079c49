//! BGP over IPv6, of nodes whose pods have IPv4 alone: the mesh, a router that is not ours, services, and what is shown of it.

use lab_tests::bgp::{ExternalRouter, ROUTER6, SOON, apply, configure, found, mesh_is_up, session};
use lab_tests::{Lab, PODS, cases, suite, within};
use serde_json::json;
use std::process::ExitCode;

fn main() -> ExitCode {
    suite::run(
        &["--mode", "ipip"],
        cases![
            node_status_shows_the_mesh_of_each_family_that_the_nodes_have,
            a_router_over_ipv6_gives_routes_that_outlive_the_agent_and_none_that_cannot_be,
            services_are_told_over_ipv6_with_the_communities_of_their_prefixes,
            without_its_address_a_node_speaks_ipv4_alone,
            nodes_find_their_addresses_and_follow_them,
        ],
    )
}

const NODES6: [(&str, &str); 3] =
    [("master1", "fd00:50::161"), ("master2", "fd00:50::162"), ("master3", "fd00:50::163")];

fn is_established(lab: &Lab, node: &str, peer: &str) -> bool {
    session(lab, node, peer).is_some_and(|line| line.contains("Established"))
}

/// Every node has an IPv6 address, and speaks with every other one over it.
fn with_ipv6(lab: &Lab) {
    // Who hears of an address first calls, and is a stranger until the other has heard of it.
    suite::allow_drops(&["nft bgp-stranger"]);
    lab.give_ipv6();
    mesh6_is_up(lab);
}

fn mesh6_is_up(lab: &Lab) {
    for (node, own) in NODES6 {
        for (_, peer) in NODES6.iter().filter(|(_, peer)| *peer != own) {
            within(SOON, &format!("{node} and {peer} talk"), || is_established(lab, node, peer));
        }
    }
}

/// The lines of `calicoctl node status` from a headline on, without times.
fn section(lab: &Lab, headline: &str) -> String {
    let status = lab.exec("master1", "calicoctl node status");
    let (_, section) = status.split_once(headline).unwrap_or_else(|| panic!("no {headline} in {status}"));
    let blank = |cell: &str| {
        let is_time = cell.len() == 10 && cell.matches(':').count() == 2;
        if is_time { " HH:MM:SS ".to_owned() } else { cell.to_owned() }
    };
    section.split('|').map(blank).collect::<Vec<_>>().join("|")
}

fn node_status_shows_the_mesh_of_each_family_that_the_nodes_have(lab: &Lab) {
    mesh_is_up(lab);
    let before = lab.exec("master1", "calicoctl node status");
    assert!(!before.contains("IPv6"), "{before}");
    with_ipv6(lab);
    assert_eq!(
        section(lab, "IPv6 BGP status\n"),
        "+--------------+-------------------+-------+----------+-------------+\n\
         | PEER ADDRESS |     PEER TYPE     | STATE |  SINCE   |    INFO     |\n\
         +--------------+-------------------+-------+----------+-------------+\n\
         | fd00:50::162 | node-to-node mesh | up    | HH:MM:SS | Established |\n\
         | fd00:50::163 | node-to-node mesh | up    | HH:MM:SS | Established |\n\
         +--------------+-------------------+-------+----------+-------------+\n\n"
    );
    let status = lab.json("calicoctl node status -o json");
    let shown = &status["bgp"]["v6"][0];
    assert_eq!(shown["name"], "Mesh_fd00_50__162", "{status}");
    assert_eq!(shown["localAddress"], "fd00:50::161", "{status}");
    assert_eq!(shown["peerRouterID"], "192.168.50.162", "{status}");
    assert_eq!(shown["families"], json!(["IPv6 unicast"]), "{status}");
    assert_eq!(shown["received"], 0, "no pod has an IPv6 address: {status}");
    assert_eq!(status["bgp"]["v4"][0]["received"], 1, "{status}");

    let elsewhere = lab.json("calicoctl node status --node master2 -o json");
    assert_eq!(elsewhere["agent"]["birdV6"]["state"], "Ready", "{elsewhere}");
    assert_eq!(elsewhere["bgp"]["numberEstablishedV6"], 2, "{elsewhere}");
    assert_eq!(elsewhere["bgp"]["peersV6"][0]["peerIP"], "fd00:50::161", "{elsewhere}");
    let table = lab.exec("master1", "calicoctl node status --node master2");
    assert!(table.contains("IPv6 BGP status\n") && table.contains("| fd00:50::163 |"), "{table}");
    lab.ping_all(&PODS);
}

fn a_router_over_ipv6_gives_routes_that_outlive_the_agent_and_none_that_cannot_be(lab: &Lab) {
    with_ipv6(lab);
    let prefixes = ["2001:db8:77::/48", "::/0", "fd00:50::162/128"];
    let router = ExternalRouter::start(lab, ROUTER6, &prefixes);
    let (given, lies) = (prefixes[0], &prefixes[1..]);
    let route = |node: &str| lab.exec(node, &format!("ip -o -6 route show {given}"));
    for node in lab.nodes() {
        within(SOON, &format!("{node} has the router's route"), || {
            route(&node).starts_with(&format!("{given} via {ROUTER6} dev ens192 proto 80"))
        });
    }
    let global = section(lab, "IPv6 BGP status\n");
    let rows: Vec<&str> = global.lines().filter(|line| line.starts_with("| fd00")).collect();
    // As wide as the others' kinds.
    assert_eq!(rows[0], "| fd00:50::20  | global            | up    | HH:MM:SS | Established |", "{global}");
    for lie in lies {
        let said = format!("says that {lie} is behind {ROUTER6}");
        within(SOON, &format!("{lie} is refused"), || {
            lab.exec("master1", "calicoctl node status").contains(&said)
        });
        assert_eq!(lab.exec("master1", &format!("ip -6 route show {lie} proto 80")), "");
    }
    let up = found(lab, "master1", ROUTER6);
    assert_eq!(up["name"], "Global_fd00_50__20", "{up}");
    assert_eq!((&up["received"], &up["peerASNumber"]), (&3.into(), &65001.into()), "{up}");

    let mut monitor = testkit::netns::command(&lab.netns("master1"), "ip");
    let mut monitor = testkit::process::Guard::spawn(monitor.args(["-6", "monitor", "route"]));
    lab.verb(&["kill", "node-master1"]);
    lab.verb(&["start", "node-master1"]);
    within(SOON, "the router and master1 talk again", || {
        is_established(lab, "master1", ROUTER6) && found(lab, "master1", ROUTER6)["received"] == 3
    });
    mesh6_is_up(lab);
    drop(router);
    within(SOON, "without the router there is no route", || route("master1").is_empty());
    monitor.kill().expect("it runs");
    let (moved, _) = monitor.finish(SOON);
    let moved: Vec<&str> = moved.lines().filter(|line| line.contains(given)).collect();
    assert!(moved.len() == 1 && moved[0].starts_with("Deleted "), "it moved just once: {moved:?}");
}

fn services_are_told_over_ipv6_with_the_communities_of_their_prefixes(lab: &Lab) {
    with_ipv6(lab);
    let router = ExternalRouter::start(lab, ROUTER6, &[]);
    configure(
        lab,
        r#"{"serviceClusterIPs":[{"cidr":"fd00:96::/112"}],"serviceLoadBalancerIPs":[{"cidr":"fd00:97::/112"}],
            "communities":[{"name":"ours","value":"64512:77"}],
            "prefixAdvertisements":[{"cidr":"fd00:96::/112","communities":["ours"]}]}"#,
    );
    let nodes = NODES6.map(|(_, addr)| addr);
    for range in ["fd00:96::/112", "fd00:97::/112"] {
        within(SOON, &format!("every node tells {range}"), || router.nodes_of(range) == nodes);
    }
    let told = router.ask("show route all fd00:96::/112");
    assert_eq!(told.matches("BGP.community: (64512,77)").count(), 3, "{told}");
    let other = router.ask("show route all fd00:97::/112");
    assert!(!other.contains("BGP.community"), "{other}");
    let own = found(lab, "master1", ROUTER6);
    assert_eq!(own["advertised"], 2, "{own}");
    configure(lab, "{}");
    within(SOON, "no range is told", || router.nodes_of("fd00:96::/112").is_empty());
}

fn without_its_address_a_node_speaks_ipv4_alone(lab: &Lab) {
    with_ipv6(lab);
    // The router that stays configured while this node has no address of its family.
    apply(lab, "BGPPeer", "over-ipv6", &format!("{{peerIP: '{ROUTER6}', asNumber: 65001}}"));
    within(SOON, "it is awaited", || session(lab, "master1", ROUTER6).is_some());
    lab.exec("master1", r#"calicoctl patch node master1 -p '{"spec":{"bgp":{"ipv6Address":null}}}'"#);
    within(SOON, "the family is gone", || {
        !lab.exec("master1", "calicoctl node status").contains("IPv6 BGP status")
    });
    within(SOON, "master2 awaits it no longer", || session(lab, "master2", "fd00:50::161").is_none());
    assert!(is_established(lab, "master2", "fd00:50::163"), "the others talk");
    mesh_is_up(lab);
    lab.exec("master1", "calicoctl delete bgppeer over-ipv6");
}

fn nodes_find_their_addresses_and_follow_them(lab: &Lab) {
    // Until the others know an address, whoever calls from it is a stranger.
    suite::allow_drops(&["nft bgp-stranger"]);
    for (node, _) in NODES6 {
        lab.exec(node, "ip -6 address flush dev ens192 scope global");
        lab.exec(
            node,
            &format!(r#"calicoctl patch node {node} -p '{{"spec":{{"bgp":{{"ipv6Address":null}}}}}}'"#),
        );
    }
    let methods = ["first-found", "interface=^ens", "cidr=fd00:50::/64"];
    let agents: Vec<_> = NODES6
        .iter()
        .zip(methods)
        .map(|((node, _), method)| {
            let method = format!("--ip6-autodetection-method={method}");
            lab.take_over(node, &[], &["--ip6=autodetect", &method], &[])
        })
        .collect();
    within(SOON, "it is said that there is none", || {
        lab.log("node-master1").contains("this node has no IPv6 address yet: no interface has a usable")
    });
    mesh_is_up(lab);
    // A router announces its prefix only now. What is not to stay comes first by number.
    for (node, own) in NODES6 {
        lab.exec(node, "ip address add fd00:50::1/64 dev ens192 nodad preferred_lft 0");
        lab.exec(node, &format!("ip address add {own}/64 dev ens192"));
    }
    mesh6_is_up(lab);
    let said = |node: &str| {
        lab.json(&format!("calicoctl get node {node} -o json"))["spec"]["bgp"]["ipv6Address"].clone()
    };
    for (node, own) in NODES6 {
        assert_eq!(said(node), format!("{own}/64"));
    }
    let status = section(lab, "IPv6 BGP status\n");
    assert!(status.contains("| fd00:50::162 | node-to-node mesh | up    |"), "{status}");

    let (gone, new) = ("fd00:50::162", "fd00:50::172");
    lab.exec("master2", &format!("ip address add {new}/64 dev ens192 nodad"));
    lab.exec("master2", &format!("ip address del {gone}/64 dev ens192"));
    for peer in ["master1", "master3"] {
        within(SOON, &format!("{peer} and {new} talk"), || is_established(lab, peer, new));
        assert!(session(lab, peer, gone).is_none(), "{peer} awaits {gone} no longer");
    }
    assert_eq!(said("master2"), format!("{new}/64"));
    mesh_is_up(lab);
    lab.ping_all(&PODS);
    drop(agents);
    for (node, _) in NODES6 {
        lab.verb(&["start", &format!("node-{node}")]);
    }
    mesh_is_up(lab);
}
