//! Kernel objects as people know them from `ip`, `bridge` and `sysctl`: for logs, status and golden files.

use crate::addr::AddrScope;
use crate::{Key, LinkKind, LinkValue, Netns, Objects, RouteKind, RouteScope, RouteValue, Value, nft};
use std::fmt;

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let netns = self.netns();
        match self {
            Key::Link(k) => write!(f, "{netns}link {}", k.name),
            Key::Sysctl(k) => {
                write!(f, "{netns}sysctl {}", k.path.trim_start_matches("net/").replace('/', "."))
            }
            Key::Addr(k) => write!(f, "{netns}address {} dev {}", k.addr, k.device),
            Key::Nft(k) => write!(f, "{netns}nftables {k}"),
            Key::Fdb(k) => write!(f, "{netns}fdb {} dev {}", k.mac, k.device),
            Key::Neigh(k) => write!(f, "{netns}neighbour {} dev {}", k.addr, k.device),
            Key::Route(k) => {
                write!(f, "{netns}route {}", k.dst)?;
                if k.table != crate::route::TABLE_MAIN {
                    write!(f, " table {}", k.table)?;
                }
                if k.priority != 0 { write!(f, " metric {}", k.priority) } else { Ok(()) }
            }
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Link(link) => link.fmt(f),
            Value::Sysctl(value) => write!(f, "= {}", value.0),
            Value::Addr(addr) => match addr.scope {
                AddrScope::Global => f.write_str("scope global"),
                AddrScope::Link => f.write_str("scope link"),
                AddrScope::Host => f.write_str("scope host"),
            },
            Value::Nft(table) => write!(f, "({} chains, {} sets)", table.chains.len(), table.sets.len()),
            Value::Fdb(fdb) => write!(f, "dst {} self{}", fdb.dst, permanent(fdb.permanent)),
            Value::Neigh(neigh) => write!(f, "lladdr {}{}", neigh.mac, permanent(neigh.permanent)),
            Value::Route(route) => route.fmt(f),
        }
    }
}

fn permanent(yes: bool) -> &'static str {
    if yes { " permanent" } else { "" }
}

impl fmt::Display for LinkValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            LinkKind::Veth { peer: None } => f.write_str("veth")?,
            LinkKind::Veth { peer: Some(peer) } => {
                write!(f, "veth peer {}{}", peer.key.netns, peer.key.name)?
            }
            LinkKind::Vxlan { vni, port, local, device } => {
                write!(f, "vxlan id {vni} local {local} dev {device} dstport {port} nolearning")?;
            }
            LinkKind::Other(kind) => f.write_str(kind)?,
        }
        if let Some(mac) = self.mac {
            write!(f, " address {mac}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        if let Some(alias) = &self.alias {
            write!(f, " alias {alias:?}")?;
        }
        f.write_str(if self.up { " up" } else { " down" })
    }
}

impl fmt::Display for RouteValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        match self.kind {
            RouteKind::Unicast => {}
            RouteKind::Blackhole => words.push("blackhole".to_owned()),
            RouteKind::Other(n) => words.push(format!("type {n}")),
        }
        words.extend(self.gateway.map(|gateway| format!("via {gateway}")));
        words.extend(self.device.as_ref().map(|device| format!("dev {device}")));
        match self.scope {
            RouteScope::Universe => {}
            RouteScope::Link => words.push("scope link".to_owned()),
            RouteScope::Host => words.push("scope host".to_owned()),
            RouteScope::Other(n) => words.push(format!("scope {n}")),
        }
        words.extend(self.source.map(|source| format!("src {source}")));
        if self.onlink {
            words.push("onlink".to_owned());
        }
        words.push(format!("proto {}", self.protocol));
        words.extend(self.mtu.map(|mtu| format!("mtu {mtu}")));
        f.write_str(&words.join(" "))
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Netns::Host => Ok(()),
            Netns::Pod(netns) => write!(f, "netns {}: ", netns.0),
        }
    }
}

/// A line for each object, rules as a block of `nft`'s syntax, in the order of the keys.
pub fn listing(objects: &Objects) -> String {
    let mut text = String::new();
    for (key, value) in objects {
        match (key, value) {
            (Key::Nft(key), Value::Nft(table)) => text.push_str(&nft_block(key, table)),
            _ => text.push_str(&format!("{key} {value}\n")),
        }
    }
    text
}

fn nft_block(key: &nft::TableKey, table: &nft::Table) -> String {
    let text = table.text(key);
    if text.ends_with('\n') { text } else { format!("{text}\n") }
}
