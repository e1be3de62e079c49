//! What the node says and has of its own: its address, its tunnels, that its network is up.

use crate::direct;
use crate::rig::Rig;
use bgp::wire::{AsPath, Attributes, NextHop, Origin};
use bgp::{PeerId, RankedPath};
use kernel::filter::Impostor;
use model::Duration;
use model::store::{Event, Key, Kind, Object, Request as Ask};
use model::v3::{BgpFilter, BgpPeer, ClusterInformation, EncapMode, FelixConfiguration};
use node::Input;
use node::cni::{Command, Reply};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

#[test]
fn the_tunnel_comes_and_goes_with_the_pools_mode() {
    let mut rig = Rig::new(EncapMode::Always);
    let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
    let tunnel = own.metadata.annotations[model::k8s::annotation::IPV4_VXLAN_TUNNEL_ADDR].clone();
    assert!(rig.listing().contains(&format!("address {tunnel}/32 dev vxlan.calico")), "{:#?}", rig.listing());
    let Some(Object::IpPool(mut pool)) = rig.get(Kind::IpPool, "pool") else { panic!("the pool is there") };
    pool.spec.vxlan_mode = EncapMode::Never;
    rig.api.apply(&Ask::Update(pool.into())).unwrap();
    rig.settle();
    assert!(!rig.listing().iter().any(|line| line.contains("vxlan.calico")), "{:#?}", rig.listing());
    let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
    assert!(!own.metadata.annotations.contains_key(model::k8s::annotation::IPV4_VXLAN_TUNNEL_ADDR));
}

#[test]
fn a_tunnel_stays_while_a_process_uses_its_address_and_goes_within_a_second_after() {
    let mut rig = Rig::new(EncapMode::Always);
    let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
    let tunnel = own.metadata.annotations[model::k8s::annotation::IPV4_VXLAN_TUNNEL_ADDR].parse().unwrap();
    rig.used = [tunnel].into();
    let Some(Object::IpPool(mut pool)) = rig.get(Kind::IpPool, "pool") else { panic!("the pool is there") };
    pool.spec.vxlan_mode = EncapMode::Never;
    rig.api.apply(&Ask::Update(pool.into())).unwrap();
    rig.settle();
    rig.pass(Duration::from_secs(60));
    assert!(rig.listing().contains(&format!("address {tunnel}/32 dev vxlan.calico")), "{:#?}", rig.listing());
    let problems = rig.node.status().problems;
    assert!(problems.iter().any(|why| why.contains(&format!("uses its address {tunnel}"))), "{problems:?}");
    rig.used.clear();
    rig.pass(Duration::from_secs(2));
    assert!(!rig.listing().iter().any(|line| line.contains("vxlan.calico")), "{:#?}", rig.listing());
    assert_eq!(rig.node.status().problems, Vec::<String>::new());
}

#[test]
fn the_tunnel_follows_the_pool_from_vxlan_to_ipip_and_back() {
    let mut rig = Rig::new(EncapMode::Always);
    for (ipip, vxlan) in [(EncapMode::Always, EncapMode::Never), (EncapMode::Never, EncapMode::Always)] {
        let Some(Object::IpPool(mut pool)) = rig.get(Kind::IpPool, "pool") else {
            panic!("the pool is there")
        };
        (pool.spec.ipip_mode, pool.spec.vxlan_mode) = (ipip, vxlan);
        rig.api.apply(&Ask::Update(pool.into())).unwrap();
        rig.settle();
        let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
        let said = |name: &str| own.metadata.annotations.get(name).cloned();
        let by_ipip = said(model::k8s::annotation::IPV4_IPIP_TUNNEL_ADDR);
        let by_vxlan = said(model::k8s::annotation::IPV4_VXLAN_TUNNEL_ADDR);
        let (device, other, addr) = match (by_ipip, by_vxlan) {
            (Some(addr), None) if ipip == EncapMode::Always => ("tunl0", "vxlan.calico", addr),
            (None, Some(addr)) if vxlan == EncapMode::Always => ("vxlan.calico", "tunl0", addr),
            other => panic!("{ipip:?}, {vxlan:?}: {other:?}"),
        };
        let listing = rig.listing();
        assert!(listing.contains(&format!("address {addr}/32 dev {device}")), "{listing:#?}");
        assert!(!listing.iter().any(|line| line.contains(other)), "{listing:#?}");
    }
}

