//! What is told to whom, and which path counts.

use super::two;
use crate::net::*;
use bgp::config::{NexthopMode, Origination};
use bgp::wire::{Community, Ctx, Family, Message, RouteRefresh};
use model::Duration;

#[test]
fn two_speakers_of_one_as_exchange_their_routes() {
    let mut net = two([64512, 64512]);
    assert_eq!((net.state(0, 1), net.state(1, 0)), ("Established", "Established"));
    assert_eq!(net.nexthop(1, "10.0.0.0/26"), Some(addr(0)));
    assert_eq!(net.nexthop(0, "10.1.0.64/26"), Some(addr(1)));
    let path = &net.best(1)[&cidr("10.0.0.0/26")][0];
    assert!(path.attrs.as_path.is_empty());
    assert_eq!(path.attrs.local_pref, Some(100));
    net.assert_agreement();
}

#[test]
fn a_route_that_leaves_the_as_gets_its_number_and_loses_local_pref() {
    let net = two([64512, 64513]);
    let path = &net.best(1)[&cidr("10.0.0.0/26")][0];
    assert_eq!(path.attrs.as_path.to_string(), "64512");
    assert_eq!(path.attrs.local_pref, None);
}

#[test]
fn as_numbers_of_four_octets_are_told_whole() {
    let net = two([4_200_000_000, 4_200_000_001]);
    assert_eq!(net.best(1)[&cidr("10.0.0.0/26")][0].attrs.as_path.to_string(), "4200000000");
}

#[test]
fn an_internal_route_is_not_told_to_another_internal_peer() {
    let mut configs = mesh(&[64512, 64512, 64512]);
    // 0 and 2 know only 1.
    configs[0].peers.remove(&id(2));
    configs[2].peers.remove(&id(0));
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    assert_eq!(net.nexthop(2, "10.1.0.0/26"), Some(addr(1)));
    assert_eq!(net.nexthop(2, "10.0.0.0/26"), None);
    net.assert_agreement();
}

#[test]
fn a_reflector_tells_its_clients_what_it_hears_from_others() {
    let mut configs = mesh(&[64512, 64512, 64512]);
    configs[0].peers.remove(&id(2));
    configs[2].peers.remove(&id(0));
    configs[1].cluster_id = Some([1, 1, 1, 1].into());
    configs[1].peers.get_mut(&id(2)).unwrap().rr_client = true;
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    assert_eq!(net.nexthop(2, "10.0.0.0/26"), Some(addr(0)), "from a non-client to a client, next hop kept");
    assert_eq!(net.nexthop(0, "10.2.0.0/26"), Some(addr(2)), "from a client to a non-client");
    let path = &net.best(2)[&cidr("10.0.0.0/26")][0];
    assert_eq!(path.attrs.originator_id.unwrap().to_string(), "10.0.0.1");
    assert_eq!(path.attrs.cluster_list, [std::net::Ipv4Addr::new(1, 1, 1, 1)]);
    net.assert_agreement();
    // A client that becomes none is told nothing that internal peers said.
    configs[1].peers.get_mut(&id(2)).unwrap().rr_client = false;
    net.configure(1, configs[1].clone());
    net.assert_agreement();
    assert_eq!((net.nexthop(2, "10.0.0.0/26"), net.nexthop(0, "10.2.0.0/26")), (None, None));
    assert_eq!(net.state(1, 2), "Established");
}

#[test]
fn a_reflector_changes_nothing_of_a_path_but_what_is_its_own() {
    let mut configs = mesh(&[64512, 64512, 64512]);
    configs[0].peers.remove(&id(2));
    configs[2].peers.remove(&id(0));
    configs[1].cluster_id = Some([1, 1, 1, 1].into());
    configs[1].peers.get_mut(&id(2)).unwrap().rr_client = true;
    let origination = configs[0].originate.get_mut(&cidr("10.0.0.0/26")).unwrap();
    origination.local_pref = Some(77);
    origination.communities = [Community(64512 << 16 | 7)].into();
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    let [first, last] = [1, 2].map(|node| net.best(node)[&cidr("10.0.0.0/26")][0].clone());
    assert_eq!((first.attrs.local_pref, first.nexthop), (Some(77), last.nexthop));
    let mut attrs = (*last.attrs).clone();
    assert!(attrs.originator_id.take().is_some());
    assert_eq!(std::mem::take(&mut attrs.cluster_list).len(), 1);
    assert_eq!(attrs, *first.attrs);
}

