//! Secrets that are easy to recognise, and a search for them everywhere but where they belong.

use lab_tests::bgp::{MESH, SOON, apply, configure, mesh_is_up, session};
use lab_tests::{Lab, cases, program, suite, within};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use testkit::netns::{self, Netns};
use testkit::process::Guard;

/// Every planted secret has this in it.
const CANARY: &str = "canary-in-the-mine";

fn main() -> ExitCode {
    suite::run(
        &["--mode", "ipip"],
        cases![r11_no_secret_is_in_a_log_an_answer_an_archive_a_process_or_a_core],
    )
}

/// The program, with everything logged.
fn start_loud(lab: &Lab, process: &str, more: &[(&str, &str)]) {
    let mut command = Command::new(program());
    command.args(["lab", "--name", &lab.name, "--dir"]).arg(&lab.dir).args(["start", process]);
    command.env("TORTIE_LOG", "trace").envs(more.iter().copied());
    let _ = command.output().expect("the program runs");
}

fn r11_no_secret_is_in_a_log_an_answer_an_archive_a_process_or_a_core(lab: &Lab) {
    // What HTTP/2 calls the good end of a connection, in a log that holds everything.
    suite::expect_complaint("NO_ERROR");
    let mut answers = Vec::new();
    let cores = cores();
    let nodes =
        ["node", "kubelet"].map(|role| lab.nodes().into_iter().map(move |node| format!("{role}-{node}")));
    for process in
        ["apiserver", "controller"].map(str::to_owned).into_iter().chain(nodes.into_iter().flatten())
    {
        lab.verb(&["kill", &process]);
        start_loud(lab, &process, &[]);
    }
    use_passwords(lab, &mut answers);
    misuse(lab, &mut answers);
    let archive = archive(lab);
    lab.verb(&["kill", "node-master2"]);
    // As if it had panicked, with core files allowed.
    start_dying(lab);
    start_loud(lab, "node-master2", &[]);

    let secrets = secrets(lab);
    assert!(secrets.len() >= 6, "tokens and keys are known: {}", secrets.len());
    for (name, text) in answers.iter().map(|(name, text)| (name.clone(), text.as_bytes().to_vec())) {
        search(&secrets, &name, &text);
    }
    for path in files(&lab.root().join("logs")).into_iter().chain(files(&archive)) {
        search(&secrets, &path.display().to_string(), &std::fs::read(&path).expect("ours"));
    }
    for node in lab.nodes() {
        for folder in ["state", "pods", "net.d"] {
            for path in files(&lab.node_file(&node, folder)) {
                // Namespaces are mounted there, too, which are no files.
                search(&secrets, &path.display().to_string(), &std::fs::read(&path).unwrap_or_default());
            }
        }
    }
    // A Secret is in the store by its nature; who opens the door is not.
    let tokens: Vec<String> = secrets
        .iter()
        .filter(|secret| !secret.contains(CANARY) && **secret != data(CANARY))
        .cloned()
        .collect();
    assert!(tokens.len() >= 4, "{}", tokens.len());
    let store: Vec<PathBuf> = files(&lab.root().join("apiserver"))
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("/store.db"))
        .collect();
    assert!(!store.is_empty(), "the store's file is found");
    for path in store {
        search(&tokens, &path.display().to_string(), &std::fs::read(&path).expect("ours"));
    }
    for process in files(&lab.root().join("processes")) {
        let pid = lab.pid(&process.file_name().expect("a name").to_string_lossy());
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{file}");
            search(&secrets, &path, &std::fs::read(&path).unwrap_or_default());
        }
    }
    let events = lab.exec("master1", "kubectl get events -A -o json; kubectl get nodes,pods -A -o json");
    search(&secrets, "events, nodes and pods", events.as_bytes());
    assert_eq!(self::cores(), cores, "a core file was written");
}

