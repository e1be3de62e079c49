//! One node against a fake API and kernel: what it promises of an attachment, of a restart and of repairs.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod rig;

use model::Duration;
use model::store::{Event, Kind, Object, Request as Ask};
use model::v3::EncapMode;
use node::cni::{Command, Reply, code};
use node::{CniId, Input};
use rig::Rig;

fn direct() -> Rig {
    let mut rig = Rig::new(EncapMode::Never);
    rig.create_pod("a");
    rig
}

fn add(rig: &mut Rig, container: &str, pod: &str) -> std::net::IpAddr {
    match rig.cni(Command::Add, container, pod) {
        Some(Reply::Added(added)) => added.addresses[0],
        other => panic!("ADD of {container}: {other:?}; {:#?}", rig.reports),
    }
}

fn failure(reply: Option<Reply>) -> (u32, String) {
    match reply {
        Some(Reply::Failed(failure)) => (failure.code, failure.msg),
        other => panic!("a failure, not {other:?}"),
    }
}

#[test]
fn nothing_is_written_before_everything_needed_was_listed() {
    let mut rig = direct();
    rig.node = node::Node::new(node::Config {
        node: "n1".into(),
        address: None,
        bgp: false,
        ipip: None,
        epoch_micros: 0,
    });
    rig.steps.clear();
    rig.node.handle(rig.now, Input::Started { attachments: vec![], boot_id: "boot-1".into() });
    rig.settle();
    rig.pass(Duration::from_secs(300));
    assert_eq!(rig.steps, Vec::<String>::new());
    let (code, text) = failure(rig.cni(Command::Add, "c1", "a"));
    assert_eq!(code, node::cni::code::TRY_AGAIN_LATER);
    assert_eq!(text, "the agent of node n1 has just started and waits for: Node, IpPool, IpamBlock, Pod");
    assert_eq!(failure(rig.cni(Command::Status, "", "")).0, node::cni::code::NOT_AVAILABLE);
}

#[test]
fn an_answered_add_means_addresses_routes_rules_and_file() {
    let mut rig = direct();
    let addr = add(&mut rig, "c1", "a");
    let listing = rig.listing();
    for wanted in
        [format!("route {addr}/32"), "nftables inet calico".into(), format!("neighbour {addr} dev cali7f")]
    {
        let wanted = wanted.trim_end_matches(" dev cali7f");
        assert!(listing.iter().any(|line| line.starts_with(wanted)), "{wanted}: {listing:#?}");
    }
    assert_eq!(rig.files.len(), 1);
    assert_eq!(rig.in_use(), 1);
    let Some(Object::Pod(pod)) = rig.get(Kind::Pod, "a") else { panic!("the pod is there") };
    assert_eq!(pod.metadata.annotations["cni.projectcalico.org/podIP"], format!("{addr}/32"));
    assert_eq!(pod.metadata.annotations["cni.projectcalico.org/containerID"], "c1");
}

#[test]
fn del_leaves_nothing_and_may_be_sent_again() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    for _ in 0..2 {
        assert_eq!(rig.cni(Command::Del, "c1", "a"), Some(Reply::Done));
        assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
        let leads = |line: &String| line.contains("10.0.0.") && !line.ends_with("/28");
        assert!(!rig.listing().iter().any(leads), "{:#?}", rig.listing());
    }
    rig.pass(Duration::from_secs(1));
    // The block stays with the node.
    assert_eq!(rig.listing(), ["nftables inet calico", "route 10.0.0.32/28"]);
}

#[test]
fn interfaces_of_pods_that_went_one_after_the_other_go_together() {
    let mut rig = direct();
    for n in 0..3 {
        rig.create_pod(&format!("p{n}"));
        add(&mut rig, &format!("c{n}"), &format!("p{n}"));
    }
    rig.steps.clear();
    for n in 0..3 {
        assert_eq!(rig.cni(Command::Del, &format!("c{n}"), &format!("p{n}")), Some(Reply::Done));
        rig.pass(Duration::from_millis(100));
    }
    let links = |rig: &Rig| rig.steps.iter().filter(|step| step.starts_with("- link")).count();
    assert_eq!(links(&rig), 0);
    rig.pass(Duration::from_millis(200));
    assert_eq!(links(&rig), 3, "the first one was due");
}

