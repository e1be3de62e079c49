//! One node driven to rest: a fake API that answers at once or not at all, a kernel and files as maps.

use derive::{Attachment, AttachmentId};
use kernel::{ApplyError, Key, LinkKind, Netns, Objects, Outcome, PodNs, Refused, Step, Value};
use model::store::{Error, Kind, Object, Request as Ask};
use model::{Duration, IfName, Instant, Metadata, k8s, v3};
use node::cni::{Command, NetnsRef, Options, Reply, Request};
use node::{CniId, Config, Effect, FileOp, Input, Node, NotOpened, Notice, WATCHED};
use std::collections::{BTreeMap, BTreeSet};
use testkit::sim::{FakeApi, Revision};

pub struct Rig {
    pub api: FakeApi,
    told: Revision,
    /// Without it, every request's answer is lost before it reaches the server.
    pub api_is_up: bool,
    pub kernel: Objects,
    /// While set, files and the kernel take no change; what was asked for waits.
    pub hold: bool,
    pub held: Vec<Effect>,
    /// By what number each namespace was opened last.
    opened: BTreeMap<String, PodNs>,
    /// What every request says besides.
    pub options: Options,
    /// Addresses that processes of the node use.
    pub used: BTreeSet<std::net::IpAddr>,
    /// The disk is full.
    pub disk_is_full: bool,
    /// Namespaces cannot be opened, though they may exist.
    pub netns_fail: bool,
    /// Keys that the kernel refuses, by their text.
    pub refused: BTreeSet<String>,
    /// With which number and sentence.
    pub refusal: (i32, &'static str),
    pub files: BTreeMap<AttachmentId, Attachment>,
    /// Every step that was carried out, in words.
    pub steps: Vec<String>,
    /// Kinds that the node asked to be watched too.
    pub watched: Vec<Kind>,
    pub reports: Vec<String>,
    pub replies: BTreeMap<CniId, Reply>,
    pub node: Node,
    pub now: Instant,
    pub boot_id: &'static str,
    /// What the agent is told of its address.
    pub address: Option<model::IfAddr>,
    pub address6: Option<model::IfAddr>,
    /// Who carries IP in IP.
    pub ipip: Option<derive::IpipDriver>,
    /// Conditions that were written: status and reason, and whether the status turned.
    pub conditions: Vec<(String, bool)>,
    /// The inode of every request's namespace, if not one of its own.
    pub inode: Option<u64>,
    next_cni: u64,
    next_netns: u32,
}

pub fn pod_key(name: &str) -> Object {
    let metadata = Metadata { namespace: Some("default".into()), ..Metadata::named(name) };
    let spec = k8s::PodSpec { node_name: Some("n1".into()), ..k8s::PodSpec::default() };
    k8s::Pod { metadata, spec, ..k8s::Pod::default() }.into()
}

pub fn pool(vxlan: v3::EncapMode) -> Object {
    let spec = serde_json::json!({"cidr": "10.0.0.0/24", "blockSize": 28, "natOutgoing": true});
    let mut spec: v3::IpPoolSpec = serde_json::from_value(spec).unwrap();
    spec.vxlan_mode = vxlan;
    v3::IpPool { metadata: Metadata::named("pool"), spec: spec.defaulted() }.into()
}

fn node_object(name: &str, addr: &str) -> Object {
    let mut node = k8s::Node { metadata: Metadata::named(name), ..k8s::Node::default() };
    node.metadata.annotations.insert(k8s::annotation::IPV4_ADDRESS.into(), addr.into());
    node.into()
}

impl Rig {
    /// Node `n1` beside `n2`, a pool, an uplink.
    pub fn new(vxlan: v3::EncapMode) -> Rig {
        let mut api = FakeApi::default();
        for object in [node_object("n1", "192.168.0.1/24"), node_object("n2", "192.168.0.2/24"), pool(vxlan)]
        {
            api.apply(&Ask::Create(object)).unwrap();
        }
        api.apply(&Ask::Create(k8s::Namespace { metadata: Metadata::named("default") }.into())).unwrap();
        let mut rig = Rig {
            api,
            told: Revision(0),
            api_is_up: true,
            kernel: uplink(),
            hold: false,
            held: Vec::new(),
            opened: BTreeMap::new(),
            options: Options::default(),
            disk_is_full: false,
            used: BTreeSet::new(),
            netns_fail: false,
            refused: BTreeSet::new(),
            refusal: (22, "Invalid argument"),
            files: BTreeMap::new(),
            steps: Vec::new(),
            watched: Vec::new(),
            reports: Vec::new(),
            replies: BTreeMap::new(),
            node: Node::new(config(Some("192.168.0.1/24".parse().unwrap()), None, STAND_IN)),
            address: Some("192.168.0.1/24".parse().unwrap()),
            address6: None,
            ipip: STAND_IN,
            conditions: Vec::new(),
            now: Instant::ZERO,
            boot_id: "boot-1",
            inode: None,
            next_cni: 0,
            next_netns: 0,
        };
        rig.restart();
        rig
    }

