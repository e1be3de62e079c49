//! Sets and their elements as bytes, and back.
//!
//! A set of single ranges holds two elements for each: where it starts, and behind its last value where it ends
//! (`NFT_SET_ELEM_INTERVAL_END`); one that reaches the last value of all has no end. A set of concatenated ranges holds one
//! element for each, with both ends (`NFTA_SET_ELEM_KEY_END`).

use super::expr;
use super::numbers::{
    DATA_VALUE, DATA_VERDICT, ELEM_DATA, ELEM_F_INTERVAL_END, ELEM_FLAGS, ELEM_KEY, ELEM_KEY_END, LIST_ELEM,
    NF_ACCEPT, NF_DROP, NFT_GOTO, NFT_JUMP, NFT_RETURN, SET_DATA_TYPE, SET_DESC, SET_DESC_CONCAT,
    SET_F_CONCAT, SET_F_INTERVAL, SET_F_MAP, SET_FIELD_LEN, SET_FLAGS, SET_ID, SET_KEY_LEN, SET_KEY_TYPE,
    SET_USERDATA, TYPE_VERDICT, VERDICT_CHAIN, VERDICT_CODE,
};
use crate::message::{Attributes, Message};
use kernel::nft::{Element, Range, Set, Type, Verdict};
use std::collections::BTreeSet;

/// `nft`'s numbers of types (`enum datatypes`); a concatenation puts one behind the other, 6 bits each.
const TYPES: [(Type, u32); 3] = [(Type::Ipv4Addr, 7), (Type::Ipv6Addr, 8), (Type::IfName, 41)];
const TYPE_BITS: u32 = 6;

/// `NFTNL_UDATA_SET_KEYBYTEORDER` in a set's userdata (type, length, number in the host's order), without which `nft` lists
/// names as empty.
const KEY_BYTE_ORDER: u8 = 0;
const HOST_ENDIAN: u32 = 1;
const BIG_ENDIAN: u32 = 2;

fn userdata(key: &[Type]) -> [u8; 6] {
    let order = match key {
        [Type::IfName] => HOST_ENDIAN,
        [_] => BIG_ENDIAN,
        _ => 0,
    };
    let [a, b, c, d] = order.to_ne_bytes();
    [KEY_BYTE_ORDER, 4, a, b, c, d]
}

/// Bytes of a value of this type, a multiple of 4.
pub(super) fn size(key_type: Type) -> Option<usize> {
    match key_type {
        Type::Ipv4Addr => Some(4),
        Type::Ipv6Addr | Type::IfName => Some(16),
        Type::Other(_) => None,
    }
}

fn type_number(key: &[Type]) -> u32 {
    key.iter().fold(0, |number, key_type| {
        let one = TYPES.iter().find(|(t, _)| t == key_type).map(|(_, n)| *n);
        number << TYPE_BITS | one.expect("no set of an unknown type is wanted")
    })
}

/// The types that a number stands for.
pub(super) fn types(number: u32) -> Vec<Type> {
    let parts =
        (0..5).map(|i| number >> (TYPE_BITS * i) & ((1 << TYPE_BITS) - 1)).take_while(|part| *part != 0);
    let mut key: Vec<Type> = parts
        .map(|part| {
            TYPES.iter().find(|(_, n)| *n == part).map_or(Type::Other(part), |(key_type, _)| *key_type)
        })
        .collect();
    key.reverse();
    key
}

/// `NFTA_SET_FLAGS`.
pub(super) fn flags(set: &Set) -> u32 {
    let interval = if set.interval { SET_F_INTERVAL } else { 0 };
    let concat = if set.interval && set.key.len() > 1 { SET_F_CONCAT } else { 0 };
    let map = if set.verdicts { SET_F_MAP } else { 0 };
    interval | concat | map
}

/// The attributes of a new set, but for table and name. `id` is unique in its transaction.
pub(super) fn describe(m: &mut Message, set: &Set, id: u32) {
    let sizes =
        || set.key.iter().map(|key_type| size(*key_type).expect("no set of an unknown type is wanted"));
    let be = |len: usize| u32::try_from(len).expect("a key is a few bytes long");
    m.push_be32(SET_FLAGS, flags(set));
    m.push_be32(SET_KEY_TYPE, type_number(&set.key));
    m.push_be32(SET_KEY_LEN, be(sizes().sum()));
    if set.verdicts {
        m.push_be32(SET_DATA_TYPE, TYPE_VERDICT);
    }
    m.push_be32(SET_ID, id);
    m.push(SET_USERDATA, &userdata(&set.key));
    if set.interval && set.key.len() > 1 {
        m.push_nest(SET_DESC, |m| {
            m.push_nest(SET_DESC_CONCAT, |m| {
                for len in sizes() {
                    m.push_nest(LIST_ELEM, |m| m.push_be32(SET_FIELD_LEN, be(len)));
                }
            });
        });
    }
}

