//! GoBGP. Its prefixes are given by command, since its file has none.

use super::{Daemon, Seen, Setup};
use crate::Host;
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;
use testkit::process::Guard;

pub fn launch(host: &Host, setup: &Setup, directory: &Path, again: bool) -> Guard {
    let dir = directory.display();
    std::fs::write(directory.join("conf"), configuration(host, setup)).expect("a file");
    // -r: the restart is a graceful one (RFC 4724).
    let recover = if again { "-r" } else { "" };
    host.netns.spawn(&format!("gobgpd {recover} -f {dir}/conf -t toml --pprof-disable >>{dir}/log 2>&1"))
}

pub fn announce_all(daemon: &Daemon<'_>) {
    for prefix in &daemon.setup.announce {
        announce(daemon, "add", prefix, "");
    }
    for prefix in &daemon.setup.decorated {
        announce(
            daemon,
            "add",
            prefix,
            "community 64512:7 large-community 64512:1:2 rt 64512:9 med 50 local-pref 250",
        );
    }
}

/// Gives and takes prefixes.
pub fn follow(daemon: &Daemon<'_>, before: &Setup) {
    for prefix in before.announce.symmetric_difference(&daemon.setup.announce) {
        announce(daemon, if daemon.setup.announce.contains(prefix) { "add" } else { "del" }, prefix, "");
    }
}

fn announce(daemon: &Daemon<'_>, verb: &str, prefix: &str, attributes: &str) {
    daemon.ask(&format!("global rib {verb} -a {} {prefix} {attributes}", super::family(prefix)));
}

fn configuration(host: &Host, setup: &Setup) -> String {
    let mut text = format!("[global.config]\nas = {}\nrouter-id = \"{}\"\nport = 179\n", setup.asn, host.v4);
    for peer in &setup.peers {
        let family = if peer.addr.is_ipv4() { "ipv4-unicast" } else { "ipv6-unicast" };
        let _ = writeln!(
            text,
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {}\nauth-password = \"{}\"\n\
             [neighbors.transport.config]\npassive-mode = {}\nlocal-address = \"{}\"\n\
             [neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\nhold-time = {}\nkeepalive-interval = {}\n\
             [neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 120\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{family}\"\n\
             [neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true",
            peer.addr,
            peer.asn,
            peer.password.unwrap_or_default(),
            peer.passive,
            host.like(peer.addr),
            peer.hold,
            peer.hold / 3,
        );
        if peer.gtsm {
            text.push_str("[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255\n");
        }
        if peer.client {
            let _ = writeln!(
                text,
                "[neighbors.route-reflector.config]\nroute-reflector-client = true\nroute-reflector-cluster-id = \"{}\"",
                setup.cluster_id.unwrap_or(host.v4)
            );
        }
    }
    text
}

/// The numbers of path attributes (RFC 4271 §5, RFC 1997, RFC 4360, RFC 8092).
const AS_PATH: u64 = 2;
const NEXT_HOP: u64 = 3;
const MULTI_EXIT_DISC: u64 = 4;
const LOCAL_PREF: u64 = 5;
const COMMUNITIES: u64 = 8;
const MP_REACH_NLRI: u64 = 14;
const EXTENDED_COMMUNITIES: u64 = 16;
const LARGE_COMMUNITY: u64 = 32;
/// The subtype of an extended community that is a route target (RFC 4360 §4).
const ROUTE_TARGET: u64 = 2;

/// Reads `global rib P -j`.
pub fn path(text: &str) -> Option<Seen> {
    let answer: Value = serde_json::from_str(text).ok()?;
    // A list of paths, or a list of destinations with their paths, or destinations by name.
    let path = first_path(&answer)?;
    if path["source-id"].is_null() && path["neighbor-ip"].is_null() {
        return None;
    }
    let attribute =
        |number: u64| path["attrs"].as_array()?.iter().find(|attribute| attribute["type"] == number);
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let numbers =
        |value: &Value| -> Vec<u32> { value.as_array().into_iter().flatten().filter_map(number).collect() };
    let mut seen = Seen::default();
    if let Some(hop) = attribute(NEXT_HOP).or_else(|| attribute(MP_REACH_NLRI)) {
        seen.nexthop = hop["nexthop"].as_str().unwrap_or_default().to_owned();
    }
    if let Some(segments) = attribute(AS_PATH) {
        let asns = segments["as_paths"].as_array().into_iter().flatten().flat_map(|s| numbers(&s["asns"]));
        seen.as_path = asns.map(|asn| asn.to_string()).collect::<Vec<_>>().join(" ");
    }
    if let Some(communities) = attribute(COMMUNITIES) {
        let each = numbers(&communities["communities"]).into_iter();
        seen.communities = each.map(|value| format!("{}:{}", value >> 16, value & 0xffff)).collect();
    }
    if let Some(large) = attribute(LARGE_COMMUNITY) {
        let each = large["value"].as_array().into_iter().flatten();
        seen.large =
            each.map(|one| format!("{}:{}:{}", one["ASN"], one["LocalData1"], one["LocalData2"])).collect();
    }
    if let Some(extended) = attribute(EXTENDED_COMMUNITIES) {
        let each = extended["value"].as_array().into_iter().flatten();
        let targets = each.filter(|one| one["subtype"] == ROUTE_TARGET);
        seen.extended = targets.filter_map(|one| Some(format!("rt:{}", one["value"].as_str()?))).collect();
    }
    seen.med = attribute(MULTI_EXIT_DISC).and_then(|attribute| number(&attribute["metric"]));
    seen.local_pref = attribute(LOCAL_PREF).and_then(|attribute| number(&attribute["value"]));
    Some(seen)
}

fn first_path(value: &Value) -> Option<&Value> {
    match value {
        Value::Object(fields) if fields.contains_key("attrs") => Some(value),
        Value::Object(fields) => fields.values().find_map(first_path),
        Value::Array(items) => items.iter().find_map(first_path),
        _ => None,
    }
}

/// Reads `neighbor P -j`: messages with routes that a peer sent.
pub fn updates(text: &str) -> Option<u64> {
    let answer: Value = serde_json::from_str(text).ok()?;
    answer["state"]["messages"]["received"]["update"].as_u64()
}
