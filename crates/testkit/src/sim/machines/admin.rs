//! What administrators and the world do to a cluster.

use super::carry::Happening;
use super::speakers::Who;
use super::{Broken, FakeKernel, Machines, router_of};
use ::kernel::{Key, Netns, ours};
use derive::IpipDriver;
use model::store::{Key as Name, Kind, Object, Request};
use model::v3::{EncapMode, IpPool, IpPoolSpec};
use model::{Duration, Metadata};
use serde::{Deserialize, Serialize};

/// What a pool wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    Ipip,
    IpipCrossSubnet,
    Vxlan,
    VxlanCrossSubnet,
    Direct,
}

impl Mode {
    pub const ALL: [Mode; 5] =
        [Mode::Ipip, Mode::IpipCrossSubnet, Mode::Vxlan, Mode::VxlanCrossSubnet, Mode::Direct];

    fn set(self, spec: &mut IpPoolSpec) {
        use EncapMode::{Always, CrossSubnet, Never};
        (spec.ipip_mode, spec.vxlan_mode) = match self {
            Mode::Ipip => (Always, Never),
            Mode::IpipCrossSubnet => (CrossSubnet, Never),
            Mode::Vxlan => (Never, Always),
            Mode::VxlanCrossSubnet => (Never, CrossSubnet),
            Mode::Direct => (Never, Never),
        };
    }
}

/// An act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Admin {
    /// A pod of this number is wanted on a node, or no more.
    AddPod(u32, usize),
    DeletePod(u32),
    /// Of every pool, or of one, in the order of their names.
    SetMode(Mode),
    SetModeOf(usize, Mode),
    /// A node joins: in which subnet, with which driver.
    Join(usize, IpipDriver),
    /// A node is switched off and its Node deleted.
    Remove(usize),
    Crash(usize),
    Reboot(usize),
    /// The node gets another address, and its agent starts anew.
    Readdress(usize),
    /// No packet passes between two nodes, or does again.
    Cut(usize, usize),
    Mend(usize, usize),
    ApiDown,
    ApiUp,
    /// One node does not reach the API server any more, or does again.
    Isolate(usize),
    Rejoin(usize),
    /// Nobody gets a new address from a pool, in the order of their names, or does again.
    Disable(usize),
    Enable(usize),
    /// A node is switched off and its Node deleted, and an empty machine comes in its place under its name.
    Replace(usize),
    /// The clock on a node's wall steps by so many seconds.
    StepClock(usize, i64),
    /// A node's monotonic clock runs by so many thousandths faster from now on, or slower.
    Drift(usize, i64),
    /// A node's processes get nothing done any more, while its clocks go on, or do again.
    Pause(usize),
    Resume(usize),
    /// Somebody removes one of our objects: which, in the order of the keys, counted round.
    Meddle(usize, usize),
}

impl Machines {
    /// A pool, before the first start.
    pub fn pool(mut self, name: &str, cidr: &str, block_size: u8, mode: Mode) -> Machines {
        let spec = serde_json::json!({"cidr": cidr, "blockSize": block_size, "natOutgoing": true});
        let mut spec: IpPoolSpec = serde_json::from_value(spec).expect("it is a pool's");
        mode.set(&mut spec);
        self.laws.across_by_chance |= mode == Mode::Direct && !self.bgp;
        self.create(IpPool { metadata: Metadata::named(name), spec: spec.defaulted() }.into());
        self
    }

    /// Lets something be done `after` now.
    pub fn admin(&mut self, after: Duration, act: Admin) {
        self.queue.push(after, Happening::Admin(act));
    }

    pub(super) fn administer(&mut self, act: Admin) -> Result<(), Broken> {
        self.say(format!("{act:?}"));
        match act {
            Admin::AddPod(pod, node) => return self.want_pod(&format!("p{pod}"), node),
            Admin::DeletePod(pod) => return self.del_pod(&format!("p{pod}")),
            Admin::SetMode(mode) => self.set_mode(mode, |_| true),
            Admin::SetModeOf(pool, mode) => self.set_mode(mode, |n| n == pool),
            Admin::Join(subnet, ipip) => self.add_machine(subnet, Some(ipip)),
            Admin::Remove(node) => return self.remove_machine(node),
            Admin::Crash(node) if self.machines[node].agent.is_some() => self.crash(node),
            Admin::Reboot(node) if self.machines[node].agent.is_some() => self.reboot(node),
            Admin::Crash(_) | Admin::Reboot(_) => {}
            Admin::Readdress(node) => self.readdress(node),
            Admin::Cut(a, b) => {
                self.cut.insert((a, b));
                self.speakers.lines.mar(Who::Node(a), Who::Node(b));
                self.laws.excused.extend([a, b]);
                [a, b].into_iter().for_each(|node| self.excuse(node));
            }
            Admin::Mend(a, b) => {
                self.cut.remove(&(a, b));
                for node in [a, b].into_iter().filter(|node| !self.is_cut(*node)).collect::<Vec<_>>() {
                    self.laws.excused.remove(&node);
                    self.laws.touched(node);
                }
            }
            Admin::ApiDown => (self.api_is_up, self.disturbed) = (false, true),
            Admin::ApiUp => self.api_is_up = true,
            Admin::Isolate(node) => {
                self.isolated.insert(node);
                self.disturbed = true;
            }
            Admin::Rejoin(node) => _ = self.isolated.remove(&node),
            Admin::Disable(pool) => self.set_disabled(pool, true),
            Admin::Enable(pool) => self.set_disabled(pool, false),
            Admin::Replace(node) => return self.replace(node),
            Admin::StepClock(node, seconds) => self.machines[node].ahead += seconds,
            Admin::Drift(node, faster) => {
                let now = self.queue.now();
                self.machines[node].clock.set(now, faster);
            }
            Admin::Pause(node) => self.pause(node),
            Admin::Resume(node) => return self.resume(node),
            Admin::Meddle(node, which) => self.meddle(node, which),
        }
        Ok(())
    }

