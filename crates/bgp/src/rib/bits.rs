//! A set of destinations, one bit each.

use super::DstId;

/// A set of small numbers that are dense.
#[derive(Debug, Default, Clone)]
pub struct Bits(Vec<u64>);

impl Bits {
    /// Whether `id` is in the set.
    pub fn has(&self, id: DstId) -> bool {
        self.0.get(id.at() / 64).is_some_and(|word| word >> (id.at() % 64) & 1 == 1)
    }

    /// Puts `id` in; whether it was not there.
    pub fn insert(&mut self, id: DstId) -> bool {
        let at = id.at() / 64;
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        let before = self.0[at];
        self.0[at] |= 1 << (id.at() % 64);
        before != self.0[at]
    }

    /// Takes `id` out; whether it was there.
    pub fn remove(&mut self, id: DstId) -> bool {
        let was = self.has(id);
        if was {
            self.0[id.at() / 64] &= !(1 << (id.at() % 64));
        }
        was
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = DstId> + '_ {
        let members = |(at, word): (usize, &u64)| {
            let word = *word;
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| DstId::nth(at * 64 + bit))
        };
        self.0.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(members)
    }

    /// How many members.
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_in_is_there_until_it_is_taken_out() {
        let mut bits = Bits::default();
        for n in [0, 63, 64, 1000] {
            assert!(bits.insert(DstId::nth(n)));
            assert!(!bits.insert(DstId::nth(n)));
        }
        assert_eq!(bits.iter().map(DstId::at).collect::<Vec<_>>(), [0, 63, 64, 1000]);
        assert!(
            bits.remove(DstId::nth(64)) && !bits.remove(DstId::nth(64)) && !bits.remove(DstId::nth(5000))
        );
        assert_eq!(bits.count(), 3);
    }
}