#[test]
fn a_node_whose_data_path_is_programmed_says_that_its_network_is_up() {
    let mut rig = direct();
    let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
    let condition = own.status.conditions.iter().find(|c| c.condition_type == "NetworkUnavailable");
    assert_eq!(condition.map(|c| c.status.as_str()), Some("False"));
}

/// What the Node says of pools' modes: status, reason, message.
fn pool_modes(rig: &mut Rig) -> Option<[String; 3]> {
    let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
    let said = own.status.conditions.into_iter().find(|c| c.condition_type == "PoolModeUnavailable");
    said.map(|said| [said.status, said.reason, said.message])
}

fn set_modes(rig: &mut Rig, ipip: EncapMode, vxlan: EncapMode) {
    let Some(Object::IpPool(mut pool)) = rig.get(Kind::IpPool, "pool") else { panic!("the pool is there") };
    (pool.spec.ipip_mode, pool.spec.vxlan_mode) = (ipip, vxlan);
    rig.api.apply(&Ask::Update(pool.into())).unwrap();
    rig.settle();
}

#[test]
fn a_pool_whose_mode_this_node_cannot_have_is_a_condition_until_it_is_set_back() {
    use EncapMode::{Always, Never};
    let mut rig = Rig::new(Always);
    rig.ipip = None;
    rig.restart();
    assert_eq!(pool_modes(&mut rig), None, "nothing was ever wrong");
    assert_eq!(rig.node.status().conditions, []);
    rig.conditions.clear();

    set_modes(&mut rig, Always, Never);
    let [status, reason, message] = pool_modes(&mut rig).expect("it is said");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "NoIPIPDriver"));
    assert!(
        message.contains("pool pool wants IPIP, for which this node has no driver: install"),
        "{message}"
    );
    let status = rig.node.status();
    assert_eq!(status.conditions.iter().map(|c| &c.message).collect::<Vec<_>>(), [&message]);
    assert!(status.problems.contains(&message) && rig.reports.contains(&message), "{status:?}");
    assert!(!rig.listing().iter().any(|line| line.contains("tunl0")), "{:#?}", rig.listing());
    // The next agent says the same, which is no news.
    rig.restart();
    assert_eq!(pool_modes(&mut rig).map(|said| said[2].clone()), Some(message));

    let spec = json!({"cidr": "fd00:6::/48", "blockSize": 122, "ipipMode": "Always"});
    let pool = model::v3::IpPool {
        metadata: model::Metadata::named("six"),
        spec: serde_json::from_value::<model::v3::IpPoolSpec>(spec).unwrap().defaulted(),
    };
    rig.api.apply(&Ask::Create(pool.into())).unwrap();
    rig.settle();
    set_modes(&mut rig, Never, Always);
    let six = pool_modes(&mut rig).expect("it is said");
    assert_eq!((six[0].as_str(), six[1].as_str()), ("True", "IPIPIsIPv4"));
    assert!(six[2].starts_with("pool six wants IPIP, which carries IPv4 only"), "{}", six[2]);

    let Some(Object::IpPool(six)) = rig.get(Kind::IpPool, "six") else { panic!("it is there") };
    let (uid, resource_version) = (six.metadata.uid.clone(), six.metadata.resource_version.clone());
    rig.api.apply(&Ask::Delete { key: Key::cluster(Kind::IpPool, "six"), uid, resource_version }).unwrap();
    rig.settle();
    assert_eq!(pool_modes(&mut rig).map(|said| said[0].clone()), Some("False".into()));
    assert_eq!(rig.node.status().conditions, []);
    let written = [
        ("True NoIPIPDriver", true),
        // Both pools, then the one that is left.
        ("True NoIPIPDriver", false),
        ("True IPIPIsIPv4", false),
        ("False EveryModeAvailable", true),
    ];
    assert_eq!(rig.conditions, written.map(|(said, turned)| (said.to_owned(), turned)));
}

