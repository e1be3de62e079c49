//! What may pass between us and a peer, and how it is changed on the way: Calico's BGPFilter as a value.
//!
//! The first rule whose conditions all hold decides; without one, the filter's default does. Operations run only where
//! the rule accepts, in their order.

use crate::decision::DEFAULT_LOCAL_PREF;
use crate::wire::{Attributes, Community, Family, LargeCommunity};
use model::ifname::glob;
use model::{Asn, Cidr};
use std::ops::RangeInclusive;

/// Rules in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The first that matches decides.
    pub rules: Vec<Rule>,
    /// What happens to a route that no rule matches.
    pub default: Action,
}

/// Whether a route passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It does.
    Accept,
    /// It does not.
    Reject,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// To which routes it applies.
    pub matcher: Matcher,
    /// What happens to them.
    pub action: Action,
    /// How they are changed, if accepted.
    pub operations: Vec<Operation>,
}

/// Conditions, all of which must hold. One that is not given always holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    /// The family of the destination (a rule of `importV4` or of `importV6`).
    pub family: Option<Family>,
    /// The destination, compared with a network.
    pub cidr: Option<(MatchOperator, Cidr)>,
    /// The destination's prefix length; together with `cidr` a part of that comparison.
    pub prefix_length: Option<RangeInclusive<u8>>,
    /// Where the route comes from.
    pub source: Option<Source>,
    /// The interface that leads to the next hop: a name, `*` stands for anything.
    pub interface: Option<String>,
    /// The sort of peer that the filter runs for.
    pub peer_type: Option<PeerType>,
    /// A community that the route carries.
    pub community: Option<AnyCommunity>,
    /// The first systems of the AS path.
    pub as_path_prefix: Vec<Asn>,
    /// The route's priority: the lower, the more preferred (2 147 483 647 less LOCAL_PREF).
    pub priority: Option<u32>,
}

/// How a destination is compared with a network (Calico's `matchOperator`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchOperator {
    /// It is the network.
    Equal,
    /// It is not the network.
    NotEqual,
    /// It lies inside.
    In,
    /// It does not lie inside.
    NotIn,
}

/// Where a route comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// We originate it.
    Own,
    /// A BGP peer gave it.
    RemotePeers,
}

/// Sorts of peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerType {
    /// Of another AS.
    External,
    /// Of our AS.
    Internal,
}

/// A community of four octets, or of twelve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyCommunity {
    /// `64512:100`.
    Standard(Community),
    /// `64512:1:2`.
    Large(LargeCommunity),
}

/// A change of an accepted route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Attach a community.
    AddCommunity(AnyCommunity),
    /// Put these systems in front of the AS path, which begins with the first of them afterwards.
    PrependAsPath(Vec<Asn>),
    /// Set the priority, and so LOCAL_PREF.
    SetPriority(u32),
}

/// A route as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The destination.
    pub dst: Cidr,
    /// What is said of it.
    pub attrs: &'a Attributes,
    /// Whether a BGP peer gave it.
    pub from_peer: bool,
    /// The interface that leads to its next hop, where that is known.
    pub interface: Option<&'a str>,
    /// The sort of peer that it comes from (import) or goes to (export).
    pub peer_type: PeerType,
}

/// LOCAL_PREF and priority add up to this, so that the higher of the one is the lower of the other.
const PRIORITY_SUM: u32 = 2_147_483_647;

impl Filter {
    /// Lets everything pass.
    pub fn accept() -> Filter {
        Filter { rules: Vec::new(), default: Action::Accept }
    }

    /// Lets nothing pass.
    pub fn reject() -> Filter {
        Filter { rules: Vec::new(), default: Action::Reject }
    }

    /// Whether all that it sees is treated alike: the operations for everything, which are none.
    pub fn unconditional(&self) -> Option<Option<&[Operation]>> {
        self.rules.is_empty().then_some((self.default == Action::Accept).then_some(&[][..]))
    }

