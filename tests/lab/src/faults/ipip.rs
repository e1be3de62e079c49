//! IP in IP: what is deleted by hand comes back, what is forged is dropped. What concerns the stand-in alone proves nothing
//! where the kernel has the module, and says so.

use super::meddle::{AT_ONCE, DEVICE, repaired};
use super::spoof::{PORT, SENT, delivered};
use crate::suite::{allow_drops, expect_drops};
use crate::{Lab, PODS, within};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use testkit::netns;
use testkit::packet::{self, Ipv4};

const NODE1: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 161);
const NODE2: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 162);

fn has_stand_in(lab: &Lab) -> bool {
    lab.agent("master1")["ipip"] == "stand-in"
}

pub fn f40_a_deleted_address_of_tunl0_comes_back(lab: &Lab) {
    repaired(lab, "address 6.2.137.65/32 dev tunl0", "ip address del 6.2.137.65/32 dev tunl0", AT_ONCE);
}

pub fn f40_a_tunl0_that_was_set_down_comes_up(lab: &Lab) {
    repaired(lab, "link tunl0", "ip link set tunl0 down", DEVICE);
}

/// The module's own device cannot be deleted.
pub fn f40_a_deleted_stand_in_comes_back_with_all_that_hangs_on_it(lab: &Lab) {
    if has_stand_in(lab) {
        // What is sent before its filter hangs on it.
        allow_drops(&["master1: tunl0 rx drops"]);
        repaired(lab, "link tunl0", "ip link del tunl0", DEVICE);
    }
}

pub fn f40_a_deleted_filter_of_the_uplink_comes_back(lab: &Lab) {
    let object = "filter dev ens192 ingress";
    repaired(lab, object, "tc filter del dev ens192 ingress protocol ip prio 64", AT_ONCE);
    repaired(lab, object, "tc filter del dev ens192 ingress", AT_ONCE);
}

pub fn f40_a_deleted_place_for_filters_comes_back(lab: &Lab) {
    repaired(lab, "filter dev ens192 ingress", "tc qdisc del dev ens192 clsact", AT_ONCE);
}

pub fn f40_a_deleted_filter_of_tunl0_comes_back(lab: &Lab) {
    if has_stand_in(lab) {
        repaired(lab, "filter dev tunl0 egress", "tc filter del dev tunl0 egress", AT_ONCE);
    }
}

fn pod(n: usize) -> Ipv4Addr {
    PODS[n].2.parse().expect("an address")
}

/// From a pod to that of master1.
fn inner(from: usize) -> Ipv4 {
    Ipv4::udp(pod(from), pod(0), PORT, b"!")
}

pub fn s05_a_pods_own_tunnel_packets_do_not_leave_its_node(lab: &Lab) {
    expect_drops(&["master2: nft pod-ipip"]);
    let place = lab.place(PODS[1].0, PODS[1].1);
    let packet = inner(2).inside(pod(1), NODE1);
    assert_eq!(delivered(lab, || netns::inside(&place.netns, || packet::send(&packet, SENT))), 0);
}

pub fn s16_ip_in_ip_from_no_node_or_with_anothers_source_is_dropped(lab: &Lab) {
    expect_drops(&["master1: nft ipip-refused"]);
    let node2 = lab.netns("master2");
    let from_node2 =
        |packet: &Ipv4, count| delivered(lab, || netns::inside(&node2, || packet::send(packet, count)));
    assert_eq!(from_node2(&inner(1).inside(NODE2, NODE1), 100), 100, "a node's packet from its own block");
    assert_eq!(from_node2(&inner(2).inside(NODE2, NODE1), SENT), 0, "from another node's block");
    let stranger = lab.stranger("192.168.50.99/24");
    stranger.run("ping -n -c1 -W2 192.168.50.161");
    let own = inner(1).inside(Ipv4Addr::new(192, 168, 50, 99), NODE1);
    assert_eq!(delivered(lab, || stranger.inside(|| packet::send(&own, SENT))), 0, "a stranger's packets");
}

pub fn s17_who_sends_in_anothers_name_is_named_with_whose_it_is(lab: &Lab) {
    expect_drops(&["master1: nft ipip-refused"]);
    let master2 = lab.netns("master2");
    let stranger = lab.stranger("192.168.50.99/24");
    stranger.run("ping -n -c1 -W2 192.168.50.161");
    let lines = [
        (
            "TunnelSpoofed: node master2 (192.168.50.162) sent ",
            "from addresses of node master3 (192.168.50.163); all were dropped",
        ),
        (
            "TunnelSpoofed: 192.168.50.99, which is no node, sent ",
            "from addresses of node master2 (192.168.50.162); all were dropped",
        ),
    ];
    let is_said = |text: &str| {
        lines.iter().all(|(who, whose)| text.lines().any(|line| line.contains(who) && line.contains(whose)))
    };
    let logged = || lab.log("node-master1").matches("TunnelSpoofed: ").count();
    let (began, before) = (Instant::now(), logged());
    // What was counted before an agent looked first is no news to it.
    within(Duration::from_secs(30), "node status names both ends", || {
        netns::inside(&master2, || packet::send(&inner(2).inside(NODE2, NODE1), 10));
        let strangers = inner(1).inside(Ipv4Addr::new(192, 168, 50, 99), NODE1);
        stranger.inside(|| packet::send(&strangers, 10));
        is_said(&lab.exec("master1", "calicoctl node status"))
    });
    let status = lab.json("calicoctl node status -o json");
    let impostors = status["impostors"].as_array().expect("a list");
    let of_master2 = impostors.iter().find(|one| one["senderNode"] == "master2").expect("it is named");
    assert_eq!(of_master2["holderNode"], "master3");
    assert!(of_master2["packets"].as_u64().is_some_and(|packets| packets >= 10), "{status}");
    let most = began.elapsed().as_secs() / 60 + 1;
    let lines = u64::try_from(logged() - before).expect("few");
    // A case before this one may have been the first.
    assert!(logged() > 0 && lines <= most, "{lines} lines in the log in {:?}", began.elapsed());
    lab.ping_all(&PODS);
}

pub fn s58_a_planted_filter_is_left_alone_and_said(lab: &Lab) {
    let show = "tc filter show dev ens192 ingress";
    let ours = lab.exec("master1", show);
    let tag =
        |text: &str| text.split(" tag ").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned);
    lab.exec(
        "master1",
        "tc filter replace dev ens192 ingress protocol ip prio 64 handle 1 bpf bytecode '1,6 0 0 4294967295' classid 1:1",
    );
    let back = || tag(&lab.exec("master1", show)) == tag(&ours);
    within(Duration::from_secs(2), "the agent says that somebody else's filter is in the way", || {
        lab.agent("master1")["problems"].to_string().contains("filter dev ens192 ingress is somebody else's")
    });
    lab.try_exec("master1", "tc filter del dev ens192 ingress");
    within(Duration::from_secs(2), "ours is back", back);
}
