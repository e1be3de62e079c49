//! What is on its way in one run of `apply`: messages that wait for their batch, whose they are, and what became of each step.

use super::{Writer, closed};
use crate::encode;
use crate::message::Message;
use crate::socket::{BATCH, Refusal, Socket};
use failpoint::failpoint;
use kernel::{ApplyError, LinkKey, Netns, Outcome, Refused, Step};
use model::IfName;
use std::collections::BTreeMap;

/// One run of `apply`.
#[derive(Default)]
pub(super) struct Run<'a> {
    pub steps: &'a [Step],
    /// Which step is being carried out.
    pub step: usize,
    /// What became of each step: its first refusal, or success.
    pub results: Vec<Result<(), ApplyError>>,
    /// Messages that wait, all for one namespace, and whose they are.
    batch: Vec<Message>,
    pub whose: Vec<(usize, Tolerance)>,
    batch_netns: Option<Netns>,
    /// The batch makes or removes interfaces, so that their numbers are not known before it is sent.
    batch_has_links: bool,
    /// Asked for once in a run: an interface that somebody makes anew has another number.
    indexes: BTreeMap<Netns, BTreeMap<IfName, u32>>,
    /// The step that makes the pair whose far end is in a pod's namespace.
    pub pairs: BTreeMap<Netns, usize>,
    /// What was refused or left out, as far as the kernel has answered.
    pub refused: Refused,
}

/// Which refusals are as good as success.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tolerance {
    None,
    /// A removal: what is absent needs no removing.
    Absent,
}

impl Writer {
    /// Puts a message into the batch that concerns an interface itself.
    pub(super) fn enqueue_link(
        &mut self,
        run: &mut Run<'_>,
        link: &LinkKey,
        message: Message,
        tolerance: Tolerance,
    ) {
        self.enqueue(run, link.netns, message, tolerance);
        run.batch_has_links = true;
    }

    pub(super) fn enqueue(
        &mut self,
        run: &mut Run<'_>,
        netns: Netns,
        message: Message,
        tolerance: Tolerance,
    ) {
        if run.batch.len() == BATCH || run.batch_netns != Some(netns) {
            self.flush(run);
            run.batch_netns = Some(netns);
        }
        run.batch.push(message);
        run.whose.push((run.step, tolerance));
    }

    pub(super) fn flush(&mut self, run: &mut Run<'_>) {
        run.batch_has_links = false;
        let Some(netns) = run.batch_netns.take() else { return };
        failpoint!("batch: to be sent");
        let results = match self.socket(netns) {
            Some(socket) => socket.batch(&mut run.batch),
            None => vec![Err(Refusal { errno: libc::ENOENT, text: closed(netns).text }); run.batch.len()],
        };
        failpoint!("batch: sent");
        run.batch.clear();
        for (result, (step, tolerance)) in results.into_iter().zip(std::mem::take(&mut run.whose)) {
            run.record(step, tolerance.judge(result).map_err(ApplyError::from));
        }
    }

    fn socket(&mut self, netns: Netns) -> Option<&mut Socket> {
        match netns {
            Netns::Host => Some(&mut self.host),
            Netns::Pod(id) => self.pods.get_mut(&id).map(|pod| &mut pod.socket),
        }
    }

    /// The number of a device that must be there.
    pub(super) fn index(
        &mut self,
        run: &mut Run<'_>,
        netns: Netns,
        device: &IfName,
    ) -> Result<u32, ApplyError> {
        self.index_of(run, netns, device).ok_or_else(|| ApplyError {
            errno: libc::ENODEV,
            text: format!("there is no interface {device}"),
        })
    }

    pub(super) fn index_of(&mut self, run: &mut Run<'_>, netns: Netns, device: &IfName) -> Option<u32> {
        let known = run.indexes.get(&netns).and_then(|known| known.get(device)).copied();
        if known.is_some() {
            return known;
        }
        if run.batch_has_links {
            self.flush(run);
        }
        let index = encode::query_index(self.socket(netns)?, device)?;
        run.indexes.entry(netns).or_default().insert(device.clone(), index);
        Some(index)
    }
}

impl<'a> Run<'a> {
    pub(super) fn of(steps: &'a [Step]) -> Run<'a> {
        Run { steps, results: vec![Ok(()); steps.len()], ..Run::default() }
    }

    /// The first refusal of a step stays.
    pub(super) fn record(&mut self, step: usize, result: Result<(), ApplyError>) {
        let known = &mut self.results[step];
        if known.is_ok() {
            if result.is_err() {
                self.refused.add_step(&self.steps[step]);
            }
            *known = result;
        }
    }

    pub(super) fn forget_index(&mut self, link: &LinkKey) {
        self.indexes.entry(link.netns).or_default().remove(&link.name);
    }

    /// What became of each key: the first refusal among its steps.
    pub(super) fn outcomes(self) -> Vec<Outcome> {
        let results = self.steps.iter().zip(self.results);
        let mut outcomes: Vec<Outcome> =
            results.map(|(step, result)| Outcome { key: step.key(), result }).collect();
        // Stable: the steps of a key stay in their order.
        outcomes.sort_by(|a, b| a.key.cmp(&b.key));
        outcomes.dedup_by(|next, first| {
            let same = next.key == first.key;
            if same && first.result.is_ok() {
                first.result = std::mem::replace(&mut next.result, Ok(()));
            }
            same
        });
        outcomes
    }
}

impl Tolerance {
    pub(super) fn judge(self, result: Result<(), Refusal>) -> Result<(), Refusal> {
        const ABSENT: [i32; 4] = [libc::ENOENT, libc::ESRCH, libc::ENODEV, libc::EADDRNOTAVAIL];
        match result {
            Err(refusal) if self == Tolerance::Absent && ABSENT.contains(&refusal.errno) => Ok(()),
            result => result,
        }
    }
}
