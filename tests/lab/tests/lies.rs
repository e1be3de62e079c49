//! Who lies over BGP: a router beside the nodes, a node of the mesh that runs somebody else's speaker, a reflector of every node,
//! and one whom nobody asked. No route moves, and each lie is named with its teller (S27). What a peer writes for people does no
//! harm to them (S26).

use lab_tests::bgp::{
    ExternalRouter, ROUTER, SOON, apply, between_pods, configure, found, mesh_is_up, routes, session,
};
use lab_tests::{Lab, PODS, cases, suite, within};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;
use testkit::sampler::Sampler;

/// Who is lied to, and may notice nothing.
const HONEST: [&str; 2] = ["master1", "master3"];
const REFLECTOR: &str = "192.168.50.22";

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
            s26_what_a_peer_writes_is_one_line_that_steers_no_terminal,
        ],
    )
}

fn s27_a_router_that_lies_moves_no_route_and_is_named(lab: &Lab) {
    configure(lab, "{serviceClusterIPs: [{cidr: 10.96.0.0/12}]}");
    let before: Vec<String> = lab.nodes().iter().map(|node| routes(lab, node)).collect();
    let lies = [
        ("6.2.180.2/32", "no node holds exactly that"),
        ("6.2.0.0/16", "no node holds exactly that"),
        ("0.0.0.0/0", "accepts a default route"),
        ("10.96.0.10/32", "a range of the cluster's services"),
        ("192.168.50.0/25", "this node is on 192.168.50.0/24 itself"),
        ("192.168.50.1/32", "this node is on 192.168.50.0/24 itself"),
        ("192.168.50.162/32", "this node is on 192.168.50.0/24 itself"),
    ];
    let sampler = between_pods(lab);
    let mut prefixes = lies.map(|(prefix, _)| prefix).to_vec();
    // Whoever passes a node's block on is no liar; its word is not needed on the subnet of the node.
    prefixes.extend(["6.2.180.0/26", "10.77.0.0/24"]);
    let router = ExternalRouter::start(lab, ROUTER, &prefixes);
    let honest = format!("10.77.0.0/24 via {ROUTER} dev ens192 proto 80 onlink");
    for node in lab.nodes() {
        within(SOON, &format!("{node} believes what is no lie"), || routes(lab, &node).contains(&honest));
    }
    for (node, before) in lab.nodes().iter().zip(&before) {
        let now = routes(lab, node);
        let others: Vec<&str> = now.lines().filter(|line| !line.starts_with("10.77.")).collect();
        assert_eq!(others, before.lines().collect::<Vec<_>>(), "{node}");
    }
    let status = lab.exec("master1", "calicoctl node status");
    for (prefix, why) in lies {
        let said =
            status.lines().find(|line| line.contains(&format!("says that {prefix} is behind {ROUTER}")));
        let said = said.unwrap_or_else(|| panic!("nobody says {prefix}: {status}"));
        assert!(
            said.contains("RouteRejected: BGP peer Global_192_168_50_20") && said.contains(why),
            "{said}"
        );
    }
    sampler.stop().assert_nothing_lost();
    drop(router);
    within(SOON, "what the router said is forgotten", || !routes(lab, "master1").contains("10.77."));
    configure(lab, "{}");
}

