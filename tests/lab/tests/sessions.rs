//! BGP sessions in trouble: a peer that restarts, ends the agent or calls by the thousand, a split mesh, an underlay that loses
//! packets or goes away. Cluster traffic notices none of it.

use lab_tests::bgp::{
    ExternalRouter, MESH, ROUTER, SOON, between_pods, found, mesh_is_up, routes, session, since,
};
use lab_tests::{Badness, Lab, at_length, cases, suite, within};
use rustix::net::{self, AddressFamily, SocketType};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};
use testkit::netns::{self, Netns};

/// As long as the catalogue of faults says.
const LONG: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    suite::run(
        &["--mode", "ipip"],
        cases![
            f52_a_router_that_restarts_again_and_again_moves_no_route_of_the_cluster,
            f53_a_split_mesh_loses_nothing_and_is_named_with_what_is_in_its_way,
            f53_a_thousand_calls_that_hang_up_leave_nothing_behind,
            f57_a_peer_that_ends_the_agent_again_and_again_is_held_off_and_nothing_else_suffers,
            f51_an_underlay_that_loses_delays_repeats_and_reorders_ends_no_session_and_moves_no_route,
            f45_a_session_with_a_short_hold_time_outlives_an_uplink_that_was_down,
            a_core_that_stands_still_longer_than_the_hold_time_delays_no_keepalive,
        ],
    )
}

fn f52_a_router_that_restarts_again_and_again_moves_no_route_of_the_cluster(lab: &Lab) {
    let router = ExternalRouter::start(lab, ROUTER, &["10.77.0.0/24"]);
    within(SOON, "its route is there", || routes(lab, "master1").contains("10.77."));
    let sampler = between_pods(lab);
    let seen = lab.root().join("monitor");
    let mut monitor = netns::command(&lab.netns("master1"), "ip");
    monitor.args(["-4", "monitor", "route"]).stdout(std::fs::File::create(&seen).expect("a file"));
    let mut monitor = monitor.spawn().expect("ip runs");
    let log = || lab.log("node-master1");
    let about = |log: &str| log.lines().filter(|line| line.contains("Global_192_168_50_20")).count();
    let (before, flaps, half) = if at_length() {
        (log(), 100, Duration::from_millis(1500))
    } else {
        (log(), 15, Duration::from_millis(300))
    };
    for _ in 0..flaps {
        router.ask("disable \"n*\"");
        sleep(half);
        router.ask("enable \"n*\"");
        sleep(half);
    }
    // Who waits at the end may have to wait two minutes (`LONGEST_IDLE` of a session).
    within(Duration::from_secs(130), "master1 and the router talk again", || {
        session(lab, "master1", ROUTER).is_some_and(|line| line.contains("Established"))
    });
    monitor.kill().expect("it runs");
    monitor.wait().expect("it ends");
    sampler.stop().assert_nothing_lost();
    let moved = std::fs::read_to_string(&seen).expect("a file");
    assert!(!moved.contains("6.2."), "{moved}");
    let lines = about(&log()) - about(&before);
    assert!(lines <= flaps, "{lines} lines of {flaps} restarts");
    let waits = between(&came_up(&log()[before.len()..], "Global_192_168_50_20"));
    // A busy machine may miss one of the first.
    let shortest = waits.iter().copied().fold(f64::INFINITY, f64::min);
    let longest = waits.iter().copied().fold(0.0, f64::max);
    assert!(longest > 3.0 * shortest, "who restarts on and on waits longer: {waits:?}");
}

/// When sessions with a peer came up, by a log: the second of the day.
fn came_up(log: &str, peer: &str) -> Vec<f64> {
    let lines = log.lines().filter(|line| line.contains(&format!("{peer} is Established")));
    lines
        .map(|line| {
            // As in 2026-01-31T23:59:59.123456Z.
            let time = line.split_once('T').and_then(|(_, rest)| rest.split_once('Z')).expect("a time").0;
            time.split(':').fold(0.0, |all, part| all * 60.0 + part.parse::<f64>().expect("a number"))
        })
        .collect()
}

fn between(times: &[f64]) -> Vec<f64> {
    times.windows(2).map(|two| (two[1] - two[0]).rem_euclid(86_400.0)).collect()
}