#[test]
fn two_reflectors_of_one_cluster_do_not_loop() {
    let mut configs = mesh(&[64512; 4]);
    for client in [2, 3] {
        configs[client].peers.retain(|peer, _| *peer == id(0) || *peer == id(1));
        for reflector in [0, 1] {
            configs[reflector].cluster_id = Some([9, 9, 9, 9].into());
            configs[reflector].peers.get_mut(&id(client)).unwrap().rr_client = true;
        }
    }
    let mut net = Net::new(3, &configs);
    net.run(secs(5));
    assert_eq!(net.nexthop(3, "10.2.0.0/26"), Some(addr(2)));
    net.assert_agreement();
    net.cut(0, 2);
    net.cut(0, 3);
    net.run(secs(200));
    assert_eq!(net.nexthop(3, "10.2.0.0/26"), Some(addr(2)));
    net.assert_agreement();
}

#[test]
fn a_route_with_our_as_in_its_path_is_taken_only_as_often_as_allowed() {
    let mut configs = mesh(&[64512, 64513, 64512]);
    configs[0].peers.remove(&id(2));
    configs[2].peers.remove(&id(0));
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    assert_eq!(net.nexthop(2, "10.0.0.0/26"), None);
    configs[2].peers.get_mut(&id(1)).unwrap().num_allowed_local_as = 1;
    net.configure(2, configs[2].clone());
    assert_eq!(net.nexthop(2, "10.0.0.0/26"), Some(addr(1)));
    net.assert_agreement();
    assert_eq!(net.losses(2), 0, "judged again, without a new session");
}

#[test]
fn an_external_route_keeps_a_next_hop_on_the_shared_link() {
    let mut configs = mesh(&[64512, 64513, 64514]);
    configs[0].peers.remove(&id(2));
    configs[2].peers.remove(&id(0));
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    assert_eq!(net.nexthop(2, "10.0.0.0/26"), Some(addr(1)), "no link is known to be shared");
    configs[1].connected.insert(cidr("192.168.50.0/24"), "eth0".parse().unwrap());
    net.configure(1, configs[1].clone());
    net.settle();
    assert_eq!(net.nexthop(2, "10.0.0.0/26"), Some(addr(0)), "RFC 4271 §5.1.3, third party");
    configs[1].peers.get_mut(&id(2)).unwrap().nexthop = NexthopMode::SelfAlways;
    net.configure(1, configs[1].clone());
    net.settle();
    assert_eq!(net.nexthop(2, "10.0.0.0/26"), Some(addr(1)));
    net.assert_agreement();
}

#[test]
fn communities_that_forbid_it_keep_a_route_in_the_as() {
    for (community, internal, external) in [
        (Community::NO_EXPORT, true, false),
        (Community::NO_EXPORT_SUBCONFED, true, false),
        (Community::NO_ADVERTISE, false, false),
        (Community::new(64512, 1), true, true),
    ] {
        // 0 is external to 1; 1 and 2 are of one AS; 3 is another external peer of 1.
        let mut configs = mesh(&[64512, 64513, 64513, 64514]);
        for (at, keep) in [(0, vec![1]), (1, vec![0, 2, 3]), (2, vec![1]), (3, vec![1])] {
            configs[at].peers.retain(|peer, _| keep.iter().any(|k| id(*k) == *peer));
        }
        configs[0].originate.get_mut(&cidr("10.0.0.0/26")).unwrap().communities.insert(community);
        let mut net = Net::new(1, &configs);
        net.run(secs(5));
        assert!(net.nexthop(1, "10.0.0.0/26").is_some(), "its originator tells it: {community}");
        assert_eq!(net.nexthop(2, "10.0.0.0/26").is_some(), internal, "{community}");
        assert_eq!(net.nexthop(3, "10.0.0.0/26").is_some(), external, "{community}");
        net.assert_agreement();
    }
}