#[test]
fn a_sandbox_in_the_namespace_of_one_that_just_went_waits_until_its_interface_is_gone() {
    let mut rig = direct();
    rig.create_pod("b");
    rig.inode = Some(7);
    add(&mut rig, "c1", "a");
    assert_eq!(rig.cni(Command::Del, "c1", "a"), Some(Reply::Done));
    rig.steps.clear();
    add(&mut rig, "c2", "b");
    let place = |text: String| rig.steps.iter().position(|step| *step == text);
    let [old, new] = ["a", "b"].map(|pod| model::names::host_interface("default", pod));
    let (removed, made) = (place(format!("- link {old}")), place(format!("+ link {new}")));
    assert!(removed.is_some() && removed < made, "{:#?}", rig.steps);
}

#[test]
fn an_add_that_the_run_before_did_not_answer_is_undone() {
    let mut rig = direct();
    rig.api_is_up = false;
    assert_eq!(rig.cni(Command::Add, "c1", "a"), None);
    assert_eq!(rig.files.len(), 1);
    rig.api_is_up = true;
    rig.restart();
    rig.pass(Duration::from_secs(5));
    assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
    assert_eq!(rig.listing(), ["nftables inet calico"]);
}

#[test]
fn the_pair_is_made_while_the_api_thinks() {
    let mut rig = direct();
    rig.api_is_up = false;
    assert_eq!(rig.cni(Command::Add, "c1", "a"), None);
    let host = model::names::host_interface("default", "a");
    assert!(rig.steps.contains(&format!("+ link {host}")), "{:#?}", rig.steps);
    assert!(!rig.steps.iter().any(|step| step.contains("route 10.0.0.")), "{:#?}", rig.steps);
    rig.pass(Duration::from_secs(10));
    assert!(!rig.listing().contains(&format!("link {host}")), "{:#?}", rig.listing());
}

#[test]
fn f25_a_second_add_is_an_error_and_changes_nothing() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    rig.steps.clear();
    let (_, text) = failure(rig.cni(Command::Add, "c1", "a"));
    assert_eq!(text, "container c1 (eth0 of network net) is attached already: send DEL before another ADD");
    assert_eq!((rig.steps.len(), rig.in_use()), (0, 1));
}

#[test]
fn f26_an_add_that_the_kernel_refuses_is_undone_and_may_be_tried_again() {
    let mut rig = direct();
    let host = model::names::host_interface("default", "a");
    rig.refused.insert(format!("link {host}"));
    let (_, text) = failure(rig.cni(Command::Add, "c1", "a"));
    assert_eq!(text, format!("the kernel refuses link {host}: Invalid argument (errno 22)"));
    assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
    assert!(
        !rig.listing().iter().any(|line| line.contains("cali") && !line.contains("nft")),
        "{:#?}",
        rig.listing()
    );
    rig.refused.clear();
    add(&mut rig, "c1", "a");
}

#[test]
fn an_add_whose_client_went_away_is_undone() {
    let mut rig = direct();
    let id = rig.request(Command::Add, "c1", "a");
    rig.node.handle(rig.now, Input::CniGone(id));
    rig.settle();
    assert_eq!(rig.replies.get(&CniId(1)), None);
    assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
}

#[test]
fn a_restart_changes_nothing_in_the_kernel() {
    for mode in [EncapMode::Never, EncapMode::Always] {
        let mut rig = Rig::new(mode);
        rig.create_pod("a");
        add(&mut rig, "c1", "a");
        rig.restart();
        assert_eq!(rig.steps, Vec::<String>::new(), "{mode:?}");
        assert_eq!(rig.cni(Command::Del, "c1", "a"), Some(Reply::Done));
        assert_eq!(rig.in_use(), 0);
    }
}

#[test]
fn a_lost_file_is_made_anew_from_the_kernel() {
    let mut rig = direct();
    let addr = add(&mut rig, "c1", "a");
    let file = rig.files.values().next().unwrap().clone();
    rig.files.clear();
    rig.restart();
    assert_eq!(rig.steps, Vec::<String>::new());
    let again = rig.files.get(&file.id).expect("made anew");
    assert_eq!((again.addresses.clone(), again.pod_mac()), (vec![addr], file.pod_mac()));
}

