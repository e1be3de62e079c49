//! Peers that say what cannot be, too much, too slowly, or that nobody asked: it is named, and nobody else notices.

use bgp::speaker::Reason;
use interop_tests::raw::{self, Open, Raw};
use interop_tests::{Cluster, Daemon, Kind, Ours, Peering, Segment, Setup, throughout, until};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;
use testkit::leaks::resident_kib;

/// 10.9.0.1 as node n1, which speaks with a BIRD at 10.9.0.2 (AS 65002) and with whoever is at 10.9.0.3 (AS 65001).
struct Scene {
    segment: Segment,
    here: interop_tests::Host,
    there: interop_tests::Host,
    other: interop_tests::Host,
}

impl Scene {
    fn new() -> Scene {
        let segment = Segment::new();
        let [here, there, other] = [1, 2, 3].map(|number| segment.host(number));
        Scene { segment, here, there, other }
    }

    fn cluster(&self) -> Cluster {
        let peer =
            |host: &interop_tests::Host, asn: u32| json!({"peerIP": host.v4.to_string(), "asNumber": asn});
        Cluster::new()
            .node("n1", &self.here, json!({}), json!({}), "10.1.0.0/26")
            .with("BGPConfiguration", "default", json!({"nodeToNodeMeshEnabled": false}))
            .with("BGPPeer", "bird", peer(&self.there, 65002))
            .with("BGPPeer", "other", peer(&self.other, 65001))
    }

    fn bird(&self, prefixes: &[&str]) -> Daemon<'_> {
        let setup = Setup::new(65002, [Peering::new(self.here.v4, 64512)]).announcing(prefixes);
        Daemon::start(Kind::Bird, &self.there, setup)
    }
}

#[test]
fn s27_what_cannot_be_is_said_of_its_peer_and_passed_on_to_nobody() {
    let scene = Scene::new();
    let pass = json!({"exportV4": [{"action": "Accept"}]});
    let cluster = scene.cluster().with("BGPFilter", "all", pass).with(
        "BGPPeer",
        "bird",
        json!({"peerIP": scene.there.v4.to_string(), "asNumber": 65002, "filters": ["all"]}),
    );
    let mut ours = Ours::start(&scene.here, cluster.job("n1"));
    let bird = scene.bird(&[]);
    bird.learns("10.1.0.0/26");
    let mut raw = Raw::establish(&scene.other, scene.here.v4, Open::new(65001, scene.other.v4));
    let says = |next_hop: Ipv4Addr, dst: Ipv4Addr, length: u8| {
        raw::update(&raw::attributes(65001, next_hop), &[(dst, length)])
    };
    let (us, them) = (scene.here.v4, scene.other.v4);
    raw.send(&says(us, Ipv4Addr::new(10, 20, 1, 0), 24));
    raw.send(&says(Ipv4Addr::new(224, 0, 0, 5), Ipv4Addr::new(10, 20, 2, 0), 24));
    raw.send(&says(Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(10, 20, 3, 0), 24));
    raw.send(&says(them, Ipv4Addr::new(127, 0, 0, 0), 8));
    raw.send(&says(them, Ipv4Addr::new(240, 0, 0, 0), 4));
    raw.send(&says(them, Ipv4Addr::new(10, 20, 9, 0), 24));
    ours.learns("10.20.9.0/24");
    bird.learns("10.20.9.0/24");
    let refused: BTreeSet<String> =
        ours.session(them).refused.iter().map(|(dst, _, why)| format!("{dst} {why:?}")).collect();
    let expected = [
        ("10.20.1.0/24", Reason::OwnNexthop),
        ("10.20.2.0/24", Reason::MartianNexthop),
        ("10.20.3.0/24", Reason::MartianNexthop),
        ("127.0.0.0/8", Reason::MartianDst),
        ("240.0.0.0/4", Reason::MartianDst),
    ];
    assert_eq!(refused, expected.map(|(dst, why)| format!("{dst} {why:?}")).into());
    for (dst, _) in expected {
        assert!(bird.sees(dst).is_none() && ours.path(dst).is_none(), "{dst}");
    }
    // Nobody is told of it any more once it is taken back.
    raw.send(&says(them, Ipv4Addr::new(10, 20, 1, 0), 24));
    bird.learns("10.20.1.0/24");
    assert_eq!(ours.session(them).refused.len(), 4);
}

