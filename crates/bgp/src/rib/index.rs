//! Which number does a destination have? Prefixes of one family, ordered, numbered densely.
//!
//! The number (`DstId`) is what queues and bit sets hold: four bytes and one bit in place of a prefix. A number is used
//! again after `free`. An IPv4 prefix is one integer, so that half a million of them fit where BIRD's do.

use crate::wire::Family;
use model::Cidr;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The number of a destination within its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DstId(u32);

impl DstId {
    /// The position in a dense vector.
    pub fn at(self) -> usize {
        self.0 as usize
    }

    /// The number at a position of a dense vector.
    pub fn nth(at: usize) -> DstId {
        DstId(u32::try_from(at).expect("fewer than 2^32 destinations fit in memory"))
    }
}

/// Address and length in one integer that orders as the prefixes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct V4(u64);

/// The 16 bytes of the address, then the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct V6([u8; 17]);

#[derive(Debug)]
struct Numbered<K> {
    ids: BTreeMap<K, DstId>,
    keys: Vec<K>,
    free: Vec<DstId>,
}

/// Prefixes and their numbers.
#[derive(Debug)]
pub struct Index(Inner);

#[derive(Debug)]
enum Inner {
    V4(Numbered<V4>),
    V6(Numbered<V6>),
}

impl Index {
    /// No prefix of `family`.
    pub fn new(family: Family) -> Index {
        Index(match family {
            Family::IPV4 => Inner::V4(Numbered::new()),
            _ => Inner::V6(Numbered::new()),
        })
    }

    /// The number of `dst`, which has one afterwards.
    pub fn number(&mut self, dst: Cidr) -> DstId {
        match &mut self.0 {
            Inner::V4(n) => n.number(V4::from(dst)),
            Inner::V6(n) => n.number(V6::from(dst)),
        }
    }

    /// The number of `dst`, if it has one.
    pub fn get(&self, dst: Cidr) -> Option<DstId> {
        match &self.0 {
            Inner::V4(n) => n.ids.get(&V4::from(dst)).copied(),
            Inner::V6(n) => n.ids.get(&V6::from(dst)).copied(),
        }
    }

    /// The prefix that has the number `id`.
    pub fn dst(&self, id: DstId) -> Cidr {
        match &self.0 {
            Inner::V4(n) => n.keys[id.at()].into(),
            Inner::V6(n) => n.keys[id.at()].into(),
        }
    }

    /// Gives the number of `id` away.
    pub fn free(&mut self, id: DstId) {
        match &mut self.0 {
            Inner::V4(n) => n.free(id),
            Inner::V6(n) => n.free(id),
        }
    }

    /// All prefixes in order, with their numbers.
    pub fn iter(&self) -> Box<dyn Iterator<Item = (Cidr, DstId)> + '_> {
        match &self.0 {
            Inner::V4(n) => Box::new(n.ids.iter().map(|(k, id)| ((*k).into(), *id))),
            Inner::V6(n) => Box::new(n.ids.iter().map(|(k, id)| ((*k).into(), *id))),
        }
    }
}

impl<K: Copy + Ord> Numbered<K> {
    fn new() -> Numbered<K> {
        Numbered { ids: BTreeMap::new(), keys: Vec::new(), free: Vec::new() }
    }

    fn number(&mut self, key: K) -> DstId {
        let (keys, free) = (&mut self.keys, &mut self.free);
        *self.ids.entry(key).or_insert_with(|| match free.pop() {
            Some(id) => {
                keys[id.at()] = key;
                id
            }
            None => {
                keys.push(key);
                DstId::nth(keys.len() - 1)
            }
        })
    }

    fn free(&mut self, id: DstId) {
        let was = self.ids.remove(&self.keys[id.at()]);
        assert_eq!(was, Some(id), "a number is given away once");
        self.free.push(id);
    }
}

impl From<Cidr> for V4 {
    fn from(dst: Cidr) -> V4 {
        let IpAddr::V4(addr) = dst.addr() else { panic!("{dst} in the table of IPv4") };
        V4(u64::from(u32::from(addr)) << 8 | u64::from(dst.len()))
    }
}

impl From<V4> for Cidr {
    fn from(V4(key): V4) -> Cidr {
        let addr = Ipv4Addr::from((key >> 8) as u32);
        Cidr::containing(addr.into(), key as u8).expect("made from a prefix of IPv4")
    }
}

impl From<Cidr> for V6 {
    fn from(dst: Cidr) -> V6 {
        let IpAddr::V6(addr) = dst.addr() else { panic!("{dst} in the table of IPv6") };
        let mut key = [0; 17];
        key[..16].copy_from_slice(&addr.octets());
        key[16] = dst.len();
        V6(key)
    }
}

impl From<V6> for Cidr {
    fn from(V6(key): V6) -> Cidr {
        let octets: [u8; 16] = key[..16].try_into().expect("16 of 17 bytes");
        Cidr::containing(Ipv6Addr::from(octets).into(), key[16]).expect("made from a prefix of IPv6")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_comes_back_from_its_number() {
        for (family, dsts) in [
            (Family::IPV4, ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/26", "255.255.255.255/32"]),
            (Family::IPV6, ["::/0", "fd00::/64", "fd00::/122", "fd00::1/128"]),
        ] {
            let mut index = Index::new(family);
            let ids: Vec<DstId> = dsts.iter().rev().map(|d| index.number(cidr(d))).collect();
            assert_eq!(ids, [0, 1, 2, 3].map(DstId));
            for (dst, id) in dsts.iter().rev().zip(ids) {
                assert_eq!(index.dst(id), cidr(dst));
                assert_eq!(index.get(cidr(dst)), Some(id));
            }
            assert_eq!(index.iter().map(|(d, _)| d.to_string()).collect::<Vec<_>>(), dsts);
        }
    }

    #[test]
    fn a_number_is_used_again() {
        let mut index = Index::new(Family::IPV4);
        let id = index.number(cidr("10.0.0.0/8"));
        index.free(id);
        assert_eq!(index.get(cidr("10.0.0.0/8")), None);
        assert_eq!(index.number(cidr("10.1.0.0/16")), id);
        assert_eq!(index.dst(id), cidr("10.1.0.0/16"));
    }
}
