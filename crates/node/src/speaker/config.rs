//! A plan of `derive::bgp` in the speaker's own words.

use super::SpeakerConfig;
use bgp::filter::{Action, AnyCommunity, Filter, MatchOperator, Matcher, Operation, PeerType, Rule, Source};
use bgp::wire::{Community, LargeCommunity, RouterId};
use bgp::{NexthopMode, Origination, PeerConfig, PeerId};
use derive::World;
use derive::bgp::{BgpPlan, Export, NoBgp, PeerKey, PeerPlan, PeerSort, local_pref};
use model::v3::{self, BgpFilterRule, FilterAction, FilterOperation};
use model::{Cidr, IfAddr};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// The port that is not worth a word.
pub(super) const BGP_PORT: u16 = 179;

/// What the speaker should do. `restarting`: the kernel held routes of ours when this process began.
///
/// # Errors
/// Why this node does not speak BGP at all.
pub fn configuration(world: &World, restarting: bool) -> Result<SpeakerConfig, NoBgp> {
    Ok(follow(world, derive::bgp::plan(world)?, restarting))
}

/// The speaker's configuration for a plan.
fn follow(world: &World, plan: BgpPlan, restarting: bool) -> SpeakerConfig {
    let own = world.bgp.nodes.get(&world.node);
    let (v4, v6) = own.map_or((None, None), |own| (own.v4, own.v6));
    let priority = |dst: Cidr| if dst.is_ipv4() { plan.export.priority_v4 } else { plan.export.priority_v6 };
    let originate = plan.originate.iter().map(|(dst, own)| {
        let (communities, large) = sorted(&own.communities);
        let local_pref = Some(local_pref(priority(*dst)));
        let interface = own.interface.clone();
        (*dst, Origination { communities, large, local_pref, interface, nexthop: None })
    });
    let peers = plan.peers.iter().map(|(key, peer)| (peer_id(*key, peer), peer_config(*key, peer, &plan)));
    let passwords =
        plan.peers.iter().filter_map(|(key, peer)| Some((peer_id(*key, peer), peer.password.clone()?)));
    let restart_time = plan.peers.values().map(|peer| seconds(peer.restart_time)).max();
    SpeakerConfig {
        bgp: bgp::Config {
            asn: plan.asn,
            router_id: RouterId(plan.router_id),
            cluster_id: plan.cluster_id,
            listen_port: plan.listen_port,
            graceful_restart: Some(restart_time.unwrap_or(120)),
            restarting,
            peers: peers.collect(),
            originate: originate.collect(),
            // The best may not be believed; and a router's path to another subnet is no better than the mesh's.
            all_paths: true,
            connected: world.connected.clone(),
            addresses: [v4, v6].into_iter().flatten().map(IfAddr::addr).collect(),
            nexthop_v4: v4.and_then(|addr| match addr.addr() {
                IpAddr::V4(addr) => Some(addr),
                IpAddr::V6(_) => None,
            }),
            nexthop_v6: v6.and_then(|addr| match addr.addr() {
                IpAddr::V6(addr) => Some(addr),
                IpAddr::V4(_) => None,
            }),
        },
        listen: plan.listen_addrs.clone(),
        passwords: passwords.collect(),
        plan: Arc::new(plan),
    }
}

/// As Calico's configuration of BIRD names a session: `Mesh_192_168_50_162`.
pub(super) fn peer_id(key: PeerKey, peer: &PeerPlan) -> PeerId {
    let sort = match peer.sort {
        PeerSort::Mesh => "Mesh",
        PeerSort::Global => "Global",
        PeerSort::Node => "Node",
    };
    let addr = key.addr.to_string().replace(['.', ':'], "_");
    if key.port == BGP_PORT {
        PeerId::new(&format!("{sort}_{addr}"))
    } else {
        PeerId::new(&format!("{sort}_{addr}_port_{}", key.port))
    }
}

fn peer_config(key: PeerKey, peer: &PeerPlan, plan: &BgpPlan) -> PeerConfig {
    PeerConfig {
        port: key.port,
        local_asn: (peer.local_asn != plan.asn).then_some(peer.local_asn),
        local_addr: peer.source,
        passive: peer.passive,
        ttl_security: peer.ttl_security,
        rr_client: peer.reflect_in.is_some(),
        nexthop: match peer.next_hop {
            v3::NextHopMode::Auto => NexthopMode::Auto,
            v3::NextHopMode::Own => NexthopMode::SelfAlways,
            v3::NextHopMode::Keep => NexthopMode::Keep,
        },
        keepalive: peer.keepalive_time,
        restart_time: Some(seconds(peer.restart_time)),
        prefix_limit: Some(peer.most_prefixes),
        num_allowed_local_as: u8::try_from(peer.allowed_local_asns).unwrap_or(u8::MAX),
        import: Filter { rules: peer.import.iter().map(rule).collect(), default: Action::Accept },
        export: export(&peer.export, &plan.export),
        ..PeerConfig::new(key.addr, peer.remote_asn)
    }
}

