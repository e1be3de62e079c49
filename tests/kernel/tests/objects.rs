//! What `derive` wants, carried out by `netlink` in a real kernel, seen by iproute2 and read back.

use kernel::route::{PROTO_CALICO, TABLE_MAIN, Way};
use kernel::{
    Change, Key, LinkKey, Netns, Objects, PodNs, RouteKey, RouteKind, RouteScope, RouteValue, Step, Value,
    diff, ours, plan,
};
use model::{IfName, Mtu};
use netlink::{Event, Monitor, MonitorError, Writer};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use testkit::netns;

/// A node with its uplink, and a pod's namespace.
struct Node {
    host: netns::Netns,
    pod: netns::Netns,
}

impl Node {
    fn new() -> Node {
        let node = Node { host: netns::Netns::new(), pod: netns::Netns::new() };
        node.host.run(
            "ip link add ens192 type veth peer name far && ip link set far up && ip link set ens192 up && \
             ip addr add 192.168.50.161/24 dev ens192",
        );
        node
    }

    fn writer(&self) -> Writer {
        let mut writer = Writer::open().expect("a netlink socket");
        let pod = netlink::Netns::open(self.pod.path()).expect("the pod's namespace");
        writer.open_pod(PodNs(1), pod).expect("a socket in the pod's namespace");
        writer
    }
}

/// master1 of the article with one pod.
fn wanted() -> Objects {
    derive::derive(&derive::example::article_with_pod(PodNs(1)))
}

/// Without what depends on the machine (the kernel's own settings and rules are read by other tests).
fn dumped(writer: &mut Writer, wanted: &Objects) -> Objects {
    let sysctls = |netns| {
        let paths = wanted.keys().filter_map(move |key| match key {
            Key::Sysctl(key) if key.netns == netns => Some(key.path.clone()),
            _ => None,
        });
        paths.collect::<Vec<_>>()
    };
    let mut objects = Objects::new();
    for netns in [Netns::Host, Netns::Pod(PodNs(1))] {
        objects.extend(writer.dump(netns, &sysctls(netns)).expect("it is open").expect("the kernel answers"));
    }
    objects
}

fn changes(wanted: &Objects, found: &Objects) -> Vec<Change> {
    let changes = diff(wanted, found, &BTreeSet::new(), ours);
    changes
        .into_iter()
        .filter(|change| !matches!(change, Change::Remove(key, _) if key.netns() != Netns::Host))
        .collect()
}

fn make(writer: &mut Writer, wanted: &Objects) {
    let steps = plan(changes(wanted, &dumped(writer, wanted)));
    for outcome in writer.apply(&steps) {
        assert_eq!(outcome.result, Ok(()), "{}", outcome.key);
    }
}

#[test]
fn what_is_wanted_is_made_and_read_back_and_nothing_is_left_to_do() {
    let node = Node::new();
    node.host.inside(|| {
        let mut writer = node.writer();
        let wanted = wanted();
        make(&mut writer, &wanted);
        assert_eq!(changes(&wanted, &dumped(&mut writer, &wanted)), []);
    });
    let routes = node.host.run("ip -4 route show");
    assert!(
        routes.contains("6.2.180.0/26 via 6.2.180.1 dev vxlan.calico proto 80 onlink mtu 1450"),
        "{routes}"
    );
    assert!(routes.contains("blackhole 6.2.137.64/26 proto 80"), "{routes}");
    let link = node.host.run("ip -d link show vxlan.calico");
    for word in
        ["mtu 1450", "id 4096", "local 192.168.50.161", "dev ens192", "dstport 4789", "nolearning", "qlen"]
    {
        assert!(word == "qlen" || link.contains(word), "{word}: {link}");
    }
    let fdb = node.host.run("bridge fdb show dev vxlan.calico");
    assert!(fdb.contains("dst 192.168.50.162 self permanent"), "{fdb}");
    assert!(node.host.run("ip neigh show dev vxlan.calico").contains("6.2.180.1 lladdr 66:"));
    let pod = node.pod.run("ip route show && ip -br addr show dev eth0 && ip neigh show");
    assert!(pod.contains("default via 169.254.1.1 dev eth0"), "{pod}");
    assert!(pod.contains("169.254.1.1 dev eth0 scope link"), "{pod}");
    assert!(pod.contains("6.2.137.67/32"), "{pod}");
    assert!(pod.contains("169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee PERMANENT"), "{pod}");
}

