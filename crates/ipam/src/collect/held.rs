//! What the collector leaves as it is for now, and why: for whoever wonders why an address is not given back.

use super::{Collector, Suspicion};
use crate::check::Problem;
use model::Instant;
use std::collections::BTreeSet;
use std::fmt;

/// Something that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// A sentence.
    pub what: String,
    pub why: Why,
}

/// Why something stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It goes if it is still so then.
    Waits { until: Instant },
    /// Another address of the same handle is in use, or not due yet: all go or none.
    HandleIsUsed,
    /// Of a virtual machine, a service, or whoever else keeps addresses without a pod.
    OwnerIsNotJudged,
    /// Addresses of the node that is gone go first.
    HoldsAddresses,
    /// It may be mended in more ways than one, or by the node whose it is.
    ForPeople,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Waits { .. } => "given back if it stays so",
            Why::HandleIsUsed => "its handle has another address that is in use, or not so for long enough",
            Why::OwnerIsNotJudged => {
                "whose it is, no pod and no node can tell; `calicoctl ipam release` frees it"
            }
            Why::HoldsAddresses => "addresses of that node in it go first",
            Why::ForPeople => "not the collector's to mend",
        })
    }
}

impl Collector {
    /// All that is found wrong, and each spare block, that no job is about to change.
    pub(super) fn held(&self, due: &BTreeSet<&Suspicion>) -> Vec<Held> {
        let problems = self.account.problems.iter().filter_map(|problem| {
            let why = match self.suspicion(problem) {
                Some(suspicion) => self.why(&suspicion, due)?,
                None => Why::ForPeople,
            };
            Some(Held { what: problem.to_string(), why })
        });
        let spare = self.view.spare_blocks().filter_map(|(block, node)| {
            let what = format!("block {block} is empty, and {node} has others");
            let why = self.why(&Suspicion::Spare { block, node }, due)?;
            Some(Held { what, why })
        });
        problems.chain(spare).collect()
    }

    /// Why a suspicion leads to nothing yet; `None`: it does.
    fn why(&self, suspicion: &Suspicion, due: &BTreeSet<&Suspicion>) -> Option<Why> {
        let since = self.since.get(suspicion).copied().unwrap_or(self.now);
        if !due.contains(suspicion) {
            return Some(Why::Waits { until: since + self.patience_with(suspicion) });
        }
        match suspicion {
            Suspicion::Address(Problem::NotInUse { addr, .. }) if self.view.leak(*addr).is_none() => {
                Some(Why::OwnerIsNotJudged)
            }
            Suspicion::Address(Problem::NotInUse { owner, .. }) if !self.is_leaked_whole(owner, due) => {
                Some(Why::HandleIsUsed)
            }
            Suspicion::Gone { block, node } if self.view.holds_in(node, *block) => Some(Why::HoldsAddresses),
            _ => None,
        }
    }
}
