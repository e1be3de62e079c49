//! The router between the subnets: it reflects what it hears from the nodes, with itself as the next hop. What it knows decides
//! whether a packet without encapsulation gets to the other subnet.

use super::speakers::{AS, BGP, Who};
use super::{Broken, Machines, router_of};
use bgp::wire::{NextHop, RouterId};
use bgp::{NexthopMode, Paths, PeerConfig, PeerId, PeerStatus};
use model::v3::BgpPeer;
use model::{Cidr, IfName, Metadata};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

impl Machines {
    /// Lets the nodes speak BGP, with each other and with the router, before the first start.
    pub fn bgp(mut self) -> Machines {
        self.bgp = true;
        for subnet in self.subnets() {
            let spec = serde_json::json!({
                "peerIP": router_of(subnet),
                "asNumber": AS,
                "nodeSelector": format!("subnet == '{}'", subnet_label(subnet)),
            });
            let name = format!("router-{}", subnet_label(subnet));
            let spec = serde_json::from_value(spec).expect("it is a peer's");
            self.create(BgpPeer { metadata: Metadata::named(name), spec }.into());
        }
        self
    }

    /// Both subnets that there can be.
    pub(super) fn subnets(&self) -> [Cidr; 2] {
        [10, 11].map(|n| Cidr::containing(Ipv4Addr::new(192, 168, n, 0).into(), 24).expect("24 fits IPv4"))
    }

    /// The router speaks with every node that there is.
    pub(super) fn instruct_router(&mut self) -> Result<(), Broken> {
        if !self.bgp {
            return Ok(());
        }
        let alive = self.machines.iter().filter(|machine| !machine.is_gone);
        let addrs = alive.map(|machine| machine.kernel.addr().addr());
        let peers = addrs.map(|addr| {
            let peer =
                PeerConfig { rr_client: true, nexthop: NexthopMode::SelfAlways, ..PeerConfig::new(addr, AS) };
            (PeerId::new(&addr.to_string()), peer)
        });
        let id = Ipv4Addr::new(192, 168, 10, 254);
        let config = bgp::Config {
            asn: AS,
            router_id: RouterId(id),
            cluster_id: Some(id),
            listen_port: BGP,
            graceful_restart: Some(120),
            restarting: false,
            peers: peers.collect(),
            originate: BTreeMap::new(),
            all_paths: false,
            connected: self.subnets().into_iter().zip(["left", "right"].map(IfName::fixed)).collect(),
            addresses: self.subnets().map(router_of).into(),
            nexthop_v4: None,
            nexthop_v6: None,
        };
        self.configure(Who::Router, config)
    }

    /// Nodes of whose lives before the router still has routes, and whether it speaks with each again.
    pub(super) fn stale_at_router(&self) -> BTreeMap<usize, bool> {
        let sessions = self.sessions_of(Who::Router);
        let stale = sessions.iter().filter(|session| session.stale_until.is_some());
        let node = |addr| self.machines.iter().position(|machine| machine.kernel.addr().addr() == addr);
        stale.filter_map(|session| Some((node(session.addr)?, session.state == "Established"))).collect()
    }

    /// Of nodes whose routes were `stale` the router has lost some: with a session that ended before it told all anew (RFC 4724
    /// §4.2, consecutive restarts), or with the restart time, if something kept the two apart. Nothing can be promised across the
    /// router of those.
    pub(super) fn lose_at_router(&mut self, stale: BTreeMap<usize, bool>) {
        if stale.is_empty() {
            return;
        }
        let sessions = self.sessions_of(Who::Router);
        for (node, spoke_again) in stale {
            let addr = self.machines[node].kernel.addr().addr();
            let keeps = |session: &PeerStatus| {
                session.addr == addr && (session.state == "Established" || session.stale_until.is_some())
            };
            let is_excused = spoke_again || self.speakers.lines.is_marred(Who::Router, Who::Node(node));
            if is_excused && !sessions.iter().any(keeps) {
                self.laws.excused.insert(node);
            }
        }
    }

    /// What the router knows now.
    pub(super) fn route(&mut self, best: Vec<(Cidr, Paths)>) {
        for (dst, paths) in best {
            match paths.first().map(|path| path.nexthop) {
                Some(NextHop::V4(nexthop)) => _ = self.routed.insert(dst, nexthop),
                _ => _ = self.routed.remove(&dst),
            }
        }
        (0..self.machines.len()).for_each(|node| self.laws.touched(node));
    }
}

/// What stands in the label `subnet` of a subnet's nodes.
pub(super) fn subnet_label(subnet: Cidr) -> String {
    subnet.addr().to_string()
}