    /// A new process on the same kernel and files, which has done nothing yet.
    pub fn begin_anew(&mut self) {
        self.node = Node::new(config(self.address, self.address6, self.ipip));
        self.steps.clear();
        let attachments = self.files.values().cloned().collect();
        self.node.handle(self.now, Input::Started { attachments, boot_id: self.boot_id.into() });
    }

    /// As `begin_anew`, and it has done all that it can while no watch has told anything.
    pub fn restart_silent(&mut self) {
        self.begin_anew();
        self.drive();
    }

    /// A new process on the same kernel and files.
    pub fn restart(&mut self) {
        self.restart_silent();
        self.list();
        self.settle();
    }

    pub fn list(&mut self) {
        self.told = self.api.revision();
        for kind in WATCHED {
            let event = self.api.list(kind, self.told);
            self.node.handle(self.now, Input::Api(event));
        }
    }

    /// As `settle`, while no watch speaks.
    pub fn settle_alone(&mut self) {
        self.drive();
    }

    /// As `pass`, while no watch speaks.
    pub fn pass_alone(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some((at, _)) = self.node.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = at.max(self.now);
            self.node.handle(self.now, Input::Timeout);
            self.drive();
        }
        self.now = end;
    }

    /// Somebody else's route stands where a pod's should.
    pub fn put_foreign_route(&mut self, addr: std::net::IpAddr) {
        let key = kernel::RouteKey {
            netns: Netns::Host,
            table: kernel::route::TABLE_MAIN,
            dst: model::Cidr::host(addr),
            priority: 0,
        };
        let route = kernel::RouteValue {
            kind: kernel::RouteKind::Unicast,
            gateway: None,
            device: Some(IfName::fixed("ens192")),
            scope: kernel::RouteScope::Link,
            onlink: false,
            protocol: kernel::route::PROTO_BOOT,
            source: None,
            mtu: None,
            also: Vec::new(),
        };
        self.put(Key::Route(key), Value::Route(route));
    }

    /// Somebody else's interface has a pod's name.
    pub fn put_foreign_link(&mut self, name: &IfName) {
        let key = kernel::LinkKey { netns: Netns::Host, name: name.clone() };
        let kind = LinkKind::Other("bridge".into());
        let link = kernel::LinkValue { kind, mac: None, mtu: None, up: true, alias: None };
        self.put(Key::Link(key), Value::Link(Box::new(link)));
    }

    fn put(&mut self, key: Key, value: Value) {
        self.kernel.insert(key.clone(), value.clone());
        self.node.handle(self.now, Input::Noticed(vec![Notice::Put(key, value)]));
        self.settle();
    }

    /// Until nothing is left to do, without time passing.
    pub fn settle(&mut self) {
        loop {
            self.drive();
            let mut told = false;
            while let Some((revision, event)) =
                WATCHED.iter().filter_map(|kind| self.api.next(*kind, self.told)).min_by_key(|(at, _)| *at)
            {
                self.told = revision;
                self.node.handle(self.now, Input::Api(event));
                told = true;
            }
            if !told {
                return;
            }
        }
    }