    /// The operations to run on a route that passes; `None` if it does not.
    pub fn judge(&self, subject: &Subject<'_>) -> Option<&[Operation]> {
        let rule = self.rules.iter().find(|rule| rule.matcher.matches(subject));
        let (action, operations) =
            rule.map_or((self.default, &[][..]), |rule| (rule.action, &rule.operations));
        (action == Action::Accept).then_some(operations)
    }
}

impl Matcher {
    fn matches(&self, s: &Subject<'_>) -> bool {
        self.family.is_none_or(|family| family == Family::of(s.dst))
            && self.matches_dst(s.dst)
            && self.source.is_none_or(|source| (source == Source::RemotePeers) == s.from_peer)
            && self
                .interface
                .as_ref()
                .is_none_or(|pattern| s.interface.is_some_and(|name| glob(pattern, name)))
            && self.peer_type.is_none_or(|sort| sort == s.peer_type)
            && self.community.is_none_or(|community| community.is_on(s.attrs))
            && self.as_path_prefix.iter().copied().eq(s.attrs.as_path.asns().take(self.as_path_prefix.len()))
            && self.priority.is_none_or(|priority| priority == self::priority(s.attrs))
    }

    /// Whether it is for destinations like this one and says so: by comparing with a network that they are in.
    pub fn names(&self, dst: Cidr) -> bool {
        matches!(self.cidr, Some((MatchOperator::Equal | MatchOperator::In, _))) && self.matches_dst(dst)
    }

    /// A negated comparison negates the length with it, as in BIRD's `net !~ [ cidr{min,max} ]`.
    fn matches_dst(&self, dst: Cidr) -> bool {
        let length = self.prefix_length.as_ref().is_none_or(|range| range.contains(&dst.len()));
        match &self.cidr {
            None => length,
            Some((MatchOperator::Equal, cidr)) => dst == *cidr && length,
            Some((MatchOperator::NotEqual, cidr)) => !(dst == *cidr && length),
            Some((MatchOperator::In, cidr)) => cidr.covers(dst) && length,
            Some((MatchOperator::NotIn, cidr)) => !(cidr.covers(dst) && length),
        }
    }
}

impl AnyCommunity {
    fn is_on(self, attrs: &Attributes) -> bool {
        match self {
            AnyCommunity::Standard(community) => attrs.communities.contains(&community),
            AnyCommunity::Large(community) => attrs.large_communities.contains(&community),
        }
    }
}

impl Operation {
    /// Changes a route.
    pub fn apply(&self, attrs: &mut Attributes) {
        match self {
            Operation::AddCommunity(AnyCommunity::Standard(community)) => {
                attrs.communities.insert(*community);
            }
            Operation::AddCommunity(AnyCommunity::Large(community)) => {
                attrs.large_communities.insert(*community);
            }
            Operation::PrependAsPath(asns) => asns.iter().rev().for_each(|asn| attrs.as_path.prepend(*asn)),
            Operation::SetPriority(priority) => {
                attrs.local_pref = Some(PRIORITY_SUM.saturating_sub(*priority));
            }
        }
    }
}

