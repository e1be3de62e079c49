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

/// What a session goes over. It carries prefixes of the same family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    V4,
    V6,
}

impl Over {
    pub const BOTH: [Over; 2] = [Over::V4, Over::V6];
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
            // An address outlives that its interface is down, in both families.
            "sysctl -q net.ipv6.conf.e0.keep_addr_on_down=1 && ip addr add {v4}/24 dev e0 && ip addr add {v6}/64 dev e0 nodad && ip link set e0 up"
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
    /// Its end of a session.
    pub fn end(&self, over: Over) -> IpAddr {
        match over {
            Over::V4 => self.v4.into(),
            Over::V6 => self.v6.into(),
        }
    }

    /// A prefix that is this host's to announce: 10.`number`.0.0/26 or fd`number`::/122.
    pub fn block(&self, over: Over) -> String {
        let number = self.v4.octets()[3];
        match over {
            Over::V4 => format!("10.{number}.0.0/26"),
            Over::V6 => format!("fd{number:02x}::/122"),
        }
    }

    pub fn blocks(&self) -> [String; 2] {
        Over::BOTH.map(|over| self.block(over))
    }

    /// Its address of the same family as `other`.
    pub fn like(&self, other: IpAddr) -> IpAddr {
        if other.is_ipv4() { self.v4.into() } else { self.v6.into() }
    }
}