#[test]
fn a_pool_of_ipv6_that_wants_ip_in_ip_changes_nothing_but_the_condition() {
    let mut rig = direct();
    let before = rig.listing();
    rig.steps.clear();
    let spec = json!({"cidr": "fd00:6::/48", "blockSize": 122, "ipipMode": "Always"});
    let spec = serde_json::from_value::<model::v3::IpPoolSpec>(spec).unwrap().defaulted();
    let pool = model::v3::IpPool { metadata: model::Metadata::named("six"), spec };
    rig.api.apply(&Ask::Create(pool.into())).unwrap();
    rig.settle();
    rig.pass(Duration::from_secs(30));
    assert_eq!(pool_modes(&mut rig).map(|said| said[1].clone()), Some("IPIPIsIPv4".into()));
    assert_eq!(rig.listing(), before);
    let problems = rig.node.status().problems;
    assert!(problems.len() == 1 && problems[0].contains("pool six wants IPIP"), "{problems:?}");
}

#[test]
fn a_node_that_is_deleted_and_registered_again_gets_its_address_back_and_loses_no_route() {
    for address in [Some("192.168.0.1/24".parse().unwrap()), None] {
        gets_its_address_back(address);
    }
}

fn gets_its_address_back(address: Option<model::IfAddr>) {
    let mut rig = Rig::new(EncapMode::Always);
    rig.address = address;
    rig.restart();
    let before = rig.listing();
    let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
    let (uid, resource_version) = (own.metadata.uid.clone(), own.metadata.resource_version.clone());
    let key = Object::from(own).key();
    rig.steps.clear();
    rig.api.apply(&Ask::Delete { key, uid, resource_version }).unwrap();
    rig.settle();
    let bare = model::k8s::Node { metadata: model::Metadata::named("n1"), ..Default::default() };
    rig.api.apply(&Ask::Create(bare.into())).unwrap();
    rig.settle();
    rig.pass(Duration::from_secs(30));
    let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
    assert_eq!(own.metadata.annotations[model::k8s::annotation::IPV4_ADDRESS], "192.168.0.1/24");
    assert!(own.metadata.annotations.contains_key(model::k8s::annotation::IPV4_VXLAN_TUNNEL_ADDR));
    assert_eq!(rig.listing(), before);
    assert_eq!(rig.steps, Vec::<String>::new(), "nothing was taken away meanwhile");
}

#[test]
fn the_node_says_the_address_of_each_family_that_it_goes_by_and_keeps_what_it_is_not_told() {
    use model::k8s::annotation::{IPV4_ADDRESS, IPV6_ADDRESS};
    let (a4, b4, a6, b6) = ("192.168.0.1/24", "192.168.0.9/24", "fd00::1/64", "fd00::9/64");
    for (own, said, expected) in [
        ([Some(a4), None], [None, None], [Some(a4), None]),
        ([Some(a4), None], [Some(b4), Some(b6)], [Some(a4), Some(b6)]),
        ([Some(a4), Some(a6)], [None, None], [Some(a4), Some(a6)]),
        ([Some(a4), Some(a6)], [Some(b4), Some(b6)], [Some(a4), Some(a6)]),
        ([None, Some(a6)], [Some(b4), Some(b6)], [Some(b4), Some(a6)]),
        ([None, None], [Some(b4), Some(b6)], [Some(b4), Some(b6)]),
        // A node has an IPv4 address; an IPv6 address may be taken away from one that finds none itself.
        ([None, None], [None, None], [Some(a4), None]),
    ] {
        let mut rig = Rig::new(EncapMode::Always);
        [rig.address, rig.address6] = own.map(|own| own.map(|addr| addr.parse().unwrap()));
        rig.restart();
        let key = model::store::Key::cluster(Kind::Node, "n1");
        let texts = [IPV4_ADDRESS, IPV6_ADDRESS].into_iter().zip(said);
        let annotations = texts.map(|(name, text)| (name.to_owned(), text.map(str::to_owned))).collect();
        rig.api.apply(&Ask::Annotate { key, annotations }).unwrap();
        rig.settle();
        rig.pass(Duration::from_secs(10));
        assert_eq!(addresses(&mut rig), expected.map(|addr| addr.map(str::to_owned)), "{own:?} {said:?}");
        let moved = ["192.168.0.7/24", "fd00::7/64"];
        for (index, addr) in moved.iter().enumerate() {
            let mut expected = addresses(&mut rig);
            rig.node.handle(rig.now, Input::Renumbered(addr.parse().unwrap()));
            rig.settle();
            rig.pass(Duration::from_secs(10));
            expected[index] = Some((*addr).to_owned());
            assert_eq!(addresses(&mut rig), expected, "{own:?} {said:?}, then {addr}");
        }
    }
}

