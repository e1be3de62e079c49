//! What runtimes do wrong, and what happens to them.

use super::namespaces;
use crate::{Answer, Lab, within};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::leaks::Inventory;
use testkit::netns::Netns;
use testkit::sampler::{Place, Sampler};

const NODE: &str = "master3";

fn add(lab: &Lab, container: &str, netns: &Path) -> Answer {
    lab.cni(NODE, "ADD", container, netns)
}

fn del(lab: &Lab, container: &str, netns: &Path) -> Answer {
    lab.cni(NODE, "DEL", container, netns)
}

/// Runs `f`, after which the kernel and the addresses must be as before. Blocks that were claimed meanwhile may stay: the
/// collector gives them back.
///
/// # Panics
/// If they are not.
pub fn without_a_trace(lab: &Lab, f: impl FnOnce()) {
    let (before, owned) = (Inventory::of(&namespaces(lab)), owned(lab));
    let known = blocks(lab);
    f();
    let claimed: Vec<String> = blocks(lab).difference(&known).cloned().collect();
    let mut changes = Inventory::of(&namespaces(lab)).changes_since(&before);
    if !claimed.is_empty() {
        changes.retain(|line| !claimed.iter().any(|block| line.contains(block)));
    }
    assert!(changes.is_empty(), "left behind:\n{}", changes.join("\n"));
    assert_eq!(self::owned(lab), owned, "addresses leak");
}

pub(super) fn blocks(lab: &Lab) -> BTreeSet<String> {
    let blocks = lab.json("kubectl get ipamblocks.projectcalico.org -o json");
    let items = blocks["items"].as_array().into_iter().flatten();
    items.filter_map(|block| Some(block["spec"]["cidr"].as_str()?.to_owned())).collect()
}

/// The addresses that are given.
pub(super) fn owned(lab: &Lab) -> BTreeSet<String> {
    let blocks = lab.json("kubectl get ipamblocks.projectcalico.org -o json");
    let mut owned = BTreeSet::new();
    for block in blocks["items"].as_array().into_iter().flatten() {
        let spec = &block["spec"];
        for (ordinal, attribute) in spec["allocations"].as_array().into_iter().flatten().enumerate() {
            if let Some(attribute) = attribute.as_u64() {
                let handle = &spec["attributes"][usize::try_from(attribute).expect("an index")]["handle_id"];
                owned.insert(format!("{} {ordinal} {handle}", spec["cidr"]));
            }
        }
    }
    owned
}

pub fn f25_a_second_add_is_an_error_and_changes_nothing(lab: &Lab) {
    without_a_trace(lab, || {
        let pod = Netns::new();
        let first = add(lab, "f25", pod.path());
        assert!(first.good, "{}", first.body);
        let between = Inventory::of(&namespaces(lab));
        let links = pod.run("ip -o link");
        add(lab, "f25", pod.path()).code();
        Inventory::of(&namespaces(lab)).assert_as_before(&between);
        assert_eq!(pod.run("ip -o link"), links);
        pod.run(&format!("ip -4 address show dev eth0 | grep -qw {}", first.address()));
        del(lab, "f25", pod.path()).expect("DEL");
    });
}

pub fn f26_an_add_after_a_failed_add_works(lab: &Lab) {
    without_a_trace(lab, || {
        let pod = Netns::new();
        pod.run("ip link add eth0 type bridge");
        add(lab, "f26", pod.path()).code();
        pod.run("ip link del eth0");
        add(lab, "f26", pod.path()).expect("ADD");
        del(lab, "f26", pod.path()).expect("DEL");
    });
}

pub fn f27_del_of_what_is_not_there_succeeds_and_touches_nothing(lab: &Lab) {
    without_a_trace(lab, || {
        let pod = Netns::new();
        for (container, netns) in [
            ("f27-never", pod.path()),
            ("f27-no-netns", Path::new("")),
            ("f27-gone", Path::new("/run/netns/gone")),
        ] {
            for _ in 0..2 {
                let answer = del(lab, container, netns);
                assert!(answer.took < Duration::from_secs(1), "{container}: {:?}", answer.took);
                answer.expect(container);
            }
        }
        add(lab, "f27", pod.path()).expect("ADD");
        del(lab, "f27", pod.path()).expect("DEL");
        del(lab, "f27", pod.path()).expect("DEL again");
    });
}

pub fn f27_del_after_the_netns_is_gone_gives_the_address_back(lab: &Lab) {
    without_a_trace(lab, || {
        let pod = Netns::new();
        let path = pod.path().to_owned();
        add(lab, "f27-late", &path).expect("ADD");
        drop(pod);
        del(lab, "f27-late", &path).expect("DEL");
    });
}

