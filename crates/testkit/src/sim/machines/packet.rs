//! A packet, and what the rules of a node say of it: `kernel::nft` values, evaluated.

use super::kernel::FakeKernel;
use kernel::nft::rule::vxlan;
use kernel::nft::{
    Action, Chain, ChainType, Condition, Element, Field, HookPoint, Match, Range, Rule, Rules, Table,
    TableKey, Verdict,
};
use kernel::{Key, Value};
use model::{Mac, Vni};
use std::net::Ipv4Addr;

/// What is said of a packet that would not keep its source.
pub(super) const MASQUERADED: &str = "masqueraded: it would not keep its source";

/// An IPv4 packet.
#[derive(Clone, Debug)]
pub struct Packet {
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
    pub mark: u32,
    /// With its header, in bytes. It may not be fragmented.
    pub size: u32,
    pub load: Load,
}

/// What a packet carries.
#[derive(Clone, Debug)]
pub enum Load {
    /// Something of a pod's (ICMP).
    Echo,
    Ipip(Box<Packet>),
    Vxlan {
        port: u16,
        vni: Vni,
        mac: Mac,
        inner: Box<Packet>,
    },
}

/// Where a packet is in a node when rules are asked.
pub struct Place<'a> {
    pub point: HookPoint,
    pub iif: &'a str,
    pub oif: &'a str,
    /// Addresses of the node itself.
    pub is_local: &'a dyn Fn(Ipv4Addr) -> bool,
}

impl Packet {
    fn protocol(&self) -> u8 {
        match self.load {
            Load::Echo => 1,
            Load::Ipip(_) => kernel::nft::rule::PROTO_IPIP,
            Load::Vxlan { .. } => kernel::nft::rule::PROTO_UDP,
        }
    }

    /// The bytes behind the start of the transport header, as far as rules look.
    fn transport(&self) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        if let Load::Vxlan { vni, inner, .. } = &self.load {
            let mut put = |at: u16, what: &[u8]| {
                let at = usize::from(at);
                bytes[at..at + what.len()].copy_from_slice(what);
            };
            put(vxlan::VNI, &vni.0.to_be_bytes()[1..]);
            put(vxlan::INNER_ETHERTYPE, &vxlan::ETHERTYPE_IPV4);
            put(vxlan::INNER_IPV4_SOURCE, &inner.src.octets());
        }
        bytes
    }
}

/// What our table says at a place; `Err` names the counter of the rule that drops. Marks and sources may change.
pub fn judge(kernel: &FakeKernel, packet: &mut Packet, place: &Place<'_>) -> Result<(), String> {
    let Some(Value::Nft(table)) = kernel.objects().get(&Key::Nft(TableKey::inet())) else { return Ok(()) };
    let mut chains: Vec<&Chain> = table
        .chains
        .values()
        .filter(|chain| chain.hook.as_ref().is_some_and(|hook| hook.point == place.point))
        .collect();
    chains.sort_by_key(|chain| chain.hook.as_ref().map(|hook| hook.priority));
    for chain in chains {
        let is_nat = chain.hook.as_ref().is_some_and(|hook| hook.chain_type == ChainType::Nat);
        run(table, chain, packet, place, is_nat)?;
    }
    Ok(())
}

/// `Ok(true)`: the packet is done with this base chain.
fn run(
    table: &Table,
    chain: &Chain,
    packet: &mut Packet,
    place: &Place<'_>,
    nat: bool,
) -> Result<bool, String> {
    let Rules::Written(rules) = &chain.rules else { return Ok(false) };
    for rule in rules {
        if !rule.matches.iter().all(|test| holds(table, test, packet, place)) {
            continue;
        }
        match &rule.action {
            Action::Continue | Action::Notrack => {}
            Action::SetMark { value, mask } => packet.mark = packet.mark & !mask ^ value,
            Action::Masquerade { .. } | Action::Snat { .. } => {
                assert!(nat, "source NAT stands in nat chains only");
                return Err(MASQUERADED.to_owned());
            }
            Action::Dispatch(fields, map) => {
                let key: Vec<Range> =
                    fields.iter().filter_map(|field| value(*field, packet, place)).collect();
                let element = table.sets.get(map).and_then(|set| find(&set.elements, &key));
                if let Some(verdict) = element.and_then(|element| element.verdict.as_ref())
                    && let Some(done) = follow(table, rule, verdict, packet, place, nat)?
                {
                    return Ok(done);
                }
            }
            Action::Verdict(verdict) => {
                if let Some(done) = follow(table, rule, verdict, packet, place, nat)? {
                    return Ok(done);
                }
            }
        }
    }
    Ok(false)
}