/// What Calico says of the addresses of this node.
fn addresses(rig: &mut Rig) -> [Option<String>; 2] {
    let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
    let bgp = model::v3::Node::from(&own).resource.spec.bgp.unwrap_or_default();
    [bgp.ipv4_address, bgp.ipv6_address].map(|addr| addr.map(|addr| addr.to_string()))
}

#[test]
fn a_disabled_pool_keeps_its_tunnel_and_routes() {
    let mut rig = Rig::new(EncapMode::Always);
    let before = rig.listing();
    let Some(Object::IpPool(mut pool)) = rig.get(Kind::IpPool, "pool") else { panic!("the pool is there") };
    pool.spec.disabled = true;
    rig.api.apply(&Ask::Update(pool.into())).unwrap();
    rig.settle();
    rig.restart();
    assert_eq!(rig.listing(), before);
}

#[test]
fn a_node_without_an_address_for_its_tunnel_says_its_own_all_the_same() {
    let mut rig = Rig::new(EncapMode::Always);
    let Some(Object::IpPool(mut pool)) = rig.get(Kind::IpPool, "pool") else { panic!("the pool is there") };
    pool.spec.allowed_uses = vec![model::v3::AllowedUse::Workload];
    rig.api.apply(&Ask::Update(pool.into())).unwrap();
    let name = model::k8s::annotation::IPV4_ADDRESS;
    let key = model::store::Key::cluster(Kind::Node, "n1");
    let all = [name, model::k8s::annotation::ENCAPSULATION];
    let annotations = all.map(|name| (name.to_owned(), None)).into();
    rig.api.apply(&Ask::Annotate { key, annotations }).unwrap();
    rig.restart();
    rig.pass(Duration::from_secs(10));
    let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
    for name in all {
        assert!(own.metadata.annotations.contains_key(name), "{name}: {:#?}", rig.reports);
    }
}

#[test]
fn services_are_watched_once_they_are_to_be_told_of_and_what_is_told_waits_for_them() {
    let mut rig = direct();
    for kind in [Kind::BgpConfiguration, Kind::BgpPeer, Kind::BgpFilter] {
        rig.node.handle(rig.now, Input::Api(Event::Listed(kind, Vec::new())));
    }
    rig.settle();
    assert_eq!(rig.watched, []);
    let tells = |rig: &Rig| -> Vec<String> {
        let told = &rig.node.speaks().expect("the node speaks BGP").bgp.originate;
        told.keys().map(ToString::to_string).filter(|dst| dst.starts_with("10.96.")).collect()
    };
    let spec = serde_json::json!({"serviceClusterIPs": [{"cidr": "10.96.0.0/12"}]});
    let object = serde_json::json!({"metadata": {"name": "default"}, "spec": spec});
    let configuration: model::v3::BgpConfiguration = serde_json::from_value(object).unwrap();
    rig.node.handle(rig.now, Input::Api(Event::Put(configuration.into())));
    rig.settle();
    assert_eq!(rig.watched, [Kind::Service, Kind::EndpointSlice]);
    assert_eq!(tells(&rig), Vec::<String>::new());
    rig.node.handle(rig.now, Input::Api(Event::Listed(Kind::Service, Vec::new())));
    rig.settle();
    assert_eq!(tells(&rig), Vec::<String>::new());
    // A watch that nobody answers holds up what depends on it, and nothing else.
    let error = "forbidden".to_owned();
    rig.node.handle(rig.now, Input::Api(Event::Failed { kind: Kind::EndpointSlice, error }));
    rig.settle();
    assert_eq!(tells(&rig), ["10.96.0.0/12"]);
}

