//! What to do next, from what is wanted and what is known. Each request goes through: its handle names a block, the block
//! is written for all requests whose handles do, its content is the answer.

use super::{Allocator, Goal, Theirs, Work, WorkKind};
use crate::affinity::{block_key, delete};
use crate::pool::Choice;
use crate::{Assigned, Error, Want, block};
use model::store::{Key, Request};
use model::v3::{IpamBlockSpec, IpamHandle, IpamHandleSpec};
use model::{Cidr, Metadata};
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::IpAddr;

impl Allocator {
    /// Decides until nothing more follows from the last input.
    pub(super) fn settle(&mut self) {
        while mem::take(&mut self.dirty) {
            self.decide();
        }
    }

    fn decide(&mut self) {
        if self.snapshot.missing().next().is_some() {
            return;
        }
        self.snapshot.advance(self.wall_now());
        self.find_work();
        let mut goals = mem::take(&mut self.goals);
        let mut promised = BTreeMap::new();
        for cidr in goals.iter().filter_map(|goal| goal.chosen) {
            *promised.entry(cidr).or_insert(0) += 1;
        }
        let mut served: BTreeMap<Cidr, Vec<usize>> = BTreeMap::new();
        for (index, (turn, goal)) in turns(&goals).into_iter().zip(&mut goals).enumerate() {
            if turn {
                for cidr in self.advance(goal, &mut promised) {
                    served.entry(cidr).or_default().push(index);
                }
            }
        }
        for (cidr, indexes) in served {
            self.write_block(cidr, &indexes, &mut goals);
        }
        self.dirty |= goals.iter().any(|goal| goal.over);
        goals.retain(|goal| !goal.over);
        self.handles
            .retain(|name, handle| handle.is_some() || goals.iter().any(|goal| goal.key.name == *name));
        self.goals = goals;
        self.advance_work();
        if self.goals.is_empty() && self.work.is_none() {
            self.snapshot.forget_foreign();
            self.absent.clear();
            self.backoff.expire(self.now);
        }
    }

    /// Brings one request forward. Returns the blocks whose next write is to serve it.
    fn advance(&mut self, goal: &mut Goal, promised: &mut BTreeMap<Cidr, usize>) -> Vec<Cidr> {
        let key = goal.key.clone();
        let written = |cidr| self.handles.contains_key(&key.name) && self.busy(&block_key(cidr));
        if self.busy(&key) || goal.chosen.is_some_and(written) {
            return Vec::new();
        }
        if self.unsure.contains(&key) {
            self.call(Request::Get(key));
            return Vec::new();
        }
        match goal.want {
            Want::Release { .. } => self.advance_release(goal, key),
            _ => self.advance_assign(goal, key, promised),
        }
    }

    /// Blocks first, the handle after them: as long as an address is held, its handle says where.
    fn advance_release(&mut self, goal: &mut Goal, key: Key) -> Vec<Cidr> {
        let Some(handle) = self.handles.get(&key.name).cloned() else {
            self.call(Request::Get(key));
            return Vec::new();
        };
        let named_are_read = handle.as_ref().is_none_or(|handle| self.read_named(handle));
        let holds = |b: &IpamBlockSpec| block::held(b, &goal.handle).next().is_some();
        let blocks = self.snapshot.blocks.values().filter(|b| holds(&b.spec));
        let holding: Vec<Cidr> = blocks.map(|b| b.spec.cidr).collect();
        if !holding.is_empty() || !named_are_read {
            return holding;
        }
        let Some(handle) = handle else {
            self.succeed(goal, Vec::new());
            return Vec::new();
        };
        let open = self.unfenced(goal, &handle);
        if open.is_empty() {
            self.call(delete(&handle.into()));
        }
        open
    }

    /// The handle first, the block after it.
    fn advance_assign(
        &mut self,
        goal: &mut Goal,
        key: Key,
        promised: &mut BTreeMap<Cidr, usize>,
    ) -> Vec<Cidr> {
        let handle = match self.handles.get(&key.name).cloned() {
            // A tunnel's address is mostly there already; a pod's handle is new, and the creation says so if not.
            None if matches!(goal.want, Want::Tunnel(_)) => {
                self.call(Request::Get(key));
                return Vec::new();
            }
            known => known.flatten(),
        };
        if let Some(handle) = &handle {
            if handle.spec.deleted {
                self.call(delete(&handle.clone().into()));
                return Vec::new();
            }
            if !self.read_named(handle) {
                return Vec::new();
            }
            let (kept, unwanted) = self.held(goal, handle);
            if let Some(cidr) = kept {
                // The watch says that the address is there: the API shall say so too.
                self.unsure.insert(block_key(cidr));
                self.call(Request::Get(block_key(cidr)));
                return Vec::new();
            }
            if !unwanted.is_empty() {
                // What it chose may be what it does not want any more.
                goal.chosen = None;
                return unwanted;
            }
        }
        let Some(cidr) = self.choose(goal, promised) else { return Vec::new() };
        match handle {
            Some(handle) if goal.recorded && names_only(&handle, cidr) => return vec![cidr],
            Some(handle) if !goal.recorded => {
                // An earlier life left it, and may have a deletion of it on its way: that one is not to meet the new one.
                let open = self.unfenced(goal, &handle);
                if !open.is_empty() {
                    return open;
                }
                self.call(delete(&handle.into()));
            }
            Some(mut handle) => {
                let mut open = self.unfenced(goal, &handle);
                open.retain(|named| *named != cidr);
                if !open.is_empty() {
                    return open;
                }
                handle.spec.block = [(cidr.to_string(), 1)].into();
                self.call(Request::Update(handle.into()));
            }
            None => {
                let metadata = Metadata::named(key.name);
                let block = [(cidr.to_string(), 1)].into();
                let spec = IpamHandleSpec { handle_id: goal.handle.clone(), block, deleted: false };
                self.call(Request::Create(IpamHandle { metadata, spec }.into()));
            }
        }
        Vec::new()
    }

