//! [`Node`]: one mutation by `handle`, then `poll` until it says nothing; `poll_timeout` says when to come back.

use crate::address::ASSIGN_DEADLINE;
use crate::annotate::{PodName, Wish};
use crate::cluster::Cluster;
use crate::datapath::Datapath;
use crate::effect::{CniId, Effect, EffectId, Input, Report};
use crate::identity::Identity;
use crate::idle::Sockets;
use crate::impostors::Impostors;
use crate::leave::RELEASE_DEADLINE;
use crate::life::{Filing, Life, Stage};
use crate::reading::Read;
use crate::speaker::Speech;
use derive::bgp::{BgpWorld, RouterId};
use derive::{Attachment, AttachmentId, Endpoint, IpipDriver, Section, World};
use ipam::{Allocator, CallId, RequestId};
use kernel::{Key, PodNs};
use model::store::{Event, Kind, Reply, Request as Ask};
use model::{Cidr, IfAddr, IfName, Instant, Mtu};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Namespaces that the node itself asks for are numbered from here; the shell numbers those that clients hand over below.
pub const OWN_NETNS: u32 = 1 << 31;

/// What a node is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of its Node.
    pub node: String,
    /// The IPv4 address by which others reach it. `None`: what its Node says.
    pub address: Option<IfAddr>,
    /// The IPv6 address, likewise.
    pub address6: Option<IfAddr>,
    /// Whether this node speaks BGP.
    pub bgp: bool,
    /// Where its router ID comes from.
    pub router_id: RouterId,
    /// Who carries IP in IP in this kernel, if somebody can.
    pub ipip: Option<IpipDriver>,
    /// Microseconds of the wall clock since 1970 at `Instant::ZERO`.
    pub epoch_micros: i64,
}

/// Why the node wants to be called at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The allocator's back-off.
    Ipam,
    /// An object that the kernel refused.
    Kernel,
    /// Node annotations.
    Identity,
    /// A CNI request's deadline.
    Request,
    /// Pods' annotations.
    Annotation,
    /// Another look at the sockets that use a tunnel's address.
    Sockets,
    /// The slow read of the whole kernel.
    Refresh,
}

/// The agent's deciding part.
#[derive(Debug)]
pub struct Node {
    pub(crate) config: Config,
    pub(crate) now: Instant,
    pub(crate) boot_id: String,
    pub(crate) world: World,
    pub(crate) cluster: Cluster,
    pub(crate) datapath: Datapath,
    pub(crate) ipam: Allocator,
    pub(crate) identity: Identity,
    pub(crate) speech: Speech,
    pub(crate) sockets: Sockets,
    pub(crate) impostors: Impostors,
    /// Sections whose inputs changed since they were derived.
    pub(crate) dirty: BTreeSet<Section>,
    /// Endpoints that changed since they were derived, as they were then.
    pub(crate) moved: BTreeMap<AttachmentId, Option<Endpoint>>,
    /// Destinations of which something was learnt since their routes were derived.
    pub(crate) learnt: BTreeSet<Cidr>,
    pub(crate) lives: BTreeMap<AttachmentId, Life>,
    /// Those that are on their way somewhere.
    pub(crate) active: BTreeSet<AttachmentId>,
    /// The largest packet for which every pod's size was looked at.
    pub(crate) sized_for: Option<Mtu>,
    /// Interfaces that are still to go, of attachments that are gone: namespace and name inside it.
    pub(crate) parting: BTreeMap<Key, ((u64, u64), IfName)>,
    pub(crate) waiters: BTreeMap<CniId, Waiter>,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) calls: BTreeMap<EffectId, Call>,
    pub(crate) files: BTreeMap<EffectId, (AttachmentId, Filing)>,
    /// What pods' annotations should say and do not yet.
    pub(crate) wishes: BTreeMap<PodName, Wish>,
    /// Reads of namespaces: for a CHECK, or of the node's own.
    pub(crate) dumps: BTreeMap<EffectId, Read>,
    pub(crate) opening: BTreeMap<PodNs, AttachmentId>,
    /// Namespaces that were given back and whose objects are to be forgotten after the next derivation.
    pub(crate) closing: Vec<PodNs>,
    pub(crate) ipam_requests: BTreeMap<RequestId, AttachmentId>,
    started: bool,
    /// The attachments' files, until they are taken up.
    pub(crate) found: Option<Vec<Attachment>>,
    /// What Calico left is taken over, if it left anything.
    pub(crate) has_inherited: bool,
    /// The data path was programmed once.
    pub(crate) ready: bool,
    /// When the whole kernel was read last; `None`: never, or it is being read.
    pub(crate) read_at: Option<Instant>,
    next: u64,
}

