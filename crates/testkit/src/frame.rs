//! The frame around a suite: counters of things that went wrong, taken first and compared last, and the logs' complaints.
//! A counter that rose without a test having announced it is a failure of the suite.

use crate::netns;
use std::collections::BTreeMap;
use std::path::Path;

/// Counters of a namespace that should stand still.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

/// Of /proc/net/snmp and netstat: what the kernel dropped or refused.
const WATCHED: [&str; 9] = [
    "Ip.InHdrErrors",
    "Ip.InDiscards",
    "Ip.OutDiscards",
    "Ip.OutNoRoutes",
    "Ip.ReasmFails",
    "Ip.FragFails",
    "Udp.RcvbufErrors",
    "Udp.InErrors",
    "TcpExt.TCPBacklogDrop",
];

impl Counters {
    /// Reads a namespace's counters.
    ///
    /// # Panics
    /// If there is no such namespace.
    pub fn of(path: &Path) -> Counters {
        let mut counters = netns::inside(path, || {
            let read = |name: &str| {
                let file = format!("/proc/thread-self/net/{name}");
                std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}"))
            };
            let mut all = named(&read("snmp"));
            all.append(&mut named(&read("netstat")));
            all.retain(|name, _| WATCHED.contains(&name.as_str()));
            all.append(&mut devices(&read("dev")));
            // A VXLAN device without learning has nowhere to send the kernel's own multicast, which nobody misses.
            let multicast = |device: &str| {
                let file = format!("/proc/thread-self/net/dev_snmp6/{device}");
                multicast(&std::fs::read_to_string(file).unwrap_or_default())
            };
            for (name, dropped) in &mut all {
                let tunnel = name.strip_suffix(" tx drops").filter(|device| device.starts_with("vxlan"));
                *dropped = dropped.saturating_sub(tunnel.map_or(0, multicast));
            }
            all
        });
        let shown = netns::command(path, "nft").args(["list", "counters"]).output();
        counters.append(&mut rules(&netns::succeed("nft list counters", shown)));
        Counters(counters)
    }

    /// What the processors of this machine dropped for want of room in their queues, whatever namespace it was in.
    ///
    /// # Panics
    /// If the kernel does not say.
    pub fn of_machine() -> Counters {
        let text = std::fs::read_to_string("/proc/net/softnet_stat").expect("the kernel counts");
        Counters(BTreeMap::from([("softnet drops".to_owned(), softnet(&text))]))
    }

    /// The counters that rose, and by how much.
    pub fn rose_since(&self, before: &Counters) -> Vec<(String, u64)> {
        let rise = |(name, now): (&String, &u64)| {
            let was = before.0.get(name).copied().unwrap_or(0);
            (*now > was).then(|| (name.clone(), now - was))
        };
        self.0.iter().filter_map(rise).collect()
    }
}

/// Pairs of lines, names and values, as /proc/net/snmp has them.
fn named(text: &str) -> BTreeMap<String, u64> {
    let lines: Vec<&str> = text.lines().collect();
    let mut counters = BTreeMap::new();
    for pair in lines.chunks_exact(2) {
        let (Some((group, names)), Some((_, values))) = (pair[0].split_once(':'), pair[1].split_once(':'))
        else {
            continue;
        };
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            counters.insert(format!("{group}.{name}"), value.parse().unwrap_or(0));
        }
    }
    counters
}

/// Errors and drops of each device, as /proc/net/dev has them.
fn devices(text: &str) -> BTreeMap<String, u64> {
    const COLUMNS: [(usize, &str); 4] =
        [(2, "rx errors"), (3, "rx drops"), (10, "tx errors"), (11, "tx drops")];
    let mut counters = BTreeMap::new();
    for (device, values) in text.lines().skip(2).filter_map(|line| line.split_once(':')) {
        let values: Vec<&str> = values.split_whitespace().collect();
        for (column, name) in COLUMNS {
            let value = values.get(column).and_then(|value| value.parse().ok()).unwrap_or(0);
            counters.insert(format!("{} {name}", device.trim()), value);
        }
    }
    counters
}

/// Multicast that a device has been given to send, as /proc/net/dev_snmp6 has it.
fn multicast(text: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip6OutMcastPkts"));
    lines.next().and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// The second number of each processor, in hexadecimal.
fn softnet(text: &str) -> u64 {
    let drops = text.lines().filter_map(|line| line.split_whitespace().nth(1));
    drops.map(|hex| u64::from_str_radix(hex, 16).unwrap_or(0)).sum()
}

/// Packets of each named counter of nftables.
fn rules(text: &str) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    let mut name = "";
    for words in text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()) {
        match words[..] {
            ["counter", counter, "{"] => name = counter,
            ["packets", packets, ..] => {
                counters.insert(format!("nft {name}"), packets.parse().unwrap_or(0));
            }
            _ => {}
        }
    }
    counters
}

/// Lines of a log at error level, and panics.
pub fn complaints(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("ERROR") || line.contains("panicked at")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::Netns;

    #[test]
    fn a_packet_without_a_route_is_counted() {
        let netns = Netns::new();
        let before = Counters::of(netns.path());
        netns.inside(|| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            assert!(socket.send_to(b"x", "192.0.2.1:9").is_err());
        });
        let rose = Counters::of(netns.path()).rose_since(&before);
        assert!(rose.iter().any(|(name, _)| name == "Ip.OutNoRoutes"), "{rose:?}");
    }

    #[test]
    fn a_packet_that_a_rule_drops_is_counted() {
        let netns = Netns::new();
        netns.run(
            "nft 'add table t; add counter t gone; add chain t c { type filter hook output priority 0; }; \
             add rule t c udp dport 9 counter name gone drop'",
        );
        let before = Counters::of(netns.path());
        netns.inside(|| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let _ = socket.send_to(b"x", "127.0.0.1:9");
        });
        let rose = Counters::of(netns.path()).rose_since(&before);
        assert!(rose.contains(&("nft gone".to_owned(), 1)), "{rose:?}");
    }

    #[test]
    fn of_a_tunnels_drops_multicast_is_none_and_a_packet_for_nobody_is_one() {
        let netns = Netns::new();
        netns.run(
            "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; \
             ip link add vxlan.calico type vxlan id 4096 local 127.0.0.1 dstport 4789 nolearning; \
             ip link set vxlan.calico up; ip address add 192.0.2.1/24 dev vxlan.calico",
        );
        let before = Counters::of(netns.path());
        netns.run("ping -n -c1 -W1 -I vxlan.calico ff02::1 | grep -q '1 packets transmitted'");
        assert_eq!(Counters::of(netns.path()).rose_since(&before), []);
        netns.run(
            "ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 nud permanent dev vxlan.calico; \
             ping -n -c1 -W1 192.0.2.2; true",
        );
        let rose = Counters::of(netns.path()).rose_since(&before);
        assert_eq!(rose, [("vxlan.calico tx drops".to_owned(), 1)]);
    }

    #[test]
    fn drops_of_every_processor_are_added() {
        assert_eq!(softnet("0000aa 00000002 00000000\n0000bb 0000000a 00000000\n"), 12);
    }

    #[test]
    fn a_complaint_is_a_line_at_error_level() {
        let log = "INFO all is well\n2026-01-01 ERROR no route\nWARN so so\n";
        assert_eq!(complaints(log), ["2026-01-01 ERROR no route"]);
    }
}
