//! The router between the subnets: it reflects what it hears from the nodes, with itself as the next hop. What it knows decides
//! whether a packet without encapsulation gets to the other subnet.

use super::speakers::{AS, BGP, Who};
use super::{Broken, Machines, router_of};
use bgp::wire::{NextHop, RouterId};
use bgp::{NexthopMode, Paths, PeerConfig, PeerId};
use model::v3::BgpPeer;
use model::{Cidr, IfName, Metadata};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

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

    /// Nodes of whose lives before the router still has routes, and that speak with it again.
    pub(super) fn renewing_at_router(&self) -> BTreeSet<usize> {
        let sessions = self.sessions_of(Who::Router);
        let renewing =
            sessions.iter().filter(|session| session.state == "Established" && session.stale_until.is_some());
        let node = |addr| self.machines.iter().position(|machine| machine.kernel.addr().addr() == addr);
        renewing.filter_map(|session| node(session.addr)).collect()
    }

    /// Of nodes that were renewing what they had told the router, those whose sessions have ended again meanwhile: what they told
    /// before must go (RFC 4724 §4.2, consecutive restarts), and nothing can be promised across the router.
    pub(super) fn lose_at_router(&mut self, renewing: BTreeSet<usize>) {
        if renewing.is_empty() {
            return;
        }
        let sessions = self.sessions_of(Who::Router);
        let up: BTreeSet<IpAddr> = sessions
            .iter()
            .filter(|session| session.state == "Established")
            .map(|session| session.addr)
            .collect();
        let lost =
            renewing.into_iter().filter(|node| !up.contains(&self.machines[*node].kernel.addr().addr()));
        let lost: Vec<usize> = lost.collect();
        self.laws.excused.extend(lost);
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