pub fn f28_a_netns_that_vanishes_during_add_leaves_nothing(lab: &Lab) {
    without_a_trace(lab, || {
        for n in 0..30_u64 {
            let pod = Netns::new();
            let (path, container) = (pod.path().to_owned(), format!("f28-{n}"));
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_micros(n * 700));
                    drop(pod);
                });
                let added = add(lab, &container, &path);
                if !added.good {
                    added.code();
                }
            });
            del(lab, &container, &path).expect("DEL");
        }
    });
}

pub fn f31_a_hundred_adds_and_a_hundred_dels_at_once(lab: &Lab) {
    without_a_trace(lab, || {
        let pods: Vec<Netns> = (0..100).map(|_| Netns::new()).collect();
        let all = |verb: &'static str| -> Vec<Answer> {
            std::thread::scope(|scope| {
                let calls: Vec<_> = pods
                    .iter()
                    .enumerate()
                    .map(|(n, pod)| scope.spawn(move || lab.cni(NODE, verb, &format!("f31-{n}"), pod.path())))
                    .collect();
                calls.into_iter().map(|call| call.join().expect("no panic")).collect()
            })
        };
        let added = all("ADD");
        for answer in &added {
            assert!(answer.good, "{}", answer.body);
        }
        let addresses: BTreeSet<String> = added.iter().map(Answer::address).collect();
        assert_eq!(addresses.len(), 100, "an address was given twice");
        for (pod, answer) in pods.iter().zip(&added) {
            pod.run(&format!("ip -4 address show dev eth0 | grep -qw {}", answer.address()));
        }
        let deleted = all("DEL");
        for answer in &deleted {
            assert!(answer.good, "{}", answer.body);
        }
        for (verb, answers) in [("ADD", &added), ("DEL", &deleted)] {
            let mut took: Vec<Duration> = answers.iter().map(|answer| answer.took).collect();
            took.sort_unstable();
            println!("100 {verb}s at once: p50 {:?}, p99 {:?}", took[49], took[98]);
            // An agent gives up an ADD after 8 s, a kubelet after minutes.
            assert!(took[99] < Duration::from_secs(8), "{verb} took {:?}", took[99]);
        }
    });
}

/// Other containers' ids are hexadecimal digits: none contains this.
const AWAY: &str = "sandbox-of-f32";

pub fn f32_with_the_agent_away_add_says_try_again_and_del_is_done_later(lab: &Lab) {
    without_a_trace(lab, || {
        let (pod, other) = (Netns::new(), Netns::new());
        add(lab, AWAY, pod.path()).expect("ADD");
        lab.verb(&["kill", &format!("node-{NODE}")]);

        let refused = add(lab, "other-sandbox", other.path());
        assert!(refused.took < Duration::from_secs(1), "{:?}", refused.took);
        assert_eq!(refused.code(), 11, "{}", refused.body);
        assert_eq!(lab.cni(NODE, "STATUS", "", Path::new("")).code(), 50);
        for _ in 0..2 {
            del(lab, AWAY, pod.path()).expect("DEL is queued");
        }

        lab.verb(&["start", &format!("node-{NODE}")]);
        within(Duration::from_secs(5), "the queued DEL is done", || {
            !owned(lab).iter().any(|owner| owner.contains(AWAY))
        });
        let answer = lab.cni(NODE, "STATUS", "", Path::new(""));
        assert!(answer.good, "{}", answer.body);
        within(Duration::from_secs(5), "the queue is empty", || {
            !lab.log(&format!("node-{NODE}")).is_empty() && queued(lab) == 0
        });
    });
}

fn queued(lab: &Lab) -> usize {
    let state: PathBuf = lab.node_file(NODE, "state");
    let directories =
        std::fs::read_dir(state).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    let files =
        directories.flat_map(|directory| std::fs::read_dir(directory.path()).into_iter().flatten().flatten());
    files.filter(|file| std::fs::read_to_string(file.path()).is_ok_and(|text| text.contains(AWAY))).count()
}

