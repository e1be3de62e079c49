//! What the writer relies on of a kernel, as cases that `FakeKernel` and a real one both pass
//! (`tests/kernel/tests/fake.rs`): what is refused, with which number, and what goes together with what.

use kernel::addr::AddrScope;
use kernel::route::{PROTO_CALICO, TABLE_MAIN};
use kernel::{
    AddrKey, AddrValue, ApplyError, FdbKey, FdbValue, Key, LinkKey, LinkKind, LinkValue, NeighKey,
    NeighValue, Netns, PodNs, RouteKey, RouteKind, RouteScope, RouteValue, Step, SysctlKey, SysctlValue,
    Value, VethPeer,
};
use model::{IfName, Mac, Vni};

/// A node's kernel with an uplink [`UPLINK`] of [`ADDRESS`], and the open namespace of a pod, [`POD`].
pub trait Kernel {
    /// One message of the writer.
    fn apply(&mut self, step: &Step) -> Result<(), ApplyError>;
    /// What there is under a key.
    fn found(&mut self, key: &Key) -> Option<Value>;
}

/// A case panics if it does not hold. Each wants a kernel that has just come up.
pub type Case = fn(&mut dyn Kernel);

pub const UPLINK: &str = "eth0";
pub const ADDRESS: &str = "192.168.10.1/24";
pub const POD: Netns = Netns::Pod(PodNs(1));

/// The cases, each named by what it says.
pub const CASES: [(&str, Case); 13] = [
    ("what is there is not made again", made_again),
    ("neighbours and forwarding entries take the place of what is there", given_way),
    ("what is gone is removed in peace", removed_again),
    ("nothing is put on an interface that is not there", without_device),
    ("no route leads over an interface that is down", down),
    ("a gateway must be connected, unless the route says that it is", gateway),
    ("with an interface goes what is on it", with_device),
    ("the ends of a pair come and go together", pair),
    ("an end of a pair is not made where its name is taken", taken),
    ("with its last address an interface loses its routes", last_address),
    ("a device of another number is made anew", anew),
    ("a setting is written over and over and stays", setting),
    ("a route is changed in its place", changed),
];

const EEXIST: i32 = 17;
const ENOENT: i32 = 2;
const ENODEV: i32 = 19;
const ENETDOWN: i32 = 100;
const ENETUNREACH: i32 = 101;

fn name(text: &str) -> IfName {
    IfName::fixed(text)
}

fn mac(text: &str) -> Mac {
    text.parse().expect("a MAC")
}

type Thing = (Key, Value);

fn link(netns: Netns, device: &str, kind: LinkKind) -> Thing {
    let value = LinkValue { kind, mac: None, mtu: None, up: false, alias: None };
    (Key::Link(LinkKey { netns, name: name(device) }), Value::Link(Box::new(value)))
}

/// The node's end of a pair whose other end is the pod's `eth0`.
fn veth(device: &str) -> Thing {
    let key = LinkKey { netns: POD, name: name("eth0") };
    link(Netns::Host, device, LinkKind::Veth { peer: Some(VethPeer { key, mac: None, mtu: None }) })
}

fn vxlan(vni: u32) -> Thing {
    let local = [192, 168, 10, 1].into();
    let kind = LinkKind::Vxlan { vni: Vni(vni), port: 4789, local, device: name(UPLINK) };
    link(Netns::Host, "vxlan.calico", kind)
}

fn addr(device: &str, text: &str) -> Thing {
    let addr = text.parse().expect("an address and a length");
    let key = AddrKey { netns: Netns::Host, device: name(device), addr };
    (Key::Addr(key), Value::Addr(AddrValue { scope: AddrScope::Global }))
}

fn neigh(device: &str) -> Thing {
    let key = NeighKey { netns: Netns::Host, device: name(device), addr: [10, 0, 0, 8].into() };
    (Key::Neigh(key), Value::Neigh(NeighValue { mac: mac("66:00:00:00:00:01"), permanent: true }))
}

fn fdb() -> Thing {
    let (netns, device) = (Netns::Host, name("vxlan.calico"));
    let key = FdbKey { netns, device, mac: mac("66:00:00:00:00:01") };
    (Key::Fdb(key), Value::Fdb(FdbValue { dst: [192, 168, 10, 2].into(), permanent: true }))
}

