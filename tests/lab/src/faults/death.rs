//! An agent that dies at every place at which something that outlives it has just been done, or is about to be.

use super::cni::{blocks, owned, without_a_trace};
use super::{blame, namespaces};
use crate::{Lab, program, suite, within};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};
use testkit::leaks::Inventory;
use testkit::netns::Netns;

/// The node whose agent dies; the sampler's other end is master1.
const NODE: &str = "master2";
const AGENT: &str = "node-master2";
const PODS: usize = 5;
/// The longest that one act may take until the agent has done it.
const ACT: Duration = Duration::from_secs(20);

/// For the chaos there is one pool of small blocks, so that a few pods make the node claim one.
pub fn topology() -> serde_json::Value {
    serde_json::json!({
        "mode": "ipip",
        "pool": {"name": "default-ipv4-ippool", "cidr": "6.2.0.0/24", "blockSize": 30},
        "nodes": [
            {"name": "master1", "address": "192.168.50.161/24", "pods": [{"name": "ping-test-rfwx9"}]},
            {"name": "master2", "address": "192.168.50.162/24", "pods": [{"name": "ping-test-fljwb"}]},
        ],
    })
}

pub fn f03_an_agent_that_dies_anywhere_leaves_nothing_behind_and_pods_come_and_go_afterwards(lab: &Lab) {
    let mut places: Vec<String> = ["agent", "cni", "netlink"].iter().flat_map(|of| places_of(of)).collect();
    places.retain(|place| !is_plugins(place) && !blame::is_slots(place));
    assert!(places.len() >= 35, "{places:?}");
    // It may die while it reads what a peer sent, and says so when it is back.
    suite::expect_complaint("the agent ended while it read");
    let ways = lab.sample_pods_and_nodes();
    for place in &places {
        println!("  dying at `{place}`");
        die_at(lab, place);
    }
    sleep(Duration::from_secs(1));
    ways.nothing_was_lost();
}

/// A plugin that dies has said nothing, or all: the runtime takes down what it does not know of, and asks again.
pub fn f03_a_plugin_that_dies_before_or_after_its_answer_leaves_nothing_that_a_del_does_not_take(lab: &Lab) {
    let places: Vec<String> = places_of("cni").into_iter().filter(|place| is_plugins(place)).collect();
    assert_eq!(places.len(), 2, "{places:?}");
    let ways = lab.sample_pods_and_nodes();
    for place in &places {
        without_a_trace(lab, || {
            let pod = Netns::new();
            let died = lab.cni_dying(NODE, "ADD", "f03-plugin", pod.path(), place);
            let has_said = !died.body.is_null();
            assert!(!died.good && has_said == (place == "plugin: printed"), "`{place}`: {}", died.body);
            let died = lab.cni_dying(NODE, "DEL", "f03-plugin", pod.path(), place);
            assert_eq!(died.good, place == "plugin: printed", "a DEL prints nothing: {}", died.body);
            lab.cni(NODE, "DEL", "f03-plugin", pod.path()).expect("DEL again");
            lab.cni(NODE, "ADD", "f03-again", pod.path()).expect("ADD");
            lab.cni(NODE, "DEL", "f03-again", pod.path()).expect("DEL");
        });
    }
    ways.nothing_was_lost();
}

fn is_plugins(place: &str) -> bool {
    place.starts_with("plugin")
}

/// The places in the sources of one crate.
pub(super) fn places_of(of: &str) -> Vec<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates").join(of).join("src");
    failpoint::names(&sources).expect("the sources are there")
}

/// The crates whose places are hit: here, by `blame` and `commands`, or by a test of the crate's own.
const HIT: [&str; 7] = ["agent", "apiserver", "../bin", "cni", "controllers", "ctl", "netlink"];

