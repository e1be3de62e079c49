//! Between the World and the BGP speaker: its configuration out of `derive::bgp::plan`, its best paths into the World, its
//! sessions into the node's status.
//!
//! ```text
//!   World ─ derive::bgp::plan ─ config ─► Effect::Bgp ─► the speaker, which keeps the latest only
//!     ▲                                                      │
//!     └──────────────── learn ◄── Input::Best ◄──────────────┘
//! ```

use crate::bgp_status::{BgpStatus, SessionState, SessionStatus, SpeakerTimes};
use crate::effect::Effect;
use crate::node::Node;
use bgp::filter::{Action, AnyCommunity, Filter, MatchOperator, Matcher, Operation, PeerType, Rule, Source};
use bgp::wire::{Community, LargeCommunity, RouterId};
use bgp::{BestPath, NexthopMode, Origination, Paths, PeerConfig, PeerId, PeerStatus};
use derive::bgp::{BgpPlan, BgpWorld, Export, NoBgp, PeerKey, PeerPlan, PeerSort, local_pref};
use derive::{Learnt, Section, World};
use model::v3::{self, BgpFilterRule, FilterAction, FilterOperation, SecretKeyRef};
use model::{Cidr, IfAddr, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The port that is not worth a word.
const BGP_PORT: u16 = 179;

/// What the speaker should do, and what its shell needs for it.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeakerConfig {
    pub bgp: bgp::Config,
    /// The addresses to listen on; none: all.
    pub listen: Vec<IpAddr>,
    /// Peers whose sessions have a password, and where it stands. The shell puts its mark into the peer's `password_key`.
    pub passwords: BTreeMap<PeerId, SecretKeyRef>,
    /// What people ask of: the plan that this was made from.
    pub plan: Arc<BgpPlan>,
}

/// What passes between the node and its speaker.
#[derive(Debug)]
pub(crate) struct Speech {
    /// Something changed that the speaker's configuration follows from.
    pub dirty: bool,
    /// What the speaker was told last; `None`: nothing yet.
    told: Option<Option<Box<SpeakerConfig>>>,
    /// The kernel held routes of ours when this process began: the speaker restarts gracefully.
    pub kept_routes: bool,
    /// Why this node does not speak BGP, though it should.
    pub problem: Option<String>,
    follows_services: bool,
    told_at: Instant,
}

impl Default for Speech {
    fn default() -> Speech {
        Speech {
            dirty: true,
            told: None,
            kept_routes: false,
            problem: None,
            follows_services: false,
            told_at: Instant::ZERO,
        }
    }
}

impl Node {
    /// Tells the speaker what follows from the World, if that is something new.
    pub(crate) fn instruct(&mut self) {
        if !self.config.bgp || !self.speech.dirty || !self.cluster.knows(&BgpWorld::KINDS) {
            return;
        }
        if self.world.bgp.tells_services() {
            self.follow_services();
            // Sessions wait for services, so that a restart withdraws none, but not for a watch that may never speak.
            if !self.cluster.knows_or_cannot(&BgpWorld::SERVICE_KINDS) {
                return;
            }
        }
        self.speech.dirty = false;
        let config = configuration(&self.world, self.speech.kept_routes);
        self.speech.problem = config.as_ref().err().map(|why| format!("BGP: {why}"));
        let config = config.ok().map(Box::new);
        if self.speech.told.as_ref() != Some(&config) {
            if let (Some(before), Some(after)) = (self.speaks().map(|told| told.plan.clone()), &config) {
                self.judge_anew(&before, &after.plan);
            }
            self.effects.push_back(Effect::Bgp(config.clone()));
            self.speech.told = Some(config);
            self.speech.told_at = self.now;
        }
    }

    /// Services are watched from the first time on that somebody wants them told of.
    fn follow_services(&mut self) {
        if !std::mem::replace(&mut self.speech.follows_services, true) {
            self.effects.extend(BgpWorld::SERVICE_KINDS.map(Effect::Watch));
        }
    }

