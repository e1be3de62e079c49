//! What this node says of itself in its Node: its address, the addresses of its tunnels, how far it is with modes, conditions.

use crate::effect::Report;
use crate::node::{Call, Node};
use derive::{Announcement, Encap, Section};
use ipam::{RequestId, Tunnel, Want};
use model::k8s::{self, annotation};
use model::selector::Selector;
use model::store::{Key, Kind, Reply, Request as Ask};
use model::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How long after a failure the next try is made: at first, and after many.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_secs(5);

/// Whether a tunnel of this node needs an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TunnelNeed {
    /// A pool that gives addresses here wants the tunnel.
    Must,
    /// Only pools that give none here want it, or packets may still come by it: what there is serves them.
    May,
    None,
}

/// What of this is under way.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    /// The Node is being written.
    writing: bool,
    /// The allocator's request for the tunnel address, or for its release.
    request: Option<(RequestId, Tunnel)>,
    assigned: BTreeMap<Tunnel, Assigned>,
    retry_at: Option<Instant>,
    /// The last wait of a row of failures.
    waited: Option<Duration>,
    /// What went wrong last.
    pub problem: Option<String>,
}

/// What the allocator said of a tunnel's address in this run of the agent.
#[derive(Clone, Copy, Debug, Default)]
struct Assigned {
    confirmed: Option<IpAddr>,
    /// None is assigned any more.
    released: bool,
}

/// What annotations are to say; `None` takes one away.
type Annotations = BTreeMap<String, Option<String>>;

/// The order in which they are seen to.
const TUNNELS: [Tunnel; 2] = [Tunnel::Ipip, Tunnel::Vxlan];

impl Identity {
    pub fn timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    fn assigned(&self, tunnel: Tunnel) -> Assigned {
        self.assigned.get(&tunnel).copied().unwrap_or_default()
    }
}

impl Node {
    /// Writes what is missing or wrong, one thing at a time.
    pub(crate) fn identify(&mut self) {
        if self.identity.writing || self.identity.request.is_some() || self.cluster.in_sync().is_none() {
            return;
        }
        if self.identity.retry_at.is_some_and(|at| self.now < at) {
            return;
        }
        self.identity.retry_at = None;
        let Some(own) = self.cluster.own() else {
            return self.later(self.is_unknown());
        };
        let (mut texts, mut wish) = self.wrong_addresses(own);
        // What the allocator gives is written together with the rest, unless it could not be had before.
        let has_failed = self.identity.problem.is_some();
        if let Some((tunnel, want)) = wish.take_if(|_| !has_failed) {
            return self.request_tunnel(tunnel, want);
        }
        let said = self.cluster.own_announcement();
        let announcement = self.announcement(said.unwrap_or(&Announcement::default()));
        if said != Some(&announcement) {
            let text = serde_json::to_string(&announcement).expect("its keys are texts");
            texts.insert(annotation::ENCAPSULATION.to_owned(), Some(text));
            self.world.announced = Some(announcement);
        }
        let key = Key::cluster(Kind::Node, self.config.node.clone());
        let request = if !texts.is_empty() {
            if texts.get(annotation::IPV4_VXLAN_TUNNEL_ADDR) == Some(&None) {
                let dirty = self.cluster.withdraw_vxlan(&mut self.world);
                self.soil(dirty);
            }
            Ask::Annotate { key, annotations: texts }
        } else if let Some((tunnel, want)) = wish {
            return self.request_tunnel(tunnel, want);
        } else if let Some((condition, turned)) = self.wrong_condition(own) {
            if condition.status == "True" && self.identity.problem.is_none() {
                self.report(Report::warn(condition.message.clone()));
            }
            Ask::Condition { key, condition, turned }
        } else {
            (self.identity.problem, self.identity.waited) = (None, None);
            return;
        };
        self.identity.writing = true;
        self.call(Call::NodeWritten, request);
    }

    /// That there is no Node of ours, in words.
    pub(crate) fn is_unknown(&self) -> String {
        format!("node {} is unknown to the API server: check the agent's --node-name", self.config.node)
    }

