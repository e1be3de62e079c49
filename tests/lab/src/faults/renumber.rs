//! A node's address changes, as when a network is renumbered: who has nothing to do with the node notices nothing, and its own
//! pods are reached again as soon as everybody knows the new address.

use super::sample_between;
use crate::suite::allow_drops;
use crate::{Lab, PODS, within};
use serde_json::Value;
use std::thread::sleep;
use std::time::Duration;

const NODE: &str = "master2";
const OLD: &str = "192.168.50.162";
const NEW: &str = "192.168.50.172";
/// For how long at most nothing reaches the node's pods or comes from them, and until the whole cluster knows.
const BACK: Duration = Duration::from_secs(5);
/// A pod of master1 that speaks with the node's.
const NEIGHBOUR: &str = "f47";

pub fn f47_a_node_with_another_address_is_reached_by_it_and_others_notice_nothing(lab: &Lab) {
    // What still goes by an address that the node has no longer, or comes from one that is no node's.
    allow_drops(&["master2: Ip.OutNoRoutes", "master2: Ip.OutDiscards", "master2: tunl0 rx drops"]);
    // The module's word for an outer packet without a route.
    allow_drops(&["master2: tunl0 tx errors"]);
    allow_drops(&["nft ipip-refused", "nft vxlan-refused", "nft bgp-stranger"]);
    let [bystander, renumbered, other] = PODS;
    let finds_its_address = ["--ip=autodetect", "--ip-autodetection-method=cidr=192.168.50.0/24"];
    let agent = lab.take_over(NODE, &[], &finds_its_address, &[]);
    lab.verb(&["pod", "add", NEIGHBOUR, "--node", "master1"]);
    sessions_are_up(lab, OLD);
    for (from, to) in [(OLD, NEW), (NEW, OLD)] {
        let others = sample_between(lab, bystander, other);
        let own = sample_between(lab, ("master1", NEIGHBOUR, ""), renumbered);
        sleep(Duration::from_millis(500));
        renumber(lab, from, to);
        let took = within(BACK, &format!("every node knows {to}"), || {
            ["master1", "master3"].iter().all(|peer| {
                let ways = leads_to(lab, peer);
                ways.contains(&format!("{to} ")) && !ways.contains(&format!("{from} "))
            })
        });
        // What TCP has lost it sends again after a while, which doubles with each time.
        sleep(3 * took + Duration::from_secs(1));
        let (others, own) = (others.stop(), own.stop());
        others.assert_nothing_lost();
        own.assert_dense();
        let gap = own.forth.longest_gap.max(own.back.longest_gap);
        println!("  {to} is known in {took:?}; nothing came through for {gap:?}");
        assert!(gap < BACK * testkit::slowness(), "{own}");
        assert_eq!(own.stream.error, None, "{own}");
        assert_eq!(own.stream.written, own.stream_read, "{own}");
        sessions_are_up(lab, to);
        lab.ping_all(&PODS);
    }
    drop(agent);
    lab.verb(&["start", &format!("node-{NODE}")]);
    lab.verb(&["pod", "delete", NEIGHBOUR]);
    sessions_are_up(lab, OLD);
}

/// master1 speaks BGP with the node by this address, and by no other; or not at all, if the lab has no BGP.
fn sessions_are_up(lab: &Lab, addr: &str) {
    let sessions = || lab.agent("master1")["bgp"]["v4"].as_array().cloned().unwrap_or_default();
    within(Duration::from_secs(60), &format!("master1 and {addr} talk"), || {
        let sessions = sessions();
        let far = |session: &Value| session["address"].as_str().unwrap_or_default().to_owned();
        let is_up = |session: &Value| {
            session["state"] == "up" && ([OLD, NEW].contains(&&*far(session)) == (far(session) == addr))
        };
        sessions.is_empty()
            || sessions.iter().all(is_up) && sessions.iter().any(|session| far(session) == addr)
    });
}

/// Takes the node's address away and gives it another, as who renumbers a network does.
fn renumber(lab: &Lab, from: &str, to: &str) {
    lab.exec(
        NODE,
        &format!(
            "ip address del {from}/24 dev ens192; ip address add {to}/24 dev ens192; \
             ip route replace default via 192.168.50.1 dev ens192"
        ),
    );
}

/// All by which packets find their way from a node to another one.
fn leads_to(lab: &Lab, node: &str) -> String {
    lab.exec(node, "ip -4 route show; ip -4 neigh show nud permanent; bridge fdb show dev vxlan.calico 2>/dev/null; true")
}
