//! Objects that somebody else wrote: none of them ends the agent, whatever stands in their fields.

use crate::direct;
use crate::rig::Rig;
use model::Duration;
use model::store::{Event, Kind, Object, Request as Ask};
use model::{k8s, v3};
use node::cni::{Command, Reply};
use node::{Input, WATCHED};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Objects that the agent reads, with every field that means something to it.
fn templates() -> Vec<(Kind, Value)> {
    let spec = |kind, name: &str, spec: Value| (kind, json!({"metadata": {"name": name}, "spec": spec}));
    let rule = json!({"action": "Accept", "asPathPrefix": [1], "cidr": "10.0.0.0/8", "matchOperator": "In",
        "prefixLength": {"min": 8, "max": 32}, "communities": {"values": ["1:2"]}, "interface": "eth0",
        "peerType": "eBGP", "priority": 1, "source": "RemotePeers",
        "operations": [{"addCommunity": {"value": "1:2"}}, {"prependASPath": {"prefix": [1]}}, {"setPriority": {"value": 1}}]});
    let node = |name: &str, addr: &str| {
        let annotations = json!({
            "projectcalico.org/IPv4Address": addr, "projectcalico.org/IPv6Address": "fd00::1/64",
            "projectcalico.org/IPv4VXLANTunnelAddr": "10.0.0.1", "projectcalico.org/IPv4IPIPTunnelAddr": "10.0.0.2",
            "projectcalico.org/VXLANTunnelMACAddr": "66:00:00:00:00:01", "projectcalico.org/ASNumber": "64512",
            "projectcalico.org/RouteReflectorClusterID": "1.1.1.1", "projectcalico.org/labels": "{\"a\":\"b\"}",
            "tortie/encapsulation": "{\"accepts\":[\"vxlan\"],\"sends\":[\"vxlan\"]}",
        });
        let addresses = json!([{"type": "InternalIP", "address": "192.168.0.9"}]);
        let metadata = json!({"name": name, "annotations": annotations, "labels": {"zone": "a"}});
        (
            Kind::Node,
            json!({"metadata": metadata, "spec": {"podCIDRs": ["10.1.0.0/24"]}, "status": {"addresses": addresses}}),
        )
    };
    let password = json!({"secretKeyRef": {"name": "bgp", "key": "k", "optional": true}});
    vec![
        node("n1", "192.168.0.1/24"),
        node("n2", "192.168.0.2/24"),
        node("n3", "192.168.0.3/24"),
        spec(
            Kind::IpPool,
            "pool",
            json!({"cidr": "10.0.0.0/24", "blockSize": 28, "vxlanMode": "Always", "ipipMode": "Never",
            "natOutgoing": true, "disabled": false, "disableBGPExport": false, "nodeSelector": "all()",
            "namespaceSelector": "all()", "allowedUses": ["Workload", "Tunnel"], "assignmentMode": "Automatic"}),
        ),
        spec(
            Kind::IpPool,
            "other",
            json!({"cidr": "10.2.0.0/16", "blockSize": 26, "ipipMode": "CrossSubnet",
            "vxlanMode": "Never", "nodeSelector": "zone == 'a'", "namespaceSelector": "has(x)"}),
        ),
        spec(
            Kind::IpamBlock,
            "10-0-0-32-28",
            json!({"cidr": "10.0.0.32/28", "affinity": "host:n2", "strictAffinity": false,
            "allocations": [0, null, 1], "unallocated": [1, 3, 4], "sequenceNumber": 7, "deleted": false,
            "sequenceNumberForAllocation": {"0": 7},
            "attributes": [{"handle_id": "h", "secondary": {"node": "n1", "type": "vxlanTunnelAddress"}},
                {"handle_id": "i", "secondary": {"node": "n2"}, "releasedAt": "2026-01-01T00:00:00Z"}]}),
        ),
        spec(
            Kind::IpamBlock,
            "10-0-0-48-28",
            json!({"cidr": "10.0.0.48/28", "affinity": "host:n1", "allocations": [null],
            "unallocated": [0], "attributes": [], "sequenceNumber": 1, "deleted": false, "strictAffinity": false}),
        ),
        spec(
            Kind::BlockAffinity,
            "n1-10-0-0-48-28",
            json!({"cidr": "10.0.0.48/28", "node": "n1", "state": "confirmed",
            "deleted": false, "type": "host"}),
        ),
        spec(
            Kind::IpamConfiguration,
            "default",
            json!({"strictAffinity": false, "autoAllocateBlocks": true,
            "maxBlocksPerHost": 20, "ipCooldownSeconds": 0}),
        ),
        spec(Kind::IpReservation, "r", json!({"reservedCIDRs": ["10.0.0.3/32"]})),
        spec(Kind::ClusterInformation, "default", json!({"datastoreReady": true})),
        (
            Kind::Namespace,
            json!({"metadata": {"name": "default", "annotations": {"cni.projectcalico.org/ipv4pools": "[\"pool\"]"},
            "labels": {"x": "y"}}}),
        ),
        (
            Kind::Pod,
            json!({"metadata": {"name": "a", "namespace": "default", "annotations": {
            "cni.projectcalico.org/ipv4pools": "[\"pool\"]", "cni.projectcalico.org/ipAddrs": "[\"10.0.0.5\"]"}},
            "spec": {"nodeName": "n1", "containers": [{"ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.5"}]}}),
        ),
        spec(
            Kind::FelixConfiguration,
            "default",
            json!({"vxlanVNI": 4096, "vxlanPort": 4789, "vxlanMTU": 1400, "ipipMTU": 1400,
            "natOutgoingExclusions": "IPPoolsOnly", "allowVXLANPacketsFromWorkloads": false,
            "routeRefreshInterval": "90s"}),
        ),
        spec(
            Kind::BgpConfiguration,
            "default",
            json!({"asNumber": 64512, "listenPort": 179, "nodeToNodeMeshEnabled": true,
            "ipv4NormalRoutePriority": 100, "nodeMeshMaxRestartTime": "120s", "nodeMeshPassword": password,
            "communities": [{"name": "c", "value": "1:2"}], "serviceClusterIPs": [{"cidr": "10.96.0.0/12"}],
            "prefixAdvertisements": [{"cidr": "10.0.0.0/24", "communities": ["c"]}],
            "serviceExternalIPs": [{"cidr": "203.0.113.0/24"}], "serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}],
            "ignoredInterfaces": ["eth9"], "bindMode": "NodeIP", "localWorkloadPeeringIPV4": "169.254.1.1"}),
        ),
        spec(
            Kind::BgpPeer,
            "peer",
            json!({"node": "n1", "nodeSelector": "", "peerIP": "192.168.0.254:179", "asNumber": 64999,
            "localASNumber": 64998, "keepOriginalNextHop": false, "nextHopMode": "Auto", "password": password,
            "sourceAddress": "UseNodeIP", "maxRestartTime": "10s", "keepaliveTime": "30s", "numAllowedLocalASNumbers": 1,
            "ttlSecurity": 1, "reachableBy": "192.168.0.253", "filters": ["f"], "reversePeering": "Auto"}),
        ),
        spec(Kind::BgpPeer, "selected", json!({"nodeSelector": "all()", "peerSelector": "zone == 'a'"})),
        spec(
            Kind::BgpFilter,
            "f",
            json!({"importV4": [rule], "exportV4": [rule], "importV6": [rule], "exportV6": [rule]}),
        ),
        (
            Kind::Service,
            json!({"metadata": {"name": "s", "namespace": "default"}, "spec": {"clusterIP": "10.96.0.1",
            "clusterIPs": ["10.96.0.1"], "externalIPs": ["203.0.113.1"], "externalTrafficPolicy": "Local"},
            "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}}}),
        ),
        (
            Kind::EndpointSlice,
            json!({"metadata": {"name": "s-1", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "s"}}, "endpoints": [{"nodeName": "n1", "conditions": {"ready": true}}]}),
        ),
    ]
}

/// What may stand where a text or a number should.
fn hostile(turn: &mut impl FnMut(usize) -> usize) -> Value {
    const TEXTS: [&str; 34] = [
        "",
        "x",
        "\u{0}",
        "é",
        "all()",
        "!all()",
        "0.0.0.0/0",
        "0.0.0.0",
        "255.255.255.255",
        "255.255.255.255/32",
        "224.0.0.1/4",
        "127.0.0.1/8",
        "10.0.0.0/32",
        "10.0.0.0/31",
        "10.0.0.1/0",
        "10.0.0.0/24",
        "10.0.0.32/28",
        "192.168.0.1/32",
        "192.168.0.1/24",
        "::/0",
        "fd00::/64",
        "fe80::1%eth0",
        "fd00::1",
        "host:",
        "virtual:x",
        "host:n1",
        "n1",
        "0s",
        "-1s",
        "2562047h47m16s",
        "Always",
        "4294967295",
        "[]",
        "[\"10.0.0.1\",\"10.0.0.1\"]",
    ];
    match turn(8) {
        0 => json!(true),
        1 => json!([0, 1, 2, -1][turn(4)]),
        2 => json!([127, 128, 255, 256, 65535, 65536][turn(6)]),
        3 => json!([u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX][turn(3)]),
        _ => json!(TEXTS[turn(TEXTS.len())]),
    }
}

/// Puts something else into one place of `value`.
fn spoil(value: &mut Value, turn: &mut impl FnMut(usize) -> usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let name = fields.keys().nth(turn(fields.len())).cloned().expect("there are some");
            match turn(12) {
                0 => _ = fields.remove(&name),
                _ => spoil(&mut fields[&name], turn),
            }
        }
        Value::Array(items) if !items.is_empty() => match turn(6) {
            0 => items.clear(),
            1 => {
                let again = items[turn(items.len())].clone();
                items.extend(std::iter::repeat_n(again, [1, 20, 300][turn(3)]));
            }
            _ => {
                let at = turn(items.len());
                spoil(&mut items[at], turn);
            }
        },
        place => *place = hostile(turn),
    }
}

