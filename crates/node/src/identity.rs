//! What this node says of itself in its Node: its address, the address of its VXLAN device, and that its network is up.

use crate::effect::Report;
use crate::node::{Call, Node};
use ipam::{RequestId, Tunnel, Want};
use model::k8s::{Condition, annotation};
use model::selector::Selector;
use model::store::{Key, Kind, Reply, Request as Ask};
use model::v3::EncapMode;
use model::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How long after a failure the next try is made.
const RETRY: Duration = Duration::from_secs(5);

/// Whether this node's VXLAN device needs an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TunnelNeed {
    /// A pool that gives addresses here wants VXLAN.
    Must,
    /// Only pools that give none here want it: what there is serves the pods that are left.
    May,
    None,
}

/// What of this is under way.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    /// The Node is being written.
    writing: bool,
    /// The allocator's request for the tunnel address, or for its release.
    request: Option<RequestId>,
    /// The tunnel address that the allocator confirmed in this run of the agent.
    confirmed: Option<IpAddr>,
    /// A tunnel address of ours may still be assigned.
    released: bool,
    retry_at: Option<Instant>,
    /// What went wrong last.
    pub problem: Option<String>,
}

impl Identity {
    pub fn timeout(&self) -> Option<Instant> {
        self.retry_at
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
            let text = format!(
                "node {} is unknown to the API server: check the agent's --node-name",
                self.config.node
            );
            self.later(text);
            return;
        };
        let said = |name: &str| own.metadata.annotations.get(name).cloned();
        // Without an address of our own, the Node's counts: an edit is followed, a loss is made good.
        let known = self.world.peers.get(&self.config.node).map(|own| own.addr);
        let address = self.config.address.or(known).map(|addr| addr.to_string());
        let said_address = said(annotation::IPV4_ADDRESS);
        let said_tunnel = said(annotation::IPV4_VXLAN_TUNNEL_ADDR);
        let need = self.tunnel_need();
        let mut texts = BTreeMap::new();
        if address.is_some()
            && said_address != address
            && (said_address.is_none() || self.config.address.is_some())
        {
            texts.insert(annotation::IPV4_ADDRESS.to_owned(), address);
        }
        match (need, self.identity.confirmed) {
            (TunnelNeed::Must, None) => return self.request_tunnel(Want::Tunnel(Tunnel::Vxlan)),
            (TunnelNeed::Must, Some(addr)) if said_tunnel.as_deref() != Some(&addr.to_string()) => {
                texts.insert(annotation::IPV4_VXLAN_TUNNEL_ADDR.to_owned(), Some(addr.to_string()));
            }
            (TunnelNeed::None, _) if said_tunnel.is_some() => {
                texts.insert(annotation::IPV4_VXLAN_TUNNEL_ADDR.to_owned(), None);
            }
            (TunnelNeed::None, confirmed) if confirmed.is_some() || !self.identity.released => {
                let handle = Tunnel::Vxlan.handle(&self.config.node);
                return self.request_tunnel(Want::Release { handle });
            }
            _ => {}
        }
        let key = Key::cluster(Kind::Node, self.config.node.clone());
        let request = if !texts.is_empty() {
            Ask::Annotate { key, annotations: texts }
        } else if self.ready && !own.status.conditions.contains(&network_is_up()) {
            Ask::Condition { key, condition: network_is_up() }
        } else {
            self.identity.problem = None;
            return;
        };
        self.identity.writing = true;
        self.call(Call::NodeWritten, request);
    }

    fn tunnel_need(&self) -> TunnelNeed {
        let labels = self.cluster.own().map(|own| &own.metadata.labels);
        let selects = |selector: &str| match (selector.parse::<Selector>(), labels) {
            (Ok(selector), Some(labels)) => selector.matches(labels),
            _ => false,
        };
        let wanting = || self.world.pools.values().filter(|pool| pool.vxlan_mode != EncapMode::Never);
        if wanting().any(|pool| !pool.disabled && selects(&pool.node_selector)) {
            TunnelNeed::Must
        } else if wanting().next().is_some() {
            TunnelNeed::May
        } else {
            TunnelNeed::None
        }
    }

    fn request_tunnel(&mut self, want: Want) {
        let request = self.new_request();
        let wall = self.wall();
        self.identity.request = Some(request);
        self.ipam.request(self.now, &wall, request, want);
    }

    /// Whether the allocator's answer was ours.
    pub(crate) fn tunnel_answered(
        &mut self,
        id: RequestId,
        result: &Result<Vec<IpAddr>, ipam::Error>,
    ) -> bool {
        if self.identity.request != Some(id) {
            return false;
        }
        self.identity.request = None;
        match result {
            Ok(addresses) => {
                self.identity.confirmed = addresses.first().copied();
                self.identity.released = addresses.is_empty();
            }
            Err(error) => self.later(format!("no address for the VXLAN tunnel: {error}")),
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
    }

    fn later(&mut self, problem: String) {
        self.identity.retry_at = Some(self.now + RETRY);
        if self.identity.problem.as_ref() != Some(&problem) {
            self.report(Report::warn(problem.clone()));
        }
        self.identity.problem = Some(problem);
    }
}

/// What lets the scheduler place pods here, in Calico's words. It is never taken back: the kernel keeps forwarding without us.
fn network_is_up() -> Condition {
    Condition {
        condition_type: "NetworkUnavailable".into(),
        status: "False".into(),
        reason: "CalicoIsUp".into(),
        message: "Calico is running on this node".into(),
    }
}