#[test]
fn s28_a_node_is_no_way_between_two_routers_nor_from_one_into_the_mesh() {
    let scene = Scene::new();
    let member = scene.segment.host(4);
    let all = scene.cluster().node("n2", &member, json!({}), json!({}), "10.1.0.64/26").with(
        "BGPConfiguration",
        "default",
        json!({}),
    );
    let mut ours = Ours::start(&scene.here, all.job("n1"));
    let bird = scene.bird(&["10.20.0.0/24"]);
    let to_us = Setup::new(65001, [Peering::new(scene.here.v4, 64512)]).announcing(&["10.30.0.0/24"]);
    let frr = Daemon::start(Kind::Frr, &scene.other, to_us);
    let in_mesh = Setup::new(64512, [Peering::new(scene.here.v4, 64512)]).announcing(&["10.1.0.64/26"]);
    let gobgp = Daemon::start(Kind::Gobgp, &member, in_mesh);
    for daemon in [&bird, &frr, &gobgp] {
        daemon.learns("10.1.0.0/26");
    }
    bird.learns("10.1.0.64/26");
    frr.learns("10.1.0.64/26");
    ours.learns("10.20.0.0/24");
    ours.learns("10.30.0.0/24");
    throughout(Duration::from_millis(500), "no foreign prefix", || {
        bird.sees("10.30.0.0/24").is_none()
            && frr.sees("10.20.0.0/24").is_none()
            && gobgp.sees("10.20.0.0/24").is_none()
            && gobgp.sees("10.30.0.0/24").is_none()
    });
}

#[test]
fn s29_a_node_that_announces_more_than_a_node_has_is_shut_out_and_nobody_else_notices() {
    let scene = Scene::new();
    // The mesh's session with n2 stands in the place of the router's.
    let mesh = scene.cluster().node("n2", &scene.other, json!({}), json!({}), "10.1.0.64/26");
    let spec = json!({"peerIP": scene.there.v4.to_string(), "asNumber": 65002});
    let mesh = mesh.with("BGPConfiguration", "default", json!({})).with("BGPPeer", "other", spec);
    let mut ours = Ours::start(&scene.here, mesh.job("n1"));
    let bird = scene.bird(&["10.2.0.0/24"]);
    ours.learns("10.2.0.0/24");
    let since = ours.session(scene.there.v4).since;
    let mut raw = Raw::establish(&scene.other, scene.here.v4, Open::new(64512, scene.other.v4));
    let mut attributes = raw::attributes(64512, scene.other.v4);
    // Inside an AS the path is empty and a preference is said.
    attributes.splice(4..13, [0x40, 2, 0, 0x40, 5, 4, 0, 0, 0, 100]);
    // A million and one at length: what comes after the limit is not even read.
    let count = testkit::length(10_001, 1_000_001);
    let before = resident_kib(std::process::id());
    for first in (0..count).step_by(500) {
        let some: Vec<(Ipv4Addr, u8)> = (first..count.min(first + 500))
            .map(|number| (Ipv4Addr::from(0x0a64_0000 + number), 32))
            .collect();
        raw.send(&raw::update(&attributes, &some));
    }
    let after = resident_kib(std::process::id());
    println!("resident memory in KiB: {before}, then {after}");
    assert!(after < 2 * before, "{before} KiB became {after} KiB");
    assert_eq!(raw.notification(), Some((6, 1)), "Cease: too many prefixes");
    let ended = ours.ended(scene.other.v4, "prefixes");
    assert!(ended.retry_at.is_some(), "it is not let in again at once");
    assert!(ours.path("10.100.0.1/32").is_none());
    assert!(bird.sees("10.1.0.0/26").is_some());
    assert_eq!(ours.session(scene.there.v4).since, since);
}

