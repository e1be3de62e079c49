//! The nftables table `inet calico`:
//!
//! ```text
//!  raw-PREROUTING    what a pod may not send: another's source, loopback, tunnels of its own, router advertisements, BGP with nodes;
//!                    what comes out of the kernel's tunl0
//!  raw-OUTPUT        tunnel packets between nodes, which connection tracking need not know
//!  filter-INPUT      which tunnel packets are let in: judged on outer and inner source together; who may call the BGP speaker
//!  nat-POSTROUTING   whose source becomes the node's: pods of natOutgoing pools on their way out of all pools
//! ```
//!
//! and `arp calico`, without which a pod could fill the kernel's table of neighbours, of which there is one for all
//! namespaces: whoever asks for an address by ARP becomes a neighbour.
//!
//! IP in IP is judged by the uplink's filter, in front of both drivers: here what it did not judge honest is dropped.
//!
//! Every drop has a counter of its own, which survives changes of the rules.

use crate::host::{vxlan_port, vxlan_vni as vni};
use crate::{Encap, IPIP_DEVICE, IpipDriver, VXLAN_DEVICE, World, accept, ipip};
use kernel::filter::ACCEPTED;
use kernel::nft::rule::{ICMPV6_ROUTER_ADVERTISEMENT, PROTO_GRE, PROTO_IPIP, PROTO_TCP, PROTO_UDP};
use kernel::nft::rule::{
    daddr, daddr_local, icmpv6_type, iifname, ipv4, l4proto, oifname, saddr, set, tcp_dport, udp_dport,
    vxlan_carries_ipv4, vxlan_vni,
};
use kernel::nft::{
    Action, Chain, Condition, Element, Field, Hook, HookPoint, Match, Range, Rule, Set, Table, TableKey,
    Type, priority,
};
use kernel::{Key, Objects, Value, rules_key};
use model::{Cidr, IfName, PortRange};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

const POOLS: &str = "network-ip-pools";
const MASQUERADED: &str = "masq-ipam-pools";
const HOSTS: &str = "all-hosts-net";
const WORKLOADS: &str = "workload-sources";
/// What lies behind pods that are BGP peers.
const BEHIND_PODS: &str = "workload-routed-sources";
const TUNNELS: &str = "vxlan-sources";
const SPEAKERS: &str = "bgp-speakers";
const SPEAKERS6: &str = "bgp-speakers6";
/// The host's ends of pods' pairs.
const PODS: &str = "cali*";