/// One element of a set of ours: one or two list elements.
pub(super) fn element(m: &mut Message, set: &Set, element: &Element) {
    let (first, last) = ends(element);
    let concat = set.key.len() > 1;
    m.push_nest(LIST_ELEM, |m| {
        m.push_nest(ELEM_KEY, |m| m.push(DATA_VALUE, &first));
        if set.interval && concat {
            m.push_nest(ELEM_KEY_END, |m| m.push(DATA_VALUE, &last));
        }
        if let Some(to) = &element.verdict {
            expr::verdict(m, ELEM_DATA, to);
        }
    });
    if set.interval
        && !concat
        && let Some(behind) = successor(&last)
    {
        m.push_nest(LIST_ELEM, |m| {
            m.push_be32(ELEM_FLAGS, ELEM_F_INTERVAL_END);
            m.push_nest(ELEM_KEY, |m| m.push(DATA_VALUE, &behind));
        });
    }
}

/// The first and the last value of a key.
fn ends(element: &Element) -> (Vec<u8>, Vec<u8>) {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for range in &element.key {
        match range {
            Range::Ipv4(from, to) => {
                first.extend(from.octets());
                last.extend(to.octets());
            }
            Range::Ipv6(from, to) => {
                first.extend(from.octets());
                last.extend(to.octets());
            }
            Range::IfName(name) => {
                first.extend(expr::padded_name(name.as_str()));
                last.extend(expr::padded_name(name.as_str()));
            }
        }
    }
    (first, last)
}

fn successor(value: &[u8]) -> Option<Vec<u8>> {
    let mut next = value.to_vec();
    for byte in next.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(next);
        }
    }
    None
}

fn predecessor(value: &[u8]) -> Vec<u8> {
    let mut before = value.to_vec();
    for byte in before.iter_mut().rev() {
        *byte = byte.wrapping_sub(1);
        if *byte != 0xff {
            break;
        }
    }
    before
}

/// A list element that was found.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    key: Vec<u8>,
    /// False for the end of a range, which sorts before a start at the same value.
    start: bool,
    last: Option<Vec<u8>>,
    verdict: Option<Verdict>,
}

/// Reads a list element; `None` if it holds what no set of ours does.
pub(super) fn found(attrs: Attributes<'_>) -> Option<Found> {
    let value = |attr| Some(attrs.nested(attr)?.get(DATA_VALUE)?.to_vec());
    let verdict = match attrs.nested(ELEM_DATA) {
        Some(data) => Some(found_verdict(data.nested(DATA_VERDICT)?)?),
        None => None,
    };
    let flags = attrs.be32(ELEM_FLAGS).unwrap_or(0);
    let start = flags & ELEM_F_INTERVAL_END == 0;
    Some(Found { key: value(ELEM_KEY)?, start, last: value(ELEM_KEY_END), verdict })
}

fn found_verdict(attrs: Attributes<'_>) -> Option<Verdict> {
    let chain = || attrs.text(VERDICT_CHAIN).map(str::to_owned);
    match attrs.be32(VERDICT_CODE)? {
        NF_ACCEPT => Some(Verdict::Accept),
        NF_DROP => Some(Verdict::Drop),
        NFT_RETURN => Some(Verdict::Return),
        NFT_JUMP => chain().map(Verdict::Jump),
        NFT_GOTO => chain().map(Verdict::Goto),
        _ => None,
    }
}

/// The elements of a set, from the list elements that the kernel holds; `None` if they make no sense for its types.
pub(super) fn elements(key: &[Type], interval: bool, mut found: Vec<Found>) -> Option<BTreeSet<Element>> {
    found.sort();
    let single_ranges = interval && key.len() == 1;
    let mut elements = BTreeSet::new();
    let mut rest = found.into_iter().peekable();
    while let Some(Found { key: first, start, last, verdict }) = rest.next() {
        if !start {
            continue;
        }
        let last = match (single_ranges, last) {
            (true, _) => match rest.next_if(|next| !next.start) {
                Some(end) => predecessor(&end.key),
                None => vec![0xff; first.len()],
            },
            (false, last) => last.unwrap_or_else(|| first.clone()),
        };
        elements.insert(Element { key: ranges(key, &first, &last)?, verdict });
    }
    Some(elements)
}

