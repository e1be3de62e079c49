//! BGP's kinds on the command line, where there is more to it than one document.

mod support;

use support::Cli;

const PEER: &str = "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: tor}\n\
    spec: {nodeSelector: rack == '1', peerIP: 192.0.2.1:180, asNumber: 64513, filters: [f1]}\n";
const FILTER: &str = "apiVersion: projectcalico.org/v3\nkind: BGPFilter\nmetadata: {name: f1}\n\
    spec: {importV4: [{action: Reject}]}\n";

#[tokio::test]
async fn a_peer_waits_for_its_filters() {
    let cli = Cli::empty().await;
    let (peer, filter) = (cli.file("peer.yaml", PEER), cli.file("filter.yaml", FILTER));
    let refused = cli.line(&format!("apply -f {peer}")).await;
    assert_eq!(
        refused.stderr,
        "failed to apply 'BGPPeer' resource: [error with field BGPPeer.Spec.Filters = '[f1]' (BGPFilter(s) not found)]\n"
    );
    assert_eq!(cli.line(&format!("apply -f {filter}")).await.status, 0);
    assert_eq!(cli.line(&format!("apply -f {peer}")).await.status, 0);
    assert_eq!(
        cli.line("get bgppeer -o wide").await.stdout,
        "NAME   PEERIP          NODE          ASN     \ntor    192.0.2.1:180   rack == '1'   64513   \n\n"
    );
}

#[tokio::test]
async fn a_nodes_own_account_is_asked_for_and_listed() {
    let cli = Cli::empty().await;
    let asked = "apiVersion: projectcalico.org/v3\nkind: CalicoNodeStatus\nmetadata: {name: a}\n\
        spec: {node: n1, classes: [Agent, BGP], updatePeriodSeconds: 10}\n";
    let file = cli.file("status.yaml", asked);
    assert_eq!(
        cli.line(&format!("create -f {file}")).await.stdout,
        "Successfully created 1 'CalicoNodeStatus' resource(s)\n"
    );
    assert_eq!(
        cli.line("get caliconodestatus -o wide").await.stdout,
        "NAME   NODE   CLASSES     \na      n1     Agent,BGP   \n\n"
    );
    let patched = cli.line("patch nodestatus a -p '{\"spec\":{\"updatePeriodSeconds\":86401}}'").await;
    assert!(patched.stderr.contains("should be less than or equal to 86400"), "{patched}");
}