/// A route that these routers share.
fn shared_by(routers: &[&str]) -> Objects {
    let device = || IfName::fixed("ens192");
    let mut ways = routers.iter().map(|addr| addr.parse::<IpAddr>().expect("an address"));
    let dst = "2001:db8:77::/48".parse().expect("a prefix");
    let key = RouteKey { netns: Netns::Host, table: TABLE_MAIN, dst, priority: 0 };
    let value = RouteValue {
        kind: RouteKind::Unicast,
        gateway: ways.next(),
        device: Some(device()),
        scope: RouteScope::Universe,
        onlink: true,
        protocol: PROTO_CALICO,
        source: None,
        mtu: None,
        also: ways.map(|gateway| Way { gateway, device: device() }).collect(),
    };
    Objects::from([(Key::Route(key), Value::Route(value))])
}

#[test]
fn an_ipv6_route_is_made_changed_and_taken_away_by_one_who_has_only_read_it() {
    let node = Node::new();
    node.host.run("ip addr add fd00:50::161/64 dev ens192 nodad");
    let shown = || node.host.run("ip -6 route show proto 80");
    let (one, both) = (shared_by(&["fd00:50::20"]), shared_by(&["fd00:50::20", "fd00:50::21"]));
    for wanted in [one.clone(), both.clone(), one, shared_by(&["fd00:50::21"]), both, Objects::new()] {
        node.host.inside(|| {
            let mut writer = node.writer();
            make(&mut writer, &wanted);
            assert_eq!(changes(&wanted, &dumped(&mut writer, &wanted)), [], "{}", shown());
        });
        let routers = wanted.values().map(|value| match value {
            Value::Route(route) => route.gateway.into_iter().count() + route.also.len(),
            _ => 0,
        });
        assert_eq!(shown().matches("via fd00:50::").count(), routers.sum::<usize>(), "{}", shown());
    }
}

#[test]
fn the_node_reaches_its_pod_and_the_pod_its_node() {
    let node = Node::new();
    node.host.inside(|| make(&mut node.writer(), &wanted()));
    node.host.run("ping -c 1 -W 1 6.2.137.67");
    node.pod.run("ping -c 1 -W 1 192.168.50.161");
}

#[test]
fn what_is_no_longer_wanted_goes_and_nothing_else() {
    let node = Node::new();
    node.host.run("ip route add 10.9.0.0/16 via 192.168.50.1 dev ens192 && ip link add br9 type bridge");
    // The module `ipip` puts a tunl0 into every new namespace.
    let shown = || (node.host.run("ip -4 route show; ip -br link"), node.pod.run("ip -br link"));
    let before = shown();
    node.host.inside(|| {
        let mut writer = node.writer();
        let wanted = wanted();
        make(&mut writer, &wanted);
        make(&mut writer, &Objects::new());
    });
    assert_eq!(shown(), before);
}

#[test]
fn a_refusal_names_its_object_in_the_kernels_words_and_stops_nothing_else() {
    let node = Node::new();
    node.host.run("ip link set ens192 down");
    let wanted = wanted();
    let outcomes = node.host.inside(|| {
        let mut writer = node.writer();
        let steps: Vec<Step> = wanted
            .iter()
            .filter(|(key, _)| matches!(key, Key::Route(_)) && key.netns() == Netns::Host)
            .map(|(key, value)| Step::Create(key.clone(), value.clone()))
            .collect();
        writer.apply(&steps)
    });
    let text = |dst: &str| {
        let outcome = outcomes.iter().find(|outcome| outcome.key.to_string() == format!("route {dst}"));
        outcome.expect("an outcome for each key").result.clone().map_err(|error| error.text)
    };
    assert_eq!(text("6.2.137.64/26"), Ok(()), "the blackhole needs no device");
    assert_eq!(text("6.2.180.0/26"), Err("there is no interface vxlan.calico".into()));
}