fn object<T: serde::de::DeserializeOwned + Into<Object>>(object: serde_json::Value) -> Object {
    serde_json::from_value::<T>(object).unwrap().into()
}

/// Speaks BGP with a router, whose BGPFilter accepts `accepted`.
fn beside_a_router(peer: &str, accepted: &str) -> Rig {
    let mut rig = direct();
    let spec = json!({"peerIP": "192.168.0.254", "asNumber": 64999, "filters": ["f"]});
    let router = object::<BgpPeer>(json!({"metadata": {"name": peer}, "spec": spec}));
    for (kind, objects) in [
        (Kind::BgpConfiguration, vec![]),
        (Kind::BgpPeer, vec![router]),
        (Kind::BgpFilter, vec![accepting(accepted)]),
    ] {
        rig.node.handle(rig.now, Input::Api(Event::Listed(kind, objects)));
    }
    rig.settle();
    rig
}

fn accepting(cidr: &str) -> Object {
    let rules = json!([{"action": "Accept", "matchOperator": "Equal", "cidr": cidr}]);
    object::<BgpFilter>(json!({"metadata": {"name": "f"}, "spec": {"importV4": rules}}))
}

/// The session with the router.
fn router(rig: &Rig) -> Option<PeerId> {
    let told = rig.node.speaks().expect("the node speaks BGP");
    told.bgp
        .peers
        .iter()
        .find(|(_, peer)| peer.addr == IpAddr::from([192, 168, 0, 254]))
        .map(|(id, _)| id.clone())
}

#[test]
fn a_default_route_counts_from_the_moment_on_that_a_filter_accepts_it_and_no_longer() {
    let mut rig = beside_a_router("router", "10.9.0.0/16");
    let path = RankedPath {
        rank: 0,
        nexthop: NextHop::V4([192, 168, 0, 254].into()),
        peer: router(&rig),
        attrs: Arc::new(Attributes::new(Origin::Igp, AsPath::default())),
        stale: false,
    };
    rig.node.handle(rig.now, Input::Best(vec![("0.0.0.0/0".parse().unwrap(), vec![path].into())]));
    rig.node.handle(rig.now, Input::Settled);
    rig.settle();
    let before = rig.listing();
    assert!(!before.iter().any(|line| line.starts_with("route 0.0.0.0/0")), "{before:#?}");
    for (accepted, counts) in [("0.0.0.0/0", true), ("10.9.0.0/16", false)] {
        rig.node.handle(rig.now, Input::Api(Event::Put(accepting(accepted))));
        rig.settle();
        let routes = rig.listing();
        assert_eq!(routes.iter().any(|line| line.starts_with("route 0.0.0.0/0")), counts, "{routes:#?}");
    }
}

#[test]
fn a_bgp_peer_that_has_the_nodes_name_goes_like_any_other() {
    let mut rig = beside_a_router("n1", "10.9.0.0/16");
    assert!(router(&rig).is_some());
    rig.node.handle(rig.now, Input::Api(Event::Gone(Key::cluster(Kind::BgpPeer, "n1"))));
    rig.settle();
    assert_eq!(router(&rig), None);
}

#[test]
fn a_lock_that_went_while_nobody_watched_is_no_lock() {
    let mut rig = direct();
    let info = json!({"metadata": {"name": "default"}, "spec": {"datastoreReady": false}});
    let locked = object::<ClusterInformation>(info);
    for (objects, refused) in [(vec![locked], true), (vec![], false)] {
        rig.node.handle(rig.now, Input::Api(Event::Listed(Kind::ClusterInformation, objects)));
        let reply = rig.cni(Command::Add, "c1", "a");
        assert_eq!(matches!(reply, Some(Reply::Failed(_))), refused, "{reply:?}");
    }
}

