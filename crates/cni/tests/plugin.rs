//! The plugin as a runtime sees it, with an agent that answers as told: every version's form, what is refused, and what happens
//! when the agent is away.

#![allow(clippy::unwrap_used)]

mod support;

use node::cni::{Command, Failure, Reply};
use node::socket::Answer;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Command as Process;
use std::time::{Duration, Instant};
use support::{Outcome, Place, Run, added};

#[test]
fn version_is_answered_without_configuration_or_agent() {
    let mut run = Run::new("VERSION", json!({}));
    run.stdin = "no JSON at all".into();
    let versions = r#"["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]"#;
    let stdout = format!("{{\"cniVersion\":\"1.1.0\",\"supportedVersions\":{versions}}}\n");
    assert_eq!(run.run(), Outcome { exit: 0, stdout, stderr: String::new() });
}

#[test]
fn each_version_has_its_own_form_of_a_result() {
    let place = Place::with_netns("forms");
    let new = |version: &str, ip: Value, since_1_0: bool| {
        let pod = json!({"mac": "f2:fb:9b:e8:70:1a", "name": "eth0", "sandbox": "/n"});
        let mut result =
            json!({"cniVersion": version, "interfaces": [{"name": "caligold-0"}, pod], "ips": [ip]});
        if since_1_0 {
            result["interfaces"][1]["mtu"] = json!(1450);
        } else {
            result["dns"] = json!({});
        }
        result
    };
    let old = |version: &str| json!({"cniVersion": version, "ip4": {"ip": "172.16.217.34/32"}, "dns": {}});
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
fn f37_an_answer_that_comes_octet_by_octet_is_read_whole() {
    let place = Place::with_netns("drip");
    let netns = place.netns_path();
    let reply = added(&netns);
    let agent = place.saying(
        move |_| Some(Answer::Cni(reply.clone())),
        |stream, line| {
            for octet in line {
                std::io::Write::write_all(stream, &[*octet]).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        },
    );
    let outcome = Run::new("ADD", place.conf("1.0.0")).var("CNI_NETNS", &netns).run();
    agent.join().unwrap();
    assert_eq!((outcome.exit, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(printed["ips"][0]["address"], "172.16.217.34/32");
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