/// The object, if it can be read at all: what cannot never gets to the agent.
fn read(kind: Kind, value: Value) -> Option<Object> {
    fn of<T: DeserializeOwned + Into<Object>>(value: Value) -> Option<Object> {
        serde_json::from_value::<T>(value).ok().map(Into::into)
    }
    match kind {
        Kind::Node => of::<k8s::Node>(value),
        Kind::Namespace => of::<k8s::Namespace>(value),
        Kind::Pod => of::<k8s::Pod>(value),
        Kind::Service => of::<k8s::Service>(value),
        Kind::EndpointSlice => of::<k8s::EndpointSlice>(value),
        Kind::IpPool => of::<v3::IpPool>(value),
        Kind::IpamBlock => {
            let block: v3::IpamBlock = serde_json::from_value(value).ok()?;
            block.is_named_for_its_range().then(|| block.into())
        }
        Kind::BlockAffinity => of::<v3::BlockAffinity>(value),
        Kind::IpamConfiguration => of::<v3::IpamConfiguration>(value),
        Kind::IpReservation => of::<v3::IpReservation>(value),
        Kind::ClusterInformation => of::<v3::ClusterInformation>(value),
        Kind::FelixConfiguration => of::<v3::FelixConfiguration>(value),
        Kind::BgpConfiguration => of::<v3::BgpConfiguration>(value),
        Kind::BgpPeer => of::<v3::BgpPeer>(value),
        Kind::BgpFilter => of::<v3::BgpFilter>(value),
        kind => panic!("the agent does not watch {kind:?}"),
    }
}

