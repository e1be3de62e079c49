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
        netns::inside(path, || {
            let read = |name: &str| {
                let file = format!("/proc/thread-self/net/{name}");
                std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}"))
            };
            let mut all = named(&read("snmp"));
            all.append(&mut named(&read("netstat")));
            all.retain(|name, _| WATCHED.contains(&name.as_str()));
            all.append(&mut devices(&read("dev")));
            Counters(all)
        })
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
    fn a_complaint_is_a_line_at_error_level() {
        let log = "INFO all is well\n2026-01-01 ERROR no route\nWARN so so\n";
        assert_eq!(complaints(log), ["2026-01-01 ERROR no route"]);
    }
}
