//! One peer: a connection that counts (`main`), perhaps a second one until it is clear which stays (`rival`), and its
//! Adj-RIB-Outs. Here the steps of `session` are taken and what they ask for is done.

use super::line::Line;
use super::{Output, Speaker};
use crate::config::{PeerConfig, PeerId};
use crate::rib::{AdjRibOut, Source};
use crate::session::{Action, ConnId, Context, Ending, Event, Local, Negotiated, State, collision, step};
use crate::wire::{Ctx, Decoded, Error, Family, MAX, Message, Notification, decode, frame, is_notification};
use model::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// A peer.
#[derive(Debug)]
pub struct Peer {
    /// Its name.
    pub id: PeerId,
    /// As configured.
    pub config: PeerConfig,
    /// What we are to it.
    pub local: Local,
    /// The connection that counts.
    pub main: State,
    /// A second connection, in OpenSent or OpenConfirm.
    pub rival: Option<State>,
    /// What the established session agreed on.
    pub terms: Option<Box<Negotiated>>,
    /// Dials that failed, one after the other.
    pub refused: u32,
    /// Sessions that ended badly, one after the other.
    pub troubles: u32,
    /// Since when it is established, or is not.
    pub since: Instant,
    /// Why the last session ended.
    pub last_error: Option<String>,
    /// A NOTIFICATION said so. A connection that merely breaks afterwards does not hide it.
    pub told_why: bool,
    /// What it was told and is to be told.
    pub outs: BTreeMap<Family, AdjRibOut>,
    /// How many paths it gave.
    pub paths: usize,
    /// Families whose End-of-RIB has yet to come in this session.
    pub awaited: BTreeSet<Family>,
    /// How long its stale paths are kept.
    pub stale_until: Option<Instant>,
}

/// Which of a peer's two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The one that counts.
    Main,
    /// The other.
    Rival,
}

/// A session that lived so long was no trouble.
const LIVED: Duration = Duration::from_secs(60);
/// Nobody so much as refuses our calls.
const UNANSWERED: &str = "Socket: Connection timed out, is the port filtered on the way?";
/// A kernel with another key for us, or without one, drops our calls as a filter does (RFC 2385 §2.0).
const UNANSWERED_WITH_A_PASSWORD: &str =
    "Socket: Connection timed out, is it the same password there, and is the port filtered on the way?";
/// How long a peer may take nothing of what is there for it (RFC 9687 §4), unless twice the hold time is longer.
const SEND_HOLD: Duration = Duration::from_secs(480);

impl Peer {
    /// A peer that was not started.
    pub fn new(id: PeerId, config: PeerConfig, local: Local, now: Instant) -> Peer {
        Peer {
            id,
            config,
            local,
            main: State::Idle { until: None },
            rival: None,
            terms: None,
            refused: 0,
            troubles: 0,
            since: now,
            last_error: None,
            told_why: false,
            outs: BTreeMap::new(),
            paths: 0,
            awaited: BTreeSet::new(),
            stale_until: None,
        }
    }

    /// Where a connection stands, if the peer still knows it.
    fn place(&self, conn: ConnId) -> Option<Place> {
        match (&self.main, &self.rival) {
            (main, _) if main.conn() == Some(conn) => Some(Place::Main),
            (_, Some(rival)) if rival.conn() == Some(conn) => Some(Place::Rival),
            _ => None,
        }
    }

    /// The state of a connection.
    fn state(&self, conn: ConnId) -> Option<&State> {
        match self.place(conn)? {
            Place::Main => Some(&self.main),
            Place::Rival => self.rival.as_ref(),
        }
    }

    /// Whether it is to be told something.
    pub fn is_pending(&self) -> bool {
        self.outs.values().any(AdjRibOut::is_pending)
    }

    fn send_hold(&self) -> Duration {
        let hold = self.terms.as_ref().and_then(|terms| terms.hold_time.duration()).unwrap_or(Duration::ZERO);
        SEND_HOLD.max(Duration::from_micros(hold.micros() * 2))
    }
}

impl Speaker {
    pub(super) fn peer(&self, source: Source) -> Option<&Peer> {
        self.peers[source.at()].as_ref()
    }

