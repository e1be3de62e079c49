//! A table such as a node has.

use kernel::nft::rule::{
    ICMPV6_ROUTER_ADVERTISEMENT, PROTO_GRE, PROTO_IPIP, daddr, daddr_local, icmpv6_type, iifname, l4proto,
    oifname, saddr, set, tcp_dport, udp_dport, vxlan_carries_ipv4, vxlan_vni,
};
use kernel::nft::{
    Action, Chain, Condition, Element, Field, Hook, HookPoint, Range, Rule, Set, Table, Type, Verdict,
    priority,
};
use model::{Cidr, IfName, Vni};
use std::net::{IpAddr, Ipv4Addr};

pub fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

pub fn net(text: &str) -> Element {
    Element::new([Range::from(cidr(text))])
}

pub fn nets<'a>(texts: impl IntoIterator<Item = &'a str>) -> Set {
    Set::ranges([Type::Ipv4Addr], texts.into_iter().map(net))
}

pub fn interface(name: &str) -> Range {
    Range::from(IfName::fixed(name))
}

fn addr(text: &str) -> Range {
    Range::from(text.parse::<IpAddr>().unwrap())
}

/// A pod's interface and address.
pub fn pod(name: &str, address: &str) -> Element {
    Element::new([interface(name), addr(address)])
}

/// Outer source and inner network.
pub fn source(outer: &str, inner: &str) -> Element {
    Element::new([Range::from(outer.parse::<Ipv4Addr>().unwrap()), Range::from(cidr(inner))])
}

/// Everything that a node's table holds.
pub fn table() -> Table {
    Table::default()
        .set("network-ip-pools", nets(["10.244.0.0/16", "192.168.128.0/25", "192.168.128.128/25"]))
        .set("masq-ipam-pools", nets(["10.244.0.0/16"]))
        .set("all-hosts-net", nets(["172.18.0.2/32", "172.18.0.3/32", "255.255.255.0/24"]))
        .set(
            "workload-sources",
            Set::values(
                [Type::IfName, Type::Ipv4Addr],
                [pod("cali1", "10.244.0.5"), pod("cali2", "10.244.0.6")],
            ),
        )
        .set(
            "vxlan-sources",
            Set::ranges(
                [Type::Ipv4Addr, Type::Ipv4Addr],
                [
                    source("172.18.0.3", "10.244.1.0/26"),
                    source("172.18.0.3", "10.244.1.0/32"),
                    source("172.18.0.3", "172.18.0.3/32"),
                ],
            ),
        )
        .chain("raw-PREROUTING", Chain::base(Hook::filter(HookPoint::Prerouting, priority::RAW), from_pods()))
        .chain("filter-INPUT", Chain::base(Hook::filter(HookPoint::Input, priority::FILTER), tunnels()))
        .chain(
            "nat-POSTROUTING",
            Chain::base(Hook::nat(HookPoint::Postrouting, priority::SRCNAT), outgoing()),
        )
}

fn from_pods() -> [Rule; 6] {
    [
        Rule::when([iifname("cali*"), daddr(cidr("127.0.0.0/8"))]).count("pod-to-loopback").drop(),
        Rule::when([iifname("cali*"), !set([Field::Iifname, Field::Saddr], "workload-sources")])
            .count("pod-spoofed")
            .drop(),
        Rule::when([iifname("cali*"), icmpv6_type(ICMPV6_ROUTER_ADVERTISEMENT)])
            .count("pod-router-advert")
            .drop(),
        Rule::when([iifname("cali*"), udp_dport(4789)]).count("pod-vxlan").drop(),
        Rule::when([iifname("cali*"), l4proto(PROTO_IPIP)]).count("pod-ipip").drop(),
        Rule::when([iifname("cali*"), l4proto(PROTO_GRE)]).count("pod-gre").drop(),
    ]
}

fn tunnels() -> [Rule; 2] {
    let ours = [udp_dport(4789), daddr_local(), vxlan_vni(Vni(4096))];
    let honest = [vxlan_carries_ipv4(), set([Field::Saddr, Field::InnerSaddr], "vxlan-sources")];
    [
        Rule::when(ours.clone().into_iter().chain(honest)).accept(),
        Rule::when(ours).count("vxlan-refused").drop(),
    ]
}

