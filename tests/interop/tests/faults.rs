//! Peers that fall silent, that never read, that say what no speaker says: our speaker names what is wrong, and nobody else
//! notices.

use bgp::PeerConfig;
use bgp::wire::HoldTime;
use interop_tests::ours::{originating, with, with_each};
use interop_tests::raw::{self, Open, Raw};
use interop_tests::{
    Daemon, Host, Kind, Ours, Peering, Segment, Setup, job, one_of_each, peer, peers, sessions, throughout,
    until,
};
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

/// Ours between a raw peer (AS 65001, 10.9.0.3) and a BIRD that watches (AS 65002, 10.9.0.2).
struct Scene {
    segment: Segment,
    here: Host,
    there: Host,
    injector: Host,
}

impl Scene {
    fn new() -> Scene {
        let segment = Segment::new();
        let [here, there, injector] = [1, 2, 3].map(|number| segment.host(number));
        Scene { segment, here, there, injector }
    }

    fn start(&self) -> (Ours, Daemon<'_>) {
        let neighbours =
            with(with(job(64512, self.here.v4), peer(self.there.v4, 65002)), passive(&self.injector));
        let ours = Ours::start(&self.here, originating(neighbours, &["10.1.0.0/26"]));
        let setup = Setup::new(65002, [Peering::new(self.here.v4, 64512)]).announcing(&["10.2.0.0/26"]);
        let daemon = Daemon::start(Kind::Bird, &self.there, setup);
        ours.established(self.there.v4);
        daemon.learns("10.1.0.0/26");
        (ours, daemon)
    }

    fn attributes(&self) -> Vec<u8> {
        raw::attributes(65001, self.injector.v4)
    }

    fn establish(&self) -> Raw {
        Raw::establish(&self.injector, self.here.v4, Open::new(65001, self.injector.v4))
    }
}

fn passive(host: &Host) -> PeerConfig {
    PeerConfig { passive: true, ..peer(host.v4, 65001) }
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
}

#[test]
fn a_peer_that_stands_still_is_given_up_when_its_hold_time_is_over() {
    let segment = Segment::new();
    let (here, hosts) = (segment.host(1), [2, 3, 4].map(|number| segment.host(number)));
    let hold_time = HoldTime::new(3).expect("allowed");
    let neighbours = peers(&hosts, 65001).into_iter().map(|peer| PeerConfig { hold_time, ..peer });
    let mut ours = Ours::start(&here, with_each(job(64512, here.v4), neighbours));
    let daemons = one_of_each(&hosts, |host| {
        let peerings = Peering::both(&here, 64512).map(|peering| Peering { hold: 3, ..peering });
        Setup::new(65001, peerings).announcing(&host.blocks())
    });
    hosts.iter().flat_map(Host::blocks).for_each(|block| _ = ours.learns(&block));
    throughout(Duration::from_secs(4), "keepalives hold the sessions", || {
        ours.sessions().iter().all(|session| session.state == "Established")
    });
    daemons.iter().for_each(|daemon| signal(daemon.pid(), "STOP"));
    for (daemon, over) in sessions(&daemons) {
        ours.ended(daemon.host.end(over), "hold timer expired");
    }
    daemons.iter().for_each(|daemon| signal(daemon.pid(), "CONT"));
    for (daemon, over) in sessions(&daemons) {
        ours.established(daemon.host.end(over));
        ours.learns(&daemon.host.block(over));
    }
}

#[test]
fn s24_a_peer_that_never_reads_holds_nobody_up() {
    let scene = Scene::new();
    let (mut ours, mut daemon) = scene.start();
    // It sends whatever it must, reads nothing, and there is more for it than sockets hold.
    let mut deaf = scene.establish();
    let mut neighbours =
        with(with(job(64512, scene.here.v4), peer(scene.there.v4, 65002)), passive(&scene.injector));
    for number in 0..60_000u32 {
        let addr = Ipv4Addr::from(0x1400_0000 + number * 64);
        let origination = bgp::Origination {
            communities: [bgp::wire::Community(number)].into(),
            ..bgp::Origination::default()
        };
        neighbours.bgp.originate.insert(format!("{addr}/26").parse().expect("a prefix"), origination);
    }
    ours.configure(neighbours);
    daemon.learns(&format!("{}/26", Ipv4Addr::from(0x1400_0000 + 59_999 * 64)));
    deaf.send(&raw::update(&scene.attributes(), &[(Ipv4Addr::new(10, 3, 0, 0), 26)]));
    daemon.learns("10.3.0.0/26");
    daemon.set(|setup| _ = setup.announce.insert("10.2.0.64/26".to_owned()));
    ours.learns("10.2.0.64/26");
    assert!(ours.session(scene.injector.v4).pending > 0, "the deaf peer's routes wait");
}

