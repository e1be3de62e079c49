//! Who lies over BGP: a router beside the nodes, a node of the mesh that runs somebody else's speaker, a reflector of every node,
//! and one whom nobody asked. No route moves, and each lie is named with its teller (S27). What a peer writes for people does no
//! harm to them (S26).

use lab_tests::bgp::{ExternalRouter, ROUTER, SOON, apply, configure, found, mesh_is_up, routes, session};
use lab_tests::{Lab, PODS, cases, suite, within};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};
use testkit::sampler::Sampler;

/// Who is lied to, and may notice nothing.
const HONEST: [&str; 2] = ["master1", "master3"];
const REFLECTOR: &str = "192.168.50.22";
const STRANGER: &str = "192.168.50.23";
/// How soon after it is told a lie is named.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The block of master3, parts of it and what it is part of, services, and what the nodes stand on.
const LIES: [&str; 8] = [
    "6.2.136.0/26",
    "6.2.136.4/32",
    "6.2.0.0/16",
    "0.0.0.0/0",
    "10.96.0.10/32",
    "192.168.50.0/25",
    "192.168.50.1/32",
    "192.168.50.163/32",
];
/// What a router gives, and the node of the mesh claims for itself.
const OUTSIDE: &str = "10.77.0.0/24";

fn main() -> ExitCode {
    suite::run(
        &["--mode", "ipip"],
        cases![
            s27_a_router_that_lies_moves_no_route_and_is_named,
            s27_a_node_of_the_mesh_that_lies_moves_no_route_and_is_named,
            s27_a_reflector_that_lies_moves_no_route_and_is_named,
            s27_whom_nobody_asked_is_not_heard_and_is_counted,
            s26_what_a_peer_writes_is_one_line_that_steers_no_terminal,
        ],
    )
}

/// BIRD's configuration for who lies to these nodes as soon as its protocol `lies` is enabled.
fn liar(own: &str, asn: u32, nodes: &[u8], session: &str, export: &str) -> String {
    let lies: String =
        LIES.iter().chain(&[OUTSIDE]).map(|prefix| format!("route {prefix} blackhole; ")).collect();
    let to = |number: &u8| {
        format!(
            "protocol bgp n{number} {{ local {own} as {asn}; neighbor 192.168.50.{number} as 64512; \
             connect delay time 1; connect retry time 1; error wait time 1, 2; {session} \
             ipv4 {{ import all; export filter {{ {export} }}; }}; }}\n"
        )
    };
    let sessions: String = nodes.iter().map(to).collect();
    format!(
        "router id {own};\nprotocol device {{ }}\nprotocol static lies {{ disabled; ipv4; {lies}}}\n{sessions}"
    )
}

/// What BIRD says to whom it lies to: that no path is better.
const BEST: &str = "bgp_local_pref = 4000000000";

/// Why a lie is not believed.
fn why(prefix: &str, outside: impl Fn(&str) -> &'static str) -> &'static str {
    match prefix {
        "6.2.136.0/26" => "in the datastore node master3 holds it",
        "6.2.136.4/32" | "6.2.0.0/16" => "in the datastore no node holds exactly that",
        _ => outside(prefix),
    }
}

/// Why what is outside the pools is not believed of who may speak of that.
fn why_not_of_a_router(prefix: &str) -> &'static str {
    match prefix {
        "0.0.0.0/0" => "accepts a default route",
        "10.96.0.10/32" => "a range of the cluster's services",
        _ => "this node is on 192.168.50.0/24 itself",
    }
}

/// Lets a liar begin (`ask` asks its BIRD): within a second every honest node names each of these lies, who tells it, and why
/// it is not believed.
fn each_is_named(
    lab: &Lab,
    ask: impl FnOnce(&str) -> String,
    teller: &str,
    lies: &[&str],
    outside: impl Fn(&str) -> &'static str,
) {
    let line_of = |prefix: &str| format!("RouteRejected: BGP peer {teller} says that {prefix} is behind ");
    let names = |said: &str, prefix: &str| {
        said.lines().any(|line| line.contains(&line_of(prefix)) && line.contains(why(prefix, &outside)))
    };
    let problems = |node: &str| {
        let status = lab.agent(node);
        let lines = status["problems"].as_array().into_iter().flatten().filter_map(Value::as_str);
        lines.collect::<Vec<_>>().join("\n")
    };
    for node in HONEST {
        let early = problems(node);
        assert!(!early.contains(&format!("RouteRejected: BGP peer {teller} ")), "{node}: {early}");
    }
    let told = Instant::now();
    ask("enable lies");
    for node in HONEST {
        let mut said = String::new();
        while !lies.iter().all(|prefix| names(&said, prefix)) {
            let unnamed: Vec<_> = lies.iter().filter(|prefix| !names(&said, prefix)).collect();
            assert!(
                told.elapsed() < AT_ONCE * testkit::slowness(),
                "{node} leaves out {unnamed:?} of {teller}: {said}"
            );
            sleep(Duration::from_millis(2));
            said = problems(node);
        }
        println!("  {node} names all {} lies of {teller} in {:?}", lies.len(), told.elapsed());
    }
    for node in HONEST {
        let shown = lab.exec(node, "calicoctl node status");
        assert!(lies.iter().all(|prefix| names(&shown, prefix)), "{node}: {shown}");
    }
}