fn outgoing() -> [Rule; 1] {
    [Rule::when([set([Field::Saddr], "masq-ipam-pools"), !set([Field::Daddr], "network-ip-pools")])
        .masquerade()]
}

/// Every kind of condition and action, each way round, without those that `nft` cannot read back.
pub fn every_word() -> Table {
    let v6 = |net: &str| Element::new([interface("cali1"), Range::from(cidr(net))]);
    let conditions = [
        set([Field::Saddr], "nets"),
        set([Field::Iifname, Field::Saddr6], "sources6"),
        set([Field::Saddr, Field::Daddr], "pairs"),
        iifname("cali1"),
        iifname("cali*"),
        oifname("cali1"),
        oifname("eth*"),
        l4proto(PROTO_IPIP),
        udp_dport(53),
        tcp_dport(179),
        icmpv6_type(ICMPV6_ROUTER_ADVERTISEMENT),
        saddr(cidr("10.0.0.0/8")),
        daddr(cidr("10.128.0.0/9")),
        daddr(cidr("10.1.2.3/32")),
        saddr(cidr("fc00::/7")),
        daddr(cidr("fd00::1/128")),
        Condition::Transport { offset: 12, bytes: vec![0x12, 0x34, 0x56] }.into(),
        daddr_local(),
        Condition::Mark { value: 0x10000, mask: 0x30000 }.into(),
    ];
    let both = conditions.clone().map(|condition| Rule::when([condition]).accept());
    let negated = conditions.map(|condition| Rule::when([!condition]).count("refused").drop());
    let actions = [
        Rule::when([iifname("cali*")]).dispatch([Field::Iifname], "dispatch"),
        Rule::when([saddr(cidr("10.0.0.0/8"))]).dispatch([Field::Saddr], "by-net"),
        Rule::when([udp_dport(4789)]).action(Action::Notrack),
        Rule::always().action(Action::SetMark { value: 0x10000, mask: 0x30000 }),
        Rule::always().jump("pod-1"),
        Rule::always().goto("pod-2"),
        Rule::always().count("seen"),
    ];
    Table::default()
        .set("nets", nets(["0.0.0.0/8", "10.0.0.0/25", "10.0.0.128/25", "10.9.9.9/32", "255.0.0.0/8"]))
        .set("sources6", Set::ranges([Type::IfName, Type::Ipv6Addr], [v6("fd00::/64"), v6("fe80::1/128")]))
        .set("pairs", Set::ranges([Type::Ipv4Addr, Type::Ipv4Addr], [source("10.0.0.1", "10.1.0.0/26")]))
        .set(
            "dispatch",
            Set::verdicts(
                [Type::IfName],
                [
                    Element::goes([interface("cali1")], Verdict::Goto("pod-1".to_owned())),
                    Element::goes([interface("cali2")], Verdict::Jump("pod-2".to_owned())),
                    Element::goes([interface("cali3")], Verdict::Drop),
                ],
            ),
        )
        .set(
            "by-net",
            Set {
                interval: true,
                ..Set::verdicts([Type::Ipv4Addr], [Element::goes([addr("10.1.1.1")], Verdict::Accept)])
            },
        )
        .chain("pod-1", Chain::regular([Rule::always().accept()]))
        .chain("pod-2", Chain::regular([Rule::always().action(Action::Verdict(Verdict::Return))]))
        .chain(
            "every-condition",
            Chain::base(Hook::filter(HookPoint::Forward, priority::FILTER), both.into_iter().chain(negated)),
        )
        .chain("raw-OUTPUT", Chain::base(Hook::filter(HookPoint::Output, priority::RAW), actions))
        .chain(
            "nat-POSTROUTING",
            Chain::base(
                Hook::nat(HookPoint::Postrouting, priority::SRCNAT),
                [Rule::when([udp_dport(53)]).masquerade_to(1024, 4788), Rule::always().masquerade()],
            ),
        )
}
