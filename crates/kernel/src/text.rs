//! Kernel objects as people know them from `ip`, `bridge` and `sysctl`: for logs, status and golden files.

use crate::addr::AddrScope;
use crate::filter::Direction;
use crate::{
    Filter, Key, LinkKind, LinkValue, Netns, Objects, RouteKind, RouteScope, RouteValue, Value, nft,
};
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
            Key::Clsact(k) => write!(f, "{netns}qdisc dev {}", k.name),
            Key::Filter(k) => write!(f, "{netns}filter dev {} {}", k.device, k.direction),
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
            Value::Clsact => f.write_str("clsact"),
            Value::Sysctl(value) => write!(f, "= {}", value.0),
            Value::Addr(addr) => match addr.scope {
                AddrScope::Global => f.write_str("scope global"),
                AddrScope::Link => f.write_str("scope link"),
                AddrScope::Host => f.write_str("scope host"),
            },
            Value::Nft(table) => write!(f, "({} chains, {} sets)", table.chains.len(), table.sets.len()),
            Value::Filter(filter) => filter.fmt(f),
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
            LinkKind::Ipip => f.write_str("ipip remote any local any")?,
            LinkKind::Ifb { mac } => write!(f, "ifb address {mac}")?,
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
        words.extend(self.also.iter().map(|way| format!("nexthop via {} dev {}", way.gateway, way.device)));
        f.write_str(&words.join(" "))
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Filter::Accept { local, tunnel, sources } => {
                write!(f, " to {local}")?;
                match tunnel {
                    Some(tunnel) => write!(f, " decapsulate dev {tunnel}")?,
                    None => f.write_str(" mark")?,
                }
                write!(f, " ({} sources)", sources.len())
            }
            Filter::Send { local, uplink } => write!(f, " from {local} dev {uplink}"),
            Filter::Other(_) => Ok(()),
        }
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

/// A line for each object, what a filter accepts and rules (in `nft`'s syntax) as blocks, in the order of the keys.
pub fn listing(objects: &Objects) -> String {
    let mut text = String::new();
    for (key, value) in objects {
        match (key, value) {
            (Key::Nft(key), Value::Nft(table)) => text.push_str(&nft_block(key, table)),
            (Key::Filter(_), Value::Filter(Filter::Accept { sources, .. })) => {
                text.push_str(&format!("{key} {value}\n"));
                text.extend(sources.iter().map(|(source, node)| format!("    {source} from {node}\n")));
            }
            _ => text.push_str(&format!("{key} {value}\n")),
        }
    }
    text
}

