//! Laws of `diff` and `plan`, over small worlds in which everything collides.

use kernel::addr::AddrScope;
use kernel::route::{PROTO_BOOT, PROTO_CALICO, TABLE_MAIN};
use kernel::{
    AddrKey, AddrValue, Change, FdbKey, FdbValue, Key, LinkKey, LinkKind, LinkValue, NeighKey, NeighValue,
    Netns, Objects, PodNs, RouteKey, RouteKind, RouteScope, RouteValue, Step, SysctlKey, SysctlValue, Value,
    diff, ours, plan,
};
use model::{Cidr, IfAddr, IfName, Mac, Mtu, Vni};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::IpAddr;

fn netns() -> impl Strategy<Value = Netns> {
    prop_oneof![3 => Just(Netns::Host), 1 => Just(Netns::Pod(PodNs(1)))]
}

fn device() -> impl Strategy<Value = IfName> {
    prop::sample::select(vec!["vxlan.calico", "calia", "ens192"]).prop_map(IfName::fixed)
}

fn ip() -> impl Strategy<Value = IpAddr> {
    (1..4_u8).prop_map(|n| IpAddr::from([10, 0, 0, n]))
}

fn mac() -> impl Strategy<Value = Mac> {
    (0..3_u8).prop_map(|n| Mac([0x66 | (n & 1), 0, 0, 0, 0, n]))
}

fn link() -> impl Strategy<Value = LinkValue> {
    let kind = prop_oneof![
        Just(LinkKind::Veth { peer: None }),
        (1..3_u32).prop_map(|vni| LinkKind::Vxlan {
            vni: Vni(vni),
            port: 4789,
            local: [10, 0, 0, 1].into(),
            device: IfName::fixed("ens192"),
        }),
        Just(LinkKind::Other("bridge".into())),
    ];
    (kind, any::<bool>(), 1..3_u32).prop_map(|(kind, up, mtu)| LinkValue {
        kind,
        mac: None,
        mtu: Some(Mtu(mtu)),
        up,
        alias: None,
    })
}

fn route() -> impl Strategy<Value = RouteValue> {
    let way = prop_oneof![
        Just((RouteKind::Blackhole, None, None)),
        (device(), prop::option::of(ip())).prop_map(|(device, gateway)| (
            RouteKind::Unicast,
            Some(device),
            gateway
        )),
    ];
    (way, prop::sample::select(vec![PROTO_CALICO, PROTO_BOOT])).prop_map(
        |((kind, device, gateway), protocol)| {
            let scope =
                if gateway.is_some() || device.is_none() { RouteScope::Universe } else { RouteScope::Link };
            RouteValue {
                kind,
                gateway,
                device,
                scope,
                onlink: gateway.is_some(),
                protocol,
                source: None,
                mtu: None,
                also: Vec::new(),
            }
        },
    )
}

fn object() -> impl Strategy<Value = (Key, Value)> {
    prop_oneof![
        (netns(), device(), link()).prop_map(|(netns, name, link)| (
            Key::Link(LinkKey { netns, name }),
            Value::Link(Box::new(link))
        )),
        (netns(), device(), ip()).prop_map(|(netns, device, ip)| {
            let addr = IfAddr::new(ip, 32).expect("32 fits IPv4");
            (Key::Addr(AddrKey { netns, device, addr }), Value::Addr(AddrValue { scope: AddrScope::Global }))
        }),
        (netns(), device(), 0..2_u8).prop_map(|(netns, device, n)| {
            let key = SysctlKey { netns, path: format!("net/ipv4/conf/{device}/rp_filter") };
            (Key::Sysctl(key), Value::Sysctl(SysctlValue(n.to_string())))
        }),
        (netns(), device(), ip(), mac(), any::<bool>()).prop_map(|(netns, device, addr, mac, permanent)| {
            (Key::Neigh(NeighKey { netns, device, addr }), Value::Neigh(NeighValue { mac, permanent }))
        }),
        (netns(), device(), mac(), ip(), any::<bool>()).prop_map(|(netns, device, mac, dst, permanent)| {
            (Key::Fdb(FdbKey { netns, device, mac }), Value::Fdb(FdbValue { dst, permanent }))
        }),
        (netns(), ip(), route()).prop_map(|(netns, ip, route)| {
            let key = RouteKey { netns, table: TABLE_MAIN, dst: Cidr::host(ip), priority: 0 };
            (Key::Route(key), Value::Route(route))
        }),
    ]
}

fn objects() -> impl Strategy<Value = Objects> {
    prop::collection::vec(object(), 0..24).prop_map(Objects::from_iter)
}

/// A kernel that does what it is told.
fn apply(actual: &Objects, steps: &[Step]) -> Objects {
    let mut objects = actual.clone();
    for step in steps {
        match step {
            Step::Create(key, value) => {
                assert!(objects.insert(key.clone(), value.clone()).is_none(), "{key} is made where one is");
            }
            Step::Replace { key, to, .. } => {
                assert!(objects.insert(key.clone(), to.clone()).is_some(), "{key} is replaced where none is");
            }
            Step::Up(netns, name) => {
                let key = Key::Link(LinkKey { netns: *netns, name: name.clone() });
                let Some(Value::Link(link)) = objects.get_mut(&key) else {
                    panic!("{key} is set up where none is")
                };
                link.up = true;
            }
            Step::Remove(key, _) => drop(objects.remove(key)),
        }
    }
    objects
}

