//! Whole nodes under random load and faults.

use testkit::sim::machines::{Schedule, seeded};
use testkit::sim::seeds;

#[test]
fn every_law_holds_for_whole_nodes_in_every_seed() {
    if let Some(text) = seeds::schedule() {
        let schedule: Schedule = text.parse().expect("lines of JSON, as a failing run prints them");
        match schedule.run(true) {
            Ok(story) => return println!("{story:?}"),
            Err(broken) => panic!("{broken}"),
        }
    }
    seeds::hold(300, seeded::run, seeded::smaller);
}

/// The least of each run that once broke a law, named after what must hold instead.
#[test]
fn every_schedule_of_regress_keeps_the_laws() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/regress");
    let mut broken = Vec::new();
    for file in std::fs::read_dir(folder).expect("a folder of schedules") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("a schedule");
        let schedule: Schedule = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        broken.extend(schedule.run(false).err().map(|law| format!("{}: {law}", path.display())));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

#[test]
fn a_seed_of_whole_nodes_tells_the_same_story_twice() {
    for seed in [7, 8] {
        let (once, twice) = (seeded::run(seed, false), seeded::run(seed, false));
        assert_eq!(once.map_err(|b| b.to_string()), twice.map_err(|b| b.to_string()), "seed {seed}");
    }
}

#[test]
fn a_schedule_that_was_written_down_tells_the_same_story() {
    let schedule = Schedule::draw(9);
    let read: Schedule = schedule.to_string().parse().expect("it was just written");
    assert_eq!(read, schedule);
    let (drawn, read) = (schedule.run(false), read.run(false));
    assert_eq!(drawn.map_err(|b| b.to_string()), read.map_err(|b| b.to_string()));
}
