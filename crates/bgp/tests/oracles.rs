//! Two codecs of others read what ours writes, and write what ours reads: a message that goes through either of them comes
//! back the same.
//!
//! What differs is kept out of the comparison by `common` and `short`, and decided by a sentence of an RFC:
//!
//! | message | the other codec | decided by |
//! |---|---|---|
//! | a default route that is not alone | bgpkit guesses ADD-PATH from the zero octet and loses all destinations | RFC 7911 §4: only where both sides said so |
//! | graceful restart's N bit | bgpkit writes it as zero | RFC 8538 §2 gives it a meaning |
//! | extended communities of other types than route targets | bgpkit drops bits that it does not name | RFC 7606 §7.14: an unknown type is no error; it is passed on |
//! | a NOTIFICATION with an unknown subcode, or Cease with 0 | netgauze refuses it | RFC 4271 §4.5: 0 is the subcode where none is defined; a NOTIFICATION cannot be answered |
//! | an OPEN with more than 255 octets of parameters | netgauze refuses it | RFC 9072 §2 |
//! | a router ID that is no unicast address | netgauze refuses it | RFC 6286 §2.1: any four octets but zero |
//! | unknown attributes and capabilities | both know more than ours and judge the content | RFC 4271 §5, RFC 5492 §3: passed on or ignored unread |
//! | families besides unicast | both know some of them and refuse others | RFC 4760 §8: a capability is only compared |

mod any;

use bgp::wire::*;
use bgpkit_parser::models::AsnLength;
use bgpkit_parser::parser::bgp::parse_bgp_message;
use bytes::Bytes;
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use proptest::prelude::*;
use std::io::Cursor;
use std::sync::Arc;

/// One message read and written by netgauze-bgp-pkt.
fn through_netgauze(octets: &[u8], ctx: &Ctx) -> Result<Vec<u8>, String> {
    let mut parsing =
        if ctx.four_octet_as { BgpParsingContext::default() } else { BgpParsingContext::asn2_default() };
    let message =
        BgpMessage::parse(&mut SliceReader::new(octets), &mut parsing).map_err(|e| format!("{e:?}"))?;
    let mut out = Vec::new();
    message.write(&mut Cursor::new(&mut out)).map_err(|e| format!("{e:?}"))?;
    Ok(out)
}

/// One message read and written by bgpkit-parser.
fn through_bgpkit(octets: &[u8], ctx: &Ctx) -> Result<Vec<u8>, String> {
    let width = if ctx.four_octet_as { AsnLength::Bits32 } else { AsnLength::Bits16 };
    let message =
        parse_bgp_message(&mut Bytes::copy_from_slice(octets), false, &width).map_err(|e| e.to_string())?;
    message.encode(width).map(|octets| octets.to_vec()).map_err(|e| e.to_string())
}

/// The message without what the others read in their own way.
fn common(mut message: Message) -> Message {
    match &mut message {
        Message::Open(open) => {
            open.router_id = RouterId((u32::from(open.router_id.0) % 0x7f00_0000 + 1).into());
            for capability in &mut open.capabilities {
                match capability {
                    Capability::Unknown { code, .. } => *code = code.saturating_add(128),
                    Capability::Multiprotocol(family) => *family = unicast(*family),
                    Capability::GracefulRestart(restart) => {
                        restart.notification = false;
                        restart.families.iter_mut().for_each(|(family, _)| *family = unicast(*family));
                    }
                    _ => (),
                }
            }
        }
        Message::Update(update) => {
            update.withdrawn.retain(|dst| !dst.is_default());
            update.announced.iter_mut().for_each(|announced| announced.dsts.retain(|dst| !dst.is_default()));
            update.announced.retain(|announced| !announced.dsts.is_empty());
            if let Some(attrs) = &mut update.attrs {
                let attrs = Arc::make_mut(attrs);
                let targets =
                    attrs.ext_communities.iter().map(|c| ExtCommunity(c.0 & 0xffff_ffff_ffff | 2 << 48));
                attrs.ext_communities = targets.collect();
                for (attr, code) in attrs.unknown.iter_mut().zip(200..) {
                    attr.code = code;
                }
            }
        }
        Message::Notification(told) if matches!(told.error, Error::Other { .. } | Error::Cease) => {
            told.error = Error::OutOfResources;
        }
        Message::RouteRefresh(refresh) => *refresh = RouteRefresh::request(unicast(refresh.family)),
        _ => (),
    }
    message
}

/// The message with capabilities that fit the short form of an OPEN.
fn short(mut message: Message) -> Message {
    if let Message::Open(open) = &mut message {
        for capability in &mut open.capabilities {
            if let Capability::Unknown { value, .. } = capability {
                value.truncate(8);
            }
        }
    }
    message
}

fn unicast(family: Family) -> Family {
    if family == Family::IPV6 { family } else { Family::IPV4 }
}

type Codec = fn(&[u8], &Ctx) -> Result<Vec<u8>, String>;

fn agrees(codec: Codec, ctx: &Ctx, message: &Message) -> Result<(), TestCaseError> {
    let mut out = Vec::new();
    prop_assume!(message.encode(ctx, &mut out).is_ok());
    let mut rest = &out[..];
    while !rest.is_empty() {
        let len = frame(rest, ctx.max()).expect("a header").expect("a whole message");
        let (ours, tail) = rest.split_at(len);
        let theirs = codec(ours, ctx).map_err(|e| TestCaseError::fail(format!("{e} for {ours:02x?}")))?;
        // The other codec may choose longer lengths than it must.
        let roomy = Ctx { extended_message: true, ..ctx.clone() };
        prop_assert_eq!(
            decode(&theirs, &roomy),
            decode(ours, ctx),
            "{:02x?} in place of {:02x?}",
            &theirs,
            ours
        );
        rest = tail;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn netgauze_agrees((ctx, message) in any::message()) {
        agrees(through_netgauze, &ctx, &short(common(message)))?;
    }

    #[test]
    fn bgpkit_agrees((ctx, message) in any::message()) {
        agrees(through_bgpkit, &ctx, &common(message))?;
    }
}