fn seconds(span: model::Duration) -> u16 {
    // Twelve bits (RFC 4724 §3).
    u16::try_from(span.micros() / 1_000_000).unwrap_or(u16::MAX).min(4095)
}

/// The peer's own rules first. What they leave undecided may be told if it is our own, or inside a pool that is not
/// withheld; a subnet that we are merely connected to may not.
fn export(rules: &[BgpFilterRule], plan: &Export) -> Filter {
    let inside = |cidr: &Cidr, action| Rule {
        matcher: Matcher { cidr: Some((MatchOperator::In, *cidr)), ..Matcher::default() },
        action,
        operations: Vec::new(),
    };
    let withheld = plan.withheld.iter().map(|cidr| inside(cidr, Action::Reject));
    let own = |interface: Option<&str>, action| Rule {
        matcher: Matcher {
            source: Some(Source::Own),
            interface: interface.map(str::to_owned),
            ..Matcher::default()
        },
        action,
        operations: Vec::new(),
    };
    let ours = [own(Some("*"), Action::Reject), own(None, Action::Accept)];
    let told = plan.told.iter().map(|cidr| inside(cidr, Action::Accept));
    let rules = rules.iter().map(rule).chain(withheld).chain(ours).chain(told);
    Filter { rules: rules.collect(), default: Action::Reject }
}

/// A rule of a BGPFilter as the speaker has it.
pub(super) fn rule(rule: &BgpFilterRule) -> Rule {
    let operator = rule.match_operator.map(|operator| match operator {
        v3::MatchOperator::Equal => MatchOperator::Equal,
        v3::MatchOperator::NotEqual => MatchOperator::NotEqual,
        v3::MatchOperator::In => MatchOperator::In,
        v3::MatchOperator::NotIn => MatchOperator::NotIn,
    });
    let prefix_length = rule.prefix_length.map(|length| {
        let (shortest, longest) = match rule.cidr {
            Some(cidr) => (cidr.len(), if cidr.is_ipv4() { 32 } else { 128 }),
            None => (0, 128),
        };
        length.min.unwrap_or(shortest)..=length.max.unwrap_or(longest)
    });
    Rule {
        matcher: Matcher {
            family: None,
            cidr: operator.zip(rule.cidr),
            prefix_length,
            source: rule.source.map(|v3::FilterSource::RemotePeers| Source::RemotePeers),
            interface: (!rule.interface.is_empty()).then(|| rule.interface.clone()),
            peer_type: rule.peer_type.map(|sort| match sort {
                v3::PeerType::External => PeerType::External,
                v3::PeerType::Internal => PeerType::Internal,
            }),
            community: rule
                .communities
                .as_ref()
                .and_then(|list| list.values.first())
                .map(|value| community(*value)),
            as_path_prefix: rule.as_path_prefix.clone(),
            priority: rule.priority,
        },
        action: match rule.action {
            FilterAction::Accept => Action::Accept,
            FilterAction::Reject => Action::Reject,
        },
        operations: rule.operations.iter().map(operation).collect(),
    }
}

fn operation(operation: &FilterOperation) -> Operation {
    match operation {
        FilterOperation::AddCommunity { value } => Operation::AddCommunity(community(*value)),
        FilterOperation::PrependAsPath { prefix } => Operation::PrependAsPath(prefix.clone()),
        FilterOperation::SetPriority { value } => Operation::SetPriority(*value),
    }
}

fn community(value: model::Community) -> AnyCommunity {
    match value {
        model::Community::Standard(high, low) => {
            AnyCommunity::Standard(Community(u32::from(high) << 16 | u32::from(low)))
        }
        model::Community::Large(global, local1, local2) => {
            AnyCommunity::Large(LargeCommunity { global, local1, local2 })
        }
    }
}

fn sorted(communities: &BTreeSet<model::Community>) -> (BTreeSet<Community>, BTreeSet<LargeCommunity>) {
    let (mut standard, mut large) = (BTreeSet::new(), BTreeSet::new());
    for value in communities {
        match community(*value) {
            AnyCommunity::Standard(value) => _ = standard.insert(value),
            AnyCommunity::Large(value) => _ = large.insert(value),
        }
    }
    (standard, large)
}