/// Packets between the honest nodes, and the routes of some.
struct Quiet {
    sampler: Sampler,
    routes: Vec<(&'static str, String)>,
}

impl Quiet {
    fn before(lab: &Lab, nodes: &[&'static str]) -> Quiet {
        let [(here, pod, _), _, (there, other, _)] = PODS;
        let sampler = Sampler::start(&lab.place(here, pod), &lab.place(there, other));
        Quiet { sampler, routes: nodes.iter().map(|node| (*node, routes(lab, node))).collect() }
    }

    fn assert_no_route_moved(&self, lab: &Lab) {
        for (node, before) in &self.routes {
            assert_eq!(&routes(lab, node), before, "{node}");
        }
    }

    fn assert_kept(self, lab: &Lab) {
        self.assert_no_route_moved(lab);
        self.sampler.stop().assert_nothing_lost();
    }
}

fn talks(lab: &Lab, nodes: &[&str], peer: &str) {
    for node in nodes {
        within(SOON, &format!("{node} and {peer} talk"), || {
            session(lab, node, peer).is_some_and(|line| line.contains("Established"))
        });
    }
}

/// The router of the rack, which every node speaks with: beside what it may say, it gives a node's block to another node.
fn s27_a_router_that_lies_moves_no_route_and_is_named(lab: &Lab) {
    configure(lab, "{serviceClusterIPs: [{cidr: 10.96.0.0/12}]}");
    // Whoever passes a node's block on is no liar; its word is not needed on the subnet of the node.
    let honest =
        "protocol static honest { ipv4; route 6.2.180.0/26 blackhole; route 10.78.0.0/24 blackhole; }\n";
    let export = format!(
        "if net = {OUTSIDE} then reject; if net = 6.2.136.0/26 then bgp_next_hop = 192.168.50.162; \
         if source = RTS_STATIC then accept; reject;"
    );
    let host = lab.stranger(&format!("{ROUTER}/24"));
    let configuration = liar(ROUTER, 65001, &[161, 162, 163], "", &export);
    let bird = lab.bird(host.path(), "router", &format!("{configuration}{honest}"));
    apply(lab, "BGPPeer", "router", &format!("{{peerIP: {ROUTER}, asNumber: 65001}}"));
    let all = ["master1", "master2", "master3"];
    talks(lab, &all, ROUTER);
    let route = format!("10.78.0.0/24 via {ROUTER} dev ens192 proto 80 onlink");
    for node in all {
        within(SOON, &format!("{node} believes what is no lie"), || routes(lab, node).contains(&route));
    }
    let quiet = Quiet::before(lab, &all);
    let ask = |words: &str| host.run(&bird.question(words));
    each_is_named(lab, ask, "Global_192_168_50_20", &LIES, why_not_of_a_router);
    let status = lab.exec("master1", "calicoctl node status");
    for honest in ["6.2.180.0/26", "10.78.0.0/24"] {
        assert!(!status.contains(&format!("says that {honest}")), "{status}");
    }
    quiet.assert_kept(lab);
    lab.exec("master1", "calicoctl delete bgppeer router");
    drop(bird);
    within(SOON, "what the router said is forgotten", || !routes(lab, "master1").contains("10.78."));
    configure(lab, "{}");
}

/// master2's agent is away, and another speaker stands in its place, whose paths are better than all others.
fn s27_a_node_of_the_mesh_that_lies_moves_no_route_and_is_named(lab: &Lab) {
    mesh_is_up(lab);
    let router = ExternalRouter::start(lab, ROUTER, &[OUTSIDE]);
    for node in HONEST {
        within(SOON, &format!("{node} has what is no lie"), || routes(lab, node).contains(OUTSIDE));
    }
    let quiet = Quiet::before(lab, &HONEST);
    lab.verb(&["kill", "node-master2"]);
    let export = format!("if source = RTS_STATIC then {{ {BEST}; accept; }} reject;");
    let configuration = liar("192.168.50.162", 64512, &[161, 163], "graceful restart on;", &export);
    let bird = lab.bird(&lab.netns("master2"), "liar", &configuration);
    talks(lab, &HONEST, "192.168.50.162");
    let all = [&LIES[..], &[OUTSIDE]].concat();
    let ask = |words: &str| lab.exec("master2", &bird.question(words));
    each_is_named(
        lab,
        ask,
        "Mesh_192_168_50_162",
        &all,
        |_| "a node of the mesh has nothing to say outside the pools",
    );
    quiet.assert_kept(lab);
    drop(bird);
    lab.verb(&["start", "node-master2"]);
    mesh_is_up(lab);
    drop(router);
    lab.ping_all(&PODS);
}

/// The mesh is given up for a reflector, which passes on what nodes say, and then lies.
fn s27_a_reflector_that_lies_moves_no_route_and_is_named(lab: &Lab) {
    suite::allow_drops(&["nft bgp-stranger"]);
    mesh_is_up(lab);
    let quiet = Quiet::before(lab, &HONEST);
    let export = format!(
        "if net = {OUTSIDE} then reject; \
         if source = RTS_STATIC then {{ {BEST}; bgp_next_hop = 192.168.50.162; }} accept;"
    );
    let host = lab.stranger(&format!("{REFLECTOR}/24"));
    let configuration = liar(REFLECTOR, 64512, &[161, 162, 163], "rr client;", &export);
    let bird = lab.bird(host.path(), "reflector", &configuration);
    apply(lab, "BGPPeer", "reflector", &format!("{{peerIP: {REFLECTOR}, asNumber: 64512}}"));
    configure(lab, "{nodeToNodeMeshEnabled: false, serviceClusterIPs: [{cidr: 10.96.0.0/12}]}");
    talks(lab, &HONEST, REFLECTOR);
    let ask = |words: &str| host.run(&bird.question(words));
    each_is_named(lab, ask, "Global_192_168_50_22", &LIES, why_not_of_a_router);
    // What it passes on honestly is no lie.
    let status = lab.exec("master1", "calicoctl node status");
    assert!(!status.contains("says that 6.2.180.0/26"), "{status}");
    assert!(session(lab, "master1", "192.168.50.162").is_none(), "the mesh is off");

    configure(lab, "{}");
    lab.exec("master1", "calicoctl delete bgppeer reflector");
    drop(bird);
    mesh_is_up(lab);
    quiet.assert_kept(lab);
}

/// Who calls without being a peer says nothing at all, of a node where nobody names it and of one that is not meant.
fn s27_whom_nobody_asked_is_not_heard_and_is_counted(lab: &Lab) {
    suite::expect_drops(&["master1: nft bgp-stranger", "master3: nft bgp-stranger"]);
    suite::allow_drops(&["nft bgp-stranger"]);
    mesh_is_up(lab);
    let quiet = Quiet::before(lab, &HONEST);
    let host = lab.stranger(&format!("{STRANGER}/24"));
    let export = format!("if source = RTS_STATIC then {{ {BEST}; accept; }} reject;");
    let counted = |node: &str| lab.exec(node, "nft list counter inet calico bgp-stranger");
    let before = HONEST.map(counted);
    let bird = lab.bird(host.path(), "stranger", &liar(STRANGER, 65001, &[161, 163], "", &export));
    let ask = |words: &str| host.run(&bird.question(words));
    for (node, before) in HONEST.iter().zip(&before) {
        within(SOON, &format!("{node} counts that it calls"), || counted(node) != *before);
    }
    ask("enable lies");
    let talk = || ask("show protocols").lines().filter(|line| line.contains("Established")).count();
    assert_eq!(talk(), 0, "nobody asked it");
    quiet.assert_no_route_moved(lab);

    ask("disable lies");
    apply(lab, "BGPPeer", "stranger", &format!("{{peerIP: {STRANGER}, asNumber: 65001, node: master1}}"));
    talks(lab, &["master1"], STRANGER);
    let let_in = counted("master3");
    ask("enable lies");
    within(SOON, "master1 has what is no lie", || routes(lab, "master1").contains(OUTSIDE));
    ask("restart n163");
    let closed = || ask("show protocols all n163").contains("Last error:");
    within(SOON, "master3 ends the call of who is another node's peer", closed);
    assert_eq!(talk(), 1, "{}", ask("show protocols"));
    assert_eq!(counted("master3"), let_in, "it is the speaker that turns it away");
    let status = lab.exec("master3", "calicoctl node status");
    assert!(session(lab, "master3", STRANGER).is_none() && !status.contains("BGP peer Node_"), "{status}");
    assert_eq!(routes(lab, "master3"), quiet.routes[1].1);

    lab.exec("master1", "calicoctl delete bgppeer stranger");
    drop(bird);
    within(SOON, "what it said is forgotten", || !routes(lab, "master1").contains(OUTSIDE));
    quiet.assert_kept(lab);
}

/// A message of BGP (RFC 4271 §4.1).
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).expect("a message is short").to_be_bytes();
    [&[0xff; 16][..], &length, &[kind], body].concat()
}

