//! UPDATEs: from a peer into the RIB, and from a change of best paths to what each peer is to be told.

use super::peer::Peer;
use super::policy::{Ends, Reason, is_martian_dst};
use super::{Output, Speaker};
use crate::config::Config;
use crate::rib::{Change, Facts, Path, Said, Source};
use crate::session::Event;
use crate::wire::{Error, Family, Notification, Update};
use model::Cidr;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// So many `Output::Rejected` wait at most: they are for people.
const REPORTS: usize = 64;

impl Speaker {
    /// Applies what an established peer said.
    pub(super) fn ingest(&mut self, source: Source, update: Update) {
        let mut changes = Vec::new();
        for family in super::FAMILIES {
            for dst in update.withdrawn.iter().filter(|dst| Family::of(**dst) == family) {
                if let Some(id) = self.rib.table(family).get(*dst) {
                    changes.extend(self.remove(source, family, id));
                }
            }
            self.propagate(family, &changes);
            changes.clear();
        }
        if let Some(attrs) = update.attrs {
            for announced in update.announced {
                let said = Said { source, nexthop: announced.nexthop, attrs: attrs.clone(), received: None };
                self.announce(&said, &announced.dsts);
            }
        }
        if let Some(family) = update.end_of_rib {
            self.end_of_rib(source, family);
        }
        self.check_limit(source);
    }

    fn announce(&mut self, said: &Said, dsts: &[Cidr]) {
        let source = said.source;
        let Some(config) = self.config.clone() else { return };
        let local_addr = self.local_addr(source);
        let Some(peer) = self.peers[source.at()].as_mut() else { return };
        let ends = Ends { config: &config, peer: &peer.config, local: &peer.local, local_addr };
        let (mut changes, mut fresh) = (Vec::with_capacity(dsts.len()), 0);
        let unbelievable = ends.unbelievable(said.nexthop, &said.attrs);
        let route = self.rib.routes.intern(said.clone());
        for dst in dsts {
            let reason = unbelievable.or(is_martian_dst(*dst).then_some(Reason::MartianDst));
            let news = reason.filter(|why| why.is_news());
            if let Some(why) = news.filter(|_| self.outputs.len() < REPORTS) {
                self.outputs.push_back(Output::Rejected { peer: peer.id.clone(), dst: *dst, why });
            }
            let paths = self.rib.table(Family::of(*dst)).count();
            changes.push(match ends.import(*dst, said).filter(|_| reason.is_none()) {
                Some([]) => {
                    let path = Path { route: route.clone(), rejected: false, stale: false, best: false };
                    self.rib.insert_route(*dst, path)
                }
                Some(operations) => self.rib.insert(*dst, &rewritten(said, operations), false),
                None => {
                    let path = Path { route: route.clone(), rejected: true, stale: false, best: false };
                    self.rib.insert_route(*dst, path)
                }
            });
            fresh += self.rib.table(Family::of(*dst)).count() - paths;
        }
        self.rib.routes.release(route);
        peer.paths += fresh;
        self.propagate(said.nexthop.family(), &changes);
    }

    /// RFC 4271 §6.7: more prefixes than the peer may announce end the session.
    fn check_limit(&mut self, source: Source) {
        let Some(peer) = self.peer(source) else { return };
        let over = peer.config.prefix_limit.filter(|limit| peer.paths > *limit as usize);
        if let (Some(limit), Some(conn)) = (over, peer.main.conn()) {
            let family = peer.config.families.first().copied().unwrap_or(Family::IPV4);
            let [high, low] = family.afi.to_be_bytes();
            let data = [&[high, low, family.safi], &limit.to_be_bytes()[..]].concat();
            let why = Notification::with(Error::MaxPrefixes, data);
            self.drive_conn(conn, Event::Malformed(why));
        }
    }

    /// Judges again what a peer gave, under a new import policy.
    pub(super) fn reimport(&mut self, source: Source) {
        let Some(config) = self.config.clone() else { return };
        let local_addr = self.local_addr(source);
        for family in super::FAMILIES {
            let mut changes = Vec::new();
            let Some(peer) = self.peers[source.at()].as_ref() else { return };
            let ends = Ends { config: &config, peer: &peer.config, local: &peer.local, local_addr };
            for id in self.rib.table(family).ids() {
                let Some(path) = self.rib.table(family).from(id, source).cloned() else { continue };
                let dst = self.rib.table(family).dst(id);
                let (nexthop, attrs) = path.route.said.as_received();
                let said = Said { source, nexthop, attrs: attrs.clone(), received: None };
                let believable = ends.unbelievable(nexthop, attrs).is_none() && !is_martian_dst(dst);
                let verdict = ends.import(dst, &said).filter(|_| believable);
                let said = match verdict {
                    Some(operations) if !operations.is_empty() => rewritten(&said, operations),
                    _ => said,
                };
                let route = self.rib.routes.intern(said);
                let judged = Path { route, rejected: verdict.is_none(), ..path.clone() };
                if judged.route.serial == path.route.serial && judged.rejected == path.rejected {
                    self.rib.routes.release(judged.route);
                } else {
                    drop(path);
                    changes.push(self.rib.insert_route(dst, judged));
                }
            }
            self.propagate(family, &changes);
        }
    }