fn priority(attrs: &Attributes) -> u32 {
    PRIORITY_SUM.saturating_sub(attrs.local_pref.unwrap_or(DEFAULT_LOCAL_PREF))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{AsPath, Origin};

    fn attrs() -> Attributes {
        let mut attrs = Attributes::new(Origin::Igp, AsPath::sequence([65001, 65002, 65003].map(Asn)));
        attrs.communities.insert(Community::new(65001, 100));
        attrs
    }

    fn subject<'a>(dst: &str, attrs: &'a Attributes) -> Subject<'a> {
        let interface = Some("eth0.100");
        Subject {
            dst: dst.parse().unwrap(),
            attrs,
            from_peer: true,
            interface,
            peer_type: PeerType::External,
        }
    }

    #[test]
    fn each_condition_of_a_rule_holds_or_does_not() {
        use MatchOperator::*;
        let cidr = |op, text: &str| Matcher { cidr: Some((op, text.parse().unwrap())), ..Matcher::default() };
        let length = |m: Matcher, range| Matcher { prefix_length: Some(range), ..m };
        let any = Matcher::default;
        let community = |asn| Some(AnyCommunity::Standard(Community::new(asn, 100)));
        let large = Some(AnyCommunity::Large(LargeCommunity { global: 1, local1: 2, local2: 3 }));
        let path = |asns: &[u32]| asns.iter().copied().map(Asn).collect::<Vec<_>>();
        for (matcher, holds) in [
            (any(), true),
            (Matcher { family: Some(Family::IPV4), ..any() }, true),
            (Matcher { family: Some(Family::IPV6), ..any() }, false),
            (cidr(Equal, "10.1.0.0/16"), true),
            (cidr(Equal, "10.0.0.0/8"), false),
            (cidr(NotEqual, "10.1.0.0/16"), false),
            (cidr(NotEqual, "10.0.0.0/8"), true),
            (cidr(In, "10.0.0.0/8"), true),
            (cidr(In, "10.1.2.0/24"), false),
            (cidr(NotIn, "10.0.0.0/8"), false),
            (cidr(NotIn, "11.0.0.0/8"), true),
            (length(cidr(In, "10.0.0.0/8"), 16..=24), true),
            (length(cidr(In, "10.0.0.0/8"), 17..=24), false),
            (length(cidr(NotIn, "10.0.0.0/8"), 17..=24), true),
            (length(any(), 0..=15), false),
            (Matcher { source: Some(Source::RemotePeers), ..any() }, true),
            (Matcher { source: Some(Source::Own), ..any() }, false),
            (Matcher { interface: Some("eth0.*".into()), ..any() }, true),
            (Matcher { interface: Some("*.100".into()), ..any() }, true),
            (Matcher { interface: Some("eth0".into()), ..any() }, false),
            (Matcher { peer_type: Some(PeerType::External), ..any() }, true),
            (Matcher { peer_type: Some(PeerType::Internal), ..any() }, false),
            (Matcher { community: community(65001), ..any() }, true),
            (Matcher { community: community(65002), ..any() }, false),
            (Matcher { community: large, ..any() }, false),
            (Matcher { as_path_prefix: path(&[65001, 65002]), ..any() }, true),
            (Matcher { as_path_prefix: path(&[65002]), ..any() }, false),
            (Matcher { as_path_prefix: path(&[65001, 65002, 65003, 65004]), ..any() }, false),
            (Matcher { priority: Some(PRIORITY_SUM - 100), ..any() }, true),
            (Matcher { priority: Some(1024), ..any() }, false),
        ] {
            assert_eq!(matcher.matches(&subject("10.1.0.0/16", &attrs())), holds, "{matcher:?}");
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rule = |action, matcher| Rule { matcher, action, operations: Vec::new() };
        let pool =
            Matcher { cidr: Some((MatchOperator::In, "10.0.0.0/8".parse().unwrap())), ..Matcher::default() };
        let rules = vec![rule(Action::Accept, pool), rule(Action::Reject, Matcher::default())];
        let filter = Filter { rules, default: Action::Accept };
        assert!(filter.judge(&subject("10.1.0.0/16", &attrs())).is_some());
        assert!(filter.judge(&subject("11.0.0.0/8", &attrs())).is_none());
        assert!(Filter::accept().judge(&subject("11.0.0.0/8", &attrs())).is_some());
        assert!(Filter::reject().judge(&subject("10.1.0.0/16", &attrs())).is_none());
    }

    #[test]
    fn operations_change_an_accepted_route() {
        let mut changed = attrs();
        for operation in [
            Operation::AddCommunity(AnyCommunity::Standard(Community::new(65001, 7))),
            Operation::PrependAsPath(vec![Asn(1), Asn(2)]),
            Operation::SetPriority(1024),
        ] {
            operation.apply(&mut changed);
        }
        assert_eq!(changed.as_path.to_string(), "1 2 65001 65002 65003");
        assert!(changed.communities.contains(&Community::new(65001, 7)));
        assert_eq!(changed.local_pref, Some(2_147_482_623));
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("a*b*c", "axbbc", true),
            ("a*b", "ab", true),
            ("a*b", "abc", false),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern, name), fits, "{pattern} {name}");
        }
    }
}