/// Who gets the API's answer.
#[derive(Debug)]
pub(crate) enum Call {
    Ipam(CallId),
    Pod(AttachmentId),
    /// Of the attachment's pod.
    Namespace(AttachmentId),
    NodeWritten,
    PodAnnotated(PodName),
}

/// A client that waits.
#[derive(Debug)]
pub(crate) enum Waiter {
    Add(AttachmentId),
    Del(AttachmentId),
    Check(AttachmentId, PodNs),
    Gc(BTreeSet<AttachmentId>),
}

impl Node {
    /// A node that knows nothing yet. The first input must be `Started`.
    pub fn new(config: Config) -> Node {
        Node {
            world: World {
                node: config.node.clone(),
                ipip: config.ipip,
                selected: !config.bgp,
                bgp: BgpWorld { speaks: config.bgp, router_id: config.router_id, ..BgpWorld::default() },
                ..World::default()
            },
            ipam: Allocator::new(&config.node),
            config,
            now: Instant::ZERO,
            boot_id: String::new(),
            cluster: Cluster::default(),
            datapath: Datapath::default(),
            identity: Identity::default(),
            speech: Speech::default(),
            sockets: Sockets::default(),
            impostors: Impostors::default(),
            dirty: BTreeSet::new(),
            moved: BTreeMap::new(),
            learnt: BTreeSet::new(),
            lives: BTreeMap::new(),
            active: BTreeSet::new(),
            sized_for: None,
            parting: BTreeMap::new(),
            waiters: BTreeMap::new(),
            effects: VecDeque::new(),
            calls: BTreeMap::new(),
            files: BTreeMap::new(),
            wishes: BTreeMap::new(),
            dumps: BTreeMap::new(),
            opening: BTreeMap::new(),
            closing: Vec::new(),
            ipam_requests: BTreeMap::new(),
            started: false,
            found: None,
            has_inherited: false,
            ready: false,
            read_at: None,
            next: 0,
        }
    }

