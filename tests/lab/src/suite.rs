//! Runs the cases of one file on a shared lab, in order, and reports as libtest does. The frame around them: no process of
//! the lab may have said anything at error level, and no node may have dropped anything, that a case did not announce.

use crate::Lab;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;
use testkit::frame::Counters;

/// A sentence and what proves it.
pub type Case = (&'static str, fn(&Lab));

/// Names each function after itself.
#[macro_export]
macro_rules! cases {
    ($($case:ident),+ $(,)?) => { &[$((stringify!($case), $case as fn(&$crate::Lab))),+] };
}

thread_local! {
    static ANNOUNCED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static DROPS: RefCell<Vec<Drops>> = const { RefCell::new(Vec::new()) };
}

/// Announces a complaint that the case causes: lines at error level with this text are not held against the suite.
pub fn expect_complaint(text: &str) {
    ANNOUNCED.with_borrow_mut(|announced| announced.push(text.to_owned()));
}

/// Drops that a case announced.
struct Drops {
    /// Where, and which counter: a part of `NODE: COUNTER`.
    text: String,
    /// Not only if it so happens.
    always: bool,
}

/// Announces drops that the case under way causes: of each of these texts a counter with it in its name must rise until it ends.
/// Names are `master1: nft pod-bgp`, say, or `fabric: port0 tx drops` (`testkit::frame`).
pub fn expect_drops(names: &[&str]) {
    announce(names, true);
}

/// Announces drops that the case under way may cause, as it so happens.
pub fn allow_drops(names: &[&str]) {
    announce(names, false);
}

fn announce(names: &[&str], always: bool) {
    let drops = names.iter().map(|name| Drops { text: (*name).to_owned(), always });
    DROPS.with_borrow_mut(|announced| announced.extend(drops));
}

/// Runs those cases whose names contain the first argument of the command line.
pub fn run(up: &[&str], cases: &[Case]) -> ExitCode {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let chosen: Vec<&Case> = cases.iter().filter(|(name, _)| name.contains(&filter)).collect();
    println!("\nrunning {} tests", chosen.len());
    let start = Instant::now();
    let mut failed = 0;
    let mut lab = None;
    for (name, case) in &chosen {
        let began = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| {
            let (lab, counters) = lab.get_or_insert_with(|| {
                let lab = Lab::up(up);
                let counters = counters(&lab);
                (lab, counters)
            });
            DROPS.take();
            case(lab);
            nobody_complained(lab);
            drops_are_as_announced(lab, counters);
        }));
        let verdict = if passed.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {verdict} <{:.3}s>", began.elapsed().as_secs_f64());
        if passed.is_err() {
            failed += 1;
            if let Some((lab, _)) = lab.take() {
                show_logs(&lab);
            }
        }
    }
    drop(lab);
    println!(
        "\ntest result: {}. {} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        chosen.len() - failed,
        cases.len() - chosen.len(),
        start.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

/// What each node, and the fabric between them, has dropped so far.
fn counters(lab: &Lab) -> BTreeMap<String, Counters> {
    let places = lab.nodes().into_iter().chain(["fabric".to_owned()]);
    let counters = places.map(|place| (place.clone(), Counters::of(&lab.netns(&place))));
    counters.chain([("the machine".to_owned(), Counters::of_machine())]).collect()
}

/// Of the counters of drops those rose since the case before that were announced.
fn drops_are_as_announced(lab: &Lab, before: &mut BTreeMap<String, Counters>) {
    let now = counters(lab);
    let rose = now.iter().flat_map(|(place, now)| {
        let rose = now.rose_since(before.entry(place.clone()).or_default());
        rose.into_iter().map(move |(counter, by)| format!("{place}: {counter} rose by {by}"))
    });
    let rose: Vec<String> = rose.collect();
    let announced = DROPS.take();
    let is_announced = |line: &&String| announced.iter().any(|drops| line.contains(&drops.text));
    let unannounced: Vec<&String> = rose.iter().filter(|line| !is_announced(line)).collect();
    assert!(unannounced.is_empty(), "unannounced: {unannounced:#?}");
    for Drops { text, .. } in announced.iter().filter(|drops| drops.always) {
        let happened = rose.iter().any(|line| line.contains(text));
        assert!(happened, "it was announced that {text} rises; what rose: {rose:#?}");
    }
    *before = now;
}

/// No unannounced complaint is in a log.
fn nobody_complained(lab: &Lab) {
    for process in processes(lab) {
        let log = lab.log(&process);
        for line in testkit::frame::complaints(&log) {
            let announced =
                ANNOUNCED.with_borrow(|announced| announced.iter().any(|text| line.contains(text)));
            assert!(announced, "{process} complains: {line}");
        }
    }
}

fn processes(lab: &Lab) -> Vec<String> {
    let logs = std::fs::read_dir(lab.root().join("logs")).into_iter().flatten().flatten();
    logs.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn show_logs(lab: &Lab) {
    for process in processes(lab) {
        let log = lab.log(&process);
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("--- the end of {process}'s log");
        for line in &lines[lines.len().saturating_sub(15)..] {
            eprintln!("{line}");
        }
    }
}