/// `None`: goes on with the next rule.
fn follow(
    table: &Table,
    rule: &Rule,
    verdict: &Verdict,
    packet: &mut Packet,
    place: &Place<'_>,
    nat: bool,
) -> Result<Option<bool>, String> {
    let chain = |name: &String| table.chains.get(name).expect("rules jump to chains that are there");
    match verdict {
        Verdict::Accept => Ok(Some(true)),
        Verdict::Drop => {
            Err(format!("refused by nftables ({})", rule.counter.as_deref().unwrap_or("uncounted")))
        }
        Verdict::Return => Ok(Some(false)),
        Verdict::Jump(name) => Ok(run(table, chain(name), packet, place, nat)?.then_some(true)),
        Verdict::Goto(name) => run(table, chain(name), packet, place, nat).map(Some),
    }
}

fn holds(table: &Table, test: &Match, packet: &Packet, place: &Place<'_>) -> bool {
    let says = |yes: bool| yes != test.negated;
    let named = |pattern: &str, name: &str| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    };
    match &test.condition {
        Condition::In(fields, set) => {
            let key: Option<Vec<Range>> = fields.iter().map(|field| value(*field, packet, place)).collect();
            let elements = table.sets.get(set).map(|set| &set.elements);
            key.zip(elements).is_some_and(|(key, elements)| says(find(elements, &key).is_some()))
        }
        Condition::Iifname(name) => says(named(name, place.iif)),
        Condition::Oifname(name) => says(named(name, place.oif)),
        Condition::Ipv4 => says(true),
        Condition::L4Proto(number) => says(packet.protocol() == *number),
        Condition::UdpDport(port) => match packet.load {
            Load::Vxlan { port: dport, .. } => says(dport == *port),
            _ => false,
        },
        Condition::TcpDport(_) | Condition::Icmpv6Type(_) => false,
        Condition::Saddr(cidr) => cidr.is_ipv4() && says(cidr.contains(packet.src.into())),
        Condition::Daddr(cidr) => cidr.is_ipv4() && says(cidr.contains(packet.dst.into())),
        Condition::Transport { offset, bytes } => {
            let at = usize::from(*offset);
            says(packet.transport().get(at..at + bytes.len()) == Some(bytes))
        }
        Condition::DaddrLocal => says((place.is_local)(packet.dst)),
        Condition::Mark { value, mask } => says(packet.mark & mask == *value),
    }
}

fn value(field: Field, packet: &Packet, place: &Place<'_>) -> Option<Range> {
    let name = |name: &str| name.parse().ok().map(Range::IfName);
    match field {
        Field::Iifname => name(place.iif),
        Field::Oifname => name(place.oif),
        Field::Saddr => Some(packet.src.into()),
        Field::Daddr => Some(packet.dst.into()),
        Field::Saddr6 | Field::Daddr6 | Field::ArpSaddr => None,
        Field::InnerSaddr => match &packet.load {
            Load::Vxlan { inner, .. } => Some(inner.src.into()),
            _ => None,
        },
    }
}

fn find<'a>(elements: impl IntoIterator<Item = &'a Element>, key: &[Range]) -> Option<&'a Element> {
    let within = |range: &Range, value: &Range| match (range, value) {
        (Range::Ipv4(first, last), Range::Ipv4(addr, _)) => first <= addr && addr <= last,
        (range, value) => range == value,
    };
    elements
        .into_iter()
        .find(|element| element.key.iter().zip(key).all(|(range, value)| within(range, value)))
}
