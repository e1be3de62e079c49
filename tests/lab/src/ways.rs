//! The ways that packets take through a cluster, sampled all at once while something else happens.
//!
//! ```text
//!   outside, no node ────► pod of master2 ◄───► pod of master1 ◄───► pod beside it
//!                          node master2 ──────►      │
//!                          node master1 ──────►      │
//!                          node master2 ◄────────────┘
//! ```
//!
//! What an end listens on is answered on every way, so that each is a way back too.

use crate::{Lab, PODS};
use std::net::IpAddr;
use testkit::netns::Netns;
use testkit::sampler::{Place, Sampler};

/// The pod beside that of master1.
const BESIDE: &str = "beside";
/// Of the machine that is no node.
const OUTSIDE: &str = "192.168.50.97";

/// Samplers that run, each with the name of its way.
pub struct Ways<'a> {
    lab: &'a Lab,
    running: Vec<(&'static str, Sampler)>,
    /// The machine that is no node, and with it the pod beside that of master1.
    others: Option<Netns>,
}

impl Lab {
    /// A node as an end of the sampler, with the address that others know it by.
    ///
    /// # Panics
    /// If its uplink has none.
    pub fn host(&self, node: &str) -> Place {
        let shown = self.exec(node, "ip -4 -o address show dev ens192 scope global");
        let addr = shown.split_whitespace().nth(3).and_then(|addr| addr.split('/').next());
        let addr = addr.and_then(|addr| addr.parse::<IpAddr>().ok()).expect("a node has an address");
        Place { netns: self.netns(node), addr }
    }

    /// A machine on the nodes' subnet that knows the way to a pod of a node, as an end of the sampler.
    ///
    /// # Panics
    /// If it cannot be joined to the subnet.
    pub fn outside(&self, node: &Place, pod: &Place) -> (Netns, Place) {
        let outside = self.stranger(&format!("{OUTSIDE}/24"));
        outside.run(&format!("ip route add {} via {}", pod.addr, node.addr));
        let place = Place { netns: outside.path().into(), addr: OUTSIDE.parse().expect("an address") };
        (outside, place)
    }

    /// Samples every way until the answer is stopped.
    ///
    /// # Panics
    /// If an end cannot be made.
    pub fn sample_every_way(&self) -> Ways<'_> {
        // Nodes that just came up ask for each other's MAC; an answer that is lost is asked for again a second later.
        self.ping_all(&PODS);
        let [one, two, _] = PODS.map(|(node, pod, _)| self.place(node, pod));
        let (here, there) = (self.host(PODS[0].0), self.host(PODS[1].0));
        self.verb(&["pod", "add", BESIDE, "--node", PODS[0].0]);
        let beside = self.place(PODS[0].0, BESIDE);
        let (netns, outside) = self.outside(&there, &two);
        let ways = [
            ("between pods of two nodes", &one, &two),
            ("between pods of one node", &one, &beside),
            ("from a node to its own pod", &here, &one),
            ("from a node to another node's pod", &there, &one),
            ("from a pod to another node", &one, &there),
            ("from outside to a pod", &outside, &two),
        ];
        let running = ways.map(|(name, a, b)| (name, Sampler::start(a, b))).into();
        Ways { lab: self, running, others: Some(netns) }
    }

    /// Samples, until the answer is stopped, the ways between two nodes that need nothing else: the pods of both, and the one's
    /// pod and the other node.
    ///
    /// # Panics
    /// If an end cannot be made.
    pub fn sample_pods_and_nodes(&self) -> Ways<'_> {
        let [(near, first, _), (far, second, _), _] = PODS;
        let (one, two, there) = (self.place(near, first), self.place(far, second), self.host(far));
        self.ping(&format!("{near}/{first}"), &two.addr.to_string());
        let ways = [
            ("between pods of two nodes", &one, &two),
            ("from a node to another node's pod", &there, &one),
            ("from a pod to another node", &one, &there),
        ];
        let running = ways.map(|(name, a, b)| (name, Sampler::start(a, b))).into();
        Ways { lab: self, running, others: None }
    }
}

impl Ways<'_> {
    /// Ends the run: nothing was lost on any way.
    ///
    /// # Panics
    /// Otherwise, with the way and what was seen on it.
    pub fn nothing_was_lost(self) {
        let (ways, samplers): (Vec<_>, Vec<_>) = self.running.into_iter().unzip();
        for (way, report) in ways.into_iter().zip(Sampler::stop_all(samplers)) {
            println!("{way}\n{report}");
            report.assert_nothing_lost();
        }
        if self.others.is_some() {
            self.lab.verb(&["pod", "delete", BESIDE]);
        }
    }
}