    /// Something happened. Cheap: what follows from it is worked out by `poll`, so that many inputs share one derivation.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.now = now;
        match input {
            Input::Started { attachments, boot_id } => {
                self.boot_id = boot_id;
                self.started = true;
                self.found = Some(attachments);
                self.read_kernel();
            }
            Input::Api(event) => self.learn(event),
            Input::Answered { id, reply } => self.answered(id, reply),
            Input::Dumped { id, netns, objects } => self.dumped(id, netns, objects),
            Input::Noticed(notices) => notices.into_iter().for_each(|notice| self.noticed(notice)),
            Input::Overrun => {
                self.report(Report::info("kernel notifications were lost; reading everything again".into()));
                self.read_kernel();
            }
            Input::Wrote { id, outcomes } => {
                let reports = self.datapath.wrote(now, id, outcomes);
                self.effects.extend(reports.into_iter().map(Effect::Report));
                if self.datapath.take_stale() {
                    self.read_kernel();
                }
            }
            Input::Sockets { id, used } => self.sockets_seen(id, &used),
            Input::Impostors(found) => self.impostors_seen(found),
            Input::Filed { id, result } => self.filed(id, result),
            Input::Opened { netns, result } => self.opened(netns, result),
            Input::Cni { id, request, netns } => self.ask(id, request, netns),
            Input::CniGone(id) => self.client_gone(id),
            Input::Best(best) => self.learn_paths(best),
            Input::Settled => {
                self.world.selected = true;
                if !std::mem::take(&mut self.world.hops).is_empty() {
                    self.dirty.extend([Section::Routes, Section::Learnt, Section::Rules]);
                }
            }
            Input::Renumbered(address) if address.addr().is_ipv4() => self.config.address = Some(address),
            Input::Renumbered(address) => self.config.address6 = Some(address),
            Input::Timeout => {
                self.ipam.wake(now);
                self.retry_annotations();
                if self.refresh_at().is_some_and(|at| at <= now) {
                    self.read_kernel();
                }
            }
        }
    }

    /// The next thing to do, or `None` until something happens.
    pub fn poll(&mut self) -> Option<Effect> {
        if self.effects.is_empty() {
            self.decide();
        }
        self.effects.pop_front()
    }

    /// When to call `handle` with `Timeout`, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let waiting =
            self.active.iter().filter_map(|id| self.lives.get(id)).filter(|_| self.datapath.is_read());
        let requests = waiting.filter_map(|life| match &life.stage {
            Stage::Asking | Stage::Assigning(_) => Some(life.since + ASSIGN_DEADLINE),
            Stage::Leaving(leaving) if leaving.may_defer() => Some(life.since + RELEASE_DEADLINE),
            _ => None,
        });
        [
            (self.ipam.poll_timeout(), Reason::Ipam),
            (self.datapath.timeout(), Reason::Kernel),
            (self.identity.timeout(), Reason::Identity),
            (requests.min(), Reason::Request),
            (self.annotation_timeout(), Reason::Annotation),
            (self.sockets.timeout(), Reason::Sockets),
            (self.refresh_at(), Reason::Refresh),
        ]
        .into_iter()
        .filter_map(|(at, reason)| at.map(|at| (at, reason)))
        .min_by_key(|(at, _)| *at)
    }

    /// Whether the attachments of the run before are taken up.
    pub(crate) fn is_adopted(&self) -> bool {
        self.started && self.found.is_none()
    }

    /// Whether the data path was programmed once.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    pub(crate) fn advance_ipam(&mut self) {
        while let Some((call, request)) = self.ipam.poll() {
            self.call(Call::Ipam(call), request);
        }
        while let Some((request, result)) = self.ipam.poll_done() {
            let result = result.map(|assigned| assigned.into_iter().map(|a| a.addr).collect());
            if self.tunnel_answered(request, &result) {
                continue;
            }
            if let Some(id) = self.ipam_requests.remove(&request) {
                self.assigned(&id, result);
            }
        }
    }

    /// A watch spoke, or the API answered with an object.
    pub(crate) fn learn(&mut self, event: Event) {
        self.ipam.observe(&event);
        let bgp = &mut self.world.bgp;
        let differs = match &event {
            Event::Listed(kind, objects) => bgp.listed(&self.config.node, *kind, objects),
            Event::Put(object) => bgp.put(&self.config.node, object),
            // Whoever deletes our Node does not end our sessions: the kubelet registers it anew.
            Event::Gone(key) if key.kind == Kind::Node && key.name == self.config.node => false,
            Event::Gone(key) => bgp.gone(key),
            Event::Failed { .. } => false,
        };
        self.speech.dirty |= differs;
        if differs && !BgpWorld::SERVICE_KINDS.contains(&event.kind()) {
            // Who is behind a gateway, who is believed of what, and the ports that are closed to pods.
            self.dirty.extend([Section::Routes, Section::Learnt, Section::Peerings, Section::Rules]);
        }
        let dirty = self.cluster.apply(&mut self.world, event);
        self.soil(dirty);
    }

    /// These sections are to be derived anew.
    pub(crate) fn soil(&mut self, dirty: BTreeSet<Section>) {
        self.speech.dirty |= !dirty.is_empty();
        if dirty.contains(&Section::Host) {
            self.find_uplink();
        }
        self.dirty.extend(dirty);
    }

    fn answered(&mut self, id: EffectId, reply: Reply) {
        match self.calls.remove(&id) {
            Some(Call::Ipam(call)) => self.ipam.handle(self.now, call, reply),
            Some(Call::NodeWritten) => self.node_written(reply),
            Some(Call::Pod(attachment)) => {
                let pod = reply.and_then(|pod| pod.ok_or(model::store::Error::NotFound));
                self.asked(&attachment, pod);
            }
            Some(Call::Namespace(attachment)) => self.heard_of_namespace(&attachment, reply),
            Some(Call::PodAnnotated(pod)) => self.pod_annotated(pod, reply),
            None => {}
        }
    }

    pub(crate) fn call(&mut self, who: Call, request: Ask) {
        let id = self.new_effect();
        self.calls.insert(id, who);
        self.effects.push_back(Effect::Api { id, request });
    }

    pub(crate) fn report(&mut self, report: Report) {
        self.effects.push_back(Effect::Report(report));
    }

    pub(crate) fn new_effect(&mut self) -> EffectId {
        self.next += 1;
        EffectId(self.next)
    }

    pub(crate) fn new_request(&mut self) -> RequestId {
        self.next += 1;
        RequestId(self.next)
    }

    /// The place of an ADD among all.
    pub(crate) fn next_order(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn new_netns(&mut self) -> PodNs {
        self.next += 1;
        PodNs(OWN_NETNS + (self.next % u64::from(OWN_NETNS)) as u32)
    }

    /// The wall clock's time, RFC 3339. Only people read it.
    pub(crate) fn wall(&self) -> String {
        let micros = self.config.epoch_micros.saturating_add_unsigned(self.now.micros());
        jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
    }
}
