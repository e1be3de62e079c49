//! Two codecs of others read what ours writes, and write what ours reads: a message that goes through either of them comes
//! back the same. So do messages that ours did not write: what BIRD, FRR and GoBGP sent, what fuzzing kept, and the good rows of
//! the table of malformed messages; in the others netgauze finds the faults that ours finds, but for those that are listed.
//!
//! What differs is kept out of the comparison by `common` and `short`, and decided by a sentence of an RFC:
//!
//! | message | the other codec | decided by |
//! |---|---|---|
//! | a default route that is not alone | bgpkit guesses ADD-PATH from the zero octet and loses all destinations | RFC 7911 §4: only where both sides said so |
//! | graceful restart's N bit | bgpkit writes it as zero | RFC 8538 §2 gives it a meaning |
//! | extended communities of other types than route targets | bgpkit drops bits that it does not name | RFC 7606 §7.14: an unknown type is no error; it is passed on |
//! | a NOTIFICATION with an unknown code or subcode, or with 0 where there are others | netgauze refuses it | RFC 4271 §4.5: 0 is the subcode where none is defined; a NOTIFICATION cannot be answered |
//! | an OPEN with more than 255 octets of parameters | netgauze refuses it | RFC 9072 §2 |
//! | a router ID that is no unicast address | netgauze refuses it | RFC 6286 §2.1: any four octets but zero |
//! | unknown attributes and capabilities | both know more than ours and judge the content | RFC 4271 §5, RFC 5492 §3: passed on or ignored unread |
//! | families besides unicast | both know some of them and refuse others | RFC 4760 §8: a capability is only compared |

#![expect(clippy::disallowed_methods, reason = "the crate is pure, this test reads its files")]

mod any;
mod malformed;
mod octets;

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
use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::Path;
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

/// Octets that our encoder did not write, on a session of this sort.
struct Foreign {
    from: String,
    ctx: Ctx,
    octets: Vec<u8>,
}

/// What others sent to us.
fn recorded() -> Vec<Foreign> {
    let lines = include_str!("corpus/recorded.txt").lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [who, peer, kind, body] = words[..] else { panic!("{line}") };
            let families = octets::BOTH.into();
            let ctx =
                Ctx { ebgp: peer == "external", four_octet_as: true, extended_message: false, families };
            let octets = octets::framed(kind.parse().expect("a type"), &malformed::octets(body));
            Foreign { from: format!("{who}, {peer}, {kind} {body}"), ctx, octets }
        })
        .collect()
}

/// What `./dev fuzz` found worth keeping.
fn fuzzed() -> Vec<Foreign> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/codec");
    let mut all = Vec::new();
    for file in fs::read_dir(&folder).expect("the corpus") {
        let path = file.expect("an entry").path();
        let (ctx, messages) = octets::codec::messages(&fs::read(&path).expect("a file"));
        let from = path.display().to_string();
        all.extend(messages.into_iter().map(|octets| Foreign {
            from: from.clone(),
            ctx: ctx.clone(),
            octets,
        }));
    }
    all
}

/// A row of the table of malformed messages.
fn row(change: malformed::Change, ebgp: bool) -> Foreign {
    let families = octets::BOTH.into();
    let ctx = Ctx { ebgp, four_octet_as: !change.is_old(), extended_message: false, families };
    Foreign { from: format!("{change:?}"), ctx, octets: change.message() }
}

/// What becomes of a message where another codec reads it too.
#[derive(Debug, PartialEq)]
enum Judgement {
    /// Both read the same.
    Same,
    /// Both refuse it, or say that it is malformed.
    Refused,
    /// Ours alone finds fault.
    OursRefuses,
    /// The other alone finds fault, or reads something else.
    TheirsDiffers(String),
}

fn judge(codec: Codec, Foreign { ctx, octets, .. }: &Foreign) -> Judgement {
    let ours = decode(octets, ctx).ok().filter(|read| read.misbehaved.is_empty());
    let theirs = codec(octets, ctx);
    match (ours, theirs) {
        (None, Err(_)) => Judgement::Refused,
        (None, Ok(_)) => Judgement::OursRefuses,
        (Some(_), Err(why)) => Judgement::TheirsDiffers(why),
        (Some(ours), Ok(theirs)) => {
            let roomy = Ctx { extended_message: true, ..ctx.clone() };
            match decode(&theirs, &roomy).map(|read| common(read.message)) {
                Ok(read) if read == common(ours.message.clone()) => Judgement::Same,
                other => Judgement::TheirsDiffers(format!("{other:?} in place of {:?}", ours.message)),
            }
        }
    }
}

const CODECS: [(&str, Codec); 2] = [("netgauze", through_netgauze), ("bgpkit", through_bgpkit)];

/// Whether the table above says that the others read this in their own way.
fn is_of_the_table(message: &Message) -> bool {
    matches!(message, Message::Notification(_)) || common(message.clone()) != *message
}

#[test]
fn what_speakers_of_others_sent_is_read_the_same_by_all() {
    let (all, mut defaults) = (recorded(), 0);
    for (name, codec) in CODECS {
        for foreign in &all {
            let read = decode(&foreign.octets, &foreign.ctx).expect("nothing in it is wrong");
            assert_eq!(read.misbehaved, [], "{}", foreign.from);
            let is_default = |announced: &Announced| announced.dsts.iter().any(|dst| dst.is_default());
            let has_default =
                matches!(read.message, Message::Update(update) if update.announced.iter().any(is_default));
            if name == "bgpkit" && has_default {
                defaults += 1;
            } else {
                assert_eq!(judge(codec, foreign), Judgement::Same, "{name}: {}", foreign.from);
            }
        }
    }
    assert!(all.len() - defaults > 60, "{defaults} of {}", all.len());
}

