//! Which number does a destination have? Prefixes of one family, numbered densely.
//!
//! The number (`DstId`) is what queues and bit sets hold: four bytes and one bit in place of a prefix. A number is used
//! again after `free`. Numbers are found by a hash that depends on a secret, so that no peer can choose prefixes that
//! are all in one place; nothing that leaves here depends on it. An IPv4 prefix is one integer: with its number and the
//! free places it takes some 14 bytes.

use crate::wire::Family;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use model::Cidr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The number of a destination within its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DstId(u32);

impl DstId {
    /// The position in a dense vector.
    pub fn at(self) -> usize {
        self.0 as usize
    }

    /// The number behind this one.
    pub fn next(self) -> DstId {
        DstId::nth(self.at() + 1)
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
    ids: HashTable<DstId>,
    keys: Vec<K>,
    free: Vec<DstId>,
    secret: u64,
}

/// What a prefix is found by.
trait Key: Copy + Ord {
    /// A number that looks random, and is another for another secret.
    fn hash(self, secret: u64) -> u64;
}

/// Both halves of a product, put together: every bit of both factors has a say in every bit.
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// Odd, and as many ones as zeros: the digits of the golden ratio.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Key for V4 {
    fn hash(self, secret: u64) -> u64 {
        folded(folded(self.0 ^ secret, ODD) ^ secret, ODD)
    }
}

impl Key for V6 {
    fn hash(self, secret: u64) -> u64 {
        let [high, low] = [&self.0[..8], &self.0[8..16]]
            .map(|half| u64::from_be_bytes(half.try_into().expect("eight of seventeen bytes")));
        folded(folded(high ^ secret, ODD) ^ low ^ u64::from(self.0[16]) << 56, secret | 1)
    }
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
    pub fn new(family: Family, secret: u64) -> Index {
        Index(match family {
            Family::IPV4 => Inner::V4(Numbered::new(secret)),
            _ => Inner::V6(Numbered::new(secret)),
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
            Inner::V4(n) => n.get(V4::from(dst)),
            Inner::V6(n) => n.get(V6::from(dst)),
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
    pub fn sorted(&self) -> Vec<(Cidr, DstId)> {
        match &self.0 {
            Inner::V4(n) => n.sorted(),
            Inner::V6(n) => n.sorted(),
        }
    }
}

impl<K: Key> Numbered<K> {
    fn new(secret: u64) -> Numbered<K> {
        Numbered { ids: HashTable::new(), keys: Vec::new(), free: Vec::new(), secret }
    }

    fn get(&self, key: K) -> Option<DstId> {
        self.ids.find(key.hash(self.secret), |id| self.keys[id.at()] == key).copied()
    }

    fn number(&mut self, key: K) -> DstId {
        let Numbered { ids, keys, free, secret } = self;
        let hash = |id: &DstId| keys[id.at()].hash(*secret);
        match ids.entry(key.hash(*secret), |id| keys[id.at()] == key, hash) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => {
                let id = free.pop().unwrap_or_else(|| {
                    keys.push(key);
                    DstId::nth(keys.len() - 1)
                });
                keys[id.at()] = key;
                place.insert(id);
                id
            }
        }
    }

    fn free(&mut self, id: DstId) {
        let hash = self.keys[id.at()].hash(self.secret);
        let known = self.ids.find_entry(hash, |known| *known == id);
        known.expect("a number is given away once").remove();
        self.free.push(id);
    }

    fn sorted(&self) -> Vec<(Cidr, DstId)>
    where
        Cidr: From<K>,
    {
        let mut ids: Vec<DstId> = self.ids.iter().copied().collect();
        ids.sort_unstable_by_key(|id| self.keys[id.at()]);
        ids.into_iter().map(|id| (self.keys[id.at()].into(), id)).collect()
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
            let mut index = Index::new(family, 7);
            let ids: Vec<DstId> = dsts.iter().rev().map(|d| index.number(cidr(d))).collect();
            assert_eq!(ids, [0, 1, 2, 3].map(DstId));
            for (dst, id) in dsts.iter().rev().zip(ids) {
                assert_eq!(index.dst(id), cidr(dst));
                assert_eq!(index.get(cidr(dst)), Some(id));
            }
            assert_eq!(index.sorted().iter().map(|(d, _)| d.to_string()).collect::<Vec<_>>(), dsts);
        }
    }

    #[test]
    fn a_number_is_used_again() {
        let mut index = Index::new(Family::IPV4, 7);
        let id = index.number(cidr("10.0.0.0/8"));
        index.free(id);
        assert_eq!(index.get(cidr("10.0.0.0/8")), None);
        assert_eq!(index.number(cidr("10.1.0.0/16")), id);
        assert_eq!(index.dst(id), cidr("10.1.0.0/16"));
    }
}
