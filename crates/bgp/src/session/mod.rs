//! The finite state machine of one connection (RFC 4271 §8), as data and one function.
//!
//! ```text
//!          Start            Connected             Open              Keepalive
//!   Idle ────────► Connect ──────────► OpenSent ────────► OpenConfirm ────────► Established
//!    ▲  ────────► Active ────────────►    │                   │                    │
//!    │  (passive)          Accepted       │                   │                    │
//!    └────────────────────────────────────┴──── error ────────┴────────────────────┘
//! ```
//!
//! In: a state, what happened, the peer's terms, the time. Out: the next state and what to do. A step consumes the
//! state; what is not listed is the state's FSM error (RFC 6608). Timers are instants inside the states, so nothing has
//! to be cancelled. Two connections of one peer meet one level above, in `collision`.

pub mod collision;
mod open;
#[cfg(test)]
mod tests;

pub use open::{Local, Negotiated};

use crate::config::PeerConfig;
use crate::wire::{Error, Message, Notification, Open};
use model::{Duration, Instant};
use std::fmt;

/// One TCP connection. Each side numbers its own, so that no number is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnId {
    /// The speaker asked for it; the speaker numbers.
    Dialed(u64),
    /// A listening socket gave it; the shell numbers.
    Accepted(u64),
}

/// How far a connection is.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// Not trying. Until then, or until `Start`.
    Idle {
        /// When the idle hold ends.
        until: Option<Instant>,
    },
    /// Dialling.
    Connect {
        /// What will be connected.
        conn: ConnId,
        /// When to give up and dial anew.
        retry_at: Instant,
    },
    /// Waiting for the peer to dial.
    Active {
        /// When to dial; never, if passive.
        retry_at: Option<Instant>,
    },
    /// We have sent our OPEN.
    OpenSent {
        /// Where.
        conn: ConnId,
        /// How long to wait for the peer's.
        hold_at: Instant,
    },
    /// Both OPENs agree; the peer has yet to say so.
    OpenConfirm(Live),
    /// UPDATEs flow.
    Established(Live),
}

/// A connection whose OPENs agree.
#[derive(Debug, PartialEq, Eq)]
pub struct Live {
    /// Which.
    pub conn: ConnId,
    /// What they agree on.
    pub terms: Box<Negotiated>,
    /// When the peer has been silent for too long; never, if the hold time is zero.
    pub hold_at: Option<Instant>,
    /// When we have to say something.
    pub keepalive_at: Option<Instant>,
}

/// What happened (RFC 4271 §8.1, its numbers in brackets).
#[derive(Debug)]
pub enum Event<'a> {
    /// The peer is wanted (1, 3, 4, 5).
    Start,
    /// The peer is not wanted, for this reason (2, 8).
    Stop(Notification),
    /// The idle hold ended (13).
    IdleHoldTimer,
    /// It took too long to connect, or it is time to (9).
    ConnectRetryTimer,
    /// The peer was silent for too long (10).
    HoldTimer,
    /// We were silent for long (11).
    KeepaliveTimer,
    /// The peer took nothing for too long (29, RFC 9687).
    SendHoldTimer,
    /// What we dialled is connected (16).
    Connected(ConnId),
    /// The peer dialled (17).
    Accepted(ConnId),
    /// The connection is gone, or never was (18).
    Closed,
    /// OPEN (19).
    Open(&'a Open),
    /// KEEPALIVE (26).
    Keepalive,
    /// UPDATE (27).
    Update,
    /// ROUTE-REFRESH (RFC 2918).
    RouteRefresh,
    /// NOTIFICATION (24, 25).
    Notification(Notification),
    /// A NOTIFICATION that cannot be read, which is not answered (RFC 4271 §6.4).
    Garbled,
    /// A message that calls for this notification (21, 22, 28).
    Malformed(Notification),
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection.
    Dial(ConnId),
    /// Send a message.
    Send(ConnId, Message),
    /// Close a connection, after what is left to send.
    Close(ConnId),
    /// The session is established.
    Up,
    /// A connection on which an OPEN was sent has ended.
    End(Ending),
}

