//! Changes by others are told, our own are not.

use crate::example::table;
use crate::netns::Netns;
use kernel::nft::{Table, TableKey};
use netlink::nft::{Monitor, apply};
use netlink::{MonitorError, Socket};

/// A namespace, the socket that we write with, and a monitor with a receive buffer of this size.
fn watched(buffer: usize) -> (Netns, Socket, Monitor) {
    let netns = Netns::new();
    let writer = netns.socket();
    let own = writer.port().unwrap();
    let monitor = netns.run(|| Monitor::open(buffer, own)).unwrap();
    (netns, writer, monitor)
}

/// Tables and process of each change.
fn told(monitor: &mut Monitor) -> Vec<String> {
    let line = |touched: netlink::nft::Touched| {
        let tables: Vec<String> = touched.tables.iter().map(ToString::to_string).collect();
        format!("{} by {}", tables.join(", "), touched.process)
    };
    monitor.read().unwrap().into_iter().map(line).collect()
}

#[test]
fn a_change_by_somebody_else_is_told_with_the_name_of_the_process() {
    let (netns, mut writer, mut monitor) = watched(1 << 20);
    apply(&mut writer, &TableKey::inet(), None, Some(&table())).unwrap();
    for meddling in [
        "nft add rule inet calico filter-INPUT accept",
        "nft delete element inet calico network-ip-pools '{ 10.244.0.0/16 }'",
        "nft flush ruleset",
    ] {
        netns.sh(meddling);
        assert_eq!(told(&mut monitor), ["inet calico by nft"], "{meddling}");
    }
}

#[test]
fn our_own_changes_and_those_to_other_tables_are_not_told() {
    let (netns, mut writer, mut monitor) = watched(1 << 20);
    let key = TableKey::inet();
    netns.sh(
        "nft add table ip calico; nft add table inet other; nft add set inet other calico '{ type mark; }'",
    );
    apply(&mut writer, &key, None, Some(&table())).unwrap();
    apply(&mut writer, &key, Some(&table()), Some(&Table::default())).unwrap();
    apply(&mut writer, &key, Some(&Table::default()), None).unwrap();
    assert_eq!(told(&mut monitor), [""; 0]);
}

#[test]
fn a_monitor_that_was_overrun_says_so_and_goes_on() {
    let (netns, _, mut monitor) = watched(4096);
    for i in 0..50 {
        netns.sh(&format!("nft add table inet other{i}"));
    }
    assert!(matches!(monitor.read(), Err(MonitorError::Overrun)));
    while monitor.read().is_err() {}
    netns.sh("nft add table inet calico");
    assert_eq!(told(&mut monitor), ["inet calico by nft"]);
}