    pub(super) fn peer_mut(&mut self, source: Source) -> Option<&mut Peer> {
        self.peers[source.at()].as_mut()
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = Source> + use<> {
        (1..self.peers.len()).map(|at| Source(u16::try_from(at).expect("fewer than 65536 peers")))
    }

    pub(super) fn accepted(&mut self, conn: ConnId, local: SocketAddr, remote: SocketAddr) {
        let addr = remote.ip().to_canonical();
        let place = |peer: &Peer| match (&peer.main, &peer.rival) {
            _ if peer.config.addr != addr => None,
            (State::Active { .. }, _) => Some(Place::Main),
            (State::Idle { .. }, _) | (_, Some(_)) => None,
            (_, None) => Some(Place::Rival),
        };
        let found = self.sources().find_map(|s| self.peer(s).and_then(place).map(|place| (s, place)));
        let Some((source, place)) = found else {
            return self.outputs.push_back(Output::Close { conn });
        };
        self.lines.insert(conn, Line::new(source, Some(local.ip().to_canonical())));
        if place == Place::Rival {
            let peer = self.peer_mut(source).expect("just found");
            peer.rival = Some(State::Active { retry_at: None });
        }
        self.drive(source, place, Event::Accepted(conn));
    }

    pub(super) fn connected(&mut self, conn: ConnId, local: SocketAddr, _remote: SocketAddr) {
        if let Some(line) = self.lines.get_mut(&conn) {
            line.local = Some(local.ip().to_canonical());
        }
        self.drive_conn(conn, Event::Connected(conn));
    }

    pub(super) fn closed(&mut self, conn: ConnId, why: &str) {
        let Some(line) = self.lines.get(&conn) else { return };
        if let Some(peer) = self.peer_mut(line.source)
            && peer.place(conn).is_some()
        {
            if !peer.told_why || peer.main.is_established() {
                peer.last_error = Some(why.to_owned());
            }
            let early = matches!(peer.state(conn), Some(State::Connect { .. } | State::OpenSent { .. }));
            peer.refused = peer.refused.saturating_add(early.into());
        }
        self.drive_conn(conn, Event::Closed);
        self.lines.remove(&conn);
    }

    /// Octets of a connection, cut anywhere.
    pub(super) fn bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(line) = self.lines.get_mut(&conn) else { return };
        let mut inbox = std::mem::take(&mut line.inbox);
        let octets = if inbox.is_empty() {
            bytes
        } else {
            inbox.extend_from_slice(bytes);
            &inbox
        };
        let mut at = 0;
        // Thousands fit into one read, and each would go through the whole table.
        let mut asked_again = BTreeSet::new();
        while self.lines.get(&conn).is_some_and(|line| !line.closing) {
            match self.next_message(conn, &octets[at..]) {
                Ok(None) => break,
                Ok(Some((len, decoded))) => {
                    at += len;
                    self.message(conn, decoded, &mut asked_again);
                }
                // Nothing behind it can be read.
                Err(error) => {
                    let garbled = is_notification(&octets[at..]);
                    let event = if garbled { Event::Garbled } else { Event::Malformed(error) };
                    self.drive_conn(conn, event);
                    at = octets.len();
                    break;
                }
            }
        }
        if let Some(line) = self.lines.get_mut(&conn).filter(|line| !line.closing) {
            line.inbox = octets[at..].to_vec();
        }
        if let Some(source) = self.lines.get(&conn).map(|line| line.source)
            && self.is_established(source, conn)
        {
            asked_again.into_iter().for_each(|family| self.resend(source, family));
        }
    }

    fn next_message(&self, conn: ConnId, octets: &[u8]) -> Result<Option<(usize, Decoded)>, Notification> {
        let early = Ctx::default();
        let state = self.lines.get(&conn).and_then(|line| self.peer(line.source)?.state(conn));
        let ctx = state.and_then(State::terms).map_or(&early, |terms| &terms.ctx);
        let max = if state.is_some() { ctx.max() } else { MAX };
        let Some(len) = frame(octets, max)? else { return Ok(None) };
        Ok(Some((len, decode(&octets[..len], ctx)?)))
    }

