//! Destinations (RFC 4271 §4.3): a length in bits, and as many octets as that takes.

use super::cursor::{Reader, Writer};
use super::family::Family;
use model::Cidr;
use std::iter::Peekable;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Appends all destinations of `r`; `None` if one is too long for the family or cut off. Bits right of a prefix mean
/// nothing.
pub(super) fn decode(mut r: Reader<'_>, family: Family, dsts: &mut Vec<Cidr>) -> Option<()> {
    let ipv6 = family == Family::IPV6;
    // A /24 has four octets, a /64 nine.
    dsts.reserve(if ipv6 { r.len() / 9 } else { r.len() / 4 });
    while let Some(len) = r.u8() {
        let prefix = r.take(usize::from(len).div_ceil(8))?;
        let addr = if ipv6 {
            IpAddr::V6(Ipv6Addr::from(padded::<16>(prefix)?))
        } else {
            IpAddr::V4(Ipv4Addr::from(padded::<4>(prefix)?))
        };
        dsts.push(Cidr::containing(addr, len)?);
    }
    Some(())
}

fn padded<const N: usize>(prefix: &[u8]) -> Option<[u8; N]> {
    let mut addr = [0; N];
    addr.get_mut(..prefix.len())?.copy_from_slice(prefix);
    Some(addr)
}

/// Whether unicast packets can go there (RFC 4271 §6.3): no multicast group, nothing that is valid on one link only.
pub(super) fn is_unicast(dst: Cidr) -> bool {
    match dst.addr() {
        IpAddr::V4(first) => dst.len() < 4 || !first.is_multicast(),
        IpAddr::V6(first) if dst.len() >= 10 => !first.is_multicast() && !first.is_unicast_link_local(),
        IpAddr::V6(first) => dst.len() < 8 || !first.is_multicast(),
    }
}

/// Writes destinations until the next one would make the buffer longer than `limit`. Gives how many were written.
pub(super) fn fill(
    dsts: &mut Peekable<impl Iterator<Item = Cidr>>,
    family: Family,
    limit: usize,
    w: &mut Writer<'_>,
) -> usize {
    let mut count = 0usize;
    while let Some(dst) = dsts.next_if(|dst| w.len().saturating_add(octets(*dst)) <= limit) {
        assert_eq!(Family::of(dst), family, "{dst} is announced or withdrawn with its own family");
        encode(dst, w);
        count = count.saturating_add(1);
    }
    count
}

/// Octets that a destination takes.
pub(super) fn octets(dst: Cidr) -> usize {
    usize::from(dst.len()).div_ceil(8).saturating_add(1)
}

fn encode(dst: Cidr, w: &mut Writer<'_>) {
    let octets = usize::from(dst.len()).div_ceil(8);
    w.u8(dst.len());
    match dst.addr() {
        IpAddr::V4(addr) => w.bytes(addr.octets().get(..octets).expect("at most 32 bits")),
        IpAddr::V6(addr) => w.bytes(addr.octets().get(..octets).expect("at most 128 bits")),
    }
}
