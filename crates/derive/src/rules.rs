//! The nftables table `inet calico`:
//!
//! ```text
//!  raw-PREROUTING    what a pod may not send: another's source, loopback, tunnels of its own, router advertisements
//!  filter-INPUT      which tunnel packets are let in: judged on outer and inner source together
//!  nat-POSTROUTING   whose source becomes the node's: pods of natOutgoing pools on their way out of all pools
//! ```
//!
//! Every drop has a counter of its own, which survives changes of the rules.

use crate::host::{VXLAN_DEVICE, vxlan_port, vxlan_vni as vni};
use crate::{World, mtu};
use kernel::nft::rule::{ICMPV6_ROUTER_ADVERTISEMENT, PROTO_IPIP};
use kernel::nft::rule::{
    daddr, daddr_local, icmpv6_type, iifname, l4proto, oifname, saddr, set, udp_dport, vxlan_carries_ipv4,
    vxlan_vni,
};
use kernel::nft::{
    Chain, Element, Field, Hook, HookPoint, Range, Rule, Set, Table, TableKey, Type, priority,
};
use kernel::{Key, Objects, Value};
use model::Cidr;
use std::net::{IpAddr, Ipv4Addr};

const POOLS: &str = "network-ip-pools";
const MASQUERADED: &str = "masq-ipam-pools";
const HOSTS: &str = "all-hosts-net";
const WORKLOADS: &str = "workload-sources";
const TUNNELS: &str = "vxlan-sources";
/// The host's ends of pods' pairs.
const PODS: &str = "cali*";

/// The key of our table.
pub fn rules_key() -> Key {
    Key::Nft(TableKey::inet())
}

pub(crate) fn derive(world: &World) -> Objects {
    let table = Table::default()
        .set(POOLS, nets(world.pools.values().map(|pool| pool.cidr)))
        .set(MASQUERADED, nets(world.pools.values().filter(|pool| pool.nat_outgoing).map(|pool| pool.cidr)))
        .set(HOSTS, nets(world.peers.values().map(|peer| Cidr::host(peer.addr.addr()))))
        .set(WORKLOADS, workload_sources(world))
        .set(TUNNELS, tunnel_sources(world))
        .chain(
            "raw-PREROUTING",
            Chain::base(Hook::filter(HookPoint::Prerouting, priority::RAW), from_pods(world)),
        )
        .chain("filter-INPUT", Chain::base(Hook::filter(HookPoint::Input, priority::FILTER), tunnels(world)))
        .chain(
            "nat-POSTROUTING",
            Chain::base(Hook::nat(HookPoint::Postrouting, priority::SRCNAT), outgoing(world)),
        );
    [(rules_key(), Value::Nft(Box::new(table)))].into()
}

/// Which source each pod may use.
fn workload_sources(world: &World) -> Set {
    let sources = world.endpoints.values().flat_map(|endpoint| {
        let attachment = &endpoint.attachment;
        let v4 = attachment.addresses.iter().filter(|addr| addr.is_ipv4());
        v4.map(|addr| Element::new([Range::from(attachment.host_interface.clone()), Range::from(*addr)]))
    });
    Set::values([Type::IfName, Type::Ipv4Addr], sources)
}

/// Which inner sources each node may send through a tunnel: its blocks, what it borrowed, its tunnel and own addresses.
/// Empty while no pool wants VXLAN.
fn tunnel_sources(world: &World) -> Set {
    let wanted = mtu::vxlan_wanted(world);
    let remote = |node: &str| world.peers.get(node).filter(|_| wanted && node != world.node);
    let blocks = world.blocks.iter().map(|(cidr, node)| (node, *cidr));
    let borrowed = world.borrowed.iter().map(|(addr, node)| (node, Cidr::host(*addr)));
    let held = blocks.chain(borrowed).filter_map(|(node, cidr)| Some((remote(node)?.addr.addr(), cidr)));
    let own = world.peers.keys().filter_map(|node| remote(node)).flat_map(|peer| {
        let addrs = [Some(peer.addr.addr()), peer.vxlan_tunnel];
        addrs.into_iter().flatten().map(|addr| (peer.addr.addr(), Cidr::host(addr)))
    });
    let pairs = held.chain(own).filter(|(outer, inner)| outer.is_ipv4() && inner.is_ipv4());
    let elements = pairs.map(|(outer, inner)| Element::new([Range::from(outer), Range::from(inner)]));
    Set::ranges([Type::Ipv4Addr, Type::Ipv4Addr], elements)
}

fn from_pods(world: &World) -> Vec<Rule> {
    let loopback = Cidr::containing(IpAddr::V4(Ipv4Addr::LOCALHOST), 8).expect("8 fits IPv4");
    let mut rules = vec![
        Rule::when([iifname(PODS), daddr(loopback)]).count("pod-to-loopback").drop(),
        Rule::when([iifname(PODS), !set([Field::Iifname, Field::Saddr], WORKLOADS)])
            .count("pod-spoofed")
            .drop(),
        Rule::when([iifname(PODS), icmpv6_type(ICMPV6_ROUTER_ADVERTISEMENT)])
            .count("pod-router-advert")
            .drop(),
    ];
    // Masquerade would give a pod's own tunnel packet the node's address, and the far node would take it.
    if world.felix.allow_vxlan_packets_from_workloads != Some(true) {
        rules.push(Rule::when([iifname(PODS), udp_dport(vxlan_port(world))]).count("pod-vxlan").drop());
    }
    if world.felix.allow_ipip_packets_from_workloads != Some(true) {
        rules.push(Rule::when([iifname(PODS), l4proto(PROTO_IPIP)]).count("pod-ipip").drop());
    }
    rules
}

/// Only our own network is judged: another VXLAN of this host is none of our business.
fn tunnels(world: &World) -> Vec<Rule> {
    let ours = [udp_dport(vxlan_port(world)), daddr_local(), vxlan_vni(vni(world))];
    let honest = [vxlan_carries_ipv4(), set([Field::Saddr, Field::InnerSaddr], TUNNELS)];
    vec![
        Rule::when(ours.clone().into_iter().chain(honest)).accept(),
        Rule::when(ours).count("vxlan-refused").drop(),
    ]
}

fn outgoing(world: &World) -> Vec<Rule> {
    let leaves = [set([Field::Saddr], MASQUERADED), !set([Field::Daddr], POOLS)];
    let spares_hosts = world.felix.nat_outgoing_exclusions.as_deref() == Some("IPPoolsAndHostIPs");
    let spared = spares_hosts.then(|| !set([Field::Daddr], HOSTS));
    let mut rules = vec![Rule::when(leaves.into_iter().chain(spared)).masquerade()];
    // An answer to the node's own address would come back outside of the tunnel.
    rules.extend(
        world
            .peers
            .get(&world.node)
            .map(|own| Rule::when([oifname(VXLAN_DEVICE), saddr(Cidr::host(own.addr.addr()))]).masquerade()),
    );
    rules
}

fn nets(cidrs: impl Iterator<Item = Cidr>) -> Set {
    Set::ranges(
        [Type::Ipv4Addr],
        cidrs.filter(|cidr| cidr.is_ipv4()).map(|cidr| Element::new([Range::from(cidr)])),
    )
}
