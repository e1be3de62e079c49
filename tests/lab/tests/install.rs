//! `tortie install` dies at each place that the sources mark.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use lab_tests::program;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use tempfile::TempDir;

const CONFLIST: &str = "net.d/10-calico.conflist";

/// Installs into a folder and dies at a place, or at none.
fn install(folder: &Path, place: &str) -> ExitStatus {
    let mut command = Command::new(program());
    command.arg("install").arg("--cni-bin-dir").arg(folder.join("bin"));
    command.arg("--cni-conf-dir").arg(folder.join("net.d"));
    command.env(failpoint::VARIABLE, place).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
}

/// Whether a runtime that calls the plugin gets an answer.
fn answers(program: &Path) -> bool {
    let mut command = Command::new(program);
    command.env("CNI_COMMAND", "VERSION").stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else { return false };
    // Who answers without having read may be gone already.
    let _ = child.stdin.take().unwrap().write_all(br#"{"cniVersion": "1.0.0"}"#);
    let answer = child.wait_with_output().unwrap();
    answer.status.success() && String::from_utf8_lossy(&answer.stdout).contains("supportedVersions")
}

fn is_usable(folder: &Path) -> bool {
    ["bin/calico", "bin/calico-ipam"].iter().all(|program| answers(&folder.join(program)))
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The places of the installer's own, and those of the writing of files that it comes to; the second is of another file.
fn places() -> Vec<String> {
    let own = failpoint::names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bin/src")).unwrap();
    assert!(own.len() >= 4, "{own:?}");
    let files = ["file: removed", "file: written", "file: renamed"].map(str::to_owned);
    let synced = (1..=3).map(|nth| format!("directory: synced#{nth}"));
    own.into_iter().chain(files).chain(synced).collect()
}

#[test]
fn f03_an_installer_that_dies_anywhere_leaves_what_works_and_may_be_started_again() {
    for place in places() {
        let folder = TempDir::new().unwrap();
        // On a host that never had it, and over an installation whose runtime goes on calling.
        for is_first in [true, false] {
            let died = install(folder.path(), &place);
            assert_eq!(died.signal(), Some(6), "`{place}`: {died}");
            assert!(is_first || is_usable(folder.path()), "`{place}`: the runtime's plugin does not answer");
            if let Ok(text) = fs::read(folder.path().join(CONFLIST)) {
                let conflist: serde_json::Value = serde_json::from_slice(&text).expect(&place);
                assert_eq!(conflist["plugins"][0]["type"], "calico", "`{place}`");
                assert!(is_usable(folder.path()), "`{place}`: the runtime is told of what does not answer");
            }
            assert!(install(folder.path(), "").success(), "after `{place}`");
            assert!(is_usable(folder.path()), "after `{place}`");
            let whole = ["calico", "calico-ipam"].map(str::to_owned).into();
            assert_eq!(names(&folder.path().join("bin")), whole, "after `{place}`");
            assert_eq!(names(&folder.path().join("net.d")), ["10-calico.conflist".to_owned()].into());
        }
    }
}
