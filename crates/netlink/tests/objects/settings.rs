//! Settings under `/proc/sys/net`, of the node and of pods.

use crate::node::*;
use kernel::{Key, Step, SysctlKey, SysctlValue, Value};

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
