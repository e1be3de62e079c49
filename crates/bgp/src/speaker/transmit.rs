//! UPDATEs are made here, when a socket has room, from what holds now.

use super::peer::Peer;
use super::policy::Ends;
use super::{FAMILIES, Rib, Speaker};
use crate::filter::Operation;
use crate::rib::{AdjRibOut, DstId, Next, Serial, Source};
use crate::session::ConnId;
use crate::wire::{Ctx, Family, pack};
use std::net::IpAddr;

/// No fewer destinations are looked at in one go than this.
const LEAST: usize = 64;

impl Speaker {
    /// Appends what is to be sent on a connection: whole messages, as long as fewer than `room` octets were appended, so
    /// that the last may exceed it by a message's length. Nothing is to be sent if nothing was appended.
    pub fn poll_transmit(&mut self, conn: ConnId, room: usize, out: &mut Vec<u8>) {
        let start = out.len();
        let Some(line) = self.lines.get_mut(&conn) else { return };
        // Most connections, most of the time: a shell asks for each of them.
        let waits = self.peers[line.source.at()].as_ref().is_some_and(Peer::is_pending);
        if line.outbox.is_empty() && !line.closing && !waits {
            return;
        }
        out.append(&mut line.outbox);
        let source = line.source;
        if line.closing {
            self.lines.remove(&conn);
            return;
        }
        let local_addr = self.local_addr(source);
        let Some(config) = self.config.clone() else { return };
        let Some(peer) = self.peers[source.at()].as_mut() else { return };
        let Peer { outs, config: peer_config, local, main, .. } = peer;
        let mut left = !outs.is_empty();
        if main.is_established() && main.conn() == Some(conn) {
            let Some(terms) = main.terms() else { return };
            let ends = Ends { config: &config, peer: peer_config, local, local_addr };
            for family in FAMILIES {
                let Some(adj) = outs.get_mut(&family) else { continue };
                let mut writer = Writer { rib: &self.rib, ends, family, ctx: &terms.ctx, source, adj };
                writer.write(start + room, out);
            }
            left = outs.values().any(AdjRibOut::is_pending);
        }
        if let Some(line) = self.lines.get_mut(&conn)
            && out.len() > start
        {
            line.waiting_since = left.then_some(self.now);
        }
    }
}

/// Writes one family's UPDATEs for one peer.
struct Writer<'a> {
    rib: &'a Rib,
    ends: Ends<'a>,
    family: Family,
    ctx: &'a Ctx,
    source: Source,
    adj: &'a mut AdjRibOut,
}

impl Writer<'_> {
    fn write(&mut self, end: usize, out: &mut Vec<u8>) {
        let octets = if self.family == Family::IPV4 { 5 } else { 17 };
        while out.len() < end {
            let limit = ((end - out.len()).min(self.ctx.max()) / octets).max(LEAST);
            match self.adj.pop(limit) {
                None => return,
                Some(Next::EndOfRib) => pack::end_of_rib(self.family, out),
                Some(Next::Group(serial, ids)) => self.group(serial, ids, out),
            }
        }
    }

    /// Destinations with one best route: split by what the export filter does with them.
    fn group(&mut self, serial: Serial, ids: Vec<DstId>, out: &mut Vec<u8>) {
        let (rib, ends, table) = (self.rib, self.ends, self.rib.table(self.family));
        let mut gone = Vec::new();
        let mut told: Vec<(&[Operation], Vec<DstId>)> = Vec::new();
        for id in ids {
            let best = table.best(id).filter(|path| serial != 0 && path.route.serial == serial);
            let verdict = best.and_then(|path| {
                let said = &path.route.said;
                ends.export(table.dst(id), said, &rib.facts[said.source.at()])
            });
            match verdict {
                None => gone.push(id),
                Some(ops) => match told.iter_mut().find(|(known, _)| *known == ops) {
                    Some((_, ids)) => ids.push(id),
                    None => told.push((ops, vec![id])),
                },
            }
        }
        for (operations, ids) in told {
            self.announce(operations, ids, &mut gone, out);
        }
        self.withdraw(gone, out);
    }

    fn announce(
        &mut self,
        operations: &[Operation],
        ids: Vec<DstId>,
        gone: &mut Vec<DstId>,
        out: &mut Vec<u8>,
    ) {
        let table = self.rib.table(self.family);
        let path =
            ids.first().and_then(|id| table.best(*id)).expect("a group has destinations with a best route");
        let said = &path.route.said;
        assert!(said.source != self.source, "nobody is told what he said");
        let facts = &self.rib.facts[said.source.at()];
        let Some(nexthop) = self.ends.nexthop(said, facts) else { return gone.extend(ids) };
        let attrs = self.ends.attributes(said, facts, operations);
        let mut dsts = ids.iter().map(|id| table.dst(*id)).peekable();
        let mut count = 0;
        // A route whose attributes do not fit a message cannot be told: RFC 4271 §9.2.
        while let Ok(some @ 1..) = pack::announce(&attrs, nexthop, &mut dsts, self.ctx, out) {
            count += some;
        }
        ids[..count].iter().for_each(|id| self.adj.told(*id));
        gone.extend_from_slice(&ids[count..]);
    }

    fn withdraw(&mut self, mut ids: Vec<DstId>, out: &mut Vec<u8>) {
        ids.retain(|id| self.adj.retract(*id));
        let table = self.rib.table(self.family);
        let mut dsts = ids.iter().map(|id| table.dst(*id)).peekable();
        while pack::withdraw(self.family, &mut dsts, self.ctx, out) > 0 {}
    }
}

impl Speaker {
    /// A peer's Adj-RIB-Out as it would be told, for those that are announced.
    pub(super) fn told(&self, source: Source) -> Vec<super::Heard> {
        let Some((config, peer)) = self.config.as_ref().zip(self.peer(source)) else { return Vec::new() };
        let local_addr: IpAddr = self.local_addr(source);
        let ends = Ends { config, peer: &peer.config, local: &peer.local, local_addr };
        let told = |family: &Family, id: DstId| {
            let (table, said) = (self.rib.table(*family), &self.rib.table(*family).best(id)?.route.said);
            let facts = &self.rib.facts[said.source.at()];
            let operations = ends.export(table.dst(id), said, facts)?;
            let attrs = ends.attributes(said, facts, operations);
            Some(super::Heard {
                dst: table.dst(id),
                nexthop: ends.nexthop(said, facts)?,
                attrs: attrs.into(),
                rejected: false,
                stale: false,
            })
        };
        let all = peer.outs.iter().flat_map(|(family, out)| out.sent().filter_map(|id| told(family, id)));
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|heard| heard.dst);
        all
    }
}
