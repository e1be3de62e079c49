//! The words in which a case is written: what there is, what happens, what is expected.

use super::faults::{Fate, What};
use super::kubelet::Pod;
use super::simulation::{Clock, Happening};
use super::{Sim, Verb, laws};
use model::store::{Kind, Object};
use model::v3::{
    AllowedUse, AssignmentMode, EncapMode, IpPool, IpPoolSpec, IpReservation, IpReservationSpec,
    IpamConfiguration, IpamConfigurationSpec,
};
use model::{Cidr, Duration, IfAddr, Metadata};
use std::net::IpAddr;

impl Sim {
    /// Adds a pool, named after its number, with blocks of this prefix length.
    pub fn pool(mut self, cidr: &str, block_size: u8) -> Sim {
        let count = self.api.objects().filter(|o| o.kind() == Kind::IpPool).count();
        let spec = IpPoolSpec {
            cidr: cidr.parse().expect("a CIDR"),
            vxlan_mode: EncapMode::Always,
            ipip_mode: EncapMode::Never,
            nat_outgoing: true,
            disabled: false,
            disable_bgp_export: false,
            block_size,
            node_selector: "all()".to_owned(),
            namespace_selector: String::new(),
            allowed_uses: vec![AllowedUse::Workload, AllowedUse::Tunnel],
            assignment_mode: AssignmentMode::Automatic,
            rest: Default::default(),
        };
        let pool = IpPool { metadata: Metadata::named(format!("pool-{}", count + 1)), spec };
        self.put(pool.into());
        self
    }

    /// Sets the IPAM configuration.
    pub fn configuration(mut self, spec: IpamConfigurationSpec) -> Sim {
        self.put(IpamConfiguration { metadata: Metadata::named("default"), spec }.into());
        self
    }

    /// Reserves the network of an address.
    pub fn reservation(mut self, cidr: &str) -> Sim {
        let network = cidr.parse::<IfAddr>().expect("an address and a length").subnet();
        let spec = IpReservationSpec { reserved_cidrs: vec![network] };
        self.put(IpReservation { metadata: Metadata::named("reserved"), spec }.into());
        self
    }

    /// Lets the clocks on the nodes' walls run so many times as fast, each so many seconds ahead of the one before.
    pub fn clock(mut self, speed: u64, skew: u64) -> Sim {
        self.clock = Clock { speed, skew };
        self
    }

    /// Every node wants an address for its VXLAN device.
    pub fn tunnels(mut self) -> Sim {
        self.tunnels = true;
        self
    }

    /// The API server's faults.
    pub fn api(&mut self) -> ApiWords<'_> {
        ApiWords { sim: self }
    }

    /// A pod, by name.
    pub fn pod(&mut self, name: &str) -> PodWords<'_> {
        PodWords { sim: self, name: name.to_owned(), node: 0, given: None }
    }

    /// A node, by name.
    pub fn node(&mut self, name: &str) -> NodeWords<'_> {
        let index = self.nodes.iter().position(|node| node.name == name).expect("a node of the cluster");
        NodeWords { sim: self, index }
    }

    /// This befalls the `n`th request, or the node that makes it.
    pub fn befall(&mut self, n: u64, what: What) {
        self.faults.at = Some((n, what));
    }

    /// All blocks that there are.
    pub fn blocks(&self) -> Vec<Cidr> {
        let blocks = self.api.objects().filter_map(|object| match object {
            Object::IpamBlock(b) => Some(b.spec.cidr),
            _ => None,
        });
        blocks.collect()
    }

    /// Lets things happen until so many requests were sent.
    pub fn run_until_effect(&mut self, n: u64) -> &mut Sim {
        while self.effects < n && !self.queue.is_empty() {
            self.step().unwrap_or_else(|broken| panic!("{broken}"));
        }
        self
    }

    /// The collector that works, by name, if one does.
    pub fn leader(&self) -> Option<String> {
        self.nodes.iter().find(|node| node.claim.leads).map(|node| node.name.clone())
    }

    /// Lets time pass. A broken law is a panic that tells the story.
    pub fn run_for(&mut self, span: Duration) -> &mut Sim {
        let end = self.queue.now() + span;
        while self.queue.next_at().is_some_and(|at| at <= end) {
            self.step().unwrap_or_else(|broken| panic!("{broken}"));
        }
        self.queue.advance(end);
        self
    }

    /// Ends all faults and lets the cluster come to rest; then nothing is pending and nothing has leaked.
    pub fn settle(&mut self) -> &mut Sim {
        self.come_to_rest().unwrap_or_else(|broken| panic!("{broken}"));
        self
    }

    /// The address is `pod`'s.
    pub fn expect_owner(&mut self, addr: &str, pod: &str) -> &mut Sim {
        let addr: IpAddr = addr.parse().expect("an address");
        let found = self
            .kubelets
            .running()
            .find(|(a, _)| *a == addr)
            .map(|(_, h)| self.kubelets.sandboxes[h].pod.as_str());
        assert_eq!(found, Some(pod), "the owner of {addr}; {:#?}", self.trace.last());
        self
    }

    /// The pod has no address, and the reason contains `why`.
    pub fn expect_failed(&mut self, pod: &str, why: &str) -> &mut Sim {
        assert_eq!(self.kubelets.sandbox_of(pod), None, "{pod} runs");
        let error = self.kubelets.pods[pod].error.clone().unwrap_or_default();
        assert!(error.contains(why), "{pod}: {error}");
        self
    }

    /// No address and no handle is left but those of running pods and tunnels.
    pub fn expect_clean(&mut self) -> &mut Sim {
        let problems = laws::problems(self.api.objects(), &self.in_use());
        assert_eq!(problems, Vec::new(), "{:#?}", self.trace.last());
        self
    }
}

