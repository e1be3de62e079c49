//! One packet's way from a pod (or a node) to an address over all nodes' kernels, and where it ends.
//!
//! ```text
//!   pod: default route ─► its pair ─► node: rules, route ─┬─► a pod here: delivered
//!                                           ▲             ├─► uplink ────────────────┐
//!                                           │             └─► tunl0, vxlan.calico ─► outer packet
//!                                           └── accepted? rp_filter? ◄── far node ◄──┘
//! ```

use super::kernel::{FakeKernel, UPLINK, host_link};
use super::packet::{Load, MASQUERADED, Packet, Place, judge};
use super::tunnels::{encapsulate_ipip, encapsulate_vxlan, ingress, is_vxlan};
use kernel::nft::HookPoint;
use kernel::route::TABLE_MAIN;
use kernel::{
    Key, LinkKey, LinkKind, NeighKey, Netns, PodNs, RouteKey, RouteKind, RouteValue, SysctlKey, Value,
};
use model::{Cidr, IfName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// What is said of a packet that came to the node itself.
pub const FOR_THE_NODE: &str = "it is for the node itself";
/// More nodes than this no packet passes.
const TTL: usize = 16;
/// How large the packets are that nodes send.
const PING: u32 = 84;

/// What lies between the nodes' kernels.
pub struct Underlay<'a> {
    pub kernels: Vec<&'a FakeKernel>,
    /// Nodes between which no packet passes.
    pub cut: &'a BTreeSet<(usize, usize)>,
    /// What the router between the subnets knows besides the subnets.
    pub routed: &'a BTreeMap<Cidr, Ipv4Addr>,
}

/// How a walk ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// In this node's namespace.
    Delivered {
        node: usize,
        space: PodNs,
    },
    Loop,
    Dropped {
        node: usize,
        why: String,
    },
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Delivered { node, .. } => write!(f, "delivered by n{}", node + 1),
            End::Loop => f.write_str("a loop"),
            End::Dropped { node, why } => write!(f, "dropped by n{}: {why}", node + 1),
        }
    }
}

type Dropped = (usize, String);

fn dropped<T>(node: usize, why: impl Into<String>) -> Result<T, Dropped> {
    Err((node, why.into()))
}

