//! An API server that dies at every place of its writes and answers while pods come up: the kubelet tries again, and what
//! was half done is found, not done twice.

use super::death::{await_running, delete_pods, lives, of_pods, places_of, pods, pods_file, running, start};
use crate::{Lab, at_length};
use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

const SERVER: &str = "apiserver";
/// More than a block has addresses, so that one is claimed as well.
const NAMES: [&str; 5] = ["p0", "p1", "p2", "p3", "p4"];
/// How long a server may live whose death is not reached.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn f03_an_api_server_that_dies_during_adds_gives_no_address_twice_and_leaks_none(lab: &Lab) {
    // Keys are made once, and history is cut when there is enough of it: both in the server's own tests.
    let places = places_of(SERVER)
        .into_iter()
        .filter(|place| !["secret", "history"].iter().any(|word| place.starts_with(word)));
    let places: Vec<String> = places.collect();
    assert!(places.len() >= 8, "{places:?}");
    let times: &[u32] = if at_length() { &[1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20] } else { &[2, 6] };
    let ways = lab.sample_pods_and_nodes();
    let (mut deaths, mut under_way) = (0, 0);
    for place in &places {
        // What is passed once a start is not passed again.
        let is_start = ["first", "database", "log"].iter().any(|word| place.starts_with(word));
        for nth in if is_start { &[1] } else { times } {
            let place = format!("{place}#{nth}");
            let (died, unfinished) = die_at(lab, &place);
            println!("  `{place}`: {}", if died { "died" } else { "not reached" });
            deaths += usize::from(died);
            under_way += usize::from(died && unfinished);
        }
    }
    println!("  {deaths} deaths, {under_way} while pods waited for their ADD");
    assert!(deaths >= 10 && under_way >= 4, "{deaths} deaths, {under_way} of them during ADDs");
    sleep(Duration::from_secs(1));
    ways.nothing_was_lost();
}

/// Whether the server died there, and whether pods were on their way then.
fn die_at(lab: &Lab, place: &str) -> (bool, bool) {
    let had = of_pods(lab);
    lab.verb(&["kill", SERVER]);
    // It may die before it is ready.
    start(lab, SERVER, place);
    let file = pods_file(lab, &NAMES);
    let apply = format!("kubectl apply -f {} --request-timeout=5s", file.display());
    let mut seen = 0;
    let end = Instant::now() + PATIENCE;
    while lives(lab, SERVER) && Instant::now() < end {
        if seen < NAMES.len() {
            lab.try_exec("master1", &apply);
        }
        let phases = lab.try_exec("master1", "kubectl get pods -l app=chaos -o name --request-timeout=5s");
        seen = String::from_utf8_lossy(&phases.stdout).lines().count().max(seen);
        if seen == NAMES.len() && lives(lab, SERVER) && is_all_running(lab) {
            break;
        }
    }
    let died = !lives(lab, SERVER);
    if !died {
        lab.verb(&["kill", SERVER]);
    }
    lab.verb(&["start", SERVER]);
    let unfinished = !pods(lab).is_empty() && running(lab) < pods(lab).len();
    lab.exec("master1", &apply);
    await_running(lab);

    let addresses = lab.exec("master1", "kubectl get pods -o jsonpath='{.items[*].status.podIP}'");
    let addresses: Vec<&str> = addresses.split_whitespace().collect();
    let different: BTreeSet<&str> = addresses.iter().copied().collect();
    assert_eq!(different.len(), addresses.len(), "after `{place}` an address is given twice: {addresses:?}");
    assert!(addresses.len() >= NAMES.len(), "{addresses:?}");
    no_problems(lab, place);
    delete_pods(lab, &NAMES);
    crate::within(
        Duration::from_secs(15),
        &format!("after `{place}` nothing has an owner that is gone"),
        || of_pods(lab) == had,
    );
    no_problems(lab, place);
    (died, unfinished)
}

fn is_all_running(lab: &Lab) -> bool {
    let line = "kubectl get pods -l app=chaos -o jsonpath='{.items[*].status.phase}' --request-timeout=5s";
    let phases = lab.try_exec("master1", line);
    let phases = String::from_utf8_lossy(&phases.stdout).into_owned();
    phases.split_whitespace().filter(|phase| *phase == "Running").count() == NAMES.len()
}

fn no_problems(lab: &Lab, place: &str) {
    let check = lab.exec("master1", "calicoctl ipam check");
    assert!(check.contains("found 0 problems"), "after `{place}`: {check}");
}