fn ranges(key: &[Type], mut first: &[u8], mut last: &[u8]) -> Option<Vec<Range>> {
    key.iter()
        .map(|key_type| {
            let (from, to);
            (from, first) = first.split_at_checked(size(*key_type)?)?;
            (to, last) = last.split_at_checked(size(*key_type)?)?;
            range(*key_type, from, to)
        })
        .collect()
}

fn range(key_type: Type, from: &[u8], to: &[u8]) -> Option<Range> {
    match key_type {
        Type::Ipv4Addr => {
            let addr = |bytes: &[u8]| Some(<[u8; 4]>::try_from(bytes).ok()?.into());
            Some(Range::Ipv4(addr(from)?, addr(to)?))
        }
        Type::Ipv6Addr => {
            let addr = |bytes: &[u8]| Some(<[u8; 16]>::try_from(bytes).ok()?.into());
            Some(Range::Ipv6(addr(from)?, addr(to)?))
        }
        Type::IfName => {
            let name = from.split(|byte| *byte == 0).next()?;
            Some(Range::IfName(std::str::from_utf8(name).ok()?.parse().ok()?)).filter(|_| from == to)
        }
        Type::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// What the kernel gives back for these elements, in another order.
    fn kernels(set: &Set) -> Vec<Found> {
        let mut message = Message::new(0, 0, &[]);
        message.push_nest(1, |m| set.elements.iter().for_each(|one| element(m, set, one)));
        let bytes = message.stamped(0, false);
        let list = Attributes::after(bytes, crate::message::HEADER).nested(1).unwrap();
        let mut found: Vec<Found> =
            list.map(|(_, bytes)| super::found(Attributes::after(bytes, 0)).unwrap()).collect();
        found.reverse();
        found
    }

    fn any_range() -> impl Strategy<Value = Range> {
        // Small numbers meet each other, large ones the end of all addresses.
        let bits = || prop_oneof![0..20_u32, (u32::MAX - 20)..=u32::MAX];
        (bits(), bits()).prop_map(|(a, b)| Range::Ipv4(a.min(b).into(), a.max(b).into()))
    }

    fn any_name() -> impl Strategy<Value = Range> {
        "cali[0-9a-f]{1,11}".prop_map(|name| Range::IfName(name.parse().unwrap()))
    }

    proptest! {
        #[test]
        fn ranges_are_read_back_as_they_were_written(ranges in prop::collection::vec(any_range(), 0..8)) {
            let set = Set::ranges([Type::Ipv4Addr], ranges.into_iter().map(|range| Element::new([range])));
            prop_assert_eq!(elements(&set.key, true, kernels(&set)), Some(set.elements));
        }

        #[test]
        fn concatenated_ranges_are_read_back_as_they_were_written(
            keys in prop::collection::vec((any_name(), any_range()), 0..8)
        ) {
            let elements_of = keys.into_iter().map(|(name, range)| Element::new([name, range]));
            let set = Set::ranges([Type::IfName, Type::Ipv4Addr], elements_of);
            prop_assert_eq!(elements(&set.key, true, kernels(&set)), Some(set.elements));
        }

        #[test]
        fn verdict_maps_are_read_back_as_they_were_written(
            names in prop::collection::btree_map(any_name(), "[a-z]{1,9}", 0..8)
        ) {
            let elements_of = names.into_iter().map(|(name, chain)| Element::goes([name], Verdict::Goto(chain)));
            let set = Set::verdicts([Type::IfName], elements_of);
            prop_assert_eq!(elements(&set.key, false, kernels(&set)), Some(set.elements));
        }
    }

    #[test]
    fn types_are_told_by_their_number() {
        for key in [
            vec![Type::Ipv4Addr],
            vec![Type::IfName, Type::Ipv4Addr],
            vec![Type::Ipv4Addr, Type::Ipv6Addr, Type::IfName],
        ] {
            assert_eq!(types(type_number(&key)), key);
        }
        assert_eq!(types(13), [Type::Other(13)]);
        assert_eq!(types(0), []);
    }

    #[test]
    fn the_last_value_of_all_has_no_successor() {
        let bytes = |addr: Ipv4Addr| addr.octets().to_vec();
        assert_eq!(
            successor(&bytes(Ipv4Addr::new(10, 0, 255, 255))),
            Some(bytes(Ipv4Addr::new(10, 1, 0, 0)))
        );
        assert_eq!(predecessor(&bytes(Ipv4Addr::new(10, 1, 0, 0))), bytes(Ipv4Addr::new(10, 0, 255, 255)));
        assert_eq!(successor(&Ipv6Addr::from_bits(u128::MAX).octets()), None);
    }
}