#[test]
fn settings_go_by_the_labels_of_the_node_over_the_clusters_and_under_its_own() {
    let mut rig = direct();
    let put = |rig: &mut Rig, name: &str, spec: serde_json::Value| {
        let felix = object::<FelixConfiguration>(json!({"metadata": {"name": name}, "spec": spec}));
        rig.node.handle(rig.now, Input::Api(Event::Put(felix)));
        rig.settle();
    };
    let label = |rig: &mut Rig, rack: &str| {
        let Some(Object::Node(mut own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
        own.metadata.labels.insert("rack".into(), rack.into());
        rig.api.apply(&Ask::Update(own.into())).unwrap();
        rig.settle();
    };
    let mtu = |rig: &Rig| rig.node.status().mtu;
    let before = mtu(&rig);
    let Some(Object::IpPool(mut pool)) = rig.get(Kind::IpPool, "pool") else { panic!("the pool is there") };
    pool.spec.vxlan_mode = EncapMode::Always;
    rig.api.apply(&Ask::Update(pool.into())).unwrap();
    rig.settle();
    put(&mut rig, "default", json!({"vxlanMTU": 1400}));
    put(&mut rig, "rack-a", json!({"vxlanMTU": 1300, "nodeSelector": "rack == 'a'"}));
    put(&mut rig, "no-selector", json!({"vxlanMTU": 1200}));
    assert_eq!((before, mtu(&rig)), (1500, 1400));
    label(&mut rig, "a");
    assert_eq!(mtu(&rig), 1300);
    put(&mut rig, "node.n1", json!({"vxlanMTU": 1280}));
    assert_eq!(mtu(&rig), 1280);
    rig.node.handle(rig.now, Input::Api(Event::Gone(Key::cluster(Kind::FelixConfiguration, "node.n1"))));
    // Of several that match, the last by name.
    put(&mut rig, "rack-b", json!({"vxlanMTU": 1310, "nodeSelector": "has(rack)"}));
    assert_eq!(mtu(&rig), 1310);
    label(&mut rig, "c");
    assert_eq!(mtu(&rig), 1310);
    put(&mut rig, "rack-b", json!({"vxlanMTU": 1310, "nodeSelector": "rack == 'b'"}));
    assert_eq!(mtu(&rig), 1400);
}

#[test]
fn s17_however_many_send_in_anothers_name_the_log_has_a_line_a_minute_and_the_status_a_few() {
    let mut rig = direct();
    let n2: Ipv4Addr = [192, 168, 0, 2].into();
    let sent = |count: u32, packets: u64| -> BTreeMap<Impostor, u64> {
        let others = (0..count).map(|n| (Impostor { sender: Ipv4Addr::from(n), holder: Some(n2) }, packets));
        others.chain([(Impostor { sender: n2, holder: None }, 7)]).collect()
    };
    let look = |rig: &mut Rig, found| {
        rig.now = rig.now + Duration::from_secs(5);
        rig.node.handle(rig.now, Input::Impostors(found));
        rig.settle();
    };
    let said = |rig: &Rig| {
        rig.reports.iter().filter(|text| text.starts_with("TunnelSpoofed: ")).cloned().collect::<Vec<_>>()
    };
    // What is there at the first look may be of another time.
    look(&mut rig, sent(0, 0));
    assert_eq!((said(&rig), rig.node.status().impostors), (vec![], vec![]));
    for round in 0..12 {
        look(&mut rig, sent(1000, 100 + round));
    }
    let line = "TunnelSpoofed: 0.0.0.0, which is no node, sent 100 IPIP packets from addresses of node n2 (192.168.0.2); all \
                were dropped; 999 more like it";
    assert_eq!(said(&rig), [line], "one in a minute");
    assert_eq!(rig.node.status().impostors.len(), 16);
    look(&mut rig, sent(1000, 200));
    assert_eq!(said(&rig).len(), 2, "the next one after it");
    // They stop, and a node goes on.
    let alone = |packets| [(Impostor { sender: n2, holder: None }, packets)].into();
    rig.now = rig.now + Duration::from_secs(600);
    look(&mut rig, alone(8));
    let line = "TunnelSpoofed: node n2 (192.168.0.2) sent 8 IPIP packets from addresses that no other node holds; all were dropped";
    assert_eq!(said(&rig).last().map(String::as_str), Some(line));
    assert!(rig.node.status().problems.contains(&line.to_owned()));
    rig.now = rig.now + Duration::from_secs(600);
    look(&mut rig, alone(8));
    assert!(!rig.node.status().problems.contains(&line.to_owned()), "it is over");
    assert_eq!(said(&rig).len(), 3);
}
