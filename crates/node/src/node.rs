//! [`Node`]: one mutation by `handle`, then `poll` until it says nothing; `poll_timeout` says when to come back.

use crate::annotate::{PodName, Wish};
use crate::cluster::Cluster;
use crate::datapath::Datapath;
use crate::effect::{CniId, Effect, EffectId, Input, Notice, Report};
use crate::facts::Lead;
use crate::identity::Identity;
use crate::leave::RELEASE_DEADLINE;
use crate::life::{ASSIGN_DEADLINE, Filing, Life, Stage, handle};
use crate::socket::{NodeStatus, PathStatus};
use crate::sockets::Sockets;
use crate::speaker::Speech;
use derive::bgp::BgpWorld;
use derive::{Attachment, AttachmentId, Encap, Endpoint, IpipDriver, Section, Uplink, World};
use ipam::{Allocator, CallId, RequestId};
use kernel::{Key, LinkKey, Netns, PodNs};
use model::store::{Event, Kind, Reply, Request as Ask};
use model::{Cidr, Duration, IfAddr, IfName, Instant, Mtu};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How often the whole kernel is read again, for what it does not tell of.
const REFRESH: Duration = Duration::from_secs(90);
/// Namespaces that the node itself asks for are numbered from here; the shell numbers those of clients below.
const OWN_NETNS: u32 = 1 << 31;

/// What a node is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of its Node.
    pub node: String,
    /// The address by which others reach it. `None`: what its Node says.
    pub address: Option<IfAddr>,
    /// Whether this node speaks BGP.
    pub bgp: bool,
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
    /// The data path was programmed once.
    pub(crate) ready: bool,
    refresh_at: Option<Instant>,
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

