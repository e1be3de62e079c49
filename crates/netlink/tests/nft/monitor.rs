//! Changes by others are told, our own are not.

use crate::example::table;
use crate::netns::{Netns, apply};
use kernel::nft::{Table, TableKey};
use kernel::{Key, Value};
use netlink::nft::Monitor;
use netlink::{Event, MonitorError, Socket};
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// A namespace, the socket that we write with, and a monitor with a receive buffer of this size.
fn watched(buffer: usize) -> (Netns, Socket, Monitor) {
    let netns = Netns::new();
    let writer = netns.socket();
    let own = writer.port().unwrap();
    let mut monitor = netns.run(|| Monitor::open(buffer)).unwrap();
    monitor.leave_out(own);
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
    let overrun =
        |family: &str| (0..50).for_each(|i| drop(netns.sh(&format!("nft add table {family} other{i}"))));
    overrun("inet");
    assert!(matches!(monitor.read(), Err(MonitorError::Overrun)));
    netns.sh("nft add table inet calico");
    assert_eq!(told(&mut monitor), ["inet calico by nft"]);
    overrun("ip");
    let (inet, arp) = (Key::Nft(TableKey::inet()), Key::Nft(TableKey::arp()));
    let events = monitor.events().unwrap();
    assert_eq!(events, [Event::Put(inet, Value::Nft(Box::default())), Event::Gone(arp)]);
}

#[test]
fn whoever_waits_for_the_kernel_is_woken_and_gets_the_tables_as_they_are() {
    let netns = Netns::new();
    netns.write(&table());
    let mut monitor = netns.run(|| netlink::Monitor::open(1 << 20)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut next = |meddling: &str| {
        runtime.block_on(async {
            // SAFETY: the clone is owned by the `AsyncFd` alone.
            let ready = unsafe {
                AsyncFd::register(std::os::fd::AsFd::as_fd(&monitor).try_clone_to_owned().unwrap())
            };
            let ready = ready.map_err(drop).unwrap();
            netns.sh(meddling);
            loop {
                let readable = tokio::time::timeout(Duration::from_secs(10), ready.readable());
                readable.await.unwrap().unwrap().clear_ready();
                let events = monitor.read().unwrap();
                if !events.is_empty() {
                    return events;
                }
            }
        })
    };
    let key = Key::Nft(TableKey::inet());
    let events = next("nft flush chain inet calico filter-INPUT");
    let [Event::Put(found, Value::Nft(value))] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(*found, key);
    assert_ne!(**value, table());
    assert_eq!(value.sets, table().sets);
    assert_eq!(next("nft delete table inet calico"), [Event::Gone(key)]);
}
