//! Who speaks BGP with whom in the lab, and what follows: forgers and pods that are no peers, a pod that is one, routers that
//! hear of services and share a route.

use lab_tests::bgp::{Bird, ExternalRouter, ROUTER, SOON, apply, configure, mesh_is_up, session, since};
use lab_tests::{Lab, PODS, cases, suite, within};
use std::net::SocketAddrV4;
use std::process::{ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use testkit::packet::{self, Ipv4};

fn main() -> ExitCode {
    suite::run(
        &["--mode", "ipip"],
        cases![
            s21_forged_resets_and_strangers_calls_end_no_session_and_cost_nothing,
            s21_a_reset_from_beyond_one_hop_ends_no_session_though_its_place_is_right,
            s22_a_pod_speaks_bgp_with_no_node,
            a_pod_that_a_selector_matches_speaks_bgp_with_its_node_and_leads_to_what_is_behind_it,
            equally_good_paths_outside_the_pools_share_a_route,
            services_are_told_to_a_router_while_somebody_answers,
        ],
    )
}

/// Where a forged packet goes and whence it says it comes.
struct Forged {
    from: SocketAddrV4,
    to: SocketAddrV4,
}

impl Forged {
    /// A segment of TCP (RFC 9293 §3.1) without data.
    fn segment(&self, sequence: u32, flags: u8) -> Ipv4 {
        let mut tcp = Vec::new();
        tcp.extend(self.from.port().to_be_bytes());
        tcp.extend(self.to.port().to_be_bytes());
        tcp.extend(sequence.to_be_bytes());
        tcp.extend([0, 0, 0, 0, 5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        let pseudo = [&self.from.ip().octets()[..], &self.to.ip().octets(), &[0, 6, 0, 20], &tcp].concat();
        let sum = packet::checksum(&pseudo).to_be_bytes();
        tcp[16..18].copy_from_slice(&sum);
        Ipv4::new(*self.from.ip(), *self.to.ip(), 6, tcp)
    }
}

/// What the time of a processor is as a share of a span.
fn share(ticks: u64, span: Duration) -> f64 {
    // A tick is 10 ms.
    ticks as f64 / 100.0 / span.as_secs_f64()
}

/// Somewhat more than the ten thousand that a node must bear.
const CALLS_EACH_SECOND: u32 = 11_000;
const CALLS: u32 = 3 * CALLS_EACH_SECOND;
const RST: u8 = 4;
const SYN: u8 = 2;

fn s21_forged_resets_and_strangers_calls_end_no_session_and_cost_nothing(lab: &Lab) {
    suite::expect_drops(&["master1: nft bgp-stranger"]);
    let peer = "192.168.50.162";
    mesh_is_up(lab);
    let session = lab
        .exec("master1", &format!("ss -tnH state established dst {peer} '( sport = :179 or dport = :179 )'"));
    let ends: Vec<SocketAddrV4> = session.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [to, from] = ends[..] else { panic!("one session in {session}") };
    let up_since = since(lab, peer);
    let challenges =
        || lab.exec("master1", "nstat -asz TcpExtTCPChallengeACK | awk '/Challenge/ {print $2}'");
    let (before, stranger) = (challenges(), lab.stranger("192.168.50.95/24"));
    let spent = || ticks(lab.pid("node-master1"));
    let (spent_before, began) = (spent(), Instant::now());
    stranger.inside(|| {
        let forged = Forged { from, to };
        // Each is behind the one before it by more than a window: somewhere among them is the right place, as good as never
        // the right octet (RFC 5961 §3.2).
        for n in 0..100_000_u32 {
            packet::send(&forged.segment(n * 42_949, RST), 1);
        }
    });
    let share_of_resets = share(spent() - spent_before, began.elapsed());
    println!("  of the resets it takes {:.1} %", share_of_resets * 100.0);
    assert!(share_of_resets < 0.05, "{share_of_resets}");
    assert_ne!(challenges(), before, "they come so far as to be judged");

    let counted = || {
        let counter = lab.exec("master1", "nft list counter inet calico bgp-stranger");
        let mut words = counter.split_whitespace().skip_while(|word| *word != "packets").skip(1);
        words.next().and_then(|number| number.parse::<u32>().ok()).expect("a counter of packets")
    };
    let accepted = || lab.exec("master1", "nstat -asz TcpPassiveOpens | awk '/Passive/ {print $2}'");
    let (before, heard, dropped, began) = (spent(), accepted(), counted(), Instant::now());
    let own = "192.168.50.95".parse().expect("an address");
    let to = SocketAddrV4::new(*to.ip(), 179);
    stranger.inside(|| {
        for call in 0..CALLS {
            let from = SocketAddrV4::new(own, 1024 + u16::try_from(call % 60_000).expect("a port"));
            packet::send(&Forged { from, to }.segment(7, SYN), 1);
            if call % 100 == 99 {
                // What the machine held up is made good.
                let due = Duration::from_secs(1) * (call + 1) / CALLS_EACH_SECOND;
                sleep(due.saturating_sub(began.elapsed()));
            }
        }
    });
    let took = began.elapsed();
    let share = share(spent() - before, took);
    let rate = f64::from(CALLS) / took.as_secs_f64();
    println!("  of {rate:.0} calls in a second the agent takes {:.1} % of a processor", share * 100.0);
    let least = 10_000.0 / f64::from(testkit::slowness());
    assert!(rate >= least, "only {rate:.0} calls in a second: too few to show anything");
    assert!(share < 0.05, "{share}");
    assert_eq!(counted() - dropped, CALLS, "each call is dropped, and counted");
    assert_eq!(accepted(), heard, "none comes so far as to be a connection");
    assert_eq!(since(lab, peer), up_since, "the session goes on");
}

/// Whoever is a router away from a peer that is guarded (RFC 5082) gets no further than TTL 254, whatever he knows.
fn s21_a_reset_from_beyond_one_hop_ends_no_session_though_its_place_is_right(lab: &Lab) {
    let router = ExternalRouter::start_with(lab, ROUTER, &[], "ttl security on;", ", ttlSecurity: 1");
    let up_since = since(lab, ROUTER);
    // What the router says meanwhile moves the place.
    let reset = |ttl: u8| {
        let (to, from, next) = place_of_next_octet(&router);
        let forged = Ipv4 { ttl, ..Forged { from, to }.segment(next, RST) };
        router.host.inside(|| packet::send(&forged, 30));
        sleep(Duration::from_millis(500));
    };
    for _ in 0..3 {
        reset(254);
    }
    assert_eq!(since(lab, ROUTER), up_since, "the session goes on");
    let is_up = || session(lab, "master1", ROUTER).is_some_and(|line| line.contains("Established"));
    assert!(is_up());
    within(SOON, "that a neighbour would have ended it shows that the place was right", || {
        reset(255);
        !is_up() || since(lab, ROUTER) != up_since
    });
    within(SOON, "it begins again", is_up);
}

/// The ends of master1's session with a router, master1's first, and the number of the octet that master1 expects next.
fn place_of_next_octet(router: &ExternalRouter<'_>) -> (SocketAddrV4, SocketAddrV4, u32) {
    let mut capture = router.host.command("timeout");
    capture.args(["10", "tcpdump", "-nltS", "-i", "eth0", "-c", "1", "src 192.168.50.161 and tcp port 179"]);
    let capture = capture.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("tcpdump runs");
    sleep(Duration::from_secs(1));
    // What it asks again for it gets, and acknowledges what asked.
    router.ask("reload in all");
    let seen = capture.wait_with_output().expect("it is our child").stdout;
    let seen = String::from_utf8_lossy(&seen).into_owned();
    let last = seen.lines().last().unwrap_or_else(|| panic!("master1 says nothing to {ROUTER}"));
    let ack = last.split("ack ").nth(1).and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    let words: Vec<&str> = last.split_whitespace().collect();
    let end = |word: &str| {
        let (addr, port) = word.trim_end_matches(':').rsplit_once('.').expect("an address and a port");
        SocketAddrV4::new(addr.parse().expect("an address"), port.parse().unwrap_or(179))
    };
    let ack = ack.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no number in {last}"));
    (end(words[1]), end(words[3]), ack)
}

/// The processor's time that a process has had (proc_pid_stat(5), fields 14 and 15).
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("a number")).sum()
}

fn s22_a_pod_speaks_bgp_with_no_node(lab: &Lab) {
    suite::expect_drops(&["master1: nft pod-bgp"]);
    let (node, pod, _) = PODS[0];
    let dial =
        |place: &str, target: &str| lab.try_exec(place, &format!("nc -z -w 1 {target} 179")).status.success();
    assert!(dial(node, "192.168.50.162"), "the node itself is let in");
    for target in ["192.168.50.161", "192.168.50.162", "192.168.50.163"] {
        assert!(!dial(&format!("{node}/{pod}"), target), "{target}");
    }
    let rules = lab.exec(node, "nft list counter inet calico pod-bgp");
    assert!(!rules.contains("packets 0 "), "{rules}");
}

/// A router of AS 65401 inside a pod, which knows its node by 169.254.0.179 and leads to 10.123.0.0/26.
fn router_in_pod(lab: &Lab, node: &str, pod: &str, addr: &str) -> Bird {
    // The other prefixes are not a pod's to give.
    let config = format!(
        "router id {addr};\nprotocol device {{ }}\nprotocol static {{ ipv4; route 10.123.0.0/26 unreachable; \
         route 0.0.0.0/0 unreachable; route 192.168.50.162/32 unreachable; route 6.2.180.2/32 unreachable; }}\n\
         protocol bgp parent {{ local {addr} as 65401; neighbor 169.254.0.179 as 64512; multihop; \
         ipv4 {{ import all; export where source = RTS_STATIC; }}; }}\n"
    );
    lab.bird(&lab.place(node, pod).netns, "in-pod", &config)
}

fn a_pod_that_a_selector_matches_speaks_bgp_with_its_node_and_leads_to_what_is_behind_it(lab: &Lab) {
    suite::expect_drops(&["master1: nft pod-spoofed", "master1: nft bgp-stranger"]);
    // The last word to a pod that is no peer any more, by the address that goes at the same time.
    suite::allow_drops(&["master1: Ip.OutNoRoutes"]);
    let (node, pod, addr) = PODS[0];
    let inside = format!("{node}/{pod}");
    let towards_pods = || lab.exec(node, "ip -o -4 addr show to 169.254.0.179");
    lab.exec(node, &format!("kubectl label pod {pod} role=router"));
    lab.exec(&inside, "ip addr add 10.123.0.1/32 dev lo && ip addr add 10.124.0.1/32 dev lo");
    let bird = router_in_pod(lab, node, pod, addr);
    apply(lab, "BGPPeer", "nested", "{localWorkloadSelector: role == 'router', asNumber: 65401}");
    let status = || lab.exec(node, "calicoctl node status");
    within(SOON, "it is said what is missing", || status().contains("set localWorkloadPeeringIPV4"));
    configure(lab, "{localWorkloadPeeringIPV4: 192.168.50.200}");
    within(SOON, "it is said what is wrong", || status().contains("lies in 192.168.50.0/24"));
    assert_eq!(towards_pods(), "");

    configure(lab, "{localWorkloadPeeringIPV4: 169.254.0.179}");
    within(SOON, "the pod and its node talk", || {
        session(lab, node, addr).is_some_and(|line| line.contains("Established"))
    });
    assert!(!status().contains("localWorkloadPeeringIPV4"), "{}", status());
    assert!(session(lab, "master2", addr).is_none(), "no other node has to do with it");
    let route = || lab.exec(node, "ip -o -4 route show 10.123.0.0/26");
    within(SOON, "it leads to what is behind it", || {
        route().starts_with(&format!("10.123.0.0/26 via {addr} dev cali"))
    });
    for (prefix, why) in [
        ("0.0.0.0/0", "accepts a default route"),
        ("192.168.50.162/32", "this node is on 192.168.50.0/24 itself"),
        ("6.2.180.2/32", "no node holds exactly that"),
    ] {
        let said = status();
        let said = said.lines().find(|line| line.contains(&format!("says that {prefix} is behind {addr}")));
        assert!(said.is_some_and(|line| line.contains(why)), "{prefix}: {}", status());
    }
    let answers = |place: &str, words: &str| {
        lab.try_exec(place, &format!("ping -n -c 1 -W 1 {words}")).status.success()
    };
    assert!(answers(node, "10.123.0.1"), "it is reached");
    assert!(answers(&inside, "-I 10.123.0.1 192.168.50.161"), "and sends");
    assert!(!answers(&inside, "-I 10.124.0.1 192.168.50.161"), "but only as what it leads to");
    assert!(lab.exec(node, &format!("ip route get {addr}")).contains("src 192.168.50.161"));

    let agent = format!("node-{node}");
    std::thread::scope(|scope| {
        let pings = scope.spawn(|| lab.exec(&inside, "ping -n -i 0.01 -c 500 -I 10.123.0.1 192.168.50.161"));
        sleep(Duration::from_millis(500));
        lab.verb(&["kill", &agent]);
        lab.verb(&["start", &agent]);
        let pings = pings.join().expect("ping runs");
        assert!(pings.contains(" 0% packet loss"), "while the agent restarts: {pings}");
    });
    within(SOON, "the pod and the node talk again", || {
        session(lab, node, addr).is_some_and(|line| line.contains("Established"))
    });
    assert!(answers(&inside, "-I 10.123.0.1 192.168.50.161"), "and afterwards");

    // A pod that is not selected, on the same node.
    lab.verb(&["pod", "add", "not-a-router", "--node", node]);
    let stranger = format!("{node}/not-a-router");
    assert!(!lab.try_exec(&stranger, "nc -z -w 1 169.254.0.179 179").status.success());
    lab.verb(&["pod", "delete", "not-a-router"]);

    // What is behind a pod is told to whom a filter says so, by the node's own address.
    let router = ExternalRouter::start(lab, ROUTER, &[]);
    assert_eq!(router.nodes_of("10.123.0.0/26"), Vec::<String>::new());
    let accept =
        "{exportV4: [{action: Accept, matchOperator: In, cidr: 10.123.0.0/16, source: RemotePeers}]}";
    apply(lab, "BGPFilter", "nested", accept);
    apply(lab, "BGPPeer", ROUTER, &format!("{{peerIP: {ROUTER}, asNumber: 65001, filters: [nested]}}"));
    within(SOON, "the router hears of it", || router.nodes_of("10.123.0.0/26") == ["192.168.50.161"]);
    router.host.run("ip route add 10.123.0.0/26 via 192.168.50.161 && ping -n -c 1 -W 1 10.123.0.1");
    drop(router);
    lab.exec(node, "calicoctl delete bgpfilter nested");

    lab.exec(node, &format!("kubectl label pod {pod} role-"));
    within(SOON, "who is no longer selected is no peer", || {
        session(lab, node, addr).is_none() && route().is_empty() && towards_pods().is_empty()
    });
    // Else the kernel tries for a quarter of an hour to get the last word through, in the cases after this one.
    lab.exec(node, "ss -tK src 169.254.0.179");
    drop(bird);
    lab.exec(node, "calicoctl delete bgppeer nested");
    lab.exec(&inside, "ip addr del 10.123.0.1/32 dev lo && ip addr del 10.124.0.1/32 dev lo");
    configure(lab, "{}");
    lab.ping_all(&PODS);
}

fn equally_good_paths_outside_the_pools_share_a_route(lab: &Lab) {
    const OTHER: &str = "192.168.50.21";
    let (one, other) = (
        ExternalRouter::start(lab, ROUTER, &["10.77.0.0/24"]),
        ExternalRouter::start(lab, OTHER, &["10.77.0.0/24"]),
    );
    let route = || lab.exec("master1", "ip -o -4 route show 10.77.0.0/24");
    within(SOON, "both are in the route", || {
        [ROUTER, OTHER].iter().all(|router| route().contains(&format!("nexthop via {router} dev ens192")))
    });
    drop(other);
    within(SOON, "one is left", || route().starts_with(&format!("10.77.0.0/24 via {ROUTER} dev ens192")));
    drop(one);
    within(SOON, "none is left", || route().is_empty());
}

fn services_are_told_to_a_router_while_somebody_answers(lab: &Lab) {
    configure(
        lab,
        r#"{"serviceClusterIPs":[{"cidr":"10.96.0.0/12"}],"serviceExternalIPs":[{"cidr":"192.0.2.0/24"}]}"#,
    );
    let router = ExternalRouter::start(lab, ROUTER, &[]);
    for range in ["10.96.0.0/12", "192.0.2.0/24"] {
        within(SOON, &format!("every node tells {range}"), || router.nodes_of(range).len() == 3);
    }
    let slice = |node: &str| {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1, namespace: default, labels: \
             {{kubernetes.io/service-name: web}}}}\naddressType: IPv4\nendpoints: [{{addresses: [6.2.180.2], nodeName: {node}, \
             conditions: {{ready: true}}}}]\nports: [{{port: 80}}]\n"
        )
    };
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default}\nspec: {type: LoadBalancer, \
        clusterIP: 10.96.0.80, externalTrafficPolicy: Local, externalIPs: [192.0.2.80], ports: [{port: 80}]}\n";
    let put = |text: &str| {
        let file = lab.root().join("service.yaml");
        std::fs::write(&file, text).expect("the lab's folder can be written");
        lab.exec("master1", &format!("kubectl apply -f {}", file.display()));
    };
    put(&format!("{service}{}", slice("master2")));
    for address in ["10.96.0.80/32", "192.0.2.80/32"] {
        within(SOON, &format!("{address} is behind master2"), || {
            router.nodes_of(address) == ["192.168.50.162"]
        });
    }
    put(&slice("master3"));
    within(SOON, "the address is behind master3", || router.nodes_of("10.96.0.80/32") == ["192.168.50.163"]);
    lab.exec("master1", "kubectl delete service web && kubectl delete endpointslice web-1");
    within(SOON, "the service is gone", || router.nodes_of("10.96.0.80/32").is_empty());
    configure(lab, "{}");
    within(SOON, "no range is told", || router.nodes_of("10.96.0.0/12").is_empty());
}
