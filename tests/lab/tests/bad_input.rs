//! What cannot work: each gets its code and one sentence that names the object and says what to do, and leaves nothing
//! half-done. What the plugin refuses by itself stands in its own tests; what `calicoctl` refuses, in those of the API server.

use lab_tests::faults::cni::without_a_trace;
use lab_tests::faults::damage::f07_an_agent_whose_files_are_cut_or_flipped_is_up_within_five_seconds_and_no_packet_is_lost;
use lab_tests::{Answer, Lab, PODS, cases, has_ipip_module, program, suite, within};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use testkit::netns::Netns;
use testkit::process::Guard;
use testkit::sampler::Sampler;

const NODE: &str = "master3";
const AGENT: &str = "node-master3";
/// CNI specification 1.1.0 §"Error", and Calico's uses of it.
const BAD_VERSION: u64 = 1;
const BAD_ENVIRONMENT: u64 = 4;
const IO_FAILURE: u64 = 5;
const TRY_AGAIN: u64 = 11;
const INTERNAL: u64 = 999;

fn main() -> ExitCode {
    suite::run(
        &["--mode", "vxlan"],
        cases![
            an_add_that_the_specification_forbids_is_refused,
            f06_a_full_disk_fails_adds_and_lets_dels_pass,
            f07_a_corrupt_attachments_file_is_put_aside_and_made_anew,
            f07_an_agent_whose_files_are_cut_or_flipped_is_up_within_five_seconds_and_no_packet_is_lost,
            a_node_that_the_api_does_not_know_is_named,
            f11_an_add_without_an_api_server_says_so_and_leaves_nothing,
            a_pool_set_to_ipip_where_no_driver_works_is_refused_beforehand_and_takes_no_path_down,
            f33_a_full_pool_says_so_and_a_freed_address_is_given_again,
        ],
    )
}

/// A call failed with this code, and its sentence has all these parts.
fn refused(answer: &Answer, code: u64, parts: &[&str]) {
    assert_eq!(answer.code(), code, "{}", answer.body);
    let said = [&answer.body["msg"], &answer.body["details"]].map(|text| text.as_str().unwrap_or_default());
    let said = said.join(": ");
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in `{said}`");
    }
}

/// Nothing of ours is in a pod's namespace.
fn untouched(pod: &Netns) {
    assert_eq!(pod.run("ip -o link").lines().count(), 1, "the pod has nothing but lo");
}

/// After a DEL, the interface goes a moment later.
fn emptied(pod: &Netns) {
    within(Duration::from_secs(2), "the pod has nothing but lo", || {
        pod.run("ip -o link").lines().count() == 1
    });
}

fn an_add_that_the_specification_forbids_is_refused(lab: &Lab) {
    without_a_trace(lab, || {
        let pod = Netns::new();
        refused(&lab.cni(NODE, "ADD", "bad", Path::new("")), BAD_ENVIRONMENT, &["CNI_NETNS"]);
        let gone = Path::new("/run/netns/gone");
        refused(&lab.cni(NODE, "ADD", "bad", gone), BAD_ENVIRONMENT, &["/run/netns/gone", "No such file"]);
        let newer = [("cniVersion", json!("9.9.9"))];
        let answer = lab.cni_with(NODE, "ADD", "bad", pod.path(), &newer);
        refused(&answer, BAD_VERSION, &["incompatible CNI versions", "9.9.9", "1.1.0"]);
        untouched(&pod);
    });
}

/// The state of the node's agent is on a file system of one mebibyte until this is dropped. The agent does not run then.
struct SmallDisk<'a> {
    lab: &'a Lab,
    state: PathBuf,
}

