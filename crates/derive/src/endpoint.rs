//! A pod's interface, both sides:
//!
//! ```text
//!  node: cali7f94ce7c295  ee:ee:ee:ee:ee:ee ───── eth0  ADDRESS/32 :pod
//!        ADDRESS dev cali… scope link             169.254.1.1 dev eth0 scope link, at ee:ee:ee:ee:ee:ee
//!        ADDRESS at the pod's MAC                 default via 169.254.1.1
//! ```
//!
//! Differs from Calico: both neighbours are permanent. The first packet waits for no ARP, and a node without a default
//! route (for which the kernel would not answer for 169.254.1.1) works.

use crate::host::sysctl;
use crate::routes::main;
use crate::{Attachment, AttachmentId, Endpoint, Part, Scope, World};
use kernel::addr::AddrScope;
use kernel::link::VethPeer;
use kernel::route::{PROTO_BOOT, PROTO_CALICO, TABLE_MAIN};
use kernel::{
    AddrKey, AddrValue, Key, LinkKey, LinkKind, LinkValue, NeighKey, NeighValue, Netns, Objects, RouteKey,
    RouteKind, RouteScope, RouteValue, Value,
};
use model::{Cidr, IfAddr, IfName, Mac};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// The gateway of every pod, which no interface has.
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));

pub(crate) fn derive(world: &World) -> Objects {
    world.endpoints.values().flat_map(endpoint_objects).collect()
}

/// What of the section of endpoints may change with some of them, which were `before`: what they had or have.
pub fn moved_endpoints(world: &World, before: &BTreeMap<AttachmentId, Option<Endpoint>>) -> Part {
    let now = before.keys().filter_map(|id| world.endpoints.get(id));
    let moved: Vec<&Endpoint> = before.values().flatten().chain(now).collect();
    let mut part: Part = moved.iter().copied().flat_map(endpoint_keys).map(|key| (key, None)).collect();
    let sharing = world.endpoints.values().filter(|other| moved.iter().any(|one| may_share(one, other)));
    for (key, value) in sharing.flat_map(endpoint_objects) {
        part.entry(key).and_modify(|wanted| *wanted = Some(value));
    }
    part
}

/// Whether two endpoints may have a key in common. Two attachments have not, but for what files or the API say amiss.
fn may_share(a: &Endpoint, b: &Endpoint) -> bool {
    let (one, other) = (&a.attachment, &b.attachment);
    one.host_interface == other.host_interface
        || a.netns.is_some() && a.netns == b.netns
        || one.addresses.iter().any(|addr| other.addresses.contains(addr))
}

/// What must be in the kernel before the pod may run; its elements of the rules come on top.
pub fn endpoint_objects(endpoint: &Endpoint) -> Objects {
    let pod = endpoint.netns.into_iter().flat_map(|netns| {
        let objects = pod_side(&endpoint.attachment, Netns::Pod(netns));
        objects.into_iter().filter(|(key, value)| endpoint.scope == Scope::Whole || is_of_size(key, value))
    });
    host_side(endpoint).into_iter().chain(pod).collect()
}

/// The keys of [`endpoint_objects`].
pub fn endpoint_keys(endpoint: &Endpoint) -> Vec<Key> {
    endpoint_objects(endpoint).into_keys().collect()
}

impl Attachment {
    /// The pod's MAC: the one that it was given, else one made from the attachment, locally administered. Known in
    /// advance, it can stand in the node's neighbour table before the pod sends anything.
    pub fn pod_mac(&self) -> Mac {
        self.mac.unwrap_or_else(|| {
            // FNV-1a, 64 bits.
            let text = format!("{} {} {}", self.id.network, self.id.container_id, self.id.interface);
            let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
            let [_, _, b, c, d, e, f, g] = hash.to_be_bytes();
            Mac([b & 0xfc | 0x02, c, d, e, f, g])
        })
    }
}

impl AttachmentId {
    /// What `ifalias` of the host's interface holds: enough to find the attachment again from the kernel alone.
    pub fn alias(&self) -> String {
        format!("cni {} {} {}", self.network, self.container_id, self.interface)
    }

    /// The attachment that an `ifalias` names.
    pub fn from_alias(alias: &str) -> Option<AttachmentId> {
        let mut words = alias.strip_prefix("cni ")?.split(' ');
        let (network, container_id, interface) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() {
            return None;
        }
        let interface = interface.parse().ok()?;
        Some(AttachmentId { network: network.into(), container_id: container_id.into(), interface })
    }
}

/// Whether it decides how large a pod's packets are: its interface and its default route.
fn is_of_size(key: &Key, value: &Value) -> bool {
    match (key, value) {
        (Key::Link(_), _) => true,
        (Key::Route(_), Value::Route(route)) => route.gateway.is_some(),
        _ => false,
    }
}