/// Passwords of sessions: right, changed, and missing.
fn use_passwords(lab: &Lab, answers: &mut Vec<(String, String)>) {
    let set = |password: &str| {
        lab.exec(
            "master1",
            &format!(
                "kubectl get namespace kube-system > /dev/null 2>&1 || kubectl create namespace kube-system
             kubectl -n kube-system delete secret bgp --ignore-not-found
             kubectl -n kube-system create secret generic bgp --from-literal=password={password}"
            ),
        )
    };
    let [one, two] = ["one", "two"].map(|which| format!("{CANARY}-{which}"));
    the_mesh_begins_signed(lab, &one, || {
        set(&one);
        configure(lab, "{nodeMeshPassword: {secretKeyRef: {name: bgp, key: password}}}");
    });
    // Secrets are read again when something else about BGP changes.
    the_mesh_begins_signed(lab, &two, || {
        set(&two);
        let password = "{secretKeyRef: {name: nosuch, key: k}}";
        let spec = format!("{{peerIP: 192.168.50.250, asNumber: 64999, password: {password}}}");
        apply(lab, "BGPPeer", "missing", &spec);
    });
    within(SOON, "a session without its Secret says what it waits for", || {
        session(lab, "master1", "192.168.50.250").is_some_and(|line| line.contains("waits for its password"))
    });
    for line in [
        "calicoctl node status",
        "calicoctl status",
        "calicoctl get bgppeer,bgpconfig -o yaml",
        "calicoctl mode plan default-ipv4-ippool --to vxlan",
    ] {
        answers.push((line.to_owned(), text(&lab.try_exec("master1", line))));
    }
    lab.exec("master1", "calicoctl delete bgppeer missing");
}

/// After `change` the other nodes' sessions with master1 begin anew, and what they say there is signed with this password
/// (RFC 2385), by tcpdump's reckoning.
fn the_mesh_begins_signed(lab: &Lab, password: &str, change: impl FnOnce()) {
    let file = lab.root().join("signed");
    let line = format!(
        "exec tcpdump --immediate-mode -nlM {password} -i ens192 dst 192.168.50.161 and tcp port 179 > {} 2>&1",
        file.display()
    );
    let _capture = Guard::spawn(netns::command(&lab.netns("master1"), "sh").args(["-c", &line]));
    let seen = || std::fs::read_to_string(&file).unwrap_or_default();
    within(SOON, "tcpdump listens", || seen().contains("listening on"));
    change();
    for peer in MESH {
        // With data: on both sides the kernel has found the connection's beginning rightly signed.
        let is_signed = |line: &str| {
            line.contains(&format!("IP {peer}.")) && line.contains("Flags [P") && line.contains("md5 valid")
        };
        within(Duration::from_secs(60), &format!("{peer} signs with the password"), || {
            seen().lines().any(is_signed)
        });
    }
    mesh_is_up(lab);
}

/// Everything that complains, with a secret in what it complains of.
fn misuse(lab: &Lab, answers: &mut Vec<(String, String)>) {
    for line in [
        format!("K8S_API_TOKEN={CANARY} calicoctl -l debug get nodes --kubeconfig /nowhere"),
        format!(
            "K8S_API_ENDPOINT=https://192.168.50.1:6443 K8S_API_TOKEN={CANARY} K8S_INSECURE_SKIP_TLS_VERIFY=true KUBECONFIG= calicoctl -l debug get nodes"
        ),
        "calicoctl -l debug get nodes".to_owned(),
    ] {
        answers.push((line.replace(CANARY, "…"), text(&lab.try_exec("master1", &line))));
    }
    // Calico's plugins have logged what stands on their standard input.
    let pod = Netns::new();
    let policy = json!({"type": "k8s", "k8s_auth_token": CANARY, "k8s_client_key": CANARY});
    for (verb, more) in [
        ("ADD", vec![("policy", policy.clone())]),
        ("DEL", vec![("policy", policy.clone())]),
        ("ADD", vec![("policy", policy.clone()), ("mtu", json!("no number"))]),
        ("ADD", vec![("policy", policy.clone()), ("agent_socket", json!("/nowhere"))]),
        ("CHECK", vec![("policy", policy), ("prevResult", json!({"token": CANARY}))]),
    ] {
        let answer = lab.cni_with("master1", verb, "canary", pod.path(), &more);
        answers.push((format!("plugin {verb}"), answer.body.to_string()));
    }
    lab.cni("master1", "DEL", "canary", pod.path());
}

