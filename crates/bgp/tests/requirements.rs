//! `requirements.toml` names tests that exist, and each of its rows has a test or says why not.

#![expect(clippy::disallowed_methods, reason = "the crate is pure, this test reads its files")]

use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirements {
    requirement: Vec<Requirement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    rfc: u16,
    section: String,
    text: String,
    #[serde(default)]
    tests: Vec<String>,
    exception: Option<String>,
}

/// The names of all functions behind `#[test]` in the Rust files of a folder and below.
fn tests_in(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            tests_in(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).expect("a source");
            let after = source.split("#[test]").skip(1);
            let named = after.filter_map(|after| after.trim_start().strip_prefix("fn ")?.split('(').next());
            names.extend(named.map(str::to_owned));
        }
    }
}

#[test]
fn every_requirement_has_a_test_that_exists_or_says_why_not() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("requirements.toml")).expect("a file");
    let requirements: Requirements = toml::from_str(&text).expect("rows");
    let mut known = BTreeSet::new();
    // The sockets are proved where there are sockets, the routes where they are made.
    for folder in ["src", "tests", "../derive/src", "../../tests/interop/tests"] {
        tests_in(&root.join(folder), &mut known);
    }
    let mut wrong = Vec::new();
    for Requirement { rfc, section, text, tests, exception } in requirements.requirement {
        let mut wrong = |what: &str| wrong.push(format!("RFC {rfc} §{section}, \"{text}\": {what}"));
        match (tests.is_empty(), exception) {
            (true, None) => wrong("neither a test nor an exception"),
            (false, Some(_)) => wrong("tests and an exception"),
            _ => (),
        }
        for test in tests.iter().filter(|test| !known.contains(*test)) {
            wrong(&format!("no test is called {test}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