/// Stores the object, or tells of it where the API of the rig does not have the kind.
fn put(rig: &mut Rig, mut object: Object) {
    let kind = object.kind();
    if !WATCHED.contains(&kind) {
        rig.node.handle(rig.now, Input::Api(Event::Put(object)));
        return;
    }
    let name = object.metadata().name.clone();
    let written = match rig.get(kind, &name) {
        Some(stored) => {
            *object.metadata_mut() = model::Metadata {
                resource_version: stored.metadata().resource_version.clone(),
                uid: stored.metadata().uid.clone(),
                ..object.metadata().clone()
            };
            rig.api.apply(&Ask::Update(object))
        }
        None => rig.api.apply(&Ask::Create(object)),
    };
    written.expect("the fake API takes anything");
}

/// The seeds of this run: one by day, by night many of the night's own.
#[expect(clippy::disallowed_methods, reason = "whoever starts the tests says how many")]
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("TORTIE_HOSTILE_SEEDS") {
        Some(count) => {
            let first = number("TORTIE_SIM_FIRST").unwrap_or(0);
            first..first + count
        }
        None => 0..1,
    }
}

#[test]
fn no_object_ends_the_agent_and_once_they_are_mended_it_works_as_before() {
    for seed in seeds() {
        println!("seed {seed}: TORTIE_HOSTILE_SEEDS=1 TORTIE_SIM_FIRST={seed} has it again");
        survive(seed);
    }
}