impl<'a> SmallDisk<'a> {
    fn new(lab: &'a Lab) -> SmallDisk<'a> {
        let state = lab.node_file(NODE, "state");
        lab.verb(&["kill", AGENT]);
        let disk = SmallDisk { lab, state };
        disk.sh("cp -a $S $S.kept && mount -t tmpfs -o size=1m tortie $S && cp -a $S.kept/. $S");
        lab.verb(&["start", AGENT]);
        disk
    }

    /// Runs a line of shell in which `$S` is the directory.
    fn sh(&self, line: &str) {
        let ran = Command::new("sh").args(["-c", line]).env("S", &self.state).status();
        assert!(ran.is_ok_and(|status| status.success()), "{line}");
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = self.lab.try_verb(&["kill", AGENT]);
        self.sh("umount $S && rm -r $S.kept");
    }
}

fn f06_a_full_disk_fails_adds_and_lets_dels_pass(lab: &Lab) {
    let sampler = Sampler::start(&lab.place(NODE, PODS[2].1), &lab.place(PODS[0].0, PODS[0].1));
    without_a_trace(lab, || {
        let (pod, other) = (Netns::new(), Netns::new());
        let disk = SmallDisk::new(lab);
        lab.cni(NODE, "ADD", "f06", pod.path()).expect("ADD");

        disk.sh("cat /dev/zero > $S/full 2> /dev/null || true");
        let sentence = ["cannot write the attachment's file", "attachments: No space left on device"];
        refused(&lab.cni(NODE, "ADD", "f06-other", other.path()), IO_FAILURE, &sentence);
        untouched(&other);
        disk.sh("test -z \"$(ls $S/attachments | grep f06-other)\"");
        lab.cni(NODE, "DEL", "f06", pod.path()).expect("DEL needs no space");
        emptied(&pod);

        disk.sh("rm $S/full");
        lab.cni(NODE, "ADD", "f06-other", other.path()).expect("ADD after space was freed");
        lab.cni(NODE, "DEL", "f06-other", other.path()).expect("DEL");
        drop(disk);
        lab.verb(&["start", AGENT]);
    });
    let report = sampler.stop();
    println!("{report}");
    report.assert_nothing_lost();
}

fn f07_a_corrupt_attachments_file_is_put_aside_and_made_anew(lab: &Lab) {
    let (_, pod, address) = PODS[2];
    let container = lab.sandbox(NODE, pod)["id"].as_str().expect("a sandbox has an id").to_owned();
    let attachments = lab.node_file(NODE, "state/attachments");
    let file = || {
        let names = std::fs::read_dir(&attachments).expect("the agent made it").flatten();
        let mut paths = names.map(|entry| entry.path()).filter(|path| {
            path.extension().is_some_and(|ending| ending == "json")
                && path.display().to_string().contains(&container)
        });
        paths.next()
    };
    let path = file().expect("the pod is attached");
    without_a_trace(lab, || {
        lab.verb(&["kill", AGENT]);
        std::fs::write(&path, "{\"id\":").expect("the agent's directory");
        lab.verb(&["start", AGENT]);

        let aside = PathBuf::from(format!("{}.unreadable", path.display()));
        let log = lab.log(AGENT);
        let said = format!("{} cannot be used and is now {}", path.display(), aside.display());
        assert!(log.contains(&said), "`{said}` is not in\n{log}");
        assert!(log.contains("was lost; made anew from cali"), "{log}");
        assert_eq!(std::fs::read_to_string(&aside).expect("it is kept"), "{\"id\":");
        within(Duration::from_secs(2), "the file is made anew", || {
            let text = file().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
            text.contains(address) && text.contains("\ncrc32 ")
        });
        std::fs::remove_file(aside).expect("it is there");
    });
    lab.ping(&format!("{NODE}/{pod}"), PODS[0].2);
}

fn a_node_that_the_api_does_not_know_is_named(lab: &Lab) {
    let stranger = lab.stranger("192.168.50.98/24");
    let (socket, state) = (lab.root().join("nobody.sock"), lab.root().join("nobody"));
    let mut command = stranger.command(program());
    command.args(["node", "--node-name=nobody", "--kubeconfig"]).arg(lab.root().join("kubeconfig"));
    command.arg("--socket").arg(&socket).arg("--state-dir").arg(&state).stderr(Stdio::null());
    let agent = Guard::spawn(&mut command);
    let sentence = "node nobody is unknown to the API server: check the agent's --node-name";
    within(Duration::from_secs(10), "its agent says that it is unknown", || {
        socket.exists()
            && lab_tests::status(&socket)["problems"]
                .as_array()
                .is_some_and(|problems| problems.contains(&json!(sentence)))
    });
    without_a_trace(lab, || {
        let pod = Netns::new();
        let there = [("agent_socket", json!(socket)), ("state_dir", json!(state))];
        refused(&lab.cni_with(NODE, "ADD", "nobody", pod.path(), &there), TRY_AGAIN, &[sentence]);
        untouched(&pod);
    });
    drop(agent);
}

fn f11_an_add_without_an_api_server_says_so_and_leaves_nothing(lab: &Lab) {
    without_a_trace(lab, || {
        let pod = Netns::new();
        lab.verb(&["kill", "apiserver"]);
        let answer = lab.cni(NODE, "ADD", "f11", pod.path());
        refused(&answer, TRY_AGAIN, &["no address within 8 s: "]);
        assert!(answer.took < Duration::from_secs(13), "{:?}", answer.took);
        untouched(&pod);
        lab.verb(&["start", "apiserver"]);
        within(Duration::from_secs(20), "an ADD works again", || {
            lab.cni(NODE, "ADD", "f11", pod.path()).good
        });
        lab.cni(NODE, "DEL", "f11", pod.path()).expect("DEL");
    });
}

/// The Node's condition about pools' modes: null if it has none.
fn pool_modes(lab: &Lab, node: &str) -> Value {
    let node = lab.json(&format!("kubectl get node {node} -o json"));
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|said| said["type"] == "PoolModeUnavailable").unwrap_or_default()
}

