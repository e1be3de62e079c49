//! The law of the codec: whatever can be read makes sense, and is read again when it was written.

use super::{BOTH, Choices, framed};
use bgp::wire::*;

pub fn holds(input: &[u8]) {
    let (ctx, messages) = messages(input);
    let _ = frame(&messages[0], ctx.max());
    messages.iter().for_each(|message| survives(message, &ctx));
}

/// The first octet says what the two OPENs agreed on and which message the rest is the body of. The rest is also read as it is.
pub fn messages(input: &[u8]) -> (Ctx, Vec<Vec<u8>>) {
    let mut choices = Choices(input);
    let first = choices.octet();
    let flag = |bit: u8| first >> bit & 1 == 1;
    let families = BOTH.into_iter().zip([flag(3), flag(4)]).filter(|(_, left_out)| !left_out);
    let ctx = Ctx {
        ebgp: flag(0),
        four_octet_as: !flag(1),
        extended_message: flag(2),
        families: families.map(|(family, _)| family).collect(),
    };
    let rest = choices.0;
    let mut messages = vec![rest.to_vec()];
    if rest.len() < MAX {
        messages.push(framed(first >> 5, rest));
    }
    (ctx, messages)
}

/// Reads octets; what could be read is written and read again, and is the same.
pub fn survives(octets: &[u8], ctx: &Ctx) {
    let Ok(decoded) = decode(octets, ctx) else { return };
    assert!(decoded.misbehaved.iter().all(|crime| !crime.to_string().is_empty()));
    let mut out = Vec::new();
    match &decoded.message {
        Message::Update(update) => {
            assert_whole(update);
            if decoded.message.encode(ctx, &mut out).is_ok() {
                let again = folded(decode_all(&out, ctx));
                let first = folded(vec![decoded.message.clone()]);
                assert_eq!(sorted(again), sorted(first), "from {octets:02x?}");
            }
        }
        message => {
            if message.encode(ctx, &mut out).is_ok() {
                assert_eq!(decode_all(&out, ctx), std::slice::from_ref(message), "from {octets:02x?}");
            }
        }
    }
}

/// What must hold of an UPDATE, whatever octets it came from.
pub fn assert_whole(update: &Update) {
    assert_eq!(update.attrs.is_some(), !update.announced.is_empty());
    assert!(update.announced.iter().all(|announced| !announced.dsts.is_empty()));
    if update.end_of_rib.is_some() {
        assert!(update.withdrawn.is_empty() && update.announced.is_empty());
    }
    for Announced { nexthop, dsts } in &update.announced {
        assert!(dsts.iter().all(|dst| Family::of(*dst) == nexthop.family()));
    }
    if let Some(attrs) = &update.attrs {
        assert!(attrs.as_path.hops() <= AsPath::MAX_HOPS);
        assert!(attrs.as_path.segments().iter().all(|segment| !segment.asns().is_empty()));
        assert!(!attrs.as_path.contains(model::Asn(0)));
    }
}

/// Every message in `octets`, none of which is at fault.
pub fn decode_all(octets: &[u8], ctx: &Ctx) -> Vec<Message> {
    let (mut rest, mut messages) = (octets, Vec::new());
    while !rest.is_empty() {
        let len = frame(rest, ctx.max()).expect("a header").expect("a whole message");
        let (message, tail) = rest.split_at(len);
        let decoded = decode(message, ctx).expect("a message");
        assert_eq!(decoded.misbehaved, [], "{:?}", decoded.message);
        messages.push(decoded.message);
        rest = tail;
    }
    messages
}

/// Several UPDATEs with the same attributes as one.
pub fn folded(messages: Vec<Message>) -> Update {
    let mut all = Update::default();
    for message in messages {
        let Message::Update(update) = message else { panic!("{message:?} is no UPDATE") };
        all.withdrawn.extend(update.withdrawn);
        all.end_of_rib = all.end_of_rib.or(update.end_of_rib);
        assert!(all.attrs.is_none() || update.attrs.is_none() || all.attrs == update.attrs);
        all.attrs = all.attrs.or(update.attrs);
        for announced in update.announced {
            match all.announced.iter_mut().find(|known| known.nexthop == announced.nexthop) {
                Some(known) => known.dsts.extend(announced.dsts),
                None => all.announced.push(announced),
            }
        }
    }
    all
}

/// The same update with its destinations in order: how they are spread over messages means nothing.
fn sorted(mut update: Update) -> Update {
    update.withdrawn.sort();
    update.announced.sort_by_key(|announced| announced.nexthop);
    update.announced.iter_mut().for_each(|announced| announced.dsts.sort());
    update
}