#[test]
fn after_a_reboot_the_addresses_are_given_back() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    rig.kernel.retain(|key, _| !key.to_string().contains("cali"));
    rig.boot_id = "boot-2";
    rig.restart();
    assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
}

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
fn f32_a_del_while_the_api_is_away_is_answered_and_finished_later_even_by_another_process() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    rig.api_is_up = false;
    assert_eq!(rig.cni(Command::Del, "c1", "a"), None);
    rig.pass(Duration::from_secs(3));
    assert_eq!(rig.replies.values().last(), Some(&Reply::Done));
    assert!(rig.files.values().all(|file| file.deleted));
    rig.api_is_up = true;
    rig.restart();
    rig.pass(Duration::from_secs(60));
    assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
}

#[test]
fn f11_an_add_while_the_api_is_away_fails_clearly_and_leaves_nothing() {
    let mut rig = direct();
    rig.api_is_up = false;
    assert_eq!(rig.cni(Command::Add, "c1", "a"), None);
    rig.pass(Duration::from_secs(20));
    let (code, text) = failure(rig.replies.values().last().cloned());
    assert_eq!(code, code::TRY_AGAIN_LATER);
    assert!(text.starts_with("no address within 8 s: "), "{text}");
    rig.api_is_up = true;
    rig.pass(Duration::from_secs(60));
    assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
}

#[test]
fn a_late_del_of_an_old_sandbox_touches_nothing_of_the_new_one() {
    let mut rig = direct();
    let old = add(&mut rig, "c1", "a");
    let new = add(&mut rig, "c2", "a");
    assert_ne!(old, new, "the old sandbox still has its address");
    let before = rig.listing();
    assert_eq!(rig.cni(Command::Del, "c1", "a"), Some(Reply::Done));
    assert_eq!(rig.listing(), before);
    assert_eq!((rig.files.len(), rig.in_use()), (1, 1));
    let Some(Object::Pod(pod)) = rig.get(Kind::Pod, "a") else { panic!("the pod is there") };
    assert_eq!(pod.metadata.annotations["cni.projectcalico.org/podIP"], format!("{new}/32"));
}

#[test]
fn gc_removes_what_is_not_valid() {
    let mut rig = direct();
    rig.create_pod("b");
    add(&mut rig, "c1", "a");
    add(&mut rig, "c2", "b");
    let valid = rig.files.keys().filter(|id| id.container_id == "c2").cloned().collect();
    assert_eq!(rig.cni(Command::Gc { valid }, "", ""), Some(Reply::Done));
    assert_eq!((rig.files.len(), rig.in_use()), (1, 1));
}

#[test]
fn gc_waits_until_the_attachments_of_the_run_before_are_known() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    rig.node = node::Node::new(node::Config {
        node: "n1".into(),
        address: None,
        bgp: false,
        ipip: None,
        epoch_micros: 0,
    });
    let attachments = rig.files.values().cloned().collect();
    rig.node.handle(rig.now, Input::Started { attachments, boot_id: "boot-1".into() });
    assert_eq!(failure(rig.cni(Command::Gc { valid: vec![] }, "", "")).0, code::TRY_AGAIN_LATER);
    assert_eq!(rig.files.len(), 1);
}

#[test]
fn check_says_what_is_missing() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    // The rig numbers every request's namespace anew, and this one holds nothing.
    let (_, text) = failure(rig.cni(Command::Check { previous: Default::default() }, "c1", "a"));
    assert!(text.contains("is missing or changed"), "{text}");
    let (code, _) = failure(rig.cni(Command::Check { previous: Default::default() }, "c9", "a"));
    assert_eq!(code, code::UNKNOWN_CONTAINER);
}

#[test]
fn the_tunnel_comes_and_goes_with_the_pools_mode() {
    let mut rig = Rig::new(EncapMode::Always);
    let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
    let tunnel = own.metadata.annotations[model::k8s::annotation::IPV4_VXLAN_TUNNEL_ADDR].clone();
    assert!(rig.listing().contains(&format!("address {tunnel}/32 dev vxlan.calico")), "{:#?}", rig.listing());
    let Some(Object::IpPool(mut pool)) = rig.get(Kind::IpPool, "pool") else { panic!("the pool is there") };
    pool.spec.vxlan_mode = EncapMode::Never;
    rig.api.apply(&Ask::Update(pool.into())).unwrap();
    rig.settle();
    assert!(!rig.listing().iter().any(|line| line.contains("vxlan.calico")), "{:#?}", rig.listing());
    let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
    assert!(!own.metadata.annotations.contains_key(model::k8s::annotation::IPV4_VXLAN_TUNNEL_ADDR));
}