/// What can be said of the API server.
pub struct ApiWords<'a> {
    sim: &'a mut Sim,
}

impl ApiWords<'_> {
    /// The `nth` such request from now on is carried out, and its answer lost.
    pub fn lose_answer_of(self, nth: usize, verb: Verb, kind: Kind) {
        self.sim.faults.demand(nth, verb, kind, Fate::AnswerLost);
    }
}

/// What can be said of a pod.
pub struct PodWords<'a> {
    sim: &'a mut Sim,
    name: String,
    node: usize,
    given: Option<IpAddr>,
}

impl PodWords<'_> {
    /// Its node.
    pub fn on(mut self, node: &str) -> Self {
        self.node = self.sim.nodes.iter().position(|n| n.name == node).expect("a node of the cluster");
        self
    }

    /// The address that it asks for.
    pub fn at(mut self, addr: &str) -> Self {
        self.given = Some(addr.parse().expect("an address"));
        self
    }

    /// Its kubelet adds it, as soon as the node runs.
    pub fn add(self) {
        let pod = Pod { node: self.node, given: self.given, wanted: true, tries: 0, error: None };
        self.sim.kubelets.pods.insert(self.name.clone(), pod);
        self.sim.queue.push(Duration::from_millis(10), Happening::AddPod(self.name));
    }

    /// Its kubelet deletes it.
    pub fn del(self) {
        self.sim.queue.push(Duration::from_millis(10), Happening::DelPod(self.name));
    }
}

/// What can be said of a node.
pub struct NodeWords<'a> {
    sim: &'a mut Sim,
    index: usize,
}

impl NodeWords<'_> {
    /// Its agent dies now and starts again after a while.
    pub fn crash(self) {
        self.sim.crash(self.index);
    }

    /// It gets nothing done from now on.
    pub fn pause(self) {
        self.sim.pause(self.index);
    }

    /// It goes on.
    pub fn resume(self) {
        self.sim.resume(self.index);
    }

    /// It is gone for good, and after a while its object and those of its pods.
    pub fn lose(self) {
        self.sim.lose_node(self.index);
        self.sim.queue.push(Duration::from_millis(100), Happening::DeleteNode { node: self.index });
        let pods = self.sim.kubelets.pods.iter().filter(|(_, pod)| pod.node == self.index);
        let pods: Vec<String> = pods.map(|(name, _)| name.clone()).collect();
        for pod in pods {
            self.sim.queue.push(Duration::from_millis(3_000), Happening::DeletePod(pod));
        }
    }

    /// It is installed anew.
    pub fn wipe(self) {
        self.sim.wipe_node(self.index);
    }

    /// Its blocks.
    pub fn blocks(self) -> Vec<Cidr> {
        let name = self.sim.nodes[self.index].name.clone();
        let blocks = self.sim.api.objects().filter_map(|object| match object {
            Object::IpamBlock(b) if ipam::block::owner(&b.spec) == Some(&name) => Some(b.spec.cidr),
            _ => None,
        });
        blocks.collect()
    }
}