/// One port is closed, the other is filtered; neither end of a pair can call the other.
fn f53_a_split_mesh_loses_nothing_and_is_named_with_what_is_in_its_way(lab: &Lab) {
    let pairs = [
        ("master2", "192.168.50.162", "reject with tcp reset", "Socket: Connection refused"),
        (
            "master3",
            "192.168.50.163",
            "drop",
            "Socket: Connection timed out, is the port filtered on the way?",
        ),
    ];
    mesh_is_up(lab);
    let sampler = between_pods(lab);
    let split = pairs.map(|(_, addr, verdict, _)| {
        format!(
            "add rule inet split in ip saddr {addr} tcp dport 179 {verdict}; \
             add rule inet split out ip daddr {addr} tcp dport 179 {verdict}; "
        )
    });
    lab.exec(
        "master1",
        &format!(
            "nft 'add table inet split; add chain inet split in {{ type filter hook input priority -10; }}; \
             add chain inet split out {{ type filter hook output priority -10; }}; {}' && \
             ss -K '( sport = :179 or dport = :179 )'",
            split.concat()
        ),
    );
    for (node, addr, _, why) in pairs {
        within(SOON, &format!("{node} and master1 are named with {why:?}"), || {
            let ends =
                [(node, "192.168.50.161"), ("master1", addr)].map(|(here, there)| found(lab, here, there));
            let infos = ends.map(|end| end["info"].as_str().unwrap_or_default().to_owned());
            infos[0].ends_with(why) && !infos[1].contains("Established")
        });
    }
    assert_eq!(found(lab, "master2", "192.168.50.163")["info"], "Established", "the others talk");
    sleep(Duration::from_secs(1));
    lab.exec("master1", "nft delete table inet split");
    mesh_is_up(lab);
    sampler.stop().assert_nothing_lost();
}

/// Descriptors and threads of a process, and its resident memory in pages.
fn held(pid: u32) -> ([usize; 2], usize) {
    let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).expect("it runs").count();
    let memory = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("it runs");
    let resident = memory.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    ([count("fd"), count("task")], resident)
}

/// As much of a session as there is with a peer that calls from this address, and hangs up; whether it heard an OPEN.
fn open_and_close(from: Ipv4Addr) -> rustix::io::Result<bool> {
    // OPEN and KEEPALIVE (RFC 4271 §4.2, §4.4) of AS 65001.
    let open = [&[0xff; 16][..], &[0, 29, 1, 4, 0xfd, 0xe9, 0, 90], &from.octets(), &[0]].concat();
    let keepalive = [&[0xff; 16][..], &[0, 19, 4]].concat();
    let call = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    net::bind(&call, &SocketAddrV4::new(from, 0))?;
    net::connect(&call, &SocketAddrV4::new(Ipv4Addr::new(192, 168, 50, 161), 179))?;
    let mut stream = TcpStream::from(call);
    // Who is held off hears nothing, and is not listened to.
    let _ = stream.write_all(&[open, keepalive].concat());
    Ok(stream.read(&mut [0; 4096]).is_ok_and(|heard| heard > 0))
}

/// Each peer gets four sessions, before it is held off; at length all thousand calls become sessions.
fn f53_a_thousand_calls_that_hang_up_leave_nothing_behind(lab: &Lab) {
    let count: u8 = if at_length() { 250 } else { 40 };
    let stranger = lab.stranger("192.168.50.23/24");
    let peers = || (1..=count).map(|host| Ipv4Addr::new(10, 66, 0, host));
    let each = |line: fn(Ipv4Addr) -> String| peers().map(line).collect::<String>();
    stranger.run(&each(|peer| format!("ip address add {peer}/32 dev eth0; ")));
    lab.exec("master1", "ip route add 10.66.0.0/24 via 192.168.50.23");
    let resources = lab.root().join("fickle.yaml");
    let peer = |peer: Ipv4Addr| {
        format!(
            "---\napiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {{name: {peer}}}\n\
             spec: {{peerIP: {peer}, asNumber: 65001, node: master1}}\n"
        )
    };
    std::fs::write(&resources, each(peer)).expect("the lab's folder can be written");
    let calicoctl = |verb: &str| lab.exec("master1", &format!("calicoctl {verb} -f {}", resources.display()));
    let sessions = || lab.agent("master1")["bgp"]["v4"].as_array().map_or(0, Vec::len);
    calicoctl("apply");
    within(SOON, "all are awaited", || sessions() == usize::from(count) + 2);
    let sampler = between_pods(lab);
    let pid = lab.pid("node-master1");
    // How many of them have a session.
    let round = || {
        let heard = |from| open_and_close(from).unwrap_or_else(|e| panic!("{from} calls master1: {e}"));
        stranger.inside(|| peers().filter(|from| heard(*from)).count())
    };
    let count = usize::from(count);
    // What is made once and kept.
    assert_eq!(round(), count, "each has a session");
    sleep(Duration::from_millis(500));
    let (before, memory) = held(pid);
    for _ in 0..3 {
        assert_eq!(round(), count, "each has another session");
    }
    assert_eq!(round(), 0, "whose sessions break again and again is held off");
    for _ in 5..1000 / count {
        round();
    }
    within(SOON, "nothing is left of them", || held(pid).0 == before);
    let resident = held(pid).1;
    assert!(resident <= memory + memory / 10, "{memory} pages before, {resident} behind");
    sampler.stop().assert_nothing_lost();
    calicoctl("delete");
    within(SOON, "all are gone", || sessions() == 2);
    lab.exec("master1", "ip route del 10.66.0.0/24");
}