#[test]
fn s21_a_stranger_that_calls_thousands_of_times_disturbs_no_session() {
    let scene = Scene::new();
    let mut ours = Ours::start(&scene.here, scene.cluster().job("n1"));
    let bird = scene.bird(&["10.2.0.0/24"]);
    ours.learns("10.2.0.0/24");
    let since = ours.session(scene.there.v4).since;
    let stranger = scene.segment.host(9);
    let to = SocketAddr::new(scene.here.v4.into(), 179);
    stranger.netns.inside(|| {
        // The latest hundred stay open, none says anything.
        let mut open = std::collections::VecDeque::new();
        for _ in 0..3000 {
            if let Ok(stream) = TcpStream::connect_timeout(&to, Duration::from_secs(2)) {
                open.push_back(stream);
            }
            if open.len() > 100 {
                open.pop_front();
            }
        }
    });
    assert_eq!(ours.session(scene.there.v4).since, since, "the session goes on");
    until("no connection of the stranger is kept", || {
        let open = scene.here.netns.run("ss -Htn state established '( sport = :179 )' dst 10.9.0.9 | wc -l");
        (open.trim() == "0").then_some(())
    });
    assert!(bird.sees("10.1.0.0/26").is_some());
}

#[test]
fn s24_a_peer_that_sends_octet_by_octet_holds_nobody_up() {
    let scene = Scene::new();
    let mut ours = Ours::start(&scene.here, scene.cluster().job("n1"));
    let mut bird = scene.bird(&["10.2.0.0/24"]);
    ours.learns("10.2.0.0/24");
    let mut raw = Raw::establish(&scene.other, scene.here.v4, Open::new(65001, scene.other.v4));
    let update = raw::update(&raw::attributes(65001, scene.other.v4), &[(Ipv4Addr::new(10, 20, 1, 0), 24)]);
    let (half, rest) = update.split_at(update.len() / 2);
    let mut slowly = |octets: &[u8]| {
        for octet in octets {
            raw.send(&[*octet]);
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    slowly(half);
    bird.set(|setup| _ = setup.announce.insert("10.2.1.0/24".to_owned()));
    ours.learns("10.2.1.0/24");
    assert!(ours.path("10.20.1.0/24").is_none());
    slowly(rest);
    ours.learns("10.20.1.0/24");
}

#[test]
fn resources_that_cannot_be_cost_themselves_and_are_said() {
    let scene = Scene::new();
    let contradicting = json!({"exportV4": [{"action": "Accept"}, {"action": "Reject", "cidr": "10.1.0.0/16",
        "matchOperator": "In"}]});
    let cluster = scene
        .cluster()
        .with("BGPFilter", "both", contradicting)
        .with(
            "BGPPeer",
            "bird",
            json!({"peerIP": scene.there.v4.to_string(), "asNumber": 65002, "filters": ["both", "none"]}),
        )
        .with("BGPPeer", "reserved", json!({"peerIP": "10.9.0.7", "asNumber": 23456}))
        .with("BGPPeer", "nobody", json!({"peerIP": "10.9.0.8"}));
    assert_eq!(
        cluster.complaints("n1"),
        [
            "BGPPeer nobody: 10.9.0.8 is no node's address: set spec.asNumber",
            "BGPPeer reserved: AS number 23456 is reserved (RFC 6793, RFC 7607): set another",
            "BGPPeer bird: BGPFilter none does not exist and filters nothing",
            "BGPPeer bird: rule both exportV4[1] contradicts rule both exportV4[0] of its BGPFilters, which comes first and \
             decides: remove one",
        ]
    );
    let mut ours = Ours::start(&scene.here, cluster.job("n1"));
    let bird = scene.bird(&["10.2.0.0/24"]);
    ours.learns("10.2.0.0/24");
    bird.learns("10.1.0.0/26");
    let peers: Vec<_> = ours.sessions().iter().map(|session| session.addr).collect();
    assert_eq!(peers, [scene.there.v4, scene.other.v4]);
}