    /// What the speaker was told to do; `None` if it does nothing.
    pub fn speaks(&self) -> Option<&SpeakerConfig> {
        self.speech.told.as_ref()?.as_deref()
    }

    /// When it was told.
    pub fn told_at(&self) -> Instant {
        self.speech.told_at
    }

    /// Paths of peers that do not count, in words.
    pub fn refused_paths(&self) -> Vec<String> {
        derive::refused(&self.world).collect()
    }

    /// The speaker's best paths changed.
    pub(crate) fn learn_paths(&mut self, best: Vec<(Cidr, Paths)>) {
        let plan = self.speaks().map(|told| told.plan.clone());
        let givers = plan.as_deref().map(givers).unwrap_or_default();
        let by_name = givers.values().any(|giver| !giver.names.is_empty());
        let mut last: Option<(Paths, Arc<[Learnt]>)> = None;
        for (dst, paths) in best {
            // Many destinations share the speaker's paths: where rules name none of them, also what is learnt.
            let learnt = match last.take_if(|(known, _)| !by_name && Arc::ptr_eq(known, &paths)) {
                Some((_, learnt)) => learnt,
                None => learnt(&givers, dst, &paths),
            };
            if self.world.paths_to(dst) != &learnt[..] {
                self.learn_path(dst, learnt.clone());
            }
            last = Some((paths, learnt));
        }
    }

    /// What follows: inside a pool the router to a block is all that counts.
    fn learn_path(&mut self, dst: Cidr, learnt: Arc<[Learnt]>) {
        let is_inside = self.world.pool_of(dst).is_some();
        let router = |world: &World| if is_inside { world.router_to(dst) } else { None };
        let before = router(&self.world);
        if learnt.iter().chain(self.world.paths_to(dst)).any(|path| path.pod.is_some()) {
            // What is behind a pod may send by it.
            self.dirty.insert(Section::Rules);
        }
        if learnt.is_empty() {
            self.world.learnt.remove(&dst);
        } else {
            self.world.learnt.insert(dst, learnt);
        }
        self.learnt.insert(dst);
        if router(&self.world) != before {
            self.dirty.insert(Section::Routes);
        }
    }

    /// What peers gave that are seen in another light now: the speaker tells a path once, whatever is thought of it.
    fn judge_anew(&mut self, before: &BgpPlan, after: &BgpPlan) {
        if self.world.learnt.is_empty() {
            return;
        }
        let (before, after) = (givers(before), givers(after));
        let changed: BTreeMap<String, &Giver<'_>> = after
            .iter()
            .filter(|(id, giver)| before.get(*id).is_some_and(|before| before != *giver))
            .map(|(id, giver)| (id.to_string(), giver))
            .collect();
        if changed.is_empty() {
            return;
        }
        let judge = |(dst, paths): (&Cidr, &Arc<[Learnt]>)| {
            let judged = paths.iter().map(|path| match changed.get(&path.peer) {
                Some(giver) => giver.learnt(path.peer.clone(), *dst, path.next_hop),
                None => path.clone(),
            });
            let judged: Arc<[Learnt]> = judged.collect();
            (judged != *paths).then_some((*dst, judged))
        };
        let judged: Vec<_> = self.world.learnt.iter().filter_map(judge).collect();
        for (dst, paths) in judged {
            self.learn_path(dst, paths);
        }
    }
}

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
            // The router's path to another subnet is as good as the mesh's, and the one that leads there.
            multipath: true,
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
fn peer_id(key: PeerKey, peer: &PeerPlan) -> PeerId {
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

fn rule(rule: &BgpFilterRule) -> Rule {
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

/// What matters of a peer to who hears its paths.
#[derive(PartialEq)]
struct Giver<'a> {
    addr: IpAddr,
    peer: &'a PeerPlan,
    /// Destinations that rules of its BGPFilters are for and accept.
    names: Vec<Matcher>,
}

impl Giver<'_> {
    /// A path of this peer, whose session's name is `peer`, as the World holds it.
    fn learnt(&self, peer: String, dst: Cidr, next_hop: IpAddr) -> Learnt {
        Learnt {
            next_hop,
            peer,
            sort: self.peer.sort,
            node: self.peer.node.clone(),
            pod: self.peer.is_pod.then_some(self.addr),
            named: self.names.iter().any(|matcher| matcher.names(dst)),
        }
    }
}

