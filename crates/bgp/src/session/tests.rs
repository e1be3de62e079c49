//! The state machine: a row for each event, a column for each state; then the times and refusals that need more words.

use super::*;
use crate::wire::{Capability, Family, HoldTime, RouterId};
use model::Asn;

const NOW: Instant = Instant::from_micros(1_000_000_000);
const CONN: ConnId = ConnId::Dialed(7);

fn peer() -> PeerConfig {
    PeerConfig::new([10, 0, 0, 2].into(), Asn(64512))
}

fn local() -> Local {
    let router_id = RouterId([10, 0, 0, 1].into());
    Local { asn: Asn(64512), router_id, restart_time: Some(120), restarting: false, preserved: false }
}

fn open() -> Open {
    let capabilities = vec![Capability::Multiprotocol(Family::IPV4), Capability::FourOctetAs(Asn(64512))];
    let router_id = RouterId([10, 0, 0, 2].into());
    Open { asn: Asn(64512), hold_time: HoldTime::new(30).unwrap(), router_id, capabilities }
}

fn context<'a>(peer: &'a PeerConfig, local: &'a Local) -> Context<'a> {
    Context { peer, local, dial: ConnId::Dialed(8), jitter: 1000, refused: 0, troubles: 0 }
}

fn live() -> Live {
    let (peer, local) = (peer(), local());
    let cx = context(&peer, &local);
    Live::new(CONN, Negotiated::new(&cx, &open()).unwrap(), &cx, NOW)
}

fn state(name: &str) -> State {
    match name {
        "Idle" => State::Idle { until: None },
        "Connect" => State::Connect { conn: CONN, retry_at: NOW },
        "Active" => State::Active { retry_at: Some(NOW) },
        "OpenSent" => State::OpenSent { conn: CONN, hold_at: NOW },
        "OpenConfirm" => State::OpenConfirm(live()),
        "Established" => State::Established(live()),
        _ => unreachable!("{name}"),
    }
}

