//! The text form of tables, sets, chains and rules, for golden files, logs and fingerprints.

use super::{
    Action, Chain, ChainType, Condition, Element, Family, Field, HookPoint, Match, Range, Rule, Rules, Set,
    Table, TableKey, Type, Verdict, rule,
};
use model::Cidr;
use std::fmt::{self, Display, Formatter};

impl Display for Family {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Inet => "inet",
            Family::Arp => "arp",
        })
    }
}

impl Display for TableKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

impl Table {
    /// The whole table as `nft` writes it.
    pub fn text(&self, key: &TableKey) -> String {
        let mut text = format!("table {key} {{\n");
        for counter in &self.counters {
            text += &format!("\tcounter {counter} {{\n\t}}\n\n");
        }
        for (name, set) in &self.sets {
            text += &format!("\t{} {name} {{\n{set}\t}}\n\n", if set.verdicts { "map" } else { "set" });
        }
        for (name, chain) in &self.chains {
            text += &format!("\tchain {name} {{\n{chain}\t}}\n\n");
        }
        text + "}\n"
    }
}

impl Display for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "\t\ttype {}", join(&self.key, " . "))?;
        f.write_str(if self.verdicts { " : verdict\n" } else { "\n" })?;
        if self.interval {
            f.write_str("\t\tflags interval\n")?;
        }
        if !self.elements.is_empty() {
            writeln!(f, "\t\telements = {{ {} }}", join(&self.elements, ",\n\t\t\t     "))?;
        }
        Ok(())
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Type::Ipv4Addr => f.write_str("ipv4_addr"),
            Type::Ipv6Addr => f.write_str("ipv6_addr"),
            Type::IfName => f.write_str("ifname"),
            Type::Other(number) => write!(f, "type-{number}"),
        }
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&join(&self.key, " . "))?;
        match &self.verdict {
            Some(verdict) => write!(f, " : {verdict}"),
            None => Ok(()),
        }
    }
}

impl Display for Range {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Range::IfName(name) => write!(f, "\"{name}\""),
            Range::Ipv4(first, last) if first == last => first.fmt(f),
            Range::Ipv6(first, last) if first == last => first.fmt(f),
            Range::Ipv4(first, last) => {
                let host_bits = (first.to_bits() ^ last.to_bits()).count_ones() as u8;
                network(f, Cidr::containing((*first).into(), 32 - host_bits), first, last)
            }
            Range::Ipv6(first, last) => {
                let host_bits = (first.to_bits() ^ last.to_bits()).count_ones() as u8;
                network(f, Cidr::containing((*first).into(), 128 - host_bits), first, last)
            }
        }
    }
}

/// `candidate` if it is the range from `first` to `last`, else the two ends.
fn network<A: Display + Copy + Into<std::net::IpAddr>>(
    f: &mut Formatter<'_>,
    candidate: Option<Cidr>,
    first: &A,
    last: &A,
) -> fmt::Result {
    match candidate {
        Some(net) if net.addr() == (*first).into() && net.last() == (*last).into() => net.fmt(f),
        _ => write!(f, "{first}-{last}"),
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(hook) = &self.hook {
            let (chain_type, point, priority) = (&hook.chain_type, &hook.point, hook.priority);
            writeln!(f, "\t\ttype {chain_type} hook {point} priority {priority}; policy accept;")?;
        }
        match &self.rules {
            Rules::Written(rules) => rules.iter().try_for_each(|rule| writeln!(f, "\t\t{rule}")),
            Rules::Found(rules) => rules.iter().try_for_each(|rule| writeln!(f, "\t\t# {rule:?}")),
        }
    }
}

impl Display for ChainType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChainType::Filter => "filter",
            ChainType::Nat => "nat",
            ChainType::Other(name) => name,
        })
    }
}

impl Display for HookPoint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HookPoint::Prerouting => "prerouting",
            HookPoint::Input => "input",
            HookPoint::Forward => "forward",
            HookPoint::Output => "output",
            HookPoint::Postrouting => "postrouting",
            HookPoint::Other(number) => return write!(f, "hook-{number}"),
        })
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let matches = self.matches.iter().map(Match::to_string);
        let counter = self.counter.iter().map(|name| format!("counter name \"{name}\""));
        let action = Some(self.action.to_string()).filter(|text| !text.is_empty());
        f.write_str(&matches.chain(counter).chain(action).collect::<Vec<_>>().join(" "))
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let op = if self.negated { "!= " } else { "" };
        match &self.condition {
            Condition::In(fields, set) => write!(f, "{} {op}@{set}", join(fields, " . ")),
            Condition::Iifname(name) => write!(f, "iifname {op}\"{name}\""),
            Condition::Oifname(name) => write!(f, "oifname {op}\"{name}\""),
            Condition::Ipv4 => write!(f, "meta nfproto {op}ipv4"),
            Condition::L4Proto(protocol) => write!(f, "meta l4proto {op}{protocol}"),
            Condition::UdpDport(port) => write!(f, "udp dport {op}{port}"),
            Condition::TcpDport(port) => write!(f, "tcp dport {op}{port}"),
            Condition::Icmpv6Type(number) => write!(f, "icmpv6 type {op}{number}"),
            Condition::Saddr(net) => write!(f, "{} saddr {op}{net}", ip(*net)),
            Condition::Daddr(net) => write!(f, "{} daddr {op}{net}", ip(*net)),
            Condition::Transport { offset, bytes } => {
                write!(f, "@th,{},{} {op}0x", offset * 8, bytes.len() * 8)?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Condition::DaddrLocal => write!(f, "fib daddr type {op}local"),
            Condition::Mark { value, mask } => {
                write!(f, "meta mark & {mask:#010x} {} {value:#010x}", if self.negated { "!=" } else { "==" })
            }
        }
    }
}

fn ip(net: Cidr) -> &'static str {
    if net.is_ipv4() { "ip" } else { "ip6" }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Iifname => "iifname",
            Field::Oifname => "oifname",
            Field::Saddr => "ip saddr",
            Field::Daddr => "ip daddr",
            Field::Saddr6 => "ip6 saddr",
            Field::Daddr6 => "ip6 daddr",
            Field::ArpSaddr => "arp saddr ip",
            Field::InnerSaddr => return write!(f, "@th,{},32", rule::vxlan::INNER_IPV4_SOURCE * 8),
        })
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Action::Continue => Ok(()),
            Action::Verdict(verdict) => verdict.fmt(f),
            Action::Dispatch(fields, map) => write!(f, "{} vmap @{map}", join(fields, " . ")),
            Action::Masquerade { ports: None } => f.write_str("masquerade fully-random"),
            Action::Masquerade { ports: Some((first, last)) } => {
                write!(f, "masquerade to :{first}-{last} fully-random")
            }
            Action::Snat { addr, ports: None } => write!(f, "snat ip to {addr} fully-random"),
            Action::Snat { addr, ports: Some((first, last)) } => {
                write!(f, "snat ip to {addr}:{first}-{last} fully-random")
            }
            Action::Notrack => f.write_str("notrack"),
            Action::SetMark { value, mask } => {
                write!(f, "meta mark set mark and {:#010x} xor {value:#010x}", !mask)
            }
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Return => f.write_str("return"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

fn join<T: Display>(parts: impl IntoIterator<Item = T>, between: &str) -> String {
    parts.into_iter().map(|part| part.to_string()).collect::<Vec<_>>().join(between)
}
