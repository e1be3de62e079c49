//! Connections between speakers: what one end sends comes to the other in order, in pieces that are cut anywhere, each in its
//! own time; not at all as long as the network between them is cut; or the connection is reset instead; or the network swallows
//! what is sent, and neither end hears of it until its hold timer ends; or one end does not read, and what the other has to say
//! waits there as soon as the window is full.

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
/// How much may be on its way to an end that has not read it: little, so that a window is soon full.
const WINDOW: usize = 256;
/// How long last words may take, as in `agent::speaker`.
const FAREWELL: Duration = Duration::from_secs(5);
/// Marker, length and type (RFC 4271 §4.1).
const HEADER: usize = 19;
const UPDATE: u8 = 2;

/// All connections.
#[derive(Default)]
pub(super) struct Lines {
    lines: BTreeMap<u64, [End; 2]>,
    /// On these nothing arrives any more.
    swallowed: BTreeSet<u64>,
    /// Between these something was in the way, so that a hold timer may end.
    marred: BTreeSet<(Who, Who)>,
    /// What was in the way may be there until it does.
    pub are_slow_to_heal: bool,
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
    /// It reads nothing before.
    deaf_until: Instant,
    /// What this end was given to write and has had no room for: it is given no more.
    unsent: Vec<u8>,
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
            deaf_until: Instant::ZERO,
            unsent: Vec::new(),
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

