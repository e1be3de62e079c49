//! Strategies for messages that make sense.

use bgp::wire::*;
use model::{Asn, Cidr};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// What two speakers of unicast can agree on.
pub fn ctx() -> impl Strategy<Value = Ctx> {
    any::<(bool, bool, bool, bool, bool)>().prop_map(|(ebgp, four_octet_as, extended_message, v4, v6)| Ctx {
        ebgp,
        four_octet_as,
        extended_message,
        families: [(v4, Family::IPV4), (v6, Family::IPV6)]
            .into_iter()
            .filter_map(|(agreed, family)| agreed.then_some(family))
            .collect(),
    })
}

/// A message, and a session on which it can be sent.
pub fn message() -> impl Strategy<Value = (Ctx, Message)> {
    ctx().prop_flat_map(|ctx| {
        let message = prop_oneof![
            2 => open().prop_map(Message::Open),
            6 => update(&ctx).prop_map(Message::Update),
            1 => notification().prop_map(Message::Notification),
            1 => Just(Message::Keepalive),
            1 => (family(), any::<u8>())
                .prop_map(|(family, subtype)| Message::RouteRefresh(RouteRefresh { family, subtype })),
        ];
        (Just(ctx), message)
    })
}

pub fn family() -> impl Strategy<Value = Family> {
    prop_oneof![
        Just(Family::IPV4),
        Just(Family::IPV6),
        any::<(u16, u8)>().prop_map(|(afi, safi)| Family { afi, safi })
    ]
}

pub fn open() -> impl Strategy<Value = Open> {
    let hold_time = prop_oneof![Just(0), 3..=u16::MAX].prop_map(|secs| HoldTime::new(secs).expect("allowed"));
    let router_id = (1u32..).prop_map(|id| RouterId(id.into()));
    (1u16.., hold_time, router_id, vec(capability(), 0..12)).prop_map(
        |(my_as, hold_time, router_id, capabilities)| {
            let wide = capabilities.iter().rev().find_map(|capability| match capability {
                Capability::FourOctetAs(asn) => Some(*asn),
                _ => None,
            });
            Open { asn: wide.unwrap_or(Asn(my_as.into())), hold_time, router_id, capabilities }
        },
    )
}

fn capability() -> impl Strategy<Value = Capability> {
    prop_oneof![
        family().prop_map(Capability::Multiprotocol),
        Just(Capability::RouteRefresh),
        Just(Capability::ExtendedMessage),
        (1u32..).prop_map(|asn| Capability::FourOctetAs(Asn(asn))),
        (any::<bool>(), any::<bool>(), 0u16..4096, vec((family(), any::<bool>()), 0..4)).prop_map(
            |(restarting, notification, time, families)| {
                let restart = GracefulRestart { restarting, notification, time, families };
                Capability::GracefulRestart(restart)
            }
        ),
        (7u8..64, vec(any::<u8>(), 0..=255)).prop_map(|(code, value)| Capability::Unknown { code, value }),
    ]
}

pub fn notification() -> impl Strategy<Value = Notification> {
    (any::<(u8, u8)>(), vec(any::<u8>(), 0..300))
        .prop_map(|((code, subcode), data)| Notification::with(Error::new(code, subcode), data))
}

/// Destinations and an answer in which each family stands once.
pub fn update(ctx: &Ctx) -> impl Strategy<Value = Update> + use<> {
    let dsts = |agreed: bool, dst: BoxedStrategy<Cidr>| vec(dst, if agreed { 0..400 } else { 0..1 });
    let (v4, v6) = (ctx.families.contains(&Family::IPV4), ctx.families.contains(&Family::IPV6));
    let ends: Vec<_> = std::iter::once(None).chain(ctx.families.iter().copied().map(Some)).collect();
    let fields = (
        (dsts(v4, ipv4_dst().boxed()), dsts(v6, ipv6_dst().boxed())),
        (ipv4_nexthop(), dsts(v4, ipv4_dst().boxed())),
        (ipv6_nexthop(), dsts(v6, ipv6_dst().boxed())),
        attributes(ctx),
    );
    let routes = fields.prop_map(|((mut withdrawn, mut ipv6), v4, v6, attrs)| {
        withdrawn.append(&mut ipv6);
        let announced: Vec<_> = [v4, v6]
            .into_iter()
            .filter(|(_, dsts)| !dsts.is_empty())
            .map(|(nexthop, dsts)| Announced { nexthop, dsts })
            .collect();
        let attrs = (!announced.is_empty()).then(|| Arc::new(attrs));
        Update { withdrawn, announced, attrs, end_of_rib: None }
    });
    let end =
        proptest::sample::select(ends).prop_map(|end_of_rib| Update { end_of_rib, ..Update::default() });
    prop_oneof![8 => routes, 1 => end]
}

