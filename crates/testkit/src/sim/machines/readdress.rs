//! A node's address changes: somebody gives the uplink another one, and the agent, which is told its address once, is started
//! anew. Until the others have heard of it nothing leads to the node's pods; between the other nodes nothing may be lost.

use super::Machines;
use model::IfAddr;
use std::net::{IpAddr, Ipv4Addr};

/// How much larger the last byte is afterwards: no other node has that.
const FURTHER: u8 = 64;

impl Machines {
    pub(super) fn readdress(&mut self, node: usize) {
        let IpAddr::V4(before) = self.machines[node].kernel.addr().addr() else { unreachable!("IPv4 here") };
        let [a, b, c, d] = before.octets();
        if self.machines[node].is_gone || d > FURTHER {
            return;
        }
        let addr = IfAddr::new(Ipv4Addr::new(a, b, c, d + FURTHER).into(), 24).expect("24 fits IPv4");
        self.excuse(node);
        if !self.bgp {
            // Across a router whose path it lacks, a node keeps a way that it had, and now cannot have any more.
            self.laws.excused.insert(node);
        }
        if self.machines[node].agent.is_some() {
            self.crash(node);
        }
        self.machines[node].kernel.readdress(addr);
        self.laws.touched(node);
    }
}