/// What to do, in order. Empty for most messages, and then it costs nothing.
pub type Actions = Vec<Action>;

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// We said so.
    Sent(Notification),
    /// The peer said so.
    Received(Notification),
    /// The peer said so, in a NOTIFICATION that cannot be read.
    Garbled,
    /// The connection broke.
    Lost,
    /// The peer closed it before it said who it is: it holds us off, or does not know us.
    Refused,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Sent(notification) => write!(f, "sent: {notification}"),
            Ending::Received(notification) => write!(f, "received: {notification}"),
            Ending::Garbled => f.write_str("received: a NOTIFICATION that cannot be read"),
            Ending::Lost => f.write_str("the connection was closed"),
            Ending::Refused => f.write_str("the peer accepts no session"),
        }
    }
}

/// What a step depends on besides state and event.
#[derive(Debug)]
pub struct Context<'a> {
    /// The peer as configured.
    pub peer: &'a PeerConfig,
    /// What we say of ourselves.
    pub local: &'a Local,
    /// The number of the next connection that is dialled.
    pub dial: ConnId,
    /// A share of each timer in per mille, 750 to 1000 (RFC 4271 §10).
    pub jitter: u64,
    /// Dials that failed one after the other.
    pub refused: u32,
    /// Sessions that ended badly one after the other.
    pub troubles: u32,
}

/// How long to wait for the peer's OPEN. RFC 4271 §8.2.2 suggests four minutes; but a connection that is dead without a word must
/// be given up before a peer gives up the routes that it keeps over a restart, two minutes as a rule (RFC 4724 §4.2).
const OPEN_HOLD: Duration = Duration::from_secs(60);
/// The first wait between two dials; it doubles up to the peer's `connect_retry`.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// The first idle hold of a peer that misbehaves; it doubles.
const FIRST_IDLE: Duration = Duration::from_secs(5);
/// The longest idle hold.
const LONGEST_IDLE: Duration = Duration::from_secs(120);
/// So many sessions in a row may break without fault before the peer has to wait.
const BREAKS_FREE: u32 = 3;

impl Context<'_> {
    fn jittered(&self, span: Duration) -> Duration {
        Duration::from_micros(span.micros() / 1000 * self.jitter)
    }

    fn retry_at(&self, now: Instant) -> Instant {
        let most = self.peer.connect_retry;
        now + self.jittered((0..self.refused).fold(FIRST_RETRY.min(most), |span, _| span.doubled(most)))
    }

    /// How long a peer has to wait after such an end: growing, if it keeps on.
    fn idle_hold(&self, ending: &Ending) -> Duration {
        let fault = match ending {
            Ending::Sent(_) => self.troubles + 1,
            Ending::Received(_) | Ending::Garbled | Ending::Lost => {
                (self.troubles + 1).saturating_sub(BREAKS_FREE)
            }
            // Were this held against the peer, two that hold each other off would never meet.
            Ending::Refused => 0,
        };
        match fault {
            0 => Duration::ZERO,
            _ => self.jittered((1..fault.min(16)).fold(FIRST_IDLE, |span, _| span.doubled(LONGEST_IDLE))),
        }
    }
}

impl State {
    /// The connection, if there is one.
    pub fn conn(&self) -> Option<ConnId> {
        match self {
            State::Idle { .. } | State::Active { .. } => None,
            State::Connect { conn, .. } | State::OpenSent { conn, .. } => Some(*conn),
            State::OpenConfirm(live) | State::Established(live) => Some(live.conn),
        }
    }

    /// What the OPENs agreed on, once they have.
    pub fn terms(&self) -> Option<&Negotiated> {
        match self {
            State::OpenConfirm(live) | State::Established(live) => Some(&live.terms),
            _ => None,
        }
    }

    /// Whether UPDATEs flow.
    pub fn is_established(&self) -> bool {
        matches!(self, State::Established(_))
    }