fn event(name: &str, open: &'static Open) -> Event<'static> {
    match name {
        "start" => Event::Start,
        "stop" => Event::Stop(Error::AdministrativeShutdown.into()),
        "idle timer" => Event::IdleHoldTimer,
        "retry timer" => Event::ConnectRetryTimer,
        "hold timer" => Event::HoldTimer,
        "keepalive timer" => Event::KeepaliveTimer,
        "send hold timer" => Event::SendHoldTimer,
        "connected" => Event::Connected(CONN),
        "accepted" => Event::Accepted(ConnId::Accepted(3)),
        "closed" => Event::Closed,
        "open" => Event::Open(open),
        "keepalive" => Event::Keepalive,
        "update" => Event::Update,
        "refresh" => Event::RouteRefresh,
        "notification" => Event::Notification(Error::Cease.into()),
        "garbled" => Event::Garbled,
        "malformed" => Event::Malformed(Error::NotSynchronized.into()),
        _ => unreachable!("{name}"),
    }
}

/// The actions in few words: what is sent, `dial`, `close`, `up`.
fn words(actions: &[Action]) -> String {
    let word = |action: &Action| match action {
        Action::Dial(_) => "dial".to_owned(),
        Action::Close(_) => "close".to_owned(),
        Action::Up => "up".to_owned(),
        Action::End(_) => "end".to_owned(),
        Action::Send(_, Message::Notification(n)) => {
            let (code, subcode) = n.error.numbers();
            format!("{code}/{subcode}")
        }
        Action::Send(_, Message::Open(_)) => "OPEN".to_owned(),
        Action::Send(_, Message::Keepalive) => "KEEPALIVE".to_owned(),
        Action::Send(_, other) => format!("{other:?}"),
    };
    actions.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// RFC 4271 §8.2.2, a line an event: what each state does and where it goes.
#[rustfmt::skip]
const TABLE: [(&str, [(&str, &str); 6]); 17] = [
    //                    Idle               Connect                  Active              OpenSent                    OpenConfirm                 Established
    ("start",           [("dial", "Connect"), ("", "Connect"),         ("", "Active"),     ("", "OpenSent"),           ("", "OpenConfirm"),        ("", "Established")]),
    ("stop",            [("", "Idle"),     ("close", "Idle"),         ("", "Idle"),       ("6/2 close end", "Idle"),  ("6/2 close end", "Idle"),  ("6/2 close end", "Idle")]),
    ("idle timer",      [("dial", "Connect"), ("", "Connect"),         ("", "Active"),     ("5/1 close end", "Idle"),  ("5/2 close end", "Idle"),  ("5/3 close end", "Idle")]),
    ("retry timer",     [("", "Idle"),     ("close dial", "Connect"), ("dial", "Connect"), ("5/1 close end", "Idle"), ("5/2 close end", "Idle"),  ("5/3 close end", "Idle")]),
    ("hold timer",      [("", "Idle"),     ("", "Connect"),           ("", "Active"),     ("4/0 close end", "Idle"),  ("4/0 close end", "Idle"),  ("4/0 close end", "Idle")]),
    ("keepalive timer", [("", "Idle"),     ("", "Connect"),           ("", "Active"),     ("5/1 close end", "Idle"),  ("KEEPALIVE", "OpenConfirm"), ("KEEPALIVE", "Established")]),
    ("send hold timer", [("", "Idle"),     ("", "Connect"),           ("", "Active"),     ("8/0 close end", "Idle"),  ("8/0 close end", "Idle"),  ("8/0 close end", "Idle")]),
    ("connected",       [("", "Idle"),     ("OPEN", "OpenSent"),      ("", "Active"),     ("5/1 close end", "Idle"),  ("5/2 close end", "Idle"),  ("5/3 close end", "Idle")]),
    ("accepted",        [("", "Idle"),     ("", "Connect"),           ("OPEN", "OpenSent"), ("5/1 close end", "Idle"), ("5/2 close end", "Idle"), ("5/3 close end", "Idle")]),
    ("closed",          [("", "Idle"),     ("", "Active"),            ("", "Active"),     ("end", "Active"),          ("end", "Active"),          ("end", "Active")]),
    ("open",            [("", "Idle"),     ("", "Connect"),           ("", "Active"),     ("KEEPALIVE", "OpenConfirm"), ("5/2 close end", "Idle"), ("5/3 close end", "Idle")]),
    ("keepalive",       [("", "Idle"),     ("", "Connect"),           ("", "Active"),     ("5/1 close end", "Idle"),  ("up", "Established"),      ("", "Established")]),
    ("update",          [("", "Idle"),     ("", "Connect"),           ("", "Active"),     ("5/1 close end", "Idle"),  ("5/2 close end", "Idle"),  ("", "Established")]),
    ("refresh",         [("", "Idle"),     ("", "Connect"),           ("", "Active"),     ("5/1 close end", "Idle"),  ("5/2 close end", "Idle"),  ("", "Established")]),
    ("notification",    [("", "Idle"),     ("", "Connect"),           ("", "Active"),     ("close end", "Active"),    ("close end", "Active"),    ("close end", "Active")]),
    ("garbled",         [("", "Idle"),     ("", "Connect"),           ("", "Active"),     ("close end", "Active"),    ("close end", "Active"),    ("close end", "Active")]),
    ("malformed",       [("", "Idle"),     ("", "Connect"),           ("", "Active"),     ("1/1 close end", "Idle"),  ("1/1 close end", "Idle"),  ("1/1 close end", "Idle")]),
];

#[test]
fn every_state_answers_every_event() {
    let open: &'static Open = Box::leak(Box::new(open()));
    let (peer, local) = (peer(), local());
    let states = ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"];
    for (what, row) in TABLE {
        for (from, (does, to)) in states.iter().zip(row) {
            let (next, actions) = step(state(from), event(what, open), &context(&peer, &local), NOW);
            assert_eq!((words(&actions).as_str(), next.name()), (does, to), "{from}, {what}");
        }
    }
}

#[test]
fn the_lower_hold_time_counts_and_each_message_winds_it_up() {
    let live = live();
    assert_eq!(live.terms.hold_time.secs(), 30);
    assert_eq!((live.hold_at, live.keepalive_at), (Some(NOW + secs(30)), Some(NOW + secs(10))));
    let (peer, local) = (peer(), local());
    let later = NOW + secs(7);
    let (state, _) = step(State::Established(live), Event::Update, &context(&peer, &local), later);
    let State::Established(live) = &state else { panic!("{state:?}") };
    assert_eq!((live.hold_at, live.keepalive_at), (Some(later + secs(30)), Some(NOW + secs(10))));
    assert!(state.due(NOW + secs(9)).is_none());
    assert!(matches!(state.due(NOW + secs(10)), Some(Event::KeepaliveTimer)));
    assert!(matches!(state.due(NOW + secs(37)), Some(Event::HoldTimer)));
}

#[test]
fn an_open_is_refused_for_what_is_wrong_with_it() {
    let (peer, local) = (peer(), local());
    let bad = |change: fn(&mut Open)| {
        let mut open = open();
        change(&mut open);
        Negotiated::new(&context(&peer, &local), &open).map_err(|n| n.error.numbers())
    };
    assert!(bad(|_| ()).is_ok());
    assert_eq!(bad(|o| o.asn = Asn(64513)).unwrap_err(), (2, 2));
    assert_eq!(bad(|o| o.asn = Asn(23456)).unwrap_err(), (2, 2));
    assert_eq!(bad(|o| o.router_id = RouterId([10, 0, 0, 1].into())).unwrap_err(), (2, 3));
    let other_family = |o: &mut Open| o.capabilities = vec![Capability::Multiprotocol(Family::IPV6)];
    assert_eq!(bad(other_family).unwrap_err(), (2, 7));
    let old = bad(|o| o.capabilities.clear()).unwrap();
    assert!(!old.ctx.four_octet_as && !old.refresh && old.graceful.is_none());
    assert_eq!(old.families.len(), 1, "a speaker without capabilities means IPv4 unicast");
}

#[test]
fn whoever_misbehaves_waits_longer_each_time_and_who_breaks_down_may_return() {
    let (peer, local) = (peer(), local());
    let wait = |troubles, event| {
        let cx = Context { troubles, ..context(&peer, &local) };
        match step(state("Established"), event, &cx, NOW).0 {
            State::Idle { until } => until.unwrap().since(NOW).micros() / 1_000_000,
            State::Active { .. } => 0,
            other => panic!("{other:?}"),
        }
    };
    let bad: Vec<u64> = (0..7).map(|n| wait(n, Event::HoldTimer)).collect();
    assert_eq!(bad, [5, 10, 20, 40, 80, 120, 120]);
    let broken: Vec<u64> = (0..7).map(|n| wait(n, Event::Closed)).collect();
    assert_eq!(broken, [0, 0, 0, 5, 10, 20, 40]);
}

#[test]
fn dials_that_fail_are_repeated_slower_each_time() {
    let (peer, local) = (peer(), local());
    let wait = |refused| {
        let cx = Context { refused, ..context(&peer, &local) };
        let (state, _) = step(state("Connect"), Event::Closed, &cx, NOW);
        state.timer().unwrap().since(NOW).micros() / 1000
    };
    assert_eq!((1..7).map(wait).collect::<Vec<_>>(), [1000, 2000, 4000, 5000, 5000, 5000]);
}

#[test]
fn waits_of_our_own_are_jittered_and_what_the_peer_counts_on_is_not() {
    let (peer, local) = (peer(), local());
    let waits = |jitter| {
        let cx = Context { jitter, refused: 9, ..context(&peer, &local) };
        let millis = |at: Instant| at.since(NOW).micros() / 1000;
        let timer = |from, event| step(state(from), event, &cx, NOW).0.timer().map(millis).unwrap();
        let (met, _) = step(state("OpenSent"), Event::Open(&open()), &cx, NOW);
        let State::OpenConfirm(live) = &met else { panic!("{met:?}") };
        let call = timer("Idle", Event::Start);
        let next_call = timer("Connect", Event::Closed);
        let idle = timer("Established", Event::HoldTimer);
        let keepalive = live.keepalive_at.map(millis).unwrap();
        let (hold, first_hold) = (live.hold_at.map(millis).unwrap(), timer("Active", Event::Accepted(CONN)));
        ([call, next_call, idle, keepalive], [hold, first_hold])
    };
    assert_eq!(waits(1000), ([5000, 5000, 5000, 10_000], [30_000, 60_000]));
    assert_eq!(waits(750), ([3750, 3750, 3750, 7500], [30_000, 60_000]));
}

#[test]
fn no_keepalive_follows_another_within_a_second() {
    let (peer, local) = (peer(), local());
    let cx = Context { jitter: 750, ..context(&peer, &local) };
    let shortest = Open { hold_time: HoldTime::new(3).unwrap(), ..open() };
    let (met, _) = step(state("OpenSent"), Event::Open(&shortest), &cx, NOW);
    let State::OpenConfirm(live) = &met else { panic!("{met:?}") };
    assert_eq!(live.keepalive_at, Some(NOW + secs(1)));
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