pub fn every_place_at_which_a_process_may_die_is_hit_by_a_test(_: &Lab) {
    let places = |folder: &str| {
        failpoint::names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder)).expect("sources")
    };
    let all: Vec<String> = ["crates", "bin"].into_iter().flat_map(places).collect();
    let hit: BTreeSet<String> = HIT.iter().flat_map(|of| places_of(of)).collect();
    assert_eq!(hit.len(), all.len(), "a name stands at two places");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), hit);
    println!("  {} places", hit.len());
    assert!(hit.len() >= 60, "{hit:?}");
}

fn die_at(lab: &Lab, place: &str) {
    let (before, had, known) = (Inventory::of(&namespaces(lab)), of_pods(lab), blocks(lab));
    // A tunnel that goes and comes may have another address then.
    let mut tunnels = tunnel_addresses(lab);
    let mut aside = None;
    if place.starts_with("BGP") {
        forgiven(lab);
    }
    if place.starts_with("queued DEL") {
        make_pods(lab, &["q"]);
        lab.verb(&["kill", AGENT]);
        delete_pods(lab, &["q"]);
    } else if place == "file: put aside" {
        make_pods(lab, &["q"]);
        lab.verb(&["kill", AGENT]);
        aside = Some(cut_the_newest_file(lab));
    } else {
        lab.verb(&["kill", AGENT]);
    }
    // It may die before it is ready.
    start(lab, AGENT, place);
    let names = if place.contains("affinity") || place == "API: block made" {
        enough_for_a_block(&known)
    } else {
        PODS
    };
    let names: Vec<String> = (0..names).map(|n| format!("p{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if place.starts_with("pairs") {
        come_and_go_at_once(lab);
    } else {
        provoke(lab, &names);
    }
    within(ACT, &format!("the agent dies at `{place}`"), || !lives(lab, AGENT));

    lab.verb(&["start", AGENT]);
    if let Some(aside) = aside {
        std::fs::remove_file(aside).expect("what is put aside is kept");
    }
    the_question_is_answered_again(lab);
    within(ACT, &format!("after `{place}` the Node says that its network is up"), || {
        lab.exec("master1", CONDITION).contains("False")
    });
    restore_pool(lab);
    if pods(lab).is_empty() {
        make_pods(lab, &names);
    } else {
        await_running(lab);
    }
    delete_pods(lab, &[&names[..], &["q"]].concat());
    within(Duration::from_secs(15), &format!("after `{place}` nothing has an owner that is gone"), || {
        of_pods(lab) == had
    });
    tunnels.extend(tunnel_addresses(lab));
    let end = Instant::now() + Duration::from_secs(15);
    loop {
        // Blocks that were claimed meanwhile stay until a collector gives them back.
        let claimed: Vec<String> = blocks(lab).difference(&known).cloned().collect();
        let mut changes = Inventory::of(&namespaces(lab)).changes_since(&before);
        changes.retain(|line| !claimed.iter().chain(&tunnels).any(|moved| line.contains(moved)));
        if changes.is_empty() {
            break;
        }
        assert!(Instant::now() < end, "after `{place}`:\n{}", changes.join("\n"));
        sleep(Duration::from_millis(200));
    }
    let check = lab.exec("master1", "calicoctl ipam check");
    assert!(check.contains("found 0 problems"), "after `{place}`: {check}");
}

/// Who has seen a peer end again and again holds it off for up to two minutes. An agent that has just started has seen nothing.
pub(super) fn forgiven(lab: &Lab) {
    lab.verb(&["kill", "node-master1"]);
    lab.verb(&["start", "node-master1"]);
}

/// The addresses that are given, without the tunnels'.
pub(super) fn of_pods(lab: &Lab) -> BTreeSet<String> {
    owned(lab).into_iter().filter(|owner| !owner.contains("tunnel-addr")).collect()
}

/// Of `tunl0` on both nodes.
fn tunnel_addresses(lab: &Lab) -> BTreeSet<String> {
    let address = |node| lab.exec(node, "ip -4 -o address show dev tunl0 | awk '{print $4}' | cut -d/ -f1");
    ["master1", NODE].map(|node| address(node).trim().to_owned()).into()
}

/// Asks the node how it is, again and again.
const QUESTION: &str = r#"{"apiVersion":"projectcalico.org/v3","kind":"CalicoNodeStatus","metadata":{"name":"f03"},"spec":{"node":"master2","classes":["Agent"],"updatePeriodSeconds":1}}"#;
const ANSWER: &str = "kubectl get caliconodestatuses.projectcalico.org f03 --ignore-not-found -o jsonpath='{.metadata.name} {.status.lastUpdated}'";

/// If it was asked. An agent that died right after an answer leaves the next one to be given.
fn the_question_is_answered_again(lab: &Lab) {
    let answer = lab.exec("master1", ANSWER);
    if answer.trim().is_empty() {
        return;
    }
    within(ACT, &format!("the question is answered again, after {answer}"), || {
        let again = lab.exec("master1", ANSWER);
        again != answer && again.trim() != "f03"
    });
    lab.exec("master1", "kubectl delete caliconodestatuses.projectcalico.org f03");
}

/// The condition that is the agent's to give.
const CONDITION: &str =
    r#"kubectl get node master2 -o jsonpath='{.status.conditions[?(@.type=="NetworkUnavailable")].status}'"#;
const TAKE_BACK: &str = r#"kubectl patch node master2 --subresource=status -p '{"status":{"conditions":[{"type":"NetworkUnavailable","status":"True","reason":"Test"}]}}'"#;

/// Of the attachments of the node, the last that was made; where its file will be kept. The agent makes another, from the
/// kernel and the block.
fn cut_the_newest_file(lab: &Lab) -> PathBuf {
    let folder = lab.node_file(NODE, "state/attachments");
    let files = std::fs::read_dir(&folder).expect("the agent made it").flatten().map(|entry| entry.path());
    let newest = files.max_by_key(|file| file.metadata().and_then(|it| it.modified()).ok());
    let newest = newest.expect("a pod is attached");
    let text = std::fs::read(&newest).expect("the agent wrote it");
    std::fs::write(&newest, &text[..text.len() / 4]).expect("it is there");
    PathBuf::from(format!("{}.unreadable", newest.display()))
}

/// So many pods that the node's blocks, of four addresses each, are too few. Two addresses are the tunnel's and a pod's.
fn enough_for_a_block(known: &BTreeSet<String>) -> usize {
    let own = known.len() - 1;
    4 * own - 2 + 1
}

/// Starts a process of the lab that dies at a place.
pub(super) fn start(lab: &Lab, process: &str, place: &str) {
    let mut command = Command::new(program());
    command.args(["lab", "--name", &lab.name, "--dir"]).arg(&lab.dir).args(["start", process]);
    let _ = command.env(failpoint::VARIABLE, place).output().expect("the program runs");
}

/// Whether a process of the lab lives.
pub(super) fn lives(lab: &Lab, process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", lab.pid(process))).unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    // Who has died and was not waited for: a zombie without other threads (proc_pid_stat(5), fields 3 and 20).
    let ended = fields.is_empty() || fields[0] == "Z" && fields[17] == "1";
    !ended
}

/// Containers of no pod in particular, whose interfaces are removed together.
fn come_and_go_at_once(lab: &Lab) {
    let sandboxes: Vec<Netns> = (0..PODS).map(|_| Netns::new()).collect();
    let all = |verb: &'static str| {
        std::thread::scope(|scope| {
            for (n, sandbox) in sandboxes.iter().enumerate() {
                scope.spawn(move || lab.cni(NODE, verb, &format!("f03-{n}"), sandbox.path()));
            }
        });
    };
    all("ADD");
    all("DEL");
    within(ACT, "the agent dies as it removes interfaces", || !lives(lab, AGENT));
    // What was not answered is asked again; an agent that is away finds it queued.
    all("DEL");
}

