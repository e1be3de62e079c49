//! Rules as the expressions of nf_tables: small steps that load, compare and act on registers.
//!
//! A condition such as `ip saddr` needs to know the protocol; like `nft`, a rule asks for it once, in front of the first
//! condition that needs it.

use super::numbers::{
    DATA_VALUE, DATA_VERDICT, LIST_ELEM, NF_ACCEPT, NF_DROP, NFPROTO_IPV4, NFPROTO_IPV6, NFT_GOTO, NFT_JUMP,
    NFT_RETURN, OBJECT_COUNTER, VERDICT_CHAIN, VERDICT_CODE,
};
use crate::message::Message;
use kernel::nft::rule::{PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, vxlan};
use kernel::nft::{Action, Condition, Field, Match, Rule, Verdict};
use model::Cidr;
use std::net::IpAddr;

const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;

/// `NFT_REG_VERDICT`.
const VERDICT_REGISTER: u32 = 0;
/// `NFT_REG32_00`: the first of 16 registers of 4 bytes.
const REGISTER: u32 = 8;

/// `enum nft_cmp_ops`.
const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;

/// `enum nft_meta_keys`.
const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;

/// `enum nft_payload_bases`.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

/// `enum nft_fib_result` and `enum nft_fib_flags`.
const FIB_ADDRTYPE: u32 = 3;
const FIB_DADDR: u32 = 1 << 1;
/// Of `linux/rtnetlink.h`.
const RTN_LOCAL: u32 = 2;

const LOOKUP_INVERT: u32 = 1;
const NAT_RANGE_PROTO_SPECIFIED: u32 = 1 << 1;
const NAT_RANGE_PROTO_RANDOM_FULLY: u32 = 1 << 4;
/// `enum nft_nat_types` and `enum nft_nat_attributes`.
const NAT_SNAT: u32 = 0;
const NAT_TYPE: u16 = 1;
const NAT_FAMILY: u16 = 2;
const NAT_REG_ADDR_MIN: u16 = 3;
const NAT_REG_PROTO_MIN: u16 = 5;
const NAT_REG_PROTO_MAX: u16 = 6;
const NAT_FLAGS: u16 = 7;

/// Size of an interface name's register and of its type in a set (`IFNAMSIZ`).
const IFNAMSIZ: usize = 16;

/// Writes the expressions of `rule`.
pub(super) fn expressions(m: &mut Message, rule: &Rule) {
    let mut compiler = Compiler { m, nfproto: None, l4proto: None };
    for condition in &rule.matches {
        compiler.matches(condition);
    }
    if let Some(counter) = &rule.counter {
        compiler.expr("objref", |m| {
            m.push_be32(1, OBJECT_COUNTER);
            m.push_text(2, counter);
        });
    }
    compiler.action(&rule.action);
}

/// The data of a verdict, for a rule or a verdict map.
pub(super) fn verdict(m: &mut Message, attr: u16, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Accept => (NF_ACCEPT, None),
        Verdict::Drop => (NF_DROP, None),
        Verdict::Return => (NFT_RETURN, None),
        Verdict::Jump(chain) => (NFT_JUMP, Some(chain)),
        Verdict::Goto(chain) => (NFT_GOTO, Some(chain)),
    };
    m.push_nest(attr, |m| {
        m.push_nest(DATA_VERDICT, |m| {
            m.push_be32(VERDICT_CODE, code);
            if let Some(chain) = chain {
                m.push_text(VERDICT_CHAIN, chain);
            }
        });
    });
}

/// An interface's name, padded as the kernel keeps it.
pub(super) fn padded_name(name: &str) -> [u8; IFNAMSIZ] {
    let mut padded = [0; IFNAMSIZ];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    padded
}

struct Compiler<'m> {
    m: &'m mut Message,
    /// What the rule has asked for already.
    nfproto: Option<u8>,
    l4proto: Option<u8>,
}

