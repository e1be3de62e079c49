//! The plugin as a runtime sees it, with an agent that answers as told: recorded calls of Calico's plugin 3.32.1
//! (`recorded/`), every version's form, and what happens when the agent is away.

#![allow(clippy::unwrap_used)]

use node::cni::{Added, Command, Failure, Reply, Request};
use node::socket::{Answer, Call};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command as Process;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// One call of the plugin.
#[derive(Clone)]
struct Run {
    plugin: cni::Plugin,
    env: Vec<(String, String)>,
    stdin: String,
}

#[derive(Debug, PartialEq)]
struct Outcome {
    exit: u8,
    stdout: String,
    stderr: String,
}

impl Run {
    fn new(verb: &str, conf: Value) -> Run {
        let env = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a"),
        ];
        let env = env.map(|(name, value)| (name.into(), value.into())).into();
        Run { plugin: cni::Plugin::Network, env, stdin: conf.to_string() }
    }

    fn var(mut self, name: &str, value: &str) -> Run {
        self.env.retain(|(n, _)| n != name);
        self.env.push((name.into(), value.into()));
        self
    }

    fn run(&self) -> Outcome {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let env = |name: &str| self.env.iter().find(|(n, _)| n == name).map(|(_, v)| OsString::from(v));
        let exit = cni::main(self.plugin, env, &mut self.stdin.as_bytes(), &mut stdout, &mut stderr);
        let text = |bytes| String::from_utf8(bytes).expect("the plugin prints UTF-8");
        Outcome { exit, stdout: text(stdout), stderr: text(stderr) }
    }
}

/// A place for the socket and the state, and a network namespace.
struct Place {
    dir: TempDir,
    netns: Option<String>,
}

impl Place {
    fn new() -> Place {
        Place { dir: TempDir::new().unwrap(), netns: None }
    }

    /// With a namespace, which goes with the place.
    fn with_netns(name: &str) -> Place {
        let name = format!("cni-{}-{name}", std::process::id());
        ip(&["netns", "add", &name]);
        Place { dir: TempDir::new().unwrap(), netns: Some(name) }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.dir.path().join("agent.sock")
    }

    fn queue(&self) -> std::path::PathBuf {
        cni::queue::directory(self.dir.path())
    }

    fn netns_path(&self) -> String {
        format!("/run/netns/{}", self.netns.as_ref().expect("made with a namespace"))
    }

    fn conf(&self, version: &str) -> Value {
        json!({
            "cniVersion": version, "name": "net", "type": "calico", "ipam": {"type": "calico-ipam"},
            "agent_socket": self.socket(), "state_dir": self.dir.path(),
        })
    }

    /// Replies to one call and gives back what was asked, with the descriptors that came along.
    fn agent(
        &self,
        reply: impl Fn(&Request) -> Option<Reply> + Send + 'static,
    ) -> JoinHandle<(Request, Vec<OwnedFd>)> {
        self.answering(move |request| reply(request).map(Answer::Cni))
    }

    /// As `agent`, with answers that are no reply too.
    fn answering(
        &self,
        answer: impl Fn(&Request) -> Option<Answer> + Send + 'static,
    ) -> JoinHandle<(Request, Vec<OwnedFd>)> {
        let listener = UnixListener::bind(self.socket()).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut line, mut descriptors) = (Vec::new(), Vec::new());
            while line.last() != Some(&b'\n') {
                let mut chunk = [0; 65536];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
                let mut ancillary = RecvAncillaryBuffer::new(&mut space);
                let got = recvmsg(
                    &stream,
                    &mut [IoSliceMut::new(&mut chunk)],
                    &mut ancillary,
                    RecvFlags::CMSG_CLOEXEC,
                );
                let n = got.unwrap().bytes;
                assert!(n > 0, "the plugin hung up");
                line.extend_from_slice(&chunk[..n]);
                for message in ancillary.drain() {
                    if let RecvAncillaryMessage::ScmRights(fds) = message {
                        descriptors.extend(fds);
                    }
                }
            }
            let Ok(Call::Cni(request)) = serde_json::from_slice(&line) else { panic!("not a call") };
            if let Some(answer) = answer(&request) {
                let mut line = serde_json::to_vec(&answer).unwrap();
                line.push(b'\n');
                stream.write_all(&line).unwrap();
            }
            (*request, descriptors)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(name) = &self.netns {
            ip(&["netns", "del", name]);
        }
    }
}