fn changes(desired: &Objects, actual: &Objects) -> Vec<Change> {
    diff(desired, actual, &BTreeSet::new(), ours)
}

/// Whether a step for `later` needs what a step for `earlier` makes.
fn needs(later: &Key, value: &Value, earlier: &Key) -> bool {
    let on = |netns: Netns, device: &IfName| matches!(earlier, Key::Link(link) if link.netns == netns && link.name == *device);
    match (later, value) {
        (Key::Addr(key), _) => on(key.netns, &key.device),
        (Key::Neigh(key), _) => on(key.netns, &key.device),
        (Key::Fdb(key), _) => on(key.netns, &key.device),
        (Key::Sysctl(key), _) => {
            matches!(earlier, Key::Link(link) if link.netns == key.netns && key.path.contains(link.name.as_str()))
        }
        (Key::Route(key), Value::Route(route)) => {
            route.device.as_ref().is_some_and(|device| on(key.netns, device))
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn nothing_differs_from_itself(objects in objects()) {
        prop_assert_eq!(changes(&objects, &objects), vec![]);
    }

    #[test]
    fn when_the_changes_are_carried_out_only_conflicts_are_left(desired in objects(), actual in objects()) {
        let after = apply(&actual, &plan(changes(&desired, &actual)));
        for change in changes(&desired, &after) {
            let conflict = matches!(change, Change::Conflict { .. });
            prop_assert!(conflict, "{:?}", change);
        }
    }

    #[test]
    fn what_is_not_ours_is_never_touched(desired in objects(), actual in objects()) {
        let after = apply(&actual, &plan(changes(&desired, &actual)));
        for (key, value) in actual.iter().filter(|(key, value)| !ours(key, value)) {
            prop_assert_eq!(after.get(key), Some(value));
        }
    }

    #[test]
    fn what_is_pending_is_left_alone(desired in objects(), actual in objects()) {
        let pending: BTreeSet<Key> = desired.keys().step_by(2).cloned().collect();
        let with = diff(&desired, &actual, &pending, ours);
        let without: Vec<Change> =
            changes(&desired, &actual).into_iter().filter(|change| !pending.contains(change.key())).collect();
        prop_assert_eq!(with, without);
    }

    #[test]
    fn nothing_needs_what_is_made_later(desired in objects(), actual in objects()) {
        let steps = plan(changes(&desired, &actual));
        for (at, step) in steps.iter().enumerate() {
            let (Step::Create(key, value) | Step::Replace { key, to: value, .. }) = step else { continue };
            for later in &steps[at + 1..] {
                if let Step::Create(made, _) | Step::Replace { key: made, .. } = later {
                    prop_assert!(!needs(key, value, made), "{} needs {}, which is made later", key, made);
                }
            }
        }
    }

    #[test]
    fn what_hangs_on_an_interface_goes_before_it_and_after_everything_is_made(
        desired in objects(),
        actual in objects(),
    ) {
        let steps = plan(changes(&desired, &actual));
        let first_removal = steps.iter().position(|step| matches!(step, Step::Remove(..)));
        if let Some(first) = first_removal {
            prop_assert!(steps[first..].iter().all(|step| matches!(step, Step::Remove(..))));
        }
        for (at, step) in steps.iter().enumerate() {
            let Step::Remove(key, _) = step else { continue };
            for later in &steps[at + 1..] {
                let Step::Remove(other, value) = later else { continue };
                prop_assert!(!needs(other, value, key), "{} goes before {}, which hangs on it", key, other);
            }
        }
    }

    #[test]
    fn an_interface_comes_up_after_its_settings_and_before_its_routes(desired in objects(), actual in objects()) {
        let steps = plan(changes(&desired, &actual));
        for (at, step) in steps.iter().enumerate() {
            let Step::Up(netns, name) = step else { continue };
            let link = Key::Link(LinkKey { netns: *netns, name: name.clone() });
            for (other, place) in steps.iter().zip(0..) {
                let (Step::Create(key, value) | Step::Replace { key, to: value, .. }) = other else { continue };
                if !needs(key, value, &link) {
                    continue;
                }
                match key {
                    Key::Sysctl(_) | Key::Addr(_) => prop_assert!(place < at, "{} comes after the interface is up", key),
                    Key::Route(_) => prop_assert!(place > at, "{} comes before the interface is up", key),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn a_plan_has_at_most_one_object_step_for_a_key(desired in objects(), actual in objects()) {
        let steps = plan(changes(&desired, &actual));
        let keys: Vec<&Key> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Create(key, _) | Step::Replace { key, .. } | Step::Remove(key, _) => Some(key),
                Step::Up(..) => None,
            })
            .collect();
        let distinct: BTreeSet<&Key> = keys.iter().copied().collect();
        prop_assert_eq!(keys.len(), distinct.len());
    }
}