fn host_side(endpoint: &Endpoint) -> Vec<(Key, Value)> {
    let attachment = &endpoint.attachment;
    let name = &attachment.host_interface;
    let peer = endpoint.netns.map(|netns| VethPeer {
        key: LinkKey { netns: Netns::Pod(netns), name: attachment.id.interface.clone() },
        mac: Some(attachment.pod_mac()),
        mtu: Some(attachment.mtu),
    });
    let link = LinkValue {
        kind: LinkKind::Veth { peer },
        mac: Some(Mac::WORKLOAD_HOST),
        mtu: Some(attachment.mtu),
        up: true,
        alias: Some(attachment.id.alias()),
    };
    let conf = |path: &str, value| {
        sysctl(Netns::Host, format!("net/{path}", path = path.replace("IF", name.as_str())), value)
    };
    let mut objects = vec![
        (Key::Link(LinkKey { netns: Netns::Host, name: name.clone() }), Value::Link(Box::new(link))),
        conf("ipv4/conf/IF/forwarding", "1"),
        conf("ipv4/conf/IF/proxy_arp", "1"),
        conf("ipv4/neigh/IF/proxy_delay", "0"),
        // A pod must not become the node's router (CVE-2020-13597), nor say where one is.
        conf("ipv4/conf/IF/accept_redirects", "0"),
    ];
    if attachment.addresses.iter().any(IpAddr::is_ipv6) {
        objects.push(conf("ipv6/conf/IF/accept_ra", "0"));
        objects.push(conf("ipv6/conf/IF/accept_redirects", "0"));
    } else {
        // Nor a thousand neighbours, which it would be by asking as as many.
        objects.push(conf("ipv6/conf/IF/disable_ipv6", "1"));
    }
    for addr in &attachment.addresses {
        let route = RouteValue {
            kind: RouteKind::Unicast,
            gateway: None,
            device: Some(name.clone()),
            scope: RouteScope::Link,
            onlink: false,
            protocol: PROTO_CALICO,
            source: None,
            mtu: None,
            also: Vec::new(),
        };
        objects.push((main(Cidr::host(*addr)), Value::Route(route)));
        objects.push(neigh(Netns::Host, name, *addr, attachment.pod_mac()));
    }
    objects
}

fn pod_side(attachment: &Attachment, netns: Netns) -> Vec<(Key, Value)> {
    let name = &attachment.id.interface;
    let link = LinkValue {
        kind: LinkKind::Veth { peer: None },
        mac: Some(attachment.pod_mac()),
        mtu: Some(attachment.mtu),
        up: true,
        alias: None,
    };
    let route = |dst: Cidr, gateway: Option<IpAddr>, scope| {
        let value = RouteValue {
            kind: RouteKind::Unicast,
            gateway,
            device: Some(name.clone()),
            scope,
            onlink: false,
            protocol: PROTO_BOOT,
            source: None,
            mtu: gateway.and(attachment.path_mtu),
            also: Vec::new(),
        };
        (Key::Route(RouteKey { netns, table: TABLE_MAIN, dst, priority: 0 }), Value::Route(value))
    };
    let forwarding = if attachment.forwarding { "1" } else { "0" };
    let mut objects = vec![
        (Key::Link(LinkKey { netns, name: name.clone() }), Value::Link(Box::new(link))),
        sysctl(netns, "net/ipv4/ip_forward".into(), forwarding),
        route(Cidr::host(GATEWAY), None, RouteScope::Link),
        route(default_route(), Some(GATEWAY), RouteScope::Universe),
        neigh(netns, name, GATEWAY, Mac::WORKLOAD_HOST),
    ];
    objects.extend(attachment.addresses.iter().map(|addr| {
        let addr =
            IfAddr::new(*addr, if addr.is_ipv4() { 32 } else { 128 }).expect("a host prefix fits its family");
        let key = AddrKey { netns, device: name.clone(), addr };
        (Key::Addr(key), Value::Addr(AddrValue { scope: AddrScope::Global }))
    }));
    objects
}

fn default_route() -> Cidr {
    Cidr::containing(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0).expect("0 fits every family")
}

fn neigh(netns: Netns, device: &IfName, addr: IpAddr, mac: Mac) -> (Key, Value) {
    let key = NeighKey { netns, device: device.clone(), addr };
    (Key::Neigh(key), Value::Neigh(NeighValue { mac, permanent: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_is_found_again_by_its_alias() {
        let id = AttachmentId {
            network: "k8s-pod-network".into(),
            container_id: "a1".repeat(32),
            interface: IfName::fixed("eth0"),
        };
        assert!(id.alias().len() < 256, "IFALIASZ");
        assert_eq!(AttachmentId::from_alias(&id.alias()), Some(id));
        assert_eq!(AttachmentId::from_alias("somebody else's words"), None);
        assert_eq!(AttachmentId::from_alias("cni ens192"), None);
    }

    #[test]
    fn a_pods_mac_is_unicast_and_locally_administered() {
        let attachment = crate::example::attachment("a", "6.2.137.67");
        let mac = attachment.pod_mac();
        assert!(mac.is_unicast());
        assert_eq!(mac.0[0] & 2, 2);
    }
}