    /// The earliest timer.
    pub fn timer(&self) -> Option<Instant> {
        match self {
            State::Idle { until } => *until,
            State::Connect { retry_at, .. } => Some(*retry_at),
            State::Active { retry_at } => *retry_at,
            State::OpenSent { hold_at, .. } => Some(*hold_at),
            State::OpenConfirm(live) | State::Established(live) => {
                live.hold_at.into_iter().chain(live.keepalive_at).min()
            }
        }
    }

    /// The timer that has expired, if one has.
    pub fn due(&self, now: Instant) -> Option<Event<'static>> {
        self.timer().filter(|at| *at <= now)?;
        Some(match self {
            State::Idle { .. } => Event::IdleHoldTimer,
            State::Connect { .. } | State::Active { .. } => Event::ConnectRetryTimer,
            State::OpenSent { .. } => Event::HoldTimer,
            State::OpenConfirm(live) | State::Established(live) => match live.hold_at {
                Some(at) if at <= now => Event::HoldTimer,
                _ => Event::KeepaliveTimer,
            },
        })
    }

    /// The error of a message that this state does not expect (RFC 6608).
    fn fsm_error(&self) -> Notification {
        Notification::from(match self {
            State::OpenSent { .. } => Error::FsmOpenSent,
            State::OpenConfirm(_) => Error::FsmOpenConfirm,
            State::Established(_) => Error::FsmEstablished,
            State::Idle { .. } | State::Connect { .. } | State::Active { .. } => Error::Fsm,
        })
    }

    /// Its name in RFC 4271.
    pub fn name(&self) -> &'static str {
        match self {
            State::Idle { .. } => "Idle",
            State::Connect { .. } => "Connect",
            State::Active { .. } => "Active",
            State::OpenSent { .. } => "OpenSent",
            State::OpenConfirm(_) => "OpenConfirm",
            State::Established(_) => "Established",
        }
    }
}

impl Live {
    fn new(conn: ConnId, terms: Negotiated, cx: &Context<'_>, now: Instant) -> Live {
        let live = Live { conn, terms: Box::new(terms), hold_at: None, keepalive_at: None };
        live.heard(now).spoke(cx, now)
    }

    fn heard(mut self, now: Instant) -> Live {
        self.hold_at = self.terms.hold_time.duration().map(|hold| now + hold);
        self
    }

    fn spoke(mut self, cx: &Context<'_>, now: Instant) -> Live {
        // Jittered or not, never more than one a second (RFC 4271 §4.4).
        let next = |span| cx.jittered(span).max(Duration::from_secs(1));
        self.keepalive_at = self.terms.keepalive.map(|span| now + next(span));
        self
    }
}