fn nft_block(key: &nft::TableKey, table: &nft::Table) -> String {
    let text = table.text(key);
    if text.ends_with('\n') { text } else { format!("{text}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AddrKey, AddrValue, FdbKey, FdbValue, FilterKey, LinkKey, NeighKey, NeighValue, PodNs, RouteKey,
        SysctlKey, SysctlValue, VethPeer,
    };
    use model::{IfName, Mac, Mtu, Vni};

    const HOST: Netns = Netns::Host;
    const POD: Netns = Netns::Pod(PodNs(7));
    const MAC: Mac = Mac([0x66, 1, 2, 3, 4, 5]);

    fn line(key: Key, value: Value) -> String {
        listing(&[(key, value)].into())
    }

    fn link(netns: Netns, name: &str, kind: LinkKind, mtu: Option<Mtu>, alias: Option<&str>) -> String {
        let alias = alias.map(str::to_owned);
        let value = LinkValue { kind, mac: Some(MAC), mtu, up: alias.is_none(), alias };
        line(Key::Link(LinkKey { netns, name: IfName::fixed(name) }), Value::Link(Box::new(value)))
    }

    #[test]
    fn links_read_as_in_ip_link() {
        let (local, device) = ([192, 168, 50, 161].into(), IfName::fixed("ens192"));
        let vxlan = LinkKind::Vxlan { vni: Vni(4096), port: 4789, local, device };
        assert_eq!(
            link(HOST, "vxlan.calico", vxlan, Some(Mtu(1450)), None),
            "link vxlan.calico vxlan id 4096 local 192.168.50.161 dev ens192 dstport 4789 nolearning \
             address 66:01:02:03:04:05 mtu 1450 up\n"
        );
        let peer =
            VethPeer { key: LinkKey { netns: POD, name: IfName::fixed("eth0") }, mac: None, mtu: None };
        assert_eq!(
            link(HOST, "cali1", LinkKind::Veth { peer: Some(peer) }, None, Some("cni a b eth0")),
            "link cali1 veth peer netns 7: eth0 address 66:01:02:03:04:05 alias \"cni a b eth0\" down\n"
        );
        assert_eq!(
            link(POD, "eth0", LinkKind::Veth { peer: None }, None, None),
            "netns 7: link eth0 veth address 66:01:02:03:04:05 up\n"
        );
        assert_eq!(
            link(HOST, "br9", LinkKind::Other("bridge".into()), None, None),
            "link br9 bridge address 66:01:02:03:04:05 up\n"
        );
    }

    #[test]
    fn what_is_on_a_link_reads_as_in_ip_and_bridge() {
        let device = IfName::fixed("vxlan.calico");
        let dst = [192, 168, 50, 162].into();
        let addr = "6.2.137.65/32".parse().unwrap();
        for (key, value, text) in [
            (
                Key::Addr(AddrKey { netns: HOST, device: device.clone(), addr }),
                Value::Addr(AddrValue { scope: AddrScope::Global }),
                "address 6.2.137.65/32 dev vxlan.calico scope global\n",
            ),
            (
                Key::Neigh(NeighKey { netns: POD, device: device.clone(), addr: dst }),
                Value::Neigh(NeighValue { mac: MAC, permanent: true }),
                "netns 7: neighbour 192.168.50.162 dev vxlan.calico lladdr 66:01:02:03:04:05 permanent\n",
            ),
            (
                Key::Fdb(FdbKey { netns: HOST, device, mac: MAC }),
                Value::Fdb(FdbValue { dst, permanent: false }),
                "fdb 66:01:02:03:04:05 dev vxlan.calico dst 192.168.50.162 self\n",
            ),
            (
                Key::Sysctl(SysctlKey { netns: HOST, path: "net/ipv4/conf/cali1/proxy_arp".into() }),
                Value::Sysctl(SysctlValue("1".into())),
                "sysctl ipv4.conf.cali1.proxy_arp = 1\n",
            ),
        ] {
            assert_eq!(line(key, value), text);
        }
    }

    #[test]
    fn filters_say_what_they_do_and_for_whom() {
        let key = |device: &str, direction| {
            Key::Filter(FilterKey { netns: HOST, device: IfName::fixed(device), direction })
        };
        let local = [192, 168, 50, 161].into();
        let sources = [("6.2.180.0/26".parse().unwrap(), [192, 168, 50, 162].into())].into();
        let accept = Filter::Accept { local, tunnel: Some(IfName::fixed("tunl0")), sources };
        assert_eq!(
            line(key("ens192", Direction::Ingress), Value::Filter(accept)),
            "filter dev ens192 ingress tortie_ipip_in to 192.168.50.161 decapsulate dev tunl0 (1 sources)\n    \
             6.2.180.0/26 from 192.168.50.162\n"
        );
        let send = Filter::Send { local, uplink: IfName::fixed("ens192") };
        assert_eq!(
            line(key("tunl0", Direction::Egress), Value::Filter(send)),
            "filter dev tunl0 egress tortie_ipip_out from 192.168.50.161 dev ens192\n"
        );
    }

    #[test]
    fn routes_read_as_in_ip_route() {
        let plain = RouteValue {
            kind: RouteKind::Unicast,
            gateway: None,
            device: None,
            scope: RouteScope::Universe,
            onlink: false,
            protocol: 80,
            source: None,
            mtu: None,
            also: Vec::new(),
        };
        let blackhole = RouteValue { kind: RouteKind::Blackhole, ..plain.clone() };
        let tunnel = RouteValue {
            gateway: Some([6, 2, 180, 1].into()),
            device: Some(IfName::fixed("vxlan.calico")),
            onlink: true,
            source: Some([6, 2, 137, 65].into()),
            mtu: Some(Mtu(1450)),
            ..plain.clone()
        };
        let pod =
            RouteValue { device: Some(IfName::fixed("cali1")), scope: RouteScope::Link, ..plain.clone() };
        let odd = RouteValue { kind: RouteKind::Other(7), scope: RouteScope::Other(200), ..plain };
        for (dst, table, priority, value, text) in [
            ("6.2.137.64/26", 254, 0, blackhole, "route 6.2.137.64/26 blackhole proto 80\n"),
            (
                "6.2.180.0/26",
                254,
                0,
                tunnel,
                "route 6.2.180.0/26 via 6.2.180.1 dev vxlan.calico src 6.2.137.65 onlink proto 80 mtu 1450\n",
            ),
            ("6.2.137.67/32", 254, 0, pod, "route 6.2.137.67/32 dev cali1 scope link proto 80\n"),
            ("::/0", 100, 1024, odd, "route ::/0 table 100 metric 1024 type 7 scope 200 proto 80\n"),
        ] {
            let key = Key::Route(RouteKey { netns: HOST, table, dst: dst.parse().unwrap(), priority });
            assert_eq!(line(key, Value::Route(value)), text);
        }
    }
}
