//! Settings under `/proc/sys/net`, of the node and of pods.

use crate::node::*;
use kernel::{Key, Step, SysctlKey, SysctlValue, Value};
use netlink::{Event, Monitor};

fn setting(netns: kernel::Netns, path: &str, value: &str) -> (Key, Value) {
    (Key::Sysctl(SysctlKey { netns, path: path.into() }), Value::Sysctl(SysctlValue(value.into())))
}

#[test]
fn a_setting_is_written_in_its_own_namespace_and_read_back() {
    let node = Node::new();
    let path = "net/ipv4/ip_forward";
    for (netns, value) in [(HOST, "0"), (POD, "1")] {
        node.create(&setting(netns, path, value));
    }
    let read =
        |netns: &crate::netns::Netns| netns.sh("cat /proc/sys/net/ipv4/ip_forward").trim_end().to_owned();
    assert_eq!((read(&node.host), read(&node.pod)), ("0".into(), "1".into()));
    for (netns, value) in [(HOST, "0"), (POD, "1")] {
        let (key, wanted) = setting(netns, path, value);
        let found = node.with(|writer| writer.dump(netns, &[path.to_owned()]).unwrap().unwrap());
        assert_eq!(found.get(&key), Some(&wanted));
    }
}

#[test]
fn an_interface_with_a_dot_in_its_name_has_settings_too() {
    let node = Node::new();
    node.tunnel();
    node.create(&setting(HOST, "net/ipv4/conf/vxlan.calico/rp_filter", "2"));
    assert_eq!(node.host.sh("cat /proc/sys/net/ipv4/conf/vxlan.calico/rp_filter"), "2\n");
}

#[test]
fn what_does_not_exist_or_does_not_fit_is_refused_and_what_is_not_wanted_stays() {
    let node = Node::new();
    let steps = [
        setting(HOST, "net/ipv4/conf/ens192/rp_filter", "two"),
        setting(HOST, "net/ipv4/conf/ens9/rp_filter", "2"),
    ]
    .map(|(key, value)| Step::Create(key, value));
    assert_eq!(
        node.apply(&steps),
        [
            "sysctl ipv4.conf.ens192.rp_filter: Invalid argument (errno 22)",
            "sysctl ipv4.conf.ens9.rp_filter: No such file or directory (errno 2)",
        ]
    );
    let forwarding = setting(HOST, "net/ipv4/ip_forward", "1");
    node.create(&forwarding);
    node.remove(&forwarding);
    assert_eq!(node.host.sh("cat /proc/sys/net/ipv4/ip_forward"), "1\n");
}

fn told(monitor: &mut Monitor) -> Vec<Event> {
    monitor.read().unwrap()
}

fn put((key, value): (Key, Value)) -> Event {
    Event::Put(key, value)
}

#[test]
fn f40_a_setting_that_somebody_flips_is_told_of_with_its_value() {
    let node = Node::new();
    let paths = ["forwarding", "proxy_arp", "rp_filter"].map(|name| format!("net/ipv4/conf/ens192/{name}"));
    for (path, value) in paths.iter().zip(["1", "1", "2"]) {
        node.create(&setting(HOST, path, value));
    }
    node.host.run(|| {
        let mut monitor = Monitor::open(1 << 20).unwrap();
        for path in &paths {
            node.host.sh(&format!("echo 0 > /proc/sys/{path}"));
            assert_eq!(told(&mut monitor), [put(setting(HOST, path, "0"))], "{path}");
        }
    });
}

#[test]
fn f40_forwarding_that_is_switched_off_as_a_whole_is_told_of_for_every_device() {
    let node = Node::new();
    node.create(&setting(HOST, "net/ipv4/ip_forward", "1"));
    node.host.run(|| {
        let mut monitor = Monitor::open(1 << 20).unwrap();
        node.host.sh("echo 0 > /proc/sys/net/ipv4/ip_forward");
        let events = told(&mut monitor);
        for path in ["ip_forward", "conf/all/forwarding", "conf/ens192/forwarding"] {
            let event = put(setting(HOST, &format!("net/ipv4/{path}"), "0"));
            assert!(events.contains(&event), "{path}: {events:?}");
        }
    });
}

#[test]
fn the_settings_of_an_interface_are_gone_with_it() {
    let node = Node::new();
    node.host.sh("ip link add cali1 type bridge");
    node.host.run(|| {
        let mut monitor = Monitor::open(1 << 20).unwrap();
        node.host.sh("ip link del cali1");
        let (key, _) = setting(HOST, "net/ipv4/conf/cali1/proxy_arp", "");
        assert!(told(&mut monitor).contains(&Event::Gone(key)));
    });
}