#[test]
fn what_the_codec_was_fuzzed_with_is_read_the_same_by_all_where_it_is_good() {
    let all = fuzzed();
    for (name, codec) in CODECS {
        let mut same = 0;
        for foreign in &all {
            let good = decode(&foreign.octets, &foreign.ctx).ok().filter(|read| read.misbehaved.is_empty());
            let Some(good) = good else { continue };
            match judge(codec, foreign) {
                Judgement::Same => same += 1,
                other => assert!(is_of_the_table(&good.message), "{name}, {}: {other:?}", foreign.from),
            }
        }
        assert!(same > 100, "{same} messages are the same to {name}");
    }
}

/// Malformed messages that netgauze takes, each by its name in the table, and the sentence that decides.
#[rustfmt::skip]
const LENIENT: &[(&str, &[&str])] = &[
    ("RFC 7606 §3 c: an attribute whose flags conflict with its code is malformed", &[
        "AS4_AGGREGATOR well-known", "AS4_AGGREGATOR not transitive"]),
    ("RFC 7607 §2: AS 0 in a path or an aggregator is malformed", &[
        "AS_PATH with AS 0", "AS_PATH of two octets with AS 0", "AGGREGATOR with AS 0",
        "AGGREGATOR of six octets with AS 0", "AS4_PATH with AS 0", "AS4_AGGREGATOR with AS 0"]),
    ("RFC 7606 §4: no length is zero but those of AS_PATH and ATOMIC_AGGREGATE", &[
        "COMMUNITIES of no octets", "EXTENDED COMMUNITIES of no octets", "LARGE_COMMUNITY of no octets",
        "CLUSTER_LIST of no octets", "an error and no destinations"]),
    ("RFC 7606 §7.5, §7.9, §7.10: what is for internal peers is ignored from external ones", &[
        "LOCAL_PREF", "ORIGINATOR_ID", "CLUSTER_LIST"]),
    ("RFC 7606 §7.9: ORIGINATOR_ID has four octets", &["ORIGINATOR_ID of five octets"]),
    ("RFC 6793 §6: a speaker with four octets says neither AS4_PATH nor AS4_AGGREGATOR", &[
        "AS4_PATH from a speaker with four octets", "AS4_AGGREGATOR from a speaker with four octets"]),
    ("RFC 6793 §6: AS4_PATH has at least one segment, AS4_AGGREGATOR eight octets", &[
        "AS4_PATH of no octets", "AS4_AGGREGATOR of no octets", "AS4_AGGREGATOR of six octets"]),
    ("RFC 7606 §3 g: an attribute stands once in a message", &[
        "ORIGIN twice", "AS_PATH twice", "NEXT_HOP twice", "ORIGIN twice with IPv6",
        "COMMUNITIES twice, the first one malformed", "MP_REACH_NLRI twice", "MP_UNREACH_NLRI twice",
        "an unknown attribute twice"]),
    ("RFC 7606 §3 d: a mandatory attribute that is missing is an error", &[
        "no ORIGIN", "no AS_PATH", "no NEXT_HOP", "no attributes at all", "unknown attributes only",
        "no ORIGIN with IPv6", "no AS_PATH with IPv6"]),
    ("RFC 4271 §6.3: an unknown well-known attribute ends the session", &[
        "an unknown well-known attribute", "an unknown attribute without flags"]),
    ("RFC 2545 §3: an IPv6 next hop has 16 or 32 octets", &["an IPv6 next hop of 24 octets"]),
    ("RFC 4271 §6.3: a destination that means nothing is ignored", &["a destination of one link is left out"]),
];

/// Good messages that netgauze refuses.
const STRICT: &[&str] = &[
    // RFC 4271 §4.3: the partial bit of a well-known attribute must be zero, and RFC 7606 §3 c names it no conflict.
    "the partial bit is no conflict",
];

#[test]
fn netgauze_finds_the_faults_that_ours_finds_but_for_those_that_are_listed() {
    let (mut lenient, mut strict) = (BTreeSet::new(), BTreeSet::new());
    for (_, what, change, ..) in malformed::ROWS {
        for ebgp in [true, false] {
            match judge(through_netgauze, &row(*change, ebgp)) {
                Judgement::Same | Judgement::Refused => {}
                Judgement::OursRefuses => _ = lenient.insert(*what),
                Judgement::TheirsDiffers(_) => _ = strict.insert(*what),
            }
        }
    }
    assert_eq!(lenient, LENIENT.iter().flat_map(|(_, rows)| rows.iter().copied()).collect());
    assert_eq!(strict, STRICT.iter().copied().collect());
}

/// It judges neither flags nor lengths, so that there is nothing to learn from what it takes.
#[test]
fn bgpkit_reads_every_good_row_as_ours_does() {
    for (_, what, change, external, internal) in malformed::ROWS {
        for (ebgp, verdict) in [(true, external), (false, internal)] {
            if *verdict == malformed::Verdict::Good {
                assert_eq!(judge(through_bgpkit, &row(*change, ebgp)), Judgement::Same, "{what}");
            }
        }
    }
}
