//! A `calicoctl` that dies between one write and the next: what it was to do is done when it is typed again.

use super::death::places_of;
use crate::Lab;
use serde_json::json;

/// Commands that together write in every way in which a command does, each with a line that makes it ready.
const SCENARIO: [(&str, &str); 11] = [
    ("", "calicoctl apply -f chaos-pool.yaml"),
    (
        "",
        "calicoctl patch node master2 -p '{\"spec\":{\"bgp\":{\"routeReflectorClusterID\":\"244.0.0.9\"}}}'",
    ),
    ("", "calicoctl patch node master2 -p '{\"spec\":{\"bgp\":{\"routeReflectorClusterID\":null}}}'"),
    ("kubectl apply -f chaos-block.yaml", "calicoctl ipam release --ip=6.9.0.1"),
    ("", "calicoctl node status --node master2"),
    ("", "calicoctl mode plan chaos --to vxlan"),
    ("", "calicoctl datastore migrate lock"),
    (
        "kubectl apply -f chaos-block.yaml && calicoctl ipam check -o report.json",
        "calicoctl ipam release --from-report=report.json",
    ),
    ("", "calicoctl ipam split --name=chaos 2"),
    ("", "calicoctl datastore migrate unlock"),
    ("", "calicoctl delete ippool --skip-not-exists split-chaos-0 split-chaos-1"),
];

/// What a command says that finds nothing left to do.
const DONE: [&str; 2] = ["not allocated", "unable to find IP pool"];

pub fn f03_a_command_that_dies_anywhere_may_be_typed_again(lab: &Lab) {
    write_files(lab);
    let places = places_of("ctl");
    let mut questions = 0;
    assert!(places.len() >= 15, "{places:?}");
    for place in places {
        println!("  dying at `{place}`");
        let mut deaths = 0;
        for (before, line) in SCENARIO {
            if !before.is_empty() {
                typed(lab, before);
            }
            let dying = format!("{}='{place}' {line}", failpoint::VARIABLE);
            let mut died = lab.try_exec("master1", &here(lab, &dying));
            // The agent writes into its Node as well: who was slower tries again.
            while String::from_utf8_lossy(&died.stderr).contains("update conflict") {
                died = lab.try_exec("master1", &here(lab, &dying));
            }
            if String::from_utf8_lossy(&died.stderr).contains("dying at") {
                deaths += 1;
                // What had been done before it died cannot be done once more: that is all that may be said against it.
                let again = lab.try_exec("master1", &here(lab, line));
                let said = String::from_utf8_lossy(&again.stdout).into_owned()
                    + &String::from_utf8_lossy(&again.stderr);
                assert!(
                    again.status.success() || DONE.iter().any(|word| said.contains(word)),
                    "after `{place}` {line}: {said}"
                );
            } else {
                assert!(died.status.success(), "{line}: {}", String::from_utf8_lossy(&died.stderr));
            }
        }
        assert!(deaths > 0, "no command came to `{place}`");
        // A handle that still counts an address that was given back is the collector's, whose time is not awaited.
        typed(lab, "kubectl delete ipamblocks.projectcalico.org 6-9-0-0-30 --ignore-not-found");
        typed(lab, "kubectl delete ipamhandles.projectcalico.org chaos chaos-idle --ignore-not-found");
        // A question whose asker died is answered until the controller takes it away, which knows it by its label.
        let asked = "caliconodestatuses.projectcalico.org";
        let left = typed(lab, &format!("kubectl get {asked} -o name"));
        let marked = typed(lab, &format!("kubectl get {asked} -o name -l tortie/question"));
        assert_eq!(marked, left, "after `{place}`");
        questions += left.lines().count();
        typed(lab, &format!("kubectl delete {asked} --all"));
        let check = typed(lab, "calicoctl ipam check");
        assert!(check.contains("found 0 problems"), "after `{place}`: {check}");
        let pools = typed(lab, "calicoctl get ippool");
        assert!(!pools.contains("chaos"), "after `{place}`: {pools}");
    }
    assert!(questions > 0, "no command died between its question and the answer");
}

fn here(lab: &Lab, line: &str) -> String {
    format!("cd {} && {line}", lab.root().display())
}

fn typed(lab: &Lab, line: &str) -> String {
    lab.exec("master1", &here(lab, line))
}

/// A pool, and in another an address that nobody uses.
fn write_files(lab: &Lab) {
    let pool = json!({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "chaos"},
        "spec": {"cidr": "6.8.0.0/24", "assignmentMode": "Manual"}});
    let block = json!({"apiVersion": "projectcalico.org/v3", "kind": "IPAMBlock", "metadata": {"name": "6-9-0-0-30"},
        "spec": {"cidr": "6.9.0.0/30", "allocations": [null, 0, null, null], "unallocated": [0, 2, 3],
            "attributes": [{"handle_id": "chaos", "secondary": {}}], "strictAffinity": false, "deleted": false,
            "sequenceNumber": 1, "sequenceNumberForAllocation": {"1": 1}}});
    let handle = json!({"apiVersion": "projectcalico.org/v3", "kind": "IPAMHandle", "metadata": {"name": "chaos"},
        "spec": {"handleID": "chaos", "block": {"6.9.0.0/30": 1}, "deleted": false}});
    let idle = json!({"apiVersion": "projectcalico.org/v3", "kind": "IPAMHandle", "metadata": {"name": "chaos-idle"},
        "spec": {"handleID": "chaos-idle", "block": {}, "deleted": false}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [block, handle, idle]});
    for (name, object) in [("chaos-pool.yaml", pool), ("chaos-block.yaml", list)] {
        std::fs::write(lab.root().join(name), object.to_string()).expect("the lab's directory");
    }
}