/// Everything that an agent does, until it does no more.
fn provoke(lab: &Lab, names: &[&str]) {
    let until_dead = |holds: &dyn Fn() -> bool| {
        let end = Instant::now() + ACT;
        while lives(lab, AGENT) && !holds() && Instant::now() < end {
            sleep(Duration::from_millis(50));
        }
        lives(lab, AGENT)
    };
    if !lives(lab, AGENT) {
        return;
    }
    lab.exec("master1", &format!("echo '{QUESTION}' | kubectl create -f -"));
    lab.exec("master1", TAKE_BACK);
    create(lab, names);
    if !until_dead(&|| running(lab) == names.len()) {
        return;
    }
    lab.exec("master1", "kubectl delete pods -l app=chaos --wait=false");
    if !until_dead(&|| pods(lab).is_empty()) {
        return;
    }
    sleep(Duration::from_secs(1));
    // Whose packets are let in changes with the nodes.
    let guest = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"guest","annotations":{"projectcalico.org/IPv4Address":"192.168.50.170/24"}}}"#;
    for line in [format!("echo '{guest}' | kubectl create -f -"), "kubectl delete node guest".to_owned()] {
        lab.exec("master1", &line);
        sleep(Duration::from_millis(500));
    }
    for spec in [
        r#"{"natOutgoing":false}"#,
        r#"{"ipipMode":"Never","vxlanMode":"Always"}"#,
        r#"{"ipipMode":"Always","vxlanMode":"Never"}"#,
    ] {
        if !lives(lab, AGENT) {
            return;
        }
        lab.patch_pool(spec);
        let device = if spec.contains(r#""vxlanMode":"Always""#) { "vxlan.calico" } else { "tunl0" };
        if !until_dead(&|| lab.tunnels(NODE) == [device]) {
            return;
        }
    }
}