#[test]
fn a_tunnel_stays_while_a_process_uses_its_address_and_goes_within_a_second_after() {
    let mut rig = Rig::new(EncapMode::Always);
    let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
    let tunnel = own.metadata.annotations[model::k8s::annotation::IPV4_VXLAN_TUNNEL_ADDR].parse().unwrap();
    rig.used = [tunnel].into();
    let Some(Object::IpPool(mut pool)) = rig.get(Kind::IpPool, "pool") else { panic!("the pool is there") };
    pool.spec.vxlan_mode = EncapMode::Never;
    rig.api.apply(&Ask::Update(pool.into())).unwrap();
    rig.settle();
    rig.pass(Duration::from_secs(60));
    assert!(rig.listing().contains(&format!("address {tunnel}/32 dev vxlan.calico")), "{:#?}", rig.listing());
    let problems = rig.node.status().problems;
    assert!(problems.iter().any(|why| why.contains(&format!("uses its address {tunnel}"))), "{problems:?}");
    rig.used.clear();
    rig.pass(Duration::from_secs(2));
    assert!(!rig.listing().iter().any(|line| line.contains("vxlan.calico")), "{:#?}", rig.listing());
    assert_eq!(rig.node.status().problems, Vec::<String>::new());
}

#[test]
fn the_tunnel_follows_the_pool_from_vxlan_to_ipip_and_back() {
    let mut rig = Rig::new(EncapMode::Always);
    for (ipip, vxlan) in [(EncapMode::Always, EncapMode::Never), (EncapMode::Never, EncapMode::Always)] {
        let Some(Object::IpPool(mut pool)) = rig.get(Kind::IpPool, "pool") else {
            panic!("the pool is there")
        };
        (pool.spec.ipip_mode, pool.spec.vxlan_mode) = (ipip, vxlan);
        rig.api.apply(&Ask::Update(pool.into())).unwrap();
        rig.settle();
        let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
        let said = |name: &str| own.metadata.annotations.get(name).cloned();
        let by_ipip = said(model::k8s::annotation::IPV4_IPIP_TUNNEL_ADDR);
        let by_vxlan = said(model::k8s::annotation::IPV4_VXLAN_TUNNEL_ADDR);
        let (device, other, addr) = match (by_ipip, by_vxlan) {
            (Some(addr), None) if ipip == EncapMode::Always => ("tunl0", "vxlan.calico", addr),
            (None, Some(addr)) if vxlan == EncapMode::Always => ("vxlan.calico", "tunl0", addr),
            other => panic!("{ipip:?}, {vxlan:?}: {other:?}"),
        };
        let listing = rig.listing();
        assert!(listing.contains(&format!("address {addr}/32 dev {device}")), "{listing:#?}");
        assert!(!listing.iter().any(|line| line.contains(other)), "{listing:#?}");
    }
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
fn a_node_whose_data_path_is_programmed_says_that_its_network_is_up() {
    let mut rig = direct();
    let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
    let condition = own.status.conditions.iter().find(|c| c.condition_type == "NetworkUnavailable");
    assert_eq!(condition.map(|c| c.status.as_str()), Some("False"));
}

#[test]
fn of_two_adds_of_a_pod_at_once_the_later_one_succeeds_and_the_earlier_one_fails() {
    let mut rig = direct();
    rig.hold = true;
    let first = rig.request(Command::Add, "c1", "a");
    rig.settle();
    let second = rig.request(Command::Add, "c2", "a");
    rig.settle();
    rig.go_on();
    let (code, text) = failure(rig.replies.remove(&first));
    assert_eq!(code, code::TRY_AGAIN_LATER);
    assert_eq!(text, "a newer sandbox of the pod has taken its place");
    let Some(Reply::Added(added)) = rig.replies.remove(&second) else { panic!("the later one is attached") };
    let host = model::names::host_interface("default", "a");
    let listing = rig.listing();
    assert!(listing.contains(&format!("route {}/32", added.addresses[0])), "{listing:#?}");
    assert!(listing.contains(&format!("link {host}")), "{listing:#?}");
    assert_eq!((rig.files.len(), rig.in_use()), (1, 1));
}

#[test]
fn a_container_has_one_interface_in_a_network() {
    let mut rig = direct();
    let addr = add(&mut rig, "c1", "a");
    let id = rig.request_on("net1", Command::Add, "c1", "a");
    rig.settle();
    let (_, text) = failure(rig.replies.remove(&id));
    assert!(text.ends_with("is attached already: a container has one interface in a network"), "{text}");
    assert!(rig.listing().contains(&format!("route {addr}/32")));
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
fn a_namespace_that_cannot_be_opened_now_is_no_reason_to_release_its_pod() {
    let mut rig = direct();
    let addr = add(&mut rig, "c1", "a");
    rig.netns_fail = true;
    rig.meddle(&format!("link {}", model::names::host_interface("default", "a")));
    assert_eq!((rig.files.len(), rig.in_use()), (1, 1));
    rig.netns_fail = false;
    rig.pass(Duration::from_secs(100));
    assert!(rig.listing().contains(&format!("route {addr}/32")), "{:#?}", rig.listing());
}

#[test]
fn a_node_that_is_deleted_and_registered_again_gets_its_address_back_and_loses_no_route() {
    for address in [Some("192.168.0.1/24".parse().unwrap()), None] {
        gets_its_address_back(address);
    }
}

fn gets_its_address_back(address: Option<model::IfAddr>) {
    let mut rig = Rig::new(EncapMode::Always);
    rig.address = address;
    rig.restart();
    let before = rig.listing();
    let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
    let (uid, resource_version) = (own.metadata.uid.clone(), own.metadata.resource_version.clone());
    let key = Object::from(own).key();
    rig.steps.clear();
    rig.api.apply(&Ask::Delete { key, uid, resource_version }).unwrap();
    rig.settle();
    let bare = model::k8s::Node { metadata: model::Metadata::named("n1"), ..Default::default() };
    rig.api.apply(&Ask::Create(bare.into())).unwrap();
    rig.settle();
    rig.pass(Duration::from_secs(30));
    let Some(Object::Node(own)) = rig.get(Kind::Node, "n1") else { panic!("the node is there") };
    assert_eq!(own.metadata.annotations[model::k8s::annotation::IPV4_ADDRESS], "192.168.0.1/24");
    assert!(own.metadata.annotations.contains_key(model::k8s::annotation::IPV4_VXLAN_TUNNEL_ADDR));
    assert_eq!(rig.listing(), before);
    assert_eq!(rig.steps, Vec::<String>::new(), "nothing was taken away meanwhile");
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

#[test]
fn del_hears_that_it_is_done_though_the_add_before_it_failed() {
    let mut rig = direct();
    rig.hold = true;
    let added = rig.request(Command::Add, "c1", "a");
    rig.settle();
    rig.node.handle(rig.now, Input::CniGone(added));
    let deleted = rig.request(Command::Del, "c1", "a");
    rig.settle();
    rig.go_on();
    assert_eq!(rig.replies.remove(&deleted), Some(Reply::Done));
}

#[test]
fn f32_a_second_del_while_the_api_is_away_is_answered_at_once() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    rig.api_is_up = false;
    rig.cni(Command::Del, "c1", "a");
    rig.pass(Duration::from_secs(3));
    assert_eq!(rig.cni(Command::Del, "c1", "a"), Some(Reply::Done));
}

#[test]
fn f32_del_is_answered_by_an_agent_that_started_while_the_api_is_away() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    rig.node = node::Node::new(node::Config {
        node: "n1".into(),
        address: None,
        bgp: false,
        ipip: None,
        epoch_micros: 0,
    });
    let attachments = rig.files.values().cloned().collect();
    rig.node.handle(rig.now, Input::Started { attachments, boot_id: "boot-1".into() });
    rig.steps.clear();
    let id = rig.request(Command::Del, "c1", "a");
    rig.settle_alone();
    rig.pass_alone(Duration::from_secs(3));
    assert_eq!(rig.replies.remove(&id), Some(Reply::Done));
    assert_eq!(rig.steps, Vec::<String>::new(), "nothing is written before the first in-sync");
    assert!(rig.files.values().all(|file| file.deleted));
    rig.list();
    rig.settle();
    assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
}

#[test]
fn a_foreign_interface_under_the_pods_name_fails_the_add_and_stays() {
    let mut rig = direct();
    let host = model::names::host_interface("default", "a");
    rig.put_foreign_link(&host);
    let (_, text) = failure(rig.cni(Command::Add, "c1", "a"));
    assert_eq!(text, format!("link {host} is somebody else's: remove it and try again"));
    assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
    assert!(rig.listing().contains(&format!("link {host}")));
}

#[test]
fn an_add_on_a_full_disk_fails_and_leaves_nothing() {
    let mut rig = direct();
    rig.disk_is_full = true;
    let (code, text) = failure(rig.cni(Command::Add, "c1", "a"));
    assert_eq!(code, code::IO_FAILURE);
    assert_eq!(text, "cannot write the attachment's file: No space left on device");
    assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
    rig.disk_is_full = false;
    add(&mut rig, "c1", "a");
}

#[test]
fn a_disk_that_is_full_while_the_pair_is_being_made_leaves_no_pair() {
    let mut rig = direct();
    rig.hold = true;
    let id = rig.request(Command::Add, "c1", "a");
    rig.settle();
    rig.disk_is_full = true;
    rig.go_on();
    assert_eq!(failure(rig.replies.remove(&id)).0, code::IO_FAILURE);
    assert_eq!(rig.listing(), ["nftables inet calico", "route 10.0.0.32/28"]);
    let inside =
        |key: &&kernel::Key| key.netns() != kernel::Netns::Host && matches!(key, kernel::Key::Link(_));
    assert_eq!(rig.kernel.keys().find(inside), None);
}

#[test]
fn annotations_that_the_run_before_did_not_get_to_write_are_written() {
    let mut rig = direct();
    let addr = add(&mut rig, "c1", "a");
    let Some(Object::Pod(mut pod)) = rig.get(Kind::Pod, "a") else { panic!("the pod is there") };
    pod.metadata.annotations.clear();
    rig.api.apply(&Ask::Update(pod.into())).unwrap();
    rig.restart();
    let Some(Object::Pod(pod)) = rig.get(Kind::Pod, "a") else { panic!("the pod is there") };
    assert_eq!(pod.metadata.annotations["cni.projectcalico.org/podIP"], format!("{addr}/32"));
}

#[test]
fn after_a_restart_the_newer_sandbox_keeps_the_interface() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    let new = add(&mut rig, "c0", "a");
    let before = rig.listing();
    rig.restart();
    assert_eq!((rig.listing(), rig.steps.len()), (before.clone(), 0));
    assert_eq!(rig.cni(Command::Del, "c1", "a"), Some(Reply::Done));
    assert_eq!(rig.listing(), before);
    assert!(rig.listing().contains(&format!("route {new}/32")));
}