#[test]
fn all_paths_are_reported_by_rank_where_that_is_wanted() {
    let mut configs = mesh(&[64512, 64513, 64513, 64512]);
    configs[0].all_paths = true;
    for node in [1, 2, 3] {
        configs[node].originate.insert(cidr("10.50.0.0/16"), Origination::default());
    }
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    let ranked = |net: &Net| {
        let paths = net.best(0)[&cidr("10.50.0.0/16")].iter();
        paths.map(|path| (path.rank, path.nexthop.addr())).collect::<Vec<_>>()
    };
    // From our own AS is nearer than from another.
    assert_eq!(ranked(&net), [(0, addr(3)), (1, addr(1)), (1, addr(2))]);
    configs[0].all_paths = false;
    net.configure(0, configs[0].clone());
    assert_eq!(ranked(&net), [(0, addr(3))]);
    net.assert_agreement();
}

#[test]
fn the_better_path_takes_over_and_the_next_one_when_it_goes() {
    let mut configs = mesh(&[64512; 3]);
    for (node, pref) in [(1, 100), (2, 200)] {
        let origination = Origination { local_pref: Some(pref), ..Origination::default() };
        configs[node].originate.insert(cidr("10.50.0.0/16"), origination);
    }
    let mut net = Net::new(1, &configs);
    net.run(secs(5));
    assert_eq!(net.nexthop(0, "10.50.0.0/16"), Some(addr(2)));
    configs[2].originate.remove(&cidr("10.50.0.0/16"));
    net.configure(2, configs[2].clone());
    net.settle();
    assert_eq!(net.nexthop(0, "10.50.0.0/16"), Some(addr(1)));
    assert_eq!(net.losses(0), 0);
    net.assert_agreement();
}

#[test]
fn a_route_refresh_brings_all_routes_again() {
    let mut net = two([64512, 64512]);
    let octets = net.octets;
    let mut request = Vec::new();
    let refresh = Message::RouteRefresh(RouteRefresh::request(Family::IPV4));
    refresh.encode(&Ctx::default(), &mut request).unwrap();
    let conn = net.conn(0);
    net.inject(0, conn, &request);
    assert_eq!(net.speaker(0).status()[0].pending, 0, "said at once");
    assert!(net.octets > octets + 40, "an UPDATE with both routes");
    net.assert_agreement();
}

#[test]
fn a_route_refresh_for_a_family_that_was_not_agreed_on_is_ignored() {
    let mut configs = mesh(&[64512, 64512]);
    // 0 would speak IPv6, 1 would not.
    configs[0].peers.get_mut(&id(1)).unwrap().families.insert(Family::IPV6);
    configs[0].nexthop_v6 = Some("2001:db8::1".parse().unwrap());
    configs[0].originate.insert(cidr("2001:db8:1::/64"), Origination::default());
    for family in [Family::IPV6, Family { afi: 1, safi: 128 }, Family { afi: 16388, safi: 71 }] {
        let mut net = Net::new(1, &configs);
        net.run(secs(5));
        let (octets, lines) = (net.octets, net.log(0).len());
        let mut request = Vec::new();
        let refresh = Message::RouteRefresh(RouteRefresh::request(family));
        refresh.encode(&Ctx::default(), &mut request).unwrap();
        let conn = net.conn(0);
        net.inject(0, conn, &request);
        net.settle();
        assert_eq!(net.octets, octets, "{family:?}: nothing is sent");
        assert_eq!(net.log(0)[lines..], [""; 0], "{family:?}");
        assert_eq!(net.state(0, 1), "Established", "{family:?}");
        net.assert_agreement();
    }
}

#[test]
fn a_mesh_of_thirty_converges_and_falls_silent() {
    let mut net = Net::new(7, &mesh(&[64512; 30]));
    net.run(secs(5));
    for node in 0..30 {
        assert_eq!(net.best(node).len(), 60, "node {node}");
    }
    net.assert_agreement();
    let octets = net.octets;
    net.run(Duration::from_millis(900));
    assert_eq!(net.octets, octets, "silence");
}
