//! What holds of whatever is derived, in whatever cluster.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use derive::bgp::{BgpNode, PeerSort};
use derive::example::attachment;
use derive::{
    Endpoint, IpipDriver, Learnt, Part, Path, Peer, Scope, Section, Uplink, World, derive, moved_endpoints,
    moved_learnt, paths, section,
};
use kernel::nft::{Range, Table};
use kernel::{Filter, Key, Objects, PodNs, RouteKind, Value};
use model::v3::{EncapMode, IpPoolSpec};
use model::{Cidr, IfName, Mtu};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

const NODES: [&str; 5] = ["n0", "n1", "n2", "n3", "n4"];

/// The n-th block of a pool, /26.
fn block(pool: usize, n: usize) -> Cidr {
    format!("10.{}.{}.{}/26", 10 + pool, n / 4, n % 4 * 64).parse().unwrap()
}

fn pool(n: usize) -> impl Strategy<Value = IpPoolSpec> {
    use EncapMode::{Always, CrossSubnet, Never};
    let mode = select(vec![Never, CrossSubnet, Always]);
    (mode.clone(), mode, prop::bool::weighted(0.2), any::<bool>()).prop_map(
        move |(vxlan, ipip, tunnel, nat)| {
            let mut pool: IpPoolSpec =
                serde_json::from_value(serde_json::json!({ "cidr": format!("10.{}.0.0/16", 10 + n) }))
                    .unwrap();
            pool.nat_outgoing = nat;
            (pool.vxlan_mode, pool.ipip_mode) = if tunnel { (Never, ipip) } else { (vxlan, Never) };
            pool
        },
    )
}

/// A node in one of two subnets, perhaps without a tunnel address.
fn peer(n: usize) -> impl Strategy<Value = Peer> {
    (any::<bool>(), prop::bool::weighted(0.9)).prop_map(move |(far, tunnel)| Peer {
        announcement: None,
        addr: format!("192.168.{}.{}/24", if far { 60 } else { 50 }, 10 + n).parse().unwrap(),
        vxlan_tunnel: tunnel.then(|| IpAddr::from(Ipv4Addr::new(10, 10, 200, n as u8))),
        ipip_tunnel: tunnel.then(|| IpAddr::from(Ipv4Addr::new(10, 10, 201, n as u8))),
        vtep_mac: model::names::vtep_mac(NODES[n]),
    })
}

/// What all nodes of a cluster know, seen by `n0`, who has a few pods. Some nodes have blocks and have not said their address.
fn world() -> impl Strategy<Value = World> {
    let peers: Vec<_> = (0..NODES.len()).map(peer).collect();
    let owners = prop::collection::vec(select(NODES.to_vec()), 24);
    let borrowers = prop::collection::vec(prop::option::weighted(0.3, select(NODES.to_vec())), 24);
    let known = subsequence(NODES.to_vec(), 1..=NODES.len());
    let uplink = prop::bool::weighted(0.9);
    let driver = select(vec![None, Some(IpipDriver::Kernel), Some(IpipDriver::StandIn)]);
    ((pool(0), pool(1)), peers, owners, borrowers, known, (uplink, driver), 0..4_usize).prop_map(
        |((first, second), peers, owners, borrowers, known, (uplink, ipip), pods)| {
            let mut world = World {
                node: "n0".into(),
                pools: [("first".into(), first), ("second".into(), second)].into(),
                uplink: uplink.then(|| Uplink { device: IfName::fixed("ens192"), mtu: Mtu(1500) }),
                ipip,
                ..World::default()
            };
            let peers = NODES.iter().zip(peers).filter(|(name, _)| known.contains(name));
            world.peers = peers.map(|(name, peer)| ((*name).to_owned(), peer)).collect();
            for (n, (owner, borrower)) in owners.iter().zip(&borrowers).enumerate() {
                let block = block(n % 2, n / 2);
                world.blocks.insert(block, (*owner).to_owned());
                if let Some(borrower) = borrower.filter(|borrower| borrower != owner) {
                    world.borrowed.insert(block.nth(3).unwrap(), borrower.to_owned());
                }
            }
            for n in 0..pods {
                add_pod(&mut world, n);
            }
            world
        },
    )
}

