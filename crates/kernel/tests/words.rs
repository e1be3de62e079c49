//! Objects in words, and whose they are: a row an object.

use kernel::addr::AddrScope;
use kernel::route::{PROTO_BOOT, PROTO_CALICO, PROTO_KERNEL, TABLE_MAIN};
use kernel::{
    AddrKey, AddrValue, FdbKey, FdbValue, Key, LinkKey, LinkKind, LinkValue, NeighKey, NeighValue, Netns,
    PodNs, RouteKey, RouteKind, RouteScope, RouteValue, SysctlKey, SysctlValue, Value, VethPeer, ours,
};
use model::{IfName, Mac, Mtu, Vni};

fn link(name: &str, kind: LinkKind) -> (Key, Value) {
    let value =
        LinkValue { kind, mac: Some(Mac::WORKLOAD_HOST), mtu: Some(Mtu(1450)), up: true, alias: None };
    (Key::Link(LinkKey { netns: Netns::Host, name: IfName::fixed(name) }), Value::Link(Box::new(value)))
}

fn vxlan() -> LinkKind {
    LinkKind::Vxlan {
        vni: Vni(4096),
        port: 4789,
        local: [192, 168, 50, 161].into(),
        device: IfName::fixed("ens192"),
    }
}

fn veth() -> LinkKind {
    let key = LinkKey { netns: Netns::Pod(PodNs(3)), name: IfName::fixed("eth0") };
    LinkKind::Veth { peer: Some(VethPeer { key, mac: None, mtu: None }) }
}

fn addr(device: &str, text: &str) -> (Key, Value) {
    let key = AddrKey {
        netns: Netns::Host,
        device: IfName::fixed(device),
        addr: text.parse().expect("a test writes it well"),
    };
    (Key::Addr(key), Value::Addr(AddrValue { scope: AddrScope::Global }))
}

fn neigh(device: &str, mac: &str, permanent: bool) -> (Key, Value) {
    let key = NeighKey { netns: Netns::Host, device: IfName::fixed(device), addr: [6, 2, 180, 1].into() };
    (
        Key::Neigh(key),
        Value::Neigh(NeighValue { mac: mac.parse().expect("a test writes it well"), permanent }),
    )
}

fn fdb(device: &str, mac: &str, permanent: bool) -> (Key, Value) {
    let key = FdbKey {
        netns: Netns::Host,
        device: IfName::fixed(device),
        mac: mac.parse().expect("a test writes it well"),
    };
    (Key::Fdb(key), Value::Fdb(FdbValue { dst: [192, 168, 50, 162].into(), permanent }))
}

fn route(dst: &str, gateway: Option<[u8; 4]>, device: Option<&str>, protocol: u8) -> (Key, Value) {
    let key = RouteKey {
        netns: Netns::Host,
        table: TABLE_MAIN,
        dst: dst.parse().expect("a test writes it well"),
        priority: 0,
    };
    let scope = if gateway.is_none() && device.is_some() { RouteScope::Link } else { RouteScope::Universe };
    let value = RouteValue {
        kind: if device.is_some() { RouteKind::Unicast } else { RouteKind::Blackhole },
        gateway: gateway.map(Into::into),
        device: device.map(IfName::fixed),
        scope,
        onlink: gateway.is_some(),
        protocol,
        source: None,
        mtu: gateway.map(|_| Mtu(1450)),
        also: Vec::new(),
    };
    (Key::Route(key), Value::Route(value))
}

const OURS: bool = true;
const NOT_OURS: bool = false;