    /// Lets time pass, timeout by timeout.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some((at, _)) = self.node.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = at.max(self.now);
            self.node.handle(self.now, Input::Timeout);
            self.settle();
        }
        self.now = end;
    }

    /// What waited is carried out.
    pub fn go_on(&mut self) {
        self.hold = false;
        for effect in std::mem::take(&mut self.held) {
            if let Some(input) = self.carry_out(effect) {
                self.node.handle(self.now, input);
            }
        }
        self.settle();
    }

    fn drive(&mut self) {
        while let Some(effect) = self.node.poll() {
            if self.hold && matches!(effect, Effect::Kernel { .. } | Effect::File { .. }) {
                self.held.push(effect);
                continue;
            }
            if let Some(input) = self.carry_out(effect) {
                self.node.handle(self.now, input);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Api { id, request } => {
                if let Ask::Condition { condition, turned, .. } = &request {
                    self.conditions.push((format!("{} {}", condition.status, condition.reason), *turned));
                }
                let lost = || Err(Error::Unknown("connection refused".into()));
                let reply = if self.api_is_up { self.api.apply(&request) } else { lost() };
                Some(Input::Answered { id, reply })
            }
            Effect::Kernel { id, steps } => {
                let outcomes = self.apply(steps);
                Some(Input::Wrote { id, outcomes })
            }
            Effect::Dump { id, netns, .. } => {
                let found = self.kernel.iter().filter(|(key, _)| key.netns() == netns);
                let objects = found.map(|(key, value)| (key.clone(), value.clone())).collect();
                Some(Input::Dumped { id, netns, objects: Some(objects) })
            }
            Effect::Sockets { id, addrs } => {
                let used = addrs.intersection(&self.used).copied().collect();
                Some(Input::Sockets { id, used })
            }
            Effect::File { id, .. } if self.disk_is_full => {
                Some(Input::Filed { id, result: Err("No space left on device".into()) })
            }
            Effect::File { id, op } => {
                match op {
                    FileOp::Begin(attachment) | FileOp::Write(attachment) => {
                        _ = self.files.insert(attachment.id.clone(), attachment)
                    }
                    FileOp::Remove(attachment) => _ = self.files.remove(&attachment),
                }
                Some(Input::Filed { id, result: Ok(()) })
            }
            Effect::OpenNetns { netns, path, .. } => {
                let gone = || NotOpened::Gone(format!("{path} does not exist"));
                let result = match () {
                    () if self.netns_fail => Err(NotOpened::Failed("Too many open files".into())),
                    () if path.starts_with("/run/netns/gone") => Err(gone()),
                    () => {
                        self.open(path, netns);
                        Ok(())
                    }
                };
                Some(Input::Opened { netns, result })
            }
            Effect::Watch(kind) => {
                self.watched.push(kind);
                None
            }
            Effect::CloseNetns(_) | Effect::Bgp(_) => None,
            Effect::Cni { id, reply } => {
                self.replies.insert(id, reply);
                None
            }
            Effect::Report(report) => {
                self.reports.push(report.text);
                None
            }
        }
    }

    /// The interfaces of a namespace are found by its new number.
    fn open(&mut self, path: String, netns: PodNs) {
        let Some(before) = self.opened.insert(path, netns) else { return };
        let links = self.kernel.iter().filter_map(|(key, value)| match key {
            Key::Link(link) if link.netns == Netns::Pod(before) => {
                let link = kernel::LinkKey { netns: Netns::Pod(netns), name: link.name.clone() };
                Some((Key::Link(link), value.clone()))
            }
            _ => None,
        });
        let links: Vec<_> = links.collect();
        self.kernel.extend(links);
    }

    fn apply(&mut self, steps: Vec<Step>) -> Vec<Outcome> {
        let mut outcomes: BTreeMap<Key, Result<(), ApplyError>> = BTreeMap::new();
        let mut refused = Refused::default();
        for step in steps {
            let (key, result) = match refused.forbids(&step) {
                Some(error) => (step.key(), Err(error)),
                None => self.apply_one(step.clone()),
            };
            if result.is_err() {
                refused.add_step(&step);
            }
            let known = outcomes.entry(key).or_insert(Ok(()));
            if known.is_ok() {
                *known = result;
            }
        }
        outcomes.into_iter().map(|(key, result)| Outcome { key, result }).collect()
    }

    fn apply_one(&mut self, step: Step) -> (Key, Result<(), ApplyError>) {
        let refuse = |errno, text: &str| Err(ApplyError { errno, text: text.into() });
        let (key, word, value) = match step {
            Step::Up(netns, name) => {
                let key = Key::Link(kernel::LinkKey { netns, name });
                match self.kernel.get_mut(&key) {
                    Some(Value::Link(link)) => link.up = true,
                    _ => return (key, refuse(19, "No such device")),
                }
                return (key, Ok(()));
            }
            Step::Create(key, _) | Step::Replace { key, .. } if self.refused.contains(&key.to_string()) => {
                return (key, refuse(self.refusal.0, self.refusal.1));
            }
            // No pair is made without its other end.
            Step::Create(key, Value::Link(link))
                if link.kind == (LinkKind::Veth { peer: None }) && !self.kernel.contains_key(&key) =>
            {
                return (key, refuse(19, "No such device"));
            }
            Step::Create(key, value) => (key, "+", Some(value)),
            Step::Replace { key, to, .. } => (key, "~", Some(to)),
            Step::Remove(key, _) => (key, "-", None),
        };
        self.steps.push(format!("{word} {key}"));
        match value {
            None => self.forget(&key),
            Some(Value::Link(mut link)) => {
                if let LinkKind::Veth { peer: Some(peer) } = link.kind.clone() {
                    link.kind = LinkKind::Veth { peer: None };
                    let mut other = link.clone();
                    other.alias = None;
                    self.kernel.entry(Key::Link(peer.key)).or_insert(Value::Link(other));
                }
                self.kernel.insert(key.clone(), Value::Link(link));
            }
            Some(value) => _ = self.kernel.insert(key.clone(), value),
        }
        (key, Ok(()))
    }

    /// Removes an object and what goes with it.
    fn forget(&mut self, key: &Key) {
        self.kernel.remove(key);
        if let Key::Link(link) = key {
            self.kernel.retain(|other, value| !hangs_on(other, value, &link.name));
        }
    }

    /// Somebody else removes an object.
    pub fn meddle(&mut self, what: &str) {
        let key = self.kernel.keys().find(|key| key.to_string() == what).cloned();
        let key = key.unwrap_or_else(|| panic!("the kernel does not hold {what}: {:#?}", self.listing()));
        self.forget(&key);
        self.node.handle(self.now, Input::Noticed(vec![Notice::Gone(key)]));
        self.settle();
    }

    /// The node's own objects but the uplink, what is on it, and settings, in words.
    pub fn listing(&self) -> Vec<String> {
        let own = uplink();
        let keys = self.kernel.keys().filter(|key| {
            key.netns() == Netns::Host
                && !own.contains_key(key)
                && !matches!(key, Key::Sysctl(_) | Key::Clsact(_))
        });
        keys.map(Key::to_string).collect()
    }

    pub fn request(&mut self, command: Command, container: &str, pod: &str) -> CniId {
        self.request_on("eth0", command, container, pod)
    }

    pub fn request_on(&mut self, interface: &str, command: Command, container: &str, pod: &str) -> CniId {
        self.next_cni += 1;
        self.next_netns += 1;
        let id = CniId(self.next_cni);
        self.opened.insert(format!("/run/netns/{container}"), PodNs(self.next_netns));
        let request = Request {
            command,
            network: "net".into(),
            container_id: container.into(),
            interface: Some(IfName::fixed(interface)),
            netns: Some(NetnsRef {
                path: format!("/run/netns/{container}"),
                inode: (4, self.inode.unwrap_or(u64::from(self.next_netns))),
            }),
            pod: Some(("default".into(), pod.into())),
            options: self.options.clone(),
        };
        self.node.handle(self.now, Input::Cni { id, request, netns: Some(PodNs(self.next_netns)) });
        id
    }

    /// A request driven to rest.
    pub fn cni(&mut self, command: Command, container: &str, pod: &str) -> Option<Reply> {
        let id = self.request(command, container, pod);
        self.settle();
        self.replies.remove(&id)
    }

    pub fn create_node(&mut self, name: &str, addr: &str) {
        self.api.apply(&Ask::Create(node_object(name, addr))).unwrap();
        self.settle();
    }

    pub fn create_pod(&mut self, name: &str) {
        self.api.apply(&Ask::Create(pod_key(name))).unwrap();
        self.settle();
    }

    pub fn get(&mut self, kind: Kind, name: &str) -> Option<Object> {
        self.api.objects().find(|object| object.kind() == kind && object.metadata().name == name).cloned()
    }

    /// Addresses that blocks say are in use, tunnel addresses aside.
    pub fn in_use(&self) -> usize {
        let blocks = self.api.objects().filter_map(|object| match object {
            Object::IpamBlock(block) => Some(&block.spec),
            _ => None,
        });
        blocks
            .flat_map(|spec| {
                spec.allocations.iter().flatten().map(|index| &spec.attributes[*index as usize].secondary)
            })
            .filter(|attributes| !attributes.contains_key("type"))
            .count()
    }
}