/// A pod in the n-th block of ours, if there are so many.
fn add_pod(world: &mut World, n: usize) {
    let Some(block) = world.blocks.iter().filter(|(_, owner)| **owner == world.node).map(|(b, _)| *b).nth(n)
    else {
        return;
    };
    let attachment = attachment(&format!("pod{n}"), &block.nth(7).unwrap().to_string());
    let netns = (n != 2).then_some(PodNs(n as u32));
    world.endpoints.insert(attachment.id.clone(), Endpoint { attachment, netns, scope: Scope::Whole });
}

fn seen_by(world: &World, node: &str) -> World {
    World { node: node.to_owned(), endpoints: [].into(), ..world.clone() }
}

fn table(objects: &Objects) -> &Table {
    match &objects[&kernel::rules_key()] {
        Value::Nft(table) => table,
        other => panic!("{other:?}"),
    }
}

fn contains(range: &Range, net: Cidr) -> bool {
    match (range, net.addr(), net.last()) {
        (Range::Ipv4(first, last), IpAddr::V4(low), IpAddr::V4(high)) => *first <= low && high <= *last,
        _ => false,
    }
}

/// Whether the uplink's filter finds a packet of IP in IP from `outer` honest that carries one from `inner`.
fn finds_honest(objects: &Objects, outer: IpAddr, inner: Cidr) -> bool {
    let sources = objects.values().find_map(|value| match value {
        Value::Filter(Filter::Accept { sources, .. }) => Some(sources),
        _ => None,
    });
    let covering = sources.into_iter().flatten().filter(|(source, _)| source.covers(inner));
    covering.max_by_key(|(source, _)| source.len()).is_some_and(|(_, node)| outer == *node)
}

/// Whether `table` lets a tunnel packet from `outer` in that carries one from `inner`.
fn lets_in(table: &Table, outer: IpAddr, inner: Cidr) -> bool {
    let sources = &table.sets["vxlan-sources"].elements;
    sources.iter().any(|e| contains(&e.key[0], Cidr::host(outer)) && contains(&e.key[1], inner))
}

/// One of three attachments as it may be, or its absence: names, addresses and namespaces are few, so that they meet.
fn step() -> impl Strategy<Value = (usize, Option<Endpoint>)> {
    let netns = prop::option::of((1..3_u32).prop_map(PodNs));
    let endpoint = (0..3_usize, 0..3_u8, netns, any::<bool>()).prop_map(|(name, addr, netns, whole)| {
        let mut attachment = attachment("a", &format!("10.10.0.{addr}"));
        attachment.host_interface = IfName::fixed(["cali0", "cali1", "cali2"][name]);
        Endpoint { attachment, netns, scope: if whole { Scope::Whole } else { Scope::Size } }
    });
    (0..3_usize, prop::option::weighted(0.8, endpoint))
}

fn put(objects: &mut Objects, part: Part) {
    objects.retain(|key, _| !part.contains_key(key));
    objects.extend(part.into_iter().filter_map(|(key, value)| Some((key, value?))));
}