    /// Decides about every destination again.
    pub(super) fn decide_all(&mut self, family: Family) {
        let mut changes = Vec::new();
        for id in self.rib.table(family).ids() {
            if !self.rib.table(family).paths(id).is_empty() {
                let old = self.rib.table(family).best(id).map_or(0, |path| path.route.serial);
                changes.push(self.rib.decide(family, id, old));
            }
        }
        self.propagate(family, &changes);
    }

    /// Best paths changed: every established peer is to be told, or not.
    pub(super) fn propagate(&mut self, family: Family, changes: &[Change]) {
        if changes.iter().all(|change| change.old == change.new) {
            return;
        }
        let Some(config) = self.config.clone() else { return };
        for source in self.sources() {
            let local_addr = self.local_addr(source);
            let Some(peer) = self.peers[source.at()].as_mut() else { continue };
            let Peer { outs, config: peer_config, local, .. } = peer;
            let Some(out) = outs.get_mut(&family) else { continue };
            let ends = Ends { config: &config, peer: peer_config, local, local_addr };
            for group in changes.chunk_by(|one, next| one.new == next.new) {
                // They have one best route, and what follows depends on nothing else.
                let best = group.first().and_then(|change| self.rib.table(family).best(change.id));
                let concerns = best.is_some_and(|path| concerns(&ends, source, path, &self.rib.facts));
                let changed = group.iter().filter(|change| change.old != change.new);
                out.requeue(changed.copied(), group[0].new, concerns);
            }
        }
    }

    /// Queues all of a family for a peer: it is new, it asked, or what it may see has changed.
    pub(super) fn resend(&mut self, source: Source, family: Family) {
        let Some(config) = self.config.clone() else { return };
        let local_addr = self.local_addr(source);
        let Some(peer) = self.peers[source.at()].as_mut() else { return };
        let Peer { outs, config: peer_config, local, .. } = peer;
        let Some(out) = outs.get_mut(&family) else { return };
        let ends = Ends { config: &config, peer: peer_config, local, local_addr };
        let table = self.rib.table(family);
        for id in table.ids() {
            let Some(path) = table.best(id) else { continue };
            let serial = path.route.serial;
            let again = Change { id, old: serial, new: serial };
            out.requeue([again], serial, concerns(&ends, source, path, &self.rib.facts));
        }
    }

    /// Our address in a peer's session; unspecified without one.
    pub(super) fn local_addr(&self, source: Source) -> IpAddr {
        let conn = self.peer(source).and_then(|peer| peer.main.conn());
        let line = conn.and_then(|conn| self.lines.get(&conn));
        line.and_then(|line| line.local).unwrap_or(Ipv4Addr::UNSPECIFIED.into())
    }

    /// What we originate, from the configuration.
    pub(super) fn originate(&mut self, before: Option<&Config>, config: &Config) {
        for family in super::FAMILIES {
            let mut changes = Vec::new();
            let gone = before.into_iter().flat_map(|b| b.originate.keys());
            for dst in gone.filter(|dst| Family::of(**dst) == family && !config.originate.contains_key(dst)) {
                if let Some(id) = self.rib.table(family).get(*dst) {
                    changes.extend(self.rib.remove(family, id, Source::LOCAL));
                }
            }
            for (dst, origination) in config.originate.iter().filter(|(dst, _)| Family::of(**dst) == family) {
                if before.and_then(|b| b.originate.get(dst)) != Some(origination) {
                    changes.push(self.rib.insert(*dst, &super::configure::said(family, origination), false));
                }
            }
            self.propagate(family, &changes);
        }
    }
}

/// A path as the import filter rewrote it.
fn rewritten(said: &Said, operations: &[crate::filter::Operation]) -> Said {
    let mut attrs = (*said.attrs).clone();
    operations.iter().for_each(|operation| operation.apply(&mut attrs));
    Said { attrs: Arc::new(attrs), received: Some((said.nexthop, said.attrs.clone())), ..said.clone() }
}

/// Whether a peer may be told of a path, as far as that does not depend on the destination.
pub(super) fn concerns(ends: &Ends<'_>, source: Source, path: &Path, facts: &[Facts]) -> bool {
    let said = &path.route.said;
    said.source != source && ends.may_tell(said, &facts[said.source.at()])
}