#[test]
fn an_interface_that_a_pod_has_already_is_left_as_it_is() {
    let node = Node::new();
    node.pod.run(
        "ip link add eth0 type veth peer name other && ip link set eth0 address 02:00:00:00:00:07 mtu 1400",
    );
    let before = node.pod.run("ip -br addr; ip link show eth0");
    let wanted = wanted();
    let outcomes = node.host.inside(|| {
        let mut writer = node.writer();
        let steps = plan(changes(&wanted, &dumped(&mut writer, &wanted)));
        writer.apply(&steps)
    });
    assert_eq!(node.pod.run("ip -br addr; ip link show eth0"), before);
    let refused: Vec<_> =
        outcomes.iter().filter_map(|o| Some((&o.key, o.result.clone().err()?.text))).collect();
    assert!(
        refused.iter().any(|(key, text)| key.to_string().starts_with("link cali") && text == "File exists")
    );
    let in_pod: Vec<_> = refused.iter().filter(|(key, _)| key.netns() != Netns::Host).collect();
    assert!(
        !in_pod.is_empty() && in_pod.iter().all(|(_, text)| text == "the pod's interface could not be made")
    );
}

#[test]
fn every_change_of_somebody_else_is_told_of() {
    let node = Node::new();
    node.host.inside(|| {
        let mut writer = node.writer();
        let wanted = wanted();
        make(&mut writer, &wanted);
        let mut monitor = Monitor::open(1 << 20).expect("a monitor");
        for (line, gone) in [
            ("ip route del 6.2.180.0/26", "route 6.2.180.0/26"),
            ("ip neigh del 6.2.136.3 dev vxlan.calico", "neighbour 6.2.136.3 dev vxlan.calico"),
            ("ip addr del 6.2.137.65/32 dev vxlan.calico", "address 6.2.137.65/32 dev vxlan.calico"),
            ("ip link del vxlan.calico", "link vxlan.calico"),
        ] {
            run(line);
            let events = monitor.read().expect("nothing is lost");
            let told =
                events.iter().any(|event| matches!(event, Event::Gone(key) if key.to_string() == gone));
            assert!(told, "{line}: {events:?}");
        }
        make(&mut writer, &wanted);
        let events = monitor.read().expect("nothing is lost");
        let key = Key::Link(LinkKey { netns: Netns::Host, name: IfName::fixed("vxlan.calico") });
        let mtus: Vec<Option<Mtu>> = events
            .iter()
            .filter_map(|event| match event {
                Event::Put(put, Value::Link(link)) if *put == key => Some(link.mtu),
                _ => None,
            })
            .collect();
        assert!(mtus.contains(&Some(Mtu(1450))), "{events:?}");
    });
}

#[test]
fn f36_lost_notifications_are_said_and_a_dump_tells_the_rest() {
    let node = Node::new();
    node.host.inside(|| {
        let mut monitor = Monitor::open(4096).expect("a monitor");
        run("for i in $(seq 0 200); do echo route add 10.7.$i.0/24 dev ens192; done | ip -batch -");
        assert!(matches!(monitor.read(), Err(MonitorError::Overrun)));
        let mut writer = node.writer();
        let found = writer.dump(Netns::Host, &[]).expect("it is open").expect("the kernel answers");
        let routes = found.keys().filter(|key| key.to_string().starts_with("route 10.7.")).count();
        assert_eq!(routes, 201);
        run("ip route del 10.7.3.0/24");
        let events = monitor.read().expect("it goes on after a loss");
        assert!(
            events
                .iter()
                .any(|event| matches!(event, Event::Gone(key) if key.to_string() == "route 10.7.3.0/24"))
        );
    });
}

#[test]
fn s36_only_a_pods_namespace_is_taken_for_one() {
    let node = Node::new();
    let refused = |path: &Path| netlink::Netns::open(path).expect_err("not a pod's namespace").to_string();
    let fifo = std::env::temp_dir().join(format!("tortie-fifo-{}", std::process::id()));
    let link = fifo.with_extension("link");
    run(&format!("mkfifo {} && ln -s {} {}", fifo.display(), node.pod.path().display(), link.display()));
    assert!(refused(Path::new("/proc/self/ns/net")).contains("the node's own network namespace"));
    assert!(refused(Path::new("/proc/self/ns/mnt")).contains("is not a network namespace"));
    assert!(refused(Path::new("/etc/hostname")).contains("is not a network namespace"));
    assert!(refused(&fifo).contains("is not a network namespace"));
    assert!(refused(&link).contains("is not a network namespace"));
    assert!(refused(Path::new("/nowhere")).contains("No such file"));
    std::fs::remove_file(fifo).expect("it was made above");
    std::fs::remove_file(link).expect("it was made above");
}

fn run(line: &str) {
    let status = std::process::Command::new("sh").args(["-c", line]).status().expect("sh is there");
    assert!(status.success(), "{line}");
}
