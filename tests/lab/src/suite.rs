//! Runs the cases of one file on a shared lab, in order, and reports as libtest does. The frame around them: no process of
//! the lab may have said anything at error level that a case did not announce.

use crate::Lab;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

/// A sentence and what proves it.
pub type Case = (&'static str, fn(&Lab));

/// Names each function after itself.
#[macro_export]
macro_rules! cases {
    ($($case:ident),+ $(,)?) => { &[$((stringify!($case), $case as fn(&$crate::Lab))),+] };
}

thread_local! {
    static ANNOUNCED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static DROPS: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

/// Announces a complaint that the case causes: lines at error level with this text are not held against the suite.
pub fn expect_complaint(text: &str) {
    ANNOUNCED.with_borrow_mut(|announced| announced.push(text.to_owned()));
}

/// Announces drops that the case under way causes: counters with one of these texts in their names may rise until it ends.
pub fn expect_drops(names: &[&'static str]) {
    DROPS.with_borrow_mut(|drops| drops.extend(names));
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
            let lab = lab.get_or_insert_with(|| Lab::up(up));
            case(lab);
            frame(lab);
        }));
        let verdict = if passed.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {verdict} <{:.3}s>", began.elapsed().as_secs_f64());
        if passed.is_err() {
            failed += 1;
            if let Some(lab) = lab.take() {
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

/// No unannounced complaint is in a log.
fn frame(lab: &Lab) {
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