    fn is_cut(&self, node: usize) -> bool {
        self.cut.iter().any(|(a, b)| *a == node || *b == node)
    }

    fn set_mode(&mut self, mode: Mode, concerns: impl Fn(usize) -> bool) {
        self.laws.across_by_chance |= mode == Mode::Direct && !self.bgp;
        self.change_pools(concerns, |spec| mode.set(spec));
    }

    fn set_disabled(&mut self, pool: usize, disabled: bool) {
        self.change_pools(|n| n == pool, |spec| spec.disabled = disabled);
    }

    fn change_pools(&mut self, concerns: impl Fn(usize) -> bool, change: impl Fn(&mut IpPoolSpec)) {
        let pools = self.api.objects().filter(|object| object.kind() == Kind::IpPool);
        let pools: Vec<Object> =
            pools.enumerate().filter(|(n, _)| concerns(*n)).map(|(_, pool)| pool.clone()).collect();
        for object in pools {
            let Object::IpPool(mut pool) = object else { continue };
            change(&mut pool.spec);
            self.api.apply(&Request::Update(pool.into())).expect("it was just read");
            self.announce(Kind::IpPool);
        }
    }

    fn replace(&mut self, node: usize) -> Result<(), Broken> {
        let machine = &self.machines[node];
        if machine.is_gone {
            return Ok(());
        }
        let (name, ipip) = (machine.name.clone(), machine.ipip);
        let subnet = self.subnets().iter().position(|subnet| *subnet == machine.kernel.addr().subnet());
        self.remove_machine(node)?;
        self.add_machine_named(name, subnet.expect("a machine is in one of them"), ipip);
        Ok(())
    }

    fn remove_machine(&mut self, node: usize) -> Result<(), Broken> {
        if self.machines[node].is_gone {
            return Ok(());
        }
        self.excuse(node);
        self.fall_silent(node);
        if self.machines[node].agent.is_some() {
            self.crash(node);
        }
        self.machines[node].is_gone = true;
        self.machines[node].kernel =
            FakeKernel::boot(self.machines[node].kernel.addr(), self.router(node), false);
        let name = self.machines[node].name.clone();
        let pods: Vec<String> =
            self.pods.iter().filter(|(_, pod)| pod.node == node).map(|(name, _)| name.clone()).collect();
        for pod in pods {
            self.pods.remove(&pod);
            self.delete_object(Name::namespaced(Kind::Pod, "default", &pod))?;
        }
        self.instruct_router()?;
        self.delete_object(Name::cluster(Kind::Node, name))
    }

    fn router(&self, node: usize) -> std::net::IpAddr {
        router_of(self.machines[node].kernel.addr().subnet())
    }

    fn reboot(&mut self, node: usize) {
        self.excuse(node);
        self.fall_silent(node);
        self.crash(node);
        if self.bgp {
            self.laws.rebooted.insert(node);
        }
        let router = self.router(node);
        let machine = &mut self.machines[node];
        machine.boot += 1;
        machine.kernel =
            FakeKernel::boot(machine.kernel.addr(), router, machine.ipip == Some(IpipDriver::Kernel));
        self.kubelet_hears_of_reboot(node);
    }

    /// Somebody removes one of our objects.
    fn meddle(&mut self, node: usize, which: usize) {
        let ours: Vec<Key> = self.machines[node]
            .kernel
            .objects()
            .iter()
            .filter(|(key, value)| key.netns() == Netns::Host && ours(key, value))
            .filter(|(key, _)| !matches!(key, Key::Sysctl(_)))
            .filter(|(_, value)| !::kernel::stays(value))
            .map(|(key, _)| key.clone())
            .collect();
        if ours.is_empty() {
            return;
        }
        self.disturbed = true;
        let key = &ours[which % ours.len()];
        self.say(format!("somebody removes {key} of n{}", node + 1));
        self.excuse(node);
        self.machines[node].kernel.meddle(key);
        self.pass_notices(node);
    }
}
