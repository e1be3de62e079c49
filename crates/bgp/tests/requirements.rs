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

/// What is compiled of a folder: the files that are a program's or a crate's beginning, and what each of them declares with
/// `mod`, all the way down. What lies about besides is run by nobody.
fn sources(file: &Path, is_beginning: bool, all: &mut Vec<String>) {
    let source = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let folder = file.parent().expect("a file is in a folder");
    let name = file.file_stem().expect("a file has a name");
    let below = if is_beginning || name == "mod" { folder.to_owned() } else { folder.join(name) };
    let words =
        source.lines().map(|line| line.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) "));
    let modules = words.filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    for module in modules {
        let files = [below.join(format!("{module}.rs")), below.join(module).join("mod.rs")];
        if let Some(file) = files.iter().find(|file| file.is_file()) {
            sources(file, false, all);
        }
    }
    all.push(source);
}

/// The sources of a crate's library and tests.
fn sources_of(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for beginning in ["src/lib.rs", "src/main.rs"].map(|name| folder.join(name)) {
        if beginning.is_file() {
            sources(&beginning, true, &mut all);
        }
    }
    let entries = fs::read_dir(folder.join("tests")).into_iter().flatten();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        match path.join("main.rs") {
            main if main.is_file() => sources(&main, true, &mut all),
            _ if path.extension().is_some_and(|extension| extension == "rs") => {
                sources(&path, true, &mut all)
            }
            _ => {}
        }
    }
    all
}

/// The names of all functions behind `#[test]` that nobody leaves out, by whatever other attributes they have.
fn tests_in(source: &str, names: &mut BTreeSet<String>) {
    for after in source.split("#[test]").skip(1) {
        let Some((attributes, rest)) = after.split_once("fn ") else { continue };
        let is_run = !["#[ignore", "#[cfg"].iter().any(|attribute| attributes.contains(attribute));
        let name = rest.split('(').next().filter(|_| is_run);
        names.extend(name.map(str::to_owned));
    }
}

/// By the numbers of a section, then by what is behind them: "9.1.2.2" or "3 e-f".
fn order(requirement: &Requirement) -> (u16, Vec<u16>, &str) {
    let (numbers, rest) = requirement.section.split_once([' ', '-']).unwrap_or((&requirement.section, ""));
    let numbers = numbers.split('.').map(|number| number.parse().expect("a section's number"));
    (requirement.rfc, numbers.collect(), rest)
}

#[test]
fn every_requirement_has_a_test_that_is_run_or_says_why_not() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("requirements.toml")).expect("a file");
    let Requirements { requirement: all } = toml::from_str(&text).expect("rows");
    let mut known = BTreeSet::new();
    // The sockets are proved where there are sockets, the routes where they are made.
    for folder in [".", "../derive", "../../tests/interop"] {
        sources_of(&root.join(folder)).iter().for_each(|source| tests_in(source, &mut known));
    }
    let mut wrong = Vec::new();
    for pair in all.windows(2).filter(|pair| order(&pair[0]) > order(&pair[1])) {
        wrong.push(format!("RFC {} §{} stands behind §{}", pair[1].rfc, pair[1].section, pair[0].section));
    }
    let mut said = BTreeSet::new();
    for Requirement { rfc, section, text, tests, exception } in &all {
        let mut wrong = |what: &str| wrong.push(format!("RFC {rfc} §{section}, \"{text}\": {what}"));
        if !said.insert((rfc, text)) {
            wrong("it is said twice");
        }
        match (tests.is_empty(), exception) {
            (true, None) => wrong("neither a test nor an exception"),
            (false, Some(_)) => wrong("tests and an exception"),
            _ => (),
        }
        if tests.iter().collect::<BTreeSet<_>>().len() < tests.len() {
            wrong("a test is named twice");
        }
        for test in tests.iter().filter(|test| !known.contains(*test)) {
            wrong(&format!("no test that is run is called {test}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
