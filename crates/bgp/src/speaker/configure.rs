//! A new configuration: what of it needs a new session, what only a new judgement, and what nothing at all.

use super::peer::{Peer, Place};
use super::policy::kind;
use super::{FAMILIES, Speaker};
use crate::config::{Config, Origination, PeerConfig, PeerId};
use crate::rib::{Facts, Said, Source};
use crate::session::{Event, Local, State};
use crate::wire::{AsPath, Attributes, Error, Family, NextHop, Notification, Origin};
use model::Duration;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

impl Speaker {
    pub(super) fn configure(&mut self, config: Config) {
        let config = Arc::new(config);
        let before = self.config.replace(config.clone());
        let (first, before) = (before.is_none(), before.as_deref());
        if let (true, true, Some(time)) = (first, config.restarting, config.graceful_restart) {
            self.defer(self.now + Duration::from_secs(time.into()));
        }
        self.rib.facts[0].asn = config.asn;
        self.rib.facts[0].router_id = config.router_id.0;
        for source in self.sources() {
            if self.peer(source).is_some_and(|peer| !config.peers.contains_key(&peer.id)) {
                self.remove_peer(source);
            }
        }
        let all_paths = std::mem::replace(&mut self.rib.all_paths, config.all_paths);
        if all_paths != config.all_paths && !self.rib.deferred {
            FAMILIES.into_iter().for_each(|family| self.decide_all(family));
        }
        self.originate(before, &config);
        let rules = |c: &Config| {
            let selves = (c.cluster_id, c.nexthop_v4, c.nexthop_v6);
            (selves, c.connected.clone(), c.addresses.clone())
        };
        let judge = before.is_some_and(|before| rules(before) != rules(&config));
        for (id, peer) in &config.peers {
            match self.source(id) {
                Some(source) => self.change_peer(source, peer, &config, judge),
                None => self.add_peer(id, peer, &config),
            }
        }
        if first && self.deferred.is_none() {
            self.settled = true;
        }
    }

    /// The place of a peer.
    pub(super) fn source(&self, id: &PeerId) -> Option<Source> {
        self.sources().find(|source| self.peer(*source).is_some_and(|peer| peer.id == *id))
    }

    fn local(&self, config: &Config, peer: &PeerConfig) -> Local {
        Local {
            asn: peer.local_asn.unwrap_or(config.asn),
            router_id: config.router_id,
            restart_time: config.graceful_restart.map(|usual| peer.restart_time.unwrap_or(usual)),
            restarting: self.rib.deferred,
            preserved: config.restarting,
        }
    }

    fn facts(local: &Local, peer: &PeerConfig, router_id: Ipv4Addr) -> Facts {
        Facts { kind: kind(local.asn, peer), asn: peer.remote_asn, router_id, addr: peer.addr }
    }

    fn add_peer(&mut self, id: &PeerId, config: &PeerConfig, all: &Config) {
        let local = self.local(all, config);
        let facts = Speaker::facts(&local, config, Ipv4Addr::UNSPECIFIED);
        let peer = Peer::new(id.clone(), config.clone(), local, self.now);
        let free = self.sources().find(|source| self.peer(*source).is_none());
        let source = free.unwrap_or_else(|| {
            self.peers.push(None);
            self.rib.facts.push(facts);
            self.sources().last().expect("one was added")
        });
        self.rib.facts[source.at()] = facts;
        self.peers[source.at()] = Some(peer);
        self.start(source);
    }

    fn remove_peer(&mut self, source: Source) {
        let mut why = Notification::from(Error::PeerDeconfigured);
        let graceful = self.peer(source).and_then(|peer| peer.terms.as_ref()?.graceful.as_ref());
        if graceful.is_some_and(|theirs| theirs.notification) {
            why = why.hard_reset();
        }
        self.stop(source, why);
        FAMILIES.into_iter().for_each(|family| self.leave(source, family, false));
        self.lines.retain(|_, line| line.source != source || line.closing);
        self.peers[source.at()] = None;
    }

    fn stop(&mut self, source: Source, why: Notification) {
        if self.peer(source).is_some_and(|peer| peer.rival.is_some()) {
            self.drive(source, Place::Rival, Event::Stop(why.clone()));
        }
        self.drive(source, Place::Main, Event::Stop(why));
    }

    fn change_peer(&mut self, source: Source, new: &PeerConfig, all: &Config, judge: bool) {
        let mut local = self.local(all, new);
        let Some(peer) = self.peer(source) else { return };
        let old = peer.config.clone();
        local.preserved |= peer.local.preserved;
        let other = (local.asn, local.router_id) != (peer.local.asn, peer.local.router_id);
        let moved = (old.addr, old.remote_asn) != (new.addr, new.remote_asn);
        let talks = !matches!(peer.main, State::Idle { .. } | State::Connect { .. } | State::Active { .. });
        let restart = other || old.needs_new_session(new) || old.passive != new.passive && !talks;
        if restart {
            self.stop(source, Error::OtherConfigurationChange.into());
            if other || moved {
                FAMILIES.into_iter().for_each(|family| self.leave(source, family, false));
            }
        }
        let was = self.rib.facts[source.at()];
        self.rib.facts[source.at()] = Speaker::facts(&local, new, was.router_id);
        let Some(peer) = self.peer_mut(source) else { return };
        (peer.config, peer.local) = (new.clone(), local);
        if restart {
            peer.troubles = 0;
            peer.refused = 0;
            return self.start(source);
        }
        if judge || old.imports_differently(new) {
            self.reimport(source);
        }
        if judge || old.exports_differently(new) {
            FAMILIES.into_iter().for_each(|family| self.resend(source, family));
        }
        if was.kind != self.rib.facts[source.at()].kind {
            for other in self.sources() {
                FAMILIES.into_iter().for_each(|family| self.resend(other, family));
            }
        }
    }
}

/// What we say of a destination of ours.
pub(super) fn said(family: Family, origination: &Origination) -> Said {
    let mut attrs = Attributes::new(Origin::Igp, AsPath::default());
    attrs.communities = origination.communities.clone();
    attrs.large_communities = origination.large.clone();
    attrs.local_pref = origination.local_pref;
    let ourselves: IpAddr =
        if family == Family::IPV4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let nexthop =
        origination.nexthop.filter(|addr| addr.is_ipv4() == ourselves.is_ipv4()).unwrap_or(ourselves);
    Said { source: Source::LOCAL, nexthop: NextHop::from(nexthop), attrs: Arc::new(attrs), received: None }
}