/// What peers say of one of a few destinations, or what the kernel kept of it: outside the pools, inside, and a peer itself.
fn said() -> impl Strategy<Value = (Cidr, Vec<Learnt>, Option<Vec<IpAddr>>)> {
    let dsts = ["0.0.0.0/0", "192.168.50.0/24", "10.96.0.0/16", "20.0.0.0/8", "20.0.0.0/26", "10.10.0.64/26"];
    let dst = select(dsts.into_iter().chain(["203.0.113.1/32", "10.10.0.0/26"]).collect::<Vec<_>>());
    let hop = select(vec!["192.168.50.1", "192.168.50.2", "192.168.50.11", "203.0.113.1", "203.0.113.9"])
        .prop_map(|hop| hop.parse::<IpAddr>().unwrap());
    let sort = select(vec![PeerSort::Mesh, PeerSort::Global, PeerSort::Node]);
    let path = (hop.clone(), sort, any::<bool>(), any::<bool>(), 0..3_u16).prop_map(
        |(next_hop, sort, node, named, rank)| {
            let node = node.then(|| NODES[1].to_owned());
            Learnt { next_hop, peer: "peer".into(), sort, node, pod: None, rank, named }
        },
    );
    let paths = prop::collection::vec(path, 0..4).prop_map(|mut paths| {
        paths.sort_by_key(|path| path.rank);
        paths
    });
    let kept = prop::option::weighted(0.3, prop::collection::vec(hop, 1..3));
    (dst.prop_map(|dst| dst.parse().unwrap()), paths, kept)
}

/// A node with a peer behind a gateway, and a range of services.
fn speaking(mut world: World) -> World {
    let v4 = world.peers.get("n0").map(|own| own.addr);
    world.bgp.nodes.insert("n0".into(), BgpNode { v4, ..BgpNode::default() });
    let behind = r#"{"peerIP": "203.0.113.1", "asNumber": 65001, "reachableBy": "192.168.50.1"}"#;
    world.bgp.peers.insert("tor".into(), serde_json::from_str(behind).unwrap());
    let services = r#"{"serviceClusterIPs": [{"cidr": "10.96.0.0/12"}]}"#;
    world.bgp.configurations.insert("default".into(), serde_json::from_str(services).unwrap());
    world
}

