//! Recorded calls of Calico's plugin 3.32.1, made again: with etcd (`recorded/`), and on Kubernetes (`recorded/kubernetes/`).
//! What the runtime reads and the exit status are the same, but for `OWN` and `OWN_ON_KUBERNETES`. What Calico's plugin writes
//! to stderr is its log.

#![allow(clippy::unwrap_used)]

mod support;

use node::cni::{Command, Failure, Reply, Request, code};
use serde_json::Value;
use std::fs;
use std::path::Path;
use support::{Outcome, Place, Run, added};

/// An agent gives an address.
const ADDED: &[&str] = &[
    "add-again",
    "add-ok",
    "add-ip-request",
    "add-pool-by-name",
    "kubernetes/add",
    "kubernetes/add-allow-ip-forwarding",
    "kubernetes/add-v100",
    "kubernetes/add-v100-raw",
];
/// An agent refuses. Its sentences are for `node`'s tests to judge.
const REFUSED: &[&str] = &[
    "add-bad-pool",
    "add-ip-outside-pool",
    "add-ip-request-inuse",
    "kubernetes/add-ipaddrs-outside-pool",
    "kubernetes/add-ipaddrs-taken",
    "kubernetes/add-pod-missing",
    "kubernetes/add-two-static-ips",
];
/// The plugin itself refuses, with Calico's code and sentence.
const ERRORS: &[&str] = &["add-nocid", "badcmd"];
/// The plugin itself refuses, with Calico's code: the sentence is of another JSON parser, or knows one version more.
const CODES: &[&str] = &["add-badjson", "add-badversion"];
const DELS: &[&str] = &[
    "del-ok",
    "del-again",
    "del-empty-netns",
    "del-missing-netns",
    "del-oldversion",
    "del-gold1",
    "del-gold2",
    "del-gold3",
    "kubernetes/del",
    "kubernetes/del-no-netns",
    "kubernetes/del-pod-missing",
    "kubernetes/del-v100",
];
const IPAM: &[&str] = &["ipam-del", "ipam-del-again", "ipam-check"];
/// Differs on purpose (`docs/compatibility.md`: CNI versions, the plugin's `nodename`, a namespace that there is not).
const OWN: &[&str] = &["add-missing-netns", "add-nodename-upper", "add-nocmd", "check-ok", "gc", "version"];

