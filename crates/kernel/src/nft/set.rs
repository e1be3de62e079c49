//! Sets and verdict maps.

use super::Verdict;
use model::{Cidr, IfName};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A set, or a verdict map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The types of an element's key, concatenated: `[Ipv4Addr]`, or `[IfName, Ipv4Addr]`.
    pub key: Vec<Type>,
    /// Elements may be ranges.
    pub interval: bool,
    /// A verdict map: each element says where to go.
    pub verdicts: bool,
    /// No two overlap.
    pub elements: BTreeSet<Element>,
}

/// A type of a set's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    Ipv4Addr,
    Ipv6Addr,
    IfName,
    /// Anything else that was found, by its number in `nft`. The elements of such a set are not read.
    Other(u32),
}

/// An element of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// One range for each type of the set's key.
    pub key: Vec<Range>,
    /// In a verdict map: where to go.
    pub verdict: Option<Verdict>,
}

/// Values of one type from a first to a last one, both included. A single value is its own first and last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Range {
    Ipv4(Ipv4Addr, Ipv4Addr),
    Ipv6(Ipv6Addr, Ipv6Addr),
    IfName(IfName),
}

impl Set {
    /// A set of single values.
    pub fn values(key: impl IntoIterator<Item = Type>, elements: impl IntoIterator<Item = Element>) -> Set {
        Set::new(key, false, false, elements)
    }

    /// A set of ranges. Of elements that are equal in all but the last range, those which overlap become one; those
    /// which only touch stay two, so that a network that comes or goes changes its own element alone.
    pub fn ranges(key: impl IntoIterator<Item = Type>, elements: impl IntoIterator<Item = Element>) -> Set {
        Set::new(key, true, false, merge(elements.into_iter().collect()))
    }

    /// A verdict map of single values.
    pub fn verdicts(key: impl IntoIterator<Item = Type>, elements: impl IntoIterator<Item = Element>) -> Set {
        Set::new(key, false, true, elements)
    }

    fn new(
        key: impl IntoIterator<Item = Type>,
        interval: bool,
        verdicts: bool,
        elements: impl IntoIterator<Item = Element>,
    ) -> Set {
        let set = Set {
            key: key.into_iter().collect(),
            interval,
            verdicts,
            elements: elements.into_iter().collect(),
        };
        for element in &set.elements {
            assert!(set.fits(element), "element {element} in a set of {:?}", set.key);
        }
        set
    }

    /// Whether the element has this set's types, ranges only where it may, and a verdict if it must.
    fn fits(&self, element: &Element) -> bool {
        self.key.len() == element.key.len()
            && self.key.iter().zip(&element.key).all(|(t, range)| *t == range.key_type())
            && (self.interval || element.key.iter().all(Range::is_single))
            && self.verdicts == element.verdict.is_some()
    }
}

/// See [`Set::ranges`].
fn merge(elements: BTreeSet<Element>) -> Vec<Element> {
    let mut merged: Vec<Element> = Vec::with_capacity(elements.len());
    for element in elements {
        let grown = merged.last_mut().is_some_and(|last| last.absorb(&element));
        if !grown {
            merged.push(element);
        }
    }
    merged
}

impl Element {
    /// An element of a set.
    pub fn new(key: impl IntoIterator<Item = Range>) -> Element {
        Element { key: key.into_iter().collect(), verdict: None }
    }

    /// An element of a verdict map.
    pub fn goes(key: impl IntoIterator<Item = Range>, verdict: Verdict) -> Element {
        Element { key: key.into_iter().collect(), verdict: Some(verdict) }
    }

    /// Takes `later` in, which sorts behind `self`, if the two are equal but for the last range and overlap in that.
    fn absorb(&mut self, later: &Element) -> bool {
        let (Some((mine, before)), Some((theirs, others))) =
            (self.key.split_last_mut(), later.key.split_last())
        else {
            return false;
        };
        before == others && self.verdict == later.verdict && mine.absorb(theirs)
    }
}

impl Range {
    /// The type of a set's key for it.
    pub fn key_type(&self) -> Type {
        match self {
            Range::Ipv4(..) => Type::Ipv4Addr,
            Range::Ipv6(..) => Type::Ipv6Addr,
            Range::IfName(_) => Type::IfName,
        }
    }

    /// Whether it is one value.
    pub fn is_single(&self) -> bool {
        match self {
            Range::Ipv4(first, last) => first == last,
            Range::Ipv6(first, last) => first == last,
            Range::IfName(_) => true,
        }
    }