fn ip(args: &[&str]) {
    assert!(Process::new("ip").args(args).status().expect("iproute2 is installed").success(), "ip {args:?}");
}

/// What a pod gets in the recorded ADD.
fn added(netns: &str) -> Reply {
    Reply::Added(Added {
        host_interface: "caligold-0".into(),
        interface: "eth0".into(),
        mac: Some("f2:fb:9b:e8:70:1a".parse().unwrap()),
        mtu: Some(model::Mtu(1450)),
        netns: netns.into(),
        addresses: vec!["172.16.217.34".parse().unwrap()],
        routes: Vec::new(),
    })
}

/// A recorded call of Calico's plugin, sent to our own agent, and what Calico's printed.
fn recorded(name: &str, place: &Place) -> (Run, Outcome) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let section = |from: &str, to: &str| {
        let start = text.find(from).unwrap_or_else(|| panic!("{name} has {from}")) + from.len();
        let end = text[start..].find(to).map_or(text.len(), |at| start + at);
        text[start..end].to_owned()
    };
    let line = |from: &str| section(from, "\n").trim().to_owned();
    let env = line("## env:")
        .split(' ')
        .filter_map(|pair| pair.split_once('='))
        .map(|(n, v)| (n.into(), v.into()))
        .collect();
    let ours = format!("{{\"agent_socket\": {:?}, \"state_dir\": {:?}, ", place.socket(), place.dir.path());
    let plugin = if line("## command:") == "calico-ipam" { cni::Plugin::Ipam } else { cni::Plugin::Network };
    let run = Run {
        plugin,
        env,
        stdin: section("## stdin:\n", "\n## exit").replacen("{\"", &format!("{ours}\""), 1),
    };
    let outcome = Outcome {
        exit: line("## exit:").parse().unwrap(),
        stdout: section("## stdout:\n", "\n## stderr:"),
        stderr: section("## stderr:\n", "\0").trim_end().to_owned(),
    };
    (run, outcome)
}

#[test]
fn an_add_prints_what_calicos_plugin_prints() {
    let place = Place::with_netns("add");
    let (run, calicos) = recorded("add-again", &place);
    let agent = place.agent(|_| Some(added("/run/netns/p-n2-e-0")));
    assert_eq!(run.var("CNI_NETNS", &place.netns_path()).run(), calicos);
    let (request, descriptors) = agent.join().unwrap();
    assert_eq!((request.command, request.network.as_str()), (Command::Add, "cninet"));
    assert_eq!(descriptors.len(), 1, "the namespace came along");
    let found = rustix::fs::fstat(&descriptors[0]).unwrap();
    assert_eq!(request.netns.unwrap().inode, (found.st_dev, found.st_ino));
}

#[test]
fn errors_before_the_agent_are_calicos() {
    let place = Place::new();
    for name in ["add-nocid", "badcmd"] {
        let (run, calicos) = recorded(name, &place);
        let ours = run.run();
        assert_eq!(ours.exit, calicos.exit, "{name}");
        let (ours, calicos): (Value, Value) =
            (serde_json::from_str(&ours.stdout).unwrap(), serde_json::from_str(&calicos.stdout).unwrap());
        assert_eq!((&ours["code"], &ours["msg"]), (&calicos["code"], &calicos["msg"]), "{name}");
    }
    // The same code; the sentence is of another JSON parser, and one version more is known.
    for (name, code) in [("add-badjson", 6), ("add-badversion", 1)] {
        let (run, calicos) = recorded(name, &place);
        let ours: Value = serde_json::from_str(&run.run().stdout).unwrap();
        assert_eq!(ours["code"], code, "{name}");
        assert_eq!(serde_json::from_str::<Value>(&calicos.stdout).unwrap()["code"], code, "{name}");
    }
    let (run, _) = recorded("add-badversion", &place);
    let error: Value = serde_json::from_str(&run.run().stdout).unwrap();
    assert_eq!(error["msg"], "incompatible CNI versions");
    let known = r#"["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]"#;
    assert_eq!(error["details"], format!("config is \"9.9.9\", plugin supports {known}"));
}