#[test]
fn a_sandbox_of_an_earlier_pod_of_the_same_name_gets_nothing() {
    let mut rig = direct();
    rig.pod_uid = Some("uid-of-an-earlier-one".into());
    let (_, text) = failure(rig.cni(Command::Add, "c1", "a"));
    assert_eq!(text, "pod a is another one by now: this sandbox is of an earlier pod");
    assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
    let Some(Object::Pod(pod)) = rig.get(Kind::Pod, "a") else { panic!("the pod is there") };
    rig.pod_uid = Some(pod.metadata.uid);
    add(&mut rig, "c2", "a");
}

#[test]
fn a_disabled_pool_keeps_its_tunnel_and_routes() {
    let mut rig = Rig::new(EncapMode::Always);
    let before = rig.listing();
    let Some(Object::IpPool(mut pool)) = rig.get(Kind::IpPool, "pool") else { panic!("the pool is there") };
    pool.spec.disabled = true;
    rig.api.apply(&Ask::Update(pool.into())).unwrap();
    rig.settle();
    rig.restart();
    assert_eq!(rig.listing(), before);
}

#[test]
fn f32_a_del_that_comes_before_the_kernel_was_read_is_carried_out() {
    let mut rig = direct();
    add(&mut rig, "c1", "a");
    rig.node = node::Node::new(node::Config {
        node: "n1".into(),
        address: None,
        bgp: false,
        ipip: None,
        epoch_micros: 0,
    });
    let attachments = rig.files.values().cloned().collect();
    rig.node.handle(rig.now, Input::Started { attachments, boot_id: "boot-1".into() });
    let id = rig.request(Command::Del, "c1", "a");
    rig.settle_alone();
    rig.list();
    rig.settle();
    assert_eq!(rig.replies.remove(&id), Some(Reply::Done));
    assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
}