pub(crate) fn derive(world: &World) -> Objects {
    let sources = workload_sources(world);
    let arp = Table::default().set(WORKLOADS, sources.clone()).chain(
        "filter-INPUT",
        Chain::base(Hook::filter(HookPoint::Input, priority::FILTER), neighbours_of_pods()),
    );
    let table = Table::default()
        .set(POOLS, nets(world.pools.values().map(|pool| pool.cidr)))
        .set(MASQUERADED, nets(world.pools.values().filter(|pool| pool.nat_outgoing).map(|pool| pool.cidr)))
        .set(HOSTS, nets(world.peers.values().map(|peer| Cidr::host(peer.addr.addr()))))
        .set(WORKLOADS, sources)
        .set(TUNNELS, tunnel_sources(world))
        .chain(
            "raw-PREROUTING",
            Chain::base(
                Hook::filter(HookPoint::Prerouting, priority::RAW),
                [untracked(world, Field::Saddr), from_pods(world), from_kernels_ipip(world)].concat(),
            ),
        )
        .chain(
            "raw-OUTPUT",
            Chain::base(Hook::filter(HookPoint::Output, priority::RAW), untracked(world, Field::Daddr)),
        )
        .set(SPEAKERS, speakers(world, Type::Ipv4Addr))
        .set(SPEAKERS6, speakers(world, Type::Ipv6Addr))
        .chain(
            "filter-INPUT",
            Chain::base(
                Hook::filter(HookPoint::Input, priority::FILTER),
                [tunnels(world), strangers(world)].concat(),
            ),
        )
        .chain(
            "nat-POSTROUTING",
            Chain::base(Hook::nat(HookPoint::Postrouting, priority::SRCNAT), outgoing(world)),
        );
    let behind_pods = world.bgp.has_workload_peers().then(|| sources_behind_pods(world));
    let table = behind_pods.into_iter().fold(table, |table, sources| table.set(BEHIND_PODS, sources));
    let tables = [(rules_key(), table), (Key::Nft(TableKey::arp()), arp)];
    let tables = tables.map(|(key, table)| (key, Value::Nft(Box::new(table))));
    tables.into_iter().chain(ipip::accept(world)).collect()
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

/// What a pod that is a BGP peer leads to may send by it.
fn sources_behind_pods(world: &World) -> Set {
    let v4 = world.behind_pods().filter(|(_, dst)| dst.is_ipv4());
    let sources = v4.map(|(device, dst)| Element::new([Range::from(device.clone()), Range::from(dst)]));
    Set::ranges([Type::IfName, Type::Ipv4Addr], sources)
}

/// Which inner sources each node may send through a tunnel.
fn tunnel_sources(world: &World) -> Set {
    let pairs = accept::vxlan_sources(world);
    let elements = pairs.map(|(outer, inner)| Element::new([Range::from(outer), Range::from(inner)]));
    Set::ranges([Type::Ipv4Addr, Type::Ipv4Addr], elements)
}

/// What a pod says that has another's address makes nobody a neighbour.
fn neighbours_of_pods() -> [Rule; 1] {
    let honest = set([Field::Iifname, Field::ArpSaddr], WORKLOADS);
    [Rule::when([iifname(PODS), !honest]).count("pod-arp").drop()]
}

/// Tunnel packets from or to other nodes, as Calico does it: each flow inside is one of its own outside, and would be tracked
/// once more.
fn untracked(world: &World, other: Field) -> Vec<Rule> {
    let tunnel = Rule::when([set([other], HOSTS), udp_dport(vxlan_port(world))]);
    world.accepts(Encap::Vxlan).then(|| tunnel.action(Action::Notrack)).into_iter().collect()
}

fn from_pods(world: &World) -> Vec<Rule> {
    let loopback = Cidr::containing(IpAddr::V4(Ipv4Addr::LOCALHOST), 8).expect("8 fits IPv4");
    let source = [Field::Iifname, Field::Saddr];
    let behind = world.bgp.has_workload_peers().then(|| !set(source, BEHIND_PODS));
    let spoofed = [iifname(PODS), !set(source, WORKLOADS)].into_iter().chain(behind);
    let mut rules = vec![
        Rule::when([iifname(PODS), daddr(loopback)]).count("pod-to-loopback").drop(),
        Rule::when(spoofed).count("pod-spoofed").drop(),
        Rule::when([iifname(PODS), icmpv6_type(ICMPV6_ROUTER_ADVERTISEMENT)])
            .count("pod-router-advert")
            .drop(),
    ];
    // Masquerade would make of a pod's session with another node one of this node's.
    for port in world.bgp.listen_ports() {
        let to_speaker = [set([Field::Daddr], HOSTS), tcp_dport(port)];
        rules.push(Rule::when([iifname(PODS)].into_iter().chain(to_speaker)).count("pod-bgp").drop());
    }
    // Masquerade would give a pod's own tunnel packet the node's address, and the far node would take it.
    if world.felix.allow_vxlan_packets_from_workloads != Some(true) {
        rules.push(Rule::when([iifname(PODS), udp_dport(vxlan_port(world))]).count("pod-vxlan").drop());
    }
    if world.felix.allow_ipip_packets_from_workloads != Some(true) {
        rules.push(Rule::when([iifname(PODS), l4proto(PROTO_IPIP)]).count("pod-ipip").drop());
    }
    // No setting allows it: between nodes there is none, and who takes it out elsewhere would take it for the node's.
    rules.push(Rule::when([iifname(PODS), l4proto(PROTO_GRE)]).count("pod-gre").drop());
    rules
}

/// The module's `tunl0` takes packets from anyone as soon as it is there.
fn from_kernels_ipip(world: &World) -> Vec<Rule> {
    let from = iifname(IPIP_DEVICE);
    match (world.ipip, world.accepts(Encap::Ipip)) {
        // The mark is the outer packet's, and has done its work.
        (Some(IpipDriver::Kernel), true) => {
            vec![Rule::when([from]).action(Action::SetMark { value: 0, mask: ACCEPTED })]
        }
        (_, true) => Vec::new(),
        // Others may use the device for purposes of their own: the pods are ours.
        (_, false) => vec![Rule::when([from, set([Field::Daddr], POOLS)]).count("ipip-refused").drop()],
    }
}

/// Only our own network is judged: another VXLAN of this host is none of our business.
fn tunnels(world: &World) -> Vec<Rule> {
    let ours = [udp_dport(vxlan_port(world)), daddr_local(), vxlan_vni(vni(world))];
    // What came out of a tunnel is no tunnel's packet: else one packet could hold many, each judged by the node alone.
    let outermost = [VXLAN_DEVICE, IPIP_DEVICE].map(|device| !iifname(device));
    let judged = [vxlan_carries_ipv4(), set([Field::Saddr, Field::InnerSaddr], TUNNELS)];
    let honest = outermost.into_iter().chain(judged);
    let mut rules = vec![
        Rule::when(ours.clone().into_iter().chain(honest)).accept(),
        Rule::when(ours).count("vxlan-refused").drop(),
    ];
    if world.accepts(Encap::Ipip) {
        let judged = Match::from(Condition::Mark { value: ACCEPTED, mask: ACCEPTED });
        rules.push(Rule::when([ipv4(), l4proto(PROTO_IPIP), !judged]).count("ipip-refused").drop());
    }
    rules
}

/// Who may be a BGP peer: every other node, and whom a BGPPeer names or selects. Whether it is one here the speaker knows.
fn speakers(world: &World, sort: Type) -> Set {
    let others = world.bgp.nodes.iter().filter(|(name, _)| **name != world.node);
    let nodes = others.flat_map(|(_, node)| [node.v4, node.v6]).flatten().map(|addr| addr.addr());
    let named = world.bgp.peers.values().filter_map(|peer| Some(peer.peer_ip?.addr));
    let pods = world.workload_peers().into_iter().map(|peer| peer.pod);
    let addrs: BTreeSet<IpAddr> = nodes.chain(named).chain(pods).filter(|_| world.bgp.speaks).collect();
    let of_sort = addrs.into_iter().filter(|addr| addr.is_ipv4() == (sort == Type::Ipv4Addr));
    Set::values([sort], of_sort.map(|addr| Element::new([Range::from(addr)])))
}

/// However often a stranger calls, the speaker does not hear of it.
fn strangers(world: &World) -> Vec<Rule> {
    let port = world.bgp.listen_port(&world.node);
    let call = |from, known| {
        let call = [!iifname("lo"), tcp_dport(port), !set([from], known)];
        Rule::when(call).count("bgp-stranger").drop()
    };
    let rules = [call(Field::Saddr, SPEAKERS), call(Field::Saddr6, SPEAKERS6)];
    rules.into_iter().filter(|_| world.bgp.speaks).collect()
}

/// Whose source becomes an address of the node, and which ports are left to it: of TCP and UDP those that are configured, and
/// of UDP never the tunnels' own, to which answers would be taken for tunnel packets.
fn outgoing(world: &World) -> Vec<Rule> {
    let felix = &world.felix;
    let leaves = [set([Field::Saddr], MASQUERADED), !set([Field::Daddr], POOLS)];
    let spares_hosts = felix.nat_outgoing_exclusions.as_deref() == Some("IPPoolsAndHostIPs");
    let spared = spares_hosts.then(|| !set([Field::Daddr], HOSTS));
    let by = felix.nat_outgoing_interface_filter.as_ref().map(|name| oifname(&as_pattern(name)));
    let leaves: Vec<Match> = leaves.into_iter().chain(spared).chain(by).collect();
    let tcp = felix.nat_port_range.filter(|ports| ports.last > 0);
    let udp = if world.accepts(Encap::Vxlan) { Some(beside(vxlan_port(world), tcp)) } else { tcp };
    let source = |ports: Option<PortRange>| {
        let ports = ports.map(|ports| (ports.first.max(1), ports.last));
        match felix.nat_outgoing_address {
            Some(addr) => Action::Snat { addr, ports },
            None => Action::Masquerade { ports },
        }
    };
    let ranges =
        [(PROTO_TCP, tcp), (PROTO_UDP, udp)].into_iter().filter_map(|(of, ports)| Some((of, ports?)));
    let of_range = |(protocol, ports)| {
        Rule::when(leaves.iter().cloned().chain([l4proto(protocol)])).action(source(Some(ports)))
    };
    let mut rules: Vec<Rule> = ranges.map(of_range).collect();
    rules.push(Rule::when(leaves.clone()).action(source(None)));
    // An answer to the node's own address would come back outside of the tunnel. By name and not by `masquerade`: the kernel ends
    // what it masqueraded as soon as its way out is another one, which a change of mode makes it.
    if let Some(own) = world.peers.get(&world.node) {
        let node = saddr(Cidr::host(own.addr.addr()));
        for (device, tunnel) in [(VXLAN_DEVICE, own.vxlan_tunnel), (IPIP_DEVICE, own.ipip_tunnel)] {
            let Some(IpAddr::V4(addr)) = tunnel else { continue };
            let action = Action::Snat { addr, ports: None };
            rules.push(Rule::when([oifname(device), node.clone()]).action(action));
        }
    }
    rules
}

/// The name of an interface as nftables writes it, `*` for what is `+` to iptables.
fn as_pattern(name: &IfName) -> String {
    let name = name.as_str();
    name.strip_suffix('+').map_or_else(|| name.to_owned(), |prefix| format!("{prefix}*"))
}

/// The larger part of a range without one port. Of a range that is that port alone nothing is left: then of all that are
/// unprivileged, as without a range.
fn beside(port: u16, ports: Option<PortRange>) -> PortRange {
    const UNPRIVILEGED: PortRange = PortRange { first: 1024, last: u16::MAX };
    let ports = ports.filter(|ports| (ports.first, ports.last) != (port, port)).unwrap_or(UNPRIVILEGED);
    let PortRange { first, last } = ports;
    if !(first..=last).contains(&port) {
        ports
    } else if port - first > last - port {
        PortRange { last: port - 1, ..ports }
    } else {
        PortRange { first: port + 1, ..ports }
    }
}

fn nets(cidrs: impl Iterator<Item = Cidr>) -> Set {
    Set::ranges(
        [Type::Ipv4Addr],
        cidrs.filter(|cidr| cidr.is_ipv4()).map(|cidr| Element::new([Range::from(cidr)])),
    )
}