    /// `asked_again`: the families whose routes the peer wants once more.
    fn message(&mut self, conn: ConnId, decoded: Decoded, asked_again: &mut BTreeSet<Family>) {
        let Some(source) = self.lines.get(&conn).map(|line| line.source) else { return };
        if let Some(peer) = self.peer(source) {
            let peer = &peer.id;
            let crimes =
                decoded.misbehaved.into_iter().map(|what| Output::Misbehaved { peer: peer.clone(), what });
            let crimes: Vec<Output> = crimes.collect();
            self.outputs.extend(crimes);
        }
        match decoded.message {
            Message::Open(open) => {
                self.drive_conn(conn, Event::Open(&open));
                self.collide(source);
            }
            Message::Keepalive => self.drive_conn(conn, Event::Keepalive),
            Message::Notification(notification) => self.drive_conn(conn, Event::Notification(notification)),
            Message::Update(update) => {
                self.drive_conn(conn, Event::Update);
                if self.is_established(source, conn) {
                    self.ingest(source, update);
                }
            }
            Message::RouteRefresh(refresh) => {
                self.drive_conn(conn, Event::RouteRefresh);
                if refresh.subtype == 0 {
                    asked_again.insert(refresh.family);
                }
            }
        }
    }

    fn is_established(&self, source: Source, conn: ConnId) -> bool {
        self.peer(source).is_some_and(|p| p.main.is_established() && p.main.conn() == Some(conn))
    }

    /// Something happened on a connection.
    pub(super) fn drive_conn(&mut self, conn: ConnId, event: Event<'_>) {
        let Some(source) = self.lines.get(&conn).map(|line| line.source) else { return };
        let Some(place) = self.peer(source).and_then(|peer| peer.place(conn)) else { return };
        self.drive(source, place, event);
    }

    /// Something happened to a peer.
    pub(super) fn drive(&mut self, source: Source, place: Place, event: Event<'_>) {
        let (now, dial, jitter) = (self.now, ConnId::Dialed(self.dialled + 1), self.random.jitter());
        let Some(peer) = self.peer_mut(source) else { return };
        let state = match place {
            Place::Main => std::mem::replace(&mut peer.main, State::Idle { until: None }),
            Place::Rival => peer.rival.take().expect("a rival is driven while there is one"),
        };
        if matches!((&state, &event), (State::Connect { .. }, Event::ConnectRetryTimer)) && !peer.told_why {
            let has_password = peer.config.password_key.is_some();
            let why = if has_password { UNANSWERED_WITH_A_PASSWORD } else { UNANSWERED };
            peer.last_error = Some(why.to_owned());
        }
        let was_up = state.is_established();
        if was_up && now.since(peer.since) >= LIVED {
            peer.troubles = 0;
        }
        let (refused, troubles) = (peer.refused, peer.troubles);
        let cx = Context { peer: &peer.config, local: &peer.local, dial, jitter, refused, troubles };
        let (state, actions) = step(state, event, &cx, now);
        match place {
            Place::Main => peer.main = state,
            Place::Rival => peer.rival = Some(state).filter(|state| state.conn().is_some()),
        }
        if peer.main.conn().is_none()
            && let Some(rival) = peer.rival.take()
        {
            peer.main = rival;
        }
        for action in actions {
            self.act(source, action, was_up);
        }
    }

    fn act(&mut self, source: Source, action: Action, was_up: bool) {
        match action {
            Action::Dial(conn) => {
                self.dialled += 1;
                self.lines.insert(conn, Line::new(source, None));
                if let Some(peer) = self.peer(source) {
                    let dial = Output::Dial { peer: peer.id.clone(), conn };
                    self.outputs.push_back(dial);
                }
            }
            Action::Send(conn, message) => self.say(conn, &message),
            Action::Close(conn) => self.close(conn),
            Action::Up => {
                self.settle_rivalry(source);
                self.session_up(source);
            }
            Action::End(ending) => self.ended(source, &ending, was_up),
        }
    }

    pub(super) fn say(&mut self, conn: ConnId, message: &Message) {
        if let Some(line) = self.lines.get_mut(&conn) {
            line.say(message, &Ctx::default());
        }
    }

    fn close(&mut self, conn: ConnId) {
        let Some(line) = self.lines.get_mut(&conn) else { return };
        line.closing = true;
        line.inbox = Vec::new();
        if line.outbox.is_empty() {
            self.lines.remove(&conn);
        }
        self.outputs.push_back(Output::Close { conn });
    }

