//! Routes to as few messages as they fit (RFC 4271 §4.3). Each call writes one message, so that a caller can stop between
//! two of them: what is not sent yet can still change.
//!
//! A message says one thing only, and MP attributes come first in it (RFC 7606 §5.1): whoever finds an error in it can
//! still tell which destinations are meant.

use super::attrs::{Attributes, code};
use super::cursor::Writer;
use super::family::Family;
use super::message::{Ctx, MAX, UPDATE, framed};
use super::nexthop::NextHop;
use super::nlri;
use model::Cidr;
use std::iter::Peekable;

/// A message would be longer than the peer takes. Routes with such attributes are not announced to it, and withdrawn if
/// they were (RFC 4271 §9.2, RFC 8654 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {octets} octets is longer than the peer takes: {max}")]
pub struct TooLarge {
    /// How long it would be, at least.
    pub octets: usize,
    /// How long it may be.
    pub max: usize,
}

/// Appends one UPDATE that announces as many of `dsts` as it has room for and takes them off the iterator; gives their
/// number, 0 only if there were none. All have the next hop's family. After an error `out` and `dsts` are as they were.
pub fn announce(
    attrs: &Attributes,
    nexthop: NextHop,
    dsts: &mut Peekable<impl Iterator<Item = Cidr>>,
    ctx: &Ctx,
    out: &mut Vec<u8>,
) -> Result<usize, TooLarge> {
    if dsts.peek().is_none() {
        return Ok(0);
    }
    let (start, max, family) = (out.len(), ctx.max(), nexthop.family());
    let limit = start.saturating_add(max);
    let count = framed(UPDATE, max, out, |w| {
        w.u16(0);
        match nexthop {
            NextHop::V4(addr) => {
                w.sized_u16(|w| attrs.encode(Some(addr), ctx, w));
                nlri::fill(dsts, family, limit, w)
            }
            NextHop::V6 { global, link_local } => {
                let mut rest = Vec::new();
                attrs.encode(None, ctx, &mut Writer::new(&mut rest));
                w.sized_u16(|w| {
                    let count = mp(code::MP_REACH, family, w, |w| {
                        w.sized_u8(|w| {
                            w.bytes(&global.octets());
                            link_local.iter().for_each(|addr| w.bytes(&addr.octets()));
                        });
                        w.u8(0);
                        nlri::fill(dsts, family, limit.saturating_sub(rest.len()), w)
                    });
                    w.bytes(&rest);
                    count
                })
            }
        }
    })?;
    if count == 0 {
        let octets =
            out.len().saturating_sub(start).saturating_add(dsts.peek().map_or(0, |dst| nlri::octets(*dst)));
        out.truncate(start);
        return Err(TooLarge { octets, max });
    }
    Ok(count)
}

/// Appends one UPDATE that withdraws as many of `dsts` as it has room for and takes them off the iterator; gives their
/// number, 0 only if there were none. All are of `family`.
pub fn withdraw(
    family: Family,
    dsts: &mut Peekable<impl Iterator<Item = Cidr>>,
    ctx: &Ctx,
    out: &mut Vec<u8>,
) -> usize {
    if dsts.peek().is_none() {
        return 0;
    }
    let limit = out.len().saturating_add(ctx.max());
    let written = framed(UPDATE, ctx.max(), out, |w| match family {
        Family::IPV4 => {
            // Two octets are kept for the length of the path attributes.
            let count = w.sized_u16(|w| nlri::fill(dsts, family, limit.saturating_sub(2), w));
            w.u16(0);
            count
        }
        _ => {
            w.u16(0);
            w.sized_u16(|w| mp(code::MP_UNREACH, family, w, |w| nlri::fill(dsts, family, limit, w)))
        }
    });
    written.expect("destinations are written while there is room")
}

/// Appends the UPDATE that says: all routes of this family have been sent (RFC 4724 §2).
pub fn end_of_rib(family: Family, out: &mut Vec<u8>) {
    let written = framed(UPDATE, MAX, out, |w| {
        w.u16(0);
        w.sized_u16(|w| {
            if family != Family::IPV4 {
                mp(code::MP_UNREACH, family, w, |_| ());
            }
        });
    });
    written.expect("a few octets");
}

/// An attribute of RFC 4760: a family, then what `value` writes.
fn mp<T>(code: u8, family: Family, w: &mut Writer<'_>, value: impl FnOnce(&mut Writer<'_>) -> T) -> T {
    w.u8(code::OPTIONAL | code::EXTENDED_LENGTH);
    w.u8(code);
    w.sized_u16(|w| {
        w.u16(family.afi);
        w.u8(family.safi);
        value(w)
    })
}