pub fn s36_only_a_pods_own_network_namespace_is_taken(lab: &Lab) {
    without_a_trace(lab, || {
        let directory = lab.root().join("s36");
        std::fs::create_dir(&directory).expect("the lab's directory");
        let fifo = directory.join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
        let file = directory.join("file");
        std::fs::write(&file, "").expect("the lab's directory");
        let pod = Netns::new();
        let link = directory.join("link");
        std::os::unix::fs::symlink(pod.path(), &link).expect("the lab's directory");
        let paths = [
            lab.netns(NODE),
            PathBuf::from("/proc/self/ns/net"),
            PathBuf::from("/proc/self/ns/mnt"),
            PathBuf::from("relative"),
            fifo,
            file,
            link,
            directory.clone(),
        ];
        for path in paths {
            let answer = add(lab, "s36", &path);
            assert!(!answer.good, "{} was taken: {}", path.display(), answer.body);
            assert!(answer.took < Duration::from_secs(2), "{}: {:?}", path.display(), answer.took);
            del(lab, "s36", &path).expect("DEL");
        }

        add(lab, "s36-first", pod.path()).expect("ADD");
        let links = pod.run("ip -o link");
        add(lab, "s36-second", pod.path()).code();
        assert_eq!(pod.run("ip -o link"), links, "the pod that was there first keeps its interface");
        del(lab, "s36-second", pod.path()).expect("DEL");
        assert_eq!(pod.run("ip -o link"), links, "a DEL touches its own attachment only");
        del(lab, "s36-first", pod.path()).expect("DEL");
        std::fs::remove_dir_all(directory).expect("the lab's directory");
    });
}

/// What a runtime does when the plugin after ours fails: it takes the whole chain down again.
pub fn f29_an_add_that_fails_after_us_in_the_chain_is_taken_down_clean(lab: &Lab) {
    let sampler = super::sample_between(lab, crate::PODS[2], crate::PODS[0]);
    without_a_trace(lab, || {
        let pod = Netns::new();
        for turn in 0..3 {
            let container = format!("f29-{turn}");
            let added = add(lab, &container, pod.path());
            assert!(added.good, "{}", added.body);
            // portmap or bandwidth says no here: the runtime calls DEL, with what we answered, and tries another sandbox.
            let answer = added.expect("ADD");
            let deleted = lab.cni_with(NODE, "DEL", &container, pod.path(), &[("prevResult", answer)]);
            assert!(deleted.good, "{}", deleted.body);
            within(Duration::from_secs(2), "the pod keeps no interface", || {
                !pod.run("ip -o link").contains("eth0")
            });
        }
    });
    let report = sampler.stop();
    println!("{report}");
    report.assert_nothing_lost();
}

pub fn f35_gc_takes_exactly_those_that_are_not_on_the_list(lab: &Lab) {
    let standing =
        lab.sandbox(NODE, crate::PODS[2].1)["id"].as_str().expect("a sandbox has an id").to_owned();
    without_a_trace(lab, || {
        let pods: Vec<Netns> = (0..30).map(|_| Netns::new()).collect();
        let added: Vec<String> = pods
            .iter()
            .enumerate()
            .map(|(n, pod)| {
                let added = add(lab, &format!("f35-{n}"), pod.path());
                assert!(added.good, "{}", added.body);
                added.address()
            })
            .collect();
        let valid: Vec<serde_json::Value> = (0..10)
            .map(|n| format!("f35-{n}"))
            .chain([standing])
            .map(|id| serde_json::json!({"containerID": id, "ifname": "eth0"}))
            .collect();
        // The first, the last and one in the middle of those that stay, and one that the list has from elsewhere.
        let (peer, standing) =
            (lab.place(crate::PODS[0].0, crate::PODS[0].1), lab.place(NODE, crate::PODS[2].1));
        let kept = [0, 5, 9].map(|n: usize| Place {
            netns: pods[n].path().into(),
            addr: added[n].parse().expect("an ADD gives an address"),
        });
        let ends = kept.iter().chain([&standing]);
        let samplers = ends.map(|end| Sampler::start(&peer, end)).collect();
        let swept =
            lab.cni_with(NODE, "GC", "", Path::new(""), &[("cni.dev/valid-attachments", valid.into())]);
        assert!(swept.good, "{}", swept.body);
        within(Duration::from_secs(5), "twenty are gone, and only they", || {
            let left = owned(lab).iter().filter(|owner| owner.contains(".f35-")).count();
            left == 10
        });
        for (pod, address) in pods.iter().zip(&added).take(10) {
            pod.run(&format!("ip -4 address show dev eth0 | grep -qw {address}"));
            pod.run("ping -n -c1 -W2 169.254.1.1 || ping -n -c1 -W2 6.2.137.67");
        }
        for report in Sampler::stop_all(samplers) {
            println!("{report}");
            report.assert_nothing_lost();
        }
        for (n, pod) in pods.iter().enumerate() {
            del(lab, &format!("f35-{n}"), pod.path()).expect("DEL");
        }
    });
}
