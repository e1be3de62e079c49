//! FRR: bgpd alone, without zebra.

use super::{Daemon, Seen, Setup};
use crate::Host;
use serde_json::Value;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use testkit::process::Guard;

pub fn launch(host: &Host, setup: &Setup, directory: &Path) -> Guard {
    let dir = directory.display();
    std::fs::write(directory.join("conf"), configuration(host, setup, directory)).expect("a file");
    // It gives up root's rights when it starts, and will not start where somebody else's socket is.
    let _ = std::fs::remove_file(directory.join("bgpd.vty"));
    let status = Command::new("chown").args(["-R", "frr:frr"]).arg(directory).status();
    assert!(status.is_ok_and(|status| status.success()), "frr is installed by ./dev setup");
    host.netns.spawn(&format!(
        "/usr/lib/frr/bgpd -Z -f {dir}/conf --vty_socket {dir} -i {dir}/pid -z {dir}/zserv >>{dir}/out 2>&1"
    ))
}

/// Says line by line what changed: prefixes and passwords.
pub fn follow(daemon: &Daemon<'_>, before: &Setup) {
    let mut lines = Vec::new();
    for (old, new) in before.peers.iter().zip(&daemon.setup.peers) {
        if old.password != new.password {
            lines.push(match new.password {
                Some(password) => format!("neighbor {} password {password}", new.addr),
                None => format!("no neighbor {} password", new.addr),
            });
        }
    }
    for prefix in before.announce.symmetric_difference(&daemon.setup.announce) {
        let no = if daemon.setup.announce.contains(prefix) { "" } else { "no " };
        lines.push(format!("address-family {} unicast", super::family(prefix)));
        lines.push(format!("{no}network {prefix}"));
        lines.push("exit-address-family".to_owned());
    }
    daemon.configure(&lines.iter().map(String::as_str).collect::<Vec<_>>());
}

fn configuration(host: &Host, setup: &Setup, directory: &Path) -> String {
    let mut text = format!(
        "log file {}/log informational\nroute-map DECORATE permit 10\n set community 64512:7\n set large-community 64512:1:2\n set extcommunity rt 64512:9\n set metric 50\n \
         set local-preference 250\n!\nrouter bgp {}\n bgp router-id {}\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
         no bgp network import-check\n bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n bgp log-neighbor-changes\n",
        directory.display(),
        setup.asn,
        host.v4
    );
    if let Some(cluster) = setup.cluster_id {
        let _ = writeln!(text, " bgp cluster-id {cluster}");
    }
    for peer in &setup.peers {
        let addr = peer.addr;
        let _ = writeln!(text, " neighbor {addr} remote-as {}", peer.asn);
        let _ = writeln!(text, " neighbor {addr} timers {} {}", peer.hold / 3, peer.hold);
        let _ =
            writeln!(text, " neighbor {addr} timers connect 1\n neighbor {addr} advertisement-interval 0");
        let given = [
            (peer.passive, "passive".to_owned()),
            (peer.gtsm, "ttl-security hops 1".to_owned()),
            (peer.password.is_some(), format!("password {}", peer.password.unwrap_or_default())),
        ];
        for (_, option) in given.iter().filter(|(is_given, _)| *is_given) {
            let _ = writeln!(text, " neighbor {addr} {option}");
        }
    }
    for family in ["ipv4", "ipv6"] {
        let _ = writeln!(text, " address-family {family} unicast");
        for prefix in setup.announce.iter().filter(|prefix| super::family(prefix) == family) {
            let _ = writeln!(text, "  network {prefix}");
        }
        for prefix in setup.decorated.iter().filter(|prefix| super::family(prefix) == family) {
            let _ = writeln!(text, "  network {prefix} route-map DECORATE");
        }
        for peer in setup.peers.iter().filter(|peer| peer.addr.is_ipv4() == (family == "ipv4")) {
            let _ = writeln!(text, "  neighbor {} activate", peer.addr);
            if peer.client {
                let _ = writeln!(text, "  neighbor {} route-reflector-client", peer.addr);
            }
        }
        text.push_str(" exit-address-family\n");
    }
    text
}

/// Reads `show bgp ipv4 unicast P json`.
pub fn path(text: &str, prefix: &str) -> Option<Seen> {
    let answer: Value = serde_json::from_str(text).ok()?;
    if answer["prefix"] != prefix {
        return None;
    }
    let paths = answer["paths"].as_array()?;
    let best = paths.iter().find(|path| path["bestpath"]["overall"] == true)?;
    // What it announces itself has no peer.
    if best["sourced"] == true {
        return None;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| text(&value["string"]).split_whitespace().map(str::to_owned).collect();
    let number = |names: [&str; 2]| {
        names.iter().find_map(|name| best[*name].as_u64()).and_then(|number| u32::try_from(number).ok())
    };
    let as_path = text(&best["aspath"]["string"]);
    Some(Seen {
        nexthop: text(&best["nexthops"][0]["ip"]),
        as_path: if as_path == "Local" { String::new() } else { as_path },
        communities: list(&best["community"]),
        large: list(&best["largeCommunity"]),
        extended: list(&best["extendedCommunity"]).iter().map(|one: &String| one.to_lowercase()).collect(),
        med: number(["metric", "med"]),
        local_pref: number(["locPrf", "localpref"]),
    })
}

/// Reads `show bgp neighbors P json`: messages with routes that a peer sent.
pub fn updates(text: &str, peer: IpAddr) -> Option<u64> {
    let answer: Value = serde_json::from_str(text).ok()?;
    answer[peer.to_string()]["messageStats"]["updatesRecv"].as_u64()
}