impl Compiler<'_> {
    fn matches(&mut self, Match { negated, condition }: &Match) {
        let equal = if *negated { CMP_NEQ } else { CMP_EQ };
        match condition {
            Condition::In(fields, set) => {
                self.load_fields(fields);
                self.lookup(set, if *negated { LOOKUP_INVERT } else { 0 }, None);
            }
            Condition::Iifname(name) => self.interface(META_IIFNAME, name, equal),
            Condition::Oifname(name) => self.interface(META_OIFNAME, name, equal),
            Condition::Ipv4 if *negated => {
                self.meta(META_NFPROTO);
                self.compare(CMP_NEQ, &[NFPROTO_IPV4]);
            }
            Condition::Ipv4 => self.need_nfproto(NFPROTO_IPV4),
            Condition::L4Proto(protocol) if *negated => {
                self.meta(META_L4PROTO);
                self.compare(CMP_NEQ, &[*protocol]);
            }
            Condition::L4Proto(protocol) => self.need_l4proto(*protocol),
            Condition::UdpDport(port) => self.port(PROTO_UDP, *port, equal),
            Condition::TcpDport(port) => self.port(PROTO_TCP, *port, equal),
            Condition::Icmpv6Type(number) => {
                self.need_nfproto(NFPROTO_IPV6);
                self.need_l4proto(PROTO_ICMPV6);
                self.payload(REGISTER, TRANSPORT, 0, 1);
                self.compare(equal, &[*number]);
            }
            Condition::Saddr(net) => self.network(*net, 12, 8, equal),
            Condition::Daddr(net) => self.network(*net, 16, 24, equal),
            Condition::Transport { offset, bytes } => {
                self.payload(REGISTER, TRANSPORT, u32::from(*offset), bytes.len());
                self.compare(equal, bytes);
            }
            Condition::DaddrLocal => {
                self.expr("fib", |m| {
                    m.push_be32(1, REGISTER);
                    m.push_be32(2, FIB_ADDRTYPE);
                    m.push_be32(3, FIB_DADDR);
                });
                self.compare(equal, &RTN_LOCAL.to_ne_bytes());
            }
            Condition::Mark { value, mask } => {
                self.meta(META_MARK);
                self.bitwise(&mask.to_ne_bytes(), &[0; 4]);
                self.compare(equal, &value.to_ne_bytes());
            }
        }
    }

    fn action(&mut self, action: &Action) {
        match action {
            Action::Continue => (),
            Action::Verdict(to) => self.expr("immediate", |m| {
                m.push_be32(1, VERDICT_REGISTER);
                verdict(m, 2, to);
            }),
            Action::Dispatch(fields, map) => {
                self.load_fields(fields);
                self.lookup(map, 0, Some(VERDICT_REGISTER));
            }
            Action::Masquerade { ports: None } => {
                self.expr("masq", |m| m.push_be32(1, NAT_RANGE_PROTO_RANDOM_FULLY));
            }
            Action::Masquerade { ports: Some(ports) } => {
                self.ports(*ports);
                self.expr("masq", |m| {
                    m.push_be32(1, NAT_RANGE_PROTO_SPECIFIED | NAT_RANGE_PROTO_RANDOM_FULLY);
                    m.push_be32(2, REGISTER);
                    m.push_be32(3, REGISTER + 1);
                });
            }
            Action::Snat { addr, ports } => {
                ports.iter().for_each(|ports| self.ports(*ports));
                self.immediate(REGISTER + 2, &addr.octets());
                self.expr("nat", |m| {
                    m.push_be32(NAT_TYPE, NAT_SNAT);
                    m.push_be32(NAT_FAMILY, NFPROTO_IPV4.into());
                    m.push_be32(NAT_REG_ADDR_MIN, REGISTER + 2);
                    if ports.is_some() {
                        m.push_be32(NAT_REG_PROTO_MIN, REGISTER);
                        m.push_be32(NAT_REG_PROTO_MAX, REGISTER + 1);
                    }
                    m.push_be32(NAT_FLAGS, NAT_RANGE_PROTO_RANDOM_FULLY);
                });
            }
            Action::Notrack => self.expr("notrack", |_| ()),
            Action::SetMark { value, mask } => {
                self.meta(META_MARK);
                self.bitwise(&(!mask).to_ne_bytes(), &value.to_ne_bytes());
                self.expr("meta", |m| {
                    m.push_be32(2, META_MARK);
                    m.push_be32(3, REGISTER);
                });
            }
        }
    }

    /// Loads the first and the last of a range of ports.
    fn ports(&mut self, (first, last): (u16, u16)) {
        self.immediate(REGISTER, &first.to_be_bytes());
        self.immediate(REGISTER + 1, &last.to_be_bytes());
    }

    fn expr(&mut self, name: &str, data: impl FnOnce(&mut Message)) {
        self.m.push_nest(LIST_ELEM, |m| {
            m.push_text(EXPR_NAME, name);
            m.push_nest(EXPR_DATA, data);
        });
    }

    fn need_nfproto(&mut self, nfproto: u8) {
        if self.nfproto.replace(nfproto) != Some(nfproto) {
            self.meta(META_NFPROTO);
            self.compare(CMP_EQ, &[nfproto]);
        }
    }

    fn need_l4proto(&mut self, protocol: u8) {
        if self.l4proto.replace(protocol) != Some(protocol) {
            self.meta(META_L4PROTO);
            self.compare(CMP_EQ, &[protocol]);
        }
    }

    /// Loads the fields into registers one behind the other, as the key of a set holds them.
    fn load_fields(&mut self, fields: &[Field]) {
        for field in fields {
            match field {
                Field::Saddr | Field::Daddr | Field::InnerSaddr => self.need_nfproto(NFPROTO_IPV4),
                Field::Saddr6 | Field::Daddr6 => self.need_nfproto(NFPROTO_IPV6),
                Field::Iifname | Field::Oifname | Field::ArpSaddr => (),
            }
        }
        let mut register = REGISTER;
        for field in fields {
            match field {
                Field::Iifname => self.meta_into(register, META_IIFNAME),
                Field::Oifname => self.meta_into(register, META_OIFNAME),
                Field::Saddr => self.payload(register, NETWORK, 12, 4),
                Field::Daddr => self.payload(register, NETWORK, 16, 4),
                Field::Saddr6 => self.payload(register, NETWORK, 8, 16),
                Field::Daddr6 => self.payload(register, NETWORK, 24, 16),
                // Behind types, sizes, operation and the sender's MAC (RFC 826, Ethernet).
                Field::ArpSaddr => self.payload(register, NETWORK, 14, 4),
                Field::InnerSaddr => {
                    self.payload(register, TRANSPORT, u32::from(vxlan::INNER_IPV4_SOURCE), 4)
                }
            }
            let size = super::set::size(field.key_type()).expect("a field's type has a size");
            register += u32::try_from(size / 4).expect("a key is a few bytes long");
        }
    }

    fn interface(&mut self, key: u32, name: &str, op: u32) {
        self.meta(key);
        match name.strip_suffix('*') {
            Some(prefix) => self.compare(op, prefix.as_bytes()),
            None => self.compare(op, &padded_name(name)),
        }
    }

    fn port(&mut self, protocol: u8, port: u16, op: u32) {
        self.need_l4proto(protocol);
        self.payload(REGISTER, TRANSPORT, 2, 2);
        self.compare(op, &port.to_be_bytes());
    }

    /// An address of the IP header, at the offset for its family, is in `net`.
    fn network(&mut self, net: Cidr, offset_v4: u32, offset_v6: u32, op: u32) {
        let (nfproto, offset, bytes) = match net.addr() {
            IpAddr::V4(addr) => (NFPROTO_IPV4, offset_v4, addr.octets().to_vec()),
            IpAddr::V6(addr) => (NFPROTO_IPV6, offset_v6, addr.octets().to_vec()),
        };
        self.need_nfproto(nfproto);
        let bits = usize::from(net.len());
        if bits > 0 && bits.is_multiple_of(8) {
            self.payload(REGISTER, NETWORK, offset, bits / 8);
            self.compare(op, &bytes[..bits / 8]);
        } else {
            let mask: Vec<u8> = (0..bytes.len()).map(|byte| mask_byte(bits, byte)).collect();
            self.payload(REGISTER, NETWORK, offset, bytes.len());
            self.bitwise(&mask, &vec![0; bytes.len()]);
            self.compare(op, &bytes);
        }
    }

    fn meta(&mut self, key: u32) {
        self.meta_into(REGISTER, key);
    }

    fn meta_into(&mut self, register: u32, key: u32) {
        self.expr("meta", |m| {
            m.push_be32(1, register);
            m.push_be32(2, key);
        });
    }

    fn payload(&mut self, register: u32, base: u32, offset: u32, len: usize) {
        self.expr("payload", |m| {
            m.push_be32(1, register);
            m.push_be32(2, base);
            m.push_be32(3, offset);
            m.push_be32(4, u32::try_from(len).expect("a field is a few bytes long"));
        });
    }

    fn compare(&mut self, op: u32, value: &[u8]) {
        self.expr("cmp", |m| {
            m.push_be32(1, REGISTER);
            m.push_be32(2, op);
            m.push_nest(3, |m| m.push(DATA_VALUE, value));
        });
    }

    /// The register becomes itself AND `mask` XOR `xor`.
    fn bitwise(&mut self, mask: &[u8], xor: &[u8]) {
        self.expr("bitwise", |m| {
            m.push_be32(1, REGISTER);
            m.push_be32(2, REGISTER);
            m.push_be32(3, u32::try_from(mask.len()).expect("a mask is a few bytes long"));
            m.push_nest(4, |m| m.push(DATA_VALUE, mask));
            m.push_nest(5, |m| m.push(DATA_VALUE, xor));
        });
    }

    fn immediate(&mut self, register: u32, value: &[u8]) {
        self.expr("immediate", |m| {
            m.push_be32(1, register);
            m.push_nest(2, |m| m.push(DATA_VALUE, value));
        });
    }

    fn lookup(&mut self, set: &str, flags: u32, verdict: Option<u32>) {
        self.expr("lookup", |m| {
            m.push_text(1, set);
            m.push_be32(2, REGISTER);
            if let Some(register) = verdict {
                m.push_be32(3, register);
            }
            if flags != 0 {
                m.push_be32(5, flags);
            }
        });
    }
}

/// Byte number `byte` of a mask of `bits` ones.
fn mask_byte(bits: usize, byte: usize) -> u8 {
    match bits.saturating_sub(byte * 8) {
        0 => 0,
        ones @ 1..=7 => 0xff << (8 - ones),
        _ => 0xff,
    }
}
