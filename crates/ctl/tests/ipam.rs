//! What people may do to addresses: hold the datastore still, free what reports call leaked, split a pool.

mod support;

use serde_json::{Value, json};
use support::Cli;

/// A cluster with a pool, and a block of which a pod that is gone holds two addresses.
async fn cluster() -> Cli {
    let cli = Cli::empty().await;
    let spec = json!({"clusterGUID": "g", "clusterType": "k8s", "datastoreReady": true});
    cli.create("ClusterInformation", json!({"metadata": {"name": "default"}, "spec": spec})).await;
    let spec = json!({"cidr": "10.244.0.0/16", "blockSize": 30});
    cli.create("IPPool", json!({"metadata": {"name": "p", "labels": {"zone": "a"}}, "spec": spec})).await;
    let attribute =
        json!({"handle_id": "h", "secondary": {"node": "n1", "pod": "a", "namespace": "default"}});
    let spec = json!({
        "cidr": "10.244.0.0/30", "affinity": "host:n1", "strictAffinity": false,
        "allocations": [null, 0, 0, null], "unallocated": [0, 3], "attributes": [attribute],
        "sequenceNumber": 3, "sequenceNumberForAllocation": {"1": 1, "2": 2},
    });
    cli.create("IPAMBlock", json!({"metadata": {"name": "10-244-0-0-30"}, "spec": spec})).await;
    let spec = json!({"handleID": "h", "block": {"10.244.0.0/30": 2}});
    cli.create("IPAMHandle", json!({"metadata": {"name": "h"}, "spec": spec})).await;
    let spec = json!({"handleID": "idle", "block": {}});
    cli.create("IPAMHandle", json!({"metadata": {"name": "idle"}, "spec": spec})).await;
    cli
}

async fn report(cli: &Cli, name: &str) -> Value {
    let path = cli.path(name);
    let got = cli.line(&format!("ipam check -o {path}")).await;
    assert_eq!(got.status, 0, "{got}");
    serde_json::from_str(&std::fs::read_to_string(path).expect("a report")).expect("JSON")
}

#[tokio::test]
async fn the_datastore_is_locked_and_unlocked() {
    let cli = cluster().await;
    let ready = async || {
        let got = cli.line("get clusterinformation default -o json").await.stdout;
        serde_json::from_str::<Value>(&got).expect("JSON")["spec"]["datastoreReady"].clone()
    };
    for _ in 0..2 {
        assert_eq!(cli.line("datastore migrate lock").await.stdout, "Datastore locked.\n");
        assert_eq!(ready().await, false);
    }
    assert_eq!(cli.line("datastore migrate unlock").await.stdout, "Datastore unlocked.\n");
    assert_eq!(ready().await, true);
    let got = cli.line("datastore migrate export").await;
    assert_eq!(
        (got.status, got.stderr.as_str()),
        (
            1,
            "datastore is not locked. Run the `calicoctl datastore migrate lock` command in order to begin migration\n"
        )
    );
}

#[tokio::test]
async fn a_report_holds_every_allocation_and_every_idle_handle() {
    let cli = cluster().await;
    let report = report(&cli, "report.json").await;
    assert_eq!((&report["clusterGUID"], &report["datastoreLocked"]), (&json!("g"), &json!(false)));
    let allocation = &report["allocations"]["10.244.0.2"][0];
    assert_eq!(
        (&allocation["handle"], &allocation["sequenceNumber"], &allocation["pod"], &allocation["inUse"]),
        (&json!("h"), &json!(2), &json!("a"), &json!(false))
    );
    assert_eq!(report["leakedHandles"][0]["id"], "idle");
}

#[tokio::test]
async fn what_reports_call_leaked_is_released_while_the_datastore_is_locked() {
    let cli = cluster().await;
    report(&cli, "early.json").await;
    let (early, late) = (cli.path("early.json"), cli.path("late.json"));
    let got = cli.line(&format!("ipam release --from-report={early}")).await;
    assert_eq!(
        (got.status, got.stderr.as_str()),
        (1, "data store is not locked. Either lock the data store, or re-run with --force\n")
    );
    cli.line("datastore migrate lock").await;
    let got = cli.line(&format!("ipam release --from-report={early}")).await;
    assert!(got.stderr.starts_with("the provided reports are all stale"), "{got}");
    cli.line("ipam release --ip=10.244.0.1").await;
    report(&cli, "late.json").await;
    let got = cli.line(&format!("ipam release --from-report={early} --from-report={late}")).await;
    assert_eq!(
        (got.status, got.stdout.as_str()),
        (
            0,
            "Releasing 1 old IPs...\nReleased 1 IPs successfully\nDeleting 1 handles...\n\
             Key: '.' = Deleted OK; 'x' = skip, handle missing/changed.\n.\n\
             Released 1 handles; 0 skipped; 0 errors.\nYou may now unlock the data store.\n"
        ),
        "{got}"
    );
    let got = cli.line("ipam check").await.stdout;
    assert!(got.contains("IPAM blocks record 0 allocations."), "{got}");
    assert!(got.contains("Found 0 handles with no matching IPs (and 0 handles with matches)."), "{got}");
}

