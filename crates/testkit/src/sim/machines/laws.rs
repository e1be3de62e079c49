//! What must hold after every event, and at the end. Numbers as in `sim::laws`, continued:
//!
//! 4. No packet goes round.
//! 5. *Hitless*: two pods that reached each other keep that, also between two messages of a batch, until one of them
//!    or its node is deleted, rebooted, readdressed or cut off, or somebody meddles with what is ours. A packet is as large
//!    as its sender then sends, and no larger than what both ends sent when they were connected.
//! 6. ADD answered means: its node reaches the pod, and the pod's packets pass.
//! 7. What is not ours stays byte for byte.
//! 8. Nothing is written before in-sync, in each life of an agent.
//! 9. Without a disturbance the kernel refuses no step.
//! 10. No UPDATE is sent outside of Established, no session ends without a fault, no hold timer ends unless something was in
//!     the way of those two, a speaker gives a connection no more than it has room for, and at rest what one end told is what the
//!     other heard (`speakers`).
//! 11. A run comes to rest, and no agent spins.

use super::speakers::Who;
use super::{End, Machines};
use crate::sim::{Broken, laws as addresses};
use ::kernel::{ApplyError, Key, Netns, PodNs, Step};
use ipam::Tunnel;
use model::Duration;
use model::k8s::annotation;
use model::store::{Kind, Object};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// What must have been listed before anything is written. Said here once more: a law does not ask the code that it judges.
const NEEDED: [Kind; 8] = [
    Kind::Node,
    Kind::IpPool,
    Kind::IpamBlock,
    Kind::Pod,
    Kind::FelixConfiguration,
    Kind::BgpConfiguration,
    Kind::BgpPeer,
    Kind::BgpFilter,
];

/// How long after its sessions are up a node's routes have been learnt, and written.
const LEARNT: Duration = Duration::from_secs(1);

/// What the laws remember.
#[derive(Debug, Default)]
pub(super) struct Laws {
    /// Nodes whose kernel changed since the laws were asked.
    touched: BTreeSet<usize>,
    /// Pairs of sandboxes that reached each other, and the largest packets that both sent by then, as ends of a TCP
    /// connection agree on them.
    reached: BTreeMap<(String, String), u32>,
    /// Nodes of whose pods nothing can be promised now.
    pub excused: BTreeSet<usize>,
    /// Nodes that rebooted. Their peers let go of what they told before when they are back (RFC 4724 §4.2), and learn it anew:
    /// of their pods nothing can be promised before that.
    pub rebooted: BTreeSet<usize>,
    /// A pool wished what cannot be had across the router: two pods that did not reach each other across it before may do so
    /// by chance, by what their nodes have not yet heard of.
    pub across_by_chance: bool,
}

/// A sandbox that runs.
#[derive(Clone, Debug)]
pub struct Running {
    pub pod: String,
    pub container: String,
    pub node: usize,
    pub space: PodNs,
    pub addr: Ipv4Addr,
}

impl Laws {
    pub fn touched(&mut self, node: usize) {
        self.touched.insert(node);
    }

    /// A sandbox ends.
    pub fn forget(&mut self, container: &str) {
        self.reached.retain(|(a, b), _| a != container && b != container);
    }
}

impl Machines {
    /// All of them, on nodes that are there.
    pub fn running(&self) -> Vec<Running> {
        let alive = self.pods.iter().filter(|(_, pod)| !self.machines[pod.node].is_gone);
        alive
            .filter_map(|(name, pod)| {
                let sandbox = pod.sandbox.as_ref()?;
                let (container, space) = (sandbox.container.clone(), sandbox.space);
                let node = pod.node;
                Some(Running { pod: name.clone(), container, node, space, addr: sandbox.addr? })
            })
            .collect()
    }

    /// Nothing can be promised of a node's pods; what they reach again counts again.
    pub(super) fn excuse(&mut self, node: usize) {
        let pods: Vec<String> =
            self.running().into_iter().filter(|pod| pod.node == node).map(|pod| pod.container).collect();
        pods.iter().for_each(|container| self.laws.forget(container));
        self.laws.touched(node);
    }

    /// Laws 1, 4 and 5, as far as a changed kernel may have broken them.
    pub(super) fn hold(&mut self) -> Result<(), Broken> {
        let rebooted = self.laws.rebooted.iter().copied();
        let learnt: Vec<usize> = rebooted.filter(|node| self.is_heard_of(Who::Node(*node), LEARNT)).collect();
        for node in learnt {
            self.laws.rebooted.remove(&node);
            self.excuse(node);
        }
        let touched = std::mem::take(&mut self.laws.touched);
        if touched.is_empty() {
            return Ok(());
        }
        self.hold_addresses()?;
        let running = self.running();
        let (mut reached, mut broken) = (Vec::new(), None);
        for (n, one) in running.iter().enumerate() {
            for other in &running[n + 1..] {
                if touched.contains(&one.node) || touched.contains(&other.node) {
                    match self.pair(one, other) {
                        Ok(size) => reached.extend(size.map(|size| (pair(one, other), size))),
                        Err(law) => broken = Some(law),
                    }
                }
            }
        }
        let by_chance = |(one, other): &(String, String)| {
            let at =
                |container: &str| running.iter().find(|pod| pod.container == container).map(|pod| pod.node);
            let subnets =
                [at(one), at(other)].map(|node| node.map(|node| self.machines[node].kernel.addr().subnet()));
            self.laws.across_by_chance && subnets[0] != subnets[1]
        };
        reached.retain(|(pair, _)| self.laws.reached.contains_key(pair) || !by_chance(pair));
        self.laws.reached.extend(reached);
        broken.map_or(Ok(()), |(law, what)| Err(self.broken(law, what)))
    }