const STAND_IN: Option<derive::IpipDriver> = Some(derive::IpipDriver::StandIn);

fn config(
    address: Option<model::IfAddr>,
    address6: Option<model::IfAddr>,
    ipip: Option<derive::IpipDriver>,
) -> Config {
    Config {
        node: "n1".into(),
        address,
        address6,
        bgp: true,
        router_id: derive::bgp::RouterId::Address,
        ipip,
        epoch_micros: 1_700_000_000_000_000,
    }
}

fn uplink() -> Objects {
    let name = IfName::fixed("ens192");
    let link = kernel::LinkValue {
        kind: LinkKind::Other("veth".into()),
        mac: None,
        mtu: Some(model::Mtu(1500)),
        up: true,
        alias: None,
    };
    let addr = "192.168.0.1/24".parse().unwrap();
    [
        (Key::Link(kernel::LinkKey { netns: Netns::Host, name: name.clone() }), Value::Link(Box::new(link))),
        (
            Key::Addr(kernel::AddrKey { netns: Netns::Host, device: name, addr }),
            Value::Addr(kernel::AddrValue { scope: kernel::addr::AddrScope::Global }),
        ),
    ]
    .into()
}

fn hangs_on(key: &Key, value: &Value, device: &IfName) -> bool {
    match (key, value) {
        (Key::Addr(key), _) => key.device == *device,
        (Key::Neigh(key), _) => key.device == *device,
        (Key::Fdb(key), _) => key.device == *device,
        (Key::Route(_), Value::Route(route)) => route.device.as_ref() == Some(device),
        _ => false,
    }
}
