//! The law of one connection's state machine: its actions fit its states, whatever happens in whatever order.

use super::{BOTH, Choices, framed};
use bgp::session::{Action, Context, Event, Local, State, step};
use bgp::wire::*;
use bgp::{ConnId, PeerConfig};
use model::{Asn, Duration, Instant};

/// So many timers may be due at one time, one after the other.
const AT_ONCE: usize = 4;

/// The first octets say who the two are, the rest what happens.
pub fn holds(input: &[u8]) {
    let mut choices = Choices(input);
    let mut machine = Machine::new(&mut choices);
    while !choices.is_empty() {
        machine.happen(&mut choices);
    }
}

struct Machine {
    peer: PeerConfig,
    local: Local,
    state: State,
    now: Instant,
    /// Connections that there were.
    conns: u64,
    refused: u32,
    troubles: u32,
}

impl Machine {
    fn new(choices: &mut Choices<'_>) -> Machine {
        let flags = choices.octet();
        let flag = |bit: u8| flags >> bit & 1 == 1;
        let remote = Asn(if flag(0) { 64512 } else { 65001 });
        let hold_time = if flag(1) { HoldTime::new(0) } else { HoldTime::new(3) };
        let mut peer = PeerConfig::new([10, 0, 0, 2].into(), remote);
        peer.passive = flag(2);
        peer.hold_time = hold_time.expect("zero and three are allowed");
        peer.keepalive = flag(3).then_some(Duration::from_secs(1));
        peer.families = BOTH.into_iter().take(if flag(4) { 2 } else { 1 }).collect();
        let local = Local {
            asn: Asn(64512),
            router_id: RouterId([10, 0, 0, 1].into()),
            restart_time: flag(5).then_some(120),
            restarting: flag(6),
            preserved: flag(7),
        };
        let now = Instant::from_micros(1);
        Machine { peer, local, state: State::Idle { until: None }, now, conns: 0, refused: 0, troubles: 0 }
    }

    /// Time passes, or one thing happens.
    fn happen(&mut self, choices: &mut Choices<'_>) {
        let conn = self.state.conn().unwrap_or(ConnId::Dialed(self.conns));
        match choices.below(11) {
            0 => self.step(Event::Start),
            1 => self.step(Event::Stop(Error::AdministrativeShutdown.into())),
            2 => self.step(Event::Connected(conn)),
            3 => {
                self.conns += 1;
                self.step(Event::Accepted(ConnId::Accepted(self.conns)));
            }
            4 => self.step(Event::Closed),
            5 => self.wait(choices.span()),
            6 => {
                let until = self.state.timer().map_or(Duration::ZERO, |at| at.since(self.now));
                self.wait(until);
            }
            7 => self.step(Event::SendHoldTimer),
            8 => {
                self.refused = self.refused.saturating_add(choices.octet().into());
                self.troubles = self.troubles.saturating_add(choices.octet().into());
            }
            9 => self.hear(&good_open(self.peer.remote_asn)),
            _ => {
                let kind = choices.octet();
                self.hear(&framed(kind, choices.part()));
            }
        }
    }

    /// A message comes.
    fn hear(&mut self, octets: &[u8]) {
        let early = Ctx::default();
        let ctx = self.state.terms().map_or(early, |terms| terms.ctx.clone());
        match decode(octets, &ctx).map(|decoded| decoded.message) {
            Ok(Message::Open(open)) => self.step(Event::Open(&open)),
            Ok(Message::Keepalive) => self.step(Event::Keepalive),
            Ok(Message::Update(_)) => self.step(Event::Update),
            Ok(Message::Notification(why)) => self.step(Event::Notification(why)),
            Ok(Message::RouteRefresh(_)) => self.step(Event::RouteRefresh),
            Err(why) => self.step(Event::Malformed(why)),
        }
    }

    /// Time passes, and every timer that is due by then expires.
    fn wait(&mut self, span: Duration) {
        self.now = self.now + span;
        for _ in 0..AT_ONCE {
            let Some(event) = self.state.due(self.now) else { return };
            self.step(event);
        }
        panic!("{:?} expires again and again at {}", self.state, self.now);
    }

    fn step(&mut self, event: Event<'_>) {
        let before = std::mem::replace(&mut self.state, State::Idle { until: None });
        let (old, name, was_up) = (before.conn(), before.name(), before.is_established());
        let greeted = !matches!(before, State::Idle { .. } | State::Connect { .. } | State::Active { .. });
        let dial = ConnId::Dialed(self.conns + 1);
        let what = format!("{event:?} in {name}");
        let is_closed = matches!(event, Event::Closed);
        let made = match event {
            Event::Accepted(conn) | Event::Connected(conn) => Some(conn),
            _ => None,
        };
        let cx = Context {
            peer: &self.peer,
            local: &self.local,
            dial,
            jitter: 750,
            refused: self.refused,
            troubles: self.troubles,
        };
        let (state, actions) = step(before, event, &cx, self.now);
        let closed = |conn: ConnId| actions.contains(&Action::Close(conn));
        for action in &actions {
            match action {
                Action::Dial(conn) => {
                    assert_eq!((*conn, state.conn()), (dial, Some(dial)), "{what}");
                    self.conns += 1;
                }
                Action::Send(conn, message) => {
                    assert!(Some(*conn) == old || Some(*conn) == made, "{what} sends to {conn:?}");
                    let written = message.encode(&Ctx::default(), &mut Vec::new());
                    assert_eq!(written, Ok(()), "{what} says what no message holds");
                }
                Action::Close(conn) => assert_eq!((Some(*conn), state.conn() == old), (old, false), "{what}"),
                Action::Up | Action::End(_) => {}
            }
        }
        let count = |wanted: fn(&Action) -> bool| actions.iter().filter(|action| wanted(action)).count();
        let ups = usize::from(state.is_established() && !was_up);
        assert_eq!(count(|action| matches!(action, Action::Up)), ups, "{what}");
        let ends = usize::from(greeted && state.conn() != old);
        assert_eq!(count(|action| matches!(action, Action::End(_))), ends, "{what}");
        if let Some(conn) = old.filter(|conn| state.conn() != Some(*conn)) {
            assert!(is_closed || closed(conn), "{what} forgets {conn:?}");
        }
        self.state = state;
    }
}

/// An OPEN that is as it should be.
pub fn good_open(asn: Asn) -> Vec<u8> {
    let capabilities = vec![
        Capability::Multiprotocol(Family::IPV4),
        Capability::Multiprotocol(Family::IPV6),
        Capability::RouteRefresh,
        Capability::FourOctetAs(asn),
        Capability::GracefulRestart(GracefulRestart {
            restarting: false,
            notification: true,
            time: 120,
            families: BOTH.map(|family| (family, true)).into(),
        }),
    ];
    let hold_time = HoldTime::new(90).expect("neither 1 nor 2");
    let open = Open { asn, hold_time, router_id: RouterId([10, 0, 0, 2].into()), capabilities };
    let mut out = Vec::new();
    Message::Open(open).encode(&Ctx::default(), &mut out).expect("an OPEN fits");
    out
}