    /// Whether the content of every block that a handle names is known, and no write is changing it; reads those that are
    /// not known.
    fn read_named(&mut self, handle: &IpamHandle) -> bool {
        let named: Vec<Cidr> = handle.spec.block.keys().filter_map(|cidr| cidr.parse().ok()).collect();
        let unread = |cidr: &Cidr| {
            let key = block_key(*cidr);
            let known = self.snapshot.blocks.contains_key(cidr) || self.absent.contains(cidr);
            self.unsure.contains(&key) || self.busy(&key) || !known
        };
        let unread: Vec<Cidr> = named.into_iter().filter(unread).collect();
        for cidr in &unread {
            self.call(Request::Get(block_key(*cidr)));
        }
        unread.is_empty()
    }

    /// Of the blocks that a handle names: those that a write for it may still reach. One of an earlier life, or one whose
    /// answer was lost, may be on its way: another write makes it fail. Only then may the handle stop naming the block.
    fn unfenced(&self, goal: &Goal, handle: &IpamHandle) -> Vec<Cidr> {
        let named = handle.spec.block.keys().filter_map(|cidr| cidr.parse().ok());
        named.filter(|cidr| self.snapshot.blocks.contains_key(cidr) && !goal.fenced.contains(cidr)).collect()
    }

    /// Of the blocks that a handle names: one that holds what the request wants, and those that hold what it does not want.
    fn held(&self, goal: &Goal, handle: &IpamHandle) -> (Option<Cidr>, Vec<Cidr>) {
        let (mut kept, mut unwanted) = (None, Vec::new());
        for cidr in handle.spec.block.keys().filter_map(|cidr| cidr.parse().ok()) {
            let Some(b) = self.snapshot.blocks.get(&cidr) else { continue };
            for (addr, attributes) in block::held(&b.spec, &goal.handle) {
                match self.keeps(&goal.want, addr, attributes) {
                    true => kept = Some(cidr),
                    false => unwanted.push(cidr),
                }
            }
        }
        (kept, unwanted)
    }

    /// Whether an address that the request's handle has is what the request wants.
    pub(super) fn keeps(&self, want: &Want, addr: IpAddr, attributes: &BTreeMap<String, String>) -> bool {
        match want {
            Want::Auto { .. } => true,
            Want::Given { addr: wanted, .. } => addr == *wanted,
            Want::Tunnel(tunnel) => {
                // Where no pool gives another one, packets go on coming to the one that there is.
                let fits = self
                    .snapshot
                    .pools_for(want)
                    .map_or(true, |pools| pools.iter().any(|pool| pool.cidr.contains(addr)));
                fits && *attributes == tunnel.attributes(&self.snapshot.node)
            }
            Want::Release { .. } => false,
        }
    }

    /// The block from which a request's address is to come, if there is one now.
    fn choose(&mut self, goal: &mut Goal, promised: &mut BTreeMap<Cidr, usize>) -> Option<Cidr> {
        if goal.chosen.is_some() {
            return goal.chosen;
        }
        match self.snapshot.choose(&goal.want, promised) {
            // What is being claimed may be what it needs.
            Ok(Choice::Claim(_) | Choice::TakeOver(_) | Choice::Borrow(_)) | Err(Error::Exhausted { .. })
                if self.work.is_some() => {}
            Ok(Choice::Borrow(cidr) | Choice::Read(cidr)) if !self.snapshot.blocks.contains_key(&cidr) => {
                self.call(Request::Get(block_key(cidr)));
            }
            Ok(Choice::Take(cidr) | Choice::Borrow(cidr) | Choice::Read(cidr)) => {
                *promised.entry(cidr).or_insert(0) += 1;
                goal.chosen = Some(cidr);
            }
            Ok(Choice::Claim(cidr)) => self.work = Some(Work::new(cidr, WorkKind::Claim)),
            Ok(Choice::TakeOver(cidr)) => {
                self.work = Some(Work::new(cidr, WorkKind::TakeOver(Theirs::Unread)));
            }
            Err(error) => self.fail(goal, error),
        }
        goal.chosen
    }

