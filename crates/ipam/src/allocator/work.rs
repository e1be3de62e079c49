//! Claims and giving up of blocks, one at a time: for a request that finds no room, after a crash, or because a pool changed.

use super::{Allocator, Work, WorkKind};
use crate::affinity::{self, Known, Next, affinity_key, block_key};
use crate::block;
use model::Cidr;
use model::store::{Object, Request};
use model::v3::{AffinityState, IpamBlock};

impl Allocator {
    /// Finds a claim that stands half-way, or a block that this node should not have: a crash, another program or a change of
    /// a pool leaves them.
    pub(super) fn find_work(&mut self) {
        if self.work.is_some() {
            return;
        }
        let half_way = self.snapshot.affinities.iter().find_map(|(&cidr, affinity)| {
            let usable = self.snapshot.usable(cidr);
            let empty = self.snapshot.blocks.get(&cidr).is_none_or(|b| block::is_empty(&b.spec));
            let needless = empty && self.goals.is_empty() && !self.snapshot.wants(cidr);
            let leaving = affinity.spec.state == AffinityState::PendingDeletion || affinity.spec.deleted;
            match needless || leaving {
                true => Some((cidr, WorkKind::Release)),
                false => usable.is_none().then_some((cidr, WorkKind::Claim)),
            }
        });
        let unclaimed = || {
            let ours = |b: &&IpamBlock| block::owner(&b.spec) == Some(&self.snapshot.node);
            let mut blocks = self.snapshot.blocks.values().filter(ours).map(|b| b.spec.cidr);
            blocks
                .find(|cidr| !self.snapshot.affinities.contains_key(cidr))
                .map(|cidr| (cidr, WorkKind::Claim))
        };
        self.work = half_way.or_else(unclaimed).map(|(cidr, kind)| Work::new(cidr, kind));
    }

    /// Brings the claim or the giving up of a block forward.
    pub(super) fn advance_work(&mut self) {
        let Some(work) = &self.work else { return };
        let (cidr, node) = (work.cidr, self.snapshot.node.clone());
        for key in [affinity_key(&node, cidr), block_key(cidr)] {
            if self.busy(&key) {
                return;
            }
            if self.unsure.contains(&key) {
                return self.call(Request::Get(key));
            }
        }
        let affinity = self.snapshot.affinities.get(&cidr);
        let known = match self.snapshot.blocks.get(&cidr) {
            _ if work.kind == WorkKind::Release && !work.read => Known::Unread,
            Some(b) => Known::Read(b),
            None if self.snapshot.others.contains(&cidr) => Known::Unread,
            // Before a claim is given up for want of its block, the API says so itself.
            None if self.wall.is_none() && !work.read => Known::Unread,
            None => Known::Absent,
        };
        let wall = self.wall.as_ref();
        let next = match work.kind {
            WorkKind::Claim => affinity::claim(&node, cidr, affinity, known, work.written, wall),
            WorkKind::Release => affinity::release(&node, cidr, affinity, known),
        };
        match next {
            Next::Call(request) => {
                if let (Request::Update(Object::BlockAffinity(_)), Some(work)) = (&*request, &mut self.work) {
                    (work.written, work.read) = (false, false);
                }
                self.call(*request);
            }
            Next::Done | Next::Lost => {
                self.work = None;
                self.dirty = true;
            }
        }
    }
}

impl Work {
    pub(super) fn new(cidr: Cidr, kind: WorkKind) -> Work {
        Work { cidr, kind, written: false, read: false }
    }
}
