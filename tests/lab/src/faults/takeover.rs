//! A node on which Calico ran until now: its routes in the kernel are BIRD's, its Node says nothing of modes, and where the kernel
//! has the module, nobody judges what comes by `tunl0`.

use super::sample;
use crate::{Lab, PODS, within};
use std::thread::sleep;
use std::time::Duration;
use testkit::leaks::Inventory;

/// Metrics of BIRD's routes: of older Calico, and of newer.
const METRICS: [u32; 2] = [0, 1024];

pub fn no_packet_is_lost_when_a_node_of_calicos_is_taken_over(lab: &Lab) {
    lab.ping_all(&PODS);
    let node = lab.netns("master1");
    let before = Inventory::of([&node]);
    let by_module = lab.agent("master1")["ipip"] == "kernel";
    for metric in METRICS {
        lab.verb(&["kill", "node-master1"]);
        make_calicos(lab, metric, by_module);
        let left = lab.exec("master1", "ip -4 route show proto bird");
        assert_eq!(left.lines().count(), 3, "a block of its own and two of others: {left}");

        let sampler = sample(lab);
        sleep(Duration::from_millis(300));
        lab.verb(&["start", "node-master1"]);
        within(Duration::from_secs(5), "everything is as if it had never been Calico's", || {
            Inventory::of([&node]) == before
        });
        sleep(Duration::from_millis(500));
        let report = sampler.stop();
        println!("metric {metric}: {report}");
        report.assert_nothing_lost();
        assert_eq!(lab.exec("master1", "ip -4 route show proto bird"), "");
        assert_eq!(lab.agent("master1")["problems"], serde_json::json!([]));
        lab.ping_all(&PODS);
    }
}

/// Makes of master1, whose agent is dead, what Calico leaves.
fn make_calicos(lab: &Lab, metric: u32, by_module: bool) {
    let routes = lab.exec("master1", "ip -4 route show proto 80");
    for route in routes.lines().filter(|route| route.contains(" via ") || route.starts_with("blackhole")) {
        let way = route.replace(" mtu 1480", "");
        if metric == 0 {
            lab.exec("master1", &format!("ip route replace {way} proto bird"));
        } else {
            lab.exec("master1", &format!("ip route add {way} proto bird metric {metric}"));
            lab.exec("master1", &format!("ip route del {way} proto 80 metric 0"));
        }
    }
    lab.exec("master1", "kubectl annotate node master1 tortie/encapsulation-");
    if by_module {
        // The place for filters stays: whoever makes one, the kernel stops the interface for a moment.
        lab.exec("master1", "nft flush ruleset; tc filter del dev ens192 ingress");
    }
}