impl Underlay<'_> {
    /// From a pod to an address: a packet as large as the pod sends, but no larger than `at_most`.
    pub fn from_pod(&self, node: usize, space: PodNs, ends: (Ipv4Addr, Ipv4Addr), at_most: u32) -> End {
        self.way_from_pod(node, space, ends, at_most).1
    }

    /// The same with the nodes to which it comes, in turn.
    pub fn way_from_pod(
        &self,
        node: usize,
        space: PodNs,
        (src, dst): (Ipv4Addr, Ipv4Addr),
        at_most: u32,
    ) -> (Vec<usize>, End) {
        match self.leave_pod(node, space, src) {
            Ok((iif, largest)) => {
                let size = largest.min(at_most);
                self.walk(node, iif.as_str(), Packet { src, dst, mark: 0, size, load: Load::Echo })
            }
            Err((node, why)) => (vec![node], End::Dropped { node, why }),
        }
    }

    /// The largest packet that a pod sends, if it can send.
    pub fn largest(&self, node: usize, space: PodNs, src: Ipv4Addr) -> u32 {
        self.leave_pod(node, space, src).map_or(0, |(_, largest)| largest)
    }

    /// From a node itself to an address.
    pub fn from_node(&self, node: usize, dst: Ipv4Addr) -> End {
        self.way_from_node(node, dst).1
    }

    /// The same with the nodes to which it comes, in turn.
    pub fn way_from_node(&self, node: usize, dst: Ipv4Addr) -> (Vec<usize>, End) {
        let IpAddr::V4(src) = self.kernels[node].addr().addr() else { unreachable!("uplinks are IPv4 here") };
        self.walk(node, "lo", Packet { src, dst, mark: 0, size: PING, load: Load::Echo })
    }

    /// The node's end of the pod's pair, if the pod can send, and the largest packet that the pod sends.
    fn leave_pod(&self, node: usize, space: PodNs, src: Ipv4Addr) -> Result<(IfName, u32), Dropped> {
        let (kernel, netns) = (self.kernels[node], Netns::Pod(space));
        let Some((_, way)) = lookup(kernel, netns, Ipv4Addr::new(10, 255, 255, 254)) else {
            return dropped(node, "the pod has no default route");
        };
        let device = way.device.clone().expect("a pod's routes have devices");
        let has_source = kernel.addresses(netns).any(|key| key.addr.addr() == IpAddr::V4(src));
        let end = LinkKey { netns, name: device.clone() };
        let gateway = way.gateway.map(|addr| Key::Neigh(NeighKey { netns, device, addr }));
        if !has_source || !kernel.is_up(&end) {
            return dropped(node, "the pod's interface is not up with its address");
        }
        if gateway.is_some_and(|key| !kernel.objects().contains_key(&key)) {
            return dropped(node, "the pod does not know its gateway's MAC");
        }
        let own = kernel.mtu(&end);
        let largest = way.mtu.map_or(own, |mtu| mtu.0.min(own));
        match kernel.other_end(&end) {
            Some(host) => Ok((host.name.clone(), largest)),
            None => dropped(node, "the node's end of the pod's pair is not up"),
        }
    }

    fn walk(&self, from: usize, iif: &str, packet: Packet) -> (Vec<usize>, End) {
        let (mut node, mut iif, mut packet, mut way) = (from, iif.to_owned(), packet, vec![from]);
        for _ in 0..TTL {
            match self.pass(node, &iif, packet) {
                Ok(Passed::To(space)) => return (way, End::Delivered { node, space }),
                Ok(Passed::On(next, device, changed)) => (node, iif, packet) = (next, device, changed),
                Err((node, why)) => {
                    way.push(node);
                    return (way, End::Dropped { node, why });
                }
            }
            way.push(node);
        }
        (way, End::Loop)
    }

    /// Through one node, up to the pod or to the next node's routing.
    fn pass(&self, node: usize, iif: &str, mut packet: Packet) -> Result<Passed, Dropped> {
        let kernel = self.kernels[node];
        let is_local = |addr| local(kernel, addr);
        let place = |point, oif| Place { point, iif, oif, is_local: &is_local };
        let ask =
            |packet: &mut Packet, place: Place<'_>| judge(kernel, packet, &place).map_err(|why| (node, why));
        if iif != "lo" {
            ask(&mut packet, place(HookPoint::Prerouting, ""))?;
        }
        let (dst, way) = route(kernel, iif, packet.src, packet.dst).map_err(|why| (node, why))?;
        // A router that happens to know the way may carry it by the default route: nothing that is kept.
        if dst.len() == 0 && matches!(packet.load, Load::Echo) {
            return dropped(node, format!("no route to {} but the default one", packet.dst));
        }
        let device = way.device.clone().expect("a unicast route has a device here");
        let link = LinkKey { netns: Netns::Host, name: device.clone() };
        if !kernel.is_up(&link) {
            return dropped(node, format!("{device} is not up"));
        }
        let limit = way.mtu.map_or_else(|| kernel.mtu(&link), |mtu| mtu.0);
        fits(packet.size, limit, &device).map_err(|why| (node, why))?;
        ask(&mut packet, place(HookPoint::Forward, device.as_str()))?;
        match ask(&mut packet, place(HookPoint::Postrouting, device.as_str())) {
            // What the node itself sends may have any source of the node's.
            Err((_, why)) if why == MASQUERADED && iif == "lo" => packet.src = source(kernel, &device),
            judged => judged?,
        }
        let hop = match way.gateway {
            Some(IpAddr::V4(gateway)) => gateway,
            _ => packet.dst,
        };
        match device.as_str() {
            UPLINK => {
                let next = self.next(node, hop, packet.dst)?;
                self.arrive(next, packet)
            }
            "tunl0" => {
                self.arrive_outer(node, encapsulate_ipip(kernel, packet, hop).map_err(|why| (node, why))?)
            }
            "vxlan.calico" => {
                self.arrive_outer(node, encapsulate_vxlan(kernel, packet, hop).map_err(|why| (node, why))?)
            }
            _ => self.to_pod(node, &link, &packet).map(Passed::To),
        }
    }

    fn to_pod(&self, node: usize, link: &LinkKey, packet: &Packet) -> Result<PodNs, Dropped> {
        let kernel = self.kernels[node];
        let Some(end) = kernel.other_end(link) else {
            return dropped(node, format!("the pod behind {} is not up", link.name));
        };
        let addr = IpAddr::V4(packet.dst);
        let has = kernel.addresses(end.netns).any(|key| key.addr.addr() == addr);
        let neigh = Key::Neigh(NeighKey { netns: Netns::Host, device: link.name.clone(), addr });
        let far = kernel.objects().get(&Key::Link(end.clone()));
        match (kernel.objects().get(&neigh), far) {
            (Some(Value::Neigh(neigh)), Some(Value::Link(far))) if far.mac == Some(neigh.mac) => {}
            _ => return dropped(node, format!("{} has no neighbour {addr} with the pod's MAC", link.name)),
        }
        fits(packet.size, kernel.mtu(end), &end.name).map_err(|why| (node, why))?;
        match end.netns {
            Netns::Pod(space) if has => Ok(space),
            _ => dropped(node, format!("the pod behind {} does not have {addr}", link.name)),
        }
    }

    /// An outer packet goes out by the node's uplink and comes to a node that decapsulates it.
    fn arrive_outer(&self, node: usize, outer: Packet) -> Result<Passed, Dropped> {
        let kernel = self.kernels[node];
        let Some((_, way)) = lookup(kernel, Netns::Host, outer.dst) else {
            return dropped(node, format!("no route to {}", outer.dst));
        };
        fits(outer.size, kernel.mtu(&host_link(UPLINK)), &UPLINK).map_err(|why| (node, why))?;
        let hop = match way.gateway {
            Some(IpAddr::V4(gateway)) => gateway,
            _ => outer.dst,
        };
        let next = self.next(node, hop, outer.dst)?;
        self.arrive(next, outer)
    }

    /// The node that a packet comes to.
    fn next(&self, node: usize, hop: Ipv4Addr, dst: Ipv4Addr) -> Result<usize, Dropped> {
        let subnet = self.kernels[node].addr().subnet();
        let whose =
            |addr: Ipv4Addr| self.kernels.iter().position(|kernel| kernel.addr().addr() == IpAddr::V4(addr));
        if !subnet.contains(hop.into()) {
            return dropped(node, format!("{hop} is not on the uplink's subnet"));
        }
        let next = if IpAddr::V4(hop) == super::router_of(subnet) {
            let known = self.routed.iter().filter(|(net, _)| net.contains(dst.into()));
            whose(dst).or_else(|| known.max_by_key(|(net, _)| net.len()).and_then(|(_, node)| whose(*node)))
        } else {
            whose(hop)
        };
        match next {
            Some(next) if self.cut.contains(&(node, next)) || self.cut.contains(&(next, node)) => {
                dropped(node, format!("the network between n{} and n{} is cut", node + 1, next + 1))
            }
            Some(next) => Ok(next),
            None => dropped(node, format!("nobody answers for {hop}")),
        }
    }

    /// A packet comes in by a node's uplink.
    fn arrive(&self, node: usize, mut packet: Packet) -> Result<Passed, Dropped> {
        let kernel = self.kernels[node];
        if !local(kernel, packet.dst) {
            return Ok(Passed::On(node, UPLINK.to_owned(), packet));
        }
        if let Some(inner) = ingress(kernel, &mut packet) {
            return match kernel.is_up(&host_link("tunl0")) {
                true => Ok(Passed::On(node, "tunl0".to_owned(), inner)),
                false => dropped(node, "tunl0 is not up"),
            };
        }
        let is_local = |addr| local(kernel, addr);
        for point in [HookPoint::Prerouting, HookPoint::Input] {
            let place = Place { point, iif: UPLINK, oif: "", is_local: &is_local };
            judge(kernel, &mut packet, &place).map_err(|why| (node, why))?;
        }
        match packet.load {
            Load::Echo => dropped(node, FOR_THE_NODE),
            Load::Ipip(inner) => match kernel.objects().get(&Key::Link(host_link("tunl0"))) {
                Some(Value::Link(link)) if link.kind == LinkKind::Ipip && link.up => {
                    Ok(Passed::On(node, "tunl0".to_owned(), Packet { mark: packet.mark, ..*inner }))
                }
                _ => dropped(node, "nobody here takes IP in IP"),
            },
            Load::Vxlan { vni, mac, inner, .. } => {
                match kernel.objects().get(&Key::Link(host_link("vxlan.calico"))) {
                    Some(Value::Link(link)) if link.up && is_vxlan(&link.kind, vni, packet.dst) => {
                        if link.mac == Some(mac) {
                            return Ok(Passed::On(node, "vxlan.calico".to_owned(), *inner));
                        }
                        dropped(node, "the frame is for another MAC")
                    }
                    _ => dropped(node, "vxlan.calico is absent or not up"),
                }
            }
        }
    }
}

