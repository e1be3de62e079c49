//! Random clusters of allocators under random faults.

use testkit::sim::{seeded, seeds};

#[test]
fn every_law_holds_in_every_seed() {
    seeds::hold(300, seeded::run, |_| String::new());
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in [7, 8] {
        let (once, twice) = (seeded::run(seed, false), seeded::run(seed, false));
        assert_eq!(once.map_err(|b| b.to_string()), twice.map_err(|b| b.to_string()), "seed {seed}");
    }
}