fn restore_pool(lab: &Lab) {
    lab.patch_pool(r#"{"natOutgoing":true,"ipipMode":"Always","vxlanMode":"Never"}"#);
    within(ACT, "both nodes are back at IPIP", || {
        ["master1", NODE].iter().all(|node| lab.tunnels(node) == ["tunl0"])
    });
}

fn create(lab: &Lab, names: &[&str]) {
    lab.exec("master1", &format!("kubectl create -f {}", pods_file(lab, names).display()));
}

/// A file of such pods.
pub(super) fn pods_file(lab: &Lab, names: &[&str]) -> PathBuf {
    let pod = |name: &&str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, labels: {{app: chaos}}}}\n\
             spec: {{nodeName: {NODE}, terminationGracePeriodSeconds: 1, containers: [{{name: main, image: pause}}]}}\n"
        )
    };
    let file = lab.root().join("chaos.yaml");
    std::fs::write(&file, names.iter().map(pod).collect::<Vec<_>>().join("---\n"))
        .expect("the lab's directory");
    file
}

fn make_pods(lab: &Lab, names: &[&str]) {
    create(lab, names);
    await_running(lab);
}

pub(super) fn await_running(lab: &Lab) {
    let all = pods(lab).len();
    within(Duration::from_secs(40), "the pods run", || {
        sleep(Duration::from_millis(50));
        running(lab) == all
    });
}

pub(super) fn delete_pods(lab: &Lab, names: &[&str]) {
    lab.exec("master1", &format!("kubectl delete pods --wait=false --ignore-not-found {}", names.join(" ")));
    within(Duration::from_secs(40), "the pods are gone", || {
        sleep(Duration::from_millis(50));
        pods(lab).is_empty()
    });
}

pub(super) fn pods(lab: &Lab) -> BTreeSet<String> {
    let names = lab.exec("master1", "kubectl get pods -l app=chaos -o name");
    names.lines().map(str::to_owned).collect()
}

pub(super) fn running(lab: &Lab) -> usize {
    let phases = lab.exec("master1", "kubectl get pods -l app=chaos -o jsonpath='{.items[*].status.phase}'");
    phases.split_whitespace().filter(|phase| *phase == "Running").count()
}
