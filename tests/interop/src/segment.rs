//! A network segment: a bridge in a namespace of its own, and hosts around it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use testkit::netns::Netns;

/// The bridge. It goes when this is dropped, with what is attached to it.
#[derive(Debug)]
pub struct Segment {
    bridge: Netns,
}

/// A namespace with an interface `e0` on the segment.
#[derive(Debug)]
pub struct Host {
    pub netns: Netns,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

impl Segment {
    /// A bridge without hosts.
    ///
    /// # Panics
    /// Without the rights of root.
    pub fn new() -> Segment {
        let bridge = Netns::new();
        bridge.run("ip link add br0 type bridge mcast_snooping 0 && ip link set br0 up");
        Segment { bridge }
    }

    /// Another host: 10.9.0.`number` and fd09::`number` in hexadecimal.
    ///
    /// # Panics
    /// Without the rights of root.
    pub fn host(&self, number: u8) -> Host {
        let netns = Netns::new();
        let (v4, v6) =
            (Ipv4Addr::new(10, 9, 0, number), Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, number.into()));
        self.bridge.run(&format!(
            "ip link add p{number} type veth peer name e0 netns {} && ip link set p{number} master br0 up",
            netns.path().display()
        ));
        netns.run(&format!(
            "ip addr add {v4}/24 dev e0 && ip addr add {v6}/64 dev e0 nodad && ip link set e0 up"
        ));
        Host { netns, v4, v6 }
    }
}

impl Default for Segment {
    fn default() -> Segment {
        Segment::new()
    }
}

impl Host {
    /// Its address of the same family as `other`.
    pub fn like(&self, other: IpAddr) -> IpAddr {
        if other.is_ipv4() { self.v4.into() } else { self.v6.into() }
    }
}
