//! What the kernel tells of changes adds up to what a dump finds; and what it does not tell.

use crate::node::*;
use kernel::{Key, Objects, RouteKey, Step, Value};
use netlink::{Event, Monitor};
use std::time::Duration;

/// What somebody does to a node; every line is told of. (Not told of: a new alias of an interface that is down,
/// `netdev_state_change`.)
const DEEDS: &str = "
    ip link add calia type veth peer name caliab
    ip link set calia mtu 1400
    ip link set calia up
    ip link set calia alias one
    ip link set caliab up
    ip addr add 10.0.0.1/32 dev calia
    ip route add 10.1.0.0/26 dev calia scope link proto 80
    ip route add 10.2.0.0/26 via 192.168.50.162 dev ens192 onlink proto 80
    ip route replace 10.2.0.0/26 via 192.168.50.163 dev ens192 onlink proto 80 mtu 1450
    ip route add blackhole 10.3.0.0/26 proto 80
    ip route add 10.4.0.0/26 via 192.168.50.1 dev ens192 table 1000
    ip neigh add 10.1.0.9 lladdr 02:00:00:00:00:01 dev calia nud permanent
    ip neigh replace 10.1.0.9 lladdr 02:00:00:00:00:02 dev calia nud permanent
    ip neigh add 10.1.0.8 lladdr 02:00:00:00:00:03 dev calia nud permanent
    bridge fdb add 66:00:00:00:00:01 dev vxlan.calico dst 192.168.50.162 self permanent
    bridge fdb replace 66:00:00:00:00:01 dev vxlan.calico dst 192.168.50.163 self permanent
    bridge fdb add 66:00:00:00:00:02 dev vxlan.calico dst 192.168.50.162 self permanent
    bridge fdb del 66:00:00:00:00:02 dev vxlan.calico dst 192.168.50.162 self
    ip neigh del 10.1.0.8 dev calia
    ip route del 10.1.0.0/26
    ip -6 route add fd00:1::/64 via fd00::2 dev ens192 proto 80
    ip addr add fd00:5::1/64 dev ens192 nodad
    ip addr del fd00:5::1/64 dev ens192
    ip link add br0 type bridge
    ip link set caliab master br0
    ip link set br0 name br1
    ip link set caliab nomaster
    ip link del br1";

fn tell(objects: &mut Objects, events: Vec<Event>) {
    for event in events {
        match event {
            Event::Put(key, value) => drop(objects.insert(key, value)),
            Event::Gone(key) => drop(objects.remove(&key)),
        }
    }
}

/// Without what the kernel learns by itself, which changes all the time, and without settings: a dump reads only those that
/// it is asked for.
fn configured(mut objects: Objects) -> Objects {
    objects.retain(|_, value| !matches!(value, Value::Sysctl(_)));
    objects.retain(|_, value| !matches!(value, Value::Neigh(neigh) if !neigh.permanent));
    objects
}

#[test]
fn notices_add_up_to_what_a_dump_finds() {
    let node = Node::new();
    node.tunnel();
    node.host.sh("ip addr add fd00::1/64 dev ens192 nodad");
    node.with(|writer| {
        let mut monitor = Monitor::open(1 << 20).unwrap();
        let mut told = writer.dump(HOST, &[]).unwrap().unwrap();
        for line in DEEDS.trim().lines() {
            node.host.sh(line);
            // Of IPv6 addresses the kernel tells a little later (`addrconf_dad_work`).
            let settled = (0..500).any(|_| {
                let found = configured(writer.dump(HOST, &[]).unwrap().unwrap());
                tell(&mut told, monitor.read().unwrap());
                let same = configured(told.clone()) == found;
                if !same {
                    std::thread::sleep(Duration::from_millis(10));
                }
                same
            });
            let found = configured(writer.dump(HOST, &[]).unwrap().unwrap());
            assert!(settled, "{line}: told {told:#?}, found {found:#?}");
        }
    });
}

#[test]
fn of_a_link_that_goes_everything_is_told_but_its_routes() {
    let node = Node::new();
    node.tunnel();
    node.host.sh("ip addr add 6.2.137.65/32 dev vxlan.calico");
    node.host.sh("ip neigh add 6.2.180.1 lladdr 66:00:00:00:00:01 dev vxlan.calico nud permanent");
    for (deed, told_of) in [
        ("ip addr del 6.2.137.65/32 dev vxlan.calico", "address 6.2.137.65/32 dev vxlan.calico"),
        ("ip link set vxlan.calico down", "link vxlan.calico"),
        ("ip link del vxlan.calico", "link vxlan.calico"),
    ] {
        node.host.sh("ip link set vxlan.calico up");
        node.host.sh("ip route replace 6.2.180.0/26 via 6.2.180.1 dev vxlan.calico onlink proto 80");
        let events = node.host.run(|| {
            let mut monitor = Monitor::open(1 << 20).unwrap();
            node.host.sh(deed);
            monitor.read().unwrap()
        });
        let keys: Vec<String> = events
            .iter()
            .map(|event| match event {
                Event::Put(key, _) | Event::Gone(key) => key.to_string(),
            })
            .collect();
        assert!(keys.iter().any(|key| key == told_of), "{deed}: {keys:?}");
        assert!(!keys.iter().any(|key| key == "route 6.2.180.0/26"), "{deed}: {keys:?}");
        assert_eq!(node.host.sh("ip route show 6.2.180.0/26"), "", "{deed}");
    }
}

#[test]
fn of_routes_only_what_others_do_is_told() {
    let node = Node::new();
    node.with(|writer| {
        let mut monitor = Monitor::open(1 << 20).unwrap();
        monitor.leave_out(writer.ports().unwrap()).unwrap();
        node.host.sh("ip route add 10.2.0.0/26 via 192.168.50.162 dev ens192 onlink proto 80");
        let Some(Event::Put(key, value)) = monitor.read().unwrap().pop() else {
            panic!("others are told of")
        };
        let other = Key::Route(RouteKey { dst: "10.3.0.0/26".parse().unwrap(), ..route_key(&key) });
        let steps = [Step::Create(other.clone(), value.clone()), Step::Remove(key, value)];
        assert!(writer.apply(&steps).iter().all(|outcome| outcome.result.is_ok()));
        assert_eq!(monitor.read().unwrap(), []);
        node.host.sh("ip route del 10.3.0.0/26");
        assert_eq!(monitor.read().unwrap(), [Event::Gone(other)]);
    });
}

fn route_key(key: &Key) -> RouteKey {
    let Key::Route(key) = key else { panic!("a route, not {key}") };
    key.clone()
}