    /// What our Node should say of addresses and does not (`None`: nothing), and what the allocator must be asked first.
    fn wrong_addresses(&self, own: &k8s::Node) -> (Annotations, Option<(Tunnel, Want)>) {
        let said = |name: &str| own.metadata.annotations.get(name);
        // Without an address of our own, the Node's counts: an edit is followed, and the loss of that by which the node is one is
        // made good.
        let known = self.world.peers.get(&self.config.node).map(|own| own.addr);
        let mut texts = Annotations::new();
        for (name, own, known) in [
            (annotation::IPV4_ADDRESS, self.config.address, known),
            (annotation::IPV6_ADDRESS, self.config.address6, None),
        ] {
            let said = said(name);
            let address = own.or(known.filter(|_| said.is_none())).map(|addr| addr.to_string());
            if address.is_some() && said != address.as_ref() {
                texts.insert(name.to_owned(), address);
            }
        }
        let mut wish = None;
        for tunnel in TUNNELS {
            let name = annotation_of(tunnel);
            let said = said(name);
            let Assigned { confirmed, released } = self.identity.assigned(tunnel);
            match (self.tunnel_need(tunnel), confirmed) {
                (TunnelNeed::Must, None) => wish = wish.or(Some((tunnel, Want::Tunnel(tunnel)))),
                (TunnelNeed::Must, Some(addr)) if said != Some(&addr.to_string()) => {
                    texts.insert(name.to_owned(), Some(addr.to_string()));
                }
                (TunnelNeed::None, _) if said.is_some() => {
                    texts.insert(name.to_owned(), None);
                }
                (TunnelNeed::None, confirmed) if confirmed.is_some() || !released => {
                    let handle = tunnel.handle(&self.config.node);
                    wish = wish.or(Some((tunnel, Want::Release { handle })));
                }
                _ => {}
            }
        }
        (texts, wish)
    }

    /// How far this node is with the modes of pools; `before` is what it said last.
    fn announcement(&self, before: &Announcement) -> Announcement {
        let is_settled = self.datapath.is_settled();
        let accepts_all =
            is_settled && self.datapath.lacks_none(Section::Host) && self.datapath.lacks_none(Section::Rules);
        let sends_all = is_settled && self.datapath.lacks_none(Section::Routes) && self.dirty.is_empty();
        let accepts_all = accepts_all && self.dirty.is_empty() && self.pods_fit();
        self.world.announce(before, accepts_all, sends_all)
    }

    fn tunnel_need(&self, tunnel: Tunnel) -> TunnelNeed {
        let labels = self.cluster.own().map(|own| &own.metadata.labels);
        let selects = |selector: &str| match (selector.parse::<Selector>(), labels) {
            (Ok(selector), Some(labels)) => selector.matches(labels),
            _ => false,
        };
        let encap = match tunnel {
            Tunnel::Ipip => Encap::Ipip,
            Tunnel::Vxlan => Encap::Vxlan,
        };
        let wanting = || self.world.pools.values().filter(|pool| tunnel.runs_in(pool));
        if wanting().any(|pool| !pool.disabled && selects(&pool.node_selector)) {
            TunnelNeed::Must
        } else if wanting().next().is_some() || self.world.accepts(encap) {
            TunnelNeed::May
        } else {
            TunnelNeed::None
        }
    }

    fn request_tunnel(&mut self, tunnel: Tunnel, want: Want) {
        let request = self.new_request();
        let wall = self.wall();
        self.identity.request = Some((request, tunnel));
        self.ipam.request(self.now, &wall, request, want);
    }

    /// Whether the allocator's answer was ours.
    pub(crate) fn tunnel_answered(
        &mut self,
        id: RequestId,
        result: &Result<Vec<IpAddr>, ipam::Error>,
    ) -> bool {
        let Some((_, tunnel)) = self.identity.request.take_if(|(request, _)| *request == id) else {
            return false;
        };
        match result {
            Ok(addresses) => {
                let confirmed = addresses.first().copied();
                let assigned = Assigned { confirmed, released: confirmed.is_none() };
                self.identity.assigned.insert(tunnel, assigned);
            }
            Err(error) => {
                let name = match tunnel {
                    Tunnel::Ipip => "IPIP",
                    Tunnel::Vxlan => "VXLAN",
                };
                self.later(format!("no address for the {name} tunnel: {error}"));
            }
        }
        true
    }

    /// The Node is written, or not.
    pub(crate) fn node_written(&mut self, reply: Reply) {
        self.identity.writing = false;
        match reply {
            Ok(Some(node)) => self.learn(model::store::Event::Put(node)),
            Ok(None) => {}
            Err(error) => self.later(format!("cannot write the state of node {}: {error}", self.config.node)),
        }
        let dirty = self.cluster.vxlan_withdrawn(&mut self.world);
        self.soil(dirty);
    }

    fn later(&mut self, problem: String) {
        let wait = self.identity.waited.map_or(FIRST_RETRY, |waited| waited.doubled(RETRY));
        (self.identity.retry_at, self.identity.waited) = (Some(self.now + wait), Some(wait));
        if self.identity.problem.as_ref() != Some(&problem) {
            self.report(Report::warn(problem.clone()));
        }
        self.identity.problem = Some(problem);
    }
}

fn annotation_of(tunnel: Tunnel) -> &'static str {
    match tunnel {
        Tunnel::Ipip => annotation::IPV4_IPIP_TUNNEL_ADDR,
        Tunnel::Vxlan => annotation::IPV4_VXLAN_TUNNEL_ADDR,
    }
}
