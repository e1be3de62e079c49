//! What the API server tells a node: lists, and changes that each watcher hears of in its own time.

use super::carry::Happening;
use super::{Broken, Machines};
use model::Duration;
use model::store::{Event, Kind, Object};
use node::Input;

/// How long a watcher that finds nobody waits.
const AGAIN: Duration = Duration::from_millis(200);

impl Machines {
    /// Whether a node reaches the API server.
    pub(super) fn reaches_api(&self, node: usize) -> bool {
        self.api_is_up && !self.isolated.contains(&node)
    }

    /// Lets every watcher of a kind hear of a change, each in its own time.
    pub(super) fn announce(&mut self, kind: Kind) {
        for node in 0..self.machines.len() {
            let life = self.machines[node].life;
            let span = self.span(self.faults.pace.watch);
            self.queue.push(span, Happening::Tell { node, life, kind });
        }
    }

    pub(super) fn list(&mut self, node: usize, life: u64, kind: Kind) -> Result<(), Broken> {
        if self.alive(node, life).is_none() {
            return Ok(());
        }
        if !self.reaches_api(node) {
            self.queue.push(AGAIN, Happening::List { node, life, kind });
            return Ok(());
        }
        // Read through a quorum: as new as can be.
        let at = self.api.revision();
        let event = match self.api.list(kind, at) {
            Event::Listed(kind, mut objects) => {
                objects.retain(|object| self.concerns(node, object));
                Event::Listed(kind, objects)
            }
            other => other,
        };
        self.machines[node].told.insert(kind, at);
        self.machines[node].listed.insert(kind);
        self.say(format!("n{} lists {kind:?} of revision {}", node + 1, at.0));
        self.input(node, Input::Api(event))
    }

    /// Of pods, a node watches its own.
    fn concerns(&self, node: usize, object: &Object) -> bool {
        match object {
            Object::Pod(pod) => pod.spec.node_name.as_ref() == Some(&self.machines[node].name),
            _ => true,
        }
    }

    pub(super) fn tell(&mut self, node: usize, life: u64, kind: Kind) -> Result<(), Broken> {
        if self.alive(node, life).is_none() {
            return Ok(());
        }
        let Some(told) = self.machines[node].told.get(&kind).copied() else { return Ok(()) };
        if !self.reaches_api(node) {
            self.queue.push(AGAIN, Happening::Tell { node, life, kind });
            return Ok(());
        }
        if self.faults.breaks_watch(node) {
            let span = self.span(self.faults.pace.watch);
            self.queue.push(span, Happening::List { node, life, kind });
            let error = "connection reset by peer".to_owned();
            return self.input(node, Input::Api(Event::Failed { kind, error }));
        }
        let Some((revision, event)) = self.api.next(kind, told) else { return Ok(()) };
        self.machines[node].told.insert(kind, revision);
        if let Event::Put(object) = &event
            && !self.concerns(node, object)
        {
            return Ok(());
        }
        self.say(format!("n{} hears of {kind:?}, revision {}", node + 1, revision.0));
        self.input(node, Input::Api(event))
    }
}
