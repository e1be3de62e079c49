//! The kernel itself says no, because somebody else has what we want.

use super::cni::without_a_trace;
use super::sample_between;
use crate::{Lab, PODS, within};
use std::fs;
use std::path::Path;
use std::time::Duration;
use testkit::netns::{self, Netns};
use testkit::process::Guard;
use testkit::sampler::Sampler;

const NODE: &str = "master3";
/// Longer than an agent waits before it tries again.
const AGAIN: Duration = Duration::from_secs(40);

fn problems(lab: &Lab, node: &str) -> String {
    lab.agent(node)["problems"].to_string()
}

/// A line of shell that goes on beside us.
fn started(node: &Path, line: &str) -> Guard {
    Guard::spawn(netns::command(node, "sh").args(["-c", line]))
}

/// Somebody makes our table his own (`NFT_TABLE_F_OWNER`, linux/netfilter/nf_tables.h), with the same rules: until he ends, the
/// kernel refuses every change of it to anybody else.
pub fn f38_rules_that_the_kernel_refuses_lead_nobody_to_a_new_pod_and_take_nothing_from_others(lab: &Lab) {
    let is_said = |text: &str| {
        text.contains("nftables inet calico: ") && text.contains("Operation not permitted (errno 1)")
    };
    let node = lab.netns(NODE);
    // Whose MAC is still asked for is kept out of this.
    lab.ping_all(&PODS);
    let sampler = sample_between(lab, PODS[2], PODS[0]);
    without_a_trace(lab, || {
        let routes = lab.root().join("f38.routes");
        let monitor = started(&node, &format!("exec ip -4 monitor route > {}", routes.display()));
        let led_to_pods = || {
            let told = fs::read_to_string(&routes).expect("it is ours");
            told.lines().filter(|line| line.contains(" dev cali") && !line.starts_with("Deleted")).count()
        };

        let rules = lab.root().join("f38.nft");
        let listed = lab.exec(NODE, "nft list table inet calico");
        // What looks into tunnels' packets, of which there are none in this mode, `nft` shows but cannot read.
        let kept = listed.lines().filter(|line| !line.contains("@th,")).map(|line| format!("{line}\n"));
        let owned = kept.collect::<String>().replacen("{\n", "{\n\tflags owner\n", 1);
        fs::write(&rules, format!("delete table inet calico\n{owned}")).expect("the lab's directory");
        // A pipe of his own, which never ends: he reads on.
        let (pipe, file) = (lab.root().join("f38.pipe"), rules.display());
        let line = format!(
            "mkfifo {0} && exec 3<>{0} && echo 'include \"{file}\"' >&3 && exec nft -i <&3",
            pipe.display()
        );
        let owner = started(&node, &line);
        within(AGAIN, "the table is another's", || {
            lab.exec(NODE, "nft list table inet calico").contains("flags owner")
        });

        let pod = Netns::new();
        for _ in 0..3 {
            let answer = lab.cni(NODE, "ADD", "f38", pod.path());
            assert_eq!(answer.code(), 999, "{}", answer.body);
            assert!(is_said(&answer.body["msg"].to_string()), "{}", answer.body);
            lab.cni(NODE, "DEL", "f38", pod.path()).expect("DEL");
        }
        assert_eq!(led_to_pods(), 0, "{}", fs::read_to_string(&routes).expect("it is ours"));
        within(AGAIN, "the agent says so", || is_said(&problems(lab, NODE)));

        drop(owner);
        within(AGAIN, "nothing is refused any more", || problems(lab, NODE) == "[]");
        assert!(!lab.exec(NODE, "nft list table inet calico").contains("flags owner"));
        lab.cni(NODE, "ADD", "f38", pod.path()).expect("ADD");
        within(Duration::from_secs(2), "who looks at routes sees the pod's", || led_to_pods() == 1);
        lab.cni(NODE, "DEL", "f38", pod.path()).expect("DEL");
        drop(monitor);
    });
    let report = sampler.stop();
    println!("{report}");
    report.assert_nothing_lost();
}

/// Somebody has a VXLAN device of our number and port: the kernel refuses a second one, and the pool is to change to VXLAN.
pub fn f38_a_tunnel_that_the_kernel_refuses_is_said_and_its_node_is_reached_as_before(lab: &Lab) {
    lab.ping_all(&PODS);
    let samplers = vec![sample_between(lab, PODS[2], PODS[0]), sample_between(lab, PODS[0], PODS[1])];
    let by = |from: &str, device: &str| {
        let routes = lab.exec(from, "ip -4 route show proto 80");
        routes.lines().filter(|route| route.contains(&format!("dev {device}"))).count()
    };
    let said = "link vxlan.calico: A VXLAN device with the specified VNI already exists (errno 17)";
    for _ in 0..4 {
        lab.exec(NODE, "ip link add foreign type vxlan id 4096 dstport 4789");
        lab.patch_mode("Always");
        within(AGAIN, "the agent says so", || problems(lab, NODE).contains(said));
        within(AGAIN, "the others go on, and reach it as before", || {
            let others = ["master1", "master2"];
            others.iter().all(|node| (by(node, "vxlan.calico"), by(node, "ens192")) == (1, 1))
        });
        assert_eq!(by(NODE, "ens192"), 2);
        lab.exec(NODE, "ip link del foreign");
        within(AGAIN, "the node follows", || lab.nodes().iter().all(|node| by(node, "vxlan.calico") == 2));
        within(AGAIN, "nothing is refused any more", || problems(lab, NODE) == "[]");
        lab.change_mode("Never", "ens192");
        within(AGAIN, "no tunnel is left", || !lab.exec(NODE, "ip -o link").contains("vxlan.calico"));
    }
    for report in Sampler::stop_all(samplers) {
        println!("{report}");
        report.assert_nothing_lost();
    }
}