pub fn ipv4_dst() -> impl Strategy<Value = Cidr> {
    (0u32..0xe000_0000, 0u8..=32)
        .prop_map(|(addr, len)| Cidr::containing(IpAddr::V4(addr.into()), len).expect("fits"))
}

pub fn ipv6_dst() -> impl Strategy<Value = Cidr> {
    (any::<u128>(), 0u8..=128).prop_map(|(addr, len)| {
        let global = addr & !(0xe << 124) | 0x2 << 124;
        Cidr::containing(IpAddr::V6(global.into()), len).expect("fits")
    })
}

fn ipv4_nexthop() -> impl Strategy<Value = NextHop> {
    any::<Ipv4Addr>().prop_map(NextHop::V4)
}

fn ipv6_nexthop() -> impl Strategy<Value = NextHop> {
    (any::<Ipv6Addr>(), any::<Option<u64>>()).prop_map(|(global, interface)| NextHop::V6 {
        global,
        link_local: interface.map(|interface| (0xfe80u128 << 112 | u128::from(interface)).into()),
    })
}

fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1u32..65536, 1u32.., Just(23456)].prop_map(Asn)
}

pub fn as_path() -> impl Strategy<Value = AsPath> {
    let segment = prop_oneof![
        4 => vec(asn(), 1..6).prop_map(Segment::Sequence),
        1 => vec(asn(), 1..4).prop_map(Segment::Set),
        1 => vec(asn(), 1..=255).prop_map(Segment::Sequence),
    ];
    vec(segment, 0..4).prop_map(AsPath::new)
}

fn unknown() -> impl Strategy<Value = Vec<UnknownAttr>> {
    let code = prop_oneof![19u8..32, 33u8..=255];
    let value = prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 250..260)];
    proptest::collection::btree_map(code, value, 0..4).prop_map(|attrs: BTreeMap<u8, Vec<u8>>| {
        attrs.into_iter().map(|(code, value)| UnknownAttr { code, flags: 0xe0, value }).collect()
    })
}

/// Attributes that can be said on such a session.
pub fn attributes(ctx: &Ctx) -> impl Strategy<Value = Attributes> + use<> {
    let ebgp = ctx.ebgp;
    let origin = proptest::sample::select(vec![Origin::Igp, Origin::Egp, Origin::Incomplete]);
    let aggregator =
        proptest::option::of((asn(), any::<Ipv4Addr>()).prop_map(|(asn, addr)| Aggregator { asn, addr }));
    let communities = (
        btree_set(any::<u32>().prop_map(Community), 0..80),
        btree_set(any::<u64>().prop_map(ExtCommunity), 0..8),
        btree_set(
            any::<[u32; 3]>().prop_map(|[global, local1, local2]| LargeCommunity { global, local1, local2 }),
            0..8,
        ),
    );
    let internal = (any::<Option<u32>>(), any::<Option<Ipv4Addr>>(), vec(any::<Ipv4Addr>(), 0..5));
    let marks = (any::<Option<u32>>(), any::<bool>(), any::<[bool; 4]>());
    (origin, as_path(), aggregator, communities, internal, marks, unknown()).prop_map(
        move |(
            origin,
            as_path,
            aggregator,
            communities,
            internal,
            (med, atomic_aggregate, partial),
            unknown,
        )| {
            let (communities, ext_communities, large_communities) = communities;
            let (local_pref, originator_id, cluster_list) =
                if ebgp { (None, None, Vec::new()) } else { internal };
            let present = [
                (7, aggregator.is_some()),
                (8, !communities.is_empty()),
                (16, !ext_communities.is_empty()),
                (32, !large_communities.is_empty()),
            ];
            let partial = present.into_iter().zip(partial).filter(|((_, there), partial)| *there && *partial);
            Attributes {
                med,
                local_pref,
                atomic_aggregate,
                aggregator,
                communities,
                ext_communities,
                large_communities,
                originator_id: originator_id.map(RouterId),
                cluster_list,
                partial: partial.map(|((code, _), _)| code).collect(),
                unknown,
                ..Attributes::new(origin, as_path)
            }
        },
    )
}