#[test]
fn dels_and_checks_are_silent() {
    for name in ["del-ok", "del-again", "del-empty-netns", "del-missing-netns", "del-oldversion"] {
        let place = Place::new();
        let (run, calicos) = recorded(name, &place);
        let agent = place.agent(|_| Some(Reply::Done));
        assert_eq!(run.run(), calicos, "{name}");
        let (request, descriptors) = agent.join().unwrap();
        assert_eq!((request.command, descriptors.len()), (Command::Del, 0), "{name}");
    }
    let place = Place::with_netns("check");
    let (run, _) = recorded("check-ok", &place);
    let agent = place.agent(|_| Some(Reply::Done));
    let silence = Outcome { exit: 0, stdout: String::new(), stderr: String::new() };
    assert_eq!(run.var("CNI_NETNS", &place.netns_path()).run(), silence);
    let Command::Check { previous } = agent.join().unwrap().0.command else { panic!("not a CHECK") };
    let Reply::Added(expected) = added("/run/netns/p-n2-e-0") else { unreachable!() };
    assert_eq!(previous, expected);
    for name in ["ipam-del", "ipam-check"] {
        let (run, calicos) = recorded(name, &place);
        assert_eq!(run.run(), calicos, "{name}");
    }
}

#[test]
fn version_is_answered_without_configuration_or_agent() {
    let mut run = Run::new("VERSION", json!({}));
    run.stdin = "no JSON at all".into();
    let versions = r#"["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]"#;
    let stdout = format!("{{\"cniVersion\":\"1.1.0\",\"supportedVersions\":{versions}}}\n");
    assert_eq!(run.run(), Outcome { exit: 0, stdout, stderr: String::new() });
}

#[test]
fn a_person_who_calls_it_is_told_what_it_is() {
    let (run, calicos) = recorded("add-nocmd", &Place::new());
    let ours = run.run();
    assert_eq!((ours.exit, ours.stdout.as_str()), (calicos.exit, ""));
    assert!(ours.stderr.contains("CNI protocol versions supported: 0.1.0, 0.2.0"), "{}", ours.stderr);
}

#[test]
fn each_version_has_its_own_form_of_a_result() {
    let place = Place::with_netns("forms");
    let new = |version: &str, ip: Value, mtu: bool| {
        let mut pod = json!({"mac": "f2:fb:9b:e8:70:1a", "name": "eth0", "sandbox": "/n"});
        if mtu {
            pod["mtu"] = json!(1450);
        }
        json!({"cniVersion": version, "interfaces": [{"name": "caligold-0"}, pod], "ips": [ip]})
    };
    let old = |version: &str| json!({"cniVersion": version, "ip4": {"ip": "172.16.217.34/32"}});
    let ip = json!({"address": "172.16.217.34/32", "interface": 1});
    let ip_with_family = json!({"version": "4", "address": "172.16.217.34/32", "interface": 1});
    for (version, expected) in [
        ("0.1.0", old("0.1.0")),
        ("0.2.0", old("0.2.0")),
        ("", old("0.2.0")),
        ("0.3.0", new("0.3.0", ip_with_family.clone(), false)),
        ("0.3.1", new("0.3.1", ip_with_family.clone(), false)),
        ("0.4.0", new("0.4.0", ip_with_family, false)),
        ("1.0.0", new("1.0.0", ip.clone(), true)),
        ("1.1.0", new("1.1.0", ip, true)),
    ] {
        let agent = place.agent(|_| Some(added("/n")));
        let ours = Run::new("ADD", place.conf(version)).var("CNI_NETNS", &place.netns_path()).run();
        agent.join().unwrap();
        fs::remove_file(place.socket()).unwrap();
        assert_eq!(ours.exit, 0, "{version}: {}", ours.stdout);
        assert_eq!(serde_json::from_str::<Value>(&ours.stdout).unwrap(), expected, "{version}");
    }
}

/// Code and sentence of a call that fails.
fn failure(run: &Run) -> (u64, String) {
    let outcome = run.run();
    assert_eq!(outcome.exit, 1, "{outcome:?}");
    let error: Value = serde_json::from_str(&outcome.stdout).unwrap();
    (error["code"].as_u64().unwrap(), error["msg"].as_str().unwrap().to_owned())
}

