//! Claims and giving up of blocks, one at a time: for a request that finds no room, after a crash, or because a pool changed.
//! To take over an empty block of another node is to give it up in that node's stead; the claim is what the request then
//! finds to do.

use super::{Allocator, Theirs, Work, WorkKind};
use crate::affinity::{self, Known, Next, Used, affinity_key, block_key, delete};
use crate::block;
use model::Cidr;
use model::store::{Key, Object, Request};
use model::v3::{AffinityState, BlockAffinity, IpamBlock};

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
        let (cidr, owner) = (work.cidr, self.owner_of_work());
        for key in [affinity_key(&owner, cidr), block_key(cidr)] {
            if self.busy(&key) {
                return;
            }
            if self.unsure.contains(&key) {
                return self.call(Request::Get(key));
            }
        }
        match self.next_of_work(work, &owner) {
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

    fn next_of_work(&self, work: &Work, owner: &str) -> Next {
        let cidr = work.cidr;
        let wall = self.wall_now();
        let known = match self.snapshot.blocks.get(&cidr) {
            _ if work.kind != WorkKind::Claim && !work.read => Known::Unread,
            Some(b) => Known::Read(b),
            None if self.snapshot.others.contains_key(&cidr) => Known::Unread,
            // Before a claim is given up for want of its block, the API says so itself.
            None if wall.is_none() && !work.read => Known::Unread,
            None => Known::Absent,
        };
        let own = self.snapshot.affinities.get(&cidr);
        match &work.kind {
            WorkKind::Claim => affinity::claim(owner, cidr, own, known, work.written, wall.as_ref()),
            WorkKind::Release => {
                let used = if self.snapshot.clings_to(cidr) { Used::Stays } else { Used::IsCleared };
                affinity::release(owner, cidr, own, known, used)
            }
            WorkKind::TakeOver(theirs) => self.next_of_take_over(cidr, owner, theirs, known),
        }
    }

    fn next_of_take_over(&self, cidr: Cidr, owner: &str, theirs: &Theirs, known: Known<'_>) -> Next {
        match (theirs, known) {
            (_, Known::Read(b)) if block::owner(&b.spec) == Some(&self.snapshot.node) => Next::Lost,
            (Theirs::Unread, Known::Read(b)) if b.spec.affinity.is_some() => {
                match self.snapshot.is_idle(cidr) {
                    true => Next::Call(Box::new(Request::Get(affinity_key(owner, cidr)))),
                    false => Next::Lost,
                }
            }
            (Theirs::Unread | Theirs::Read(None), Known::Read(b)) => match self.snapshot.is_idle(cidr) {
                true => Next::Call(Box::new(delete(&b.clone().into()))),
                false => Next::Lost,
            },
            (Theirs::Unread | Theirs::Read(None), Known::Absent) => Next::Done,
            (Theirs::Unread | Theirs::Read(None), Known::Unread) => {
                Next::Call(Box::new(Request::Get(block_key(cidr))))
            }
            (Theirs::Read(Some(affinity)), known) => {
                affinity::release(owner, cidr, Some(affinity), known, Used::Stays)
            }
        }
    }

    /// Whose affinity is worked on.
    pub(super) fn owner_of_work(&self) -> String {
        let Some(work) = &self.work else { return self.snapshot.node.clone() };
        match &work.kind {
            WorkKind::TakeOver(Theirs::Read(Some(affinity))) => affinity.spec.node.clone(),
            WorkKind::TakeOver(_) => {
                let b = self.snapshot.blocks.get(&work.cidr);
                b.and_then(|b| block::owner(&b.spec)).unwrap_or_default().to_owned()
            }
            WorkKind::Claim | WorkKind::Release => self.snapshot.node.clone(),
        }
    }

    /// What the API says of the claim of a node whose block is being taken over.
    pub(super) fn learn_theirs(&mut self, key: &Key, affinity: Option<&BlockAffinity>) {
        let owner = self.owner_of_work();
        if let Some(Work { cidr, kind: WorkKind::TakeOver(theirs), .. }) = &mut self.work
            && *key == affinity_key(&owner, *cidr)
        {
            *theirs = Theirs::Read(affinity.cloned().map(Box::new));
        }
    }
}

impl Work {
    pub(super) fn new(cidr: Cidr, kind: WorkKind) -> Work {
        Work { cidr, kind, written: false, read: false }
    }
}