fn givers(plan: &BgpPlan) -> BTreeMap<PeerId, Giver<'_>> {
    let givers = plan.peers.iter().map(|(key, peer)| {
        let accepting = peer.import.iter().map(rule).filter(|rule| rule.action == Action::Accept);
        (
            peer_id(*key, peer),
            Giver { addr: key.addr, peer, names: accepting.map(|rule| rule.matcher).collect() },
        )
    });
    givers.collect()
}

/// Best paths as the World holds them; our own are none.
fn learnt(givers: &BTreeMap<PeerId, Giver<'_>>, dst: Cidr, paths: &[BestPath]) -> Arc<[Learnt]> {
    let from_peer = paths.iter().filter_map(|path| {
        let id = path.peer.as_ref()?;
        Some(givers.get(id)?.learnt(id.to_string(), dst, path.nexthop.addr()))
    });
    from_peer.collect()
}

/// What `node status` shows. `epoch_micros`: the wall clock at `Instant::ZERO`. `told_at`: when the speaker was told this.
pub fn status(
    told: &SpeakerConfig,
    told_at: Instant,
    sessions: &[PeerStatus],
    epoch_micros: i64,
) -> BgpStatus {
    let plan = &told.plan;
    let by_id: BTreeMap<&PeerId, &PeerStatus> =
        sessions.iter().map(|session| (&session.id, session)).collect();
    let shown = |v4: bool| {
        let peers = plan.peers.iter().filter(|(key, _)| key.addr.is_ipv4() == v4);
        peers
            .map(|(key, peer)| session(*key, peer, by_id.get(&peer_id(*key, peer)).copied(), epoch_micros))
            .collect()
    };
    BgpStatus {
        asn: plan.asn,
        router_id: plan.router_id,
        v4: told.bgp.nexthop_v4.map(|_| shown(true)),
        v6: told.bgp.nexthop_v6.map(|_| shown(false)),
        times: SpeakerTimes {
            started: seconds_of(Instant::ZERO, epoch_micros),
            configured: seconds_of(told_at, epoch_micros),
        },
        complaints: plan.complaints.iter().map(ToString::to_string).chain(refused(sessions)).collect(),
    }
}

/// Seconds since 1970.
fn seconds_of(at: Instant, epoch_micros: i64) -> u64 {
    epoch_micros.saturating_add_unsigned(at.micros()).max(0).cast_unsigned() / 1_000_000
}

/// What peers say that cannot be, in words.
fn refused(sessions: &[PeerStatus]) -> impl Iterator<Item = String> {
    let all = sessions.iter().flat_map(|peer| peer.refused.iter().map(move |refused| (peer, refused)));
    all.map(|(peer, (dst, nexthop, why))| {
        let nexthop = nexthop.addr();
        format!(
            "RouteRejected: BGP peer {} says that {dst} is behind {nexthop}, but {why}; the path is ignored",
            peer.id
        )
    })
}

fn session(key: PeerKey, peer: &PeerPlan, found: Option<&PeerStatus>, epoch_micros: i64) -> SessionStatus {
    let (state, info) = match found {
        Some(session) if session.state == "Established" => (SessionState::Up, session.state.to_owned()),
        Some(session) => {
            let why = session.last_error.as_ref().map(|why| format!(" {why}")).unwrap_or_default();
            let passive =
                if peer.passive && session.local_addr.is_none() { "Passive" } else { session.state };
            (SessionState::Start, format!("{passive}{why}"))
        }
        None => (SessionState::Down, "waits for its password".to_owned()),
    };
    SessionStatus {
        address: key.addr,
        port: (key.port != BGP_PORT).then_some(key.port),
        sort: peer.sort,
        state,
        since: seconds_of(found.map_or(Instant::ZERO, |session| session.since), epoch_micros),
        info,
    }
}