/// A pool that is given only to those who ask for it.
fn manual_pool(name: &str, cidr: &str) -> Object {
    let spec = serde_json::json!({"cidr": cidr, "blockSize": 28, "assignmentMode": "Manual"});
    let spec: model::v3::IpPoolSpec = serde_json::from_value(spec).unwrap();
    model::v3::IpPool { metadata: model::Metadata::named(name), spec: spec.defaulted() }.into()
}

#[test]
fn a_pods_annotation_chooses_the_pool_before_its_namespaces() {
    let mut rig = direct();
    let annotate = |object: &mut Object, pools: &str| {
        let key = model::k8s::pod_annotation::IPV4_POOLS.to_owned();
        object.metadata_mut().annotations.insert(key, pools.to_owned());
    };
    for (name, cidr) in [("of-pods", "10.1.0.0/24"), ("of-namespaces", "10.2.0.0/24")] {
        rig.api.apply(&Ask::Create(manual_pool(name, cidr))).unwrap();
        rig.settle();
    }
    assert!(add(&mut rig, "c1", "a").to_string().starts_with("10.0.0."));
    let mut pod = rig::pod_key("b");
    annotate(&mut pod, r#"["10.1.0.0/24"]"#);
    rig.api.apply(&Ask::Create(pod)).unwrap();
    rig.settle();
    let mut namespace = rig.get(Kind::Namespace, "default").unwrap();
    annotate(&mut namespace, r#"["of-namespaces"]"#);
    rig.api.apply(&Ask::Update(namespace)).unwrap();
    rig.settle();
    rig.create_pod("c");
    assert!(add(&mut rig, "c2", "b").to_string().starts_with("10.1.0."));
    assert!(add(&mut rig, "c3", "c").to_string().starts_with("10.2.0."));
}

#[test]
fn a_pod_that_asks_for_what_cannot_be_hears_which_annotation() {
    let mut rig = direct();
    let mut pod = rig::pod_key("b");
    let key = model::k8s::pod_annotation::FLOATING_IPS.to_owned();
    pod.metadata_mut().annotations.insert(key, r#"["10.9.9.9"]"#.to_owned());
    rig.api.apply(&Ask::Create(pod)).unwrap();
    rig.settle();
    let (code, text) = failure(rig.cni(Command::Add, "c1", "b"));
    assert_eq!(code, node::cni::code::INVALID_CONFIG);
    assert!(text.contains("floating_ips") && text.contains("cni.projectcalico.org/floatingIPs"), "{text}");
    assert_eq!(rig.in_use(), 0);
}

#[test]
fn services_are_watched_once_they_are_to_be_told_of_and_what_is_told_waits_for_them() {
    let mut rig = direct();
    for kind in [Kind::BgpConfiguration, Kind::BgpPeer, Kind::BgpFilter] {
        rig.node.handle(rig.now, Input::Api(Event::Listed(kind, Vec::new())));
    }
    rig.settle();
    assert_eq!(rig.watched, []);
    let tells = |rig: &Rig| -> Vec<String> {
        let told = &rig.node.speaks().expect("the node speaks BGP").bgp.originate;
        told.keys().map(ToString::to_string).filter(|dst| dst.starts_with("10.96.")).collect()
    };
    let spec = serde_json::json!({"serviceClusterIPs": [{"cidr": "10.96.0.0/12"}]});
    let object = serde_json::json!({"metadata": {"name": "default"}, "spec": spec});
    let configuration: model::v3::BgpConfiguration = serde_json::from_value(object).unwrap();
    rig.node.handle(rig.now, Input::Api(Event::Put(configuration.into())));
    rig.settle();
    assert_eq!(rig.watched, [Kind::Service, Kind::EndpointSlice]);
    assert_eq!(tells(&rig), Vec::<String>::new());
    rig.node.handle(rig.now, Input::Api(Event::Listed(Kind::Service, Vec::new())));
    rig.settle();
    assert_eq!(tells(&rig), Vec::<String>::new());
    // A watch that nobody answers holds up what depends on it, and nothing else.
    let error = "forbidden".to_owned();
    rig.node.handle(rig.now, Input::Api(Event::Failed { kind: Kind::EndpointSlice, error }));
    rig.settle();
    assert_eq!(tells(&rig), ["10.96.0.0/12"]);
}
