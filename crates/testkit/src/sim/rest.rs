//! How a run ends: rest, then what must hold of a cluster at rest.

use super::Sim;
use super::laws::{self, Broken};
use super::mind::Mind;
use super::simulation::{Happening, Node};
use ipam::check::Problem;

impl Sim {
    /// Ends all faults and lets the cluster come to rest.
    pub(super) fn come_to_rest(&mut self) -> Result<(), Broken> {
        self.faults.heal();
        (0..self.nodes.len()).for_each(|node| self.resume(node));
        // A collector looks for ever. Two looks that find nothing to do are its rest.
        let mut calm_since = None;
        while !self.queue.is_empty() {
            calm_since = self.is_calm().then(|| calm_since.unwrap_or(self.looks));
            if calm_since.is_some_and(|since| self.looks - since >= 2) {
                break;
            }
            self.step()?;
        }
        let pending: Vec<String> = self.nodes.iter().filter_map(Node::pending).collect();
        if !pending.is_empty() {
            return Err(self.broken("liveness", pending.join("; ")));
        }
        let mut problems = laws::problems(self.api.objects(), &self.in_use());
        problems.retain(|problem| !self.excused(problem));
        match problems.as_slice() {
            [] => Ok(()),
            _ => {
                let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
                Err(self.broken("cleanness", texts.join("; ")))
            }
        }
    }

    /// Whether somebody collects.
    pub(super) fn collects(&self) -> bool {
        self.nodes.iter().any(|node| node.collects)
    }

    /// Nothing is to happen but looks of the one collector that works, which found nothing to do, and turns.
    fn is_calm(&self) -> bool {
        let collects = |node: &usize| self.nodes[*node].collects;
        let only_looks = self.queue.events().all(|happening| match happening {
            Happening::Wake { node, .. } => collects(node),
            Happening::Turn { .. } | Happening::Turned { .. } => true,
            _ => false,
        });
        let mut working = self.nodes.iter().filter(|node| node.claim.leads);
        let (Some(node), None) = (working.next(), working.next()) else { return false };
        match &node.mind {
            Some(Mind::Collector(collector)) => {
                only_looks && node.wakes_at.is_some() && collector.account().candidates == 0
            }
            _ => false,
        }
    }

    /// What may be left when everything rests, though it looks like a leak.
    fn excused(&self, problem: &Problem) -> bool {
        match problem {
            // A creation that arrives after its caller has given up and looked leaves an empty handle: no compare-and-swap
            // can exclude that, and it holds no address. The collector removes it.
            Problem::EmptyHandle { handle } => !self.collects() && self.strays.contains(handle),
            // A pod whose sandbox was forgotten, and that got no other, still shows the old one's address.
            Problem::NotInUse { owner, .. } => self.kubelets.is_stranded(owner),
            _ => false,
        }
    }
}

impl Node {
    fn pending(&self) -> Option<String> {
        match &self.mind {
            None if self.is_lost => None,
            None => Some(format!("{} does not start", self.name)),
            Some(Mind::Collector(_)) => None,
            Some(Mind::Allocator(allocator)) => {
                let pending = allocator.pending();
                (!pending.is_empty()).then(|| format!("{}: {}", self.name, pending.join(", ")))
            }
        }
    }
}