#[test]
fn f55_a_broken_header_or_open_is_refused_by_its_number() {
    let segment = Segment::new();
    let here = segment.host(1);
    let router_id = Ipv4Addr::new(10, 9, 0, 9);
    let open = Open::new(65001, router_id);
    let broken = |at: usize, octet: u8| {
        let mut bytes = open.bytes();
        bytes[at] = octet;
        bytes
    };
    // Each from a peer of its own: after an error one is not let in at once.
    let cases = [
        ("a marker with a hole", broken(3, 0), (1, 1)),
        ("a length of 18", [&[0xff; 16][..], &[0, 18, 1]].concat(), (1, 2)),
        ("a length of 4097", [&[0xff; 16][..], &[0x10, 1, 1]].concat(), (1, 2)),
        ("a KEEPALIVE with a body", raw::message(raw::KEEPALIVE, &[0]), (1, 2)),
        ("a message of type 9", raw::message(9, &[]), (1, 3)),
        ("version 3", Open { version: 3, ..open }.bytes(), (2, 1)),
        ("the wrong AS", Open { asn: 65009, ..open }.bytes(), (2, 2)),
        ("a router id of zero", Open { router_id: Ipv4Addr::UNSPECIFIED, ..open }.bytes(), (2, 3)),
        ("a hold time of one second", Open { hold: 1, ..open }.bytes(), (2, 6)),
        ("an UPDATE before an OPEN", raw::update(&[], &[]), (5, 1)),
    ];
    let hosts: Vec<Host> = (10..).take(cases.len()).map(|number| segment.host(number)).collect();
    let neighbours = hosts.iter().fold(job(64512, here.v4), |job, host| with(job, passive(host)));
    let ours = Ours::start(&here, neighbours);
    for (host, (what, bytes, notification)) in hosts.iter().zip(cases) {
        let mut raw = Raw::dial(host, here.v4);
        raw.send(&bytes);
        assert_eq!(raw.notification(), Some(notification), "{what}");
        assert!(ours.session(host.v4).last_error.is_some(), "{what}");
    }
}

#[test]
fn f55_inside_our_as_our_own_router_id_is_refused() {
    let segment = Segment::new();
    let (here, there) = (segment.host(1), segment.host(2));
    let neighbour = PeerConfig { passive: true, ..peer(there.v4, 64512) };
    let _ours = Ours::start(&here, with(job(64512, here.v4), neighbour));
    let mut raw = Raw::dial(&there, here.v4);
    raw.send(&Open::new(64512, here.v4).bytes());
    assert_eq!(raw.notification(), Some((2, 3)));
}

#[test]
fn s23_any_octets_on_the_port_disturb_nobody() {
    let scene = Scene::new();
    let (ours, daemon) = scene.start();
    let since = ours.session(scene.there.v4).since;
    let stranger = scene.segment.host(4);
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        // xorshift64, so that a failure can be had again.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let open = Open::new(65001, scene.injector.v4).bytes();
    for round in 0..200 {
        let from = if round % 10 == 0 { &stranger } else { &scene.injector };
        let mut raw = Raw::dial(from, scene.here.v4);
        let length = usize::try_from(random() % 300).expect("small");
        let noise: Vec<u8> = (0..length).map(|_| random().to_le_bytes()[0]).collect();
        // Alone; as the body of an UPDATE in a session; or one octet of an OPEN is another.
        match round % 3 {
            0 => raw.send(&noise),
            1 => {
                raw.send(&open);
                raw.send(&raw::message(raw::KEEPALIVE, &[]));
                raw.send(&raw::message(raw::UPDATE, &noise));
            }
            _ => {
                let mut changed = open.clone();
                let at = usize::try_from(random()).unwrap_or(usize::MAX) % changed.len();
                changed[at] = random().to_le_bytes()[0];
                raw.send(&changed);
            }
        }
    }
    until("the raw peer can come back", || {
        let mut raw = scene.establish();
        raw.send(&raw::update(&scene.attributes(), &[(Ipv4Addr::new(10, 3, 0, 0), 26)]));
        daemon.learns("10.3.0.0/26");
        Some(())
    });
    assert_eq!(ours.session(scene.there.v4).since, since, "the watcher's session goes on");
    assert!(daemon.sees("10.1.0.0/26").is_some());
}
