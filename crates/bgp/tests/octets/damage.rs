//! Messages that were whole once.

/// Octets from a seed, the same in every run (splitmix64).
pub struct Draw(pub u64);

impl Draw {
    /// Less than `limit`, or zero.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % limit.max(1) as u64) as usize
    }

    fn octet(&mut self) -> u8 {
        const EDGES: [u8; 12] = [0, 1, 2, 3, 4, 5, 0x10, 0x20, 0x40, 0x80, 0xc0, 0xff];
        if self.below(2) == 0 { EDGES[self.below(EDGES.len())] } else { self.below(256) as u8 }
    }

    /// One change somewhere: an octet replaced, a bit turned, a part removed, doubled, or taken from another body.
    pub fn damage(&mut self, body: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(body.len());
        let end = (at + self.below(12)).min(body.len());
        match self.below(6) {
            0 | 1 if !body.is_empty() => body[at] = self.octet(),
            2 if !body.is_empty() => body[at] ^= 1 << self.below(8),
            3 => drop(body.drain(at..end)),
            4 => {
                let part = body[at..end].to_vec();
                body.splice(at..at, part);
            }
            _ => {
                let from = self.below(other.len());
                let part = &other[from..(from + self.below(40)).min(other.len())];
                body.splice(at..end, part.iter().copied());
            }
        }
    }
}

/// The messages of the corpus: type and body.
pub fn corpus() -> Vec<(u8, Vec<u8>)> {
    let lines = include_str!("../corpus/messages.txt").lines().filter(|line| !line.starts_with('#'));
    let seeds = lines.map(|line| {
        let digits: Vec<u8> = line.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        (digits[0], digits[1..].chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
    });
    seeds.collect()
}