#[tokio::test]
async fn an_address_that_was_given_anew_is_left_alone() {
    let cli = cluster().await;
    let mut told = report(&cli, "report.json").await;
    told["allocations"]["10.244.0.1"][0]["sequenceNumber"] = json!(7);
    told["allocations"]["10.244.0.2"][0]["inUse"] = json!(true);
    told["leakedHandles"] = Value::Null;
    let path = cli.file("told.json", &told.to_string());
    let got = cli.line(&format!("ipam release --force --from-report={path}")).await;
    assert!(got.stdout.contains("10.244.0.1 has another owner than when the report was made"), "{got}");
    assert!(got.stdout.contains("Released 0 IPs successfully\n"), "{got}");
    let got = cli.line("ipam show --ip 10.244.0.1").await.stdout;
    assert!(got.starts_with("IP 10.244.0.1 is in use\n"), "{got}");
}

#[tokio::test]
async fn a_report_of_another_cluster_is_refused_also_by_force() {
    let cli = cluster().await;
    let mut told = report(&cli, "report.json").await;
    told["clusterGUID"] = json!("other");
    let path = cli.file("told.json", &told.to_string());
    let got = cli.line(&format!("ipam release --force --from-report={path}")).await;
    assert_eq!(
        got.stderr,
        "cluster does not match the provided report (told.json): mismatched cluster GUID. Refusing to release\n"
    );
    let got = cli.line("ipam release --from-report=/nope").await;
    assert_eq!((got.status, got.stderr.as_str()), (1, "open /nope: no such file or directory\n"));
}

#[tokio::test]
async fn a_pool_is_split_while_the_datastore_is_locked() {
    let cli = cluster().await;
    let got = cli.line("ipam split --cidr=10.244.0.0/16 2").await;
    assert_eq!(
        (got.status, got.stderr.as_str()),
        (
            1,
            "datastore is not locked. Run the `calicoctl datastore migrate lock` command in order split the IP pools\n"
        )
    );
    cli.line("datastore migrate lock").await;
    let got = cli.line("ipam split --name=p 3").await;
    assert_eq!(got.stderr, "cannot split IPPool p into 3: use a power of two from 2 to 4096\n");
    let got = cli.line("ipam split --cidr=10.9.0.0/16 2").await;
    assert_eq!(got.stderr, "unable to find IP pool covering the specified CIDR 10.9.0.0/16\n");
    let got = cli.line("ipam split --cidr=10.244.0.0/16 2").await;
    assert_eq!(
        (got.status, got.stdout.as_str()),
        (
            0,
            "IP Pool p was successfully split into 2 smaller pools.\n\
             Created split-p-0 with CIDR 10.244.0.0/17.\nCreated split-p-1 with CIDR 10.244.128.0/17.\n\
             Unlock the datastore with `calicoctl datastore migrate unlock`.\n"
        ),
        "{got}"
    );
    assert_eq!(
        cli.line("get ippool").await.stdout,
        "NAME        CIDR              SELECTOR   \n\
         split-p-0   10.244.0.0/17     all()      \n\
         split-p-1   10.244.128.0/17   all()      \n\n"
    );
}

#[tokio::test]
async fn rest_of_addresses_and_of_virtual_machines_is_configured() {
    let cli = cluster().await;
    let got = cli.line("ipam configure --ip-cooldown-seconds=30 --kubevirt-ip-persistence=Disabled").await;
    assert_eq!(
        got.stdout,
        "Successfully set KubeVirtVMAddressPersistence to: Disabled\nSuccessfully set IPCooldownSeconds to: 30\n",
        "{got}"
    );
    let got = cli.line("ipam configure --ip-cooldown-seconds=1201").await;
    assert!(
        got.stderr.contains("spec.ipCooldownSeconds in body should be less than or equal to 1200"),
        "{got}"
    );
    let got = cli.line("ipam configure --kubevirt-ip-persistence=maybe").await;
    assert_eq!(got.stderr, "invalid value. Use Enabled or Disabled to set kubevirt-ip-persistence\n");
}
