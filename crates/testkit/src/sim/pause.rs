//! A machine that is paused: its clocks go on, and it gets nothing done. What happened to it meanwhile comes when it goes on.

use super::Sim;
use super::simulation::Happening;
use model::Duration;

impl Sim {
    /// What happens now, unless it happens to a machine that is paused.
    pub(super) fn unless_paused(&mut self, happening: Happening) -> Option<Happening> {
        let Some(node) = self.process_of(&happening) else { return Some(happening) };
        match &mut self.nodes[node].held {
            Some(held) => {
                held.push(happening);
                None
            }
            None => Some(happening),
        }
    }

    /// The machine that has to do something with it.
    fn process_of(&self, happening: &Happening) -> Option<usize> {
        match happening {
            Happening::Answer { node, .. }
            | Happening::Tell { node, .. }
            | Happening::List { node, .. }
            | Happening::Wake { node, .. }
            | Happening::Turn { node, .. }
            | Happening::Turned { node, .. } => Some(*node),
            Happening::AddPod(pod) | Happening::DelPod(pod) | Happening::CancelAdd(pod) => {
                Some(self.kubelets.pods.get(pod)?.node)
            }
            _ => None,
        }
    }

    pub(super) fn pause(&mut self, node: usize) {
        if self.nodes[node].mind.is_some() {
            self.say(format!("{} is paused", self.nodes[node].name));
            self.nodes[node].held.get_or_insert_default();
        }
    }

    pub(super) fn resume(&mut self, node: usize) {
        let Some(held) = self.nodes[node].held.take() else { return };
        self.say(format!("{} goes on", self.nodes[node].name));
        for (nth, happening) in held.into_iter().enumerate() {
            self.queue.push(Duration::from_micros(nth as u64), happening);
        }
    }
}