fn survive(seed: u64) {
    // Never 0, and far from the next seed's.
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut turn = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).expect("31 bits") % below
    };
    let mut rig = direct();
    for kind in [
        Kind::BgpConfiguration,
        Kind::BgpPeer,
        Kind::BgpFilter,
        Kind::FelixConfiguration,
        Kind::Service,
        Kind::EndpointSlice,
    ] {
        rig.node.handle(rig.now, Input::Api(Event::Listed(kind, Vec::new())));
    }
    let templates = templates();
    for (kind, template) in &templates {
        put(&mut rig, read(*kind, template.clone()).unwrap_or_else(|| panic!("{template} can be read")));
        rig.settle();
    }
    let mut speaker = bgp::Speaker::new(1);
    let mut taken = 0;
    for round in 0..ROUNDS {
        let (kind, template) = &templates[turn(templates.len())];
        let mut value = template.clone();
        for _ in 0..=turn(3) {
            spoil(&mut value, &mut turn);
        }
        let Some(Value::Object(metadata)) = value.get_mut("metadata") else { continue };
        for field in ["name", "namespace"] {
            metadata.insert(field.to_owned(), template["metadata"][field].clone());
        }
        let Some(object) = read(*kind, value) else { continue };
        taken += 1;
        put(&mut rig, object);
        rig.settle();
        if let Some(told) = rig.node.speaks() {
            speaker.handle(rig.now, bgp::Input::Configure(told.bgp.clone()));
        }
        let container = format!("c{round}");
        rig.cni(Command::Add, &container, "a");
        rig.pass(Duration::from_secs(10));
        rig.cni(Command::Del, &container, "a");
        // Every other one stays beside the next.
        if turn(2) == 0 {
            put(&mut rig, read(*kind, template.clone()).expect("read before"));
        }
    }
    assert!(taken > ROUNDS / 4, "{taken} objects of {ROUNDS} could be read");
    for (kind, template) in &templates {
        let mut template = template.clone();
        if *kind == Kind::Pod {
            template["metadata"]["annotations"] = json!({});
        }
        put(&mut rig, read(*kind, template).expect("read before"));
    }
    rig.settle();
    rig.pass(Duration::from_secs(120));
    let reply = rig.cni(Command::Add, "last", "a");
    assert!(matches!(reply, Some(Reply::Added(_))), "{reply:?}");
}

/// Objects that are spoilt.
const ROUNDS: usize = 500;
