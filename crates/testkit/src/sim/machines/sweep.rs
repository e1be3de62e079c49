//! How a run ends: rest, then what must hold of a cluster at rest.

use super::carry::Happening;
use super::laws::tunnel_addresses;
use super::{Admin, FakeKernel, Machines, router_of};
use crate::sim::{Broken, Faults, Queue, Rng, laws as addresses};
use ::kernel::{Key, LinkKind, Netns, Objects, Value};
use derive::IpipDriver;
use model::Duration;
use model::store::Object;
use model::v3::EncapMode;

/// Within this time after the last fault a cluster is at rest.
const REST: Duration = Duration::from_secs(200);
/// And after this one, where a connection was swallowed or is not read: its ends wait for their hold timers, which are BIRD's.
const HOLD: Duration = Duration::from_secs(500);
/// For so long nothing is written at rest: ten times the longest timer of a node without a fault.
const SILENCE: Duration = Duration::from_secs(900);

impl Machines {
    /// Ends all faults, lets the cluster come to rest, and asks what must hold then.
    pub fn come_to_rest(&mut self) -> Result<(), Broken> {
        self.settle()?;
        self.sessions_agree()?;
        self.silent()?;
        self.like_new()
    }

    /// Ends all faults; within a while nothing is pending, and every pod reaches every other.
    pub fn settle(&mut self) -> Result<(), Broken> {
        self.faults.heal();
        let cuts: Vec<(usize, usize)> = self.cut.iter().copied().collect();
        for (a, b) in cuts {
            self.administer(Admin::Mend(a, b))?;
        }
        self.api_is_up = true;
        self.isolated.clear();
        for node in 0..self.machines.len() {
            self.resume(node)?;
        }
        for node in 0..self.machines.len() {
            self.queue.push(Duration::ZERO, Happening::Start { node });
        }
        self.run_for(if self.speakers.lines.are_slow_to_heal { HOLD } else { REST })?;
        let pending = self.pending();
        if !pending.is_empty() {
            return Err(self.broken("liveness", pending.join("; ")));
        }
        self.addresses_hold()?;
        self.connected()
    }

    /// What a node's condition `PoolModeUnavailable` says; `None`: it never had one.
    pub fn pool_modes(&self, node: usize) -> Option<String> {
        let own = self.api.objects().find_map(|object| match object {
            Object::Node(own) if own.metadata.name == self.machines[node].name => Some(own),
            _ => None,
        })?;
        let said = own.status.conditions.iter().find(|said| said.condition_type == "PoolModeUnavailable");
        said.map(|said| said.status.clone())
    }

    /// What is not done, in words.
    pub fn pending(&self) -> Vec<String> {
        let mut pending = Vec::new();
        for machine in self.machines.iter().filter(|machine| !machine.is_gone) {
            let name = &machine.name;
            let Some(agent) = &machine.agent else {
                pending.push(format!("{name} does not start"));
                continue;
            };
            let status = agent.status();
            pending.extend((!status.ready).then(|| format!("{name} is not ready")));
            pending.extend(status.waiting_for.iter().map(|kind| format!("{name} waits for {kind}")));
            // A full pool is a reason, and so are a router that does not know the way and a node without IP in IP.
            let is_honest = |problem: &&String| {
                problem.contains("No IPs available")
                    || problem.contains("is in another subnet and the pool wants no encapsulation")
                    || problem.contains("for which this node has no driver")
            };
            let problems = status.problems.iter().filter(|problem| !is_honest(problem));
            pending.extend(problems.map(|problem| format!("{name}: {problem}")));
            pending.extend(machine.plans.iter().map(|_| format!("{name}: a plan is in flight")));
        }
        for (name, pod) in self.pods.iter().filter(|(_, pod)| !self.machines[pod.node].is_gone) {
            let runs = pod.sandbox.as_ref().is_some_and(|sandbox| sandbox.addr.is_some());
            let is_full = pod.error.as_ref().is_some_and(|error| error.contains("No IPs available"));
            if pod.wanted && !runs && !is_full {
                pending.push(format!("pod {name} does not run: {:?}", pod.error));
            }
            pending.extend((!pod.ending.is_empty()).then(|| format!("a sandbox of {name} is not deleted")));
        }
        pending
    }

    /// Every pair of pods that the mode allows.
    fn connected(&mut self) -> Result<(), Broken> {
        if self.is_exhausted() {
            return Ok(());
        }
        let running = self.running();
        let needs_router = self.wants_direct() && !self.bgp;
        let underlay = self.underlay();
        for from in &running {
            for to in running.iter().filter(|to| to.container != from.container) {
                let near = self.subnet_of(from.node) == self.subnet_of(to.node);
                if needs_router && !near {
                    continue;
                }
                let at_most = underlay.largest(to.node, to.space, to.addr);
                let end = underlay.from_pod(from.node, from.space, (from.addr, to.addr), at_most);
                if end != (super::End::Delivered { node: to.node, space: to.space }) {
                    let what = format!("at rest {} does not reach {}: {end}", from.pod, to.pod);
                    return Err(self.broken("liveness", what));
                }
            }
        }
        Ok(())
    }

    /// Some node has no address left for its tunnel.
    fn is_exhausted(&self) -> bool {
        let agents = self.machines.iter().filter_map(|machine| machine.agent.as_ref());
        agents.flat_map(|agent| agent.status().problems).any(|problem| problem.contains("No IPs available"))
    }

