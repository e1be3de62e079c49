//! ADD and CHECK: what an answer means, and what a failure leaves.

use crate::rig::pod_key;
use crate::{add, direct, failure};
use model::Duration;
use model::store::{Kind, Object, Request as Ask};
use node::cni::{Command, Options, Reply, code};
use node::{CniId, Input};

#[test]
fn nothing_is_written_before_everything_needed_was_listed() {
    let mut rig = direct();
    rig.begin_anew();
    rig.settle();
    rig.pass(Duration::from_secs(300));
    assert_eq!(rig.steps, Vec::<String>::new());
    let (code, text) = failure(rig.cni(Command::Add, "c1", "a"));
    assert_eq!(code, node::cni::code::TRY_AGAIN_LATER);
    let needed = "Node, IpPool, IpamBlock, Pod, FelixConfiguration, BgpConfiguration, BgpPeer, BgpFilter";
    assert_eq!(text, format!("the agent of node n1 has just started and waits for: {needed}"));
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

/// The sentences of Calico's plugin 3.32.1, as recorded; the first is followed by the address.
#[test]
fn what_cannot_be_asked_for_is_refused_in_calicos_words() {
    let mut rig = direct();
    let taken = add(&mut rig, "c1", "a");
    rig.create_pod("b");
    let asked =
        |addr: &str| Options { requested: vec![addr.parse().expect("an address")], ..Options::default() };
    let pool = Options { ipv4_pools: vec!["10.99.0.0/16".into()], ..Options::default() };
    for (options, calicos) in [
        (asked("192.0.2.1"), "The provided IP address is not in a configured pool".to_owned()),
        (
            asked(&taken.to_string()),
            format!("resource already exists: {taken} with error: Address already assigned in block"),
        ),
        (pool, "the given pool (10.99.0.0/16) does not exist, or is not enabled".to_owned()),
    ] {
        rig.options = options;
        let (code, text) = failure(rig.cni(Command::Add, "c2", "b"));
        assert_eq!(code, code::INTERNAL, "{text}");
        assert_eq!(text.split(": 192.").next(), Some(&*calicos));
        assert_eq!((rig.files.len(), rig.in_use()), (1, 1), "{text}");
    }
    // By its name, as well as by its CIDR.
    rig.options = Options { ipv4_pools: vec!["pool".into()], ..Options::default() };
    add(&mut rig, "c2", "b");
}

/// The sentence of a call that was recorded of Calico's plugin on Kubernetes.
macro_rules! calicos {
    ($name:literal) => {{
        let call = include_str!(concat!("../../../cni/tests/recorded/kubernetes/", $name, ".txt"));
        let (_, stdout) = call.split_once("## stdout:\n").unwrap();
        let (json, _) = stdout.split_once("## stderr:").unwrap();
        let error: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(error["code"], 999);
        error["msg"].as_str().unwrap().to_owned()
    }};
}

/// What differs is listed in `docs/compatibility.md`.
#[test]
fn what_a_pod_asks_for_in_vain_is_refused_as_recorded_on_kubernetes() {
    let mut rig = direct();
    let taken = add(&mut rig, "c1", "a");
    let plain =
        |text: String| text.strip_prefix("error getting IP from IPAM: ").unwrap().trim_end().to_owned();
    let outside = plain(calicos!("add-ipaddrs-outside-pool"));
    for (pod, asked, code, sentence) in [
        ("outside", r#"["192.0.2.1"]"#.to_owned(), code::INTERNAL, format!("{outside}: 192.0.2.1")),
        (
            "taken",
            format!("[{:?}]", taken.to_string()),
            code::INTERNAL,
            plain(calicos!("add-ipaddrs-taken")).replace("6.2.166.129", &taken.to_string()),
        ),
        (
            "two",
            r#"["10.0.0.5", "10.0.0.6"]"#.to_owned(),
            code::INVALID_CONFIG,
            calicos!("add-two-static-ips"),
        ),
    ] {
        let Object::Pod(mut object) = pod_key(pod) else { unreachable!() };
        object.metadata.annotations.insert("cni.projectcalico.org/ipAddrs".into(), asked);
        rig.api.apply(&Ask::Create(object.into())).unwrap();
        assert_eq!(failure(rig.cni(Command::Add, "c2", pod)), (code, sentence));
    }
    assert_eq!(calicos!("add-pod-missing"), "pods \"no-such-pod\" not found");
    let said = "cannot read pod default/no-such-pod: resource does not exist".to_owned();
    assert_eq!(failure(rig.cni(Command::Add, "c2", "no-such-pod")), (code::TRY_AGAIN_LATER, said));
    assert_eq!((rig.files.len(), rig.in_use()), (1, 1));
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
    assert_eq!(rig.listing(), ["nftables inet calico", "nftables arp calico", "route 10.0.0.32/28"]);
    let inside =
        |key: &&kernel::Key| key.netns() != kernel::Netns::Host && matches!(key, kernel::Key::Link(_));
    assert_eq!(rig.kernel.keys().find(inside), None);
}

#[test]
fn a_sandbox_of_an_earlier_pod_of_the_same_name_gets_nothing() {
    let mut rig = direct();
    rig.options.pod_uid = Some("uid-of-an-earlier-one".into());
    let (_, text) = failure(rig.cni(Command::Add, "c1", "a"));
    assert_eq!(text, "pod a is another one by now: this sandbox is of an earlier pod");
    assert_eq!((rig.files.len(), rig.in_use()), (0, 0));
    let Some(Object::Pod(pod)) = rig.get(Kind::Pod, "a") else { panic!("the pod is there") };
    rig.options.pod_uid = Some(pod.metadata.uid);
    add(&mut rig, "c2", "a");
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
    let mut pod = pod_key("b");
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
    let mut pod = pod_key("b");
    let key = model::k8s::pod_annotation::FLOATING_IPS.to_owned();
    pod.metadata_mut().annotations.insert(key, r#"["10.9.9.9"]"#.to_owned());
    rig.api.apply(&Ask::Create(pod)).unwrap();
    rig.settle();
    let (code, text) = failure(rig.cni(Command::Add, "c1", "b"));
    assert_eq!(code, node::cni::code::INVALID_CONFIG);
    assert!(text.contains("floating_ips") && text.contains("cni.projectcalico.org/floatingIPs"), "{text}");
    assert_eq!(rig.in_use(), 0);
}
