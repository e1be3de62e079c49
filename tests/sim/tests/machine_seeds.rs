//! Whole nodes under random load and faults. `TORTIE_SIM_SEED` runs one seed and tells its story; `TORTIE_SIM_SEEDS` is how
//! many are run, `TORTIE_SIM_FIRST` the first of them.

use testkit::sim::machines::seeded;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not `{text}`")))
}

#[test]
fn every_law_holds_for_whole_nodes_in_every_seed() {
    if let Some(seed) = number("TORTIE_SIM_SEED") {
        match seeded::run(seed, true) {
            Ok(story) => println!("seed {seed}: {story:?}"),
            Err(broken) => panic!("{broken}"),
        }
        return;
    }
    let first = number("TORTIE_SIM_FIRST").unwrap_or(1);
    let count = number("TORTIE_SIM_SEEDS").unwrap_or(40);
    // Each run is one thread; two of them halve the wait.
    let half = |from: u64, to: u64| {
        move || (from..to).filter_map(|seed| seeded::run(seed, false).err()).map(|b| b.to_string()).collect()
    };
    let other = std::thread::spawn(half(first, first + count / 2));
    let mut broken: Vec<String> = half(first + count / 2, first + count)();
    broken.extend(other.join().expect("a run that panics fails the test"));
    let few = broken.iter().take(3).cloned().collect::<Vec<_>>().join("\n\n");
    let ends: Vec<String> = broken
        .iter()
        .filter_map(|text| Some(format!("{}: {}", text.lines().last()?, text.lines().next()?)))
        .collect();
    assert!(broken.is_empty(), "{} seeds break a law\n{few}\n{}", broken.len(), ends.join("\n"));
}

#[test]
fn a_seed_of_whole_nodes_tells_the_same_story_twice() {
    for seed in [7, 8] {
        let (once, twice) = (seeded::run(seed, false), seeded::run(seed, false));
        assert_eq!(once.map_err(|b| b.to_string()), twice.map_err(|b| b.to_string()), "seed {seed}");
    }
}
