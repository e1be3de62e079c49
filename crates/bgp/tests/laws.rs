//! Laws of the codec: what is written is read back, whatever is read makes sense, and no octets make it panic.

mod any;
mod octets;

use bgp::wire::*;
use octets::codec::{assert_whole, decode_all, folded, survives};
use octets::damage::{Draw, corpus};
use octets::framed;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_written_is_read_back((ctx, message) in any::message()) {
        const DIRT: [u8; 33] = [0xa5; 33];
        let mut out = DIRT.to_vec();
        match message.encode(&ctx, &mut out) {
            Err(too_large) => {
                prop_assert!(too_large.octets > too_large.max);
                prop_assert_eq!(&out, &DIRT);
            }
            Ok(()) => {
                prop_assert_eq!(&out[..DIRT.len()], &DIRT);
                let read = decode_all(&out[DIRT.len()..], &ctx);
                match message {
                    Message::Update(update) => prop_assert_eq!(folded(read), update),
                    message => prop_assert_eq!(read, vec![message]),
                }
            }
        }
    }

    #[test]
    fn a_message_that_is_cut_off_is_not_read((ctx, message) in any::message(), at in any::<prop::sample::Index>()) {
        let mut out = Vec::new();
        prop_assume!(message.encode(&ctx, &mut out).is_ok() && !out.is_empty());
        let len = frame(&out, ctx.max()).expect("a header").expect("a whole message");
        let cut = &out[..at.index(len)];
        prop_assert_eq!(frame(cut, ctx.max()), Ok(None));
        prop_assert!(decode(cut, &ctx).is_err());
    }

    #[test]
    fn a_body_that_is_cut_off_announces_nothing_new((ctx, message) in any::message(), at in any::<prop::sample::Index>()) {
        let mut out = Vec::new();
        prop_assume!(message.encode(&ctx, &mut out).is_ok() && !out.is_empty());
        let len = frame(&out, ctx.max()).expect("a header").expect("a whole message");
        prop_assume!(len > 19);
        let cut = framed(out[18], &out[19..19 + at.index(len - 19)]);
        match decode(&cut, &ctx).map(|decoded| decoded.message) {
            Ok(Message::Update(read)) => {
                assert_whole(&read);
                let Ok(Message::Update(whole)) = decode(&out[..len], &ctx).map(|decoded| decoded.message) else {
                    panic!("it was an UPDATE");
                };
                for announced in read.announced {
                    prop_assert_eq!(&read.attrs, &whole.attrs);
                    prop_assert!(whole.announced.iter().any(|all| all.nexthop == announced.nexthop
                        && all.dsts.starts_with(&announced.dsts)));
                }
            }
            Ok(Message::Open(_)) => prop_assert!(false, "half an OPEN was read"),
            _ => (),
        }
    }

    #[test]
    fn s23_no_octets_make_it_panic(ctx in any::ctx(), octets in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = frame(&octets, ctx.max());
        survives(&octets, &ctx);
        for kind in 1..=5 {
            survives(&framed(kind, &octets), &ctx);
        }
    }

    #[test]
    fn s23_no_damage_to_a_message_makes_it_panic(
        (ctx, message) in any::message(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        other in any::ctx(),
    ) {
        let mut out = Vec::new();
        prop_assume!(message.encode(&ctx, &mut out).is_ok() && out.len() > 19);
        out.truncate(frame(&out, ctx.max()).expect("a header").expect("a whole message"));
        for (at, octet) in damage {
            let at = 19 + at.index(out.len() - 18);
            if let Some(hit) = out.get_mut(at) {
                *hit = octet;
            }
        }
        survives(&out, &ctx);
        survives(&out, &other);
    }
}

fn sessions() -> Vec<Ctx> {
    let flags = [(true, true), (true, false), (false, true), (false, false)];
    let all = flags.map(|(ebgp, four_octet_as)| Ctx {
        ebgp,
        four_octet_as,
        extended_message: true,
        families: [Family::IPV4, Family::IPV6].into(),
    });
    all.into()
}

#[test]
fn the_corpus_is_read_without_a_fault() {
    for (kind, body) in corpus() {
        let octets = framed(kind, &body);
        let good = sessions()
            .iter()
            .filter(|ctx| decode(&octets, ctx).is_ok_and(|read| read.misbehaved.is_empty()))
            .count();
        assert!(good > 0, "{kind} {body:02x?} is good on no session");
    }
}

#[test]
fn s23_a_hundred_thousand_damaged_messages_are_survived() {
    let (seeds, sessions) = (corpus(), sessions());
    let mut draw = Draw(1);
    for _ in 0..100_000 {
        let (kind, mut body) = seeds[draw.below(seeds.len())].clone();
        let (_, other) = &seeds[draw.below(seeds.len())];
        for _ in 0..=draw.below(5) {
            draw.damage(&mut body, other);
        }
        let octets = framed(kind, &body);
        survives(&octets, &sessions[draw.below(sessions.len())]);
    }
}