proptest! {
    #[test]
    fn no_route_leads_to_the_node_itself(world in world()) {
        let own: Vec<IpAddr> = world
            .peers
            .get(&world.node)
            .into_iter()
            .flat_map(|peer| [Some(peer.addr.addr()), peer.vxlan_tunnel])
            .flatten()
            .collect();
        for (key, value) in derive(&world) {
            match value {
                Value::Route(route) => prop_assert!(!route.gateway.is_some_and(|via| own.contains(&via)), "{key}"),
                Value::Fdb(fdb) => prop_assert!(!own.contains(&fdb.dst), "{key}"),
                _ => {}
            }
        }
    }

    #[test]
    fn our_blocks_are_blackholes_and_other_nodes_blocks_never(world in world()) {
        let objects = section(&world, Section::Routes);
        for (key, value) in &objects {
            let (Key::Route(key), Value::Route(route)) = (key, value) else { continue };
            let ours = world.blocks.get(&key.dst) == Some(&world.node);
            prop_assert_eq!(route.kind == RouteKind::Blackhole, ours, "{}", key.dst);
        }
    }

    #[test]
    fn every_way_out_has_its_route_and_nothing_else_has(world in world()) {
        let objects = section(&world, Section::Routes);
        let routed: BTreeSet<Cidr> = objects
            .keys()
            .filter_map(|key| match key {
                Key::Route(key) => Some(key.dst),
                _ => None,
            })
            .collect();
        let wanted = paths(&world)
            .filter(|(dst, _, path)| match path {
                Path::Unreachable(_) => false,
                Path::Local => !dst.is_host(),
                _ => true,
            })
            .map(|(dst, ..)| dst);
        prop_assert_eq!(routed, wanted.collect());
    }

    #[test]
    fn every_tunnel_gateway_has_one_neighbour_and_every_forwarding_entry_too(world in world()) {
        let objects = derive(&world);
        let neighbours: Vec<_> = objects
            .iter()
            .filter_map(|(key, value)| match (key, value) {
                (Key::Neigh(key), Value::Neigh(neigh)) => Some((key, neigh.mac)),
                _ => None,
            })
            .collect();
        for (key, value) in &objects {
            match (key, value) {
                (Key::Fdb(fdb), _) => {
                    let of = neighbours.iter().filter(|(key, mac)| key.device == fdb.device && *mac == fdb.mac);
                    prop_assert_eq!(of.count(), 1, "{}", key);
                }
                (Key::Route(_), Value::Route(route)) if route.onlink && route.mtu.is_some() => {
                    let of = neighbours
                        .iter()
                        .filter(|(key, _)| Some(key.addr) == route.gateway && Some(&key.device) == route.device.as_ref());
                    // The kernel's own tunnel takes the gateway itself for the outer destination.
                    let kernels = route.device == Some(IfName::fixed(derive::IPIP_DEVICE))
                        && world.ipip == Some(IpipDriver::Kernel);
                    prop_assert_eq!(of.count(), usize::from(!kernels), "{}", key);
                }
                _ => {}
            }
        }
        let fdb = objects.keys().filter(|key| matches!(key, Key::Fdb(_))).count();
        let on_tunnel = neighbours.iter().filter(|(key, _)| key.device.as_str() == derive::VXLAN_DEVICE).count();
        prop_assert_eq!(fdb, on_tunnel);
    }

    #[test]
    fn what_hangs_on_a_tunnel_device_comes_with_the_device(world in world()) {
        let objects = derive(&world);
        for device in [derive::VXLAN_DEVICE, derive::IPIP_DEVICE].map(IfName::fixed) {
            let made = objects.keys().any(|key| matches!(key, Key::Link(key) if key.name == device));
            let hangs = objects.iter().any(|(key, value)| match (key, value) {
                (Key::Fdb(key), _) => key.device == device,
                (Key::Neigh(key), _) => key.device == device,
                (Key::Clsact(key), _) => key.name == device,
                (Key::Filter(key), Value::Filter(filter)) => key.device == device || filter.leads_to() == Some(&device),
                (Key::Route(_), Value::Route(route)) => route.device.as_ref() == Some(&device),
                _ => false,
            });
            prop_assert!(made || !hangs, "{device}");
        }
    }

    #[test]
    fn the_sections_share_no_key(world in world()) {
        let all: usize = Section::ALL.into_iter().map(|part| section(&world, part).len()).sum();
        prop_assert_eq!(derive(&world).len(), all);
    }

    #[test]
    fn the_order_in_which_a_world_came_about_makes_no_difference(world in world(), seed in any::<u64>()) {
        let turned = |n: usize| (seed >> (n % 64) & 1) == 1;
        let mut again = World { node: world.node.clone(), felix: world.felix.clone(), ..World::default() };
        // Late and twice, wrong first, right in the end.
        for (n, (block, owner)) in world.blocks.iter().rev().enumerate() {
            again.blocks.insert(*block, if turned(n) { "n9".to_owned() } else { owner.clone() });
        }
        for (name, peer) in world.peers.iter().rev() {
            again.peers.insert(name.clone(), peer.clone());
        }
        for (id, endpoint) in world.endpoints.iter().rev() {
            again.endpoints.insert(id.clone(), endpoint.clone());
        }
        again.blocks.extend(world.blocks.clone());
        again.borrowed.extend(world.borrowed.clone().into_iter().rev());
        again.pools.extend(world.pools.clone().into_iter().rev());
        again.uplink = world.uplink.clone();
        again.ipip = world.ipip;
        prop_assert_eq!(derive(&again), derive(&world));
    }

    #[test]
    fn a_node_lets_in_what_another_sends_through_the_tunnel(world in world()) {
        for receiver in world.peers.keys() {
            let objects = derive(&seen_by(&world, receiver));
            let table = table(&objects);
            for (sender, peer) in world.peers.iter().filter(|(name, _)| *name != receiver) {
                let view = seen_by(&world, sender);
                let to_receiver: Vec<Path> =
                    paths(&view).filter(|(_, owner, _)| owner == receiver).map(|(.., path)| path).collect();
                let held = paths(&view).filter(|(_, owner, _)| owner == sender).map(|(dst, ..)| dst);
                let held: Vec<Cidr> = held.chain([Cidr::host(peer.addr.addr())]).collect();
                if to_receiver.iter().any(|path| matches!(path, Path::Vxlan(_))) {
                    for inner in held.iter().copied().chain(peer.vxlan_tunnel.map(Cidr::host)) {
                        prop_assert!(lets_in(table, peer.addr.addr(), inner), "{sender} to {receiver}: {inner}");
                    }
                }
                // A receiver that does not know its uplink takes nothing, and sends nothing either.
                if to_receiver.iter().any(|path| matches!(path, Path::Ipip { .. })) {
                    for inner in held.into_iter().chain(peer.ipip_tunnel.map(Cidr::host)) {
                        prop_assert!(finds_honest(&objects, peer.addr.addr(), inner), "{sender} to {receiver}: {inner}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_node_may_send_in_anothers_name(world in world()) {
        for receiver in world.peers.keys() {
            let objects = derive(&seen_by(&world, receiver));
            for (sender, peer) in &world.peers {
                let foreign = world.borrowed.iter().filter(|(_, owner)| *owner != sender).map(|(addr, _)| *addr);
                // A borrowed address lies in a block: the block's own node is believed for all of it.
                // The filter takes the longest prefix: a borrower that is known is believed alone.
                let known = |addr: &IpAddr| {
                    let borrower = &world.borrowed[addr];
                    borrower != receiver && world.peers.contains_key(borrower)
                };
                for addr in foreign.clone().filter(known) {
                    prop_assert!(!finds_honest(&objects, peer.addr.addr(), Cidr::host(addr)), "{sender}: {addr}");
                }
                for addr in foreign.filter(|addr| !world.blocks.iter().any(|(b, o)| o == sender && b.contains(*addr))) {
                    prop_assert!(!lets_in(table(&objects), peer.addr.addr(), Cidr::host(addr)), "{sender}: {addr}");
                }
                for (block, _) in world.blocks.iter().filter(|(_, owner)| *owner != sender) {
                    prop_assert!(!lets_in(table(&objects), peer.addr.addr(), *block), "{sender}: {block}");
                    prop_assert!(!finds_honest(&objects, peer.addr.addr(), *block), "{sender}: {block}");
                }
            }
        }
    }

    /// However much is learnt and lost again, deriving what moved gives what deriving all of it gives.
    #[test]
    fn a_part_of_what_was_learnt_is_derived_as_the_whole(
        (world, selected) in (world(), any::<bool>()),
        steps in prop::collection::vec((said(), any::<bool>()), 1..24),
    ) {
        let mut world = World { selected, ..speaking(world) };
        let (mut objects, mut moved) = (section(&world, Section::Learnt), BTreeSet::new());
        for ((dst, paths, kept), derive_now) in steps {
            match paths.is_empty() {
                true => world.learnt.remove(&dst),
                false => world.learnt.insert(dst, paths.into()),
            };
            match kept {
                Some(hops) => world.hops.insert(dst, hops),
                None => world.hops.remove(&dst),
            };
            moved.insert(dst);
            if derive_now {
                put(&mut objects, moved_learnt(&world, &std::mem::take(&mut moved)));
                prop_assert_eq!(&objects, &section(&world, Section::Learnt));
            }
        }
    }

    /// However endpoints come and go, deriving those that moved gives what deriving all of them gives.
    #[test]
    fn a_part_of_the_endpoints_is_derived_as_the_whole(steps in prop::collection::vec((step(), any::<bool>()), 1..12)) {
        let (mut world, mut objects, mut before) = (World::default(), Objects::new(), BTreeMap::new());
        for ((id, endpoint), derive_now) in steps {
            let id = attachment(["a", "b", "c"][id], "10.10.0.0").id;
            let was = match endpoint {
                Some(mut endpoint) => {
                    endpoint.attachment.id = id.clone();
                    world.endpoints.insert(id.clone(), endpoint)
                }
                None => world.endpoints.remove(&id),
            };
            before.entry(id).or_insert(was);
            if derive_now {
                put(&mut objects, moved_endpoints(&world, &std::mem::take(&mut before)));
                prop_assert_eq!(&objects, &section(&world, Section::Endpoints));
            }
        }
    }
}