/// The agent's process has a supervisor, as in a container; each time it hears of the router's route, it panics.
fn f57_a_peer_that_ends_the_agent_again_and_again_is_held_off_and_nothing_else_suffers(lab: &Lab) {
    for text in ["the agent ended while it read", "the agent died of signal", "crates/failpoint"] {
        suite::expect_complaint(text);
    }
    let (node, log) = ("master2", || lab.log("node-master2"));
    let router = ExternalRouter::start(lab, ROUTER, &["203.0.113.0/24"]);
    let sampler = between_pods(lab);
    let pod = Netns::new();
    // The octets of the route.
    let panics = [("TORTIE_FAILPOINT", "BGP: octets are read=18cb0071")];
    let first_of_container = ["unshare", "--fork", "--pid", "--kill-child"];
    let deaths = || log().matches("the agent died of signal").count();
    let agent = lab.take_over(node, &first_of_container, &[], &panics);
    for death in 1..=2 {
        // The first peer that is dialled may be the router; the second death is after the quarantine of the first.
        within(Duration::from_secs(40), &format!("death {death}"), || deaths() >= death);
        let took = within(Duration::from_secs(2), "the agent takes requests again", || {
            lab.cni(node, "STATUS", "", pod.path()).good
        });
        println!("  after death {death} the agent answers in {took:?}");
        lab.cni(node, "ADD", "f57", pod.path()).expect("ADD");
        lab.cni(node, "DEL", "f57", pod.path()).expect("DEL");
    }
    within(SOON, "the router is in quarantine", || {
        found(lab, node, ROUTER)["info"] == "Idle Quarantine: what it sent ended the agent 2 times"
    });
    for peer in ["192.168.50.161", "192.168.50.163"] {
        within(SOON, &format!("{node} and {peer} talk"), || {
            session(lab, node, peer).is_some_and(|line| line.contains("Established"))
        });
    }
    sleep(Duration::from_secs(2));
    assert_eq!(deaths(), 2, "it is not heard");
    let report = sampler.stop();
    println!("{report}");
    report.assert_nothing_lost();
    drop(router);
    drop(agent);
    lab.verb(&["start", "node-master2"]);
    mesh_is_up(lab);
}

fn f51_an_underlay_that_loses_delays_repeats_and_reorders_ends_no_session_and_moves_no_route(lab: &Lab) {
    // Its sessions are the first to end: after six seconds without a word.
    let router = ExternalRouter::start_with(lab, ROUTER, &["10.77.0.0/24"], "hold time 6;", "");
    let peers = ["192.168.50.162", "192.168.50.163", ROUTER];
    mesh_is_up(lab);
    let state = || {
        let said = lab.json("kubectl get node master1 -o json");
        let said = said["metadata"]["annotations"]["tortie/encapsulation"].clone();
        (
            lab.nodes().iter().map(|node| routes(lab, node)).collect::<Vec<_>>(),
            peers.map(|peer| since(lab, peer)),
            said,
        )
    };
    within(SOON, "every node has the router's route", || {
        lab.nodes().iter().all(|node| routes(lab, node).contains("10.77.0.0/24"))
    });
    let before = state();
    let underlay = lab.worsen(&Badness { lost: 50, twice: 10, delay: 50..=150 });
    let end = Instant::now() + if at_length() { LONG } else { Duration::from_secs(18) };
    while Instant::now() < end {
        sleep(Duration::from_millis(250));
        assert_eq!(state(), before);
    }
    let pings = lab.try_exec("master1", "ping -n -c 20 -i 0.2 -W 1 192.168.50.162");
    for done in underlay.heal() {
        println!("  {done:?}");
        assert!(done.carried > 100 && done.lost > 0 && done.twice > 0 && done.overtook > 10, "{done:?}");
    }
    let pings = String::from_utf8_lossy(&pings.stdout).into_owned();
    let mean = pings.split(" = ").nth(1).and_then(|times| times.split('/').nth(1)?.parse::<f64>().ok());
    assert!(mean.is_some_and(|millis| (150.0..300.0).contains(&millis)), "{pings}");
    within(SOON, "all reach each other", || {
        lab.try_exec("master1", "ping -n -c 1 -W 1 192.168.50.162").status.success()
    });
    assert_eq!(state(), before);
    drop(router);
}