#[test]
fn every_kind_in_words_and_whose_it_is() {
    let setting = |path: &str| {
        let key = SysctlKey { netns: Netns::Pod(PodNs(3)), path: path.into() };
        (Key::Sysctl(key), Value::Sysctl(SysctlValue("1".into())))
    };
    let rows = [
        (
            link("vxlan.calico", vxlan()),
            "link vxlan.calico vxlan id 4096 local 192.168.50.161 dev ens192 dstport 4789 nolearning address ee:ee:ee:ee:ee:ee mtu 1450 up",
            OURS,
        ),
        (
            link("vxlan.calico", LinkKind::Other("vxlan".into())),
            "link vxlan.calico vxlan address ee:ee:ee:ee:ee:ee mtu 1450 up",
            OURS,
        ),
        (
            link("vxlan.calico", LinkKind::Other("bridge".into())),
            "link vxlan.calico bridge address ee:ee:ee:ee:ee:ee mtu 1450 up",
            NOT_OURS,
        ),
        (
            link("flannel.1", LinkKind::Other("vxlan".into())),
            "link flannel.1 vxlan address ee:ee:ee:ee:ee:ee mtu 1450 up",
            NOT_OURS,
        ),
        (
            link("calia", veth()),
            "link calia veth peer netns 3: eth0 address ee:ee:ee:ee:ee:ee mtu 1450 up",
            OURS,
        ),
        (
            link("vetha", veth()),
            "link vetha veth peer netns 3: eth0 address ee:ee:ee:ee:ee:ee mtu 1450 up",
            NOT_OURS,
        ),
        (addr("vxlan.calico", "6.2.137.65/32"), "address 6.2.137.65/32 dev vxlan.calico scope global", OURS),
        (addr("vxlan.calico", "fe80::1/64"), "address fe80::1/64 dev vxlan.calico scope global", NOT_OURS),
        (addr("ens192", "192.168.50.161/24"), "address 192.168.50.161/24 dev ens192 scope global", NOT_OURS),
        (
            neigh("vxlan.calico", "66:f9:37:c3:7e:94", true),
            "neighbour 6.2.180.1 dev vxlan.calico lladdr 66:f9:37:c3:7e:94 permanent",
            OURS,
        ),
        (
            neigh("vxlan.calico", "66:f9:37:c3:7e:94", false),
            "neighbour 6.2.180.1 dev vxlan.calico lladdr 66:f9:37:c3:7e:94",
            NOT_OURS,
        ),
        (
            neigh("ens192", "66:f9:37:c3:7e:94", true),
            "neighbour 6.2.180.1 dev ens192 lladdr 66:f9:37:c3:7e:94 permanent",
            NOT_OURS,
        ),
        (
            fdb("vxlan.calico", "66:f9:37:c3:7e:94", true),
            "fdb 66:f9:37:c3:7e:94 dev vxlan.calico dst 192.168.50.162 self permanent",
            OURS,
        ),
        (
            fdb("vxlan.calico", "33:33:00:00:00:01", true),
            "fdb 33:33:00:00:00:01 dev vxlan.calico dst 192.168.50.162 self permanent",
            NOT_OURS,
        ),
        (
            route("6.2.180.0/26", Some([6, 2, 180, 1]), Some("vxlan.calico"), PROTO_CALICO),
            "route 6.2.180.0/26 via 6.2.180.1 dev vxlan.calico onlink proto 80 mtu 1450",
            OURS,
        ),
        // What Calico left.
        (
            route("6.2.180.0/26", Some([6, 2, 180, 1]), Some("vxlan.calico"), PROTO_BOOT),
            "route 6.2.180.0/26 via 6.2.180.1 dev vxlan.calico onlink proto 3 mtu 1450",
            OURS,
        ),
        (
            route("6.2.137.67/32", None, Some("calia"), PROTO_BOOT),
            "route 6.2.137.67/32 dev calia scope link proto 3",
            OURS,
        ),
        (
            route("6.2.137.0/26", None, Some("calia"), PROTO_KERNEL),
            "route 6.2.137.0/26 dev calia scope link proto 2",
            NOT_OURS,
        ),
        (route("6.2.137.64/26", None, None, PROTO_CALICO), "route 6.2.137.64/26 blackhole proto 80", OURS),
        (
            route("10.0.0.0/8", Some([192, 168, 50, 1]), Some("ens192"), PROTO_BOOT),
            "route 10.0.0.0/8 via 192.168.50.1 dev ens192 onlink proto 3 mtu 1450",
            NOT_OURS,
        ),
        (setting("net/ipv4/ip_forward"), "netns 3: sysctl ipv4.ip_forward = 1", OURS),
    ];
    for ((key, value), words, whose) in rows {
        assert_eq!(format!("{key} {value}"), words);
        assert_eq!(ours(&key, &value), whose, "{words}");
    }
}

#[test]
fn a_route_outside_the_main_table_says_so() {
    let key = RouteKey {
        netns: Netns::Host,
        table: 1000,
        dst: "10.0.0.0/8".parse().expect("a test writes it well"),
        priority: 5,
    };
    assert_eq!(Key::Route(key).to_string(), "route 10.0.0.0/8 table 1000 metric 5");
}