#[test]
fn bad_configurations_are_refused_by_name() {
    let place = Place::with_netns("bad");
    for (change, code, msg) in [
        (json!({"name": ""}), 7, "invalid network name ``"),
        (json!({"name": "a/b"}), 7, "invalid network name `a/b`"),
        (
            json!({"mtu": "big"}),
            7,
            "the network configuration cannot be used: invalid type: string \"big\", expected u32",
        ),
        (json!({"ipam": {"type": "host-local"}}), 2, "`ipam.type` is `host-local`"),
        (json!({"ipam": {"assign_ipv4": "false"}}), 2, "`ipam.assign_ipv4` is `false`"),
        (json!({"ipam": {"assign_ipv6": "true"}}), 2, "`ipam.assign_ipv6` is `true`"),
        (json!({"ipam": {"assign_ipv6": "maybe"}}), 7, "`maybe` is neither"),
        (json!({"device_type": "tap"}), 2, "`device_type` is `tap`"),
        (json!({"agent_socket": "agent.sock"}), 7, "`agent_socket` of the network configuration"),
        (json!({"cniVersion": "2.0.0"}), 1, "incompatible CNI versions"),
    ] {
        let mut conf = place.conf("1.0.0");
        conf.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (found, text) = failure(&Run::new("ADD", conf).var("CNI_NETNS", &place.netns_path()));
        assert_eq!(found, code, "{change}: {text}");
        assert!(text.contains(msg), "{change}: {text}");
    }
    let conf = place.conf("1.1.0");
    assert_eq!(failure(&Run::new("GC", conf.clone())).0, 7, "GC without a list would remove everything");
    let check = Run::new("CHECK", conf).var("CNI_NETNS", &place.netns_path());
    assert_eq!(failure(&check).0, 7, "CHECK without a result has nothing to check");
}

#[test]
fn verbs_need_the_version_that_brought_them() {
    let place = Place::with_netns("verbs");
    for (verb, version) in [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "1.0.0")] {
        let run = Run::new(verb, place.conf(version)).var("CNI_NETNS", &place.netns_path());
        assert_eq!(failure(&run), (1, format!("config version does not allow {verb}")));
    }
}

#[test]
fn s36_what_is_no_namespace_of_a_pod_is_refused() {
    let place = Place::new();
    let fifo = place.dir.path().join("fifo");
    assert!(Process::new("mkfifo").arg(&fifo).status().unwrap().success());
    let file = place.dir.path().join("file");
    fs::write(&file, "").unwrap();
    let link = place.dir.path().join("link");
    std::os::unix::fs::symlink("/proc/self/ns/net", &link).unwrap();
    let no_namespace = "is not a network namespace";
    for (path, msg) in [
        ("/proc/self/ns/net", "is the node's own network namespace"),
        ("/proc/self/ns/mnt", no_namespace),
        (link.to_str().unwrap(), no_namespace),
        (fifo.to_str().unwrap(), no_namespace),
        (file.to_str().unwrap(), no_namespace),
        ("/dev/null", no_namespace),
        ("/", no_namespace),
        ("/run/netns/nosuch", "No such file"),
    ] {
        let started = Instant::now();
        let (code, text) = failure(&Run::new("ADD", place.conf("1.0.0")).var("CNI_NETNS", path));
        assert_eq!(code, 4, "{path}: {text}");
        assert!(text.contains(path) && text.contains(msg), "{path}: {text}");
        assert!(started.elapsed() < Duration::from_secs(1), "{path} was waited for");
    }
}

#[test]
fn f32_without_an_agent_each_verb_ends_at_once_as_the_specification_wants() {
    let place = Place::with_netns("away");
    // A socket that nobody listens on, as a killed agent leaves it.
    drop(UnixListener::bind(place.socket()).unwrap());
    let previous = json!({"interfaces": [{"name": "cali1"}, {"name": "eth0", "sandbox": "/n"}], "ips": []});
    for (verb, code) in [("ADD", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)] {
        let mut conf = place.conf("1.1.0");
        conf["prevResult"] = previous.clone();
        conf["cni.dev/valid-attachments"] = json!([]);
        let started = Instant::now();
        let (found, text) = failure(&Run::new(verb, conf).var("CNI_NETNS", &place.netns_path()));
        assert_eq!(found, code, "{verb}: {text}");
        assert_eq!(text, format!("the node agent does not answer on {}", place.socket().display()), "{verb}");
        assert!(started.elapsed() < Duration::from_secs(1), "{verb}");
    }
    assert!(cni::queue::names(&place.queue()).unwrap().is_empty(), "only a DEL is queued");
}