    /// An OPEN came: if both connections have one now, one has to go (RFC 4271 §6.8).
    fn collide(&mut self, source: Source) {
        let Some(peer) = self.peer_mut(source) else { return };
        let Some(rival) = &peer.rival else { return };
        let (Some(first), Some(second)) = (peer.main.terms(), rival.terms()) else { return };
        let (Some(main), Some(other)) = (peer.main.conn(), rival.conn()) else { return };
        let remote = (second.router_id, peer.config.remote_asn);
        // RFC 4724 §4.2: a peer that restarts gracefully has forgotten the session that we think is up.
        let forgotten = peer.main.is_established() && first.graceful.is_some() && second.graceful.is_some();
        let loser = match peer.main.is_established() {
            true if forgotten => main,
            true => other,
            false => collision::loser((peer.local.router_id, peer.local.asn), remote, main, other),
        };
        let rival = peer.rival.take().expect("seen above");
        if loser == main {
            peer.main = rival;
        }
        if forgotten {
            self.ended(source, &Ending::Lost, true);
        } else {
            self.say(loser, &Message::Notification(Error::CollisionResolution.into()));
        }
        self.close(loser);
    }

    /// One connection is established: the other goes.
    fn settle_rivalry(&mut self, source: Source) {
        let Some(peer) = self.peer_mut(source) else { return };
        let Some(mut other) = peer.rival.take() else { return };
        if other.is_established() {
            std::mem::swap(&mut peer.main, &mut other);
        }
        let Some(conn) = other.conn() else { return };
        if !matches!(other, State::Connect { .. }) {
            self.say(conn, &Message::Notification(Error::CollisionResolution.into()));
        }
        self.close(conn);
    }

    fn ended(&mut self, source: Source, ending: &Ending, was_up: bool) {
        let now = self.now;
        let Some(peer) = self.peer_mut(source) else { return };
        if *ending == Ending::Refused {
            return;
        }
        peer.troubles = peer.troubles.saturating_add(1);
        if *ending != Ending::Lost || peer.last_error.is_none() {
            peer.last_error = Some(ending.to_string());
            peer.told_why = *ending != Ending::Lost;
        }
        let (id, why, state) = (peer.id.clone(), peer.last_error.clone(), peer.main.name());
        if was_up {
            peer.since = now;
            self.session_down(source, ending);
        }
        self.outputs.push_back(Output::Peer { peer: id, state, why });
    }

    pub(super) fn run_timers(&mut self) {
        for source in self.sources() {
            while let Some(event) = self.peer(source).and_then(|peer| peer.main.due(self.now)) {
                self.drive(source, Place::Main, event);
            }
            while let Some(event) = self.peer(source).and_then(|p| p.rival.as_ref()?.due(self.now)) {
                self.drive(source, Place::Rival, event);
            }
            if self.peer(source).and_then(|peer| peer.stale_until).is_some_and(|at| at <= self.now) {
                self.drop_stale(source, None);
            }
        }
        self.run_send_hold();
        self.run_deferral();
    }

    fn run_send_hold(&mut self) {
        let mut stuck = Vec::new();
        for (conn, line) in self.lines.iter_mut().filter(|(_, line)| !line.closing) {
            let Some(peer) = self.peers[line.source.at()].as_ref() else { continue };
            let up = peer.main.is_established() && peer.main.conn() == Some(*conn);
            let work = !line.outbox.is_empty() || up && peer.is_pending();
            line.waiting_since = work.then_some(line.waiting_since.unwrap_or(self.now));
            if line.waiting_since.is_some_and(|since| since + peer.send_hold() <= self.now) {
                stuck.push(*conn);
            }
        }
        for conn in stuck {
            self.drive_conn(conn, Event::SendHoldTimer);
        }
    }

    /// When `handle` has to be called at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let peers = self.peers.iter().flatten().flat_map(|peer| {
            let rival = peer.rival.as_ref().and_then(State::timer);
            [peer.main.timer(), rival, peer.stale_until]
        });
        let lines = self.lines.values().filter(|line| !line.closing).map(|line| {
            let peer = self.peer(line.source)?;
            Some(line.waiting_since? + peer.send_hold())
        });
        peers.chain(lines).chain([self.deferred]).flatten().min()
    }
}