/// BIRD's protocol that gives the lies.
fn lies() -> String {
    let routes: String =
        LIES.iter().chain(&[OUTSIDE]).map(|prefix| format!("route {prefix} blackhole; ")).collect();
    format!("protocol device {{ }}\nprotocol static {{ ipv4; {routes}}}\n")
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

/// Waits until every honest node names each of these lies, who tells it, and why it is not believed.
fn each_is_named(lab: &Lab, teller: &str, lies: &[&str], outside: impl Fn(&str) -> &'static str) {
    for node in HONEST {
        let mut status = String::new();
        let unnamed = |status: &str| {
            let named = |prefix: &str| {
                let lie = format!("RouteRejected: BGP peer {teller} says that {prefix} is behind ");
                let said = status.lines().find(|said| said.contains(&lie));
                said.is_some_and(|said| said.contains(why(prefix, &outside)))
            };
            lies.iter().find(|prefix| !named(prefix)).copied()
        };
        let took = within(SOON, &format!("{node} names each lie of {teller}"), || {
            status = lab.exec(node, "calicoctl node status");
            unnamed(&status).is_none()
        });
        println!("  {node} names all in {took:?}");
    }
}

/// Packets between the honest nodes, and their routes.
struct Quiet {
    sampler: Sampler,
    routes: [String; 2],
}

impl Quiet {
    fn before(lab: &Lab) -> Quiet {
        let [(here, pod, _), _, (there, other, _)] = PODS;
        let sampler = Sampler::start(&lab.place(here, pod), &lab.place(there, other));
        Quiet { sampler, routes: HONEST.map(|node| routes(lab, node)) }
    }

    fn assert_no_route_moved(&self, lab: &Lab) {
        assert_eq!(HONEST.map(|node| routes(lab, node)), self.routes);
    }

    fn assert_kept(self, lab: &Lab) {
        self.assert_no_route_moved(lab);
        self.sampler.stop().assert_nothing_lost();
    }
}

fn talks(lab: &Lab, peer: &str) {
    for node in HONEST {
        within(SOON, &format!("{node} and {peer} talk"), || {
            session(lab, node, peer).is_some_and(|line| line.contains("Established"))
        });
    }
}

/// master2's agent is away, and another speaker stands in its place, whose paths are better than all others.
fn s27_a_node_of_the_mesh_that_lies_moves_no_route_and_is_named(lab: &Lab) {
    mesh_is_up(lab);
    let router = ExternalRouter::start(lab, ROUTER, &[OUTSIDE]);
    for node in HONEST {
        within(SOON, &format!("{node} has what is no lie"), || routes(lab, node).contains(OUTSIDE));
    }
    let quiet = Quiet::before(lab);
    lab.verb(&["kill", "node-master2"]);
    let to = |addr: &str| {
        format!(
            "protocol bgp {{ local 192.168.50.162 as 64512; neighbor {addr} as 64512; connect delay time 1; \
             connect retry time 1; graceful restart on; ipv4 {{ import all; \
             export filter {{ if source = RTS_STATIC then {{ {BEST}; accept; }} reject; }}; }}; }}\n"
        )
    };
    let configuration =
        format!("router id 192.168.50.162;\n{}{}{}", lies(), to("192.168.50.161"), to("192.168.50.163"));
    let liar = lab.bird(&lab.netns("master2"), "liar", &configuration);
    talks(lab, "192.168.50.162");
    let all = [&LIES[..], &[OUTSIDE]].concat();
    each_is_named(
        lab,
        "Mesh_192_168_50_162",
        &all,
        |_| "a node of the mesh has nothing to say outside the pools",
    );
    quiet.assert_kept(lab);
    drop(liar);
    lab.verb(&["start", "node-master2"]);
    mesh_is_up(lab);
    drop(router);
    lab.ping_all(&PODS);
}

/// The mesh is given up for a reflector, which calls before anybody asks it to, and then lies.
fn s27_a_reflector_that_lies_moves_no_route_and_is_named(lab: &Lab) {
    suite::expect_drops(&["nft bgp-stranger"]);
    mesh_is_up(lab);
    let quiet = Quiet::before(lab);
    let to = |number: u8| {
        format!(
            "protocol bgp n{number} {{ local {REFLECTOR} as 64512; neighbor 192.168.50.{number} as 64512; rr client; \
             connect delay time 1; connect retry time 1; error wait time 1, 2; ipv4 {{ import all; export filter {{ \
             if net = {OUTSIDE} then reject; \
             if source = RTS_STATIC then {{ {BEST}; bgp_next_hop = 192.168.50.162; }} accept; }}; }}; }}\n"
        )
    };
    let sessions = [161, 162, 163].map(to).concat();
    let host = lab.stranger(&format!("{REFLECTOR}/24"));
    let bird = lab.bird(host.path(), "reflector", &format!("router id {REFLECTOR};\n{}{sessions}", lies()));
    let calls = || lab.exec("master1", "nft list counter inet calico bgp-stranger");
    let before = calls();
    within(SOON, "it calls", || calls() != before);
    let talk = host.run(&bird.question("show protocols")).matches("Established").count();
    assert_eq!(talk, 0, "nobody asked it");
    quiet.assert_no_route_moved(lab);

    apply(lab, "BGPPeer", "reflector", &format!("{{peerIP: {REFLECTOR}, asNumber: 64512}}"));
    configure(lab, "{nodeToNodeMeshEnabled: false, serviceClusterIPs: [{cidr: 10.96.0.0/12}]}");
    talks(lab, REFLECTOR);
    each_is_named(lab, "Global_192_168_50_22", &LIES, |prefix| match prefix {
        "0.0.0.0/0" => "accepts a default route",
        "10.96.0.10/32" => "a range of the cluster's services",
        _ => "this node is on 192.168.50.0/24 itself",
    });
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
