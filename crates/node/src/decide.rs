//! From all that was handled to effects, in the order in which somebody waits for them: requests of the allocator, answers
//! of ADD, the derivation of what changed, the plan for the writer.

use crate::cluster::InSync;
use crate::effect::{Effect, Report};
use crate::facts::Lead;
use crate::node::Node;
use derive::{Encap, Section};
use kernel::route::TABLE_MAIN;
use kernel::{Key, Netns, RouteKey};
use model::Cidr;

impl Node {
    /// Works out what follows from all that was handled.
    pub(crate) fn decide(&mut self) {
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
        self.inherit(in_sync);
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
            match &lead {
                Some(Lead { encap: Encap::Vxlan, gateway, .. }) => self.world.sent.set_vtep(dst, *gateway),
                _ => self.world.sent.set(dst, lead.as_ref().map(|lead| lead.encap)),
            }
            if lead.is_some() && self.lacks_route(dst) {
                // It was being written while the wish changed. What packets go by now may have to stay.
                self.dirty.insert(Section::Routes);
            }
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

    /// Whether nothing is wanted to lead to a block, or to an address, that another node has.
    fn lacks_route(&self, dst: Cidr) -> bool {
        let is_known = self.world.blocks.contains_key(&dst)
            || dst.is_host() && self.world.borrowed.contains_key(&dst.addr());
        let key = RouteKey { netns: Netns::Host, table: TABLE_MAIN, dst, priority: 0 };
        let wanted = self.datapath.wants(Section::Routes);
        is_known && wanted.is_some_and(|wanted| !wanted.contains_key(&Key::Route(key)))
    }

    /// Until the speaker has selected, the way that a route of ours leads may be one that it gave.
    fn keep(&mut self, dst: Cidr, lead: Option<Lead>) {
        match lead.filter(|lead| lead.encap == Encap::Direct) {
            Some(lead) => self.world.hops.insert(dst, lead.gateways()),
            None => self.world.hops.remove(&dst),
        };
        self.learnt.insert(dst);
        if self.world.bgp.has_workload_peers() {
            // What was behind a pod may go on sending by it.
            self.dirty.insert(Section::Rules);
        }
    }

    /// Has what changed derived anew.
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
    fn program(&mut self, _: InSync) {
        let id = self.new_effect();
        if let Some(steps) = self.datapath.plan(self.now, id) {
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
}
