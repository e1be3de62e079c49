//! Randomness that can be repeated: one stream for each component, so that a new draw in one leaves the others alone.

/// A stream of splitmix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of the component `name` in the run of `seed`.
    pub fn stream(seed: u64, name: &str) -> Rng {
        Rng(name.bytes().fold(seed, |state, byte| mix(state ^ u64::from(byte))))
    }

    /// A stream of its own for each pair of numbers: what is drawn for others does not move it.
    pub fn at(seed: u64, one: u64, other: u64) -> Rng {
        Rng(mix(mix(seed ^ mix(one)) ^ other))
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `n`, which is not zero. The bias of the remainder does not matter here.
    pub fn below(&mut self, n: u64) -> u64 {
        self.draw() % n
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True `n` times in a thousand.
    pub fn per_mille(&mut self, n: u64) -> bool {
        self.below(1000) < n
    }

    /// One of the items, which are not none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