fn fits(size: u32, limit: u32, device: &dyn fmt::Display) -> Result<(), String> {
    if size > limit { Err(format!("{size} bytes do not fit {device}, which takes {limit}")) } else { Ok(()) }
}

enum Passed {
    To(PodNs),
    On(usize, String, Packet),
}

/// What routing says of a packet that came in by an interface, or is the node's own (`lo`): by which route it leaves.
pub fn route<'a>(
    kernel: &'a FakeKernel,
    iif: &str,
    src: Ipv4Addr,
    dst: Ipv4Addr,
) -> Result<(Cidr, &'a RouteValue), String> {
    if iif != "lo" {
        reverse_path(kernel, iif, src)?;
    }
    if local(kernel, dst) {
        return Err(FOR_THE_NODE.to_owned());
    }
    if iif != "lo" && setting(kernel, "net/ipv4/ip_forward") != Some("1") {
        return Err("ip_forward is off".to_owned());
    }
    match lookup(kernel, Netns::Host, dst) {
        Some((net, way)) if way.kind == RouteKind::Unicast => Ok((net, way)),
        Some((net, _)) => Err(format!("{net} is a blackhole")),
        None => Err(format!("no route to {dst}")),
    }
}

/// The route that decides: the longest prefix.
fn lookup(kernel: &FakeKernel, netns: Netns, dst: Ipv4Addr) -> Option<(Cidr, &RouteValue)> {
    let first = Key::Route(RouteKey {
        netns,
        table: 0,
        dst: Cidr::host(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        priority: 0,
    });
    let routes = kernel.objects().range(first..).map_while(|(key, value)| match (key, value) {
        (Key::Route(key), Value::Route(route)) if key.netns == netns => Some((key, route)),
        _ => None,
    });
    let leads = |key: &RouteKey| key.table == TABLE_MAIN && key.dst.contains(dst.into());
    let routes = routes.filter(|(key, _)| leads(key)).map(|(key, route)| (key.dst, route));
    routes.max_by_key(|(cidr, _)| cidr.len())
}

fn local(kernel: &FakeKernel, addr: Ipv4Addr) -> bool {
    kernel.has(addr.into())
}

/// What masquerading puts in a packet's source: the address of the interface by which it leaves.
fn source(kernel: &FakeKernel, device: &IfName) -> Ipv4Addr {
    let on_it = kernel.addresses(Netns::Host).find(|key| key.device == *device).map(|key| key.addr.addr());
    match on_it.unwrap_or_else(|| kernel.addr().addr()) {
        IpAddr::V4(addr) => addr,
        IpAddr::V6(_) => unreachable!("addresses are IPv4 here"),
    }
}

fn setting<'a>(kernel: &'a FakeKernel, path: &str) -> Option<&'a str> {
    match kernel.objects().get(&Key::Sysctl(SysctlKey { netns: Netns::Host, path: path.to_owned() })) {
        Some(Value::Sysctl(value)) => Some(&value.0),
        _ => None,
    }
}

/// Interfaces come up strict, as distributions have it: loose only where somebody says so (`fib_validate_source`).
fn reverse_path(kernel: &FakeKernel, iif: &str, src: Ipv4Addr) -> Result<(), String> {
    if local(kernel, src) {
        return Err(format!("{src} is the node's own (martian source)"));
    }
    // An interface without an address is loose to nobody.
    let is_loose = setting(kernel, &format!("net/ipv4/conf/{iif}/rp_filter")) == Some("2")
        && kernel.addresses(Netns::Host).any(|key| key.device.as_str() == iif);
    let back = lookup(kernel, Netns::Host, src).filter(|(_, way)| way.kind == RouteKind::Unicast);
    match back.map(|(_, way)| &way.device) {
        Some(device) if is_loose || device.as_ref().is_some_and(|device| device.as_str() == iif) => Ok(()),
        Some(_) => Err(format!("the way back to {src} is not {iif} (rp_filter)")),
        None => Err(format!("there is no way back to {src} (rp_filter)")),
    }
}
