//! A node that is paused, as a virtual machine is or a process that is stopped: its clocks go on and its kernel forwards, but
//! its agent, its speaker and its kubelet get nothing done. What happened to them meanwhile comes when it goes on, in order.

use super::carry::Happening;
use super::speakers::{Talk, Who};
use super::{Broken, Machines};

impl Machines {
    /// What happens now, unless it happens to a node that is paused.
    pub(super) fn unless_paused(&mut self, happening: Happening) -> Option<Happening> {
        let Some(node) = self.process_of(&happening) else { return Some(happening) };
        match &mut self.machines[node].held {
            Some(held) => {
                held.push(happening);
                None
            }
            None => Some(happening),
        }
    }

    /// The node whose processes have to do something with it.
    fn process_of(&self, happening: &Happening) -> Option<usize> {
        match happening {
            Happening::Wake { node, .. }
            | Happening::Hear { node, .. }
            | Happening::Write { node, .. }
            | Happening::Read { node, .. }
            | Happening::File { node, .. }
            | Happening::List { node, .. }
            | Happening::Tell { node, .. } => Some(*node),
            Happening::Kubelet(pod) => Some(self.pods.get(pod)?.node),
            Happening::Talk(talk) => {
                let who = match talk {
                    Talk::Wake { who, .. } | Talk::Dialled { who, .. } | Talk::Accepted { who, .. } => *who,
                    Talk::Read { line, end } | Talk::Room { line, end } | Talk::Farewell { line, end } => {
                        self.speakers.lines.who(*line, *end)?
                    }
                };
                match who {
                    Who::Node(node) => Some(node),
                    Who::Router => None,
                }
            }
            Happening::Start { .. } | Happening::Arrive { .. } | Happening::Admin(_) => None,
        }
    }

    pub(super) fn pause(&mut self, node: usize) {
        if self.machines[node].agent.is_none() {
            return;
        }
        self.disturbed = true;
        self.speakers.lines.are_slow_to_heal = true;
        let others = (0..self.machines.len()).map(Who::Node).chain([Who::Router]);
        for other in others.collect::<Vec<_>>() {
            self.speakers.lines.mar(Who::Node(node), other);
        }
        self.machines[node].held.get_or_insert_default();
    }

    pub(super) fn resume(&mut self, node: usize) -> Result<(), Broken> {
        let Some(held) = self.machines[node].held.take() else { return Ok(()) };
        self.kubelet_hears_of_start(node);
        for happening in held {
            self.happen(happening)?;
            self.hold()?;
        }
        Ok(())
    }
}