#[test]
fn f32_a_del_without_an_agent_is_queued_once_and_succeeds() {
    let place = Place::with_netns("queued");
    let del = Run::new("DEL", place.conf("1.0.0")).var("CNI_NETNS", &place.netns_path());
    let silence = Outcome { exit: 0, stdout: String::new(), stderr: String::new() };
    for _ in 0..2 {
        assert_eq!(del.run(), silence);
    }
    assert_eq!(del.clone().var("CNI_CONTAINERID", "c2").run(), silence);
    assert_eq!(cni::queue::names(&place.queue()).unwrap(), ["c1@eth0@net.json", "c2@eth0@net.json"]);
    let queued = cni::queue::read(&place.queue(), "c1@eth0@net.json").unwrap().unwrap();
    let request = queued.request.unwrap();
    assert_eq!((request.command, request.container_id.as_str(), request.netns), (Command::Del, "c1", None));
    cni::queue::remove(&place.queue(), &queued.name).unwrap();
    assert_eq!(cni::queue::names(&place.queue()).unwrap(), ["c2@eth0@net.json"]);
}

#[test]
fn f32_an_agent_that_ends_in_the_middle_of_a_del_finds_it_queued() {
    let place = Place::new();
    let agent = place.agent(|_| None);
    assert_eq!(Run::new("DEL", place.conf("1.0.0")).run().exit, 0);
    agent.join().unwrap();
    assert_eq!(cni::queue::names(&place.queue()).unwrap(), ["c1@eth0@net.json"]);
}

#[test]
fn a_del_that_cannot_be_queued_fails() {
    let place = Place::new();
    fs::write(place.queue(), "a file where the directory should be").unwrap();
    let (code, text) = failure(&Run::new("DEL", place.conf("1.0.0")));
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("cannot be queued in"), "{text}");
}

#[test]
fn an_agents_failure_is_passed_on_with_the_version() {
    let place = Place::with_netns("fails");
    let agent = place.agent(|_| {
        Some(Reply::Failed(Failure {
            code: 11,
            msg: "no address".into(),
            details: "the pool is full".into(),
        }))
    });
    let ours = Run::new("ADD", place.conf("1.0.0")).var("CNI_NETNS", &place.netns_path()).run();
    agent.join().unwrap();
    let error =
        json!({"cniVersion": "1.0.0", "code": 11, "msg": "no address", "details": "the pool is full"});
    assert_eq!((ours.exit, serde_json::from_str::<Value>(&ours.stdout).unwrap()), (1, error));
}

#[test]
fn an_agent_that_refuses_a_call_is_not_called_away() {
    let place = Place::with_netns("refuses");
    let agent = place.answering(|_| Some(Answer::Refused("only root may call the agent".into())));
    let (code, text) = failure(&Run::new("ADD", place.conf("1.0.0")).var("CNI_NETNS", &place.netns_path()));
    agent.join().unwrap();
    assert_eq!((code, &*text), (999, "the node agent refuses the call: only root may call the agent"));
}

#[test]
fn whatever_stands_on_stdin_ends_in_an_error_object() {
    let place = Place::with_netns("garbage");
    let good = place.conf("1.0.0").to_string();
    let mut inputs: Vec<String> = (0..good.len()).map(|n| good[..n].to_owned()).collect();
    let garbage = [
        "",
        "null",
        "[]",
        "42",
        "\"x\"",
        "{}",
        "{\"cniVersion\":1}",
        "{\"ipam\":[]}",
        "\u{0}",
        "{\"name\":null}",
    ];
    inputs.extend(garbage.map(str::to_owned));
    inputs.push("[".repeat(100_000));
    inputs.push("x".repeat(5 << 20));
    for input in inputs {
        let mut run = Run::new("ADD", json!({})).var("CNI_NETNS", &place.netns_path());
        let head: String = input.chars().take(40).collect();
        run.stdin = input;
        let (code, text) = failure(&run);
        assert!([6, 7].contains(&code), "{head}: {code} {text}");
    }
}