    fn subnet_of(&self, node: usize) -> model::Cidr {
        self.machines[node].kernel.addr().subnet()
    }

    /// Some pool wants no encapsulation at all.
    fn wants_direct(&self) -> bool {
        self.api.objects().any(|object| match object {
            Object::IpPool(pool) => {
                pool.spec.ipip_mode == EncapMode::Never && pool.spec.vxlan_mode == EncapMode::Never
            }
            _ => false,
        })
    }

    fn silent(&mut self) -> Result<(), Broken> {
        if self.is_exhausted() {
            // Whoever lacks an address asks again.
            return Ok(());
        }
        let (revision, effects, updates) = (self.api.revision(), self.effects(), self.speakers.updates);
        self.run_for(SILENCE)?;
        if self.api.revision() != revision || self.effects() != effects || self.speakers.updates != updates {
            let what = format!(
                "at rest {} objects were written, {} things done and {} UPDATEs sent",
                self.api.revision().0 - revision.0,
                self.effects() - effects,
                self.speakers.updates - updates
            );
            return Err(self.broken("silence", what));
        }
        Ok(())
    }

    /// The kernels are those of agents that find the same objects, pods and files, and an empty kernel.
    fn like_new(&mut self) -> Result<(), Broken> {
        let far = (1..self.machines.len()).any(|node| self.subnet_of(node) != self.subnet_of(0));
        if self.wants_direct() && far && !self.bgp || self.is_exhausted() || self.keeps_tunnel_address() {
            // Without a router's path the old way is kept, which a new kernel does not know.
            return Ok(());
        }
        let mut twin = self.twin();
        twin.run_for(REST).map_err(|broken| self.broken("likeness", broken.to_string()))?;
        for (ours, new) in self.machines.iter().zip(&twin.machines).filter(|(ours, _)| !ours.is_gone) {
            let (have, want) = (settled(ours.kernel.objects()), settled(new.kernel.objects()));
            if let Some(what) = difference(&have, &want) {
                return Err(self.broken("likeness", format!("{}: {what}", ours.name)));
            }
        }
        Ok(())
    }

    /// Some node keeps the address of a tunnel whose pool wants that tunnel no more: a new agent takes another one, from a
    /// pool that does.
    fn keeps_tunnel_address(&self) -> bool {
        let pools: Vec<_> = self
            .api
            .objects()
            .filter_map(|object| match object {
                Object::IpPool(pool) => Some(&pool.spec),
                _ => None,
            })
            .collect();
        self.api
            .objects()
            .flat_map(tunnel_addresses)
            .any(|(addr, tunnel)| !pools.iter().any(|pool| pool.cidr.contains(addr) && tunnel.runs_in(pool)))
    }

    fn twin(&self) -> Machines {
        let mut twin = Machines::cluster(0, 0, &[IpipDriver::Kernel]);
        twin.api = self.api.clone();
        twin.queue = Queue::new(Rng::stream(0, "ties"));
        twin.faults = Faults::none();
        twin.disturbed = true;
        twin.bgp = self.bgp;
        for (index, machine) in self.machines.iter().enumerate() {
            let addr = machine.kernel.addr();
            let mut kernel =
                FakeKernel::boot(addr, router_of(addr.subnet()), machine.ipip == Some(IpipDriver::Kernel));
            let pods = self.pods.values().filter(|pod| pod.node == index);
            pods.filter_map(|pod| pod.sandbox.as_ref()).for_each(|sandbox| kernel.make_space(sandbox.space));
            twin.machines.push(super::Machine {
                name: machine.name.clone(),
                kernel,
                files: machine.files.clone(),
                agent: None,
                life: 0,
                boot: machine.boot,
                ahead: machine.ahead,
                ipip: machine.ipip,
                told: Default::default(),
                listed: Default::default(),
                ear: model::Instant::ZERO,
                plans: [].into(),
                wakes_at: None,
                clock: machine.clock,
                held: None,
                is_gone: machine.is_gone,
            });
            twin.queue.push(Duration::from_millis(1), Happening::Start { node: index });
        }
        twin
    }
}

/// The node's own objects; what is on the kernel's `tunl0`, which stays, aside.
fn settled(objects: &Objects) -> Objects {
    let stays =
        objects.values().any(|value| matches!(value, Value::Link(link) if link.kind == LinkKind::Ipip));
    let own = objects.iter().filter(|(key, _)| key.netns() == Netns::Host);
    own.filter(|(key, _)| {
        !stays
            || match key {
                Key::Link(key) => key.name.as_str() != "tunl0",
                Key::Sysctl(key) => !key.path.contains("tunl0"),
                _ => true,
            }
    })
    .map(|(key, value)| (key.clone(), value.clone()))
    .collect()
}

fn difference(have: &Objects, want: &Objects) -> Option<String> {
    let all = have.keys().chain(want.keys());
    let mut differ = all.filter(|key| have.get(key) != want.get(key));
    let key = differ.next()?;
    let words = |value: Option<&Value>| value.map_or("nothing".to_owned(), ToString::to_string);
    Some(format!("{key} is {}, new agents make {}", words(have.get(key)), words(want.get(key))))
}

/// `ipam::check` at the end of a run that deleted everything.
impl Machines {
    /// Addresses and handles that nobody can account for, in words.
    pub fn leaks(&self) -> Vec<String> {
        let problems = addresses::problems(self.api.objects(), &self.in_use());
        problems.iter().map(ToString::to_string).collect()
    }
}
