//! Attributes to octets, in ascending order of their codes (RFC 4271 §5).

use super::super::cursor::Writer;
use super::super::message::Ctx;
use super::super::open::AS_TRANS;
use super::code::{self, *};
use super::{Attributes, Origin};
use std::net::Ipv4Addr;

/// The known attributes but those of RFC 4760, ascending.
const KNOWN: [u8; 14] = [
    ORIGIN,
    AS_PATH,
    NEXT_HOP,
    MED,
    LOCAL_PREF,
    ATOMIC_AGGREGATE,
    AGGREGATOR,
    COMMUNITIES,
    ORIGINATOR_ID,
    CLUSTER_LIST,
    EXT_COMMUNITIES,
    AS4_PATH,
    AS4_AGGREGATOR,
    LARGE_COMMUNITIES,
];

impl Attributes {
    /// Writes the attributes, and NEXT_HOP among them if there is one. What is for internal peers only is left out for
    /// external ones (RFC 4271 §5.1.5, RFC 4456 §8); AS4_PATH and AS4_AGGREGATOR are added where they are needed.
    pub(crate) fn encode(&self, next_hop: Option<Ipv4Addr>, ctx: &Ctx, w: &mut Writer<'_>) {
        let mut unknown = self.unknown.iter().peekable();
        for code in KNOWN {
            while let Some(attr) = unknown.next_if(|attr| attr.code < code) {
                attribute(attr.flags, attr.code, w, |w| w.bytes(&attr.value));
            }
            self.known(code, next_hop, ctx, w);
        }
        for attr in unknown {
            attribute(attr.flags, attr.code, w, |w| w.bytes(&attr.value));
        }
    }

    fn known(&self, code: u8, next_hop: Option<Ipv4Addr>, ctx: &Ctx, w: &mut Writer<'_>) {
        let partial = if self.partial.contains(&code) { PARTIAL } else { 0 };
        let flags = code::flags(code).unwrap_or_default() | partial;
        match code {
            ORIGIN => attribute(flags, code, w, |w| {
                w.u8(match self.origin {
                    Origin::Igp => 0,
                    Origin::Egp => 1,
                    Origin::Incomplete => 2,
                });
            }),
            AS_PATH => attribute(flags, code, w, |w| self.as_path.encode(ctx.four_octet_as, w)),
            NEXT_HOP => optional(next_hop, flags, code, w, |addr, w| w.bytes(&addr.octets())),
            MED => optional(self.med, flags, code, w, |med, w| w.u32(med)),
            LOCAL_PREF if !ctx.ebgp => optional(self.local_pref, flags, code, w, |pref, w| w.u32(pref)),
            ATOMIC_AGGREGATE if self.atomic_aggregate => attribute(flags, code, w, |_| ()),
            AGGREGATOR => optional(self.aggregator, flags, code, w, |by, w| {
                match u16::try_from(by.asn.0) {
                    _ if ctx.four_octet_as => w.u32(by.asn.0),
                    Ok(asn) => w.u16(asn),
                    Err(_) => w.u16(AS_TRANS),
                }
                w.bytes(&by.addr.octets());
            }),
            COMMUNITIES => set(&self.communities, flags, code, w, |community, w| w.u32(community.0)),
            ORIGINATOR_ID if !ctx.ebgp => {
                optional(self.originator_id, flags, code, w, |id, w| w.bytes(&id.0.octets()));
            }
            CLUSTER_LIST if !ctx.ebgp => {
                set(&self.cluster_list, flags, code, w, |id, w| w.bytes(&id.octets()));
            }
            EXT_COMMUNITIES => set(&self.ext_communities, flags, code, w, |community, w| w.u64(community.0)),
            AS4_PATH if !ctx.four_octet_as && self.as_path.needs_as4() => {
                attribute(flags, code, w, |w| self.as_path.encode(true, w));
            }
            AS4_AGGREGATOR if !ctx.four_octet_as => {
                let wide = self.aggregator.filter(|by| by.asn.0 > u16::MAX.into());
                optional(wide, flags, code, w, |by, w| {
                    w.u32(by.asn.0);
                    w.bytes(&by.addr.octets());
                });
            }
            LARGE_COMMUNITIES => set(&self.large_communities, flags, code, w, |community, w| {
                w.u32(community.global);
                w.u32(community.local1);
                w.u32(community.local2);
            }),
            _ => (),
        }
    }
}

/// An attribute that is written if there is something to say.
fn optional<T>(value: Option<T>, flags: u8, code: u8, w: &mut Writer<'_>, put: impl Fn(T, &mut Writer<'_>)) {
    if let Some(value) = value {
        attribute(flags, code, w, |w| put(value, w));
    }
}

/// An attribute of several members; without any it is not written (RFC 7606 §4).
fn set<'v, T: 'v>(
    members: impl IntoIterator<Item = &'v T>,
    flags: u8,
    code: u8,
    w: &mut Writer<'_>,
    put: impl Fn(&T, &mut Writer<'_>),
) {
    let mut members = members.into_iter().peekable();
    if members.peek().is_some() {
        attribute(flags, code, w, |w| members.for_each(|member| put(member, w)));
    }
}

/// An attribute with the value that `value` writes. Its length takes two octets only where it must.
fn attribute(flags: u8, code: u8, w: &mut Writer<'_>, value: impl FnOnce(&mut Writer<'_>)) {
    let at = w.len();
    w.bytes(&[flags & !EXTENDED_LENGTH, code, 0]);
    value(w);
    let (length_at, value_at) = (at.saturating_add(2), at.saturating_add(3));
    let len = w.since(value_at);
    match u8::try_from(len) {
        Ok(len) => w.patch(length_at, &[len]),
        Err(_) => {
            w.insert(length_at, 0);
            w.patch(at, &[flags | EXTENDED_LENGTH]);
            // A greater length fits no message; whoever checks the message's length throws this away.
            w.patch(length_at, &u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
}