/// A session without a word for nine seconds is over, by what the router offers (RFC 4271 §4.2).
fn f45_a_session_with_a_short_hold_time_outlives_an_uplink_that_was_down(lab: &Lab) {
    // If something was to be sent just then.
    suite::allow_drops(&["master1: Ip.OutNoRoutes", "master1: ens192"]);
    let router = ExternalRouter::start_with(lab, ROUTER, &["203.0.113.0/24"], "hold time 9;", "");
    let (before, up_since) = (routes(lab, "master1"), since(lab, ROUTER));
    lab.exec("master1", "ip link set ens192 down");
    sleep(Duration::from_secs(2));
    // Who sets an interface up gives it its default route.
    lab.exec("master1", "ip link set ens192 up && ip route add default via 192.168.50.1 dev ens192");
    within(SOON, "every route is back", || routes(lab, "master1") == before);
    // Longer than the hold time after the last word before.
    sleep(Duration::from_secs(9));
    assert_eq!(since(lab, ROUTER), up_since, "the session outlives it");
    drop(router);
}

/// What the agent does with its World may take as long as it will, and what peers say meanwhile be as much as it will.
fn a_core_that_stands_still_longer_than_the_hold_time_delays_no_keepalive(lab: &Lab) {
    let prefixes: Vec<String> = (0..1000).map(|n| format!("10.77.{}.{}/32", n / 256, n % 256)).collect();
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    let halt = lab.root().join("halt");
    let here = format!("call: heard~{}", halt.display());
    let agent = lab.take_over("master1", &[], &[], &[("TORTIE_FAILPOINT", &here)]);
    let router = ExternalRouter::start_with(lab, ROUTER, &prefixes, "hold time 6;", "");
    let given = || routes(lab, "master1").matches("10.77.").count();
    within(SOON, "every route of the router is there", || given() == prefixes.len());
    mesh_is_up(lab);
    let sessions = || [ROUTER, MESH[0], MESH[1]].map(|peer| since(lab, peer));
    let (before, pod) = (sessions(), Netns::new());
    assert_eq!(found(lab, "master1", ROUTER)["holdTimeSeconds"], 6);

    std::fs::write(&halt, "").expect("the lab's folder can be written");
    std::thread::scope(|scope| {
        // The call is carried to the core by the core's own thread.
        let call = scope.spawn(|| lab.cni("master1", "ADD", "late", pod.path()));
        within(SOON, "the core stands still", || !answers(lab, "master1", Duration::from_millis(500)));
        let end = Instant::now() + Duration::from_secs(15);
        while Instant::now() < end {
            router.ask("disable static1");
            router.ask("enable static1");
            assert!(!answers(lab, "master1", Duration::from_secs(1)), "the core stands still");
        }
        std::fs::remove_file(&halt).expect("it is ours");
        call.join().expect("the plugin runs").expect("ADD");
    });
    assert_eq!(sessions(), before, "no session ended");
    within(SOON, "every route of the router is there", || given() == prefixes.len());
    lab.cni("master1", "DEL", "late", pod.path()).expect("DEL");
    drop(router);
    drop(agent);
    lab.verb(&["start", "node-master1"]);
    mesh_is_up(lab);
}

/// Whether a node's agent says within this time how it is.
fn answers(lab: &Lab, node: &str, patience: Duration) -> bool {
    let mut stream = UnixStream::connect(lab.node_file(node, "agent.sock")).expect("the agent listens");
    stream.set_read_timeout(Some(patience)).expect("a socket's option");
    stream.write_all(b"\"status\"\n").expect("there is room");
    stream.read(&mut [0; 1]).is_ok_and(|heard| heard > 0)
}
