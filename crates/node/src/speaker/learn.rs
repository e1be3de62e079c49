//! Paths as the World holds them: who gave them, and whether a rule of a BGPFilter accepts their destination by name.

use super::config::{peer_id, rule};
use crate::node::Node;
use bgp::filter::{Action, Matcher};
use bgp::{Paths, PeerId, RankedPath};
use derive::bgp::{BgpPlan, PeerPlan};
use derive::{Learnt, Section, World};
use model::Cidr;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

impl Node {
    /// The speaker's best paths changed.
    pub(crate) fn learn_paths(&mut self, best: Vec<(Cidr, Paths)>) {
        let plan = self.speaks().map(|told| told.plan.clone());
        let givers = plan.as_deref().map(givers).unwrap_or_default();
        let by_name = givers.values().any(|giver| !giver.names.is_empty());
        let mut last: Option<(Paths, Arc<[Learnt]>)> = None;
        for (dst, paths) in best {
            // Many destinations share the speaker's paths: where rules name none of them, also what is learnt.
            let learnt = match last.take_if(|(known, _)| !by_name && Arc::ptr_eq(known, &paths)) {
                Some((_, learnt)) => learnt,
                None => learnt(&givers, dst, &paths),
            };
            if self.world.paths_to(dst) != &learnt[..] {
                self.learn_path(dst, learnt.clone());
            }
            last = Some((paths, learnt));
        }
    }

    /// What follows: inside a pool the router to a block is all that counts.
    fn learn_path(&mut self, dst: Cidr, learnt: Arc<[Learnt]>) {
        let is_inside = self.world.pool_of(dst).is_some();
        let router = |world: &World| if is_inside { world.router_to(dst) } else { None };
        let before = router(&self.world);
        if learnt.iter().chain(self.world.paths_to(dst)).any(|path| path.pod.is_some()) {
            // What is behind a pod may send by it.
            self.dirty.insert(Section::Rules);
        }
        if learnt.is_empty() {
            self.world.learnt.remove(&dst);
        } else {
            self.world.learnt.insert(dst, learnt);
        }
        self.learnt.insert(dst);
        if router(&self.world) != before {
            self.dirty.insert(Section::Routes);
        }
    }

    /// What peers gave that are seen in another light now: the speaker tells a path once, whatever is thought of it.
    pub(super) fn judge_anew(&mut self, before: &BgpPlan, after: &BgpPlan) {
        if self.world.learnt.is_empty() {
            return;
        }
        let (before, after) = (givers(before), givers(after));
        let changed: BTreeMap<String, &Giver<'_>> = after
            .iter()
            .filter(|(id, giver)| before.get(*id).is_some_and(|before| before != *giver))
            .map(|(id, giver)| (id.to_string(), giver))
            .collect();
        if changed.is_empty() {
            return;
        }
        let judge = |(dst, paths): (&Cidr, &Arc<[Learnt]>)| {
            let judged = paths.iter().map(|path| match changed.get(&path.peer) {
                Some(giver) => giver.learnt(path.peer.clone(), *dst, path.next_hop, path.rank),
                None => path.clone(),
            });
            let judged: Arc<[Learnt]> = judged.collect();
            (judged != *paths).then_some((*dst, judged))
        };
        let judged: Vec<_> = self.world.learnt.iter().filter_map(judge).collect();
        for (dst, paths) in judged {
            self.learn_path(dst, paths);
        }
    }
}

/// What matters of a peer to who hears its paths.
#[derive(PartialEq)]
struct Giver<'a> {
    addr: IpAddr,
    peer: &'a PeerPlan,
    /// Destinations that rules of its BGPFilters are for and accept.
    names: Vec<Matcher>,
}

impl Giver<'_> {
    /// A path of this peer, whose session's name is `peer`, as the World holds it.
    fn learnt(&self, peer: String, dst: Cidr, next_hop: IpAddr, rank: u16) -> Learnt {
        Learnt {
            next_hop,
            peer,
            sort: self.peer.sort,
            node: self.peer.node.clone(),
            pod: self.peer.is_pod.then_some(self.addr),
            rank,
            named: self.names.iter().any(|matcher| matcher.names(dst)),
        }
    }
}

fn givers(plan: &BgpPlan) -> BTreeMap<PeerId, Giver<'_>> {
    let givers = plan.peers.iter().map(|(key, peer)| {
        let accepting = peer.import.iter().map(rule).filter(|rule| rule.action == Action::Accept);
        (
            peer_id(*key, peer),
            Giver { addr: key.addr, peer, names: accepting.map(|rule| rule.matcher).collect() },
        )
    });
    givers.collect()
}

/// Paths as the World holds them; our own are none.
fn learnt(givers: &BTreeMap<PeerId, Giver<'_>>, dst: Cidr, paths: &[RankedPath]) -> Arc<[Learnt]> {
    let from_peer = paths.iter().filter_map(|path| {
        let id = path.peer.as_ref()?;
        Some(givers.get(id)?.learnt(id.to_string(), dst, path.nexthop.addr(), path.rank))
    });
    from_peer.collect()
}