    /// One compare-and-swap for all requests that wait for a block: what they want of it and what they give back.
    fn write_block(&mut self, cidr: Cidr, indexes: &[usize], goals: &mut [Goal]) {
        let key = block_key(cidr);
        if self.busy(&key) {
            return;
        }
        if self.unsure.contains(&key) || self.snapshot.others.contains_key(&cidr) {
            return self.call(Request::Get(key));
        }
        let known = self.snapshot.blocks.get(&cidr).cloned();
        let mut b = known.clone();
        let mut changed = false;
        for &index in indexes {
            let goal = &mut goals[index];
            changed |= b.as_mut().is_some_and(|b| self.give_back(goal, &mut b.spec));
            changed |= match goal.recorded && goal.chosen == Some(cidr) {
                true => self.take(goal, cidr, b.as_mut().map(|b| &mut b.spec)),
                // To be fenced, if nothing else.
                false => true,
            };
        }
        let (Some(known), Some(mut b)) = (known, b) else { return };
        if self.unsure.contains(&key) {
            return self.call(Request::Get(key));
        }
        if !changed {
            return;
        }
        block::touch(&mut b.spec);
        match b.spec.affinity.is_none() && block::is_empty(&b.spec) {
            true => self.call(delete(&known.into())),
            false => self.call(Request::Update(b.into())),
        }
    }

    /// Takes out of a block what a request's handle has there and the request does not want.
    fn give_back(&self, goal: &Goal, b: &mut IpamBlockSpec) -> bool {
        let unwanted =
            block::held(b, &goal.handle).filter(|(addr, attrs)| !self.keeps(&goal.want, *addr, attrs));
        let releases: Vec<block::Release> = unwanted
            .map(|(addr, _)| block::Release { addr, handle: Some(goal.handle.clone()), sequence: None })
            .collect();
        block::release(b, &releases, self.snapshot.cool_from())
            .expect("what was just seen in the block is still so")
    }

    /// Puts what a request wants into a block. Where that cannot be, the request chooses again or fails.
    fn take(&mut self, goal: &mut Goal, cidr: Cidr, b: Option<&mut IpamBlockSpec>) -> bool {
        let handle = self.handles.get(&goal.key.name).and_then(Option::as_ref);
        assert!(handle.is_some_and(|h| names_only(h, cidr)), "handle before block: {goal:?}");
        let pools = self.snapshot.pools_for(&goal.want);
        let gives = pools.is_ok_and(|pools| pools.iter().any(|pool| pool.cidr.covers(cidr)));
        let open = self.snapshot.open(cidr).is_some();
        let attributes = self.attributes(&goal.want);
        let given = match (&goal.want, b) {
            (Want::Given { addr, .. }, Some(b)) if open => {
                block::assign_given(b, *addr, &goal.handle, &attributes).map(|()| true)
            }
            (Want::Auto { .. } | Want::Tunnel(_), Some(b)) if open && gives => {
                Ok(block::assign(b, &goal.handle, &attributes, &self.snapshot.reserved()).is_some())
            }
            _ => Ok(false),
        };
        match given {
            Ok(true) => {
                goal.fenced.remove(&cidr);
                return true;
            }
            Ok(false) => {
                goal.chosen = None;
                self.dirty = true;
            }
            Err(Error::Taken { .. }) if !mem::replace(&mut goal.read, true) => {
                self.unsure.insert(block_key(cidr));
                self.dirty = true;
            }
            Err(error) => self.fail(goal, error),
        }
        false
    }

    fn attributes(&self, want: &Want) -> BTreeMap<String, String> {
        match want {
            Want::Auto { attributes, .. } | Want::Given { attributes, .. } => attributes.clone(),
            Want::Tunnel(tunnel) => tunnel.attributes(&self.snapshot.node),
            Want::Release { .. } => BTreeMap::new(),
        }
    }

    /// Finishes the requests whose address is in a block that the API answered with.
    pub(super) fn finish_held(&mut self, b: &IpamBlockSpec) {
        let mut goals = mem::take(&mut self.goals);
        for (turn, goal) in turns(&goals).into_iter().zip(&mut goals) {
            let key = &goal.key;
            let named = match self.handles.get(&key.name) {
                Some(Some(handle)) => handle.spec.block.contains_key(&b.cidr.to_string()),
                _ => false,
            };
            if !turn || !named || self.busy(key) || self.unsure.contains(key) {
                continue;
            }
            let kept =
                block::held(b, &goal.handle).find(|(addr, attrs)| self.keeps(&goal.want, *addr, attrs));
            if let Some(addr) = kept.map(|(addr, _)| addr) {
                self.succeed(goal, vec![Assigned { addr, block: b.cidr }]);
            }
        }
        goals.retain(|goal| !goal.over);
        self.goals = goals;
    }
}

/// Which requests are the first of their handle: the others wait.
fn turns(goals: &[Goal]) -> Vec<bool> {
    let mut seen = BTreeSet::new();
    goals.iter().map(|goal| seen.insert(&goal.key)).collect()
}

fn names_only(handle: &IpamHandle, cidr: Cidr) -> bool {
    handle.spec.block.len() == 1 && handle.spec.block.get(&cidr.to_string()) == Some(&1)
}
