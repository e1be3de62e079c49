//! BIRD 2.

use super::{Daemon, Peering, Seen, Setup};
use crate::Host;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;
use testkit::process::Guard;

pub fn launch(host: &Host, setup: &Setup, directory: &Path, again: bool) -> Guard {
    write(host, setup, directory);
    let dir = directory.display();
    // -R: the restart is a graceful one (RFC 4724).
    let recover = if again { "-R" } else { "" };
    host.netns
        .spawn(&format!("bird -f {recover} -c {dir}/conf -s {dir}/socket -P {dir}/pid >>{dir}/out 2>&1"))
}

/// Makes it read its file again.
pub fn follow(daemon: &Daemon<'_>) {
    write(daemon.host, &daemon.setup, daemon.directory.path());
    let answer = daemon.ask("configure");
    assert!(answer.contains("Reconfigur"), "{answer}");
}

fn write(host: &Host, setup: &Setup, directory: &Path) {
    std::fs::write(directory.join("conf"), configuration(host, setup, directory)).expect("a file");
}

fn configuration(host: &Host, setup: &Setup, directory: &Path) -> String {
    let mut text = format!(
        "log \"{}/log\" all;\nrouter id {};\nprotocol device {{}}\nprotocol direct {{ ipv4; ipv6; }}\n",
        directory.display(),
        host.v4
    );
    for family in ["ipv4", "ipv6"] {
        let _ = writeln!(text, "protocol static s{family} {{ {family};");
        let own = setup.announce.iter().chain(&setup.decorated).chain(&setup.loaded);
        for prefix in own.filter(|prefix| super::family(prefix) == family) {
            let _ = writeln!(text, "  route {prefix} blackhole;");
        }
        text.push_str("}\n");
    }
    for (number, peer) in setup.peers.iter().enumerate() {
        text += &protocol(host, setup, number, peer);
    }
    text
}

fn protocol(host: &Host, setup: &Setup, number: usize, peer: &Peering) -> String {
    let mut options = String::new();
    let given = [
        (peer.passive, "passive;".to_owned()),
        (peer.gtsm, "ttl security on;".to_owned()),
        (peer.multihop, "multihop;".to_owned()),
        (peer.client, "rr client;".to_owned()),
        (peer.extended, "enable extended messages on;".to_owned()),
        (setup.cluster_id.is_some(), format!("rr cluster id {};", setup.cluster_id.unwrap_or(host.v4))),
        (peer.password.is_some(), format!("password \"{}\";", peer.password.unwrap_or_default())),
    ];
    for (_, option) in given.iter().filter(|(is_given, _)| *is_given) {
        let _ = write!(options, " {option}");
    }
    // A metric goes to external peers only if it is set here.
    let family = if peer.addr.is_ipv4() { "ipv4" } else { "ipv6" };
    let decorate: String = setup
        .decorated
        .iter()
        .filter(|prefix| super::family(prefix) == family)
        .map(|prefix| {
            format!(
                "if net = {prefix} then {{ bgp_community.add((64512,7)); bgp_large_community.add((64512,1,2)); \
                 bgp_ext_community.add((rt,64512,9)); bgp_med = 50; bgp_local_pref = 250; }} "
            )
        })
        .collect();
    let load: String = (0..600).map(|n| format!("bgp_large_community.add((64512,2,{n})); ")).collect();
    let load: String = setup
        .loaded
        .iter()
        .filter(|prefix| super::family(prefix) == family)
        .map(|prefix| format!("if net = {prefix} then {{ {load}}} "))
        .collect();
    let port = |port: Option<u16>| port.map_or(String::new(), |port| format!(" port {port}"));
    format!(
        "protocol bgp p{number} {{ local {}{} as {}; neighbor {}{} as {}; hold time {}; graceful restart on; \
         connect delay time 1; connect retry time 1; error wait time 1, 1;{options} \
         {family} {{ import all; export filter {{ {decorate}{load} if source ~ [RTS_STATIC, RTS_BGP] then accept; reject; }}; }}; }}\n",
        setup.source.map_or(host.like(peer.addr), IpAddr::from),
        port(peer.port),
        setup.asn,
        peer.addr,
        port(peer.calls),
        peer.asn,
        peer.hold,
    )
}

/// Reads `show route P primary all`.
pub fn path(text: &str) -> Option<Seen> {
    if !text.contains("BGP.as_path:") && !text.contains("BGP.origin:") {
        return None;
    }
    let value = |name: &str| {
        text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let list = |name: &str| {
        let groups = value(name).unwrap_or_default().split(')').filter_map(|group| group.split_once('('));
        groups.map(|(_, numbers)| numbers.replace(", ", ":").replace(',', ":")).collect()
    };
    Some(Seen {
        nexthop: value("BGP.next_hop").unwrap_or_default().split(' ').next().unwrap_or_default().to_owned(),
        as_path: value("BGP.as_path").unwrap_or_default().to_owned(),
        communities: list("BGP.community"),
        large: list("BGP.large_community"),
        extended: list("BGP.ext_community"),
        med: value("BGP.med").and_then(|text| text.parse().ok()),
        local_pref: value("BGP.local_pref").and_then(|text| text.parse().ok()),
    })
}

/// Reads `show protocols all P`: routes that a peer sent.
pub fn updates(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Import updates:"))?;
    line.split_whitespace().next()?.parse().ok()
}
