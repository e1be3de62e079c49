//! Connections between speakers: what one end sends comes to the other in order, in pieces that are cut anywhere, each in its
//! own time; not at all as long as the network between them is cut; or the connection is reset instead; or the network swallows
//! what is sent, and neither end hears of it until its hold timer ends.

use super::carry::Happening;
use super::speakers::{Talk, Who};
use super::{Broken, Machines};
use crate::sim::faults::What;
use bgp::{ConnId, Input};
use model::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

/// From one speaker to another: microseconds, from and to.
pub(super) const WIRE: (u64, u64) = (50, 5_000);
/// How long what is cut off waits before it is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// Marker, length and type (RFC 4271 §4.1).
const HEADER: usize = 19;
const UPDATE: u8 = 2;

/// All connections.
#[derive(Default)]
pub(super) struct Lines {
    lines: BTreeMap<u64, [End; 2]>,
    /// On these nothing arrives any more.
    swallowed: BTreeSet<u64>,
    opened: u64,
}

struct End {
    who: Who,
    /// The address that it had when the connection was made.
    addr: IpAddr,
    conn: ConnId,
    /// It is still open here.
    is_open: bool,
    /// What has been sent to it and not read; `None`: the other end closed.
    inbox: VecDeque<Option<Vec<u8>>>,
    /// When the last of that comes.
    ear: Instant,
    /// What this end sent of a message that is not complete.
    begun: Vec<u8>,
}

impl Lines {
    /// A connection between two.
    pub fn open(&mut self, ends: [(Who, IpAddr, ConnId); 2]) {
        let end = |(who, addr, conn)| End {
            who,
            addr,
            conn,
            is_open: true,
            inbox: VecDeque::new(),
            ear: Instant::ZERO,
            begun: Vec::new(),
        };
        self.opened += 1;
        self.lines.insert(self.opened, ends.map(end));
    }

    fn open_ends(&self, who: Who) -> impl Iterator<Item = (u64, &End)> {
        let all = self.lines.iter().flat_map(|(line, ends)| ends.iter().map(|end| (*line, end)));
        all.filter(move |(_, end)| end.who == who && end.is_open)
    }

    /// The open connections of a speaker.
    pub fn of(&self, who: Who) -> Vec<u64> {
        self.open_ends(who).map(|(line, _)| line).collect()
    }

    /// The same with the speaker's numbers for them.
    pub fn ends_of(&self, who: Who) -> Vec<(u64, ConnId)> {
        self.open_ends(who).map(|(line, end)| (line, end.conn)).collect()
    }

    /// The connection that a speaker knows by this number.
    pub fn find(&self, who: Who, conn: ConnId) -> Option<u64> {
        self.open_ends(who).find(|(_, end)| end.conn == conn).map(|(line, _)| line)
    }

    /// Who is at the other end.
    pub fn far(&self, line: u64, who: Who) -> Option<Who> {
        self.lines.get(&line)?.iter().find(|end| end.who != who).map(|end| end.who)
    }

    /// By which address `who` knows the other end.
    pub fn far_addr(&self, line: u64, who: Who) -> Option<IpAddr> {
        self.lines.get(&line)?.iter().find(|end| end.who != who).map(|end| end.addr)
    }

    /// Whether the network swallowed what was sent on one of them.
    pub fn were_swallowed(&self) -> bool {
        !self.swallowed.is_empty()
    }

    /// How many UPDATEs end with these bytes, the next that `who` sends.
    pub fn updates(&mut self, line: u64, who: Who, bytes: &[u8]) -> u64 {
        let Some(end) = self.lines.get_mut(&line).and_then(|ends| ends.iter_mut().find(|end| end.who == who))
        else {
            return 0;
        };
        end.begun.extend(bytes);
        let mut updates = 0;
        while end.begun.len() >= HEADER {
            let length = usize::from(u16::from_be_bytes([end.begun[16], end.begun[17]])).max(HEADER);
            if end.begun.len() < length {
                break;
            }
            updates += u64::from(end.begun[18] == UPDATE);
            end.begun.drain(..length);
        }
        updates
    }
}

impl Machines {
    /// What `who` sends is on its way, in pieces.
    pub(super) fn send(&mut self, line: u64, who: Who, bytes: Vec<u8>) {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let cut = self.span((1, 2 * rest.len() as u64)).micros() as usize;
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            if let Who::Node(node) = who
                && let Some(what) = self.faults.strikes(node)
            {
                return self.strike(line, node, what);
            }
            self.put(line, who, Some(piece.to_vec()));
            rest = after;
        }
    }

    /// Something befalls a connection of a node.
    fn strike(&mut self, line: u64, node: usize, what: What) {
        self.disturbed = true;
        self.say(format!("n{}: {what:?} of a BGP connection", node + 1));
        let far = self.speakers.lines.far(line, Who::Node(node));
        if far == Some(Who::Router) && self.is_stale_at_router(node) {
            self.laws.excused.insert(node);
        }
        if what == What::Swallow {
            self.speakers.lines.swallowed.insert(line);
            return;
        }
        let who = Who::Node(node);
        self.put(line, who, None);
        if let Some(far) = far {
            self.put(line, far, None);
        }
    }

    /// The machine loses its power: nobody tells the other ends.
    pub(super) fn fall_silent(&mut self, node: usize) {
        let lines = self.speakers.lines.of(Who::Node(node));
        self.speakers.lines.swallowed.extend(lines);
    }

    /// `who` closes its end.
    pub(super) fn end_line(&mut self, line: u64, who: Who) {
        if let Some(ends) = self.speakers.lines.lines.get_mut(&line) {
            ends.iter_mut().filter(|end| end.who == who).for_each(|end| end.is_open = false);
            if self.speakers.lines.swallowed.contains(&line) && ends.iter().all(|end| !end.is_open) {
                self.speakers.lines.lines.remove(&line);
            }
        }
        self.put(line, who, None);
    }

    /// One thing more is on its way to the other end than `who`'s.
    fn put(&mut self, line: u64, who: Who, piece: Option<Vec<u8>>) {
        if self.speakers.lines.swallowed.contains(&line) {
            return;
        }
        let (now, span) = (self.queue.now(), self.span(WIRE));
        let Some(ends) = self.speakers.lines.lines.get_mut(&line) else { return };
        let Some(end) = ends.iter().position(|end| end.who != who) else { return };
        let far = &mut ends[end];
        far.inbox.push_back(piece);
        far.ear = (now + span).max(far.ear + Duration::from_micros(1));
        let span = far.ear.since(now);
        self.queue.push(span, Happening::Talk(Talk::Read { line, end }));
    }

    pub(super) fn read_line(&mut self, line: u64, end: usize) -> Result<(), Broken> {
        let Some(ends) = self.speakers.lines.lines.get(&line) else { return Ok(()) };
        if self.is_cut_off(ends[0].who, ends[1].who) {
            self.queue.push(AGAIN, Happening::Talk(Talk::Read { line, end }));
            return Ok(());
        }
        let ends = self.speakers.lines.lines.get_mut(&line).expect("seen above");
        let end = &mut ends[end];
        let (who, conn) = (end.who, end.conn);
        let Some(piece) = end.inbox.pop_front() else { return Ok(()) };
        if !end.is_open {
            if !ends.iter().any(|end| end.is_open) {
                self.speakers.lines.lines.remove(&line);
            }
            return Ok(());
        }
        match piece {
            Some(bytes) => self.speak(who, Input::Bytes { conn, bytes: &bytes }),
            None => {
                end.is_open = false;
                self.speak(who, Input::Closed { conn, why: "connection reset by peer".to_owned() })
            }
        }
    }
}