    /// Laws 4 and 5 of two sandboxes. `Some`: packets of this size pass both ways.
    fn pair(&self, one: &Running, other: &Running) -> Result<Option<u32>, (&'static str, String)> {
        let underlay = self.underlay();
        let largest = [one, other].map(|pod| underlay.largest(pod.node, pod.space, pod.addr));
        let both = largest[0].min(largest[1]);
        let agreed = self.laws.reached.get(&pair(one, other)).copied();
        let lost = |at_most| {
            [(one, other), (other, one)].into_iter().find_map(|(from, to)| {
                let end = underlay.from_pod(from.node, from.space, (from.addr, to.addr), at_most);
                (end != End::Delivered { node: to.node, space: to.space }).then_some((from, to, end))
            })
        };
        let excused = [one.node, other.node]
            .iter()
            .any(|node| self.laws.excused.contains(node) || self.laws.rebooted.contains(node));
        match lost(agreed.unwrap_or(both)) {
            Some((from, to, End::Loop)) => Err(("law 4", words(from, to, "goes round"))),
            Some((from, to, end)) if agreed.is_some() && !excused => {
                Err(("law 5", words(from, to, &format!("was delivered, now {end}"))))
            }
            Some(_) => Ok(None),
            None => {
                let grows = agreed.is_some_and(|agreed| agreed < both) && lost(both).is_none();
                Ok(Some(agreed.filter(|_| !grows).unwrap_or(both)))
            }
        }
    }

    /// Law 1 in the kernels: an address leads to one pod only.
    fn hold_addresses(&self) -> Result<(), Broken> {
        let mut homes: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (node, machine) in self.machines.iter().enumerate().filter(|(_, machine)| !machine.is_gone) {
            for (key, value) in machine.kernel.objects() {
                let (Key::Route(key), ::kernel::Value::Route(route)) = (key, value) else { continue };
                let is_pod = key.netns == Netns::Host && key.dst.is_host() && route.gateway.is_none();
                if !is_pod || route.kind != ::kernel::RouteKind::Unicast {
                    continue;
                }
                if let Some(other) = homes.insert(key.dst.addr(), node) {
                    let what = format!("{} leads to pods of n{} and n{}", key.dst, other + 1, node + 1);
                    return Err(self.broken("law 1", what));
                }
            }
        }
        Ok(())
    }

    /// Law 6, as an ADD is answered.
    pub(super) fn promised(&self, node: usize, space: PodNs, addr: Ipv4Addr) -> Result<(), Broken> {
        let underlay = self.underlay();
        let there = underlay.from_node(node, addr);
        if there != (End::Delivered { node, space }) {
            return Err(self.broken("law 6", format!("ADD is answered with {addr}: {there}")));
        }
        let IpAddr::V4(own) = self.machines[node].kernel.addr().addr() else { unreachable!("IPv4 here") };
        match underlay.from_pod(node, space, (addr, own), u32::MAX) {
            End::Dropped { node: at, why } if at == node && why == super::walk::FOR_THE_NODE => Ok(()),
            back => Err(self.broken("law 6", format!("ADD is answered with {addr}; from there: {back}"))),
        }
    }

    /// Law 8.
    pub(super) fn may_write(&self, node: usize) -> Result<(), Broken> {
        let listed = &self.machines[node].listed;
        match NEEDED.iter().find(|kind| !listed.contains(kind)) {
            None => Ok(()),
            Some(kind) => Err(self.broken("law 8", format!("n{} writes before it knows {kind:?}", node + 1))),
        }
    }

    /// Laws 7 and 9, after a message.
    pub(super) fn refused(
        &self,
        node: usize,
        step: &Step,
        result: &Result<(), ApplyError>,
    ) -> Result<(), Broken> {
        if let Some(what) = self.machines[node].kernel.violated() {
            return Err(self.broken("law 7", format!("on n{}: {what}", node + 1)));
        }
        match result {
            Err(error) if !self.disturbed => {
                let what = format!("n{}: {}: {error}", node + 1, super::carry::step_words(step));
                Err(self.broken("law 9", what))
            }
            _ => Ok(()),
        }
    }

    /// At rest: who has which address, in the API and for pods.
    pub(super) fn addresses_hold(&self) -> Result<(), Broken> {
        let in_use = self.in_use();
        addresses::hold(self.api.objects(), &in_use).map_err(|(law, what)| self.broken(law, what))?;
        Ok(())
    }
}

fn pair(one: &Running, other: &Running) -> (String, String) {
    (one.container.clone(), other.container.clone())
}

fn words(from: &Running, to: &Running, what: &str) -> String {
    let end = |pod: &Running| format!("n{}/{} ({})", pod.node + 1, pod.pod, pod.addr);
    format!("{} → {} {what}", end(from), end(to))
}

/// The addresses that a Node says its tunnels have, with their handles.
pub(super) fn address(object: &Object) -> Vec<(IpAddr, String)> {
    let addresses = tunnel_addresses(object).into_iter();
    addresses.map(|(addr, tunnel)| (addr, tunnel.handle(&object.metadata().name))).collect()
}

/// The addresses that a Node says its tunnels have.
pub(super) fn tunnel_addresses(object: &Object) -> Vec<(IpAddr, Tunnel)> {
    let Object::Node(node) = object else { return Vec::new() };
    let tunnels = [
        (annotation::IPV4_IPIP_TUNNEL_ADDR, Tunnel::Ipip),
        (annotation::IPV4_VXLAN_TUNNEL_ADDR, Tunnel::Vxlan),
    ];
    let said = tunnels
        .iter()
        .filter_map(|(name, tunnel)| Some((node.metadata.annotations.get(*name)?.parse().ok()?, *tunnel)));
    said.collect()
}
