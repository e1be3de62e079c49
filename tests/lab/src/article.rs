//! What holds in the article's cluster, in whatever mode it is.

use crate::{Capture, Lab};

pub fn a_pod_reaches_the_world_with_its_nodes_address(lab: &Lab) {
    let filter = "icmp[icmptype] == icmp-echo and dst host 192.168.50.1";
    let capture = Capture::start(lab, "fabric", "lan0", 1, filter);
    lab.ping("master1/ping-test-rfwx9", "192.168.50.1");
    assert_eq!(capture.decode(&["ip.src"]), ["192.168.50.161"]);
}

pub fn a_pod_reaches_its_own_node_and_other_nodes(lab: &Lab) {
    lab.ping("master1/ping-test-rfwx9", "192.168.50.161");
    lab.ping("master1/ping-test-rfwx9", "192.168.50.162");
    lab.ping("master1", "6.2.137.67");
    lab.ping("master1", "6.2.180.2");
}

pub fn ipam_check_is_clean(lab: &Lab) {
    let text = lab.exec("master1", "calicoctl ipam check");
    assert!(text.contains("found 0 problems"), "{text}");
}
