//! F9: the wall clock jumps. It is the machine's, not a namespace's, so this runs where the machine is an emulated one
//! (`./dev test distro`) and by no other suite.

use lab_tests::{Lab, PODS, cases, suite, within};
use std::process::{Command, ExitCode};
use std::time::Duration;
use testkit::sampler::Sampler;

const HOUR: i64 = 3600;

fn main() -> ExitCode {
    assert!(
        std::fs::read_to_string("/proc/cmdline").is_ok_and(|words| words.contains("guest=")),
        "this sets the machine's clock: `./dev test distro` runs it in an emulated machine"
    );
    suite::run(
        &["--mode", "ipip"],
        cases![
            f09_an_hour_forward_moves_nothing,
            f09_an_hour_back_moves_nothing,
            f09_a_day_forward_moves_nothing,
            f09_a_year_back_moves_nothing,
        ],
    )
}

fn f09_an_hour_forward_moves_nothing(lab: &Lab) {
    jump(lab, "a", HOUR);
}

fn f09_an_hour_back_moves_nothing(lab: &Lab) {
    jump(lab, "b", -HOUR);
}

fn f09_a_day_forward_moves_nothing(lab: &Lab) {
    jump(lab, "c", 24 * HOUR);
}

fn f09_a_year_back_moves_nothing(lab: &Lab) {
    jump(lab, "d", -365 * 24 * HOUR);
}

/// Packets, sessions and routes stay over the jump; new connections to the API, a new pod and its removal work after it.
fn jump(lab: &Lab, pod: &str, seconds: i64) {
    let [(here, first, _), (there, second, _), _] = PODS;
    within(Duration::from_secs(30), "the mesh is up", || sessions(lab).len() == 2);
    let sampler = Sampler::start(&lab.place(here, first), &lab.place(there, second));
    let before = (sessions(lab), lab.exec(here, "ip -4 route"));
    let now = Command::new("date").arg("+%s").output().expect("date runs").stdout;
    let now: i64 = String::from_utf8_lossy(&now).trim().parse().expect("seconds");
    let set = Command::new("date").args(["-s", &format!("@{}", now + seconds)]).output();
    assert!(set.is_ok_and(|set| set.status.success()), "the clock can be set");

    let manifest = lab.root().join("pod.json");
    let text = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{pod}"}},"spec":{{"nodeName":"{here}","containers":[{{"name":"c","image":"i"}}]}}}}"#
    );
    std::fs::write(&manifest, text).expect("the lab's folder can be written");
    lab.exec("master1", &format!("kubectl create -f {}", manifest.display()));
    let phase = format!("kubectl get pod {pod} -o jsonpath={{.status.phase}}");
    within(Duration::from_secs(20), "a new pod runs", || lab.exec("master1", &phase) == "Running");
    lab.ping(&format!("{here}/{pod}"), &lab.place(there, second).addr.to_string());
    lab.exec("master1", &format!("kubectl delete pod {pod} --wait=false"));
    within(Duration::from_secs(20), "and goes", || {
        lab.exec("master1", &format!("kubectl get pod {pod} --ignore-not-found")).is_empty()
    });
    let check = lab.exec("master1", "calicoctl ipam check");
    assert!(check.contains("found 0 problems"), "{check}");
    within(Duration::from_secs(5), "routes are as they were", || lab.exec(here, "ip -4 route") == before.1);
    assert_eq!(sessions(lab).len(), before.0.len());
    assert!(!lab.log(&format!("node-{here}")).contains(" is Idle"), "a session ended");
    sampler.stop().assert_nothing_lost();
}

/// The lines of `node status` that say Established.
fn sessions(lab: &Lab) -> Vec<String> {
    let status = lab.exec("master1", "calicoctl node status");
    status.lines().filter(|line| line.contains("Established")).map(str::to_owned).collect()
}
