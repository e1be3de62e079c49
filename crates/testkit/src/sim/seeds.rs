//! Many runs, one for each seed. `TORTIE_SIM_SEED` runs one seed and tells its story; `TORTIE_SIM_SEEDS` is how many are run
//! otherwise, `TORTIE_SIM_FIRST` the first of them. `TORTIE_SIM_SCHEDULE` names a file with a schedule to run instead.

use super::Broken;
use super::seeded::Story;

/// Runs a seed, aloud or not.
pub type Run = fn(u64, bool) -> Result<Story, Box<Broken>>;

/// How many broken runs are told whole.
const TOLD: usize = 3;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not `{text}`")))
}

/// The text of the schedule that is to be run instead of seeds.
pub fn schedule() -> Option<String> {
    let path = std::env::var_os("TORTIE_SIM_SCHEDULE")?;
    Some(std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Runs the seeds that the environment names, else the first `count`; panics if one breaks a law. `smaller` words the first
/// broken run with as little in it as breaks the same law.
pub fn hold(count: u64, run: Run, smaller: impl Fn(&Broken) -> String) {
    let (first, last) = match number("TORTIE_SIM_SEED") {
        Some(seed) => match run(seed, true) {
            Ok(story) => return println!("seed {seed}: {story:?}"),
            Err(_) => (seed, seed),
        },
        None => {
            let first = number("TORTIE_SIM_FIRST").unwrap_or(1);
            (first, first + number("TORTIE_SIM_SEEDS").unwrap_or(count) - 1)
        }
    };
    let broken = broken(first, last, run);
    let Some(one) = broken.first() else { return };
    let stories: Vec<String> = broken.iter().take(TOLD).map(ToString::to_string).collect();
    let lines: Vec<String> = broken
        .iter()
        .map(|broken| format!("seed {}: {} broken: {}", broken.seed.unwrap_or(0), broken.law, broken.what))
        .collect();
    panic!(
        "{} seeds break a law\n{}\n\n{}\n\n{}",
        broken.len(),
        stories.join("\n\n"),
        lines.join("\n"),
        smaller(one)
    );
}

/// Each run is one thread; two of them halve the wait.
fn broken(first: u64, last: u64, run: Run) -> Vec<Broken> {
    let part = |from: u64, to: u64| {
        move || (from..to).filter_map(|seed| run(seed, false).err().map(|broken| *broken)).collect()
    };
    let middle = first + (last + 1 - first) / 2;
    let one = std::thread::spawn(part(first, middle));
    let other: Vec<Broken> = part(middle, last + 1)();
    let mut broken: Vec<Broken> = one.join().expect("a run that panics fails the test");
    broken.extend(other);
    broken
}
