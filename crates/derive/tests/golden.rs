//! Worlds, and what is derived from each as `ip`- and `nft`-like text: `golden/NAME.txt`. `UPDATE=1 cargo test -p derive`
//! rewrites the files; their difference is then to be read in review.

#![allow(clippy::disallowed_methods, reason = "reads and writes the golden files")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use derive::example::{article, article_with_pod, attachment, ipip_mode, pool_mode};
use derive::{Endpoint, IpipDriver, Scope, World};
use kernel::PodNs;
use model::v3::EncapMode::{Always, CrossSubnet, Never};
use model::{Mtu, Vni};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// How each block is reached, then what the kernel should hold.
fn text(world: &World) -> String {
    let mut text = String::new();
    for (dst, owner, path) in derive::paths(world) {
        writeln!(text, "# {dst} of {owner}: {path}").unwrap();
    }
    text + &kernel::text::listing(&derive::derive(world))
}

fn worlds() -> BTreeMap<String, World> {
    let mut worlds = BTreeMap::new();
    for (name, mode) in [("vxlan", Always), ("vxlan-cross-subnet", CrossSubnet), ("direct", Never)] {
        for node in ["master1", "master2", "master3", "master4"] {
            worlds.insert(format!("{name}-{node}"), pool_mode(article(node), mode));
        }
    }
    for (name, mode, driver) in [
        ("ipip", Always, IpipDriver::Kernel),
        ("ipip-stand-in", Always, IpipDriver::StandIn),
        ("ipip-cross-subnet", CrossSubnet, IpipDriver::StandIn),
    ] {
        for node in ["master1", "master4"] {
            worlds.insert(format!("{name}-{node}"), ipip_mode(article(node), mode, driver));
        }
    }
    let pod = article_with_pod(PodNs(1));
    let changed = |change: fn(&mut World)| {
        let mut world = pod.clone();
        change(&mut world);
        world
    };
    worlds.extend(
        [
            ("pod", pod.clone()),
            ("pod-without-its-namespace", changed(|world| endpoint(world).netns = None)),
            ("pod-that-may-forward", changed(|world| endpoint(world).attachment.forwarding = true)),
            ("pods-of-a-node", changed(second_pod)),
            ("borrowed-addresses", changed(borrow)),
            ("without-nat-outgoing", changed(|world| pool(world).nat_outgoing = false)),
            (
                "nat-spares-hosts",
                changed(|world| world.felix.nat_outgoing_exclusions = Some("IPPoolsAndHostIPs".into())),
            ),
            (
                "nat-to-a-range-of-ports",
                changed(|world| world.felix.nat_port_range = "4000:20000".parse().ok()),
            ),
            ("nat-to-an-address", changed(nat_to_address)),
            ("felix-overrides", changed(overrides)),
            ("tunnels-of-pods-allowed", changed(allow_tunnels)),
            (
                "ipip-without-a-driver",
                World { ipip: None, ..ipip_mode(pod.clone(), Always, IpipDriver::Kernel) },
            ),
            ("ipip-pod", ipip_mode(pod.clone(), Always, IpipDriver::StandIn)),
            ("ipip-borrowed-addresses", ipip_mode(changed(borrow), Always, IpipDriver::StandIn)),
            ("unknown-uplink", changed(|world| world.uplink = None)),
            (
                "a-peer-without-tunnel",
                changed(|world| world.peers.get_mut("master2").unwrap().vxlan_tunnel = None),
            ),
            ("a-peer-that-is-unknown", changed(|world| world.peers.retain(|name, _| name != "master3"))),
            ("we-are-unknown", changed(|world| world.peers.retain(|name, _| name != "master1"))),
            ("no-pool", changed(|world| world.pools.clear())),
        ]
        .map(|(name, world)| (name.to_owned(), world)),
    );
    worlds
}

fn endpoint(world: &mut World) -> &mut Endpoint {
    world.endpoints.values_mut().next().unwrap()
}

fn pool(world: &mut World) -> &mut model::v3::IpPoolSpec {
    world.pools.values_mut().next().unwrap()
}

fn second_pod(world: &mut World) {
    let attachment = attachment("second", "6.2.137.68");
    world
        .endpoints
        .insert(attachment.id.clone(), Endpoint { attachment, netns: Some(PodNs(2)), scope: Scope::Whole });
}

/// master1 and master3 borrow from master2's block, master2 from master1's; our pod has what we borrowed.
fn borrow(world: &mut World) {
    for (addr, node) in [("6.2.180.5", "master1"), ("6.2.180.6", "master3"), ("6.2.137.70", "master2")] {
        world.borrowed.insert(addr.parse().unwrap(), node.to_owned());
    }
    endpoint(world).attachment.addresses.push("6.2.180.5".parse().unwrap());
}

fn overrides(world: &mut World) {
    world.felix.vxlan_vni = Some(Vni(77));
    world.felix.vxlan_port = Some(8472);
    world.felix.vxlan_mtu = Some(Mtu(1300));
    world.felix.ipip_mtu = Some(Mtu(1200));
}

/// By one port, which is the tunnels', and by some interfaces.
fn nat_to_address(world: &mut World) {
    world.felix.nat_outgoing_address = "192.0.2.7".parse().ok();
    world.felix.nat_port_range = "4789".parse().ok();
    world.felix.nat_outgoing_interface_filter = "ens+".parse().ok();
}

fn allow_tunnels(world: &mut World) {
    world.felix.allow_vxlan_packets_from_workloads = Some(true);
    world.felix.allow_ipip_packets_from_workloads = Some(true);
}

#[test]
fn each_world_gives_its_golden_text() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for (name, world) in worlds() {
        let (file, text) = (folder.join(format!("{name}.txt")), text(&world));
        if update {
            fs::write(&file, &text).unwrap();
        }
        if fs::read_to_string(&file).ok().as_ref() != Some(&text) {
            wrong.push(format!("--- {name}\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "not as in tests/golden (UPDATE=1 rewrites):\n{}", wrong.join("\n"));
}

#[test]
fn every_golden_file_has_its_world() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let worlds = worlds();
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let world = name.strip_suffix(".txt").unwrap_or(&name);
        assert!(worlds.contains_key(world), "{name} is left over: remove it");
    }
}