/// What Calico's plugin answered on Kubernetes, what ours answers, each with the exit status and, of an error, its code and
/// sentence; and why (`docs/compatibility.md`).
const OWN_ON_KUBERNETES: &[(&str, Said, Said, &str)] = &[
    (
        "kubernetes/add-bad-kubeconfig",
        Err((999, "error creating calico client: stat /nope: no such file or directory")),
        Ok(()),
        "there are no credentials to read",
    ),
    (
        "kubernetes/add-hostlocal-usepodcidr",
        Ok(()),
        Err((2, "`ipam.type` is `host-local` in the network configuration, which is not supported")),
        "addresses come from the pools",
    ),
    (
        "kubernetes/add-netns-missing",
        Err((999, "failed to Statfs \"/run/netns/nope\": no such file or directory")),
        Err((4, "cannot open network namespace /run/netns/nope: No such file or directory (os error 2)")),
        "the specification has a code for it",
    ),
    ("kubernetes/add-v110", Err((1, "incompatible CNI versions")), Ok(()), "CNI 1.1.0 is spoken"),
    (
        "kubernetes/check-v100",
        Ok(()),
        Err((7, "CHECK needs `prevResult` in the network configuration")),
        "CHECK compares, and the specification demands what to compare with",
    ),
    (
        "kubernetes/check-v100-after-del",
        Ok(()),
        Err((7, "CHECK needs `prevResult` in the network configuration")),
        "the same",
    ),
    (
        "kubernetes/del-no-k8s-args",
        Err((
            999,
            "insufficient identifiers, missing 'node4-cni-f52f52f52f52f52f52f52f52f52f52f52f52f52f52f52f52f52f52f52f52f520-eth0'",
        )),
        Ok(()),
        "an attachment is known by its container",
    ),
    (
        "kubernetes/gc",
        Err((1, "plugin version does not allow GC")),
        Err((7, "GC needs the list `cni.dev/valid-attachments` in the network configuration")),
        "GC is known, and this one does not say what is valid",
    ),
];
/// Success, or an error's code and sentence.
type Said = Result<(), (u64, &'static str)>;

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

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// What an agent says that gives what was recorded.
fn as_recorded(calicos: &Value) -> Reply {
    let sandbox = calicos["interfaces"][1]["sandbox"].as_str().unwrap();
    let Reply::Added(mut reply) = added(sandbox) else { unreachable!() };
    reply.host_interface = calicos["interfaces"][0]["name"].as_str().unwrap().to_owned();
    reply.mac = Some(calicos["interfaces"][1]["mac"].as_str().unwrap().parse().unwrap());
    let address = calicos["ips"][0]["address"].as_str().unwrap();
    reply.addresses = vec![address.strip_suffix("/32").unwrap().parse().unwrap()];
    Reply::Added(reply)
}

#[test]
fn an_add_prints_what_calicos_plugin_prints() {
    for name in ADDED {
        let place = Place::with_netns("add");
        let (run, calicos) = recorded(name, &place);
        let mut theirs = json(&calicos.stdout);
        // Of the pod's address, as if the pod had its block on the link.
        theirs.as_object_mut().unwrap().remove("routes");
        let reply = as_recorded(&theirs);
        let agent = place.agent(move |_| Some(reply.clone()));
        let ours = run.clone().var("CNI_NETNS", &place.netns_path()).run();
        if *name == "add-again" {
            assert_eq!(ours, calicos, "octet for octet");
        }
        assert_eq!((ours.exit, json(&ours.stdout)), (calicos.exit, theirs), "{name}");
        let (request, descriptors) = agent.join().unwrap();
        assert_eq!(request.command, Command::Add, "{name}");
        assert_eq!(request.network, json(&run.stdin)["name"], "{name}");
        assert_eq!(request.container_id, run.value("CNI_CONTAINERID"), "{name}");
        assert_eq!(descriptors.len(), 1, "the namespace came along");
        let found = rustix::fs::fstat(&descriptors[0]).unwrap();
        assert_eq!(request.netns.as_ref().unwrap().inode, (found.st_dev, found.st_ino));
        asks(name, &request);
    }
}

/// What a recorded call asks of the agent besides an address.
fn asks(name: &str, request: &Request) {
    let (pool, address) = match name {
        "add-ip-request" => (None, Some("172.16.217.60")),
        "add-ip-request-inuse" => (None, Some("172.16.217.1")),
        "add-ip-outside-pool" => (None, Some("192.0.2.1")),
        "add-pool-by-name" => (Some("default-ipv4-ippool"), None),
        "add-bad-pool" => (Some("10.99.0.0/16"), None),
        _ => (None, None),
    };
    let (pools, addresses) = (&request.options.ipv4_pools, &request.options.requested);
    assert_eq!(pools.iter().map(String::as_str).collect::<Vec<_>>(), Vec::from_iter(pool), "{name}");
    assert_eq!(
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        Vec::from_iter(address),
        "{name}"
    );
    let forwards = name == "kubernetes/add-allow-ip-forwarding";
    assert_eq!(request.options.allow_ip_forwarding, forwards, "{name}");
    assert_eq!(request.options.mtu, if forwards { 1400 } else { 0 }, "{name}");
    let pod = request.pod.as_ref().map(|(namespace, pod)| (namespace.as_str(), pod.as_str()));
    let expected = match name {
        "kubernetes/add" => Some("fake-0"),
        "kubernetes/add-v100" => Some("fake-21"),
        "kubernetes/add-ipaddrs-taken" => Some("fake-25"),
        "kubernetes/add-ipaddrs-outside-pool" => Some("fake-26"),
        "kubernetes/add-two-static-ips" => Some("fake-27"),
        "kubernetes/add-allow-ip-forwarding" => Some("fake-28"),
        "kubernetes/add-v100-raw" => Some("fake-29"),
        "kubernetes/add-pod-missing" => Some("no-such-pod"),
        _ => None,
    };
    assert_eq!(pod, expected.map(|pod| ("default", pod)), "{name}");
}

/// The sentences themselves are the agent's; `node`'s tests hold them to the same recordings.
#[test]
fn what_the_agent_refuses_is_said_as_calicos_plugin_says_it() {
    for name in REFUSED {
        let place = Place::with_netns("refused");
        let (run, calicos) = recorded(name, &place);
        let theirs = json(&calicos.stdout);
        let msg = theirs["msg"].as_str().unwrap().to_owned();
        let agent = place.agent(move |_| {
            Some(Reply::Failed(Failure { code: code::INTERNAL, msg: msg.clone(), details: String::new() }))
        });
        let ours = run.var("CNI_NETNS", &place.netns_path()).run();
        assert_eq!(ours.exit, calicos.exit, "{name}");
        let (error, _) = (json(&ours.stdout), asks(name, &agent.join().unwrap().0));
        assert_eq!((&error["code"], &error["msg"]), (&theirs["code"], &theirs["msg"]), "{name}");
    }
}

/// Where the sentence, the verb or the version differs.
#[test]
fn what_differs_from_calicos_plugin_differs_as_documented() {
    let place = Place::with_netns("own");
    // A namespace that there is not is the call's fault (CNI 1.1.0 §5, code 4), and nobody was asked.
    let (run, _) = recorded("add-missing-netns", &place);
    let ours = run.run();
    assert_eq!((ours.exit, &json(&ours.stdout)["code"]), (1, &Value::from(4)));
    // Whatever `nodename` says: the agent knows its node.
    let (run, _) = recorded("add-nodename-upper", &place);
    let agent = place.agent(|_| Some(added("/run/netns/p-n2-e-0")));
    assert_eq!(run.var("CNI_NETNS", &place.netns_path()).run().exit, 0);
    agent.join().unwrap();
    fs::remove_file(place.socket()).unwrap();
    // GC is known.
    let (run, _) = recorded("gc", &place);
    let agent = place.agent(|_| Some(Reply::Done));
    assert_eq!(run.run(), Outcome { exit: 0, stdout: String::new(), stderr: String::new() });
    assert_eq!(agent.join().unwrap().0.command, Command::Gc { valid: Vec::new() });
    // One version more.
    let (run, calicos) = recorded("version", &place);
    let (ours, mut theirs) = (json(&run.run().stdout), json(&calicos.stdout));
    theirs["supportedVersions"].as_array_mut().unwrap().push("1.1.0".into());
    assert_eq!(ours, theirs);
}

#[test]
fn what_differs_from_calicos_plugin_on_kubernetes_differs_as_listed() {
    for (name, theirs, ours, why) in OWN_ON_KUBERNETES {
        let place = Place::with_netns("live");
        let (mut run, calicos) = recorded(name, &place);
        assert_eq!(said(&calicos), theirs.map_err(|(code, msg)| (code, msg.to_owned())), "{name}");
        if run.value("CNI_NETNS") != "/run/netns/nope" {
            run = run.var("CNI_NETNS", &place.netns_path());
        }
        let agent = ours.is_ok().then(|| {
            place.agent(|request| {
                Some(if request.command == Command::Add { added("/run/netns/fake") } else { Reply::Done })
            })
        });
        assert_eq!(said(&run.run()), ours.map_err(|(code, msg)| (code, msg.to_owned())), "{name}: {why}");
        assert!(agent.is_none_or(|agent| agent.join().is_ok()), "{name}");
    }
}

/// What a runtime reads: success, or an error's code and sentence.
fn said(outcome: &Outcome) -> Result<(), (u64, String)> {
    if outcome.exit == 0 {
        return Ok(());
    }
    let error = json(&outcome.stdout);
    Err((error["code"].as_u64().unwrap(), error["msg"].as_str().unwrap().to_owned()))
}

#[test]
fn errors_before_the_agent_are_calicos() {
    let place = Place::new();
    for name in ERRORS {
        let (run, calicos) = recorded(name, &place);
        let ours = run.run();
        assert_eq!(ours.exit, calicos.exit, "{name}");
        let (ours, theirs) = (json(&ours.stdout), json(&calicos.stdout));
        assert_eq!((&ours["code"], &ours["msg"]), (&theirs["code"], &theirs["msg"]), "{name}");
    }
    for name in CODES {
        let (run, calicos) = recorded(name, &place);
        let ours = run.run();
        assert_eq!(ours.exit, calicos.exit, "{name}");
        assert_eq!(json(&ours.stdout)["code"], json(&calicos.stdout)["code"], "{name}");
    }
    let (run, _) = recorded("add-badversion", &place);
    let error = json(&run.run().stdout);
    assert_eq!(error["msg"], "incompatible CNI versions");
    let known = r#"["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]"#;
    assert_eq!(error["details"], format!("config is \"9.9.9\", plugin supports {known}"));
}

#[test]
fn dels_and_checks_are_silent() {
    for name in DELS {
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
    for name in IPAM {
        let (run, calicos) = recorded(name, &place);
        assert_eq!(run.run(), calicos, "{name}");
    }
}

#[test]
fn a_person_who_calls_it_is_told_what_it_is() {
    let (run, calicos) = recorded("add-nocmd", &Place::new());
    let ours = run.run();
    assert_eq!((ours.exit, ours.stdout.as_str()), (calicos.exit, ""));
    assert!(ours.stderr.contains("CNI protocol versions supported: 0.1.0, 0.2.0"), "{}", ours.stderr);
}

#[test]
fn every_recording_is_replayed() {
    let on_kubernetes: Vec<&str> = OWN_ON_KUBERNETES.iter().map(|(name, ..)| *name).collect();
    let replayed = [ADDED, REFUSED, ERRORS, CODES, DELS, IPAM, OWN, &on_kubernetes].concat();
    for folder in ["", "kubernetes/"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(folder);
        for entry in fs::read_dir(path).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let Some(name) = file.strip_suffix(".txt") else { continue };
            let name = format!("{folder}{name}");
            assert!(replayed.contains(&&*name), "{name} is not replayed");
        }
    }
}