/// One step.
pub fn step(state: State, event: Event<'_>, cx: &Context<'_>, now: Instant) -> (State, Actions) {
    use State::{Active, Connect, Established, Idle, OpenConfirm, OpenSent};
    match (state, event) {
        (Idle { .. }, Event::Start | Event::IdleHoldTimer) => begin(cx, now),
        (Idle { .. }, Event::Stop(_)) => (Idle { until: None }, vec![]),
        (state @ Idle { .. }, _) => (state, vec![]),
        (state, Event::Start) => (state, vec![]),
        (Active { .. }, Event::Stop(_)) => (Idle { until: None }, vec![]),
        (Connect { conn, .. }, Event::Stop(_)) => (Idle { until: None }, vec![Action::Close(conn)]),
        (
            OpenSent { conn, .. } | OpenConfirm(Live { conn, .. }) | Established(Live { conn, .. }),
            Event::Stop(why),
        ) => (Idle { until: None }, farewell(conn, why)),

        (Connect { conn, .. }, Event::Connected(made)) if conn == made => greet(conn, cx, now),
        (Connect { .. }, Event::Closed) => (Active { retry_at: Some(cx.retry_at(now)) }, vec![]),
        (Connect { conn, .. }, Event::ConnectRetryTimer) => {
            let (state, mut actions) = begin(cx, now);
            actions.insert(0, Action::Close(conn));
            (state, actions)
        }

        (Active { .. }, Event::Accepted(conn)) => greet(conn, cx, now),
        (Active { .. }, Event::ConnectRetryTimer) => begin(cx, now),
        (state @ (Connect { .. } | Active { .. }), _) => (state, vec![]),

        (OpenSent { conn, .. }, Event::Open(open)) => match Negotiated::new(cx, open) {
            Ok(terms) => {
                let confirm = Action::Send(conn, Message::Keepalive);
                (OpenConfirm(Live::new(conn, terms, cx, now)), vec![confirm])
            }
            Err(error) => refuse(conn, error, cx, now),
        },
        (OpenSent { .. }, Event::Closed) => ended(vec![], Ending::Refused, cx, now),
        (OpenConfirm(live), Event::Keepalive) => (Established(live.heard(now)), vec![Action::Up]),
        (Established(live), Event::Keepalive | Event::Update | Event::RouteRefresh) => {
            (Established(live.heard(now)), vec![])
        }

        (OpenConfirm(live), Event::KeepaliveTimer) => {
            let say = vec![Action::Send(live.conn, Message::Keepalive)];
            (OpenConfirm(live.spoke(cx, now)), say)
        }
        (Established(live), Event::KeepaliveTimer) => {
            let say = vec![Action::Send(live.conn, Message::Keepalive)];
            (Established(live.spoke(cx, now)), say)
        }

        (state, event) => {
            let conn = state.conn().expect("the states without a connection are above");
            match event {
                Event::HoldTimer => refuse(conn, Error::HoldTimerExpired.into(), cx, now),
                Event::SendHoldTimer => refuse(conn, Error::SendHoldTimerExpired.into(), cx, now),
                Event::Malformed(error) => refuse(conn, error, cx, now),
                Event::Notification(why) => ended(vec![Action::Close(conn)], Ending::Received(why), cx, now),
                Event::Garbled => ended(vec![Action::Close(conn)], Ending::Garbled, cx, now),
                Event::Closed => ended(vec![], Ending::Lost, cx, now),
                _ => refuse(conn, state.fsm_error(), cx, now),
            }
        }
    }
}

/// Dial, or wait for the peer to.
fn begin(cx: &Context<'_>, now: Instant) -> (State, Actions) {
    if cx.peer.passive {
        return (State::Active { retry_at: None }, vec![]);
    }
    let retry_at = now + cx.jittered(cx.peer.connect_retry);
    (State::Connect { conn: cx.dial, retry_at }, vec![Action::Dial(cx.dial)])
}

/// A connection is there: say who we are.
fn greet(conn: ConnId, cx: &Context<'_>, now: Instant) -> (State, Actions) {
    let open = Action::Send(conn, Message::Open(cx.local.open(cx.peer)));
    (State::OpenSent { conn, hold_at: now + OPEN_HOLD }, vec![open])
}

/// A NOTIFICATION and the end of the connection.
fn farewell(conn: ConnId, why: Notification) -> Actions {
    let say = Action::Send(conn, Message::Notification(why.clone()));
    vec![say, Action::Close(conn), Action::End(Ending::Sent(why))]
}

/// The peer did what it must not, or nothing.
fn refuse(conn: ConnId, why: Notification, cx: &Context<'_>, now: Instant) -> (State, Actions) {
    let (state, _) = ended(vec![], Ending::Sent(why.clone()), cx, now);
    (state, farewell(conn, why))
}

/// The connection is over. An idle hold of no time is not entered: the peer may dial at once.
fn ended(mut actions: Actions, ending: Ending, cx: &Context<'_>, now: Instant) -> (State, Actions) {
    let hold = cx.idle_hold(&ending);
    actions.push(Action::End(ending));
    let retry_at = (!cx.peer.passive).then(|| cx.retry_at(now));
    match hold {
        Duration::ZERO => (State::Active { retry_at }, actions),
        hold => (State::Idle { until: Some(now + hold) }, actions),
    }
}