    /// Those that can be given something to write, with the speaker's numbers for them.
    pub fn ends_with_room(&self, who: Who) -> Vec<(u64, ConnId)> {
        let ready = self.open_ends(who).filter(|(_, end)| end.unsent.is_empty());
        ready.map(|(line, end)| (line, end.conn)).collect()
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

    /// Who is at an end.
    pub fn who(&self, line: u64, end: usize) -> Option<Who> {
        self.lines.get(&line).map(|ends| ends[end].who)
    }

    fn end(&mut self, line: u64, who: Who) -> Option<&mut End> {
        self.lines.get_mut(&line)?.iter_mut().find(|end| end.who == who)
    }

    /// How much `who` has to write, and for how much there is room; `None`: it can write nothing.
    fn rest_and_room(&self, line: u64, who: Who) -> Option<(usize, usize)> {
        let ends = self.lines.get(&line)?;
        let [near, far] = [true, false].map(|near| ends.iter().find(|end| (end.who == who) == near));
        let (near, far) = (near?, far?);
        let under_way: usize = far.inbox.iter().flatten().map(Vec::len).sum();
        let room = if self.swallowed.contains(&line) { WINDOW } else { WINDOW.saturating_sub(under_way) };
        (!near.unsent.is_empty() && room > 0).then_some((near.unsent.len(), room))
    }

    /// From now on nothing arrives on it.
    fn swallow(&mut self, line: u64) {
        self.swallowed.insert(line);
        self.are_slow_to_heal = true;
        if let Some([one, other]) = self.lines.get(&line) {
            let (one, other) = (one.who, other.who);
            self.mar(one, other);
        }
    }

    /// Something is in the way between two.
    pub fn mar(&mut self, one: Who, other: Who) {
        self.marred.extend([(one, other), (other, one)]);
    }

    pub fn is_marred(&self, one: Who, other: Who) -> bool {
        self.marred.contains(&(one, other))
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
    /// What `who` sends is on its way, in pieces, as far as there is room; the rest waits.
    pub(super) fn send(&mut self, line: u64, who: Who, bytes: Vec<u8>) {
        if let Some(end) = self.speakers.lines.end(line, who) {
            end.unsent.extend(bytes);
        }
        self.write_out(line, who);
        let rest = self.speakers.lines.end(line, who).map_or(0, |end| end.unsent.len());
        if rest > 0 {
            self.say(format!("{who:?} has no room for {rest} octets"));
        }
    }

    fn write_out(&mut self, line: u64, who: Who) {
        while let Some((rest, room)) = self.speakers.lines.rest_and_room(line, who) {
            let cut = self.span((1, 2 * rest as u64)).micros() as usize;
            let struck = match who {
                Who::Node(node) => self.faults.strikes(node).map(|what| (node, what)),
                Who::Router => None,
            };
            if let Some((node, what)) = struck {
                self.strike(line, node, what);
            }
            let Some(end) = self.speakers.lines.end(line, who) else { return };
            if matches!(struck, Some((_, What::Reset | What::Swallow))) {
                end.unsent.clear();
                return;
            }
            let piece = end.unsent.drain(..cut.min(rest).min(room)).collect();
            self.put(line, who, Some(piece));
        }
    }

    /// Something befalls a connection of a node.
    fn strike(&mut self, line: u64, node: usize, what: What) {
        self.disturbed = true;
        self.say(format!("n{}: {what:?} of a BGP connection", node + 1));
        let (who, now) = (Who::Node(node), self.queue.now());
        let Some(far) = self.speakers.lines.far(line, who) else { return };
        match what {
            What::Swallow => self.speakers.lines.swallow(line),
            What::Stall(micros) => self.deafen(line, far, now + Duration::from_micros(micros)),
            _ => {
                self.put(line, who, None);
                self.put(line, far, None);
            }
        }
    }

    /// From now on a node reads nothing of its connection with another one, for so long.
    pub fn stall(&mut self, from: usize, to: usize, span: Duration) {
        let (from, to, until) = (Who::Node(from), Who::Node(to), self.queue.now() + span);
        let lines = &mut self.speakers.lines;
        let line = lines.of(from).into_iter().find(|line| lines.far(*line, from) == Some(to));
        let line = line.expect("the nodes speak with each other");
        self.deafen(line, to, until);
    }

    fn deafen(&mut self, line: u64, who: Who, until: Instant) {
        self.disturbed = true;
        let lines = &mut self.speakers.lines;
        let Some(far) = lines.far(line, who) else { return };
        lines.mar(who, far);
        lines.are_slow_to_heal = true;
        lines.end(line, who).expect("one of two").deaf_until = until;
    }

    /// The machine loses its power: nobody tells the other ends.
    pub(super) fn fall_silent(&mut self, node: usize) {
        for line in self.speakers.lines.of(Who::Node(node)) {
            self.speakers.lines.swallow(line);
        }
    }

    /// The process ends: what it could not write is lost.
    pub(super) fn drop_line(&mut self, line: u64, who: Who) {
        if let Some(end) = self.speakers.lines.end(line, who) {
            end.unsent.clear();
        }
        self.end_line(line, who);
    }

    /// `who` closes its end, after what is still to be written.
    pub(super) fn end_line(&mut self, line: u64, who: Who) {
        let Some(ends) = self.speakers.lines.lines.get_mut(&line) else { return };
        let end = ends.iter().position(|end| end.who == who).expect("it is an end's");
        ends[end].is_open = false;
        let has_more_to_say = !ends[end].unsent.is_empty();
        if self.speakers.lines.swallowed.contains(&line) && ends.iter().all(|end| !end.is_open) {
            self.speakers.lines.lines.remove(&line);
        }
        if has_more_to_say {
            self.queue.push(FAREWELL, Happening::Talk(Talk::Farewell { line, end }));
        } else {
            self.put(line, who, None);
        }
    }

    /// What an end that is closed could not write in time is lost.
    pub(super) fn give_up(&mut self, line: u64, end: usize) {
        let Some(ends) = self.speakers.lines.lines.get_mut(&line) else { return };
        let end = &mut ends[end];
        if !std::mem::take(&mut end.unsent).is_empty() {
            let who = end.who;
            self.put(line, who, None);
        }
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
        let (now, other) = (self.queue.now(), 1 - end);
        if ends[end].is_open && ends[end].deaf_until > now {
            let span = ends[end].deaf_until.since(now);
            self.queue.push(span, Happening::Talk(Talk::Read { line, end }));
            return Ok(());
        }
        let ends = self.speakers.lines.lines.get_mut(&line).expect("seen above");
        let waits = !ends[other].unsent.is_empty();
        let end = &mut ends[end];
        let (who, conn) = (end.who, end.conn);
        let Some(piece) = end.inbox.pop_front() else { return Ok(()) };
        if !end.is_open {
            if !ends.iter().any(|end| end.is_open) {
                self.speakers.lines.lines.remove(&line);
            }
            return Ok(());
        }
        if piece.is_none() {
            end.is_open = false;
            end.unsent.clear();
        }
        if waits {
            let span = self.span(WIRE);
            self.queue.push(span, Happening::Talk(Talk::Room { line, end: other }));
        }
        match piece {
            Some(bytes) => self.speak(who, Input::Bytes { conn, bytes: &bytes }),
            None => self.speak(who, Input::Closed { conn, why: "connection reset by peer".to_owned() }),
        }
    }

    /// There is room again at an end: first for what waits there, then for more.
    pub(super) fn write_line(&mut self, line: u64, end: usize) -> Result<(), Broken> {
        let Some(who) = self.speakers.lines.who(line, end) else { return Ok(()) };
        self.write_out(line, who);
        match self.speakers.lines.end(line, who) {
            Some(end) if end.unsent.is_empty() && end.is_open => self.attend(who),
            Some(end) if end.unsent.is_empty() => {
                self.put(line, who, None);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