fn route(device: &str, gateway: Option<&str>, onlink: bool) -> Thing {
    let dst = "10.0.0.8/29".parse().expect("a CIDR");
    let key = RouteKey { netns: Netns::Host, table: TABLE_MAIN, dst, priority: 0 };
    let value = RouteValue {
        kind: RouteKind::Unicast,
        gateway: gateway.map(|text| text.parse().expect("an address")),
        device: Some(name(device)),
        scope: if gateway.is_some() { RouteScope::Universe } else { RouteScope::Link },
        onlink,
        protocol: PROTO_CALICO,
        source: None,
        mtu: None,
        also: Vec::new(),
    };
    (Key::Route(key), Value::Route(value))
}

fn sysctl(path: &str) -> Thing {
    let key = SysctlKey { netns: Netns::Host, path: path.to_owned() };
    (Key::Sysctl(key), Value::Sysctl(SysctlValue("2".to_owned())))
}

fn create((key, value): &Thing) -> Step {
    Step::Create(key.clone(), value.clone())
}

fn remove((key, value): &Thing) -> Step {
    Step::Remove(key.clone(), value.clone())
}

fn replace(from: &Thing, to: &Thing) -> Step {
    Step::Replace { key: from.0.clone(), from: from.1.clone(), to: to.1.clone() }
}

fn done(kernel: &mut dyn Kernel, step: Step) {
    assert_eq!(kernel.apply(&step), Ok(()), "{step:?}");
}

fn refused(kernel: &mut dyn Kernel, step: Step, errno: i32) {
    let answer = kernel.apply(&step).map_err(|error| error.errno);
    assert_eq!(answer, Err(errno), "{step:?}");
}

/// Makes a thing; an interface is up afterwards.
fn make(kernel: &mut dyn Kernel, thing: &Thing) {
    done(kernel, create(thing));
    if let Key::Link(link) = &thing.0 {
        done(kernel, Step::Up(link.netns, link.name.clone()));
    }
}

fn is_there(kernel: &mut dyn Kernel, thing: &Thing) -> bool {
    kernel.found(&thing.0).is_some()
}

fn made_again(kernel: &mut dyn Kernel) {
    make(kernel, &vxlan(4096));
    let [on, way] = [addr("vxlan.calico", "10.0.0.1/32"), route("vxlan.calico", Some("10.0.0.8"), true)];
    for thing in [&on, &way] {
        make(kernel, thing);
    }
    for thing in [&vxlan(4096), &on, &way] {
        refused(kernel, create(thing), EEXIST);
    }
}

fn given_way(kernel: &mut dyn Kernel) {
    make(kernel, &vxlan(4096));
    for (key, value) in [neigh("vxlan.calico"), fdb()] {
        make(kernel, &(key.clone(), value.clone()));
        let other = match value.clone() {
            Value::Neigh(neigh) => Value::Neigh(NeighValue { mac: mac("66:00:00:00:00:02"), ..neigh }),
            Value::Fdb(fdb) => Value::Fdb(FdbValue { dst: [192, 168, 10, 3].into(), ..fdb }),
            other => other,
        };
        done(kernel, Step::Create(key.clone(), other.clone()));
        assert_eq!(kernel.found(&key), Some(other));
    }
}

fn removed_again(kernel: &mut dyn Kernel) {
    make(kernel, &vxlan(4096));
    let things = [
        addr("vxlan.calico", "10.0.0.1/32"),
        neigh("vxlan.calico"),
        fdb(),
        route("vxlan.calico", None, false),
    ];
    for thing in things.iter().chain(&[vxlan(4096)]) {
        if !matches!(thing.0, Key::Link(_)) {
            make(kernel, thing);
        }
        done(kernel, remove(thing));
        assert!(!is_there(kernel, thing), "{thing:?}");
        done(kernel, remove(thing));
    }
}

fn without_device(kernel: &mut dyn Kernel) {
    let on = "vxlan.calico";
    for thing in [addr(on, "10.0.0.1/32"), neigh(on), fdb(), route(on, Some("10.0.0.8"), true)] {
        refused(kernel, create(&thing), ENODEV);
    }
    refused(kernel, create(&sysctl("net/ipv4/conf/vxlan.calico/rp_filter")), ENOENT);
    refused(kernel, Step::Up(Netns::Host, name(on)), ENODEV);
}

fn down(kernel: &mut dyn Kernel) {
    done(kernel, create(&vxlan(4096)));
    refused(kernel, create(&route("vxlan.calico", Some("10.0.0.8"), true)), ENETDOWN);
    done(kernel, Step::Up(Netns::Host, name("vxlan.calico")));
    done(kernel, create(&route("vxlan.calico", Some("10.0.0.8"), true)));
}