/// A session of AS 65001 with master1 from its OPEN to a shutdown, with texts wherever a peer may write some.
fn shut_down_with(text: &[u8]) {
    let named = b"\x1b]0;r\x07\n\xff";
    let length = u8::try_from(named.len()).expect("it is short");
    // Its name, and the version of its program (IANA's capabilities 73 and 75).
    let name = [&[73, length + 2, length][..], named, &[0]].concat();
    let version = [&[75, length + 1, length][..], named].concat();
    let capabilities = [name, version].concat();
    let size = u8::try_from(capabilities.len()).expect("they are short");
    let fixed = [4, 0xfd, 0xe9, 0, 90, 192, 168, 50, 26, size + 2, 2, size];
    let open = message(1, &[&fixed[..], &capabilities].concat());
    let said = [open, message(4, &[]), message(3, &[&[6, 2], text].concat())].concat();
    if let Ok(mut stream) = TcpStream::connect("192.168.50.161:179") {
        // Who is held off is not listened to.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = stream.write_all(&said);
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

fn is_harmless(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || !c.is_control())
}

/// Whether no text anywhere in a document could harm who prints it.
fn holds_no_harm(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.contains('\n') && is_harmless(text),
        Value::Array(values) => values.iter().all(holds_no_harm),
        Value::Object(fields) => fields.values().all(holds_no_harm),
        _ => true,
    }
}