/// What a namespace is read for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// The node's own, to know what is.
    Host,
    /// A client's CHECK.
    Check(CniId),
    /// A running pod's, whose size is to change.
    Pod(AttachmentId),
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
                bgp: BgpWorld { speaks: config.bgp, ..BgpWorld::default() },
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
            ready: false,
            refresh_at: None,
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
            Input::Filed { id, result } => self.filed(id, result),
            Input::Opened { netns, result } => self.opened(netns, result),
            Input::Cni { id, request, netns } => self.ask(id, request, netns),
            Input::CniGone(id) => self.client_gone(id),
            Input::Best(best) => self.learn_paths(best),
            Input::Settled => {
                self.world.selected = true;
                self.world.hops.clear();
                self.dirty.extend([Section::Routes, Section::Learnt]);
            }
            Input::Renumbered(address) => self.config.address = Some(address),
            Input::Timeout => {
                self.ipam.wake(now);
                self.retry_annotations();
                if self.refresh_at.is_some_and(|at| at <= now) {
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
            (self.refresh_at, Reason::Refresh),
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

    /// What this node says of itself.
    pub fn status(&self) -> NodeStatus {
        let paths = derive::paths(&self.world).filter(|(_, _, path)| *path != derive::Path::Local);
        let mut problems: Vec<String> = self.cluster.problems().chain(self.datapath.problems()).collect();
        problems.extend(self.identity.problem.clone());
        problems.extend(self.speech.problem.clone());
        problems.extend(self.refused_paths());
        problems.extend(derive::kept(&self.world));
        problems.extend(self.held_problems());
        let lost = self.lives.iter().filter(|(_, life)| life.out_of_reach);
        problems.extend(lost.map(|(id, _)| format!("{}: {}", handle(id), crate::adopt::OUT_OF_REACH)));
        NodeStatus {
            node: self.config.node.clone(),
            ready: self.ready,
            waiting_for: self.cluster.waiting_for(),
            uplink: self.world.uplink.as_ref().map(|uplink| uplink.device.to_string()),
            ipip: self.config.ipip,
            paths: paths
                .map(|(dst, owner, path)| PathStatus {
                    block: dst.to_string(),
                    node: owner.to_owned(),
                    path: path.to_string(),
                    gateway: path.gateway(),
                })
                .collect(),
            endpoints: self.world.endpoints.len(),
            problems,
            repairs: self.datapath.repairs().to_vec(),
            repairs_total: self.datapath.repairs_total(),
            mtu: derive::mtu::pod(&self.world).0,
            bgp: None,
        }
    }

    /// Works out what follows from all that was handled.
    fn decide(&mut self) {
        self.advance_ipam();
        if !self.effects.is_empty() {
            // The API is the slowest part: it should not wait for a derivation.
            return;
        }
        if !self.datapath.is_read() {
            return;
        }
        self.adopt();
        let Some(in_sync) = self.cluster.in_sync() else { return self.progress() };
        self.look();
        self.ask_for_sockets();
        self.resize_pods();
        self.identify();
        self.instruct();
        self.progress();
        self.advance_ipam();
        if self.effects.iter().any(|effect| matches!(effect, Effect::Cni { .. })) {
            // Nor should whoever waits for an answer.
            return;
        }
        self.derive();
        self.progress();
        self.advance_ipam();
        self.derive();
        self.program(in_sync);
        // What the kernel holds now may be worth announcing.
        self.identify();
        self.advance_ipam();
    }

    /// What the kernel sends by and carries now.
    fn look(&mut self) {
        let before = self.world.sent.encaps();
        for (dst, lead) in self.datapath.take_moved() {
            self.world.sent.set(dst, lead.as_ref().map(|lead| lead.encap));
            if !self.world.selected {
                self.keep(dst, lead);
            }
        }
        if self.world.sent.encaps() != before {
            self.dirty.extend([Section::Host, Section::Rules]);
        }
        let Some(facts) = self.datapath.changed_facts() else { return };
        let (carried, admits_ipip) = (facts.carried(), facts.admits_ipip());
        if carried != self.world.carried || admits_ipip != self.world.admits_ipip {
            self.dirty.extend([Section::Host, Section::Rules]);
        }
        let connected = facts.connected();
        if connected != self.world.connected {
            self.world.connected = connected;
            self.speech.dirty = true;
            self.dirty.extend([Section::Routes, Section::Learnt]);
        }
        (self.world.carried, self.world.admits_ipip) = (carried, admits_ipip);
    }

    /// Until the speaker has selected, the way that a route of ours leads may be one that it gave.
    fn keep(&mut self, dst: Cidr, lead: Option<Lead>) {
        match lead.filter(|lead| lead.encap == Encap::Direct) {
            Some(lead) => self.world.hops.insert(dst, lead.gateways()),
            None => self.world.hops.remove(&dst),
        };
        self.learnt.insert(dst);
    }

    pub(crate) fn derive(&mut self) {
        for section in std::mem::take(&mut self.dirty) {
            match section {
                // An ADD changes one of many.
                Section::Endpoints => {
                    let part = derive::moved_endpoints(&self.world, &std::mem::take(&mut self.moved));
                    self.datapath.want_part(section, part);
                }
                section => self.datapath.want(section, derive::section(&self.world, section)),
            }
            if section == Section::Learnt {
                self.learnt.clear();
            }
            debug_assert_eq!(self.datapath.wants(section), Some(&derive::section(&self.world, section)));
        }
        self.derive_learnt();
        for netns in std::mem::take(&mut self.closing) {
            self.datapath.forget(netns);
        }
    }

    /// Of what was learnt, very much may stay as it is.
    fn derive_learnt(&mut self) {
        let moved = std::mem::take(&mut self.learnt);
        if moved.is_empty() {
            return;
        }
        self.datapath.want_part(Section::Learnt, derive::moved_learnt(&self.world, &moved));
        debug_assert_eq!(
            self.datapath.wants(Section::Learnt),
            Some(&derive::section(&self.world, Section::Learnt))
        );
    }

    /// Hands the writer a plan. Only who can show that everything needed was listed may.
    fn program(&mut self, _: crate::cluster::InSync) {
        let id = EffectId(self.next + 1);
        if let Some(steps) = self.datapath.plan(self.now, id) {
            self.next += 1;
            // The writer begins while the rest is being sent off.
            self.effects.push_front(Effect::Kernel { id, steps });
        } else if !self.ready && self.datapath.is_settled() && self.holds_foundations() {
            self.ready = true;
            self.check_annotations();
            self.report(Report::info(format!("node {} is ready", self.config.node)));
        }
    }

    /// Whether what every pod needs is there: the node's own part and the rules.
    fn holds_foundations(&self) -> bool {
        self.datapath.holds(Section::Host) && self.datapath.holds(Section::Rules)
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

    fn dumped(&mut self, id: EffectId, netns: Netns, objects: Option<kernel::Objects>) {
        match self.dumps.remove(&id) {
            Some(Read::Check(cni)) => self.checked(cni, objects.as_ref()),
            Some(Read::Pod(id)) => self.measured(&id, objects),
            Some(Read::Host) => {
                self.refresh_at = Some(self.now + REFRESH);
                let objects = objects.unwrap_or_default();
                self.datapath.dumped(self.now, netns, objects);
                self.find_uplink();
                self.look_after_all();
                self.sized_for = None;
            }
            None => {}
        }
    }

    fn noticed(&mut self, notice: Notice) {
        let key = match &notice {
            Notice::Put(key, _) | Notice::Gone(key) => key.clone(),
        };
        let gone = matches!(notice, Notice::Gone(_));
        self.datapath.noticed(self.now, notice);
        if self.concerns_uplink(&key) {
            self.find_uplink();
        }
        if let (Key::Link(link), true) = (&key, gone) {
            self.parting.remove(&key);
            self.link_gone(link);
        }
    }

    fn concerns_uplink(&self, key: &Key) -> bool {
        match key {
            Key::Link(link) => self.world.uplink.as_ref().is_some_and(|uplink| uplink.device == link.name),
            Key::Addr(addr) => {
                let own = self.world.peers.get(&self.config.node);
                own.is_some_and(|own| own.addr.addr() == addr.addr.addr())
            }
            _ => false,
        }
    }

    /// An interface went away: a pod's is made anew.
    fn link_gone(&mut self, link: &LinkKey) {
        let of = |life: &&Life| life.attachment.host_interface == link.name;
        let being_made = self.lives.values().filter(of).find_map(|life| life.netns);
        if let Some(netns) = being_made {
            self.datapath.forget(netns);
        }
        let live = self.lives.values().filter(of).find(|life| matches!(life.stage, Stage::Live));
        if let Some(id) = live.map(|life| life.attachment.id.clone()) {
            self.look_after(&id);
        }
    }

    fn look_after_all(&mut self) {
        if self.found.is_none() {
            for id in self.lives.keys().cloned().collect::<Vec<_>>() {
                self.look_after(&id);
            }
        }
    }

    /// The interface that holds our address is the uplink.
    fn find_uplink(&mut self) {
        let Some(own) = self.world.peers.get(&self.config.node) else { return };
        let addr = own.addr.addr();
        let device = self.datapath.actual().keys().find_map(|key| match key {
            Key::Addr(key) if key.netns == Netns::Host && key.addr.addr() == addr => Some(key.device.clone()),
            _ => None,
        });
        let uplink = device.map(|device| Uplink {
            mtu: self.datapath.mtu_of(&device).unwrap_or(derive::mtu::UNKNOWN_UPLINK),
            device,
        });
        if uplink != self.world.uplink {
            self.speech.dirty = true;
            self.world.uplink = uplink;
            self.dirty.extend(Section::ALL);
        }
    }

    fn read_kernel(&mut self) {
        if self.dumps.values().any(|read| *read == Read::Host) {
            return;
        }
        let id = self.new_effect();
        self.dumps.insert(id, Read::Host);
        // The next one is counted from the answer.
        self.refresh_at = None;
        let sysctls = self.datapath.sysctls(Netns::Host);
        self.effects.push_back(Effect::Dump { id, netns: Netns::Host, sysctls });
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