fn gateway(kernel: &mut dyn Kernel) {
    refused(kernel, create(&route(UPLINK, Some("172.16.0.1"), false)), ENETUNREACH);
    let near = route(UPLINK, Some("192.168.10.2"), false);
    done(kernel, create(&near));
    done(kernel, remove(&near));
    done(kernel, create(&route(UPLINK, Some("172.16.0.1"), true)));
}

fn with_device(kernel: &mut dyn Kernel) {
    make(kernel, &vxlan(4096));
    let on = "vxlan.calico";
    let things = [addr(on, "10.0.0.1/32"), neigh(on), fdb(), route(on, Some("10.0.0.8"), true)];
    things.iter().for_each(|thing| make(kernel, thing));
    done(kernel, remove(&vxlan(4096)));
    for thing in &things {
        assert!(!is_there(kernel, thing), "{thing:?}");
    }
}

fn pair(kernel: &mut dyn Kernel) {
    let far = link(POD, "eth0", LinkKind::Veth { peer: None });
    refused(kernel, create(&far), ENODEV);
    let near = veth("cali1");
    done(kernel, create(&near));
    assert!(is_there(kernel, &far));
    done(kernel, create(&far));
    done(kernel, remove(&near));
    assert!(!is_there(kernel, &near) && !is_there(kernel, &far));
}

fn taken(kernel: &mut dyn Kernel) {
    done(kernel, create(&veth("cali1")));
    refused(kernel, create(&veth("cali2")), EEXIST);
    assert!(!is_there(kernel, &veth("cali2")));
}

fn last_address(kernel: &mut dyn Kernel) {
    make(kernel, &vxlan(4096));
    let [one, other] = ["10.0.0.1/32", "10.0.0.2/32"].map(|text| addr("vxlan.calico", text));
    let way = route("vxlan.calico", Some("10.0.0.8"), true);
    [&one, &other, &way].into_iter().for_each(|thing| make(kernel, thing));
    done(kernel, remove(&one));
    assert!(is_there(kernel, &way), "one address is left");
    done(kernel, remove(&other));
    assert!(!is_there(kernel, &way), "no address is left");
}

fn anew(kernel: &mut dyn Kernel) {
    make(kernel, &vxlan(4096));
    make(kernel, &fdb());
    done(kernel, replace(&vxlan(4096), &vxlan(4097)));
    assert!(!is_there(kernel, &fdb()), "it was on the device before");
    match kernel.found(&vxlan(4097).0) {
        Some(Value::Link(found)) => {
            assert!(matches!(found.kind, LinkKind::Vxlan { vni: Vni(4097), .. }), "{found:?}");
            assert!(!found.up, "{found:?}");
        }
        other => panic!("{other:?}"),
    }
}

fn setting(kernel: &mut dyn Kernel) {
    let strict = sysctl(&format!("net/ipv4/conf/{UPLINK}/rp_filter"));
    for _ in 0..2 {
        done(kernel, create(&strict));
    }
    done(kernel, remove(&strict));
    assert_eq!(kernel.found(&strict.0), Some(strict.1));
}

fn changed(kernel: &mut dyn Kernel) {
    make(kernel, &vxlan(4096));
    let (tunnelled, direct) =
        (route("vxlan.calico", Some("10.0.0.8"), true), route(UPLINK, Some("192.168.10.2"), false));
    done(kernel, create(&tunnelled));
    done(kernel, replace(&tunnelled, &direct));
    assert_eq!(kernel.found(&direct.0), Some(direct.1));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::machines::FakeKernel;

    struct Fake(FakeKernel);

    impl Kernel for Fake {
        fn apply(&mut self, step: &Step) -> Result<(), ApplyError> {
            self.0.apply(step)
        }

        fn found(&mut self, key: &Key) -> Option<Value> {
            let settings: Vec<String> = match key {
                Key::Sysctl(key) => vec![key.path.clone()],
                _ => Vec::new(),
            };
            self.0.dump(key.netns(), &settings).expect("it is open").remove(key)
        }
    }

    #[test]
    fn the_fake_passes_every_case() {
        for (name, case) in CASES {
            println!("{name}");
            let router = [192, 168, 10, 254].into();
            let mut fake = FakeKernel::boot(ADDRESS.parse().expect("an address"), router, false);
            fake.make_space(PodNs(7));
            fake.open(PodNs(1), PodNs(7));
            case(&mut Fake(fake));
        }
    }
}