    fn absorb(&mut self, later: &Range) -> bool {
        match (self, later) {
            (Range::Ipv4(_, last), Range::Ipv4(first, end)) if first <= last => *last = *end.max(last),
            (Range::Ipv6(_, last), Range::Ipv6(first, end)) if first <= last => *last = *end.max(last),
            _ => return false,
        }
        true
    }
}

impl From<Cidr> for Range {
    fn from(net: Cidr) -> Range {
        match (net.addr(), net.last()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => Range::Ipv4(first, last),
            (IpAddr::V6(first), IpAddr::V6(last)) => Range::Ipv6(first, last),
            _ => unreachable!("the first and the last address of {net} are of one family"),
        }
    }
}

impl From<IpAddr> for Range {
    fn from(addr: IpAddr) -> Range {
        match addr {
            IpAddr::V4(addr) => Range::Ipv4(addr, addr),
            IpAddr::V6(addr) => Range::Ipv6(addr, addr),
        }
    }
}

impl From<Ipv4Addr> for Range {
    fn from(addr: Ipv4Addr) -> Range {
        Range::Ipv4(addr, addr)
    }
}

impl From<IfName> for Range {
    fn from(name: IfName) -> Range {
        Range::IfName(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(first: u32, last: u32) -> Range {
        Range::Ipv4(first.into(), last.into())
    }

    fn covered(elements: &[(u32, u32, u32)], outer: u32, inner: u32) -> bool {
        elements.iter().any(|(o, first, last)| *o == outer && (*first..=*last).contains(&inner))
    }

    proptest! {
        #[test]
        fn ranges_cover_what_they_were_given_and_never_overlap(
            given in prop::collection::vec((0..3_u32, 0..40_u32, 0..12_u32), 0..12)
        ) {
            let given: Vec<_> = given.into_iter().map(|(outer, first, len)| (outer, first, first + len)).collect();
            let elements = given.iter().map(|(outer, first, last)| Element::new([range(*outer, *outer), range(*first, *last)]));
            let set = Set::ranges([Type::Ipv4Addr, Type::Ipv4Addr], elements);
            let merged: Vec<_> = set.elements.iter().map(|element| match element.key.as_slice() {
                [Range::Ipv4(outer, _), Range::Ipv4(first, last)] => (outer.to_bits(), first.to_bits(), last.to_bits()),
                key => panic!("{key:?}"),
            }).collect();
            for (outer, inner) in (0..3).flat_map(|outer| (0..60).map(move |inner| (outer, inner))) {
                prop_assert_eq!(covered(&given, outer, inner), covered(&merged, outer, inner));
            }
            for (a, b) in merged.iter().zip(merged.iter().skip(1)) {
                prop_assert!(a.0 != b.0 || a.2 < b.1, "{:?} overlaps {:?}", a, b);
            }
        }
    }

    #[test]
    fn networks_that_touch_stay_two() {
        let nets = ["10.0.0.0/25", "10.0.0.128/25", "10.0.0.7/32"].map(|net| net.parse::<Cidr>().unwrap());
        let set = Set::ranges([Type::Ipv4Addr], nets.map(|net| Element::new([Range::from(net)])));
        let text: Vec<String> = set.elements.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["10.0.0.0/25", "10.0.0.128/25"]);
    }

    #[test]
    fn a_range_reads_as_a_network_where_it_is_one() {
        let cases = [
            (range(0x0a00_0000, 0x0a00_00ff), "10.0.0.0/24"),
            (range(0x0a00_0001, 0x0a00_0001), "10.0.0.1"),
            (range(0x0a00_0001, 0x0a00_0002), "10.0.0.1-10.0.0.2"),
            (range(0x0a00_0000, 0x0a00_0002), "10.0.0.0-10.0.0.2"),
            (range(0, u32::MAX), "0.0.0.0/0"),
            (Range::from("fd00::/64".parse::<Cidr>().unwrap()), "fd00::/64"),
            (Range::from(IfName::fixed("cali1")), "\"cali1\""),
        ];
        for (range, text) in cases {
            assert_eq!(range.to_string(), text);
        }
    }

    #[test]
    #[should_panic(expected = "element 10.0.0.0/8 in a set of [IfName]")]
    fn an_element_of_another_type_is_our_mistake() {
        Set::values([Type::IfName], [Element::new([Range::from("10.0.0.0/8".parse::<Cidr>().unwrap())])]);
    }
}