fn s26_what_a_peer_writes_is_one_line_that_steers_no_terminal(lab: &Lab) {
    const PEER: &str = "192.168.50.26";
    suite::allow_drops(&["master1: nft bgp-stranger"]);
    let texts: [(&[u8], String); 3] = [
        (
            b"\x1f\x1b[2J\x1b]0;gone\x07\r\n| 10.0.0.1 |\0",
            r#""\u{1b}[2J\u{1b}]0;gone\u{7}\r\n| 10.0.0.1 |\0""#.into(),
        ),
        (
            b"\x10\xff\xfe\xc2\x9b31m \xe2\x80\xaex\xc3\x9f\xc3",
            "\"\u{fffd}\u{fffd}\\u{9b}31m \\u{202e}xß\u{fffd}\"".into(),
        ),
        (&[[0xff].as_slice(), &[0x1b; 4000]].concat(), format!("\"{}\"", r"\u{1b}".repeat(255))),
    ];
    let stranger = lab.stranger(&format!("{PEER}/24"));
    // So that a call of master1's is neither answered nor refused, and what was said last is what is shown.
    stranger.run(
        "nft 'add table inet s; add chain inet s in { type filter hook input priority 0; }; add rule inet s in tcp dport 179 drop'",
    );
    apply(lab, "BGPPeer", "talker", &format!("{{peerIP: {PEER}, asNumber: 65001, node: master1}}"));
    within(SOON, "it is awaited", || session(lab, "master1", PEER).is_some());
    for (text, printed) in texts {
        within(SOON * 3, &format!("{printed} is shown"), || {
            stranger.inside(|| shut_down_with(text));
            found(lab, "master1", PEER)["info"].as_str().is_some_and(|info| info.ends_with(&printed))
        });
        let table = lab.exec("master1", "calicoctl node status");
        assert!(is_harmless(&table), "{table:?}");
        // A long cell has several lines, each in its frame.
        let rows = table.lines().skip(3).take_while(|line| !line.is_empty());
        assert!(
            rows.clone().all(|line| line.starts_with(['|', '+']) && line.ends_with(['|', '+'])),
            "{table}"
        );
        let bare = |text: &str| text.chars().filter(|c| !" |\n".contains(*c)).collect::<String>();
        assert!(bare(&rows.collect::<String>()).contains(&bare(&printed)), "{table}");
        let json = lab.exec("master1", "calicoctl node status -o json");
        assert!(is_harmless(&json), "{json:?}");
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert!(holds_no_harm(&json) && json.to_string().contains("shutdown"), "{json}");
        assert!(is_harmless(&lab.exec("master1", "calicoctl node status -o yaml")));
        let log = lab.log("node-master1");
        let line = log.lines().find(|line| line.ends_with(&printed)).expect("it is in the log");
        assert!(line.starts_with("20") && line.contains("BGP: Node_192_168_50_26 is"), "{line}");
        assert!(is_harmless(&log), "{log:?}");
    }
    lab.exec("master1", "calicoctl delete bgppeer talker");
}