/// What `diags` takes along, unpacked. A log of somebody else that holds a token lies beside ours.
fn archive(lab: &Lab) -> PathBuf {
    let folder = lab.root().join("diags");
    std::fs::create_dir_all(folder.join("logs")).expect("the lab's directory");
    let of_others = format!("level=info msg=\"using token {CANARY}\"\nall is well\n");
    std::fs::write(folder.join("logs/cni.log"), of_others).expect("the lab's directory");
    std::fs::copy(lab.root().join("logs/node-master1"), folder.join("logs/node-master1")).expect("it logs");
    let said = lab.exec(
        "master1",
        &format!(
            "calicoctl node diags --output-dir {0} --log-dir {0}/logs --state-dir {1}",
            folder.display(),
            lab.node_file("master1", "state").display()
        ),
    );
    let path = said.lines().find_map(|line| line.strip_prefix("Diags saved to ")).expect("it says where");
    lab.exec("master1", &format!("tar -C {} -xzf {path}", folder.display()));
    let unpacked = folder.join("diags");
    let log = std::fs::read_to_string(unpacked.join("logs/cni.log")).expect("it is taken along");
    assert_eq!(log, "[a line about a credential]\nall is well\n");
    assert!(unpacked.join("logs/node-master1").exists() && unpacked.join("agent.json").exists());
    unpacked
}

fn start_dying(lab: &Lab) {
    let line = format!(
        "ulimit -c unlimited; exec {} lab --name {} --dir {} start node-master2",
        program().display(),
        lab.name,
        lab.dir.display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &line]).env("TORTIE_LOG", "trace").env("TORTIE_FAILPOINT", "kernel: read");
    let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("sh runs");
}

/// Core files, where the kernel puts them (core(5)): beside the pattern's path, or in the agents' working directory.
fn cores() -> BTreeSet<PathBuf> {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("Linux says it");
    let pattern = pattern.trim();
    assert!(
        !pattern.starts_with('|'),
        "core files go to `{pattern}`: set kernel.core_pattern to a path for this test"
    );
    let path = Path::new("/").join(pattern);
    let begin = path.file_name().expect("a pattern has a name").to_string_lossy();
    let begin = begin.split('%').next().unwrap_or_default();
    let entries =
        std::fs::read_dir(path.parent().expect("a name has a folder")).expect("it is there").flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begin)))
        .collect()
}

/// What nobody may see: what was planted, and the tokens and keys of the lab.
fn secrets(lab: &Lab) -> Vec<String> {
    let mut secrets = vec![CANARY.to_owned(), data(CANARY)];
    let kubeconfigs = lab.nodes().into_iter().map(|node| lab.node_file(&node, "kubeconfig"));
    for path in kubeconfigs.chain([lab.root().join("kubeconfig")]) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let tokens = text.split("\"token\": \"").skip(1).filter_map(|rest| rest.split('"').next());
        secrets.extend(tokens.map(str::to_owned));
    }
    secrets.retain(|secret| secret.len() >= 8);
    secrets
}

/// As a Secret holds it (RFC 4648 §4), without what its neighbours may change.
fn data(text: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = text.as_bytes().chunks_exact(3);
    let digits = groups.flat_map(|group| {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[bits >> shift & 63]))
    });
    digits.collect()
}

fn search(secrets: &[String], name: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for secret in secrets {
        if let Some(at) = text.find(secret.as_str()) {
            let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
            panic!("{name} holds a secret: {}…", &text[start..at]);
        }
    }
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn text(output: &std::process::Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}
