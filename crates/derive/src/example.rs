//! A small world to show what is derived from one: three nodes of one subnet, a fourth behind a router, one pool, VXLAN.

use crate::{Attachment, AttachmentId, Endpoint, IpipDriver, Peer, Scope, Uplink, World};
use kernel::PodNs;
use model::v3::EncapMode;
use model::{IfName, Mtu};

/// An attachment with one address of the host interface that a pod of that name in `default` has.
///
/// # Panics
/// If `addr` is none.
pub fn attachment(container: &str, addr: &str) -> Attachment {
    Attachment {
        id: AttachmentId {
            network: "net".into(),
            container_id: container.into(),
            interface: IfName::fixed("eth0"),
        },
        netns: "/run/netns/a".into(),
        netns_inode: (4, 1),
        host_interface: model::names::host_interface("default", container),
        addresses: vec![addr.parse().expect("an address")],
        mtu: Mtu(1450),
        path_mtu: None,
        mtu_is_given: false,
        mac: None,
        forwarding: false,
        pod: Some(("default".into(), container.into())),
        boot_id: "b".into(),
        restoring: false,
        deleted: false,
    }
}

/// The three nodes of one subnet and a fourth behind a router, seen by `node`.
pub fn article(node: &str) -> World {
    let peers = [
        ("master1", "192.168.50.161/24", "6.2.137.65"),
        ("master2", "192.168.50.162/24", "6.2.180.1"),
        ("master3", "192.168.50.163/24", "6.2.136.3"),
        ("master4", "192.168.60.164/24", "6.2.182.1"),
    ]
    .map(|(name, addr, tunnel)| {
        let peer = Peer {
            addr: addr.parse().expect("an address"),
            vxlan_tunnel: Some(tunnel.parse().expect("an address")),
            ipip_tunnel: Some(tunnel.parse().expect("an address")),
            vtep_mac: model::names::vtep_mac(name),
            announcement: None,
        };
        (name.to_owned(), peer)
    });
    let blocks = [
        ("6.2.137.64/26", "master1"),
        ("6.2.180.0/26", "master2"),
        ("6.2.136.0/26", "master3"),
        ("6.2.182.0/26", "master4"),
    ]
    .map(|(cidr, owner)| (cidr.parse().expect("a CIDR"), owner.to_owned()));
    let pool = serde_json::from_value(serde_json::json!({
        "cidr": "6.2.0.0/16", "vxlanMode": "Always", "natOutgoing": true, "blockSize": 26,
    }));
    World {
        node: node.into(),
        peers: peers.into(),
        pools: [("default-ipv4-ippool".to_owned(), pool.expect("a pool"))].into(),
        blocks: blocks.into(),
        ipip: Some(IpipDriver::Kernel),
        uplink: Some(Uplink { device: IfName::fixed("ens192"), mtu: Mtu(1500) }),
        ..World::default()
    }
}

/// The same with IPIP.
pub fn ipip_mode(world: World, ipip: EncapMode, driver: IpipDriver) -> World {
    let mut world = pool_mode(world, EncapMode::Never);
    for pool in world.pools.values_mut() {
        pool.ipip_mode = ipip;
    }
    World { ipip: Some(driver), ..world }
}

/// The same with another mode of VXLAN.
pub fn pool_mode(mut world: World, vxlan: EncapMode) -> World {
    for pool in world.pools.values_mut() {
        pool.vxlan_mode = vxlan;
    }
    world
}

/// master1 with its pod, whose namespace is open under `netns`.
pub fn article_with_pod(netns: PodNs) -> World {
    let mut world = article("master1");
    let attachment = attachment("ping-test-rfwx9", "6.2.137.67");
    world
        .endpoints
        .insert(attachment.id.clone(), Endpoint { attachment, netns: Some(netns), scope: Scope::Whole });
    world
}
