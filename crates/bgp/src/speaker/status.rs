//! What people want to know: sessions and routes, as they are now.

use super::policy::{Ends, Reason};
use super::{FAMILIES, Speaker};
use crate::config::PeerId;
use crate::rib::{AdjRibOut, Source};
use crate::wire::{Attributes, Family, HoldTime, NextHop, RouterId};
use model::{Asn, Cidr, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// A session.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerStatus {
    /// Whose.
    pub id: PeerId,
    /// The peer's address.
    pub addr: IpAddr,
    /// Its autonomous system, as configured.
    pub asn: Asn,
    /// The state's name in RFC 4271.
    pub state: &'static str,
    /// Since when it is established, or is not.
    pub since: Instant,
    /// When it will try again, if it is waiting.
    pub retry_at: Option<Instant>,
    /// Why the last session or attempt ended. None once established.
    pub last_error: Option<String>,
    /// The peer's identifier, once established.
    pub router_id: Option<RouterId>,
    /// Our address in the session, if there is a connection.
    pub local_addr: Option<IpAddr>,
    /// What was agreed on, once established.
    pub hold_time: Option<HoldTime>,
    /// What was agreed on, once established.
    pub families: BTreeSet<Family>,
    /// Paths that it gave.
    pub received: usize,
    /// Destinations that it was told.
    pub advertised: usize,
    /// Destinations that it is yet to be told of.
    pub pending: usize,
    /// Its stale paths are kept until then.
    pub stale_until: Option<Instant>,
    /// Destinations that it says what cannot be of, and why not: some, if there are many.
    pub refused: Vec<(Cidr, NextHop, Reason)>,
}

/// So many refused destinations of a peer are told at most.
const REFUSED: usize = 8;

/// A path as one end of a session holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Where to.
    pub dst: Cidr,
    /// Where to send packets.
    pub nexthop: NextHop,
    /// What is said of it.
    pub attrs: Arc<Attributes>,
    /// The import rules refuse it.
    pub rejected: bool,
    /// It is kept while its peer restarts.
    pub stale: bool,
}

impl Speaker {
    /// Every session, in the order of names.
    pub fn status(&self) -> Vec<PeerStatus> {
        let mut refused = self.refused();
        let sessions = self.sources().filter_map(|source| {
            let peer = self.peer(source)?;
            let terms = peer.terms.as_ref();
            let waits = peer.main.conn().is_none();
            let local_addr = self.local_addr(source);
            Some(PeerStatus {
                id: peer.id.clone(),
                addr: peer.config.addr,
                asn: peer.config.remote_asn,
                state: peer.main.name(),
                since: peer.since,
                retry_at: peer.main.timer().filter(|_| waits),
                last_error: peer.last_error.clone(),
                router_id: terms.map(|terms| terms.router_id),
                local_addr: (!local_addr.is_unspecified()).then_some(local_addr),
                hold_time: terms.map(|terms| terms.hold_time),
                families: terms.map(|terms| terms.families.clone()).unwrap_or_default(),
                received: peer.paths,
                advertised: peer.outs.values().map(AdjRibOut::count).sum(),
                pending: peer.outs.values().map(AdjRibOut::pending).sum(),
                stale_until: peer.stale_until,
                refused: refused.remove(&source).unwrap_or_default(),
            })
        });
        let mut sessions: Vec<_> = sessions.collect();
        sessions.sort_by(|a, b| a.id.cmp(&b.id));
        sessions
    }

    /// What peers say that cannot be.
    fn refused(&self) -> BTreeMap<Source, Vec<(Cidr, NextHop, Reason)>> {
        let mut refused: BTreeMap<Source, Vec<_>> = BTreeMap::new();
        let Some(config) = self.config.as_ref() else { return refused };
        let tables = FAMILIES.map(|family| self.rib.table(family));
        let paths = tables.into_iter().flat_map(|table| {
            table.ids().flat_map(move |id| table.paths(id).iter().map(move |path| (table.dst(id), path)))
        });
        for (dst, path) in paths.filter(|(_, path)| path.rejected) {
            let said = &path.route.said;
            let Some(peer) = self.peer(said.source) else { continue };
            let local_addr = self.local_addr(said.source);
            let ends = Ends { config, peer: &peer.config, local: &peer.local, local_addr };
            let of_peer = refused.entry(said.source).or_default();
            if let Some(why) = ends.impossible(dst, said.nexthop, &said.attrs)
                && of_peer.len() < REFUSED
            {
                of_peer.push((dst, said.nexthop, why));
            }
        }
        refused
    }

    /// What a peer gave, before the import filter, in the order of destinations.
    pub fn adj_rib_in(&self, peer: &PeerId) -> Vec<Heard> {
        let Some(source) = self.source(peer) else { return Vec::new() };
        let paths = FAMILIES.into_iter().flat_map(|family| {
            let table = self.rib.table(family);
            table.sorted().into_iter().filter_map(move |(dst, id)| {
                let path = table.from(id, source)?;
                let (nexthop, attrs) = path.route.said.as_received();
                Some(Heard { dst, nexthop, attrs: attrs.clone(), rejected: path.rejected, stale: path.stale })
            })
        });
        paths.collect()
    }

    /// What a peer was told and not told otherwise, in the order of destinations. What is pending is not in it.
    pub fn adj_rib_out(&self, peer: &PeerId) -> Vec<Heard> {
        self.source(peer).map(|source| self.told(source)).unwrap_or_default()
    }

    /// The best path of each destination and who gave it, `None` for us.
    pub fn loc_rib(&self) -> Vec<(Cidr, NextHop, Option<PeerId>)> {
        let best = FAMILIES.into_iter().flat_map(|family| {
            let table = self.rib.table(family);
            table.sorted().into_iter().filter_map(move |(dst, id)| {
                let said = &table.best(id)?.route.said;
                Some((dst, said.nexthop, self.peer(said.source).map(|peer| peer.id.clone())))
            })
        });
        best.collect()
    }
}