/// The tunnels of a node's routes to other nodes' blocks, sorted.
fn ways_out(lab: &Lab, node: &str) -> Vec<String> {
    let routes = lab.exec(node, "ip -4 route show proto 80");
    let device = |route: &str| route.split(" dev ").nth(1)?.split(' ').next().map(str::to_owned);
    let devices = routes.lines().filter_map(device).filter(|device| !device.starts_with("cali"));
    let mut devices: Vec<String> = devices.collect();
    devices.sort();
    devices
}

const NO_DRIVER: &str = "pool default-ipv4-ippool wants IPIP, for which this node has no driver";

fn a_pool_set_to_ipip_where_no_driver_works_is_refused_beforehand_and_takes_no_path_down(lab: &Lab) {
    let agent = lab.take_over("master2", &[], &["--ipip-driver=kernel"], &[]);
    let mode = |words: &str| {
        let output = lab.try_exec("master1", &format!("calicoctl mode {words}"));
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    if has_ipip_module() {
        // Here that driver works, and the node follows like any other.
        for (to, device) in [("ipip", "tunl0"), ("vxlan", "vxlan.calico")] {
            let (done, shown) = mode(&format!("apply default-ipv4-ippool --to {to}"));
            assert!(done, "{shown}");
            assert_eq!(ways_out(lab, "master2"), [device; 2]);
        }
        drop(agent);
        lab.verb(&["start", "node-master2"]);
        return;
    }
    within(Duration::from_secs(10), "master2 says that it has no driver", || {
        lab.json("calicoctl node status --node master2 -o json")["ipip"].is_null()
    });
    for words in ["plan default-ipv4-ippool --to ipip", "apply default-ipv4-ippool --to ipip-cross-subnet"] {
        let (done, shown) = mode(words);
        let named: Vec<&str> = shown.lines().filter(|line| line.contains(NO_DRIVER)).collect();
        assert!(!done && named.len() == 1 && named[0].starts_with("  master2: "), "{words}: {shown}");
    }
    assert_eq!(pool_modes(lab, "master2"), Value::Null, "nothing was changed");

    let [one, two, three] = PODS.map(|(node, pod, _)| lab.place(node, pod));
    let samplers = [(&one, &two), (&two, &three), (&three, &one)].map(|(a, b)| Sampler::start(a, b));
    lab.patch_pool(r#"{"ipipMode":"Always","vxlanMode":"Never"}"#);
    within(Duration::from_secs(20), "who can has switched, and who cannot says so", || {
        ways_out(lab, "master1") == ["tunl0", "vxlan.calico"]
            && ways_out(lab, "master3") == ["tunl0", "vxlan.calico"]
            && pool_modes(lab, "master2")["status"] == "True"
    });
    assert_eq!(ways_out(lab, "master2"), ["vxlan.calico"; 2]);
    assert_eq!(lab.tunnels("master2"), ["vxlan.calico"]);
    let said = pool_modes(lab, "master2");
    assert_eq!(said["reason"], "NoIPIPDriver");
    assert!(said["message"].as_str().is_some_and(|message| message.starts_with(NO_DRIVER)), "{said}");
    assert_eq!(pool_modes(lab, "master1"), Value::Null);
    let shown = |at: &str, flags: &str| lab.exec(at, &format!("calicoctl node status {flags}"));
    for (at, flags) in [("master2", ""), ("master1", "--node master2")] {
        let lines = format!("INFO: {}\n\n", said["message"].as_str().unwrap_or_default());
        assert!(shown(at, flags).ends_with(&lines), "{at} {flags}: {}", shown(at, flags));
        let json = lab.exec(at, &format!("calicoctl node status {flags} -o json"));
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert!(json["ipip"].is_null() && json["conditions"][0]["reason"] == "NoIPIPDriver", "{json}");
    }
    assert!(!shown("master1", "").contains("INFO"), "{}", shown("master1", ""));
    assert_eq!(lab.json("calicoctl node status -o json")["ipip"], "stand-in");

    // What changes without a turn keeps the time of the last one.
    let turned = said["lastTransitionTime"].as_str().expect("a time").to_owned();
    within(Duration::from_secs(5), "it is a second later", || {
        lab.exec("master1", "date -u +%Y-%m-%dT%H:%M:%SZ").trim() > turned.as_str()
    });
    let more = r#"{"apiVersion":"projectcalico.org/v3","kind":"IPPool","metadata":{"name":"more"},
        "spec":{"cidr":"10.77.0.0/24","ipipMode":"CrossSubnet","disabled":true}}"#;
    lab.exec("master1", &format!("echo '{more}' | calicoctl create -f -"));
    let says_more = || pool_modes(lab, "master2")["message"].to_string().contains("pool more wants IPIP");
    within(Duration::from_secs(10), "the condition names both pools", says_more);
    assert_eq!(pool_modes(lab, "master2")["lastTransitionTime"], turned);
    lab.exec("master1", "calicoctl delete ippool more");

    lab.patch_pool(r#"{"ipipMode":"Never","vxlanMode":"Always"}"#);
    within(Duration::from_secs(20), "all is as before", || {
        pool_modes(lab, "master2")["status"] == "False"
            && ["master1", "master2", "master3"].iter().all(|node| lab.tunnels(node) == ["vxlan.calico"])
    });
    assert!(!shown("master2", "").contains("INFO"), "{}", shown("master2", ""));
    drop(agent);
    lab.verb(&["start", "node-master2"]);
    for report in Sampler::stop_all(samplers.into()) {
        println!("{report}");
        report.assert_nothing_lost();
    }
}

fn f33_a_full_pool_says_so_and_a_freed_address_is_given_again(lab: &Lab) {
    let file = lab.root().join("small.yaml");
    let topology = json!({
        "mode": "direct",
        "pool": {"name": "small", "cidr": "10.66.0.0/30", "blockSize": 30},
        "nodes": [{"name": "only", "address": "192.168.50.161/24"}],
    });
    std::fs::write(&file, topology.to_string()).expect("the lab's directory");
    let lab = Lab::up(&["--file", &file.display().to_string()]);
    let pods: Vec<Netns> = (0..5).map(|_| Netns::new()).collect();
    let add = |n: usize| lab.cni("only", "ADD", &format!("f33-{n}"), pods[n].path());
    let addresses: Vec<String> =
        (0..4).map(|n| add(n).expect("ADD")["ips"][0]["address"].to_string()).collect();

    let says = |why: &str| {
        let sentence = ["Assigned 0 out of 1 requested IPv4 addresses", why, "(for Workload)"];
        refused(&add(4), INTERNAL, &sentence);
        untouched(&pods[4]);
    };
    let most = "most in use in blocks of only (4); create another IPPool";
    says(&format!("No IPs available in pools: [10.66.0.0/30], {most}"));
    let configure = |flags: &str, why: &str| {
        lab.exec("only", &format!("calicoctl ipam configure {flags}"));
        within(Duration::from_secs(5), "the agent knows", || add(4).body.to_string().contains(why));
        says(why);
    };
    configure("--strictaffinity=true", "No more free affine blocks and strict affinity enabled");
    configure(
        "--strictaffinity=true --max-blocks-per-host=1",
        "cannot allocate new block due to per host block limit: only has 1 blocks, all full",
    );
    lab.cni("only", "DEL", "f33-2", pods[2].path()).expect("DEL");
    assert_eq!(add(4).expect("ADD")["ips"][0]["address"].to_string(), addresses[2]);
    for (n, pod) in pods.iter().enumerate() {
        lab.cni("only", "DEL", &format!("f33-{n}"), pod.path()).expect("DEL");
    }
    let check = lab.exec("only", "calicoctl ipam check");
    assert!(check.contains("found 0 problems"), "{check}");
}
