//! What somebody else changes or has in the way.

use crate::rig::Rig;
use crate::{add, direct};
use model::Duration;
use model::store::{Kind, Object, Request as Ask};
use model::v3::EncapMode;
use node::Input;

#[test]
fn f40_what_somebody_removes_is_put_back_and_said() {
    let mut rig = direct();
    let addr = add(&mut rig, "c1", "a");
    let host = model::names::host_interface("default", "a");
    for what in
        [format!("route {addr}/32"), format!("neighbour {addr} dev {host}"), "nftables inet calico".into()]
    {
        let before = rig.listing();
        rig.reports.clear();
        rig.meddle(&what);
        assert_eq!(rig.listing(), before, "{what}");
        assert!(
            rig.reports.iter().any(|text| text.contains(&format!("restored {what}"))),
            "{what}: {:?}",
            rig.reports
        );
    }
    assert_eq!(rig.node.status().repairs.len(), 3);
}

#[test]
fn f40_a_pods_interface_that_somebody_removes_is_made_anew_with_all_that_hung_on_it() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    let before = rig.listing();
    let host = model::names::host_interface("default", "a");
    rig.meddle(&format!("link {host}"));
    assert_eq!(rig.listing(), before);
}

#[test]
fn f40_a_setting_that_somebody_flips_is_restored_and_those_of_others_are_not_looked_at() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    let host = model::names::host_interface("default", "a");
    rig.steps.clear();
    let put = |device: &str| {
        let path = format!("net/ipv4/conf/{device}/forwarding");
        let key = kernel::Key::Sysctl(kernel::SysctlKey { netns: kernel::Netns::Host, path });
        node::Notice::Put(key, kernel::Value::Sysctl(kernel::SysctlValue("0".into())))
    };
    rig.node.handle(rig.now, Input::Noticed(vec![put(host.as_str()), put("ens9")]));
    rig.settle();
    let restored = format!("restored sysctl ipv4.conf.{host}.forwarding");
    assert!(rig.reports.iter().any(|text| text.contains(&restored)), "{:?}", rig.reports);
    assert_eq!(rig.steps.len(), 1, "{:?}", rig.steps);
}

#[test]
fn the_kernel_is_read_again_as_often_as_felix_configuration_says() {
    let mut rig = direct();
    let next = |rig: &Rig| match rig.node.poll_timeout() {
        Some((at, node::Reason::Refresh)) => Some(at.since(rig.now)),
        _ => None,
    };
    assert_eq!(next(&rig), Some(Duration::from_secs(90)));
    for (interval, expected) in [("10s", Some(10)), ("0s", None), ("1ms", Some(1)), ("2m", Some(120))] {
        let spec =
            serde_json::json!({"metadata": {"name": "default"}, "spec": {"routeRefreshInterval": interval}});
        let felix: model::v3::FelixConfiguration = serde_json::from_value(spec).expect("a configuration");
        rig.node.handle(rig.now, Input::Api(model::store::Event::Put(felix.into())));
        rig.settle();
        assert_eq!(next(&rig), expected.map(Duration::from_secs), "{interval}");
    }
}

#[test]
fn an_object_of_somebody_else_is_reported_and_left_alone() {
    let mut rig = direct();
    let addr = add(&mut rig, "c1", "a");
    let key = rig.kernel.keys().find(|key| key.to_string() == format!("route {addr}/32")).cloned().unwrap();
    let Some(kernel::Value::Route(mut route)) = rig.kernel.get(&key).cloned() else { panic!("a route") };
    route.protocol = kernel::route::PROTO_BOOT;
    route.device = Some(model::IfName::fixed("ens192"));
    rig.kernel.insert(key.clone(), kernel::Value::Route(route.clone()));
    rig.restart();
    assert_eq!(rig.kernel.get(&key), Some(&kernel::Value::Route(route)));
    assert!(rig.node.status().problems.iter().any(|text| text.contains("is somebody else's")));
}

#[test]
fn a_stand_in_that_somebody_removes_is_back_with_its_filters_and_routes() {
    let mut rig = Rig::new(EncapMode::Always);
    let Some(Object::IpPool(mut pool)) = rig.get(Kind::IpPool, "pool") else { panic!("the pool is there") };
    (pool.spec.ipip_mode, pool.spec.vxlan_mode) = (EncapMode::Always, EncapMode::Never);
    rig.api.apply(&Ask::Update(pool.into())).unwrap();
    rig.settle();
    let before = rig.listing();
    assert!(before.iter().any(|line| line.starts_with("filter dev tunl0 egress")), "{before:#?}");
    rig.meddle("link tunl0");
    assert_eq!(rig.listing(), before);
    assert!(rig.reports.iter().any(|text| text.contains("restored link tunl0")), "{:?}", rig.reports);
}

#[test]
fn a_tunnel_device_that_somebody_removes_is_back_with_its_address_and_routes() {
    let mut rig = Rig::new(EncapMode::Always);
    let before = rig.listing();
    rig.meddle("link vxlan.calico");
    assert_eq!(rig.listing(), before);
    assert!(rig.reports.iter().any(|text| text.contains("restored link vxlan.calico")), "{:?}", rig.reports);
}

#[test]
fn a_running_pod_keeps_its_address_when_the_kernel_refuses_to_restore_its_interface() {
    let mut rig = direct();
    let addr = add(&mut rig, "c1", "a");
    let host = model::names::host_interface("default", "a");
    rig.refused.insert(format!("link {host}"));
    rig.meddle(&format!("link {host}"));
    rig.pass(Duration::from_secs(5));
    assert_eq!((rig.files.len(), rig.in_use()), (1, 1));
    rig.refused.clear();
    rig.pass(Duration::from_secs(60));
    assert!(rig.listing().contains(&format!("route {addr}/32")), "{:#?}", rig.listing());
}

#[test]
fn a_refused_object_that_turns_out_to_be_somebody_elses_keeps_nobody_awake() {
    let mut rig = direct();
    let addr = add(&mut rig, "c1", "a");
    let what = format!("route {addr}/32");
    rig.refused.insert(what.clone());
    rig.meddle(&what);
    rig.put_foreign_route(addr);
    rig.pass(Duration::from_secs(300));
    assert!(rig.node.poll_timeout().is_some_and(|(at, _)| at > rig.now), "{:?}", rig.node.poll_timeout());
    assert!(rig.node.status().problems.iter().any(|text| text.contains("is somebody else's")));
}
