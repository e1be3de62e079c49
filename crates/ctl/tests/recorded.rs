//! Commands of a real `calicoctl` 3.32.1 against a real cluster, byte for byte: the cluster's objects as they were then
//! (`golden/api`), what the command printed (`golden/recorded`).
//!
//! Two things differ on purpose and are taken out of what is compared: the record of field owners (`managedFields`), which
//! people do not want to see, and the memory address that `ipam show --show-configuration` prints for a value. The version
//! of the client is its own. The version of a list, which grew from one command to the next, is not compared either.

mod support;

use support::{Cli, Recorded};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

/// The recorded commands that must print the same.
const SAME: &[&str] = &[
    "002-get-nodes-o-wide",
    "003-get-ippool-o-yaml",
    "004-get-ippool-o-wide",
    "007-get-tiers-o-yaml",
    "008-get-networkpolicy-a-o-yaml",
    "009-get-globalnetworkpolicy-o-wide",
    "010-get-globalnetworkpolicy-o-yaml",
    "011-get-profile-kns-default-o-yaml",
    "012-get-clusterinformation-o-yaml",
    "013-get-felixconfig-o-yaml",
    "016-ipam-show-show-blocks",
    "018-ipam-check",
    "006-get-wep",
];

#[tokio::test]
async fn the_recorded_commands_print_the_same() {
    let cli = Cli::of_objects(DIR).await;
    for name in SAME {
        let recorded = Recorded::read(&format!("{DIR}/recorded/{name}.txt"));
        let got = cli.run(&recorded.args).await;
        assert_eq!(got.status, recorded.exit, "{name}: {}", got.stderr);
        let (stdout, wanted) = (without_list_version(&got.stdout), without_list_version(&recorded.stdout));
        for (i, (line, wanted)) in stdout.lines().zip(wanted.lines()).enumerate() {
            assert_eq!(line, wanted, "{name}, line {}", i + 1);
        }
        assert_eq!((stdout, got.stderr), (wanted, recorded.stderr), "{name}");
    }
}

fn without_list_version(text: &str) -> String {
    let head = text.rsplit_once("\nmetadata:\n  resourceVersion: ").map(|(head, _)| head);
    head.filter(|head| head.contains("\nitems:")).unwrap_or(text).to_owned()
}

/// Recorded a little later, when the pod with a floating address was gone: `calicoctl` itself panics while it is there.
#[tokio::test]
async fn the_endpoints_print_the_same_where_calico_does_not_panic() {
    let cli = Cli::of_objects(DIR).await;
    for name in ["040-get-wep-o-wide", "042-get-wep-a-o-wide"] {
        let recorded = Recorded::read(&format!("{DIR}/recorded/{name}.txt"));
        let got = cli.run(&recorded.args).await;
        // What that pod's address adds to the width of the last column is not seen behind the last letter.
        let lines = |text: &str| -> Vec<String> {
            text.lines()
                .filter(|line| !line.contains("fip-pod"))
                .map(|line| line.trim_end().to_owned())
                .collect()
        };
        assert_eq!((got.status, lines(&got.stdout)), (0, lines(&recorded.stdout)), "{name}");
    }
}

#[tokio::test]
async fn the_configuration_is_printed_as_values() {
    let cli = Cli::of_objects(DIR).await;
    let recorded = Recorded::read(&format!("{DIR}/recorded/017-ipam-show-show-configuration.txt"));
    let got = cli.run(&recorded.args).await;
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows = |text: &str| text.lines().skip(3).take(3).map(words).collect::<Vec<_>>();
    assert_eq!(rows(&got.stdout), rows(&recorded.stdout));
    assert!(!got.stdout.contains("0x"), "{}", got.stdout);
}

#[tokio::test]
async fn the_version_of_the_cluster_is_printed_below_our_own() {
    let cli = Cli::of_objects(DIR).await;
    let recorded = Recorded::read(&format!("{DIR}/recorded/001-version.txt"));
    let got = cli.run(&recorded.args).await;
    let cluster = |text: &str| text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cluster(&got.stdout), cluster(&recorded.stdout));
    assert!(got.stdout.starts_with("Client Version:    v3.32.1-tortie-"), "{}", got.stdout);
}
