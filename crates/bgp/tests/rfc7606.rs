//! The table of malformed UPDATEs, row by row through the codec.

mod malformed;

use bgp::wire::*;
use malformed::Change::*;
use malformed::Verdict::*;
use malformed::*;

fn ctx(change: Change, ebgp: bool) -> Ctx {
    let families = [Family::IPV4, Family::IPV6].into();
    Ctx { ebgp, four_octet_as: !change.is_old(), extended_message: false, families }
}

/// What became of the route. `Err` says why no verdict fits.
fn verdict(change: Change, ebgp: bool) -> Result<Verdict, String> {
    let decoded = match decode(&change.message(), &ctx(change, ebgp)) {
        Err(told) => return Ok(Reset(told.error)),
        Ok(decoded) => decoded,
    };
    let Message::Update(update) = decoded.message else { return Err("no UPDATE came out".into()) };
    let dst = change.dst();
    match &update.announced[..] {
        [] if update.withdrawn.is_empty() => Ok(Nothing),
        [] if update.withdrawn == [dst] && update.attrs.is_none() => Ok(Gone),
        [announced] if announced.dsts.contains(&dst) && update.withdrawn.is_empty() => {
            if decoded.misbehaved.is_empty() {
                return Ok(Good);
            }
            let good = if matches!(change, Six(_) | SixAnd(_)) { Six("") } else { With("") };
            let good = decode(&good.message(), &ctx(good, ebgp)).map(|decoded| decoded.message);
            let Ok(Message::Update(good)) = good else { return Err("the good message is not".into()) };
            if update == good { Ok(Less) } else { Err(format!("more is left than should be: {update:?}")) }
        }
        _ => Err(format!("half of it came out: {update:?}")),
    }
}

#[test]
fn f56_every_malformed_update_does_what_rfc_7606_says_and_no_more() {
    let mut wrong = Vec::new();
    for (source, what, change, external, internal) in ROWS {
        for (ebgp, expected) in [(true, external), (false, internal)] {
            let found = verdict(*change, ebgp);
            if found != Ok(*expected) {
                wrong.push(format!("{source}, {what}, external {ebgp}: {found:?} in place of {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ROWS.len() >= 120, "{} rows", ROWS.len());
}

#[test]
fn f56_what_is_withdrawn_for_an_error_takes_nothing_else_along() {
    // A withdrawal, a broken announcement of IPv4 and one of IPv6 in one message.
    let attributes = cut(&[MP_REACH, "40 01 01 07", AS_PATH, NEXT_HOP].concat());
    let body = body(&octets("08 0a"), &attributes, &octets(DST));
    let decoded = decode(&update(&body), &ctx(With(""), true)).expect("the session lives");
    let withdrawn =
        ["10.0.0.0/8", "198.51.100.0/24", "2001:db8::/32"].map(|dst| dst.parse().expect("a CIDR"));
    let update = Update { withdrawn: withdrawn.to_vec(), ..Update::default() };
    assert_eq!(decoded.message, Message::Update(update));
    assert_eq!(decoded.misbehaved, [Misbehaved::OriginValue { value: 7 }]);
}

#[test]
fn a_reset_names_the_attribute_that_was_at_fault() {
    let change = And("40 63 02 abcd");
    let told = decode(&change.message(), &ctx(change, true)).expect_err("it is unknown");
    assert_eq!(told.data, octets("40 63 02 abcd"));
}

/// A message of any length with these attributes, on a session that takes it.
fn decode_long(attributes: &[Vec<u8>]) -> Decoded {
    let body = body(&[], attributes, &octets(DST));
    let ctx = Ctx { extended_message: true, ..ctx(With(""), true) };
    decode(&update(&body), &ctx).expect("the session lives")
}

#[test]
fn s25_an_as_path_of_thousands_is_withdrawn() {
    let segments: String = (0..8).map(|_| format!("02 ff {}", "0000fde9".repeat(255))).collect();
    let value = octets(&segments);
    let path = [&[0x50, 2][..], &u16::try_from(value.len()).expect("fits").to_be_bytes(), &value].concat();
    let decoded = decode_long(&[octets(ORIGIN), path, octets(NEXT_HOP)]);
    assert_eq!(decoded.misbehaved, [Misbehaved::PathTooLong { hops: 2040 }]);
}

#[test]
fn s25_a_message_full_of_the_same_attribute_is_one_line_in_a_log() {
    let decoded =
        decode_long(&[cut(&[ORIGIN, AS_PATH, NEXT_HOP].concat()).concat(), octets(&"c06300".repeat(20_000))]);
    assert_eq!(decoded.misbehaved, [Misbehaved::Duplicate { code: 0x63 }]);
}
